import CallEngine
import Protocols

/// Writes legs and segments of ended calls, with the rules of `PostgresStatements.insertLegs`.
final class SQLiteDetailInsert {
    private let insertLeg: SQLiteStatement
    private let insertSegment: SQLiteStatement
    private let deleteLegs: SQLiteStatement
    private let deleteSegments: SQLiteStatement
    private let pbxNames: [String]

    init(_ database: SQLiteDatabase, pbxNames: [String]) throws(StoreError) {
        self.pbxNames = pbxNames
        insertLeg = try database.prepare(
            Self.insert(into: "call_legs", key: "leg_no", LegColumn.allCases.map(\.column)))
        insertSegment = try database.prepare(
            Self.insert(into: "call_segments", key: "segment_no", SegmentColumn.allCases.map(\.column)))
        deleteLegs = try database.prepare(
            "DELETE FROM call_legs WHERE call_id = ?1 AND leg_no >= ?2 AND derived_at <= ?3")
        deleteSegments = try database.prepare(
            "DELETE FROM call_segments WHERE call_id = ?1 AND segment_no >= ?2 AND derived_at <= ?3")
    }

    private static func insert(into table: String, key: String, _ columns: [String]) -> String {
        let set = columns.filter { $0 != "call_id" && $0 != key }.map { "\($0) = excluded.\($0)" }
        return """
            INSERT INTO \(table) AS p (\(columns.joined(separator: ", ")))
            VALUES (\(columns.indices.map { "?\($0 + 1)" }.joined(separator: ", ")))
            ON CONFLICT (call_id, \(key)) DO UPDATE SET \(set.joined(separator: ", "))
            WHERE p.derived_at <= excluded.derived_at
            """
    }

    /// Writes what `entry` has; within the transaction of the call's row.
    func write(
        _ entry: DetailRows.Entry, of record: CallRecord, _ rows: CallRows, _ row: Int
    ) throws(StoreError) {
        let callID = rows.withCallID(at: row) { SQLiteText.column($0) }
        if entry.isRepeated {
            for (statement, count) in [
                (deleteLegs, entry.legs.count), (deleteSegments, entry.segments.count),
            ] {
                statement.bind(1, copying: callID)
                statement.bind(2, Int64(count))
                statement.bind(3, record.updatedAt.microseconds)
                try statement.run()
            }
        }
        let details = rows.details
        for (number, index) in entry.legs.enumerated() {
            try insert(details.legs[index], number, details.segmentOfLeg[index], callID, record.updatedAt)
        }
        for (number, index) in entry.segments.enumerated() {
            try insert(details.segments[index], number, callID, record.updatedAt)
        }
    }

    private func insert(
        _ leg: LegRecord, _ number: Int, _ segment: Int32, _ callID: String, _ derivedAt: Timestamp
    ) throws(StoreError) {
        func bind(_ column: LegColumn, _ value: Int64?) { insertLeg.bind(Int32(column.rawValue + 1), value) }
        func bind(_ column: LegColumn, _ text: String?) {
            insertLeg.bind(Int32(column.rawValue + 1), copying: text)
        }
        bind(.callID, callID)
        bind(.number, Int64(number))
        bind(.channelID, SQLiteText.optional(leg.channelID) ?? "")
        bind(.name, SQLiteText.optional(leg.name))
        bind(.endNumber, SQLiteText.optional(leg.number))
        bind(.role, leg.roles.name)
        bind(.result, leg.result == .none ? nil : leg.result.name.description)
        bind(.evidence, leg.evidence == .none ? nil : leg.evidence.name.description)
        bind(.pbx, Int(leg.pbx) < pbxNames.count ? pbxNames[Int(leg.pbx)] : nil)
        bind(.dialedBy, SQLiteText.optional(leg.dialedBy))
        bind(.cameFrom, SQLiteText.optional(leg.cameFrom))
        bind(.segment, segment < 0 ? nil : Int64(segment))
        bind(.startedAt, leg.startedAt.microseconds)
        bind(.dialedAt, leg.dialedAt?.microseconds)
        bind(.ringingAt, leg.ringingAt?.microseconds)
        bind(.answeredAt, leg.answeredAt?.microseconds)
        bind(.talkStartedAt, leg.talkStartedAt?.microseconds)
        bind(.endedAt, leg.endedAt?.microseconds)
        bind(.ring, leg.ringMicroseconds)
        bind(.talk, leg.talkMicroseconds)
        bind(.hold, leg.holdMicroseconds)
        bind(.cause, leg.cause == 0 ? nil : Int64(leg.cause))
        bind(.sipCode, leg.sipCode == 0 ? nil : Int64(leg.sipCode))
        bind(.endedEstimated, leg.isEndEstimated ? 1 : 0)
        bind(.derivedAt, derivedAt.microseconds)
        try insertLeg.run()
    }

    private func insert(
        _ segment: CallSegment, _ number: Int, _ callID: String, _ derivedAt: Timestamp
    ) throws(StoreError) {
        func bind(_ column: SegmentColumn, _ value: Int64?) {
            insertSegment.bind(Int32(column.rawValue + 1), value)
        }
        func bind(_ column: SegmentColumn, _ text: String?) {
            insertSegment.bind(Int32(column.rawValue + 1), copying: text)
        }
        bind(.callID, callID)
        bind(.number, Int64(number))
        bind(.kind, segment.kind.name.description)
        bind(.name, SQLiteText.optional(segment.name))
        bind(.result, segment.result == .none ? nil : segment.result.name.description)
        bind(.by, SQLiteText.optional(segment.by))
        bind(.transfer, segment.transfer == .none ? nil : segment.transfer.name.description)
        bind(.startedAt, segment.startedAt.microseconds)
        bind(.endedAt, segment.endedAt.microseconds)
        bind(.derivedAt, derivedAt.microseconds)
        try insertSegment.run()
    }
}

/// Texts of the world as SQLite's columns take them.
enum SQLiteText {
    /// Cut and cleaned as for PostgreSQL.
    static func column(_ text: UnsafeRawBufferPointer) -> String {
        String(
            decoding: ColumnText.isClean(text) ? [UInt8](text) : ColumnText.cleaned(text).bytes, as: UTF8.self
        )
    }

    /// The same; an empty text is `nil`.
    static func optional(_ text: UnsafeRawBufferPointer) -> String? { text.isEmpty ? nil : column(text) }

    static func optional<let size: Int>(_ text: InlineText<size>) -> String? {
        text.withUnsafeBytes { optional($0) }
    }
}
