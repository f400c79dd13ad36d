import CSQLite
import Glibc

/// The embedded store's file: opened, checked, brought up to date (`Migration`).
enum SQLiteSchema {
    /// Files above this size are not checked page by page at start, which would take minutes.
    static let maximumCheckedBytes = 2 << 30

    /// Opens a file for writing: WAL, checked, with all tables.
    static func open(path: String, settings: StoreSettings) throws(StoreError) -> SQLiteDatabase {
        let database = try SQLiteDatabase(path: path, forWriting: true)
        do throws(StoreError) {
            if path != ":memory:", try database.text("PRAGMA journal_mode = WAL") != "wal" {
                throw .unavailable(
                    "SQLite file \(path) cannot be put into WAL mode (file system without locks?)")
            }
            try database.execute("PRAGMA synchronous = \(settings.sqliteSynchronous.rawValue)")
            try check(database)
        } catch {
            // Where the list of tables itself is hurt, no statement runs.
            guard error.description.contains("disk image is malformed") else { throw error }
            throw damaged(database, error.description)
        }
        try migrate(database)
        return database
    }

    private static func check(_ database: SQLiteDatabase) throws(StoreError) {
        var status = stat()
        if stat(database.path, &status) == 0, Int(status.st_size) > maximumCheckedBytes { return }
        let verdict = try database.text("PRAGMA quick_check(1)") ?? "no answer"
        guard verdict == "ok" else { throw damaged(database, verdict) }
    }

    private static func damaged(_ database: SQLiteDatabase, _ verdict: String) -> StoreError {
        .unavailable(
            """
            SQLite file \(database.path) is damaged, so nothing is written to it: \(verdict). Put a backup in its \
            place, or save what can be read: sqlite3 \(database.path) .recover | sqlite3 NEW
            """)
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
            for migration in Migration.missing(Migration.sqlite, from: try versions(database)) {
                try apply(migration, database)
            }
            try database.execute("COMMIT")
        } catch {
            if database.isInTransaction { try? database.execute("ROLLBACK") }
            throw error
        }
    }

    /// Numbers of the migrations that the file has.
    static func versions(_ database: SQLiteDatabase) throws(StoreError) -> Set<Int> {
        Migration.versions(
            try database.text("SELECT group_concat(version, ',') FROM callflow_migrations"))
    }

    private static func apply(_ migration: Migration, _ database: SQLiteDatabase) throws(StoreError) {
        guard let sql = migration.sqlite else { return }
        do throws(StoreError) {
            try database.execute(sql)
            try database.execute(
                """
                INSERT INTO callflow_migrations
                VALUES (\(migration.version), '\(migration.name)', datetime('now'))
                """)
        } catch {
            throw error.inMigration(migration)
        }
    }

    /// Name and version for people, as "SQLite 3.40.1".
    static var version: String { "SQLite \(String(cString: sqlite3_libversion()))" }
}
