import CLibPQ
import CallEngine
import Protocols

/// Rows of a result in binary format, read in the order of `PostgresReader`'s columns.
struct PostgresRows {
    private let result: OpaquePointer?

    init(_ result: OpaquePointer?) { self.result = result }

    var count: Int { Int(PQntuples(result)) }

    fileprivate func raw(_ row: Int, _ column: Int32) -> UnsafeRawBufferPointer? {
        guard PQgetisnull(result, Int32(row), column) == 0 else { return nil }
        return UnsafeRawBufferPointer(
            start: PQgetvalue(result, Int32(row), column), count: Int(PQgetlength(result, Int32(row), column))
        )
    }

    fileprivate func integer<Value: FixedWidthInteger>(_ row: Int, _ column: Int32, as: Value.Type) -> Value?
    {
        guard let raw = raw(row, column), raw.count == MemoryLayout<Value>.size else { return nil }
        return Value(bigEndian: raw.loadUnaligned(as: Value.self))
    }

    fileprivate func string(_ row: Int, _ column: Int32) -> String? {
        raw(row, column).map { String(decoding: $0, as: UTF8.self) }
    }

    /// Infinity, which a timestamp can be, wraps around; it is nobody's call.
    fileprivate func timestamp(_ row: Int, _ column: Int32) -> Timestamp? {
        integer(row, column, as: Int64.self).map {
            Timestamp(microseconds: $0 &+ PostgresArray.epochMicroseconds)
        }
    }

    fileprivate func uuid(_ row: Int, _ column: Int32) -> CallUUID? {
        guard let raw = raw(row, column), raw.count == 16 else { return nil }
        return CallUUID(
            high: UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 0, as: UInt64.self)),
            low: UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
    }

    /// One row, to be read by column.
    struct Row: StoredRow {
        fileprivate let rows: PostgresRows
        fileprivate let row: Int

        func text(_ column: Int) -> String? { rows.string(row, Int32(column)) }

        func number(_ column: Int) -> Int64? {
            rows.integer(row, Int32(column), as: Int64.self)
                ?? rows.integer(row, Int32(column), as: Int32.self).map { Int64($0) }
        }

        func time(_ column: Int) -> Timestamp? { rows.timestamp(row, Int32(column)) }
        func flag(_ column: Int) -> Bool? { rows.raw(row, Int32(column))?.first.map { $0 == 1 } }
        func id(_ column: Int) -> CallUUID? { rows.uuid(row, Int32(column)) }

        /// A jsonb's text: in binary format it is its version, 1, and the text.
        func json(_ column: Int) -> [UInt8]? { rows.raw(row, Int32(column)).map { [UInt8]($0.dropFirst()) } }
    }

    func row(_ row: Int) -> Row { Row(rows: self, row: row) }

    func gap(_ row: Int) -> StoredGap {
        func count(_ column: Int32) -> Int { Int(integer(row, column, as: Int32.self) ?? 0) }
        return StoredGap(
            id: uuid(row, 0) ?? CallUUID(high: 0, low: 0), pbx: string(row, 1) ?? "",
            from: timestamp(row, 2) ?? .zero, to: timestamp(row, 3) ?? .zero, reason: string(row, 4) ?? "",
            detail: string(row, 5) ?? "", callsEnded: count(6), callsFound: count(7), callsKept: count(8),
            insertedAt: timestamp(row, 9) ?? .zero)
    }

    func sighting(_ row: Int) -> PBXSighting {
        PBXSighting(
            pbx: string(row, 0) ?? "", seenAt: timestamp(row, 1) ?? .zero, startedAt: timestamp(row, 2))
    }

    /// A row in the order of `PostgresSteps.columns`; nil for a kind that a newer version made.
    func step(_ row: Int) -> CRMStep? {
        guard let kind = string(row, 4).flatMap({ CRMStepKind(rawValue: $0) }),
            let state = string(row, 5).flatMap({ CRMStepState(rawValue: $0) })
        else { return nil }
        func duration(_ column: Int32) -> Duration? {
            // Never below zero, whatever the clock did.
            integer(row, column, as: Int64.self).map { .microseconds(max(0, $0)) }
        }
        return CRMStep(
            id: integer(row, 0, as: Int64.self) ?? 0, target: string(row, 1) ?? "", pbx: string(row, 2) ?? "",
            key: CRMStepKey(callID: string(row, 3) ?? "", kind: kind), state: state,
            call: raw(row, 6).flatMap { CRMCall(json: [UInt8]($0)) },
            attempts: Int(integer(row, 7, as: Int32.self) ?? 0), dueIn: duration(8) ?? .zero,
            lastError: string(row, 9), crmCallID: string(row, 10), user: string(row, 11),
            age: duration(12) ?? .zero, sentAgo: duration(13), createdAt: timestamp(row, 14) ?? .zero,
            updatedAt: timestamp(row, 15) ?? .zero)
    }

    /// Behind which step the next page begins.
    func nextStep(_ row: Int) -> Int64? { integer(row, 16, as: Int64.self) }

    /// How many steps a list has in all.
    func stepTotal(_ row: Int) -> Int { Int(integer(row, 16, as: Int64.self) ?? 0) }

    /// A step that was claimed.
    func stepKey(_ row: Int) -> CRMStepKey? {
        string(row, 1).flatMap { CRMStepKind(rawValue: $0) }
            .map { CRMStepKey(callID: string(row, 0) ?? "", kind: $0) }
    }

    /// Steps that were removed, and behind which to go on.
    func pruned(_ row: Int) -> (Int, Int64?) {
        (Int(integer(row, 0, as: Int64.self) ?? 0), integer(row, 1, as: Int64.self))
    }

    func event(_ row: Int) -> StoredEvent {
        StoredEvent(
            id: integer(row, 0, as: Int64.self) ?? 0, callID: string(row, 1) ?? "",
            eventType: string(row, 2) ?? "",
            // jsonb in binary format is its version, 1, and the text.
            payload: raw(row, 3).map { [UInt8]($0.dropFirst()) }, occurredAt: timestamp(row, 4) ?? .zero,
            insertedAt: timestamp(row, 5) ?? .zero, updatedAt: timestamp(row, 6) ?? .zero)
    }
}
