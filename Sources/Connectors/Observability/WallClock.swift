import Glibc
package import Protocols

/// The system's calendar clock.
package enum WallClock {
    /// Now, in microseconds UTC (`clock_gettime(2)`, CLOCK_REALTIME).
    package static func now() -> Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000)
    }
}
