import CLibPQ
import Glibc

/// Where a run's rows go: a private PostgreSQL made by `Scripts/db`, or a file.
final class Database {
    private let root: String
    private let folder: String
    let url: String
    private let isPostgres: Bool

    init(_ kind: Scenario.StoreKind, root: String, folder: String) throws(LoadError) {
        self.root = root
        self.folder = folder
        isPostgres = kind == .postgres
        guard isPostgres else {
            url = "sqlite:\(folder)/store.sqlite3"
            return
        }
        let port = UInt16.random(in: 20_000..<32_000)
        url = "postgres://postgres@127.0.0.1:\(port)/postgres"
        let made = try Subprocess.run(
            ["\(root)/Scripts/db", "up", "--folder", "\(folder)/db", "--port", "\(port)"],
            log: "\(folder)/db.log")
        guard made == 0 else { throw LoadError("no PostgreSQL: \(Files.read("\(folder)/db.log") ?? "")") }
    }

    deinit {
        if isPostgres {
            _ = try? Subprocess.run(["\(root)/Scripts/db", "down", "--folder", "\(folder)/db"])
        }
    }

    /// Rows of `call_events` by call, and the outcome of each call's row.
    func stored() throws(LoadError) -> (events: [String: Int], outcomes: [String: String]) {
        var events: [String: Int] = [:]
        for row in try rows("SELECT call_id, count(*) FROM call_events GROUP BY 1") {
            events[row[0]] = Int(row[1])
        }
        var outcomes: [String: String] = [:]
        for row in try rows("SELECT call_id, coalesce(outcome, '') FROM calls") { outcomes[row[0]] = row[1] }
        return (events, outcomes)
    }

    /// Rows of `call_events`.
    func eventCount() throws(LoadError) -> Int {
        try rows("SELECT count(*) FROM call_events").first.flatMap { Int($0[0]) } ?? 0
    }

    /// How long after they were due events were received: how many, by whole milliseconds.
    ///
    /// Due by the PBX's schedule, which no reader holds up; so it tells what waited anywhere before the daemon looked at its clock.
    ///
    /// - Parameter seconds: Those of so many first seconds are left out.
    func lateness(after seconds: Double) throws(LoadError) -> [Int: Int] {
        let query =
            isPostgres
            ? """
            SELECT greatest(0, floor(extract(epoch FROM inserted_at - occurred_at) * 1000))::int, count(*) FROM call_events
            WHERE occurred_at > (SELECT min(occurred_at) FROM call_events) + \(Int(seconds * 1000)) * interval '1 ms' GROUP BY 1
            """
            : """
            SELECT max(0, (inserted_at - occurred_at) / 1000), count(*) FROM call_events
            WHERE occurred_at > (SELECT min(occurred_at) FROM call_events) + \(Int(seconds * 1e6)) GROUP BY 1
            """
        var counts: [Int: Int] = [:]
        for row in try rows(query) { if let late = Int(row[0]) { counts[late] = Int(row[1]) } }
        return counts
    }

    /// Transactions that the server has committed.
    func commits() throws(LoadError) -> Double? {
        guard isPostgres else { return nil }
        let query = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        return try rows(query).first.flatMap { Double($0[0]) }
    }

    private func rows(_ sql: String) throws(LoadError) -> [[String]] {
        isPostgres ? try postgresRows(sql) : try sqliteRows(sql)
    }

    private func postgresRows(_ sql: String) throws(LoadError) -> [[String]] {
        guard let handle = PQconnectdb(url) else { throw LoadError("PostgreSQL: out of memory") }
        defer { PQfinish(handle) }
        let result = PQexec(handle, sql)
        defer { PQclear(result) }
        guard PQresultStatus(result) == PGRES_TUPLES_OK else {
            throw LoadError(String(cString: PQerrorMessage(handle)))
        }
        return (0..<PQntuples(result)).map { row in
            (0..<PQnfields(result)).map { column in
                PQgetvalue(result, row, column).map { String(cString: $0) } ?? ""
            }
        }
    }

    /// By the program of the same name, which every machine with the library's package can have.
    private func sqliteRows(_ sql: String) throws(LoadError) -> [[String]] {
        let output = "\(folder)/rows.txt"
        let status = try Subprocess.run(
            ["/usr/bin/env", "sqlite3", "-separator", "\t", "\(folder)/store.sqlite3", sql], log: output)
        guard status == 0 else { throw LoadError("sqlite3 is missing: rows of SQLite cannot be compared") }
        return (Files.read(output) ?? "").split(separator: "\n").map {
            $0.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
        }
    }
}
