import CallEngine
import Protocols

/// Texts of a call that are longer than their room in `CallRecord`; `nil` where the record's own is whole.
package struct LongTexts: Sendable {
    /// The call's key.
    package var callID: [UInt8]?
    /// Who called.
    package var callerNumber: [UInt8]?
    /// Who was called.
    package var calleeNumber: [UInt8]?

    /// All texts; see each.
    package init(callID: [UInt8]? = nil, callerNumber: [UInt8]? = nil, calleeNumber: [UInt8]? = nil) {
        self.callID = callID
        self.callerNumber = callerNumber
        self.calleeNumber = calleeNumber
    }
}

/// Rows of `calls`, one for each call however often it changed; kept as records until they are sent.
struct CallRows {
    private(set) var records: [CallRecord] = []
    private var longTexts: [Int: LongTexts] = [:]
    /// Hash of the call id → row.
    ///
    /// A colliding hash moves on by one.
    private var rows: [Int: Int] = [:]

    var count: Int { records.count }

    /// Memory of the rows; with the index, not to the byte.
    var byteCount: Int { records.count * (MemoryLayout<CallRecord>.stride + 32) + longTexts.count * 512 }

    /// Takes the newest state of a call; a row of the same call is replaced.
    mutating func append(_ record: borrowing CallRecord, longTexts texts: LongTexts?) {
        let record = copy record
        var hash = Self.withCallID(of: record, texts) { Self.hash($0) }
        while let row = rows[hash] {
            if hasSameCallID(row, record, texts) {
                records[row] = record
                if texts != nil || !longTexts.isEmpty { longTexts[row] = texts }
                return
            }
            hash = hash &+ 1
        }
        rows[hash] = records.count
        if let texts { longTexts[records.count] = texts }
        records.append(record)
    }

    /// Appends rows of another batch.
    mutating func append(contentsOf other: CallRows, in range: Range<Int>) {
        for row in range { append(other.records[row], longTexts: other.longTexts[row]) }
    }

    mutating func removeAll(keepingUpTo keptBytes: Int) {
        let keep = records.capacity * MemoryLayout<CallRecord>.stride <= keptBytes
        records.removeAll(keepingCapacity: keep)
        rows.removeAll(keepingCapacity: keep)
        longTexts.removeAll()
    }

    private static func hash(_ bytes: UnsafeRawBufferPointer) -> Int {
        var hasher = Hasher()
        hasher.combine(bytes: bytes)
        return hasher.finalize()
    }

    private static func withCallID<R>(
        of record: CallRecord, _ texts: LongTexts?, _ body: (UnsafeRawBufferPointer) -> R
    ) -> R {
        if let long = texts?.callID { return long.withUnsafeBytes(body) }
        return record.callID.withUnsafeBytes(body)
    }

    private func hasSameCallID(_ row: Int, _ record: CallRecord, _ texts: LongTexts?) -> Bool {
        withCallID(at: row) { left in
            Self.withCallID(of: record, texts) { right in left.elementsEqual(right) }
        }
    }

    /// The call id of a row as it was given, borrowed for the call of `body`.
    func withCallID<R>(at row: Int, _ body: (UnsafeRawBufferPointer) -> R) -> R {
        Self.withCallID(of: records[row], longTexts[row], body)
    }

    /// The caller's number of a row; empty when there is none.
    func withCallerNumber<R>(at row: Int, _ body: (UnsafeRawBufferPointer) -> R) -> R {
        if let long = longTexts[row]?.callerNumber { return long.withUnsafeBytes(body) }
        return records[row].callerNumber.withUnsafeBytes(body)
    }

    /// The callee's number of a row; empty when there is none.
    func withCalleeNumber<R>(at row: Int, _ body: (UnsafeRawBufferPointer) -> R) -> R {
        if let long = longTexts[row]?.calleeNumber { return long.withUnsafeBytes(body) }
        return records[row].calleeNumber.withUnsafeBytes(body)
    }
}

/// `CallRows` as columns, in the order of the upsert's parameters.
struct CallColumns {
    /// The columns: their types, and bytes of a usual element.
    private enum Column: Int, CaseIterable {
        case id, callID, direction, callerNumber, calleeNumber, status, startedAt, answeredAt, endedAt
        case insertedAt, updatedAt, outcome, hangupCause, pbx, endedEstimated

        var type: (PostgresType, usualBytes: Int) {
            switch self {
            case .id: (.uuid, 16)
            case .callID, .callerNumber, .calleeNumber: (.text, 20)
            case .direction, .status, .outcome, .pbx: (.text, 10)
            case .startedAt, .answeredAt, .endedAt, .insertedAt, .updatedAt: (.timestamp, 8)
            case .hangupCause: (.int4, 4)
            case .endedEstimated: (.bool, 1)
            }
        }
    }

    /// By `Column.rawValue`; with their headers.
    private var columns: [PostgresArray] = []
    /// Texts that had to be cut or cleaned.
    private(set) var textsChanged = 0

    private subscript(_ column: Column) -> PostgresArray {
        get { columns[column.rawValue] }
        // In place: what is read out and put back would be copied.
        _modify { yield &columns[column.rawValue] }
    }

    /// Encodes all rows.
    init(_ rows: CallRows, pbxNames: [String]) {
        columns.reserveCapacity(Column.allCases.count)
        for column in Column.allCases {
            let (type, usualBytes) = column.type
            columns.append(PostgresArray(of: type, elements: rows.count, usualBytes: usualBytes))
        }
        for (row, record) in rows.records.enumerated() {
            self[.id].append(high: record.id.high, low: record.id.low)
            textsChanged += rows.withCallID(at: row) { self[.callID].append(columnText: $0) } ? 1 : 0
            self[.direction].append(record.direction.name)
            textsChanged +=
                rows.withCallerNumber(at: row) { self[.callerNumber].append(optionalColumnText: $0) } ? 1 : 0
            textsChanged +=
                rows.withCalleeNumber(at: row) { self[.calleeNumber].append(optionalColumnText: $0) } ? 1 : 0
            self[.status].append(record.status.name)
            self[.startedAt].append(record.startedAt)
            self[.answeredAt].append(record.answeredAt)
            self[.endedAt].append(record.endedAt)
            self[.insertedAt].append(record.insertedAt)
            self[.updatedAt].append(record.updatedAt)
            if record.outcome == .none {
                self[.outcome].appendNull()
            } else {
                self[.outcome].append(record.outcome.name)
            }
            if record.hangupCause == 0 {
                self[.hangupCause].appendNull()
            } else {
                self[.hangupCause].append(Int32(record.hangupCause))
            }
            if Int(record.pbx) < pbxNames.count {
                var name = pbxNames[Int(record.pbx)]
                _ = name.withUTF8 { self[.pbx].append(optionalColumnText: UnsafeRawBufferPointer($0)) }
            } else {
                self[.pbx].appendNull()
            }
            self[.endedEstimated].append(record.flags.contains(.estimatedEnd))
        }
        for index in columns.indices { columns[index].finish() }
    }

    /// The columns, with their headers.
    func parameters() -> [PostgresArray] { columns }
}
