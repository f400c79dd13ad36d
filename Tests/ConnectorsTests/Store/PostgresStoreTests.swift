import CallEngine
import Foundation
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite("PostgreSQL, in good and bad days", .enabled(if: PostgresCluster.isInstalled, "no PostgreSQL here"))
struct PostgresStoreTests {
    @Test("a batch is one transaction: its rows in three statements, its number, one sync point")
    func statementsPerBatch() throws {
        let bench = try StoreBench(.postgres)
        for number in 0..<400 {
            bench.event("s\(number)", "e")
            bench.commit.appendCall(.test("s\(number)"))
        }
        [UInt8]("s1".utf8).withUnsafeBytes { bench.commit.appendCRM(callID: $0, bitrixCallID: $0) }
        bench.start()
        bench.settle()
        let writer = try #require(bench.writer as? PostgresWriter)
        #expect(writer.syncPointCount == 1)
        #expect(writer.statementCount == 4)
        for number in 0..<3000 { bench.event("s\(number)", "e") }
        bench.settle()
        #expect(bench.metrics[.storeEventsWritten] == 3400)
        // Full batches of 500 and what a tick left over.
        #expect(writer.syncPointCount <= 1 + 7)
        #expect(writer.statementCount == 2 * writer.syncPointCount + 2)
        #expect(writer.syncPointCount == bench.metrics[.storeBatches])
        // Rows of one batch share their transaction.
        let transactions = try PostgresCluster.shared().execute(
            "SELECT count(DISTINCT xmin::text) FROM call_events", database: bench.database)
        #expect(transactions == "\(writer.syncPointCount)")
        bench.close()
    }

    @Test("many batches on the way keep their order and none is lost", arguments: StoreDrivers.present)
    func manyInFlight(_ driver: IOMode) throws {
        let bench = try StoreBench(.postgres, driver: driver)
        bench.start()
        let payload = #"{"fill":""# + String(repeating: "x", count: 700) + #""}"#
        var most = 0
        for number in 0..<20_000 {
            bench.event("f\(number % 7)", "\(number)", payload, at: 5)
            if number % 100 == 0 { bench.loop.runOnce(maximumWait: .zero) }
            most = max(most, bench.commit.inFlightCount)
        }
        bench.settle()
        #expect(most > 1)
        // A train, and as many waiting for the next.
        #expect(most <= 2 * BatchesOnTheWay.maximumTrain)
        let cluster = try PostgresCluster.shared()
        #expect(
            try cluster.execute(
                "SELECT count(*), count(DISTINCT event_type) FROM call_events", database: bench.database)
                == "20000|20000")
        let outOfOrder = try cluster.execute(
            """
            SELECT count(*) FROM (SELECT event_type::int AS n, lag(event_type::int) OVER (ORDER BY id) AS before
            FROM call_events) AS t WHERE n < before
            """, database: bench.database)
        #expect(outOfOrder == "0")
        bench.close()
    }

    @Test("a refused row costs only itself")
    func badRows() throws {
        let bench = try StoreBench(.postgres)
        var released: [String] = []
        bench.commit.onDurable = { batch in
            for case .register(let call) in batch.crmActions { released.append(call.callID) }
        }
        for number in 0..<300 {
            // jsonb refuses U+0000, and a number beyond its range.
            let payload = [17: #"{"a":"\u0000"}"#, 230: #"{"a":1e200000}"#][number] ?? #"{"n":1}"#
            bench.event("b\(number)", "e", payload, at: Int64(number))
        }
        for number in 0..<10 {
            bench.commit.appendCall(
                .test("b\(number)") { if number == 4 { $0.startedAt = Timestamp(microseconds: .min) } })
            bench.commit.attach(
                crm: .register(
                    CRMCall(
                        callID: "b\(number)", direction: .inbound, callerNumber: nil, calleeNumber: nil,
                        startedAt: .test(0))))
        }
        bench.start()
        bench.settle()
        let rows = try PostgresCluster.shared().execute(
            "SELECT count(*), count(*) FILTER (WHERE call_id IN ('b17', 'b230')) FROM call_events",
            database: bench.database)
        #expect(rows == "298|0")
        #expect(
            try bench.calls(CallFilter(limit: 100)).map(\.callID).sorted()
                == [0, 1, 2, 3, 5, 6, 7, 8, 9].map { "b\($0)" })
        #expect(bench.metrics[.storeRowsRejected] == 3)
        #expect(bench.metrics[.storeEventsWritten] == 298)
        #expect(bench.metrics[.storeCallsWritten] == 9)
        #expect(
            released == [0, 1, 2, 3, 5, 6, 7, 8, 9].map { "b\($0)" }, "the CRM hears only of what is stored")
        #expect(bench.log.count(containing: "refused a row") == 3)
        #expect(bench.log.count(containing: "call=b17 code=22P05 event=e row=event") == 1)
        #expect(bench.log.count(containing: "call=b230 code=22003 event=e row=event") == 1)
        #expect(bench.log.count(containing: "call=b4 code=22008 event= row=call") == 1)
        bench.close()
    }

    @Test("a server killed in the middle and started again gets everything, in order")
    func serverKilled() throws {
        let cluster = try PostgresCluster()
        try cluster.execute("CREATE DATABASE kill", database: "postgres")
        let bench = try StoreBench(url: cluster.url(database: "kill"))
        bench.start()
        var sent = 0
        func send(_ count: Int) {
            for _ in 0..<count {
                bench.event("k", "\(sent)", at: 1)
                if sent % 10 == 0 {
                    bench.commit.appendCall(.test("k\(sent)") { $0.updatedAt = .test(Int64(sent)) })
                }
                if sent % 40 == 0 { bench.loop.runOnce(maximumWait: .zero) }
                sent += 1
            }
        }
        send(4000)
        try cluster.stop()
        send(4000)
        bench.wait(for: "the loss to be seen") { !bench.commit.state.isConnected }
        #expect(bench.metrics[.storeConnected] == 0)
        guard case .failing(let reason) = bench.commit.state else { return }
        #expect(!reason.contains(cluster.password))
        var refusal: StoreError?
        bench.wait(for: "the reader to notice") {
            bench.reader.calls(CallFilter()) { if case .failure(let error) = $0 { refusal = error } }
            return refusal != nil
        }
        send(4000)
        #expect(bench.commit.waitingBytes > 0)
        try cluster.start()
        bench.wait(for: "a new connection") { bench.commit.state.isConnected }
        send(500)
        bench.settle()
        #expect(bench.metrics[.storeEventsDropped] == 0)
        #expect(bench.metrics[.storeQueuedBytes] == 0)
        let rows = try cluster.execute(
            "SELECT count(*), count(DISTINCT event_type) FROM call_events; SELECT count(*) FROM calls",
            database: "kill"
        )
        #expect(rows == "\(sent)|\(sent)\n\(sent / 10)", "each once")
        let outOfOrder = try cluster.execute(
            """
            SELECT count(*) FROM (SELECT event_type::int AS n, lag(event_type::int) OVER (ORDER BY id) AS before
            FROM call_events) AS t WHERE n < before
            """, database: "kill")
        #expect(outOfOrder == "0")
        #expect(bench.log.count(containing: "is away") >= 1)
        #expect(bench.log.lines.allSatisfy { !$0.contains(cluster.password) })
        #expect(bench.close())
        try cluster.stop()
    }

    @Test(
        "sessions ended at any moment under load: every event stands there once",
        arguments: StoreDrivers.present)
    func terminatedSessions(_ driver: IOMode) throws {
        let bench = try StoreBench(.postgres, driver: driver)
        bench.start()
        let cluster = try PostgresCluster.shared()
        let payload = "\"" + String(repeating: "t", count: 600) + "\""
        var sent = 0
        for round in 0..<25 {
            let next = sent + 150 + round * 37
            while sent < next {
                bench.event("t", "\(sent)", payload)
                sent += 1
                if sent % 30 == 0 { bench.loop.runOnce(maximumWait: .zero) }
            }
            try cluster.execute(
                """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = '\(bench.database)' AND application_name = 'callflow-fast'
                """, database: "postgres")
            // Sometimes the loss is seen at once, sometimes in the middle of what follows.
            if round % 3 == 0 { bench.wait(for: "a connection") { bench.commit.state.isConnected } }
        }
        bench.settle()
        #expect(bench.metrics[.storeReconnects] >= 5)
        #expect(
            try cluster.execute(
                "SELECT count(*), count(DISTINCT event_type) FROM call_events", database: bench.database)
                == "\(sent)|\(sent)")
        #expect(bench.metrics[.storeEventsWritten] == sent)
        bench.close()
    }

    @Test("a batch that was committed without our hearing of it is not written again")
    func ledger() throws {
        let cluster = try PostgresCluster.shared()
        let url = try cluster.makeDatabase()
        guard case .postgres(let location) = try StoreLocation(databaseURL: url) else { return }
        let connector = PostgresConnector(location: location, settings: StoreSettings())
        let writer = BatchID.writer(random: UInt64.random(in: 0...UInt64.max))
        let ledger = PostgresCommitLedger(writer: writer)
        let database = String(url.split(separator: "/").last ?? "")
        let first = try connector.connect(for: .writer(ledger)).get()
        #expect(first.committedBatches.isEmpty)
        // The writer's former session is ended by the next one, even though it is idle and well.
        func note(_ slot: Int, _ number: Int64) throws {
            let values = ["'\(BatchID.name(of: writer))'", "\(slot)", "\(number)"]
            let statement = values.enumerated().reduce(PostgresCommitLedger.note) { statement, value in
                statement.replacingOccurrences(of: "$\(value.offset + 1)", with: value.element)
            }
            try cluster.execute(statement, database: database)
        }
        try note(3, 19)
        try note(4, 20)
        try note(3, 21)
        let batches: Set = [BatchID(writer: writer, number: 20), BatchID(writer: writer, number: 21)]
        let second = try connector.connect(for: .writer(ledger)).get()
        #expect(second.committedBatches == batches)
        // So does the writer of the next run, if batches of this one are left in the spool.
        let heir = PostgresCommitLedger(writer: BatchID.writer(random: 99), formers: [writer])
        let third = try connector.connect(for: .writer(heir)).get()
        #expect(third.committedBatches == batches)
        let sessions = try cluster.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '\(database)' AND application_name = 'callflow-fast'",
            database: "postgres")
        #expect(sessions == "1")
        // Another writer is not disturbed and sees nothing of it.
        let other = try connector.connect(for: .writer(PostgresCommitLedger(writer: 1 << 32))).get()
        #expect(other.committedBatches.isEmpty)
        withExtendedLifetime((first, second, third, other)) {}
    }

    @Test("a refused or unreachable server is told plainly and without the password")
    func refused() throws {
        let cluster = try PostgresCluster.shared()
        let closed = PostgresLocation(parameters: [
            ("host", "127.0.0.1"), ("port", "1"), ("user", "u"), ("password", "hunter22"), ("dbname", "d"),
        ])
        let cases: [(url: String, says: String)] = [
            (cluster.url(database: "postgres", password: "wrong-Pässword"), "password authentication failed"),
            (cluster.url(database: "no_such_database"), "does not exist"),
            ("postgres://u:hunter22@127.0.0.1:1/d", "Connection refused"),
            ("postgres://u:hunter22@name.invalid/d", "name.invalid"),
        ]
        for each in cases {
            let bench = try StoreBench(url: each.url)
            bench.commit.start()
            bench.event("waits")
            bench.wait(for: "the refusal") {
                if case .failing = bench.commit.state { return true }
                return false
            }
            guard case .failing(let reason) = bench.commit.state else { continue }
            #expect(reason.contains(each.says), "\(reason)")
            bench.wait(for: "a second attempt") { bench.metrics[.storeReconnects] >= 3 }
            #expect(bench.log.count(containing: "is away") == 1, "one line for one state")
            for secret in ["hunter22", "wrong-P", cluster.password] {
                #expect(bench.log.lines.allSatisfy { !$0.contains(secret) })
            }
            #expect(bench.commit.waitingBytes > 0, "intake goes on")
            #expect(!bench.close(within: .milliseconds(50)))
            #expect(bench.metrics[.storeEventsDropped] == 1)
        }
        #expect(closed.scrubbed("bad hunter22 here") == "bad *** here")
    }

    @Test("a full queue drops events, keeps the latest state of calls, says so once, and recovers")
    func fullQueue() throws {
        let cluster = try PostgresCluster()
        try cluster.execute("CREATE DATABASE full_queue", database: "postgres")
        var settings = StoreBench.quick
        settings.queueMaxBytes = 1 << 20
        let bench = try StoreBench(url: cluster.url(database: "full_queue"), settings: settings)
        bench.start()
        try cluster.stop()
        bench.wait(for: "the loss to be seen") { !bench.commit.state.isConnected }
        let payload = "\"" + String(repeating: "p", count: 1000) + "\""
        for number in 0..<3000 {
            bench.event("q\(number % 50)", "\(number)", payload)
            bench.commit.appendCall(
                .test("q\(number % 50)") {
                    $0.hangupCause = UInt16(number)
                    $0.updatedAt = .test(Int64(number))
                })
            if number % 100 == 0 { bench.loop.runOnce(maximumWait: .zero) }
        }
        #expect(bench.commit.isDropping)
        let dropped = bench.metrics[.storeEventsDropped]
        #expect(dropped > 1000)
        #expect(dropped < 2500)
        #expect(bench.commit.waitingBytes < 3 << 20)
        #expect(bench.log.count(containing: "store queue is full") == 1)
        try cluster.start()
        bench.wait(for: "the queue to empty") { bench.commit.isIdle }
        #expect(!bench.commit.isDropping)
        #expect(bench.log.count(containing: "\(dropped) event rows were dropped") == 1)
        #expect(bench.metrics[.storeEventsWritten] == 3000 - dropped)
        let causes = try cluster.execute(
            "SELECT min(hangup_cause), max(hangup_cause), count(*) FROM calls", database: "full_queue")
        #expect(causes == "2950|2999|50")
        bench.close()
        try cluster.stop()
    }

    @Test("a server that lets us in and takes no row is asked ever more rarely, and said once")
    func fruitless() throws {
        var settings = StoreBench.quick
        settings.reconnectMaximum = .seconds(60)
        let bench = try StoreBench(.postgres, settings: settings)
        bench.start()
        bench.settle()
        let cluster = try PostgresCluster.shared()
        try cluster.execute(
            """
            CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
              'BEGIN RAISE EXCEPTION ''no space left'' USING ERRCODE = ''53100''; END';
            CREATE TRIGGER full_disk BEFORE INSERT ON call_events EXECUTE FUNCTION full_disk()
            """, database: bench.database)
        let began = bench.loop.now
        bench.event("stuck")
        bench.wait(for: "six attempts") { bench.metrics[.storeReconnects] >= 6 }
        // Waits of at least half of 20, 40, 80, 160 and 320 ms lie between six attempts.
        #expect(bench.loop.now - began >= .milliseconds(310))
        #expect(bench.log.count(containing: "error store:") == 1, "\(bench.log.lines)")
        #expect(bench.log.count(containing: "info store: connected") == 1)
        try cluster.execute("DROP TRIGGER full_disk ON call_events", database: bench.database)
        bench.settle()
        #expect(bench.log.count(containing: "takes rows again") == 1)
        #expect(bench.metrics[.storeEventsWritten] == 1)
        bench.close()
    }

    @Test("a read-only server is no connection")
    func readOnly() throws {
        let cluster = try PostgresCluster.shared()
        let bench = try StoreBench(.postgres)
        try cluster.execute(
            "ALTER DATABASE \(bench.database) SET default_transaction_read_only = on", database: "postgres")
        bench.commit.start()
        bench.event("waits")
        bench.wait(for: "three attempts") { bench.metrics[.storeReconnects] >= 3 }
        #expect(bench.commit.state == .failing(reason: "PostgreSQL: the server is read-only"))
        #expect(bench.log.count(containing: "error store:") == 1)
        #expect(bench.log.count(containing: "info store: connected") == 0)
        try cluster.execute(
            "ALTER DATABASE \(bench.database) RESET default_transaction_read_only", database: "postgres")
        bench.settle()
        #expect(bench.metrics[.storeEventsWritten] == 1)
        bench.close()
    }

    @Test("a locked table delays the writing and loses nothing")
    func lockedTable() throws {
        var settings = StoreBench.quick
        settings.statementTimeout = .milliseconds(300)
        let bench = try StoreBench(.postgres, settings: settings)
        bench.start()
        let cluster = try PostgresCluster.shared()
        let database = bench.database
        let isOver = Locked(false)
        let started = BackgroundThread.run {
            _ = try? cluster.execute(
                "BEGIN; LOCK TABLE call_events; SELECT pg_sleep(1.5); COMMIT", database: database)
            isOver.withLock { $0 = true }
        }
        #expect(started)
        var sent = 0
        while !isOver.withLock({ $0 }) {
            bench.event("locked", "\(sent)")
            sent += 1
            bench.loop.runOnce(maximumWait: .milliseconds(2))
        }
        bench.settle()
        #expect(bench.metrics[.storeErrors] > 0, "the statement timeout struck")
        #expect(bench.metrics[.storeReconnects] == 0, "and the connection stayed")
        #expect(
            try cluster.execute(
                "SELECT count(*), count(DISTINCT event_type) FROM call_events", database: database)
                == "\(sent)|\(sent)")
        bench.close()
    }

    @Test(
        "a session that falls silent is given up, and goes on elsewhere once it surely commits nothing more")
    func silence() throws {
        var settings = StoreBench.quick
        settings.statementTimeout = .milliseconds(300)
        settings.silenceMargin = .milliseconds(300)
        let bench = try StoreBench(.postgres, settings: settings)
        bench.commit.start()
        bench.event("silent", "before")
        bench.settle()
        let cluster = try PostgresCluster.shared()
        let session = try cluster.execute(
            """
            SELECT pid FROM pg_stat_activity
            WHERE datname = '\(bench.database)' AND application_name = 'callflow-fast'
            """, database: "postgres")
        let process = try #require(pid_t(session))
        #expect(kill(process, SIGSTOP) == 0)
        for number in 0..<1200 { bench.event("silent", "\(number)") }
        bench.wait(for: "the silence to be noticed") { !bench.commit.state.isConnected }
        #expect(bench.log.count(containing: "no answer for") == 1)
        #expect(bench.metrics[.storeEventsWritten] == 1)
        bench.wait(for: "attempts that wait for the former session") { bench.metrics[.storeReconnects] >= 3 }
        // It finds what was sent to it, and the order to end.
        #expect(kill(process, SIGCONT) == 0)
        bench.settle()
        #expect(
            try cluster.execute(
                "SELECT count(*), count(DISTINCT event_type) FROM call_events", database: bench.database)
                == "1201|1201")
        bench.close()
    }

    @Test("two daemons that write the same calls crosswise both come through")
    func crosswise() throws {
        let one = try StoreBench(.postgres)
        let two = try StoreBench(url: one.url)
        one.start()
        two.start()
        for round in 0..<20 {
            for number in 0..<200 {
                one.commit.appendCall(.test("x\(number)") { $0.updatedAt = .test(Int64(round)) })
                two.commit.appendCall(.test("x\(199 - number)") { $0.updatedAt = .test(Int64(round)) })
            }
            one.loop.runOnce(maximumWait: .zero)
            two.loop.runOnce(maximumWait: .zero)
        }
        one.wait(for: "both") {
            two.loop.runOnce(maximumWait: .zero)
            return one.commit.isIdle && two.commit.isIdle
        }
        let calls = try one.calls(CallFilter(limit: 1000))
        #expect(calls.count == 200)
        #expect(calls.allSatisfy { $0.updatedAt == .test(19) })
        #expect(one.metrics[.storeRowsRejected] + two.metrics[.storeRowsRejected] == 0)
        #expect(one.metrics[.storeReconnects] + two.metrics[.storeReconnects] == 0)
        one.close()
        two.close()
    }

    @Test("stopping flushes what waits")
    func flushing() throws {
        let bench = try StoreBench(.postgres)
        bench.start()
        for number in 0..<7777 { bench.event("flush", "\(number)") }
        #expect(bench.close())
        let count = try PostgresCluster.shared().execute(
            "SELECT count(*) FROM call_events", database: bench.database)
        #expect(count == "7777")
    }
}
