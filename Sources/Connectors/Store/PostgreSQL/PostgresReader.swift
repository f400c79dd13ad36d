import CallEngine
package import Logging
package import Protocols
package import Reactor

/// Reads PostgreSQL on connections of their own, never behind the writes.
///
/// A few connections (`StoreSettings.readConnections`) take questions from one bounded queue; the first is there
/// from the start, the others are opened when there is more to do than it can. Each question has a time by which
/// it is answered, waiting included (`StoreSettings.readTimeout`): a server that stands still costs its
/// connection, and questions after that are refused at once until it answers again.
package final class PostgresReader: StoreReader {
    /// A question of the API, in up to four statements.
    private final class Request {
        enum Kind {
            case calls(CallFilter, (Result<[StoredCall], StoreError>) -> Void)
            case call(String, EventPage, (Result<StoredCallWithEvents?, StoreError>) -> Void)
            case parts(String, (Result<StoredParts, StoreError>) -> Void)
            case events([String], since: Timestamp, (Result<[StoredEvent], StoreError>) -> Void)
            case gaps(Int, (Result<[StoredGap], StoreError>) -> Void)
            case sightings((Result<[PBXSighting], StoreError>) -> Void)
            case steps(CRMStepQuery, (Result<CRMStepList, StoreError>) -> Void)
        }

        let kind: Kind
        /// The call's row, once it is found.
        var call: StoredCall?
        /// The call's legs, once they are found.
        var legs: [StoredLeg]?
        /// The bound on the events' time found none: all partitions are looked at.
        var isUnbounded = false
        var timer: TimerID?
        var isOver = false
        weak var lane: PostgresReadLane?

        init(_ kind: Kind) { self.kind = kind }

        func refuse(_ error: StoreError) {
            switch kind {
            case .calls(_, let completion): completion(.failure(error))
            case .call(_, _, let completion): completion(.failure(error))
            case .parts(_, let completion): completion(.failure(error))
            case .events(_, _, let completion): completion(.failure(error))
            case .gaps(_, let completion): completion(.failure(error))
            case .sightings(let completion): completion(.failure(error))
            case .steps(_, let completion): completion(.failure(error))
            }
        }
    }

    private let loop: Loop
    private let settings: StoreSettings
    private let lanes: [PostgresReadLane]
    private var waiting: [Request] = []
    private var isStopped = false

    package init(location: PostgresLocation, loop: Loop, settings: StoreSettings, logger: Logger) {
        self.loop = loop
        self.settings = settings
        let connector = PostgresConnector(location: location, settings: settings)
        lanes = (0..<max(1, settings.readConnections)).map { _ in
            PostgresReadLane(connector: connector, loop: loop, logger: logger)
        }
    }

    package var state: StoreState {
        if isStopped { return .failing(reason: "stopped") }
        let started = lanes.filter(\.isStarted)
        if let working = started.first(where: { $0.state.isConnected }) { return working.state }
        return started.first { $0.state == .connecting }?.state ?? started.first?.state ?? .connecting
    }

    package func start() {
        for lane in lanes { lane.onChange = { [weak self] in self?.laneChanged() } }
        lanes.first?.start()
    }

    package func calls(
        _ filter: CallFilter, completion: @escaping (Result<[StoredCall], StoreError>) -> Void
    ) {
        enqueue(Request(.calls(filter, completion)))
    }

    package func call(
        id callID: String, events page: EventPage,
        completion: @escaping (Result<StoredCallWithEvents?, StoreError>) -> Void
    ) {
        enqueue(Request(.call(callID, page, completion)))
    }

    package func parts(
        of callID: String, completion: @escaping (Result<StoredParts, StoreError>) -> Void
    ) {
        enqueue(Request(.parts(callID, completion)))
    }

    package func events(
        ofCalls callIDs: [String], since: Timestamp,
        completion: @escaping (Result<[StoredEvent], StoreError>) -> Void
    ) {
        enqueue(Request(.events(callIDs, since: since, completion)))
    }

    package func gaps(limit: Int, completion: @escaping (Result<[StoredGap], StoreError>) -> Void) {
        enqueue(Request(.gaps(limit, completion)))
    }

    package func sightings(completion: @escaping (Result<[PBXSighting], StoreError>) -> Void) {
        enqueue(Request(.sightings(completion)))
    }

    package func steps(
        _ query: CRMStepQuery, completion: @escaping (Result<CRMStepList, StoreError>) -> Void
    ) {
        enqueue(Request(.steps(query, completion)))
    }

    package func stop() {
        isStopped = true
        for lane in lanes { lane.stop() }
        failAll(.unavailable("the store is stopping"))
    }
}

// MARK: - Waiting

extension PostgresReader {
    private func enqueue(_ request: Request) {
        var refusal: String?
        if waiting.count >= StoreReads.maximumWaiting { refusal = "too many reads are waiting" }
        if case .failing(let reason) = state { refusal = reason }
        if let refusal {
            // Never before the call returned, as the protocol says.
            loop.schedule(after: .zero) { request.refuse(.unavailable(refusal)) }
            return
        }
        request.timer = loop.schedule(after: limit(of: request)) { [weak self] in self?.expire(request) }
        waiting.append(request)
        sendNext()
    }

    /// How long a request may wait for its answer.
    private func limit(of request: Request) -> Duration {
        // A daemon that starts looks through what an earlier one left open; nobody waits for that.
        if case .calls(let filter, _) = request.kind, filter.openBefore != nil {
            return settings.statementTimeout
        }
        return settings.readTimeout
    }

    private func expire(_ request: Request) {
        guard !request.isOver else { return }
        request.timer = nil
        let reason = "no answer to a read for \(limit(of: request))"
        if let lane = request.lane {
            // Completes the request.
            lane.giveUp(reason)
        } else {
            waiting.removeAll { $0 === request }
            complete(request) { request.refuse(.unavailable(reason)) }
        }
    }

    private func complete(_ request: Request, _ body: () -> Void) {
        guard !request.isOver else { return }
        request.isOver = true
        request.lane = nil
        if let timer = request.timer { loop.cancel(timer) }
        body()
    }

    private func failAll(_ error: StoreError) {
        let lost = waiting
        waiting = []
        for request in lost { complete(request) { request.refuse(error) } }
    }

    private func laneChanged() {
        // With no connection there is nothing to wait for.
        if case .failing(let reason) = state, !isStopped { failAll(.unavailable(reason)) }
        sendNext()
    }

    private func sendNext() {
        while !waiting.isEmpty, let lane = lanes.first(where: \.canAsk) {
            let request = waiting.removeFirst()
            request.lane = lane
            send(request, over: lane)
        }
        // Only when those there are all have work: a lane that cannot connect needs no company.
        if !waiting.isEmpty, lanes.filter(\.isStarted).allSatisfy({ $0.state.isConnected }) {
            lanes.first { !$0.isStarted }?.start()
        }
    }
}

// MARK: - Asking

extension PostgresReader {
    /// Events from before the call's row was made are none of its own; so much for clocks that were set.
    private static let eventMargin = StoreReads.clockMargin

    private func send(_ request: Request, over lane: PostgresReadLane) {
        let (sql, parameters) = statement(for: request, over: lane)
        // The server gives up first, so that its connection need not go.
        let timeout = max(limit(of: request) - .milliseconds(250), .milliseconds(100)).milliseconds
        lane.ask(
            .init(sql: sql, parameters: parameters, timeoutMilliseconds: timeout) { [weak self, weak lane] in
                self?.answered(request, $0, by: lane)
            })
    }

    private func statement(for request: Request, over lane: PostgresReadLane) -> (String, [String?]) {
        switch request.kind {
        case .calls(let filter, _):
            let query = CallListQuery(filter, .postgres)
            return (query.sql, query.values.map(\.text))
        case .gaps(let limit, _):
            return (
                """
                SELECT id, pbx, started_at, ended_at, reason, detail, calls_ended, calls_found, calls_kept,
                    inserted_at
                FROM callflow_gaps ORDER BY started_at DESC, id LIMIT $1::int4
                """, [String(min(max(limit, 0), StoreReads.maximumCalls))]
            )
        case .events(let callIDs, let since, _):
            let first = (since - Self.eventMargin).formatted(.microseconds)
            let bound = lane.eventsArePartitioned ? "AND inserted_at >= $3::timestamp" : ""
            // The start is for the index: one that became part of another is the younger of the two.
            let sql = """
                SELECT id, call_id, event_type, payload, occurred_at, inserted_at, updated_at FROM call_events
                WHERE call_id = ANY ($1::text[] || ARRAY(SELECT call_id::text FROM calls
                    WHERE started_at >= $3::timestamp AND merged_into = ANY ($1::text[]))) \(bound)
                ORDER BY inserted_at, id LIMIT $2::int4
                """
            return (sql, [PostgresText.array(callIDs), String(StoreReads.maximumSharedEvents), first])
        case .parts(let callID, _):
            let sql = (request.legs == nil ? StoredParts.legs : StoredParts.segments) { "$\($0)::text" }
            return (sql, [callID])
        case .steps(let query, _):
            return (
                CRMStepSQL.list(query, columns: PostgresSteps.columns, ("$1::int8", "$2::int4")),
                [String(CRMStepSQL.start(query)), String(query.limit + 1)]
            )
        case .sightings: return ("SELECT pbx, seen_at, started_at FROM callflow_pbx ORDER BY pbx", [])
        case .call(let callID, let page, _):
            guard let call = request.call else {
                return ("SELECT \(CallListQuery.columns) FROM calls WHERE call_id = $1::text", [callID])
            }
            var parameters: [String?] = [callID, String(page.limit)]
            var conditions = ["call_id = $1::text"]
            if lane.eventsArePartitioned, !request.isUnbounded {
                let first = min(call.insertedAt, call.startedAt ?? call.insertedAt) - Self.eventMargin
                parameters.append(first.formatted(.microseconds))
                conditions.append("inserted_at >= $\(parameters.count)::timestamp")
            }
            if let after = page.after {
                parameters += [after.occurredAt.formatted(.microseconds), String(after.id)]
                conditions.append(
                    "(occurred_at, id) > ($\(parameters.count - 1)::timestamp, $\(parameters.count)::int8)")
            }
            let sql = """
                SELECT id, call_id, event_type, payload, occurred_at, inserted_at, updated_at FROM call_events
                WHERE \(conditions.joined(separator: " AND ")) ORDER BY occurred_at, id LIMIT $2::int4
                """
            return (sql, parameters)
        }
    }

    private func answered(
        _ request: Request, _ result: Result<PostgresRows, StoreError>, by lane: PostgresReadLane?
    ) {
        let rows: PostgresRows
        switch result {
        case .success(let found): rows = found
        case .failure(let error): return complete(request) { request.refuse(error) }
        }
        switch request.kind {
        case .calls(_, let completion):
            complete(request) { completion(.success((0..<rows.count).map { rows.row($0).call })) }
        case .gaps(_, let completion):
            complete(request) { completion(.success((0..<rows.count).map { rows.gap($0) })) }
        case .sightings(let completion):
            complete(request) { completion(.success((0..<rows.count).map { rows.sighting($0) })) }
        case .events(_, _, let completion):
            complete(request) { completion(.success((0..<rows.count).map { rows.event($0) })) }
        case .steps(let query, let completion):
            let found = (0..<rows.count).compactMap { rows.step($0) }
            let total = rows.count > 0 ? rows.stepTotal(0) : 0
            complete(request) { completion(.success(CRMStepList(query, found, total: total))) }
        case .parts(_, let completion):
            guard let legs = request.legs else {
                request.legs = (0..<rows.count).map { rows.row($0).leg }
                return goOn(request)
            }
            var parts = StoredParts()
            parts.legs = legs
            parts.segments = (0..<rows.count).map { rows.row($0).segment }
            complete(request) { completion(.success(parts)) }
        case .call(_, let page, let completion):
            guard let call = request.call else {
                guard rows.count > 0 else { return complete(request) { completion(.success(nil)) } }
                request.call = rows.row(0).call
                return goOn(request)
            }
            // Every call has an event: one that seems to have none was dated by clocks that were wrong.
            if rows.count == 0, page.limit > 0, lane?.eventsArePartitioned == true, !request.isUnbounded {
                request.isUnbounded = true
                return goOn(request)
            }
            let events = (0..<rows.count).map { rows.event($0) }
            complete(request) { completion(.success(StoredCallWithEvents(call: call, events: events))) }
        }
    }

    /// The request's next statement, before all that wait.
    private func goOn(_ request: Request) {
        request.lane = nil
        waiting.insert(request, at: 0)
        sendNext()
    }
}
