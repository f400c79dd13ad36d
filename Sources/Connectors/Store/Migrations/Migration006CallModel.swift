extension Migration {
    /// Times in which a PBX was not heard, and when each was heard last.
    static let callModel = Migration(
        version: 6, name: "the call model: times in which a PBX was not heard",
        postgres: """
            CREATE TABLE callflow_gaps (
                id uuid PRIMARY KEY, pbx varchar(255) NOT NULL, started_at timestamp NOT NULL,
                ended_at timestamp NOT NULL, reason varchar(255) NOT NULL, detail varchar(255),
                calls_ended integer NOT NULL, calls_found integer NOT NULL, calls_kept integer NOT NULL,
                inserted_at timestamp NOT NULL);
            CREATE INDEX callflow_gaps_started_at_index ON callflow_gaps (started_at);
            CREATE TABLE callflow_pbx (
                pbx varchar(255) PRIMARY KEY, seen_at timestamp NOT NULL, started_at timestamp)
                WITH (fillfactor = 20);
            """,
        sqlite: """
            CREATE TABLE callflow_gaps (
                id TEXT PRIMARY KEY NOT NULL, pbx TEXT NOT NULL, started_at INTEGER NOT NULL,
                ended_at INTEGER NOT NULL, reason TEXT NOT NULL, detail TEXT, calls_ended INTEGER NOT NULL,
                calls_found INTEGER NOT NULL, calls_kept INTEGER NOT NULL, inserted_at INTEGER NOT NULL);
            CREATE INDEX callflow_gaps_started_at_index ON callflow_gaps (started_at);
            CREATE TABLE callflow_pbx (
                pbx TEXT PRIMARY KEY NOT NULL, seen_at INTEGER NOT NULL, started_at INTEGER);
            """)
}
