extension Migration {
    /// The tables of the old daemon, where it was not there before us; events come with `growth`.
    ///
    /// Ours keep microseconds, and have indexes for what the API asks: newest calls, and those of a status. SQLite has no timestamp type: times are integers, microseconds since 1970 UTC;
    /// ids of calls are the usual text of a UUID; payloads are JSON text.
    static let contractTables = Migration(
        version: 1, name: "tables of the contract",
        postgres: """
            IF to_regclass('calls') IS NULL THEN
                CREATE TABLE calls (
                    id uuid PRIMARY KEY, call_id varchar(255) NOT NULL, direction varchar(255),
                    caller_number varchar(255), callee_number varchar(255), status varchar(255) NOT NULL,
                    started_at timestamp, answered_at timestamp, ended_at timestamp,
                    inserted_at timestamp NOT NULL, updated_at timestamp NOT NULL);
                CREATE UNIQUE INDEX calls_call_id_index ON calls (call_id);
                CREATE INDEX calls_start_index ON calls (started_at, id);
                CREATE INDEX calls_status_start_index ON calls (status, started_at, id);
            END IF;
            """,
        sqlite: """
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
            """)
}
