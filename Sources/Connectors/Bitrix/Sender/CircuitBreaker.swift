/// Stops asking a portal that does not answer, and asks again with one request at a time.
///
///     closed ──failures in a row──▶ open ──time──▶ half-open ──success──▶ closed
///        ▲                            ▲                │
///        └── success                  └────failure─────┘  (twice as long, up to a bound)
///
/// `now` is any monotonic clock's time.
package struct CircuitBreaker: Sendable {
    /// Where it stands.
    package enum State: Sendable, Hashable, CustomStringConvertible {
        /// Requests go out.
        case closed
        /// None goes out before `until`.
        case open(until: Duration)
        /// One request is out to see whether the portal is back.
        case halfOpen

        /// `closed`, `open` or `half-open`.
        package var description: String {
            switch self {
            case .closed: "closed"
            case .open: "open"
            case .halfOpen: "half-open"
            }
        }
    }

    /// Where it stands.
    package private(set) var state = State.closed
    private let threshold: Int
    private let firstDelay: Duration
    private let maximumDelay: Duration
    private var failuresInARow = 0
    private var openings = 0

    /// A closed breaker.
    ///
    /// - Parameters:
    ///   - threshold: So many failures in a row open it.
    ///   - firstDelay: How long it stays open the first time.
    ///   - maximumDelay: And how long at most.
    package init(threshold: Int, firstDelay: Duration, maximumDelay: Duration) {
        self.threshold = max(1, threshold)
        self.firstDelay = firstDelay
        self.maximumDelay = maximumDelay
    }

    /// When a request may go out: `now` when it is closed, nil while the one that tries is under way.
    package func nextChance(at now: Duration) -> Duration? {
        switch state {
        case .closed: now
        case .open(let until): max(now, until)
        case .halfOpen: nil
        }
    }

    /// Whether the next request is the one that tries.
    package var isTrying: Bool { state != .closed }

    /// A request goes out; only when ``nextChance(at:)`` has come.
    package mutating func sent() {
        if case .open = state { state = .halfOpen }
    }

    /// A request that was to go out did not; another one may.
    package mutating func notSent(at now: Duration) {
        if state == .halfOpen { state = .open(until: now) }
    }

    /// The portal answered, whatever it said of the method.
    package mutating func succeeded() {
        failuresInARow = 0
        openings = 0
        state = .closed
    }

    /// A request had no answer of the portal's, or one that says that it cannot work.
    ///
    /// - Parameters:
    ///   - isLasting: Nothing will help until a person changes something: opens at once, for the longest time.
    ///   - jitter: 0 ..< 1.
    package mutating func failed(at now: Duration, isLasting: Bool = false, jitter: Double) {
        failuresInARow += 1
        switch state {
        case .open: return  // Sent before it opened.
        case .closed where failuresInARow < threshold && !isLasting: return
        case .closed, .halfOpen: break
        }
        let full = isLasting ? maximumDelay : min(maximumDelay, firstDelay * (1 << min(openings, 20)))
        openings += 1
        state = .open(until: now + full * (0.5 + 0.5 * jitter))
    }
}
