internal import CReactor

/// A point on the system's monotonic clock (CLOCK_MONOTONIC), which no operator and no NTP sets back.
public struct MonotonicInstant: Comparable, Hashable, Sendable {
    /// Nanoseconds since an unspecified start, usually the machine's.
    public var nanoseconds: UInt64

    /// The instant at `nanoseconds`.
    public init(nanoseconds: UInt64) {
        self.nanoseconds = nanoseconds
    }

    /// Reads the clock (about 20 ns).
    ///
    /// On a loop prefer `Loop.now`, which is read once per tick.
    public static func now() -> MonotonicInstant {
        MonotonicInstant(nanoseconds: creactor_monotonic_nanoseconds())
    }

    /// Earlier comes first.
    public static func < (left: MonotonicInstant, right: MonotonicInstant) -> Bool {
        left.nanoseconds < right.nanoseconds
    }

    /// The instant `duration` later, or earlier when it is negative; stops at the ends of the range.
    public static func + (instant: MonotonicInstant, duration: Duration) -> MonotonicInstant {
        let delta = duration.clampedNanoseconds
        if delta >= 0 {
            let (sum, overflow) = instant.nanoseconds.addingReportingOverflow(UInt64(delta))
            return MonotonicInstant(nanoseconds: overflow ? .max : sum)
        }
        let (difference, overflow) = instant.nanoseconds.subtractingReportingOverflow(delta.magnitude)
        return MonotonicInstant(nanoseconds: overflow ? 0 : difference)
    }

    /// How much later `left` is than `right`; negative when it is earlier.
    public static func - (left: MonotonicInstant, right: MonotonicInstant) -> Duration {
        if left >= right { return .nanoseconds(Int64(clamping: left.nanoseconds - right.nanoseconds)) }
        return .nanoseconds(-Int64(clamping: right.nanoseconds - left.nanoseconds))
    }
}

extension Duration {
    /// This duration in nanoseconds, held to what 64 bits can say (292 years).
    var clampedNanoseconds: Int64 {
        let (seconds, attoseconds) = components
        let (scaled, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        if overflow { return seconds < 0 ? .min : .max }
        let (sum, overflow2) = scaled.addingReportingOverflow(attoseconds / 1_000_000_000)
        return overflow2 ? (seconds < 0 ? .min : .max) : sum
    }
}
