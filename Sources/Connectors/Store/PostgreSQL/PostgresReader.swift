import CLibPQ
import CallEngine
import Glibc
package import Logging
import Protocols
package import Reactor

/// Reads PostgreSQL on a connection of its own: one query at a time, on the loop, behind a bounded queue.
///
/// While the database is away reads are answered `unavailable` at once, and a connection is sought.
package final class PostgresReader: StoreReader, DescriptorHandler {
    private enum Link {
        case idle
        case connecting
        case ready(PostgresConnection, WatchID)
        case waiting(TimerID)
        case stopped
    }

    private enum Request {
        case calls(CallFilter, (Result<[StoredCall], StoreError>) -> Void)
        case call(String, (Result<StoredCallWithEvents?, StoreError>) -> Void)
        /// The second half of `call`.
        case events(of: StoredCall, (Result<StoredCallWithEvents?, StoreError>) -> Void)
    }

    private let location: PostgresLocation
    private let loop: Loop
    private let settings: StoreSettings
    private let logger: Logger
    private let connections = Mailbox<Result<PostgresConnection, StoreError>>(capacity: 4)
    private var link = Link.idle
    private var waiting: [Request] = []
    private var active: (request: Request, answer: OpaquePointer?, timer: TimerID)?
    private var backoff: Backoff

    package private(set) var state = StoreState.connecting

    package init(location: PostgresLocation, loop: Loop, settings: StoreSettings, logger: Logger) {
        self.location = location
        self.loop = loop
        self.settings = settings
        self.logger = logger
        backoff = Backoff(initial: settings.reconnectInitial, maximum: settings.reconnectMaximum)
    }

    deinit {
        if let active { PQclear(active.answer) }
    }

    package func start() {
        guard case .idle = link else { return }
        loop.attach(connections) { [weak self] in self?.connected($0) }
        connect()
    }

    package func calls(
        _ filter: CallFilter, completion: @escaping (Result<[StoredCall], StoreError>) -> Void
    ) {
        enqueue(.calls(filter, completion))
    }

    package func call(
        id callID: String, completion: @escaping (Result<StoredCallWithEvents?, StoreError>) -> Void
    ) {
        enqueue(.call(callID, completion))
    }

    package func stop() {
        switch link {
        case .ready(_, let watch): loop.unwatch(watch)
        case .waiting(let timer): loop.cancel(timer)
        case .idle, .connecting, .stopped: break
        }
        link = .stopped
        state = .failing(reason: "stopped")
        failAll("the store is stopping")
    }

    private func enqueue(_ request: Request) {
        var refusal: String?
        if waiting.count >= StoreReads.maximumWaiting { refusal = "too many reads are waiting" }
        if case .failing(let reason) = state { refusal = reason }
        if let refusal {
            // Never before the call returned, as the protocol says.
            loop.schedule(after: .zero) { self.refuse(request, .unavailable(refusal)) }
            return
        }
        waiting.append(request)
        sendNext()
    }

    private func refuse(_ request: Request, _ error: StoreError) {
        switch request {
        case .calls(_, let completion): completion(.failure(error))
        case .call(_, let completion), .events(_, let completion): completion(.failure(error))
        }
    }

    private func failAll(_ reason: String) {
        var lost = waiting
        waiting = []
        if let active {
            PQclear(active.answer)
            loop.cancel(active.timer)
            lost.insert(active.request, at: 0)
        }
        active = nil
        for request in lost { refuse(request, .unavailable(reason)) }
    }
}

// MARK: - Connecting

extension PostgresReader {
    private func connect() {
        link = .connecting
        let connector = PostgresConnector(location: location, settings: settings)
        let connections = connections
        let started = BackgroundThread.run { _ = connections.post(connector.connect(for: .reader)) }
        if !started { connected(.failure(.unavailable("no thread to connect with"))) }
    }

    private func connected(_ result: Result<PostgresConnection, StoreError>) {
        guard case .connecting = link else { return }
        switch result {
        case .success(let connection):
            guard PQsetnonblocking(connection.handle, 1) == 0 else { return retry(connection.message) }
            let watch = loop.watch(
                PQsocket(connection.handle), readable: true, writable: false, handler: self)
            link = .ready(connection, watch)
            state = .connected(serverVersion: connection.serverVersion)
            backoff.reset()
            sendNext()
        case .failure(let error): retry(error.description)
        }
    }

    private func retry(_ reason: String) {
        // The writers log what is wrong with the database; once is enough.
        logger.debug("store: reader: \(reason)")
        link = .waiting(loop.schedule(after: backoff.next()) { [weak self] in self?.connect() })
        state = .failing(reason: reason)
        failAll(reason)
    }

    private func lose(_ reason: String) {
        guard case .ready(_, let watch) = link else { return }
        loop.unwatch(watch)
        retry(reason)
    }
}

// MARK: - Asking

extension PostgresReader {
    private static let callColumns = """
        id, call_id, direction, caller_number, callee_number, status, started_at, answered_at, ended_at,
        inserted_at, updated_at, bitrix_call_id, outcome, hangup_cause, pbx, ended_estimated
        """

    /// Parsed anew for each query, so that the planner knows which filters there are.
    ///
    /// Rows without a start (only another daemon can have made them) come last; asked for apart, the index
    /// serves the order.
    private static let listCalls = """
        (SELECT \(callColumns) FROM calls WHERE started_at IS NOT NULL AND outcome IS DISTINCT FROM 'merged'
            AND ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR direction = $2)
            AND ($4::timestamp IS NULL OR (status IN ('ringing', 'answered') AND inserted_at < $4))
            ORDER BY started_at DESC, id LIMIT $3::int4)
        UNION ALL
        (SELECT \(callColumns) FROM calls WHERE started_at IS NULL AND outcome IS DISTINCT FROM 'merged'
            AND ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR direction = $2)
            AND ($4::timestamp IS NULL OR (status IN ('ringing', 'answered') AND inserted_at < $4))
            ORDER BY id LIMIT $3::int4)
        LIMIT $3::int4
        """

    private static let findCall = "SELECT \(callColumns) FROM calls WHERE call_id = $1::text"

    private static let listEvents = """
        SELECT id, call_id, event_type, payload, occurred_at, inserted_at, updated_at FROM call_events
        WHERE call_id = $1::text ORDER BY occurred_at, id LIMIT \(StoreReads.maximumEvents)
        """

    private func sendNext() {
        guard case .ready(let connection, _) = link, active == nil, !waiting.isEmpty else { return }
        let request = waiting.removeFirst()
        let timer = loop.schedule(after: settings.readTimeout + .seconds(5)) { [weak self] in
            self?.lose("no answer to a read")
        }
        active = (request, nil, timer)
        let sent =
            switch request {
            case .calls(let filter, _):
                send(
                    Self.listCalls,
                    [
                        filter.status, filter.direction,
                        String(filter.boundedLimit), filter.openBefore?.formatted(.microseconds),
                    ], over: connection.handle)
            case .call(let callID, _): send(Self.findCall, [callID], over: connection.handle)
            case .events(let call, _): send(Self.listEvents, [call.callID], over: connection.handle)
            }
        guard sent else { return lose(connection.message) }
        flush()
    }

    private func send(_ sql: String, _ parameters: [String?], over handle: OpaquePointer) -> Bool {
        // A U+0000 would end the text early; no stored text holds one, so nothing is found either way.
        var values = parameters.map { $0.flatMap { UnsafePointer(strdup($0)) } }
        defer { for value in values { free(UnsafeMutablePointer(mutating: value)) } }
        return PQsendQueryParams(handle, sql, Int32(values.count), nil, &values, nil, nil, 1) == 1
    }

    private func flush() {
        guard case .ready(let connection, let watch) = link else { return }
        switch PQflush(connection.handle) {
        case 0: loop.update(watch, readable: true, writable: false)
        case 1: loop.update(watch, readable: true, writable: true)
        default: lose(connection.message)
        }
    }

    package func ready(readable: Bool, writable: Bool) {
        guard case .ready(let connection, _) = link else { return }
        if readable {
            guard PQconsumeInput(connection.handle) == 1 else { return lose(connection.message) }
            while PQisBusy(connection.handle) == 0, active != nil {
                if let result = PQgetResult(connection.handle) {
                    PQclear(active?.answer)
                    active?.answer = result
                } else {
                    finishActive(connection)
                }
            }
            if PQstatus(connection.handle) == CONNECTION_BAD { return lose(connection.message) }
        }
        flush()
    }

    private func finishActive(_ connection: PostgresConnection) {
        guard let (request, answer, timer) = active else { return }
        active = nil
        loop.cancel(timer)
        defer { PQclear(answer) }
        guard PQresultStatus(answer) == PGRES_TUPLES_OK else {
            refuse(request, connection.error(of: answer))
            return sendNext()
        }
        let rows = PostgresRows(answer)
        switch request {
        case .calls(_, let completion):
            completion(.success((0..<rows.count).map { rows.call($0) }))
        case .call(_, let completion):
            if rows.count > 0 {
                waiting.insert(.events(of: rows.call(0), completion), at: 0)
            } else {
                completion(.success(nil))
            }
        case .events(let call, let completion):
            let events = (0..<rows.count).map { rows.event($0) }
            completion(.success(StoredCallWithEvents(call: call, events: events)))
        }
        sendNext()
    }
}
