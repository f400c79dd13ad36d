import CSQLite
import Glibc

/// Tables of the embedded store: names and columns of the contract.
///
/// Times are integers, microseconds since 1970 UTC (SQLite has no timestamp type); ids of calls are the usual
/// text of a UUID; payloads are JSON text.
enum SQLiteSchema {
    /// Files above this size are not checked page by page at start, which would take minutes.
    static let maximumCheckedBytes = 2 << 30

    /// Numbered, additive; a released one is never changed.
    static let migrations: [(version: Int, name: String, sql: String)] = [
        (
            1, "tables of the contract",
            """
            CREATE TABLE calls (
                id TEXT PRIMARY KEY NOT NULL, call_id TEXT NOT NULL UNIQUE, direction TEXT, caller_number TEXT,
                callee_number TEXT, status TEXT NOT NULL, started_at INTEGER, answered_at INTEGER,
                ended_at INTEGER, inserted_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
                bitrix_call_id TEXT, outcome TEXT, hangup_cause INTEGER, pbx TEXT, ended_estimated INTEGER);
            CREATE INDEX calls_status_index ON calls (status);
            CREATE INDEX calls_direction_index ON calls (direction);
            CREATE INDEX calls_started_at_index ON calls (started_at);
            CREATE TABLE call_events (
                id INTEGER PRIMARY KEY AUTOINCREMENT, call_id TEXT NOT NULL, event_type TEXT NOT NULL,
                payload TEXT, occurred_at INTEGER NOT NULL, inserted_at INTEGER NOT NULL,
                updated_at INTEGER NOT NULL);
            CREATE INDEX call_events_call_id_index ON call_events (call_id);
            CREATE INDEX call_events_event_type_index ON call_events (event_type);
            CREATE INDEX call_events_occurred_at_index ON call_events (occurred_at);
            """
        )
    ]

    /// Opens a file for writing: WAL, checked, with all tables.
    static func open(path: String, settings: StoreSettings) throws(StoreError) -> SQLiteDatabase {
        let database = try SQLiteDatabase(path: path, forWriting: true)
        if path != ":memory:", try database.text("PRAGMA journal_mode = WAL") != "wal" {
            throw .unavailable("SQLite file \(path) cannot be put into WAL mode (file system without locks?)")
        }
        try database.execute("PRAGMA synchronous = \(settings.sqliteSynchronous.rawValue)")
        try check(database)
        try migrate(database)
        return database
    }

    private static func check(_ database: SQLiteDatabase) throws(StoreError) {
        var status = stat()
        if stat(database.path, &status) == 0, Int(status.st_size) > maximumCheckedBytes { return }
        let verdict = try database.text("PRAGMA quick_check(1)") ?? "no answer"
        guard verdict == "ok" else {
            throw .unavailable("SQLite file \(database.path) is damaged: \(verdict)")
        }
    }

    private static func migrate(_ database: SQLiteDatabase) throws(StoreError) {
        // An immediate transaction keeps other daemons on the same file out while versions are compared.
        try database.execute("BEGIN IMMEDIATE")
        do throws(StoreError) {
            try database.execute(
                """
                CREATE TABLE IF NOT EXISTS callflow_migrations (
                    version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL)
                """)
            let current = try database.text("SELECT coalesce(max(version), 0) FROM callflow_migrations")
            for migration in migrations where migration.version > Int(current ?? "") ?? 0 {
                try database.execute(migration.sql)
                try database.execute(
                    """
                    INSERT INTO callflow_migrations
                    VALUES (\(migration.version), '\(migration.name)', datetime('now'))
                    """)
            }
            try database.execute("COMMIT")
        } catch {
            if database.isInTransaction { try? database.execute("ROLLBACK") }
            throw error
        }
    }

    /// Name and version for people, as "SQLite 3.40.1".
    static var version: String { "SQLite \(String(cString: sqlite3_libversion()))" }
}
