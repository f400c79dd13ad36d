import CallEngine
import Foundation
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite(
    "Our tables, and those of the old daemon", .enabled(if: PostgresCluster.isInstalled, "no PostgreSQL here")
)
struct PostgresMigrationTests {
    /// What the old daemon's migrations leave behind, with rows.
    static let oldSchema = """
        CREATE TABLE schema_migrations (version bigint PRIMARY KEY, inserted_at timestamp(0));
        INSERT INTO schema_migrations VALUES (20240101000001, '2024-01-01'), (20240101000002, '2024-01-01');
        CREATE TABLE calls (
            id uuid PRIMARY KEY, call_id varchar(255) NOT NULL, direction varchar(255), caller_number varchar(255),
            callee_number varchar(255), status varchar(255) NOT NULL, started_at timestamp(0),
            answered_at timestamp(0), ended_at timestamp(0), inserted_at timestamp(0) NOT NULL,
            updated_at timestamp(0) NOT NULL);
        CREATE UNIQUE INDEX calls_call_id_index ON calls (call_id);
        CREATE INDEX calls_status_index ON calls (status);
        CREATE INDEX calls_direction_index ON calls (direction);
        CREATE INDEX calls_started_at_index ON calls (started_at);
        CREATE TABLE call_events (
            id bigserial PRIMARY KEY, call_id varchar(255) NOT NULL, event_type varchar(255) NOT NULL,
            payload jsonb, occurred_at timestamp(0) NOT NULL, inserted_at timestamp(0) NOT NULL,
            updated_at timestamp(0) NOT NULL);
        CREATE INDEX call_events_call_id_index ON call_events (call_id);
        CREATE INDEX call_events_event_type_index ON call_events (event_type);
        CREATE INDEX call_events_occurred_at_index ON call_events (occurred_at);
        INSERT INTO calls VALUES
            ('11111111-2222-4333-8444-555555555555', 'old-1', 'inbound', '100', '200', 'finished',
             '2026-02-04 19:00:00', '2026-02-04 19:00:05', '2026-02-04 19:01:00', '2026-02-04 19:00:00',
             '2026-02-04 19:01:00'),
            ('21111111-2222-4333-8444-555555555555', 'old-2', NULL, NULL, NULL, 'ringing',
             NULL, NULL, NULL, '2026-02-04 19:00:00', '2026-02-04 19:00:00');
        INSERT INTO call_events (call_id, event_type, payload, occurred_at, inserted_at, updated_at) VALUES
            ('old-1', 'stasis_start', '{"a": 1}', '2026-02-04 19:00:00', '2026-02-04 19:00:00', '2026-02-04 19:00:00'),
            ('old-1', 'stasis_end', NULL, '2026-02-04 19:01:00', '2026-02-04 19:01:00', '2026-02-04 19:01:00');
        """

    @Test("a database of the old daemon is taken over as it is")
    func oldDatabase() throws {
        let cluster = try PostgresCluster.shared()
        let bench = try StoreBench(.postgres)
        try cluster.execute(Self.oldSchema, database: bench.database)
        bench.start()
        // Its rows are read.
        let old = try #require(try bench.call("old-1"))
        #expect(old.call.id.string == "11111111-2222-4333-8444-555555555555")
        #expect(old.call.status == "finished")
        #expect(old.call.outcome == nil)
        #expect(!old.call.endedEstimated)
        #expect(old.events.map(\.eventType) == ["stasis_start", "stasis_end"])
        #expect(old.events[1].payload == nil)
        // Its rows are gone on with, in whole seconds and never rounded up.
        bench.commit.appendCall(
            .test("old-2", at: 7) {
                $0.startedAt.microseconds += 800_000
                $0.direction = .outbound
                $0.status = .answered
                $0.answeredAt = Timestamp(microseconds: $0.startedAt.microseconds + 60_000)
                $0.updatedAt = $0.startedAt
            })
        bench.event("old-2", "x", at: 7)
        bench.settle()
        let found = try #require(try bench.call("old-2"))
        let second = Timestamp(microseconds: Timestamp.test(7).microseconds / 1_000_000 * 1_000_000)
        #expect(found.call.id.string == "21111111-2222-4333-8444-555555555555")
        #expect(found.call.startedAt == second)
        #expect(found.call.answeredAt == second)
        #expect(found.call.direction == "outbound")
        #expect(found.call.status == "answered")
        #expect(found.events.map(\.occurredAt) == [second])
        // A newer state within the same second still counts as newer.
        bench.commit.appendCall(
            .test("old-2", at: 7) {
                $0.updatedAt.microseconds += 600_000
                $0.callerNumber.set("777")
            })
        bench.settle()
        #expect(try bench.call("old-2")?.call.callerNumber == "777")
        // Newest first; the row without a start is not lost.
        #expect(try bench.calls().map(\.callID) == ["old-2", "old-1"])
        bench.close()
        let untouched = try cluster.execute(
            """
            SELECT count(*) FROM schema_migrations;
            SELECT string_agg(DISTINCT atttypmod::text, ',') FROM pg_attribute
                WHERE attrelid IN ('calls'::regclass, 'call_events'::regclass) AND atttypid = 'timestamp'::regtype
                AND attname IN ('started_at', 'answered_at', 'ended_at', 'occurred_at', 'inserted_at', 'updated_at')
            """, database: bench.database)
        #expect(untouched == "2\n0", "timestamp(0) columns stay what they are")
    }

    @Test("an empty database gets the contract's tables with microseconds")
    func emptyDatabase() throws {
        let bench = try StoreBench(.postgres)
        bench.start()
        bench.close()
        let cluster = try PostgresCluster.shared()
        let columns = try cluster.execute(
            """
            SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull
                THEN '!' ELSE '' END, ', ' ORDER BY attnum)
            FROM pg_attribute WHERE attrelid = 'calls'::regclass AND attnum > 0;
            SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull
                THEN '!' ELSE '' END, ', ' ORDER BY attnum)
            FROM pg_attribute WHERE attrelid = 'call_events'::regclass AND attnum > 0;
            SELECT string_agg(indexname, ', ' ORDER BY indexname) FROM pg_indexes
                WHERE tablename IN ('calls', 'call_events');
            SELECT string_agg(version::text, ',' ORDER BY version) FROM callflow_migrations
            """, database: bench.database
        ).split(separator: "\n")
        let text = "character varying(255)"
        let time = "timestamp without time zone"
        let calls = """
            id uuid!, call_id TEXT!, direction TEXT, caller_number TEXT, callee_number TEXT, status TEXT!, started_at TIME, \
            answered_at TIME, ended_at TIME, inserted_at TIME!, updated_at TIME!, bitrix_call_id TEXT, outcome TEXT, \
            hangup_cause integer, pbx TEXT, ended_estimated boolean, partial boolean, derived_at TIME, outcome_rule TEXT, \
            hung_up_by TEXT, sip_code integer, ring_started_at TIME, talk_started_at TIME, wait_us bigint, ring_us bigint, \
            talk_us bigint, hold_us bigint, post_dial_us bigint, answered_by TEXT, operator_number TEXT, \
            transferred_by TEXT, transferred_to TEXT, queue TEXT, attempts integer, merged_into TEXT, incomplete boolean
            """
        #expect(
            columns.first ?? ""
                == calls.replacingOccurrences(of: "TEXT", with: text).replacingOccurrences(
                    of: "TIME", with: time))
        #expect(
            columns[1]
                == "id bigint!, call_id \(text)!, event_type \(text)!, payload jsonb, occurred_at \(time)!, "
                + "inserted_at \(time)!, updated_at \(time)!")
        #expect(
            columns[2]
                == "call_events_call_id_index, call_events_pkey, calls_call_id_index, calls_pkey, calls_start_index, "
                + "calls_status_start_index")
        #expect(columns[3] == Migration.postgres.map { "\($0.version)" }.joined(separator: ","))
    }

    @Test("fifty daemons that start at once wait for each other, and each step is done once")
    func concurrentMigrations() throws {
        // A server of its own: fifty connections are most of what it takes.
        let cluster = try PostgresCluster()
        try cluster.execute("CREATE DATABASE many", database: "postgres")
        try cluster.execute(Self.oldSchema, database: "many")
        guard case .postgres(let location) = try StoreLocation(databaseURL: cluster.url(database: "many"))
        else {
            return
        }
        let results = Locked<[Result<PostgresConnection, StoreError>]>([])
        let daemons = 50
        for number in 1...UInt64(daemons) {
            let started = BackgroundThread.run {
                let connector = PostgresConnector(location: location, settings: StoreSettings())
                // Each its own: two sessions of one writer would end each other.
                let result = connector.connect(for: .writer(PostgresCommitLedger(writer: number << 32)))
                results.withLock { $0.append(result) }
            }
            #expect(started)
        }
        for _ in 0..<6000 where results.withLock({ $0.count }) < daemons { usleep(10_000) }
        for result in results.withLock({ $0 }) {
            if case .failure(let error) = result { Issue.record("\(error)") }
        }
        #expect(results.withLock { $0.count } == daemons)
        #expect(
            try cluster.execute("SELECT count(*) FROM callflow_migrations", database: "many")
                == "\(Migration.postgres.count)")
        results.withLock { $0 = [] }
        try cluster.stop()
    }

    @Test("a step that a database lacks is applied even when later ones are there")
    func gaps() throws {
        #expect(Set(Migration.all.map(\.version)).count == Migration.all.count)
        #expect(Migration.all.map(\.version) == Migration.all.map(\.version).sorted())
        #expect(Migration.all.allSatisfy { $0.name.utf8.count <= 255 && !$0.name.contains("'") })
        let bench = try StoreBench(.postgres)
        bench.start()
        bench.close()
        let cluster = try PostgresCluster.shared()
        try cluster.execute(
            "DELETE FROM callflow_migrations WHERE version = 3; DROP TABLE callflow_writers",
            database: bench.database)
        let again = try StoreBench(url: bench.url)
        again.start()
        again.event("gap")
        again.settle()
        again.close()
        #expect(
            try cluster.execute("SELECT count(*) FROM callflow_migrations", database: bench.database)
                == "\(Migration.postgres.count)")
    }

    @Test("a user without the right to create works on a database that is up to date")
    func leastPrivilege() throws {
        let cluster = try PostgresCluster.shared()
        let bench = try StoreBench(.postgres)
        bench.start()
        bench.close()
        try cluster.execute(
            """
            DROP ROLE IF EXISTS writer_only; CREATE ROLE writer_only LOGIN PASSWORD 'modest';
            GRANT SELECT, INSERT, UPDATE ON calls, call_events, callflow_writers TO writer_only;
            GRANT SELECT ON callflow_migrations TO writer_only;
            GRANT USAGE ON SEQUENCE call_events_id_seq TO writer_only
            """, database: bench.database)
        let url = "postgres://writer_only:modest@127.0.0.1:\(cluster.port)/\(bench.database)"
        let modest = try StoreBench(url: url)
        modest.start()
        modest.event("m", "x")
        modest.commit.appendCall(.test("m"))
        modest.settle()
        #expect(try modest.call("m")?.events.count == 1)
        modest.close()
    }
}
