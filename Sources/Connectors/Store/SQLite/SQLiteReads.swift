import CallEngine
import Protocols

/// The reads of the API on a connection of their own (WAL: never behind the writer).
final class SQLiteReads {
    private let listCalls: SQLiteStatement
    private let findCall: SQLiteStatement
    private let listEvents: SQLiteStatement

    private static let callColumns = """
        id, call_id, direction, caller_number, callee_number, status, started_at, answered_at, ended_at,
        inserted_at, updated_at, bitrix_call_id, outcome, hangup_cause, pbx, ended_estimated
        """

    init(_ database: SQLiteDatabase) throws(StoreError) {
        listCalls = try database.prepare(
            """
            SELECT \(Self.callColumns) FROM calls
            WHERE outcome IS NOT 'merged' AND (?1 IS NULL OR status = ?1) AND (?2 IS NULL OR direction = ?2)
                AND (?4 IS NULL OR (status IN ('ringing', 'answered') AND inserted_at < ?4))
            ORDER BY started_at DESC, id LIMIT ?3
            """)
        findCall = try database.prepare("SELECT \(Self.callColumns) FROM calls WHERE call_id = ?1")
        listEvents = try database.prepare(
            """
            SELECT id, call_id, event_type, payload, occurred_at, inserted_at, updated_at FROM call_events
            WHERE call_id = ?1 ORDER BY occurred_at, id LIMIT \(StoreReads.maximumEvents)
            """)
    }

    func calls(_ filter: CallFilter) throws(StoreError) -> [StoredCall] {
        listCalls.bind(1, copying: filter.status)
        listCalls.bind(2, copying: filter.direction)
        listCalls.bind(3, Int64(filter.boundedLimit))
        listCalls.bind(4, filter.openBefore?.microseconds)
        var calls: [StoredCall] = []
        while try listCalls.step() { calls.append(Self.call(listCalls)) }
        return calls
    }

    func call(id callID: String) throws(StoreError) -> StoredCallWithEvents? {
        findCall.bind(1, copying: callID)
        guard try findCall.step() else { return nil }
        let call = Self.call(findCall)
        findCall.reset()
        listEvents.bind(1, copying: callID)
        var events: [StoredEvent] = []
        while try listEvents.step() {
            events.append(
                StoredEvent(
                    id: listEvents.integer(0) ?? 0, callID: listEvents.string(1) ?? "",
                    eventType: listEvents.string(2) ?? "", payload: listEvents.bytes(3),
                    occurredAt: listEvents.timestamp(4) ?? .zero,
                    insertedAt: listEvents.timestamp(5) ?? .zero,
                    updatedAt: listEvents.timestamp(6) ?? .zero))
        }
        return StoredCallWithEvents(call: call, events: events)
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
