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
        while try list.step() { calls.append(list.call) }
        return calls
    }

    func steps(_ query: CRMStepQuery) throws(StoreError) -> CRMStepList {
        let list = try statement(CRMStepSQL.list(query, columns: SQLiteStepStatements.columns, ("?1", "?2")))
        list.bind(1, CRMStepSQL.start(query))
        list.bind(2, Int64(query.limit + 1))
        var found: [CRMStep] = []
        var total = 0
        let now = WallClock.now()
        while try list.step() {
            total = Int(list.integer(15) ?? 0)
            if let step = CRMStep(list, now: now) { found.append(step) }
        }
        return CRMStepList(query, found, total: total)
    }

    func call(id callID: String, events page: EventPage) throws(StoreError) -> StoredCallWithEvents? {
        findCall.bind(1, copying: callID)
        guard try findCall.step() else { return nil }
        let call = findCall.call
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
        while try list.step() { events.append(list.event) }
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
        while try listGaps.step() { gaps.append(listGaps.gap) }
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

    func events(ofCalls callIDs: [String], since: Timestamp) throws(StoreError) -> [StoredEvent] {
        let listMerged = try statement(
            "SELECT call_id, merged_into FROM calls WHERE started_at >= ?1 AND merged_into IS NOT NULL")
        listMerged.bind(1, since.microseconds - StoreReads.clockMargin.wholeMicroseconds)
        let asked = Set(callIDs)
        var callIDs = callIDs
        while try listMerged.step() {
            if let survivor = listMerged.string(1), asked.contains(survivor),
                let callID = listMerged.string(0)
            {
                callIDs.append(callID)
            }
        }
        let list = try statement(
            """
            SELECT id, call_id, event_type, payload, occurred_at, inserted_at, updated_at FROM call_events
            WHERE call_id = ?1 ORDER BY inserted_at, id LIMIT ?2
            """)
        var events: [StoredEvent] = []
        for callID in callIDs {
            list.bind(1, copying: callID)
            list.bind(2, Int64(StoreReads.maximumSharedEvents))
            while try list.step() { events.append(list.event) }
        }
        events.sort { ($0.insertedAt, $0.id) < ($1.insertedAt, $1.id) }
        return Array(events.prefix(StoreReads.maximumSharedEvents))
    }

    func parts(of callID: String) throws(StoreError) -> StoredParts {
        var parts = StoredParts()
        let listLegs = try statement(StoredParts.legs { "?\($0)" })
        listLegs.bind(1, copying: callID)
        while try listLegs.step() { parts.legs.append(listLegs.leg) }
        let listSegments = try statement(StoredParts.segments { "?\($0)" })
        listSegments.bind(1, copying: callID)
        while try listSegments.step() { parts.segments.append(listSegments.segment) }
        return parts
    }
}

/// The row that it stands at.
extension SQLiteStatement: StoredRow {
    func text(_ column: Int) -> String? { string(Int32(column)) }
    func number(_ column: Int) -> Int64? { integer(Int32(column)) }
    func time(_ column: Int) -> Timestamp? { timestamp(Int32(column)) }
    func flag(_ column: Int) -> Bool? { integer(Int32(column)).map { $0 == 1 } }
    func id(_ column: Int) -> CallUUID? { string(Int32(column)).flatMap { CallUUID(text: $0) } }

    /// A row of `call_events`.
    var event: StoredEvent {
        StoredEvent(
            id: integer(0) ?? 0, callID: string(1) ?? "", eventType: string(2) ?? "", payload: bytes(3),
            occurredAt: timestamp(4) ?? .zero, insertedAt: timestamp(5) ?? .zero,
            updatedAt: timestamp(6) ?? .zero)
    }

    /// A row of `callflow_gaps`.
    var gap: StoredGap {
        StoredGap(
            id: CallUUID(text: string(0) ?? "") ?? CallUUID(high: 0, low: 0), pbx: string(1) ?? "",
            from: timestamp(2) ?? .zero, to: timestamp(3) ?? .zero, reason: string(4) ?? "",
            detail: string(5) ?? "", callsEnded: Int(integer(6) ?? 0), callsFound: Int(integer(7) ?? 0),
            callsKept: Int(integer(8) ?? 0), insertedAt: timestamp(9) ?? .zero)
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
