import CallEngine
import Foundation
import Protocols
import Reactor
import Testing

@testable import Connectors

/// Batches without a connection.
@Suite("Batches that leave together")
struct TrainOrderTests {
    private func batches(_ count: Int, from first: Int64 = 1) -> [WriteBatch] {
        (0..<count).map { index in
            let batch = WriteBatch()
            batch.id = BatchID(writer: 16, number: first + Int64(index))
            return batch
        }
    }

    private func numbers(_ batches: [WriteBatch]) -> [Int64] { batches.map(\.id.number) }

    /// The next departure as numbers, and whether it is a train.
    private func depart(
        _ onTheWay: inout BatchesOnTheWay, maySend: (WriteBatch) -> Bool = { _ in true }
    ) -> (numbers: [Int64], isTrain: Bool)? {
        switch onTheWay.departure(places: 4, maySend: maySend) {
        case nil: return nil
        case .single(let batch):
            onTheWay.send(batch)
            return ([batch.id.number], false)
        case .train(let batches):
            onTheWay.sendTrain(batches)
            return (numbers(batches), true)
        }
    }

    @Test("a train waits for the connection, and what comes behind it waits for the train")
    func order() throws {
        var onTheWay = BatchesOnTheWay()
        let sent = batches(4)
        for batch in sent {
            #expect(onTheWay.hasPlace(of: 4))
            onTheWay.send(batch)
        }
        #expect(!onTheWay.hasPlace(of: 4))
        for batch in batches(BatchesOnTheWay.maximumTrain, from: 5) {
            #expect(onTheWay.canBoard)
            onTheWay.board(batch)
        }
        #expect(!onTheWay.canBoard)
        #expect(onTheWay.count == 4 + BatchesOnTheWay.maximumTrain)
        for _ in sent {
            #expect(depart(&onTheWay) == nil)
            guard case .completed = onTheWay.answered() else {
                Issue.record("no completion")
                return
            }
        }
        let train = try #require(depart(&onTheWay))
        #expect(train.isTrain)
        #expect(train.numbers == Array(5..<5 + Int64(BatchesOnTheWay.maximumTrain)))
        onTheWay.board(batches(1, from: 100)[0])
        #expect(!onTheWay.hasPlace(of: 4))
        #expect(depart(&onTheWay) == nil)
        guard case .together(let done, .success) = onTheWay.answered() else {
            Issue.record("no completion of the train")
            return
        }
        #expect(numbers(done) == train.numbers)
        // Too few for a train.
        #expect(try #require(depart(&onTheWay)) == ([100], false))
        #expect(onTheWay.hasPlace(of: 4))
    }

    @Test("after a refused row all of a train go one by one, in their order, before what waits behind them")
    func dissolved() throws {
        var onTheWay = BatchesOnTheWay()
        for batch in batches(6) { onTheWay.board(batch) }
        #expect(try #require(depart(&onTheWay)).isTrain)
        for batch in batches(5, from: 7) { onTheWay.board(batch) }
        onTheWay.failed(.data(code: "23514", "refused"))
        guard case .dissolved = onTheWay.answered() else {
            Issue.record("not dissolved")
            return
        }
        onTheWay.sentRollBack()
        guard case .none = onTheWay.answered() else {
            Issue.record("the end of a transaction completes nothing")
            return
        }
        #expect(!onTheWay.canBoard)
        var left: [Int64] = []
        while onTheWay.count > 0 {
            while let next = depart(&onTheWay) {
                #expect(!next.isTrain)
                left += next.numbers
            }
            guard case .completed = onTheWay.answered() else { break }
        }
        #expect(left == Array(1...11))
    }

    @Test("trains are short where the database is slow, and grow again")
    func length() throws {
        var onTheWay = BatchesOnTheWay()
        var lengths: [Int] = []
        for time in [200, 200, 200, 100, 50, 50, 50, 50, 50, 50, 50] {
            for batch in batches(BatchesOnTheWay.maximumTrain) { onTheWay.board(batch) }
            let train = try #require(depart(&onTheWay))
            #expect(train.isTrain)
            lengths.append(train.numbers.count)
            onTheWay.trainTook(.milliseconds(time))
            while onTheWay.count > 0 {
                _ = onTheWay.answered()
                while depart(&onTheWay) != nil {}
            }
        }
        #expect(lengths == [16, 8, 4, 4, 4, 6, 8, 10, 12, 14, 16])
    }

    @Test("a batch that must not be copied is no part of a train, and keeps its place")
    func unfit() throws {
        var onTheWay = BatchesOnTheWay()
        for batch in batches(8) { onTheWay.board(batch) }
        let maySend = { (batch: WriteBatch) in batch.id.number != 3 }
        var left: [(numbers: [Int64], isTrain: Bool)] = []
        while onTheWay.count > 0 {
            while let next = depart(&onTheWay, maySend: maySend) { left.append(next) }
            _ = onTheWay.answered()
        }
        #expect(left.map(\.numbers) == [[1], [2], [3], [4, 5, 6, 7, 8]])
        #expect(left.map(\.isTrain) == [false, false, false, true])
    }

    @Test("a lost train is uncertain batch by batch; its next attempt is one by one")
    func lost() throws {
        var onTheWay = BatchesOnTheWay()
        for batch in batches(5) { onTheWay.board(batch) }
        _ = depart(&onTheWay)
        for batch in batches(2, from: 6) { onTheWay.board(batch) }
        onTheWay.lose()
        let settled = onTheWay.settle(Set((1...5).map { BatchID(writer: 16, number: $0) }))
        #expect(settled.map { $0.batch.id.number } == Array(1...7))
        #expect(
            settled.map { if case .success = $0.result { true } else { false } }
                == [true, true, true, true, true, false, false])
        #expect(!onTheWay.canBoard)
        #expect(onTheWay.hasPlace(of: 4))
    }
}

@Suite("Full batches by COPY", .enabled(if: PostgresCluster.isInstalled, "no PostgreSQL here"))
struct TrainTests {
    /// Rows of twelve full batches: four go at once, the others together.
    private static let rows = WriteBatch.maximumEvents * 12

    /// Appends events before the store is connected, so that they wait in full batches.
    private func flood(_ bench: StoreBench, rows: Int = Self.rows, type: (Int) -> String = { _ in "e" }) {
        for number in 0..<rows { bench.event("t\(number % 50)", type(number), "\(number)", at: 0) }
    }

    private func counts(_ bench: StoreBench) throws -> String {
        try PostgresCluster.shared().execute(
            "SELECT count(*), count(DISTINCT payload::text), count(DISTINCT xmin::text) FROM call_events",
            database: String(bench.database.prefix { $0 != "?" }))
    }

    @Test("full batches that wait become one transaction, with their calls", arguments: StoreDrivers.present)
    func together(_ driver: IOMode) throws {
        let bench = try StoreBench(.postgres, driver: driver)
        for batch in 0..<12 {
            bench.commit.appendCall(.test("call") { $0.updatedAt = .test(Int64(batch)) })
            [UInt8]("call".utf8).withUnsafeBytes { call in
                [UInt8]("id-\(batch)".utf8).withUnsafeBytes {
                    bench.commit.appendCRM(callID: call, bitrixCallID: $0)
                }
            }
            flood(bench, rows: WriteBatch.maximumEvents)
        }
        bench.start()
        bench.settle()
        let cluster = try PostgresCluster.shared()
        let rows = try cluster.execute(
            "SELECT count(*), count(DISTINCT xmin::text) FROM call_events", database: bench.database)
        // Four alone, eight together.
        #expect(rows == "\(Self.rows)|5")
        #expect(try cluster.execute("SELECT bitrix_call_id FROM calls", database: bench.database) == "id-11")
        #expect(bench.metrics[.storeBatches] == 12)
        #expect(bench.metrics[.storeEventsWritten] == Self.rows)
        let order = try cluster.execute(
            """
            SELECT count(*) FROM (SELECT xmin::text::bigint AS x, lag(xmin::text::bigint) OVER (ORDER BY id) AS before
            FROM call_events) AS t WHERE x < before
            """, database: bench.database)
        #expect(order == "0")
        // The usual way afterwards.
        bench.event("last")
        bench.settle()
        #expect(try counts(bench).hasSuffix("|6"))
        bench.close()
    }

    @Test("columns of a copied row are those of an inserted one, in the old daemon's tables and in ours")
    func sameColumns() throws {
        let cluster = try PostgresCluster.shared()
        for isOld in [false, true] {
            let url = try cluster.makeDatabase()
            let database = String(url.split(separator: "/").last ?? "")
            if isOld {
                try cluster.execute(
                    """
                    CREATE TABLE call_events (
                        id bigserial PRIMARY KEY, call_id varchar(255) NOT NULL, event_type varchar(255) NOT NULL,
                        payload jsonb, occurred_at timestamp(0) NOT NULL, inserted_at timestamp(0) NOT NULL,
                        updated_at timestamp(0) NOT NULL)
                    """, database: database)
            }
            let bench = try StoreBench(url: url)
            // The half second would be rounded up by the column; one time lies before PostgreSQL's epoch.
            let times: [Int64] = [1_770_233_400_999_999, 1_770_233_400_500_000, 900_000_000_700_000, 0, -1]
            func append(_ type: String) {
                for (number, time) in times.enumerated() {
                    [UInt8]("ключ \(number)".utf8).withUnsafeBytes { key in
                        [UInt8](type.utf8).withUnsafeBytes { type in
                            [UInt8](#"{"n": \#(number), "ä": [1.50, null]}"#.utf8).withUnsafeBytes {
                                payload in
                                _ = bench.commit.appendEvent(
                                    callID: key, type: type, payload: payload,
                                    occurredAt: Timestamp(microseconds: time), insertedAt: .received(1),
                                    payloadNeedsRepair: false)
                            }
                        }
                    }
                }
            }
            append("inserted")
            bench.start()
            bench.settle()
            try cluster.execute(
                "ALTER TABLE call_events ADD CHECK (event_type <> 'gone')", database: database)
            // Lost as a session, so that what follows waits in full batches.
            try cluster.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '\(database)' AND pid <> pg_backend_pid()",
                database: "postgres")
            bench.wait(for: "the session's end") { !bench.commit.state.isConnected }
            for _ in 0..<12 {
                append("copied")
                flood(bench, rows: WriteBatch.maximumEvents)
            }
            bench.settle()
            let columns = "call_id, payload::text, occurred_at, inserted_at, updated_at"
            let differences = try cluster.execute(
                """
                SELECT count(*), (SELECT count(*) FROM call_events WHERE event_type = 'inserted')
                FROM (SELECT \(columns) FROM call_events WHERE event_type = 'copied'
                    EXCEPT SELECT \(columns) FROM call_events WHERE event_type = 'inserted') AS t
                """, database: database)
            #expect(differences == "0|\(times.count)", "old tables: \(isOld)")
            let transactions = try cluster.execute(
                "SELECT count(DISTINCT xmin::text) < 10 FROM call_events", database: database)
            #expect(transactions == "t")
            bench.close()
        }
    }

    @Test("a refused row in a train costs only itself")
    func badRow() throws {
        let bench = try StoreBench(.postgres)
        let setUp = try StoreBench(url: bench.url)
        setUp.start()
        setUp.close()
        let cluster = try PostgresCluster.shared()
        try cluster.execute(
            """
            ALTER TABLE call_events ADD CHECK (event_type <> 'bad');
            ALTER TABLE calls ADD CHECK (call_id NOT LIKE 'bad%')
            """, database: bench.database)
        let bad = [2_900, 3_700, 5_999]
        flood(bench) { bad.contains($0) ? "bad" : "e" }
        bench.commit.appendCall(.test("bad-call"))
        bench.commit.appendCall(.test("good-call"))
        bench.start()
        bench.settle()
        #expect(try counts(bench).hasPrefix("\(Self.rows - bad.count)|\(Self.rows - bad.count)|"))
        let letters = try cluster.execute(
            "SELECT string_agg(coalesce(payload, ''), ',' ORDER BY payload::int) FROM dead_letters WHERE row_kind = 'event'",
            database: bench.database)
        #expect(letters == "2900,3700,5999")
        #expect(bench.metrics[.storeRowsRejected] == 4)
        #expect(try bench.calls().map(\.callID) == ["good-call"])
        bench.close()
    }

    @Test("where COPY is turned away batches go one by one, and it is said once")
    func turnedAway() throws {
        let cluster = try PostgresCluster.shared()
        let url = try cluster.makeDatabase()
        let setUp = try StoreBench(url: url)
        setUp.start()
        setUp.close()
        let role = "limited\(UInt32.random(in: 0...UInt32.max))"
        // PostgreSQL copies into no table that has row-level security for the one who asks.
        try cluster.execute(
            """
            CREATE ROLE \(role) LOGIN PASSWORD 'limited';
            GRANT ALL ON ALL TABLES IN SCHEMA public TO \(role);
            GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO \(role);
            ALTER TABLE call_events ENABLE ROW LEVEL SECURITY;
            CREATE POLICY everything ON call_events USING (true) WITH CHECK (true)
            """, database: setUp.database)
        let place = try #require(URLComponents(string: url))
        var limited = place
        limited.user = role
        limited.password = "limited"
        let bench = try StoreBench(url: #require(limited.string))
        flood(bench)
        bench.start()
        bench.settle()
        flood(bench)
        bench.settle()
        let rows = try cluster.execute("SELECT count(*) FROM call_events", database: setUp.database)
        #expect(rows == "\(2 * Self.rows)")
        #expect(bench.log.count(containing: "takes no COPY") == 1)
        #expect(bench.metrics[.storeReconnects] == 0)
        bench.close()
    }

    @Test(
        "a session that the server ends within a train: each row once", arguments: [1, 3, 6, 10, 15, 21, 28])
    func terminated(_ turns: Int) throws {
        let cluster = try PostgresCluster.shared()
        let bench = try StoreBench(.postgres)
        flood(bench)
        bench.start()
        for _ in 0..<turns { bench.loop.runOnce(maximumWait: .milliseconds(1)) }
        try cluster.execute(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = '\(bench.database)' AND application_name = 'callflow-fast'
            """, database: "postgres")
        bench.settle()
        #expect(try counts(bench).hasPrefix("\(Self.rows)|\(Self.rows)|"))
        bench.close()
    }

    @Test("rows of long ago go the way that dates them anew")
    func longAgo() throws {
        let bench = try StoreBench(.postgres)
        for number in 0..<Self.rows {
            bench.event("old", "e", "\(number)", at: number < 500 * 8 ? -40 * 86_400 : 0)
        }
        bench.start()
        bench.settle()
        #expect(try counts(bench).hasPrefix("\(Self.rows)|\(Self.rows)|"))
        #expect(bench.metrics[.storeReconnects] == 0)
        bench.close()
    }

    /// Messages of four batches alone are 40 each way.
    ///
    /// Then, to the server: the opening (40), rows (41 to 48), their
    /// end (49), three for each of 16 statements (50 to 97), the commit (98 to 101), a sync (102); back: BEGIN (40),
    /// rows may come (41), rows are taken (42, 43), 48 for the statements, the commit (92 to 95), ready (96).
    static let cuts: [CuttingProxy.Cut] =
        [40, 41, 44, 48, 49, 50, 60, 97, 98, 101, 102].flatMap { [.request($0), .late($0)] }
        + [40, 41, 42, 43, 44, 60, 91, 92, 95, 96].map { .answer($0) }

    @Test("a connection cut within a train: each row once", arguments: cuts)
    func cut(_ cut: CuttingProxy.Cut) throws {
        let cluster = try PostgresCluster.shared()
        let direct = try cluster.makeDatabase()
        let proxy = try CuttingProxy(to: cluster.port)
        defer { proxy.close() }
        let url = direct.replacingOccurrences(of: ":\(cluster.port)/", with: ":\(proxy.port)/") + "?ssl=false"
        let bench = try StoreBench(url: url)
        for batch in 0..<12 {
            bench.commit.appendCall(.test("cut") { $0.updatedAt = .test(Int64(batch)) })
            for number in 0..<WriteBatch.maximumEvents {
                bench.event("cut", "e", "\(batch * WriteBatch.maximumEvents + number)")
            }
        }
        bench.commit.onStateChange = { state in
            // The session is set up: what follows are the batches.
            if state.isConnected, proxy.cutCount == 0 { proxy.arm(cut) }
        }
        bench.start()
        bench.settle()
        proxy.disarm()
        #expect(proxy.cutCount == 1)
        // What was held reaches the server now; nothing may come of it.
        if case .late = cut { usleep(350_000) }
        #expect(try counts(bench).hasPrefix("\(Self.rows)|\(Self.rows)|"))
        #expect(bench.metrics[.storeEventsWritten] == Self.rows)
        bench.close()
    }
}
