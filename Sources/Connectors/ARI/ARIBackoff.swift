/// Pauses between tries: doubled from a base up to a cap, each shortened by chance to between half and all
/// of it, so that many readers of a PBX that came back do not knock at the same moment.
struct ARIBackoff: Sendable {
    let base: Duration
    let cap: Duration
    /// Failures since the last success.
    private(set) var failures = 0

    init(base: Duration, cap: Duration) {
        self.base = base
        self.cap = cap
    }

    /// The pause after one more failure.
    ///
    /// - Parameter random: Any 32 random bits.
    mutating func next(random: UInt32) -> Duration {
        var pause = base
        for _ in 0..<failures where pause < cap { pause = pause * 2 }
        pause = min(pause, cap)
        failures += 1
        return pause / 2 + pause / 2 * (Double(random) / Double(UInt32.max))
    }

    /// After a success.
    mutating func reset() { failures = 0 }
}
