import CLibPQ
import Glibc
import Protocols

/// A connection that libpq opened, owned by whoever holds this; closed with it.
///
/// Used by one thread at a time: the connecting thread makes it and hands it over whole, hence `@unchecked`.
final class PostgresConnection: @unchecked Sendable {
    let handle: OpaquePointer
    /// The last batches of the writer and of former ones that earlier sessions committed.
    fileprivate(set) var committedBatches: Set<BatchID> = []
    /// Which server it leads to; `nil` where it does not tell, and for readers.
    fileprivate(set) var identity: PostgresIdentity?
    /// Whether `call_events` is partitioned by us, as far as its reader or writer was told when it connected.
    fileprivate(set) var eventsArePartitioned = false
    /// Whether the times of `call_events` are whole seconds; of a writer's session.
    fileprivate(set) var eventsInSeconds = false
    /// How far the server's clock was ahead of ours when this was opened, in microseconds; of a writer's session.
    fileprivate(set) var clockAhead: Int64 = 0
    /// Migrations applied while this connection was set up.
    fileprivate(set) var appliedMigrations: [Migration] = []
    /// Partitions made while this connection was set up.
    fileprivate(set) var madePartitions: [String] = []
    private let location: PostgresLocation

    fileprivate init(_ handle: OpaquePointer, location: PostgresLocation) {
        self.handle = handle
        self.location = location
        // Notices would go to standard error.
        PQsetNoticeReceiver(handle, { _, _ in }, nil)
    }

    deinit { PQfinish(handle) }

    /// "PostgreSQL 15.20" and the like.
    var serverVersion: String {
        let version = PQserverVersion(handle)
        return "PostgreSQL \(version / 10_000).\(version % 10_000)"
    }

    /// Whether it leads to a standby; the server tells when that changes (PostgreSQL 14 and newer).
    var isStandby: Bool {
        PQparameterStatus(handle, "in_hot_standby").map { String(cString: $0) } == "on"
    }

    /// Whether the socket has bytes that libpq has not taken.
    var hasInput: Bool {
        var watched = pollfd(fd: PQsocket(handle), events: Int16(POLLIN), revents: 0)
        return poll(&watched, 1, 0) == 1
    }

    /// libpq's last message on one line, without the password.
    var message: String { Self.line(PQerrorMessage(handle), location) }

    fileprivate static func line(_ text: UnsafePointer<CChar>?, _ location: PostgresLocation) -> String {
        let lines = text.map { String(cString: $0) } ?? ""
        let joined = lines.split(separator: "\n").map { $0.drop { $0 == " " || $0 == "\t" } }
            .joined(separator: "; ")
        return location.scrubbed(joined.isEmpty ? "no reason given" : joined)
    }
}

/// What a connection is for.
enum PostgresPurpose: Sendable {
    /// Tables brought up to date, former session ended, statements prepared, pipeline mode.
    case writer(PostgresCommitLedger)
    /// Read-only transactions.
    case reader
    /// Tables brought up to date, nothing else; for `PostgresSteps`.
    case steps
    /// Tables brought up to date, partitions made, nothing else.
    case migration
    /// Nothing but the session; for `PostgresUpkeep`.
    case upkeep
}

/// Opens connections, blocking: to be called on a thread of its own.
///
/// libpq's `PQconnectPoll` is not used on the loop, because it still blocks in three places: resolving each
/// host's name (`getaddrinfo`, for every host of a list), reading certificate and password files, and GSSAPI.
/// A short-lived thread per attempt takes all of them off the loop; the finished connection, with its session
/// set up and its statements prepared, is handed to the loop, which from then on does all I/O of it.
struct PostgresConnector: Sendable {
    private(set) var location: PostgresLocation
    let settings: StoreSettings
    /// The server of the last session: one that it has left behind is not written to.
    var known: PostgresIdentity?

    /// Seconds without an answer after which the kernel gives a connection up.
    static let keepaliveIdleSeconds = 15
    static let keepaliveIntervalSeconds = 5
    static let keepaliveCount = 3
    /// Milliseconds that sent data may stay unacknowledged.
    static let userTimeoutMilliseconds = 30_000

    /// What libpq is given: the operator's parameters, and ours where there are none.
    func parameters(for purpose: PostgresPurpose) -> [(keyword: String, value: String)] {
        var location = location
        location.setDefault("application_name", settings.applicationName)
        location.setDefault("connect_timeout", String(max(2, settings.connectTimeout.components.seconds)))
        location.setDefault("keepalives_idle", String(Self.keepaliveIdleSeconds))
        location.setDefault("keepalives_interval", String(Self.keepaliveIntervalSeconds))
        location.setDefault("keepalives_count", String(Self.keepaliveCount))
        location.setDefault("tcp_user_timeout", String(Self.userTimeoutMilliseconds))
        location.set("client_encoding", "UTF8")
        let wanted = location["target_session_attrs"]
        if case .reader = purpose {
            if location.hasSeveralHosts, wanted == nil { location.set("target_session_attrs", "read-write") }
        } else if location.hasSeveralHosts || wanted != nil, wanted != "any", wanted != "primary" {
            // What asks for a standby is meant for reads.
            location.set("target_session_attrs", "read-write")
        }
        return location.parameters
    }

    /// Whether reads should come from the primary while there is one, since a standby may lag.
    var prefersPrimary: Bool { location.hasSeveralHosts && location["target_session_attrs"] == nil }

    /// Opens a connection and sets its session up.
    func connect(for purpose: PostgresPurpose) -> Result<PostgresConnection, StoreError> {
        do throws(StoreError) {
            var connector = self
            while true {
                let connection = try connector.open(for: purpose)
                if let known, case .writer = purpose {
                    connection.identity = try? PostgresIdentity(connection)
                    if let identity = connection.identity, known.isNewer(than: identity) {
                        connector.location = try connector.location(without: connection, known, identity)
                        continue
                    }
                }
                try setUp(connection, for: purpose)
                return .success(connection)
            }
        } catch {
            return .failure(error)
        }
    }

    /// The other servers, when this one is a primary that was left behind and came back.
    private func location(
        without former: PostgresConnection, _ known: PostgresIdentity, _ found: PostgresIdentity
    ) throws(StoreError) -> PostgresLocation {
        let host = PQhost(former.handle).map { String(cString: $0) } ?? ""
        let port = PQport(former.handle).map { String(cString: $0) } ?? ""
        if let others = location.without(host: host, port: port) { return others }
        throw .unavailable(
            """
            PostgreSQL: the server is a former primary (timeline \(found.timeline), rows were written on \
            \(known.timeline)); what it took would be lost
            """)
    }

    private func open(for purpose: PostgresPurpose) throws(StoreError) -> PostgresConnection {
        do throws(StoreError) {
            return try open(parameters(for: purpose))
        } catch {
            guard case .reader = purpose, prefersPrimary else { throw error }
            // Without a primary a standby answers reads.
            let anywhere = parameters(for: purpose).filter { $0.keyword != "target_session_attrs" }
            return try open(anywhere)
        }
    }

    private func open(
        _ parameters: [(keyword: String, value: String)]
    ) throws(StoreError) -> PostgresConnection {
        // libpq wants two arrays of C strings, ended by NULL.
        var keywords = parameters.map { UnsafePointer(strdup($0.keyword)) }
        var values = parameters.map { UnsafePointer(strdup($0.value)) }
        defer {
            for text in keywords + values { free(UnsafeMutablePointer(mutating: text)) }
        }
        keywords.append(nil)
        values.append(nil)
        guard let handle = PQconnectdbParams(keywords, values, 0) else {
            throw .unavailable("PostgreSQL: out of memory")
        }
        let connection = PostgresConnection(handle, location: location)
        guard PQstatus(handle) == CONNECTION_OK else { throw .unavailable(connection.message) }
        return connection
    }

    /// What a statement may take, unless it says otherwise.
    func sessionTimeout(for purpose: PostgresPurpose) -> Duration {
        if case .reader = purpose { return settings.readTimeout }
        return settings.statementTimeout
    }

    private func setUp(_ connection: PostgresConnection, for purpose: PostgresPurpose) throws(StoreError) {
        let timeout = sessionTimeout(for: purpose)
        try connection.execute(
            """
            SET statement_timeout = \(timeout.milliseconds); SET timezone = 'UTC';
            SET idle_in_transaction_session_timeout = \(timeout.milliseconds)
            """)
        if case .reader = purpose {
            // Every read of ours is short: starting workers or compiling takes longer than it (docs/growth.md).
            try connection.execute(
                "SET default_transaction_read_only = on; SET max_parallel_workers_per_gather = 0; SET jit = off"
            )
            connection.eventsArePartitioned = try connection.text(PostgresEventTable.isPartitioned) == "t"
            return
        }
        // A standby, or a server that a failover left read-only: it would look well until the first row.
        if try connection.text("SHOW transaction_read_only") == "on" {
            throw .unavailable("PostgreSQL: the server is read-only")
        }
        if case .upkeep = purpose { return }
        connection.appliedMigrations = try PostgresMigrator(connection: connection).run()
        if case .steps = purpose { return }
        try makePartitions(connection, for: purpose)
        guard case .writer(let ledger) = purpose else { return }
        // One plan for all batches: planned anew for each, a small batch costs more in the planner than in its rows.
        if PQserverVersion(connection.handle) >= 120_000 {
            try connection.execute("SET plan_cache_mode = force_generic_plan")
        }
        connection.committedBatches = try ledger.takeOver(connection)
        if connection.identity == nil { connection.identity = try? PostgresIdentity(connection) }
        let coarse = try connection.text(PostgresStatements.precision) ?? ""
        let tables = coarse.split(separator: ",")
        connection.eventsInSeconds = tables.contains { $0.hasSuffix("call_events") }
        connection.eventsArePartitioned = try connection.text(PostgresEventTable.isPartitioned) == "t"
        let time = try connection.text("SELECT (extract(epoch FROM localtimestamp) * 1000000)::int8")
        connection.clockAhead = time.flatMap { Int64($0) }.map { $0 - WallClock.now().microseconds } ?? 0
        let statements = PostgresStatements(
            eventsInSeconds: connection.eventsInSeconds,
            callsInSeconds: tables.contains { $0.hasSuffix("calls") },
            eventsArePartitioned: connection.eventsArePartitioned)
        try connection.prepare(PostgresStatements.insertEventsName, statements.insertEvents)
        try connection.prepare(PostgresStatements.upsertCallsName, statements.upsertCalls)
        try connection.prepare(PostgresStatements.insertLegsName, statements.insertLegs)
        try connection.prepare(PostgresStatements.insertSegmentsName, statements.insertSegments)
        try connection.prepare(PostgresStatements.deleteSurplusName, statements.deleteSurplus)
        try connection.prepare(PostgresStatements.updateCRMName, statements.updateCRM)
        try connection.prepare(PostgresStatements.insertGapsName, statements.insertGaps)
        try connection.prepare(PostgresStatements.upsertSightingsName, statements.upsertSightings)
        try connection.prepare(PostgresStatements.insertStepsName, statements.insertSteps)
        try connection.prepare(PostgresCommitLedger.noteName, PostgresCommitLedger.note)
        guard PQsetnonblocking(connection.handle, 1) == 0, PQenterPipelineMode(connection.handle) == 1 else {
            throw .unavailable(connection.message)
        }
    }
}

extension PostgresConnector {
    /// No batch may find that its day has no partition; days to come can wait for the upkeep.
    private func makePartitions(
        _ connection: PostgresConnection, for purpose: PostgresPurpose
    ) throws(StoreError) {
        do throws(StoreError) {
            let upkeep = PostgresUpkeep(connection: connection, retentionDays: settings.eventRetentionDays)
            connection.madePartitions = try upkeep.makePartitions()
        } catch {
            guard case .writer = purpose, let table = try PostgresEventTable(connection),
                PartitionPlan(today: table.today, retentionDays: nil).holdsWindow(table.covered)
            else { throw error }
        }
    }
}

extension PostgresConnection {
    /// Runs statements, blocking; only while the connection is being set up.
    func execute(_ sql: String) throws(StoreError) {
        let result = PQexec(handle, sql)
        defer { PQclear(result) }
        try check(result)
    }

    /// Runs a statement, blocking, and gives the first value of its first row.
    func text(_ sql: String) throws(StoreError) -> String? {
        let result = PQexec(handle, sql)
        defer { PQclear(result) }
        try check(result)
        guard PQntuples(result) > 0, PQgetisnull(result, 0, 0) == 0 else { return nil }
        return PQgetvalue(result, 0, 0).map { String(cString: $0) }
    }

    /// Runs a statement, blocking, and gives its rows as text; `nil` is NULL.
    ///
    /// - Parameter parameters: `$1` and so on, as text.
    func rows(_ sql: String, _ parameters: [String] = []) throws(StoreError) -> [[String?]] {
        var values = parameters.map { UnsafePointer(strdup($0)) }
        defer { for value in values { free(UnsafeMutablePointer(mutating: value)) } }
        let result =
            parameters.isEmpty
            ? PQexec(handle, sql)
            : PQexecParams(handle, sql, Int32(values.count), nil, &values, nil, nil, 0)
        defer { PQclear(result) }
        try check(result)
        return (0..<PQntuples(result)).map { row in
            (0..<PQnfields(result)).map { column in
                guard PQgetisnull(result, row, column) == 0 else { return nil }
                return PQgetvalue(result, row, column).map { String(cString: $0) }
            }
        }
    }

    /// Prepares a statement, blocking.
    func prepare(_ name: String, _ sql: String) throws(StoreError) {
        let result = PQprepare(handle, name, sql, 0, nil)
        defer { PQclear(result) }
        try check(result)
    }

    private func check(_ result: OpaquePointer?) throws(StoreError) {
        switch PQresultStatus(result) {
        case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY: return
        default: throw error(of: result)
        }
    }

    /// What an error result means to the store.
    ///
    /// The primary message only: details may quote the row.
    func error(of result: OpaquePointer?) -> StoreError {
        let code = PQresultErrorField(result, PostgresField.sqlState).map { String(cString: $0) } ?? ""
        let primary = PQresultErrorField(result, PostgresField.messagePrimary)
        let text = "PostgreSQL: \(Self.line(primary ?? PQerrorMessage(handle), location))"
        // A constraint that has no name is the routing to partitions: the day has none, the row is well.
        if code == "23514", PQresultErrorField(result, PostgresField.constraintName) == nil {
            return .unavailable("\(text) (\(code))")
        }
        switch code.prefix(2) {
        // Data exception, integrity, cardinality; program limits (a value too large or too deep).
        case "22", "23", "21", "54": return .data(code: code, text)
        // Rollback (deadlock, serialisation), a lock timeout; 57014 is our statement timeout.
        case "40", "55": return .transient("\(text) (\(code))")
        default:
            if code == "57014" { return .transient("\(text) (\(code))") }
            return .unavailable(code.isEmpty ? text : "\(text) (\(code))")
        }
    }
}

/// `PG_DIAG_…` of libpq; character constants do not reach Swift as numbers of the right type.
enum PostgresField {
    static let sqlState = Int32(UInt8(ascii: "C"))
    static let messagePrimary = Int32(UInt8(ascii: "M"))
    static let constraintName = Int32(UInt8(ascii: "n"))
}

extension Duration {
    /// Whole milliseconds.
    var milliseconds: Int64 {
        components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000
    }
}

extension PostgresIdentity {
    /// Asks the server.
    fileprivate init(_ connection: PostgresConnection) throws(StoreError) {
        let row = try connection.rows(Self.query).first ?? []
        guard row.count == 2, let system = row[0], let timeline = Int(row[1] ?? "") else {
            throw .unavailable("PostgreSQL: the server does not tell which it is")
        }
        self.init(system: system, timeline: timeline)
    }
}
