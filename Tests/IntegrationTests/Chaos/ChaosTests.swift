import Foundation
import Testing

/// What happens to the way between daemon and database.
private enum DatabaseFault: CaseIterable {
    /// Every session is ended, several times in a row.
    case terminations
    /// The server dies as if its machine had, and comes back.
    case immediateStop
    case cut, reset
    /// A statement ends in the middle.
    case truncated
    /// Nothing goes through for a second, nothing is closed.
    case frozen
    /// Every piece takes 20 ms longer.
    case delayed
    /// A row comes along that the database refuses.
    case poisoned
    /// It stays away until rows lie in the spool.
    case away
}

@Suite(
    "Chaos: whatever dies, what was taken in is stored once", .serialized,
    .enabled(if: PostgresCluster.isInstalled))
struct ChaosTests {
    static let cluster = Result { try PostgresCluster() }

    @Test("The database dies, hangs and loses connections: every event once, every call as it was")
    func databaseFaults() async throws {
        let cluster = try Self.cluster.get()
        var plan = ChaosPlan()
        while let seed = plan.nextSeed("database faults") {
            var dice = SeededDice(seed: seed)
            let bench = try await ChaosBench(cluster, seed: seed, calls: plan.calls)
            // Each at least once, in an order of chance.
            var faults = DatabaseFault.allCases.shuffled(using: &dice)
            while faults.count < plan.faults {
                faults.append(DatabaseFault.allCases.randomElement(using: &dice) ?? .cut)
            }
            try await bench.progress(since: 0)
            for fault in faults {
                let before = try await bench.metric("store_events_written_total")
                try await apply(fault, to: bench, &dice)
                try await bench.progress(since: before)
            }
            try await bench.finish()
            let (missing, excess) = try bench.difference()
            #expect(missing == 0, "seed \(seed), \(faults)")
            #expect(excess == 0, "seed \(seed), \(faults)")
            #expect(try bench.sentCount() > plan.calls * 5)
            let (ends, poisonedCalls, deadLetters) = try bench.poisonedEvents()
            #expect(poisonedCalls > 0)
            #expect(ends == Array(repeating: "stasis_end", count: poisonedCalls), "seed \(seed), \(faults)")
            #expect(deadLetters == poisonedCalls, "seed \(seed), \(faults)")
            let wrong = try await bench.wrongCalls(mayMiss: false)
            #expect(wrong.count == 0, "seed \(seed), \(faults): \(wrong.prefix(5))")
            #expect(bench.said("rows go to the spool"), "seed \(seed): the spool was not used")
            await bench.end()
        }
    }

    private func apply(_ fault: DatabaseFault, to bench: ChaosBench, _ dice: inout SeededDice) async throws {
        switch fault {
        case .terminations:
            for _ in 0..<Int.random(in: 2...6, using: &dice) {
                try bench.cluster.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'callflow-fast'",
                    database: bench.database)
                try await Task.sleep(for: .milliseconds(Int.random(in: 10...120, using: &dice)))
            }
        case .immediateStop:
            try bench.cluster.stop()
            try await Task.sleep(for: .milliseconds(Int.random(in: 0...500, using: &dice)))
            try bench.cluster.start()
        case .cut: bench.proxy.cut(isReset: false)
        case .reset: bench.proxy.cut(isReset: true)
        case .truncated: bench.proxy.truncateNext(after: Int.random(in: 1...4000, using: &dice))
        case .frozen:
            bench.proxy.freeze(true)
            try await Task.sleep(for: .seconds(1))
            bench.proxy.freeze(false)
        case .delayed:
            bench.proxy.delay(milliseconds: 20)
            try await Task.sleep(for: .seconds(1))
            bench.proxy.delay(milliseconds: 0)
        case .poisoned: try await bench.poison()
        case .away:
            try bench.cluster.stop()
            try await bench.spooled(atLeast: 20)
            try bench.cluster.start()
        }
    }

    @Test("kill -9 under load: nothing twice, and lost is only the end of what the killed one had read")
    func kills() async throws {
        let cluster = try Self.cluster.get()
        var plan = ChaosPlan()
        while let seed = plan.nextSeed("kill -9") {
            var dice = SeededDice(seed: seed)
            // One shard writes in the order of the stream, so that "the end" has one meaning.
            let bench = try await ChaosBench(cluster, seed: seed, calls: plan.calls, settings: ["LOOPS": "1"])
            var durable = 0
            for _ in 0..<plan.kills {
                try await bench.progress(since: 0)
                try await Task.sleep(for: .milliseconds(Int.random(in: 50...1200, using: &dice)))
                durable += try await bench.killAndRestart()
            }
            try await bench.finish()
            let (missing, excess) = try bench.difference()
            #expect(excess == 0, "seed \(seed)")
            let tails = try bench.tails()
            for tail in tails {
                #expect(tail.isTail, "seed \(seed), \(tail)")
                print("chaos: \(tail)")
            }
            // The last connection was never killed; on a slow machine nothing may be left to be told on it.
            #expect(tails.allSatisfy { $0.reader <= plan.kills || $0.missing == 0 }, "seed \(seed)")
            #expect(try bench.sentCount() - missing >= durable, "seed \(seed)")
            let wrong = try await bench.wrongCalls(mayMiss: true)
            #expect(wrong.count == 0, "seed \(seed): \(wrong.prefix(5))")
            await bench.end()
        }
    }
}
