/// Our own copy of the portal's leaky bucket, so that nothing is sent that it would refuse.
///
/// The level grows by one with each request and falls by `perSecond`. Time is any monotonic clock's.
package struct RequestPacer: Sendable {
    private let perSecond: Double
    private let burst: Double
    private var level = 0.0
    private var levelAt: Duration = .zero
    private var heldUntil: Duration = .zero

    /// An empty bucket.
    ///
    /// - Parameters:
    ///   - perSecond: Requests that drain away in a second; above 0.
    ///   - burst: The highest level; at least 1.
    package init(perSecond: Double, burst: Double) {
        self.perSecond = perSecond
        self.burst = max(1, burst)
    }

    /// Takes room for one request, if there is some.
    package mutating func take(at now: Duration) -> Bool {
        drain(at: now)
        guard now >= heldUntil, level + 1 <= burst else { return false }
        level += 1
        return true
    }

    /// How full the bucket is, 0 to 1.
    package func share(at now: Duration) -> Double {
        max(0, level - seconds(from: levelAt, to: now) * perSecond) / burst
    }

    /// When there is room for one request; never before `now`.
    package func nextRoom(at now: Duration) -> Duration {
        let levelNow = max(0, level - seconds(from: levelAt, to: now) * perSecond)
        let excess = levelNow + 1 - burst
        // A hair is added so that rounding cannot leave the bucket just too full at the time promised.
        let drained = excess > 0 ? now + .seconds(excess / perSecond + 0.000_001) : now
        return max(drained, heldUntil)
    }

    /// The portal said that its bucket is full: ours is taken for full, and nothing goes out until `deadline`.
    package mutating func refused(at now: Duration, holdUntil deadline: Duration) {
        drain(at: now)
        level = burst
        heldUntil = max(heldUntil, deadline)
    }

    private mutating func drain(at now: Duration) {
        guard now > levelAt else { return }
        level = max(0, level - seconds(from: levelAt, to: now) * perSecond)
        levelAt = now
    }

    private func seconds(from start: Duration, to end: Duration) -> Double {
        max(0, (end - start) / .seconds(1))
    }
}
