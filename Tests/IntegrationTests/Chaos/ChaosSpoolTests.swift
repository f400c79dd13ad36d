import Foundation
import Testing

/// Bad days that need the spool, or another server.
extension ChaosTests {
    @Test("kill -9 while the database is away: what lay on the disk is stored once")
    func killsWhileAway() async throws {
        let cluster = try Self.cluster.get()
        var plan = ChaosPlan()
        while let seed = plan.nextSeed("kill -9 with the database away") {
            var dice = SeededDice(seed: seed)
            let durability = Bool.random(using: &dice) ? "spool" : "commit"
            let bench = try await ChaosBench(
                cluster, seed: seed, calls: plan.calls, settings: ["LOOPS": "1", "DURABILITY": durability])
            /// Events on the disk when a daemon was killed, by its connection to the PBX.
            var kept: [Int] = []
            for _ in 0..<max(1, plan.kills / 2) {
                try await bench.progress(since: 0)
                try await bench.drained()
                try cluster.stop()
                let events = try await bench.spooled(atLeast: Int.random(in: 20...200, using: &dice))
                try await bench.kill()
                kept.append(events)
                // The next one may find the database there or not.
                let isBackFirst = Bool.random(using: &dice)
                if isBackFirst { try cluster.start() }
                try await bench.restart()
                if !isBackFirst {
                    try await Task.sleep(for: .milliseconds(Int.random(in: 0...3000, using: &dice)))
                    try cluster.start()
                }
            }
            try await bench.finish()
            let (_, excess) = try bench.difference()
            #expect(excess == 0, "seed \(seed)")
            let tails = try bench.tails()
            #expect(tails.count >= kept.count, "seed \(seed)")
            for (tail, kept) in zip(tails, kept) {
                print("chaos: DURABILITY=\(durability), \(tail), \(kept) in the spool")
                #expect(tail.sent - tail.missing >= kept, "seed \(seed), \(tail)")
            }
            // Whoever was not killed lost nothing; a connection that came after the last call has no events.
            if tails.count > kept.count { #expect(tails.last?.missing == 0, "seed \(seed)") }
            let wrong = try await bench.wrongCalls(mayMiss: true)
            #expect(wrong.count == 0, "seed \(seed): \(wrong.prefix(5))")
            await bench.end()
        }
    }

    @Test(
        "the disk of the spool is full while the database is away: payloads go first, no event and no call does",
        .enabled(
            if: ChaosPlan.isLong && SmallDisk.isPossible, "in short form: SpoolTests; or no right to mount"))
    func fullDisk() async throws {
        let cluster = try Self.cluster.get()
        var plan = ChaosPlan()
        while let seed = plan.nextSeed("spool on a full disk") {
            let disk = try SmallDisk(megabytes: 14)
            defer { disk.remove() }
            let bench = try await ChaosBench(
                cluster, seed: seed, calls: plan.calls * 4, callsPerSecond: 120,
                settings: [
                    "LOOPS": "1", "SPOOL_PATH": "\(disk.folder)/spool", "STORE_QUEUE_MAX_BYTES": "4194304",
                ])
            try await bench.progress(since: 0)
            try cluster.stop()
            try await bench.counted("store_payloads_dropped_total", atLeast: 200)
            try cluster.start()
            try await bench.drained()
            try await bench.finish()
            let payloads = bench.lastMetric("store_payloads_dropped_total")
            let events = bench.lastMetric("store_events_dropped_total")
            #expect(payloads > 0, "seed \(seed): the disk was not full")
            #expect(bench.lastMetric("store_calls_dropped_total") == 0, "seed \(seed)")
            let stored = try bench.storedEvents()
            #expect(stored.all == (try bench.sentCount()) - events, "seed \(seed)")
            // An event may lose its payload first and be left out after all.
            #expect((payloads - events...payloads).contains(stored.withoutPayload), "seed \(seed)")
            let wrong = try await bench.wrongCalls(mayMiss: false)
            #expect(wrong.count == 0, "seed \(seed): \(wrong.prefix(5))")
            await bench.end()
        }
    }

    @Test(
        "the primary dies and its standby is promoted: nothing lost, nothing twice",
        .enabled(if: ChaosPlan.isLong, "in short form: FailoverTests"))
    func failover() async throws {
        var plan = ChaosPlan()
        while let seed = plan.nextSeed("failover") {
            var dice = SeededDice(seed: seed)
            let primary = try PostgresCluster()
            // Without it the standby lacks what was confirmed last, which the daemon then writes again.
            let isSynchronous = Bool.random(using: &dice)
            let standby = try PostgresCluster(standbyOf: primary)
            if isSynchronous { try primary.set(["synchronous_standby_names": "*"]) }
            let bench = try await ChaosBench(primary, standby: standby, seed: seed, calls: plan.calls)
            try await bench.progress(since: 0)
            try await Task.sleep(for: .milliseconds(Int.random(in: 100...1500, using: &dice)))
            let before = try await bench.metric("store_events_written_total")
            try primary.stop()
            try await Task.sleep(for: .milliseconds(Int.random(in: 0...3000, using: &dice)))
            try standby.promote()
            bench.cluster = standby
            try await bench.progress(since: before)
            try await bench.finish()
            let (missing, excess) = try bench.difference()
            #expect(missing == 0, "seed \(seed), synchronous: \(isSynchronous)")
            #expect(excess == 0, "seed \(seed), synchronous: \(isSynchronous)")
            let wrong = try await bench.wrongCalls(mayMiss: false)
            #expect(wrong.count == 0, "seed \(seed): \(wrong.prefix(5))")
            await bench.end()
            try standby.stop()
        }
    }
}

/// A tmpfs of a few megabytes; only root can make one.
final class SmallDisk {
    static let isPossible: Bool = {
        guard geteuid() == 0, let disk = try? SmallDisk(megabytes: 1) else { return false }
        disk.remove()
        return true
    }()

    struct Failure: Error {}

    let folder: String

    init(megabytes: Int) throws {
        folder = "/tmp/callflow-disk-\(UInt64.random(in: 0...UInt64.max))"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        guard mount("tmpfs", folder, "tmpfs", 0, "size=\(megabytes)m") == 0 else {
            try? FileManager.default.removeItem(atPath: folder)
            throw Failure()
        }
    }

    func remove() {
        // Lazily, should somebody still look into it.
        _ = umount2(folder, 2)
        try? FileManager.default.removeItem(atPath: folder)
    }
}
