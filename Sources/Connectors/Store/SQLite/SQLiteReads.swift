import CallEngine
import Protocols

/// The reads of the API on a connection of their own (WAL: never behind the writer).
final class SQLiteReads {
    /// Statements kept for the next question of the same form.
    static let maximumStatements = 32

    let database: SQLiteDatabase
    private let findCall: SQLiteStatement
    /// Lists by their text.
    private var lists: [String: SQLiteStatement] = [:]

    init(_ database: SQLiteDatabase) throws(StoreError) {
        self.database = database
        findCall = try database.prepare("SELECT \(CallListQuery.columns) FROM calls WHERE call_id = ?1")
    }

    private func statement(_ sql: String) throws(StoreError) -> SQLiteStatement {
        if let kept = lists[sql] { return kept }
        if lists.count >= Self.maximumStatements { lists.removeAll() }
        let made = try database.prepare(sql)
        lists[sql] = made
        return made
    }

    func calls(_ filter: CallFilter) throws(StoreError) -> [StoredCall] {
        let query = CallListQuery(filter, .sqlite)
        let list = try statement(query.sql)
        for (index, value) in query.values.enumerated() {
            switch value {
            case .text(let text): list.bind(Int32(index + 1), copying: text)
            case .number(let number): list.bind(Int32(index + 1), number)
            case .time(let time): list.bind(Int32(index + 1), time.microseconds)
            case .id(let id): list.bind(Int32(index + 1), copying: id.string)
            }
        }
        var calls: [StoredCall] = []
        while try list.step() { calls.append(Self.call(list)) }
        return calls
    }

    func call(id callID: String, events page: EventPage) throws(StoreError) -> StoredCallWithEvents? {
        findCall.bind(1, copying: callID)
        guard try findCall.step() else { return nil }
        let call = Self.call(findCall)
        findCall.reset()
        let after = page.after == nil ? "" : "AND (occurred_at, id) > (?3, ?4)"
        let list = try statement(
            """
            SELECT id, call_id, event_type, payload, occurred_at, inserted_at, updated_at FROM call_events
            WHERE call_id = ?1 \(after) ORDER BY occurred_at, id LIMIT ?2
            """)
        list.bind(1, copying: callID)
        list.bind(2, Int64(page.limit))
        if let after = page.after {
            list.bind(3, after.occurredAt.microseconds)
            list.bind(4, after.id)
        }
        var events: [StoredEvent] = []
        while try list.step() {
            events.append(
                StoredEvent(
                    id: list.integer(0) ?? 0, callID: list.string(1) ?? "",
                    eventType: list.string(2) ?? "", payload: list.bytes(3),
                    occurredAt: list.timestamp(4) ?? .zero, insertedAt: list.timestamp(5) ?? .zero,
                    updatedAt: list.timestamp(6) ?? .zero))
        }
        return StoredCallWithEvents(call: call, events: events)
    }

    func gaps(limit: Int) throws(StoreError) -> [StoredGap] {
        let listGaps = try statement(
            """
            SELECT id, pbx, started_at, ended_at, reason, detail, calls_ended, calls_found, calls_kept, inserted_at
            FROM callflow_gaps ORDER BY started_at DESC, id LIMIT ?1
            """)
        listGaps.bind(1, Int64(min(max(limit, 0), StoreReads.maximumCalls)))
        var gaps: [StoredGap] = []
        while try listGaps.step() {
            gaps.append(
                StoredGap(
                    id: CallUUID(text: listGaps.string(0) ?? "") ?? CallUUID(high: 0, low: 0),
                    pbx: listGaps.string(1) ?? "", from: listGaps.timestamp(2) ?? .zero,
                    to: listGaps.timestamp(3) ?? .zero, reason: listGaps.string(4) ?? "",
                    detail: listGaps.string(5) ?? "", callsEnded: Int(listGaps.integer(6) ?? 0),
                    callsFound: Int(listGaps.integer(7) ?? 0), callsKept: Int(listGaps.integer(8) ?? 0),
                    insertedAt: listGaps.timestamp(9) ?? .zero))
        }
        return gaps
    }

    func sightings() throws(StoreError) -> [PBXSighting] {
        let listSightings = try statement("SELECT pbx, seen_at, started_at FROM callflow_pbx ORDER BY pbx")
        var sightings: [PBXSighting] = []
        while try listSightings.step() {
            sightings.append(
                PBXSighting(
                    pbx: listSightings.string(0) ?? "", seenAt: listSightings.timestamp(1) ?? .zero,
                    startedAt: listSightings.timestamp(2)))
        }
        return sightings
    }

    private static func call(_ row: SQLiteStatement) -> StoredCall {
        StoredCall(
            id: CallUUID(text: row.string(0) ?? "") ?? CallUUID(high: 0, low: 0), callID: row.string(1) ?? "",
            direction: row.string(2), callerNumber: row.string(3), calleeNumber: row.string(4),
            status: row.string(5) ?? "", startedAt: row.timestamp(6), answeredAt: row.timestamp(7),
            endedAt: row.timestamp(8), insertedAt: row.timestamp(9) ?? .zero,
            updatedAt: row.timestamp(10) ?? .zero, bitrixCallID: row.string(11), outcome: row.string(12),
            hangupCause: row.integer(13).map { Int($0) }, pbx: row.string(14),
            endedEstimated: row.integer(15) == 1)
    }
}

extension Timestamp {
    /// 1970; what a NULL becomes where the contract has none.
    static var zero: Timestamp { Timestamp(microseconds: 0) }
}

extension CallUUID {
    /// Reads the usual form of 36 characters.
    init?(text: String) {
        let hex = text.filter { $0 != "-" }
        guard hex.utf8.count == 32, hex.utf8.first != UInt8(ascii: "+"),
            let high = UInt64(hex.prefix(16), radix: 16), let low = UInt64(hex.suffix(16), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
    }
}
