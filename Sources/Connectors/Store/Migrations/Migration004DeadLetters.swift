extension Migration {
    /// Rows that the database refused, as they were; and for SQLite the ledger, which spooled batches need there.
    static let deadLetters = Migration(
        version: 4, name: "rows that the database refused",
        postgres: """
            CREATE TABLE dead_letters (
                id bigserial PRIMARY KEY, row_kind varchar(255) NOT NULL, call_id varchar(255) NOT NULL,
                event_type varchar(255), code varchar(255) NOT NULL, reason text NOT NULL, payload text,
                writer varchar(255) NOT NULL, batch bigint NOT NULL, inserted_at timestamp NOT NULL);
            """,
        sqlite: """
            CREATE TABLE dead_letters (
                id INTEGER PRIMARY KEY AUTOINCREMENT, row_kind TEXT NOT NULL, call_id TEXT NOT NULL,
                event_type TEXT, code TEXT NOT NULL, reason TEXT NOT NULL, payload TEXT, writer TEXT NOT NULL,
                batch INTEGER NOT NULL, inserted_at INTEGER NOT NULL);
            CREATE TABLE callflow_writers (
                writer TEXT NOT NULL, slot INTEGER NOT NULL, batch INTEGER NOT NULL, committed_at INTEGER NOT NULL,
                PRIMARY KEY (writer, slot)) WITHOUT ROWID;
            """)
}
