import CallEngine
import Foundation
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite("The embedded SQLite store")
struct SQLiteStoreTests {
    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = "/tmp/callflow-sqlite-\(UInt64.random(in: 0...UInt64.max))"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try body(folder)
    }

    @Test("what was stored is there after a restart")
    func restart() throws {
        try withFolder { folder in
            for round in 1...3 {
                let bench = try StoreBench(url: "sqlite:\(folder)/s.db")
                bench.start()
                bench.event("again", "round\(round)", at: Int64(round))
                bench.commit.appendCall(.test("again") { $0.updatedAt = .test(Int64(round)) })
                #expect(bench.close())
            }
            let bench = try StoreBench(url: "sqlite:\(folder)/s.db")
            bench.start()
            let found = try #require(try bench.call("again"))
            #expect(found.events.map(\.eventType) == ["round1", "round2", "round3"])
            #expect(found.call.updatedAt == .test(3))
            bench.close()
        }
    }

    @Test("the file is in WAL mode with the synchronous setting asked for")
    func pragmas() throws {
        try withFolder { folder in
            for (setting, number) in [(StoreSettings.SQLiteSynchronous.normal, "1"), (.full, "2")] {
                var settings = StoreSettings()
                settings.sqliteSynchronous = setting
                let database = try SQLiteSchema.open(path: "\(folder)/\(setting).db", settings: settings)
                #expect(try database.text("PRAGMA journal_mode") == "wal")
                #expect(try database.text("PRAGMA synchronous") == number)
                #expect(
                    try database.text("SELECT count(*) FROM callflow_migrations")
                        == "\(Migration.sqlite.count)")
            }
        }
    }

    @Test("a path that cannot be opened is named with the reason, and works once it can")
    func unopenable() throws {
        try withFolder { folder in
            let bench = try StoreBench(url: "sqlite:\(folder)/missing/s.db")
            bench.commit.start()
            bench.event("patient")
            bench.wait(for: "the refusal") {
                if case .failing = bench.commit.state { return true }
                return false
            }
            guard case .failing(let reason) = bench.commit.state else { return }
            #expect(reason.contains("\(folder)/missing/s.db"), "\(reason)")
            #expect(reason.contains("No such file or directory"), "\(reason)")
            #expect(bench.log.count(containing: "error store: cannot open") == 1)
            try FileManager.default.createDirectory(
                atPath: "\(folder)/missing", withIntermediateDirectories: false)
            bench.wait(for: "the file to open") { bench.commit.state.isConnected }
            bench.settle()
            #expect(bench.metrics[.storeEventsWritten] == 1)
            bench.close()
        }
    }

    @Test("a file that opens and takes no row is tried ever more rarely, and said once")
    func fruitless() throws {
        try withFolder { folder in
            var settings = StoreBench.quick
            settings.reconnectMaximum = .seconds(60)
            let bench = try StoreBench(url: "sqlite:\(folder)/s.db", settings: settings)
            bench.start()
            let other = try SQLiteSchema.open(path: "\(folder)/s.db", settings: settings)
            // Fails when it runs, as a full disk does, not when the statement is prepared.
            try other.execute(
                "CREATE TRIGGER full BEFORE INSERT ON call_events BEGIN SELECT json('{'); END")
            let began = bench.loop.now
            bench.event("stuck")
            bench.wait(for: "six attempts") { bench.metrics[.storeReconnects] >= 6 }
            // Waits of at least half of 20, 40, 80, 160 and 320 ms lie between six attempts.
            #expect(bench.loop.now - began >= .milliseconds(310))
            #expect(bench.log.count(containing: "error store:") == 1, "\(bench.log.lines)")
            #expect(bench.log.count(containing: "info store: SQLite file") == 1)
            try other.execute("DROP TRIGGER full")
            bench.settle()
            #expect(bench.log.count(containing: "takes rows again") == 1)
            #expect(bench.metrics[.storeEventsWritten] == 1)
            bench.close()
        }
    }

    @Test("a file that is no database, or a damaged one, is refused plainly and left as it is")
    func damaged() throws {
        try withFolder { folder in
            let noDatabase = Data(repeating: 0x41, count: 8192)
            try noDatabase.write(to: URL(fileURLWithPath: "\(folder)/text.db"))
            #expect(throws: StoreError.self) {
                _ = try SQLiteSchema.open(path: "\(folder)/text.db", settings: StoreSettings())
            }
            #expect(try Data(contentsOf: URL(fileURLWithPath: "\(folder)/text.db")) == noDatabase)

            let path = "\(folder)/hurt.db"
            do {
                let database = try SQLiteSchema.open(path: path, settings: StoreSettings())
                try database.execute(
                    """
                    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
                    INSERT INTO call_events SELECT i, 'c' || i, 'e', '{}', i, i, i FROM n
                    """)
                try database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            }
            var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
            for index in 4096 * 8..<4096 * 30 { bytes[index] = 0x5A }
            try bytes.write(to: URL(fileURLWithPath: path))
            do {
                _ = try SQLiteSchema.open(path: path, settings: StoreSettings())
                Issue.record("a damaged file was opened")
            } catch {
                #expect("\(error)".contains("damaged") || "\(error)".contains("malformed"), "\(error)")
            }
        }
    }

    @Test("several loops' writers share the file")
    func severalWriters() throws {
        try withFolder { folder in
            let bench = try StoreBench(url: "sqlite:\(folder)/s.db")
            let second = GroupCommit(
                loop: bench.loop, writer: bench.store.makeWriter(on: bench.loop), settings: StoreBench.quick,
                metrics: bench.metrics, logger: bench.log.logger)
            second.start()
            bench.start()
            for number in 0..<2000 {
                bench.event("one", "\(number)")
                [UInt8]("two".utf8).withUnsafeBytes { text in
                    [UInt8]("{}".utf8).withUnsafeBytes { json in
                        _ = second.appendEvent(
                            callID: text, type: text, payload: json, occurredAt: .test(0),
                            insertedAt: .test(0),
                            payloadNeedsRepair: false)
                    }
                }
            }
            bench.commit.appendCall(.test("one"))
            second.appendCall(.test("two"))
            bench.wait(for: "both") { bench.commit.isIdle && second.isIdle }
            #expect(try bench.call("one")?.events.count == 2000)
            #expect(try bench.call("two")?.events.count == 2000)
            #expect(bench.metrics[.storeConnected] == 2)
            var stopped = false
            second.flushAndStop(deadline: .now() + .seconds(10)) { stopped = $0 }
            bench.wait(for: "the second to stop") { stopped }
            bench.close()
            #expect(bench.metrics[.storeConnected] == 0)
        }
    }
}
