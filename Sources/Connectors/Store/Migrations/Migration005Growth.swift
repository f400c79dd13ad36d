extension Migration {
    /// `call_events` in partitions by time, where there is no such table; fewer indexes.
    ///
    /// The key must be part of the primary key; ids come from one sequence and are unique without it. The only
    /// other index serves the only query of the API, the events of a call: of equal keys a B-tree keeps one copy, so
    /// it is small and cheap to write (figures: docs/growth.md). Partitions are made by `PostgresUpkeep`, which
    /// follows each migration. A table that is there, the old daemon's or an early one of ours, is kept as it is.
    static let growth = Migration(
        version: 5, name: "events in partitions",
        postgres: """
            IF to_regclass('call_events') IS NULL THEN
                IF current_setting('server_version_num')::integer >= 140000 THEN
                    CREATE TABLE call_events (
                        id bigserial NOT NULL, call_id varchar(255) NOT NULL,
                        event_type varchar(255) NOT NULL, payload jsonb, occurred_at timestamp NOT NULL,
                        inserted_at timestamp NOT NULL, updated_at timestamp NOT NULL,
                        PRIMARY KEY (id, inserted_at)) PARTITION BY RANGE (inserted_at);
                ELSE
                    CREATE TABLE call_events (
                        id bigserial PRIMARY KEY, call_id varchar(255) NOT NULL,
                        event_type varchar(255) NOT NULL, payload jsonb, occurred_at timestamp NOT NULL,
                        inserted_at timestamp NOT NULL, updated_at timestamp NOT NULL);
                    CREATE INDEX call_events_occurred_at_index ON call_events (occurred_at);
                END IF;
                CREATE INDEX call_events_call_id_index ON call_events (call_id);
            END IF;
            """,
        sqlite: """
            DROP INDEX IF EXISTS call_events_event_type_index;
            DROP INDEX IF EXISTS call_events_occurred_at_index;
            DROP INDEX IF EXISTS calls_status_index;
            DROP INDEX IF EXISTS calls_direction_index;
            DROP INDEX IF EXISTS calls_started_at_index;
            CREATE INDEX calls_start_index ON calls (started_at, id);
            CREATE INDEX calls_status_start_index ON calls (status, started_at, id);
            """)
}
