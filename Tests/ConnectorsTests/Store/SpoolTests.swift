import CallEngine
import Foundation
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite("The spool, with real databases")
struct SpoolTests {
    private static func temporaryPath() -> String {
        "/tmp/callflow-spool-\(UInt64.random(in: 0...UInt64.max))"
    }

    private static func remove(_ path: String) {
        for suffix in ["", "-wal", "-shm", ".reserve"] { unlink(path + suffix) }
    }

    private static func settings(
        _ path: String, _ change: (inout StoreSettings) -> Void = { _ in }
    ) -> StoreSettings {
        var settings = StoreBench.quick
        settings.spool = SpoolSettings(path: path, maximumBytes: 256 << 20)
        change(&settings)
        return settings
    }

    @Test(
        "a database that is away: rows leave the memory for the disk, and come back in order, each once",
        .enabled(if: PostgresCluster.isInstalled, "no PostgreSQL here"))
    func away() throws {
        let path = Self.temporaryPath()
        defer { Self.remove(path) }
        let cluster = try PostgresCluster()
        try cluster.execute("CREATE DATABASE away", database: "postgres")
        let bench = try StoreBench(
            url: cluster.url(database: "away"),
            settings: Self.settings(path) { $0.queueMaxBytes = 4 << 20 })
        var told: [String: [String]] = [:]
        bench.commit.onDurable = { batch in
            for action in batch.crmActions {
                switch action {
                case .register(let call): told[call.callID, default: []].append("register")
                case .finish(let call): told[call.callID, default: []].append("finish")
                case .telephones: break
                }
            }
        }
        bench.start()
        let payload = "\"" + String(repeating: "p", count: 700) + "\""
        var sent = 0
        func send(_ count: Int) {
            for _ in 0..<count {
                bench.event("k\(sent % 40)", "\(sent)", payload, at: 1)
                if sent % 10 == 0 {
                    bench.commit.appendCall(
                        .test("k\(sent % 40)") {
                            $0.updatedAt = .test(Int64(sent))
                            $0.hangupCause = UInt16(sent % 60_000)
                        })
                }
                let isFirst = sent < 40
                if isFirst || sent % 2000 < 40 {
                    let call = CRMCall(
                        callID: "k\(sent % 40)", direction: .inbound, callerNumber: nil, calleeNumber: nil,
                        startedAt: .test(0))
                    bench.commit.attach(crm: isFirst ? .register(call) : .finish(call))
                }
                sent += 1
                if sent % 50 == 0 { bench.loop.runOnce(maximumWait: .zero) }
                // A PBX sends 12,000 events within seconds, not at once: the disk of a busy machine gets its turn.
                var turns = 0
                while bench.commit.waitingBytes > 1 << 20, turns < 2000 {
                    bench.loop.runOnce(maximumWait: .milliseconds(1))
                    turns += 1
                }
            }
        }
        send(1000)
        try cluster.stop()
        send(12_000)
        bench.wait(for: "rows to go to the spool") {
            bench.commit.spooledBatches > 10 && bench.commit.isSpilling
        }
        #expect(bench.commit.waitingBytes < 4 << 20)
        #expect(bench.metrics[.spoolEvents] > 5000)
        #expect(bench.log.count(containing: "rows go to the spool") == 1)
        try cluster.start()
        bench.wait(for: "a new connection") { bench.commit.state.isConnected }
        send(2000)
        bench.settle()
        #expect(bench.metrics[.storeEventsDropped] == 0)
        // The spool's thread tells its figures behind its answers.
        bench.wait(for: "the spool's figures") { bench.metrics[.spoolEvents] == 0 }
        #expect(bench.metrics[.storeQueuedBytes] == 0)
        #expect(bench.metrics[.spoolBatchesDrained] > 10)
        let rows = try cluster.execute(
            "SELECT count(*), count(DISTINCT event_type) FROM call_events; SELECT count(*) FROM calls",
            database: "away")
        #expect(rows == "\(sent)|\(sent)\n4")
        // Of each call, events stand in their order.
        let outOfOrder = try cluster.execute(
            """
            SELECT count(*) FROM (SELECT event_type::int AS n,
                lag(event_type::int) OVER (PARTITION BY call_id ORDER BY id) AS before
            FROM call_events) AS t WHERE n < before
            """, database: "away")
        #expect(outOfOrder == "0")
        #expect(told.count == 40)
        for (call, words) in told {
            #expect(words.first == "register", "\(call): \(words)")
            #expect(words.count == 1 + (sent - 1) / 2000, "\(call): \(words)")
        }
        #expect(bench.close())
        try cluster.stop()
    }

    @Test(
        "batches left by a killed process are written once, though one of them was committed already",
        arguments: StoreKind.available)
    func leftover(_ kind: StoreKind) throws {
        let path = Self.temporaryPath()
        defer { Self.remove(path) }
        let first = try StoreBench(kind)
        first.start()
        first.settle()
        let former = BatchID.writer(random: 0x1234_5678_9ABC_DEF0)
        var records: [SpoolRecord] = []
        for number in 1...9 {
            let batch = WriteBatch()
            batch.id = BatchID(writer: former, number: Int64(number))
            batch.slot = Int32(number)
            batch.spoolKey = Int64(number)
            [UInt8]("left".utf8).withUnsafeBytes { call in
                [UInt8]("event-\(number)".utf8).withUnsafeBytes { type in
                    [UInt8]("{}".utf8).withUnsafeBytes { payload in
                        batch.appendEvent(
                            callID: call, type: type, payload: payload, occurredAt: .test(Int64(number)),
                            insertedAt: .test(0), payloadNeedsRepair: false)
                    }
                }
            }
            batch.appendCall(.test("left") { $0.updatedAt = .test(Int64(number)) })
            batch.attach(
                crm: .register(
                    CRMCall(
                        callID: "left-\(number)", direction: .inbound, callerNumber: nil, calleeNumber: nil,
                        startedAt: .test(0))))
            records.append(
                SpoolRecord(
                    key: Int64(number), id: batch.id, weight: .whole, events: 1, receivedAt: .test(0),
                    calls: batch.callHashes, bytes: BatchRecord.encode(batch, pbxNames: [])))
            // These were committed before the process died; only their removal from the spool was not.
            if number == 2 || number == 7 { try commit(batch, in: first) }
        }
        do {
            let (file, _) = try SpoolFile.open(SpoolSettings(path: path, maximumBytes: 256 << 20))
            try file.transaction { () throws(StoreError) in
                for record in records { try file.append(record, lane: 5) }
            }
        }
        let url = first.url
        let second = try StoreBench(url: url, settings: Self.settings(path))
        var told: [String] = []
        second.commit.onDurable = { batch in
            for case .register(let call) in batch.crmActions { told.append(call.callID) }
        }
        // What comes meanwhile belongs behind what is left.
        second.event("left", "event-10", "{}", at: 10)
        second.start()
        second.settle()
        let found = try #require(try second.call("left"))
        #expect(found.events.map(\.eventType).sorted() == (1...10).map { "event-\($0)" }.sorted())
        #expect(found.call.updatedAt == .test(9))
        #expect(second.metrics[.spoolBatchesRecognised] == 2)
        #expect(told == (1...9).map { "left-\($0)" }, "in order, those of the committed ones too")
        // Durable comes first; the spool's thread removes what it kept after that.
        second.wait(for: "the spool to be empty") { second.metrics[.spoolBatches] == 0 }
        second.close()
        first.close()
    }

    /// Commits a batch as the former process did, with its note.
    private func commit(_ batch: WriteBatch, in bench: StoreBench) throws {
        var isDone = false
        let before = bench.writer.onCompletion
        bench.writer.onCompletion = { _, result in
            if case .failure(let error) = result { Issue.record("\(error)") }
            isDone = true
        }
        bench.writer.write(batch)
        bench.wait(for: "the former commit") { isDone }
        bench.writer.onCompletion = before
    }

    @Test(
        "DURABILITY=spool: every row is on the disk first, and gone from there once it is durable",
        arguments: StoreKind.available)
    func spoolFirst(_ kind: StoreKind) throws {
        let path = Self.temporaryPath()
        defer { Self.remove(path) }
        let bench = try StoreBench(kind, settings: Self.settings(path) { $0.durability = .spool })
        bench.start()
        for number in 0..<3000 {
            bench.event("d", "\(number)")
            if number % 25 == 0 {
                bench.commit.appendCall(.test("d") { $0.updatedAt = .test(Int64(number)) })
                bench.loop.runOnce(maximumWait: .zero)
            }
        }
        bench.settle()
        #expect(try bench.call("d")?.events.count == 3000)
        #expect(try bench.call("d")?.call.updatedAt == .test(2975))
        #expect(bench.metrics[.spoolBatchesWritten] >= 5)
        bench.wait(for: "the spool to be empty") { bench.metrics[.spoolBatches] == 0 }
        #expect(bench.metrics[.storeEventsWritten] == 3000)
        bench.close()
    }

    @Test(
        "a stop while the database is away keeps all rows; the next start writes them",
        arguments: [false, true])
    func stopped(_ isFirst: Bool) throws {
        guard PostgresCluster.isInstalled else { return }
        let path = Self.temporaryPath()
        defer { Self.remove(path) }
        let cluster = try PostgresCluster()
        try cluster.execute("CREATE DATABASE stop", database: "postgres")
        let settings = Self.settings(path) { $0.durability = isFirst ? .spool : .commit }
        let one = try StoreBench(url: cluster.url(database: "stop"), settings: settings)
        one.start()
        try cluster.stop()
        for number in 0..<700 {
            one.event("s", number == 333 ? "bad" : "\(number)")
            if number % 100 == 0 { one.loop.runOnce(maximumWait: .zero) }
        }
        one.wait(for: "the loss to be seen") { !one.commit.state.isConnected }
        #expect(one.close(within: .seconds(10)), "kept")
        #expect(one.metrics[.storeEventsDropped] == 0)
        try cluster.start()
        // A poisoned row does not hold the others up.
        try cluster.execute("ALTER TABLE call_events ADD CHECK (event_type <> 'bad')", database: "stop")
        let two = try StoreBench(url: cluster.url(database: "stop"), settings: settings)
        two.start()
        two.settle()
        #expect(
            try cluster.execute(
                """
                SELECT count(*), count(DISTINCT event_type) FROM call_events;
                SELECT count(*), min(event_type) FROM dead_letters
                """, database: "stop") == "699|699\n1|bad")
        two.close()
        try cluster.stop()
    }

    @Test(
        "no room: payloads are left out first, then events; calls come through",
        .enabled(
            if: PostgresCluster.isInstalled && SmallDisk.isPossible, "no PostgreSQL or no right to mount"))
    func noRoom() throws {
        let disk = try SmallDisk(megabytes: 24)
        defer { disk.remove() }
        let cluster = try PostgresCluster()
        try cluster.execute("CREATE DATABASE room", database: "postgres")
        let bench = try StoreBench(
            url: cluster.url(database: "room"),
            settings: Self.settings("\(disk.folder)/s") { $0.queueMaxBytes = 8 << 20 })
        bench.start()
        try cluster.stop()
        let payload = "\"" + String(repeating: "p", count: 2000) + "\""
        var sent = 0
        // More than disk and memory hold with payloads.
        while bench.metrics[.storePayloadsDropped] < 3000, sent < 60_000 {
            bench.event("r\(sent % 300)", "\(sent)", payload)
            if sent % 100 == 0 {
                bench.commit.appendCall(.test("r\(sent / 100)") { $0.updatedAt = .test(Int64(sent)) })
            }
            sent += 1
            if sent % 50 == 0 { bench.loop.runOnce(maximumWait: .milliseconds(1)) }
        }
        #expect(bench.metrics[.storePayloadsDropped] >= 3000)
        #expect(bench.metrics[.storeCallsDropped] == 0)
        #expect(bench.log.count(containing: "payloads of events are left out") == 1)
        let calls = (sent + 99) / 100
        try cluster.start()
        bench.settle()
        let dropped = bench.metrics[.storeEventsDropped]
        let rows = try cluster.execute(
            """
            SELECT count(*), count(DISTINCT event_type), count(*) FILTER (WHERE payload IS NULL) FROM call_events;
            SELECT count(*) FROM calls
            """, database: "room")
        #expect(
            rows == "\(sent - dropped)|\(sent - dropped)|\(bench.metrics[.storePayloadsDropped])\n\(calls)")
        bench.wait(for: "the spool to be empty") { bench.metrics[.spoolBatches] == 0 }
        bench.close()
        try cluster.stop()
    }

    @Test("legs and parts of calls go through the spool as they are", arguments: StoreKind.available)
    func legs(_ kind: StoreKind) throws {
        let path = Self.temporaryPath()
        defer { Self.remove(path) }
        let bench = try StoreBench(kind, settings: Self.settings(path) { $0.durability = .spool })
        bench.start()
        let plain = try StoreBench(kind)
        plain.start()
        for commit in [bench.commit, plain.commit] {
            commit.appendCall(CallPartsTests.finished(60), details: CallPartsTests.details())
        }
        bench.settle()
        plain.settle()
        #expect(try bench.parts("1.1") == plain.parts("1.1"))
        #expect(try bench.parts("1.1").legs.count == 3)
        #expect(try bench.call("1.1")?.call.facts == plain.call("1.1")?.call.facts)
        bench.close()
        plain.close()
    }
}
