import Reactor

/// Spaces out a log line that could come with every event: at most one in an interval, and with it how often
/// it was due since the one before.
struct SpacedLine {
    private let interval: Duration
    private var count = 0
    private var last: MonotonicInstant?

    init(interval: Duration) {
        self.interval = interval
    }

    /// Counts `amount` more.
    ///
    /// - Returns: All that was counted since the last line, when it is time for one.
    mutating func take(_ amount: Int = 1, at now: MonotonicInstant) -> Int? {
        count += amount
        if let last, now - last < interval { return nil }
        defer { count = 0 }
        last = now
        return count
    }
}
