import CallEngine
import Foundation
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite("Growth of the embedded store: backup while it is written, retention, long reads")
struct SQLiteBackupTests {
    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = "/tmp/callflow-sqlite-\(UInt64.random(in: 0...UInt64.max))"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try body(folder)
    }

    @Test("a copy made under load is whole: one moment of the store, every event before it and none after")
    func underLoad() throws {
        try withFolder { folder in
            let bench = try StoreBench(url: "sqlite:\(folder)/s.db")
            bench.start()
            let payload = "\"" + String(repeating: "b", count: 700) + "\""
            var sent = 0
            func send(_ count: Int) {
                for _ in 0..<count {
                    bench.event("b", "\(sent)", payload)
                    sent += 1
                }
                bench.loop.runOnce(maximumWait: .zero)
            }
            while sent < 20_000 { send(500) }
            bench.settle()
            let before = bench.metrics[.storeEventsWritten]
            let (source, target) = ("\(folder)/s.db", "\(folder)/copy.db")
            let result = Locked<Result<Int, SQLiteBackup.Failure>?>(nil)
            let started = BackgroundThread.run {
                var steps = 0
                do throws(SQLiteBackup.Failure) {
                    try SQLiteBackup.run(from: source, to: target) { progress in
                        steps += 1
                        #expect(progress.bytesDone <= progress.bytesTotal)
                        // Slow as a large file: batches are committed meanwhile.
                        usleep(10_000)
                    }
                    result.withLock { $0 = .success(steps) }
                } catch {
                    result.withLock { $0 = .failure(error) }
                }
            }
            #expect(started)
            while result.withLock({ $0 == nil }) { send(50) }
            bench.settle()
            let steps = try #require(result.withLock { $0 }).get()
            #expect(steps > 10, "more than one step, and it did not begin anew for ever")
            #expect(bench.metrics[.storeEventsWritten] > before + 100, "writing went on")
            #expect(!FileManager.default.fileExists(atPath: target + ".part"))
            let copy = try SQLiteDatabase(path: target, forWriting: true)
            let numbers = try copy.text(
                "SELECT count(*) || ' ' || (max(CAST(event_type AS INTEGER)) + 1) || ' ' || min(CAST(event_type AS INTEGER)) FROM call_events"
            )
            let parts = try #require(numbers).split(separator: " ").compactMap { Int($0) }
            #expect(parts[0] == parts[1], "none is missing in between")
            #expect(parts[2] == 0)
            #expect(parts[0] >= before)
            #expect(parts[0] <= sent)
            // It is a store as any other.
            let again = try StoreBench(url: "sqlite:\(target)")
            again.start()
            again.event("b", "more")
            again.settle()
            again.close()
            bench.close()
        }
    }

    @Test("a backup overwrites nothing and says plainly what is wrong")
    func refusals() throws {
        try withFolder { folder in
            do throws(SQLiteBackup.Failure) {
                try SQLiteBackup.run(from: "\(folder)/none.db", to: "\(folder)/a.db") { _ in }
                Issue.record("a backup of nothing")
            } catch {
                #expect(error == .noSource("there is no SQLite file \(folder)/none.db"))
            }
            _ = try SQLiteSchema.open(path: "\(folder)/s.db", settings: StoreSettings())
            for target in ["\(folder)/s.db", "\(folder)/missing/a.db"] {
                do throws(SQLiteBackup.Failure) {
                    try SQLiteBackup.run(from: "\(folder)/s.db", to: target) { _ in }
                    Issue.record("\(target) was written")
                } catch {
                    guard case .target(let text) = error else {
                        Issue.record("\(error)")
                        return
                    }
                    #expect(text.contains(target))
                }
            }
            // A damaged source gives no copy.
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
            #expect(throws: SQLiteBackup.Failure.self) {
                try SQLiteBackup.run(from: path, to: "\(folder)/hurt-copy.db") { _ in }
            }
            #expect(
                try FileManager.default.contentsOfDirectory(atPath: folder).allSatisfy {
                    !$0.contains("copy")
                })
            do {
                _ = try SQLiteSchema.open(path: path, settings: StoreSettings())
                Issue.record("a damaged file was opened")
            } catch {
                #expect("\(error)".contains("nothing is written to it"), "\(error)")
            }
        }
    }

    @Test("the retention removes what is old, a few rows at a time, and lets no odd clock keep the rest")
    func retention() throws {
        var settings = StoreBench.quick
        settings.eventRetentionDays = 30
        settings.upkeepInterval = .milliseconds(50)
        let day: Int64 = 86_400_000_000
        try withFolder { folder in
            let now = WallClock.now().microseconds
            do {
                let database = try SQLiteSchema.open(path: "\(folder)/s.db", settings: settings)
                // 1500 from the future (the clock was wrong), 5000 old ones, 100 young ones.
                for (count, time) in [(1500, now + 900 * day), (5000, now - 40 * day), (100, now - 20 * day)]
                {
                    try database.execute(
                        """
                        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < \(count))
                        INSERT INTO call_events (call_id, event_type, payload, occurred_at, inserted_at, updated_at)
                        SELECT 'c' || i, 'e', '{}', \(time), \(time), \(time) FROM n
                        """)
                }
            }
            let bench = try StoreBench(url: "sqlite:\(folder)/s.db", settings: settings)
            bench.start()
            bench.event("young", "now")
            bench.wait(for: "the old rows to go") { bench.metrics[.storeEventsExpired] == 5000 }
            bench.settle()
            let other = try SQLiteDatabase(path: "\(folder)/s.db", forWriting: false)
            #expect(try other.text("SELECT count(*) FROM call_events") == "1601")
            bench.close()
        }
    }

    @Test("a read that takes too long ends, keeps no batch waiting, and the next one is answered")
    func longRead() throws {
        var settings = StoreBench.quick
        settings.readTimeout = .milliseconds(300)
        try withFolder { folder in
            let bench = try StoreBench(url: "sqlite:\(folder)/s.db", settings: settings)
            bench.start()
            for number in 0..<500 { bench.commit.appendCall(.test("l\(number)", at: Int64(number))) }
            bench.settle()
            // A view in the table's place makes each list cost minutes.
            try bench.run(
                """
                ALTER TABLE calls RENAME TO real_calls;
                CREATE VIEW calls AS SELECT real_calls.* FROM real_calls WHERE (
                    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000)
                    SELECT count(*) FROM n) > 0
                """)
            var failure: StoreError?
            bench.reader.calls(CallFilter()) { if case .failure(let error) = $0 { failure = error } }
            while failure == nil {
                bench.event("l", "meanwhile")
                bench.settle()
            }
            guard case .transient = try #require(failure) else {
                Issue.record("\(String(describing: failure))")
                return
            }
            #expect(bench.metrics[.storeErrors] == 0)
            try bench.run("DROP VIEW calls; ALTER TABLE real_calls RENAME TO calls")
            // On a busy machine this one may take that long as well.
            var rows: Int?
            for _ in 0..<100 where rows == nil { rows = try? bench.calls().count }
            #expect(rows == 50)
            bench.close()
        }
    }

    @Test("lists and events are found by an index, whatever is asked")
    func plans() throws {
        try withFolder { folder in
            let database = try SQLiteSchema.open(path: "\(folder)/s.db", settings: StoreSettings())
            let cursor = CallCursor(startedAt: .test(1), id: CallUUID(high: 1, low: 2))
            for filter in [
                CallFilter(), CallFilter(status: "ringing"), CallFilter(direction: "inbound"),
                CallFilter(after: cursor), CallFilter(status: "ringing", after: cursor),
                CallFilter(openBefore: .test(1)),
            ] {
                let plan = try database.prepare("EXPLAIN QUERY PLAN " + CallListQuery(filter, .sqlite).sql)
                var lines: [String] = []
                while try plan.step() { lines.append(plan.string(3) ?? "") }
                #expect(lines.contains { $0.contains("USING INDEX calls_") }, "\(filter): \(lines)")
                #expect(!lines.contains { $0 == "SCAN calls" }, "\(filter): \(lines)")
                if filter.openBefore == nil {
                    #expect(!lines.contains { $0.contains("TEMP B-TREE") }, "\(filter): \(lines)")
                }
            }
        }
    }
}
