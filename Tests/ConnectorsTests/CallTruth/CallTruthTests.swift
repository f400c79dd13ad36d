import Foundation
import Testing

@Suite("Calls in a simulated world: one truth, whatever the PBX does and whatever breaks")
struct CallTruthTests {
    /// A failure is repeated with `SIMULATION_SEED=…`; `SIMULATION_SEEDS` gives how many are tried.
    static var seeds: Range<UInt64> {
        let environment = ProcessInfo.processInfo.environment
        if let seed = environment["SIMULATION_SEED"].flatMap({ UInt64($0) }) { return seed..<seed + 1 }
        return 1..<(1 + (environment["SIMULATION_SEEDS"].flatMap { UInt64($0) } ?? 4000))
    }

    static let shares: UInt64 = 4

    @Test(
        "every call once, closed once, with the truth where no event was missed and with bounds where one was",
        arguments: 0..<shares)
    func everySeed(share: UInt64) {
        var failed = 0
        var (whole, broken, hidden, ghosts) = (0, 0, 0, 0)
        for seed in Self.seeds where seed % Self.shares == share {
            let plan = TruthPlan(seed: seed)
            let simulation = TruthSimulation(plan)
            simulation.run()
            whole += simulation.whole
            broken += simulation.broken
            hidden += simulation.hidden
            ghosts += simulation.ghosts
            guard !simulation.problems.isEmpty else { continue }
            failed += 1
            Issue.record("\(Self.report(plan))")
            if failed >= 5 { break }
        }
        guard Self.seeds.count > 1000 else { return }
        #expect(whole > Self.seeds.count / 4, "the world was too cruel")
        #expect(broken > Self.seeds.count / 16 && hidden > 0 && ghosts > 0, "the world was too kind")
    }

    /// The seed, what is wrong, and the least that has it.
    static func report(_ plan: TruthPlan) -> String {
        func problems(_ plan: TruthPlan) -> [String] {
            let simulation = TruthSimulation(plan)
            simulation.run()
            return simulation.problems
        }
        let small = plan.shrunk { !problems($0).isEmpty }
        let least = TruthSimulation(small)
        least.run()
        return """
            SIMULATION_SEED=\(plan.seed): \(problems(plan).prefix(4).joined(separator: "; "))
            \(plan.text)
            shrunk to \(small.text): \(least.problems.prefix(6).joined(separator: "; "))
            \(least.story)
            """
    }
}
