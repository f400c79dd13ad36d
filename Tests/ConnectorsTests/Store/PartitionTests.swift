import CallEngine
import Foundation
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite("Events in partitions", .enabled(if: PostgresCluster.isInstalled, "no PostgreSQL here"))
struct PartitionTests {
    private func connection(_ bench: StoreBench) throws -> PostgresConnection {
        guard case .postgres(let location) = try StoreLocation(databaseURL: bench.url) else {
            throw StoreError.configuration("not PostgreSQL")
        }
        return try PostgresConnector(location: location, settings: StoreSettings()).connect(for: .upkeep)
            .get()
    }

    private func ready(_ settings: StoreSettings = StoreBench.quick) throws -> StoreBench {
        let bench = try StoreBench(.postgres, settings: settings)
        bench.start()
        return bench
    }

    @Test("an empty database gets weeks around today, and rows lie in the week they came in")
    func layout() throws {
        let bench = try ready()
        let connection = try connection(bench)
        let table = try #require(try PostgresEventTable(connection))
        #expect(table.isPartitioned)
        let plan = PartitionPlan(today: table.today, retentionDays: nil)
        #expect(plan.holdsWindow(table.covered))
        #expect(plan.coveredUntil(table.covered) >= table.today + PartitionPlan.leadDays)
        #expect(table.covered.allSatisfy { $0.count == 7 })
        bench.event("p", "one")
        bench.commit.appendCall(.test("p"))
        bench.settle()
        #expect(try bench.call("p")?.events.map(\.eventType) == ["one"])
        let keys = try PostgresCluster.shared().execute(
            """
            SELECT string_agg(indexname, ',' ORDER BY indexname) FROM pg_indexes WHERE tablename = 'call_events';
            SELECT count(DISTINCT indexrelid) FROM pg_index WHERE indrelid =
                (SELECT tableoid FROM call_events LIMIT 1)
            """, database: bench.database)
        #expect(keys == "call_events_call_id_index,call_events_pkey\n2")
        bench.close()
    }

    @Test("no clock costs an event: the PBX's stays what it said, ours is held within the days there are")
    func oddClocks() throws {
        let bench = try ready()
        let odd: [Int64] = [-2_000_000_000, 0, 1_000_000_000, 4_102_444_800, 9_000_000_000]
        for (index, seconds) in odd.enumerated() {
            [UInt8]("odd".utf8).withUnsafeBytes { text in
                [UInt8]("{\"n\":\(index)}".utf8).withUnsafeBytes { json in
                    _ = bench.commit.appendEvent(
                        callID: text, type: text, payload: json, occurredAt: Timestamp(seconds: seconds),
                        insertedAt: Timestamp(seconds: seconds + 1), payloadNeedsRepair: false)
                }
            }
        }
        bench.commit.appendCall(.test("odd"))
        bench.settle()
        #expect(bench.metrics[.storeEventsWritten] == odd.count)
        #expect(bench.metrics[.storeRowsRejected] == 0)
        let events = try #require(try bench.call("odd")).events
        #expect(events.map(\.occurredAt.seconds) == odd)
        let now = WallClock.now().seconds
        for event in events {
            #expect(event.insertedAt.seconds >= now - Int64(PartitionPlan.lookBackDays) * 86_400 - 60)
            #expect(event.insertedAt.seconds <= now + Int64(PartitionPlan.lookAheadDays) * 86_400 + 60)
        }
        bench.close()
    }

    @Test("a day without a partition is no bad row: the writer has it made and writes again")
    func lostPartitions() throws {
        let bench = try ready()
        try PostgresCluster.shared().execute(
            """
            DO $$ DECLARE name text; BEGIN
            FOR name IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'call_events'::regclass LOOP
                EXECUTE 'DROP TABLE ' || name;
            END LOOP; END $$
            """, database: bench.database)
        for number in 0..<50 { bench.event("again", "\(number)") }
        bench.settle()
        #expect(bench.metrics[.storeEventsWritten] == 50)
        #expect(bench.metrics[.storeRowsRejected] == 0)
        #expect(bench.log.count(containing: "no partition") >= 1)
        bench.close()
    }

    @Test("neither an open writer nor an open reader keeps partitions from being made, and none waits for it")
    func makingWaitsForNobody() throws {
        let bench = try ready()
        let other = try connection(bench)
        // As days later: the last partitions are not there yet.
        let before = try #require(try PostgresEventTable(other))
        let late = before.partitions.filter { ($0.days?.lowerBound ?? 0) > before.today }
        #expect(!late.isEmpty)
        for partition in late { try other.execute("DROP TABLE \(partition.name)") }
        try other.execute(
            """
            BEGIN; SELECT count(*) FROM call_events;
            INSERT INTO call_events (call_id, event_type, occurred_at, inserted_at, updated_at)
            VALUES ('open', 'e', localtimestamp, localtimestamp, localtimestamp)
            """)
        let upkeep = PostgresUpkeep(connection: try connection(bench), retentionDays: nil)
        #expect(try upkeep.makePartitions().count == late.count)
        bench.event("meanwhile")
        bench.settle()
        try other.execute("COMMIT")
        bench.close()
    }

    @Test("the retention drops whole partitions; one that somebody detached himself is left to him")
    func retention() throws {
        let bench = try ready()
        let cluster = try PostgresCluster.shared()
        try cluster.execute(
            """
            CREATE TABLE call_events_p20200106 PARTITION OF call_events
                FOR VALUES FROM ('2020-01-06') TO ('2020-01-13');
            CREATE TABLE call_events_p20200113 PARTITION OF call_events
                FOR VALUES FROM ('2020-01-13') TO ('2020-01-20');
            CREATE TABLE call_events_p20190107 (LIKE call_events);
            INSERT INTO call_events (call_id, event_type, occurred_at, inserted_at, updated_at)
            SELECT 'old', 'e' || n, '2020-01-07', timestamp '2020-01-07' + n * interval '1 day', '2020-01-07'
            FROM generate_series(0, 9) n
            """, database: bench.database)
        bench.event("young")
        bench.settle()
        let none = PostgresUpkeep(connection: try connection(bench), retentionDays: nil).run()
        #expect(none.partitionsDropped.isEmpty)
        #expect(none.problem == nil)
        let report = PostgresUpkeep(connection: try connection(bench), retentionDays: 30).run()
        #expect(report.problem == nil)
        #expect(report.partitionsDropped == ["public.call_events_p20200106", "public.call_events_p20200113"])
        #expect(report.rowsDeleted == 0)
        #expect((report.daysAhead ?? 0) >= PartitionPlan.leadDays)
        #expect(
            try cluster.execute(
                """
                SELECT count(*) FROM call_events; SELECT to_regclass('call_events_p20200106') IS NULL,
                    to_regclass('call_events_p20190107') IS NOT NULL
                """, database: bench.database) == "1\nt|t")
        bench.close()
    }

    @Test("a reader that lasts keeps nobody waiting; the partition goes when he is done")
    func detachingBesideReaders() throws {
        let bench = try ready()
        let cluster = try PostgresCluster.shared()
        try cluster.execute(
            """
            CREATE TABLE call_events_p20200106 PARTITION OF call_events
                FOR VALUES FROM ('2020-01-06') TO ('2020-01-13')
            """, database: bench.database)
        let reader = try connection(bench)
        try reader.execute("BEGIN; SELECT count(*) FROM call_events")
        var upkeep = PostgresUpkeep(connection: try connection(bench), retentionDays: 30)
        upkeep.detachTimeoutMilliseconds = 1_500
        let running = HandedOver(upkeep)
        let result = Locked<UpkeepReport?>(nil)
        let done = Locked(false)
        let started = BackgroundThread.run {
            let report = running.value.run()
            result.withLock { $0 = report }
            done.withLock { $0 = true }
        }
        #expect(started)
        var sent = 0
        while !done.withLock({ $0 }) {
            bench.event("beside", "\(sent)")
            sent += 1
            bench.loop.runOnce(maximumWait: .milliseconds(5))
            // Each is durable while the other waits for the reader.
            if sent % 20 == 0 { bench.settle() }
        }
        #expect(bench.metrics[.storeErrors] == 0)
        let first = try #require(result.withLock { $0 })
        #expect(first.problem?.contains("old events cannot be removed") == true)
        #expect(first.partitionsDropped.isEmpty)
        try reader.execute("COMMIT")
        let second = PostgresUpkeep(connection: try connection(bench), retentionDays: 30).run()
        #expect(second.problem == nil)
        #expect(second.partitionsDropped == ["public.call_events_p20200106"])
        bench.settle()
        #expect(bench.metrics[.storeEventsWritten] == sent)
        bench.close()
    }

    @Test("a table of the old daemon's is swept in small steps, by what its index finds")
    func sweep() throws {
        let bench = try StoreBench(.postgres)
        let cluster = try PostgresCluster.shared()
        try cluster.execute(PostgresMigrationTests.oldSchema, database: bench.database)
        try cluster.execute(
            """
            INSERT INTO call_events (call_id, event_type, occurred_at, inserted_at, updated_at)
            SELECT 's', 'e', timestamp '2020-01-01' + n * interval '1 minute', now(), now()
            FROM generate_series(1, 5000) n
            """, database: bench.database)
        bench.start()
        bench.event("s", "young", at: 400_000_000)
        bench.settle()
        let report = PostgresUpkeep(connection: try connection(bench), retentionDays: 30).run()
        #expect(report.problem == nil)
        #expect(report.partitions == nil)
        #expect(report.daysAhead == nil)
        #expect(report.rowsDeleted == 5002, "and the two of the fixture")
        #expect(try cluster.execute("SELECT count(*) FROM call_events", database: bench.database) == "1")
        bench.close()
    }

    @Test("the keeper does it by itself, and says what cannot be done")
    func keeper() throws {
        var settings = StoreBench.quick
        settings.eventRetentionDays = 30
        settings.upkeepRetry = .milliseconds(100)
        let bench = try ready(settings)
        let cluster = try PostgresCluster.shared()
        try cluster.execute(
            """
            CREATE TABLE call_events_p20200106 PARTITION OF call_events
                FOR VALUES FROM ('2020-01-06') TO ('2020-01-13');
            CREATE VIEW in_the_way AS SELECT * FROM call_events_p20200106
            """, database: bench.database)
        let keeper = try #require(bench.store.makeKeeper(on: bench.loop))
        keeper.start(after: .zero)
        bench.wait(for: "the alarm") { keeper.problem != nil }
        #expect(keeper.problem?.contains("other objects depend on it") == true, "\(keeper.problem ?? "")")
        #expect(bench.metrics[.storeUpkeepErrors] >= 1)
        #expect(bench.metrics[.storeEventDaysAhead] >= PartitionPlan.leadDays)
        bench.wait(for: "a second try") { bench.metrics[.storeUpkeepErrors] >= 2 }
        #expect(bench.log.count(containing: "error store:") == 1, "one line for one state")
        try cluster.execute("DROP VIEW in_the_way", database: bench.database)
        bench.wait(for: "the drop") { bench.metrics[.storePartitionsDropped] == 1 }
        #expect(keeper.problem == nil)
        #expect(bench.log.count(containing: "upkeep of the events is well again") == 1)
        keeper.stop()
        bench.close()
    }
}
