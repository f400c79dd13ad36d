import CallEngine
import Protocols
import Reactor

@testable import Connectors

/// A store that answers what a test put in it.
final class FakeReader: StoreReader {
    let loop: Loop
    var rows: [StoredCall] = []
    var events: [String: [StoredEvent]] = [:]
    var failure: StoreError?
    /// Legs and parts by call.
    var parts: [String: StoredParts] = [:]
    var gapRows: [StoredGap] = []
    var steps = CRMStepList(steps: [], total: 0)
    private(set) var queries: [CRMStepQuery] = []
    private(set) var filters: [CallFilter] = []
    private(set) var askedIDs: [String] = []
    private(set) var pages: [EventPage] = []

    init(loop: Loop) { self.loop = loop }

    var state: StoreState { failure == nil ? .connected(serverVersion: "Fake 1") : .failing(reason: "away") }

    func start() {}
    func stop() {}

    func parts(of callID: String, completion: @escaping (Result<StoredParts, StoreError>) -> Void) {
        let result: Result<StoredParts, StoreError> =
            failure.map { .failure($0) } ?? .success(parts[callID] ?? StoredParts())
        loop.schedule(after: .zero) { completion(result) }
    }

    func events(
        ofCalls callIDs: [String], since: Timestamp,
        completion: @escaping (Result<[StoredEvent], StoreError>) -> Void
    ) {
        let found = callIDs.flatMap { events[$0] ?? [] }
        loop.schedule(after: .zero) { completion(.success(found)) }
    }

    func gaps(limit: Int, completion: @escaping (Result<[StoredGap], StoreError>) -> Void) {
        let result: Result<[StoredGap], StoreError> =
            failure.map { .failure($0) } ?? .success(Array(gapRows.prefix(limit)))
        loop.schedule(after: .zero) { completion(result) }
    }

    func steps(_ query: CRMStepQuery, completion: @escaping (Result<CRMStepList, StoreError>) -> Void) {
        queries.append(query)
        let result: Result<CRMStepList, StoreError> = failure.map { .failure($0) } ?? .success(steps)
        loop.schedule(after: .zero) { completion(result) }
    }

    func sightings(completion: @escaping (Result<[PBXSighting], StoreError>) -> Void) {
        loop.schedule(after: .zero) { completion(.success([])) }
    }

    func calls(_ filter: CallFilter, completion: @escaping (Result<[StoredCall], StoreError>) -> Void) {
        filters.append(filter)
        let found = rows.filter {
            (filter.after?.isBefore($0.cursor) ?? true)
                && (filter.status == nil || $0.status == filter.status)
                && (filter.direction == nil || $0.direction == filter.direction)
        }.sorted { $0.cursor.isBefore($1.cursor) }
        let result: Result<[StoredCall], StoreError> =
            failure.map { .failure($0) } ?? .success(Array(found.prefix(filter.limit)))
        loop.schedule(after: .zero) { completion(result) }
    }

    func call(
        id callID: String, events page: EventPage,
        completion: @escaping (Result<StoredCallWithEvents?, StoreError>) -> Void
    ) {
        askedIDs.append(callID)
        pages.append(page)
        let row = rows.first { $0.callID == callID }
        let found = row.map { row in
            let all = (events[callID] ?? []).filter { event in
                page.after.map { (event.occurredAt, event.id) > ($0.occurredAt, $0.id) } ?? true
            }
            return StoredCallWithEvents(call: row, events: Array(all.prefix(page.limit)))
        }
        let result: Result<StoredCallWithEvents?, StoreError> =
            failure.map { .failure($0) } ?? .success(found)
        loop.schedule(after: .zero) { completion(result) }
    }
}

/// The daemon as the API sees it, made of plain values.
final class FakeEnvironment: APIEnvironment {
    let reader: FakeReader
    var now = APIBench.time("2026-02-04T19:30:00.250Z")
    var health = HealthSnapshot(
        pbxs: [LinkStatus(name: "PBX one", state: .ok, text: "connected")],
        database: LinkStatus(name: "Database", state: .ok, text: "SQLite, writing"),
        crm: LinkStatus(name: "Bitrix24", state: .off, text: "not set up"))
    var totalEvents = 0
    var eventsPerType: [(name: String, count: Int)] = []
    var pbxNames = ["one", "two"]
    var live: [CallRecord] = []
    var injected: [TestEvent] = []
    var outcome = TestEventOutcome.accepted
    var extraMetrics = ""

    init(loop: Loop) { reader = FakeReader(loop: loop) }

    var store: any StoreReader { reader }

    func forEachLiveCall(since: Timestamp, _ body: (CallRecord) -> Bool) {
        for record in live where record.startedAt >= since && !body(record) { return }
    }

    func liveCall(callID: String) -> CallRecord? { live.first { $0.callID.string == callID } }

    /// Calls as the engine derives them, by key.
    var looked: [String: LookedCall] = [:]
    var replaySettings = ReplaySettings()

    func look(at callID: String, completion: @escaping (LookedCall?) -> Void) {
        let call = looked[callID]
        reader.loop.schedule(after: .zero) { completion(call) }
    }

    func inject(_ event: TestEvent) -> TestEventOutcome {
        injected.append(event)
        return outcome
    }

    func appendMetrics(to output: inout [UInt8]) { output.append(contentsOf: extraMetrics.utf8) }
}

/// The API on a real socket, over a fake daemon.
final class APIBench {
    let http: HTTPBench
    let environment: FakeEnvironment
    let service: APIService

    init(_ mode: IOMode, limits: HTTPServerLimits = .init()) throws {
        http = try HTTPBench(mode)
        environment = FakeEnvironment(loop: http.loop)
        service = APIService(
            loop: http.loop, environment: environment, metrics: http.metrics, logger: http.log.logger)
        try http.serve(service, limits: limits)
    }

    deinit { service.stop() }

    /// The whole answer to one request on a connection of its own.
    func ask(_ method: String, _ target: String, body: String? = nil) -> Answer {
        var request = "\(method) \(target) HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
        if let body { request += "Content-Length: \(body.utf8.count)\r\n" }
        return Answer(text: http.answer(to: request + "\r\n" + (body ?? "")))
    }

    func get(_ target: String) -> Answer { ask("GET", target) }

    /// An answer taken apart.
    struct Answer {
        let text: String
        var status: Int { Int(text.dropFirst(9).prefix(3)) ?? 0 }
        var body: String { text.httpBody }

        func field(_ name: String) -> String? {
            let head = text.split(separator: "\r\n", omittingEmptySubsequences: false).prefix { !$0.isEmpty }
            let line = head.first { $0.lowercased().hasPrefix(name.lowercased() + ": ") }
            return line.map { String($0.dropFirst(name.count + 2)) }
        }
    }

    static func time(_ text: String) -> Timestamp { Timestamp(text) ?? Timestamp(microseconds: 0) }

    /// A live record.
    static func record(
        _ callID: String, number: UInt64 = 1, status: CallStatus = .ringing, started: String,
        answered: String? = nil, ended: String? = nil, updated: String? = nil, caller: String = "",
        callee: String = "", direction: CallDirection = .inbound, legs: UInt16 = 1, events: UInt32 = 1,
        pbx: UInt16 = 0
    ) -> CallRecord {
        var record = CallRecord(
            id: CallUUID(high: 0x0123_4567_89AB_4DEF, low: 0x8000_0000_0000_0000 | number),
            startedAt: time(started), insertedAt: time(started))
        record.updatedAt = time(updated ?? ended ?? answered ?? started)
        record.answeredAt = answered.map(time)
        record.endedAt = ended.map(time)
        record.status = status
        record.direction = direction
        record.openLegs = legs
        record.eventCount = events
        record.pbx = pbx
        Array(callID.utf8).withUnsafeBytes { _ = record.callID.assign($0) }
        Array(caller.utf8).withUnsafeBytes { _ = record.callerNumber.assign($0) }
        Array(callee.utf8).withUnsafeBytes { _ = record.calleeNumber.assign($0) }
        return record
    }

    /// What follows the contract's members of a call of which nothing was derived.
    static let withoutFacts =
        [
            "outcome", "outcome_text", "outcome_rule", "hung_up_by", "hangup_cause", "sip_code",
            "ring_started_at",
            "talk_started_at", "wait_us", "ring_us", "talk_us", "hold_us", "post_dial_us", "answered_by",
            "operator_number", "transferred_by", "transferred_to", "queue", "attempts", "merged_into", "pbx",
            "bitrix_call_id",
        ].map { #","\#($0)":null"# }.joined()
        + #","ended_estimated":false,"partial":false,"incomplete":false"#

    /// A stored row.
    static func row(
        _ callID: String, number: UInt64 = 1, status: String = "finished", started: String,
        answered: String? = nil, ended: String? = nil, updated: String? = nil, caller: String? = nil,
        callee: String? = nil, direction: String? = "inbound"
    ) -> StoredCall {
        StoredCall(
            id: CallUUID(high: 0x0123_4567_89AB_4DEF, low: 0x8000_0000_0000_0000 | number), callID: callID,
            direction: direction, callerNumber: caller, calleeNumber: callee, status: status,
            startedAt: time(started), answeredAt: answered.map(time), endedAt: ended.map(time),
            insertedAt: time(started), updatedAt: time(updated ?? ended ?? answered ?? started),
            bitrixCallID: nil, outcome: nil, hangupCause: nil, pbx: nil, endedEstimated: false)
    }
}
