package import Protocols
package import Reactor

/// Time and turns as `GroupCommit` needs them: those of a loop, or of a simulated world.
package protocol CommitTurns: AnyObject {
    /// The monotonic clock, as of this turn.
    var now: MonotonicInstant { get }
    /// The calendar's clock.
    var wallNow: Timestamp { get }
    /// Runs `body` once, after `delay`.
    func after(_ delay: Duration, _ body: @escaping () -> Void)
    /// Runs `body` at the end of each turn.
    ///
    /// - Returns: What ends that.
    func atEndOfTurn(_ body: @escaping () -> Void) -> () -> Void
}

/// A loop's time and ticks.
final class LoopTurns: CommitTurns {
    private let loop: Loop

    init(_ loop: Loop) { self.loop = loop }

    var now: MonotonicInstant { loop.now }
    var wallNow: Timestamp { WallClock.now() }

    func after(_ delay: Duration, _ body: @escaping () -> Void) {
        loop.schedule(after: delay, body)
    }

    func atEndOfTurn(_ body: @escaping () -> Void) -> () -> Void {
        let hook = loop.atEndOfTick(body)
        return { [loop] in loop.removeHook(hook) }
    }
}

extension Duration {
    /// Whole microseconds.
    var wholeMicroseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds &* 1_000_000 &+ attoseconds / 1_000_000_000_000
    }
}
