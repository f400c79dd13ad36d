import CLibPQ

/// Brings a PostgreSQL database up to date, under an advisory lock, blocking.
///
/// Daemons that start at once wait for each other at the lock and then find the work done. A database that is
/// up to date is only looked at, so no right to create is needed there.
struct PostgresMigrator {
    /// Key of the advisory lock, "callflow" in ASCII.
    static let advisoryLock: Int64 = 0x6361_6C6C_666C_6F77
    /// How long a change waits for the tables it changes, before it lets those behind it in the queue go on.
    static let lockTimeoutMilliseconds = 3_000

    let connection: PostgresConnection

    /// What the database lacks, in order; takes no lock and changes nothing.
    func missing() throws(StoreError) -> [Migration] {
        // Two statements, since the table named in the second may not exist.
        guard try connection.text("SELECT to_regclass('callflow_migrations') IS NOT NULL") == "t" else {
            return Migration.postgres
        }
        return Migration.missing(
            Migration.postgres, from: Migration.versions(try connection.text(Self.applied)))
    }

    private static let applied = "SELECT string_agg(version::text, ',') FROM callflow_migrations"

    /// Applies what is missing, each in a transaction of its own.
    ///
    /// - Returns: What was applied here; another daemon may have applied the rest.
    /// - Throws: The error of the first that failed, with its number and name; those before it stay.
    @discardableResult
    func run() throws(StoreError) -> [Migration] {
        var done: [Migration] = []
        for migration in try missing() {
            do throws(StoreError) {
                if try apply(migration) { done.append(migration) }
            } catch {
                if PQtransactionStatus(connection.handle) != PQTRANS_IDLE {
                    try? connection.execute("ROLLBACK")
                }
                throw error.inMigration(migration)
            }
        }
        return done
    }

    private func apply(_ migration: Migration) throws(StoreError) -> Bool {
        guard let body = migration.postgres else { return false }
        // The lock is waited for as long as the statement timeout allows; the tables only shortly.
        try connection.execute(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock(\(Self.advisoryLock))")
        try connection.execute(
            """
            SET LOCAL lock_timeout = \(Self.lockTimeoutMilliseconds);
            CREATE TABLE IF NOT EXISTS callflow_migrations (
                version integer PRIMARY KEY, name varchar(255) NOT NULL, applied_at timestamp NOT NULL)
            """)
        // In a statement of its own, and so with a snapshot from after the wait for the lock.
        let applied = Migration.versions(try connection.text(Self.applied))
        if applied.contains(migration.version) {
            try connection.execute("COMMIT")
            return false
        }
        try connection.execute("DO $migration$ BEGIN\n\(body)\nEND $migration$")
        try connection.execute(
            """
            INSERT INTO callflow_migrations
            VALUES (\(migration.version), '\(migration.name)', now() AT TIME ZONE 'UTC');
            COMMIT
            """)
        return true
    }
}

extension StoreError {
    /// The same error, told as that of a migration.
    func inMigration(_ migration: Migration) -> StoreError {
        let place = "migration \(migration.version) (\(migration.name)) failed"
        switch self {
        case .configuration(let text): return .configuration("\(place): \(text)")
        case .unavailable(let text): return .unavailable("\(place): \(text)")
        case .transient(let text): return .transient("\(place): \(text)")
        case .data(let code, let text): return .unavailable("\(place): \(text) (\(code))")
        }
    }
}
