import Foundation

/// Chance of a chaos run; the same seed, the same faults in the same order.
struct SeededDice: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    /// SplitMix64.
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}

/// How long and with which seeds: one short round of each test, or rounds until the time is over.
///
/// `CHAOS_MINUTES` (of `make chaos MINUTES=10`) is shared among the tests; `CHAOS_SEED` repeats a round.
struct ChaosPlan {
    static let tests = 6.0
    private static let environment = ProcessInfo.processInfo.environment
    private static let minutes = Double(environment["CHAOS_MINUTES"] ?? "") ?? 0
    /// Whether there is time for the tests whose short form is elsewhere, without a process.
    static let isLong = minutes > 0

    private let end = Date().addingTimeInterval(minutes * 60 / tests)
    private var round = 0

    /// The next round's seed, printed; `nil` when the time is over.
    mutating func nextSeed(_ test: String) -> UInt64? {
        guard round == 0 || Date() < end else { return nil }
        round += 1
        let seed =
            Self.environment["CHAOS_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 1...UInt64(UInt32.max))
        print("chaos: \(test), round \(round), seed \(seed)")
        return seed
    }

    /// Calls of a round; long runs have longer ones.
    var calls: Int { Self.isLong ? 1200 : 160 }
    /// Faults of a round.
    var faults: Int { Self.isLong ? 20 : 8 }
    /// Kills of a round.
    var kills: Int { Self.isLong ? 8 : 3 }
}
