/// Waits between attempts: doubling from `initial` to `maximum`, each with jitter of half its length, so that
/// many daemons do not knock at a restarted server in step.
struct Backoff {
    let initial: Duration
    let maximum: Duration
    private var attempts = 0

    init(initial: Duration, maximum: Duration) {
        self.initial = initial
        self.maximum = maximum
    }

    /// The wait before the next attempt.
    mutating func next() -> Duration {
        // 2^20 times the initial wait is above any sensible maximum.
        let doubled = initial * (1 << min(attempts, 20))
        attempts += 1
        return min(doubled, maximum) * Double.random(in: 0.5...1)
    }

    /// After success the next wait is short again.
    mutating func reset() { attempts = 0 }
}
