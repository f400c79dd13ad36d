/// Our numbered migrations of PostgreSQL: additive only, under an advisory lock, all in one transaction.
enum PostgresSchema {
    /// Key of the advisory lock, "callflow" in ASCII.
    static let advisoryLock: Int64 = 0x6361_6C6C_666C_6F77

    /// A released migration is never changed.
    static let migrations: [(version: Int, name: String, sql: String)] = [
        (
            1, "tables of the contract",
            """
            IF to_regclass('calls') IS NULL THEN
                CREATE TABLE calls (
                    id uuid PRIMARY KEY, call_id varchar(255) NOT NULL, direction varchar(255),
                    caller_number varchar(255), callee_number varchar(255), status varchar(255) NOT NULL,
                    started_at timestamp, answered_at timestamp, ended_at timestamp,
                    inserted_at timestamp NOT NULL, updated_at timestamp NOT NULL);
                CREATE UNIQUE INDEX calls_call_id_index ON calls (call_id);
                CREATE INDEX calls_status_index ON calls (status);
                CREATE INDEX calls_direction_index ON calls (direction);
                CREATE INDEX calls_started_at_index ON calls (started_at);
            END IF;
            IF to_regclass('call_events') IS NULL THEN
                CREATE TABLE call_events (
                    id bigserial PRIMARY KEY, call_id varchar(255) NOT NULL,
                    event_type varchar(255) NOT NULL, payload jsonb, occurred_at timestamp NOT NULL,
                    inserted_at timestamp NOT NULL, updated_at timestamp NOT NULL);
                CREATE INDEX call_events_call_id_index ON call_events (call_id);
                CREATE INDEX call_events_event_type_index ON call_events (event_type);
                CREATE INDEX call_events_occurred_at_index ON call_events (occurred_at);
            END IF;
            """
        ),
        (
            2, "what the old daemon did not keep of a call",
            """
            ALTER TABLE calls ADD COLUMN IF NOT EXISTS bitrix_call_id varchar(255);
            ALTER TABLE calls ADD COLUMN IF NOT EXISTS outcome varchar(255);
            ALTER TABLE calls ADD COLUMN IF NOT EXISTS hangup_cause integer;
            ALTER TABLE calls ADD COLUMN IF NOT EXISTS pbx varchar(255);
            ALTER TABLE calls ADD COLUMN IF NOT EXISTS ended_estimated boolean;
            """
        ),
        (
            3, "which batches of which writer were committed",
            """
            CREATE TABLE callflow_writers (
                writer varchar(255) NOT NULL, slot integer NOT NULL, batch bigint NOT NULL,
                committed_at timestamp NOT NULL, PRIMARY KEY (writer, slot)) WITH (fillfactor = 20);
            """
        ),
    ]

    /// The newest version.
    static var newestVersion: Int { migrations.map(\.version).max() ?? 0 }

    /// Gives the version a database has, without taking a lock: 0 when we never were there.
    ///
    /// Two statements, since the table named in the second may not exist.
    static let hasBookkeeping = "SELECT to_regclass('callflow_migrations') IS NOT NULL"
    static let currentVersion = "SELECT coalesce(max(version), 0)::text FROM callflow_migrations"

    /// Brings a database from any version to the newest, as one simple query, which is one transaction.
    ///
    /// Daemons that start at once wait for each other at the lock and then find the work done.
    static var script: String {
        var parts = [
            "SELECT pg_advisory_xact_lock(\(advisoryLock))",
            """
            CREATE TABLE IF NOT EXISTS callflow_migrations (
                version integer PRIMARY KEY, name varchar(255) NOT NULL, applied_at timestamp NOT NULL)
            """,
        ]
        for migration in migrations {
            parts.append(
                """
                DO $migration$ BEGIN
                IF NOT EXISTS (SELECT 1 FROM callflow_migrations WHERE version = \(migration.version)) THEN
                \(migration.sql)
                INSERT INTO callflow_migrations
                VALUES (\(migration.version), '\(migration.name)', now() AT TIME ZONE 'UTC');
                END IF; END $migration$
                """)
        }
        return parts.joined(separator: ";\n")
    }
}
