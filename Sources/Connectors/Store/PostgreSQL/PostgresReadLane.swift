import CLibPQ
import Glibc
import Logging
import Reactor

/// One connection for reads, or for the steps of a CRM: one query at a time, on the loop.
///
///     idle ──start──▶ connecting ──session ready──▶ ready ──question──▶ ready, busy
///                         ▲    └──refused──▶ waiting ◀──lost or given up──┘
///                         └──backoff over───────┘
final class PostgresReadLane: DescriptorHandler {
    private enum Link {
        case idle
        case connecting
        case ready(PostgresConnection, WatchID)
        case waiting(TimerID)
        case stopped
    }

    /// A statement and who waits for its rows.
    struct Question {
        var sql: String
        var parameters: [String?]
        /// What the server may take for it.
        var timeoutMilliseconds: Int64
        /// The rows, borrowed until it returns, or what went wrong.
        var answer: (Result<PostgresRows, StoreError>) -> Void
    }

    /// How often a lane that reads from a standby looks for the primary.
    static let standbyRecheck: Duration = .seconds(10)

    /// How often input is taken before others have their turn: a megabyte, some hundred microseconds.
    private static let readsATurn = 64

    private let connector: PostgresConnector
    private let purpose: PostgresPurpose
    private let loop: Loop
    private let logger: Logger
    private let connections = Mailbox<Result<PostgresConnection, StoreError>>(capacity: 4)
    private var link = Link.idle
    private var backoff: Backoff
    private var active: (question: Question, answer: OpaquePointer?)?
    /// The session's limit is being set to what the question wants.
    private var isSettingTimeout = false
    private var timeoutMilliseconds: Int64 = 0
    private var recheck: TimerID?
    private var isRechecking = false

    private(set) var state = StoreState.connecting
    /// Told when `state` or `canAsk` changed.
    var onChange: (() -> Void)?

    init(
        connector: PostgresConnector, loop: Loop, logger: Logger, purpose: PostgresPurpose = .reader
    ) {
        self.connector = connector
        self.purpose = purpose
        self.loop = loop
        self.logger = logger
        backoff = Backoff(
            initial: connector.settings.reconnectInitial, maximum: connector.settings.reconnectMaximum)
    }

    deinit {
        if let active { PQclear(active.answer) }
    }

    var isStarted: Bool {
        if case .idle = link { return false }
        return true
    }

    /// Whether it is connected and has nothing to do.
    var canAsk: Bool {
        if case .ready = link { return active == nil }
        return false
    }

    /// Whether the session sees partitions that a bound on `inserted_at` leaves out.
    var eventsArePartitioned: Bool {
        if case .ready(let connection, _) = link { return connection.eventsArePartitioned }
        return false
    }

    func start() {
        guard !isStarted else { return }
        loop.attach(connections) { [weak self] in self?.connected($0) }
        connect()
    }

    func stop() {
        switch link {
        case .ready(_, let watch): loop.unwatch(watch)
        case .waiting(let timer): loop.cancel(timer)
        case .idle, .connecting, .stopped: break
        }
        if let recheck { loop.cancel(recheck) }
        link = .stopped
        state = .failing(reason: "stopped")
        fail("the store is stopping")
    }

    /// Sends a question; allowed while `canAsk`.
    func ask(_ question: Question) {
        guard case .ready(let connection, _) = link else {
            return question.answer(.failure(.unavailable("not connected")))
        }
        active = (question, nil)
        isSettingTimeout = question.timeoutMilliseconds != timeoutMilliseconds
        let sent =
            isSettingTimeout
            ? PQsendQuery(connection.handle, "SET statement_timeout = \(question.timeoutMilliseconds)") == 1
            : send(question, over: connection.handle)
        guard sent else {
            // Nobody is answered from inside his question.
            let reason = connection.message
            loop.schedule(after: .zero) { [weak self] in self?.lose(reason) }
            return
        }
        flush()
    }

    /// Closes a connection whose server does not answer, and seeks another.
    func giveUp(_ reason: String) { lose(reason) }

    private func fail(_ reason: String) {
        guard let (question, answer) = active else { return }
        active = nil
        PQclear(answer)
        question.answer(.failure(.unavailable(reason)))
    }
}

// MARK: - Connecting

extension PostgresReadLane {
    private func connect() {
        link = .connecting
        seek { [weak self] in self?.connected($0) }
    }

    private func seek(_ failed: (Result<PostgresConnection, StoreError>) -> Void) {
        let (connector, connections, purpose) = (connector, connections, purpose)
        let started = BackgroundThread.run { _ = connections.post(connector.connect(for: purpose)) }
        if !started { failed(.failure(.unavailable("no thread to connect with"))) }
    }

    private func connected(_ result: Result<PostgresConnection, StoreError>) {
        switch link {
        case .connecting:
            switch result {
            case .success(let connection): take(connection)
            case .failure(let error): retry(error.description)
            }
        case .ready(let former, let watch) where isRechecking:
            isRechecking = false
            // The primary is back: reads from it lack nothing.
            if case .success(let connection) = result, !connection.isStandby, former.isStandby, active == nil
            {
                loop.unwatch(watch)
                take(connection)
            } else {
                armRecheck()
            }
        case .idle, .ready, .waiting, .stopped:
            // A connection that nobody wants any more closes with `result`.
            break
        }
    }

    private func take(_ connection: PostgresConnection) {
        guard PQsetnonblocking(connection.handle, 1) == 0 else { return retry(connection.message) }
        let watch = loop.watch(PQsocket(connection.handle), readable: true, writable: false, handler: self)
        link = .ready(connection, watch)
        timeoutMilliseconds = connector.sessionTimeout(for: purpose).milliseconds
        state = .connected(serverVersion: connection.serverVersion)
        backoff.reset()
        armRecheck()
        onChange?()
    }

    private func armRecheck() {
        guard case .ready(let connection, _) = link, connection.isStandby, connector.prefersPrimary else {
            return
        }
        recheck = loop.schedule(after: Self.standbyRecheck) { [weak self] in
            guard let self, case .ready(let connection, _) = link else { return }
            guard connection.isStandby else { return }
            isRechecking = true
            seek { [weak self] _ in
                self?.isRechecking = false
                self?.armRecheck()
            }
        }
    }

    private func retry(_ reason: String) {
        // The writers log what is wrong with the database; once is enough.
        logger.debug("store: reader: \(reason)")
        link = .waiting(loop.schedule(after: backoff.next()) { [weak self] in self?.connect() })
        state = .failing(reason: reason)
        fail(reason)
        onChange?()
    }

    private func lose(_ reason: String) {
        guard case .ready(_, let watch) = link else { return }
        loop.unwatch(watch)
        isRechecking = false
        if let recheck { loop.cancel(recheck) }
        recheck = nil
        retry(reason)
    }
}

// MARK: - Asking

extension PostgresReadLane {
    private func send(_ question: Question, over handle: OpaquePointer) -> Bool {
        // A U+0000 would end the text early; no stored text holds one, so nothing is found either way.
        var values = question.parameters.map { $0.flatMap { UnsafePointer(strdup($0)) } }
        defer { for value in values { free(UnsafeMutablePointer(mutating: value)) } }
        return PQsendQueryParams(handle, question.sql, Int32(values.count), nil, &values, nil, nil, 1) == 1
    }

    private func flush() {
        guard case .ready(let connection, let watch) = link else { return }
        switch PQflush(connection.handle) {
        case 0: loop.update(watch, readable: true, writable: false)
        case 1: loop.update(watch, readable: true, writable: true)
        default: lose(connection.message)
        }
    }

    func ready(readable: Bool, writable: Bool) {
        guard case .ready(let connection, _) = link else { return }
        if readable {
            // libpq takes 16 KiB at a time, and the loop paces its turns: a long answer would come by 4 MiB a second.
            var reads = 0
            repeat {
                guard PQconsumeInput(connection.handle) == 1 else { return lose(connection.message) }
                takeResults(connection)
                // The answer may have led to another connection, or to none.
                guard case .ready(let now, _) = link, now === connection else { return }
                if PQstatus(connection.handle) == CONNECTION_BAD { return lose(connection.message) }
                reads += 1
            } while reads < Self.readsATurn && connection.hasInput
        }
        flush()
    }

    private func takeResults(_ connection: PostgresConnection) {
        while PQisBusy(connection.handle) == 0, active != nil {
            if let result = PQgetResult(connection.handle) {
                PQclear(active?.answer)
                active?.answer = result
            } else {
                finish(connection)
            }
        }
    }

    private func finish(_ connection: PostgresConnection) {
        guard let (question, answer) = active else { return }
        if isSettingTimeout, PQresultStatus(answer) == PGRES_COMMAND_OK {
            isSettingTimeout = false
            timeoutMilliseconds = question.timeoutMilliseconds
            PQclear(answer)
            active?.answer = nil
            if !send(question, over: connection.handle) { lose(connection.message) }
            return
        }
        isSettingTimeout = false
        active = nil
        defer { PQclear(answer) }
        if PQresultStatus(answer) == PGRES_TUPLES_OK {
            question.answer(.success(PostgresRows(answer)))
        } else {
            question.answer(.failure(connection.error(of: answer)))
        }
        onChange?()
    }
}
