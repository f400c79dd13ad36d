/// When a loop's next tick may begin, so that a busy loop takes more at a time and pays less for waking up.
///
/// Ticks that follow one another within the period show that the loop is busy; from the fourth on the next one
/// begins a whole period after the last. An event after a pause is never held up, nor is anything while there is
/// urgent input. A loop whose ticks take longer than the period by themselves is not slowed down.
struct Pacing {
    /// Ticks in a row, each within the period, that make a loop busy.
    static let busyTicks = 4
    /// After urgent input nothing is held up for so long.
    static let urgentTime: Duration = .milliseconds(10)

    private let period: Duration?
    /// Longest distance of two ticks of a busy loop: the period and what timers are late by.
    private let closeness: Duration
    private var closeTicks = 0
    private var urgentUntil = MonotonicInstant(nanoseconds: 0)

    init(period: Duration?) {
        self.period = period.flatMap { $0 > .zero ? $0 : nil }
        closeness = (period ?? .zero) * 5 / 4
    }

    /// The earliest begin of the tick that follows the one of `start`; nil for at once.
    func next(after start: MonotonicInstant) -> MonotonicInstant? {
        guard let period, closeTicks >= Pacing.busyTicks, urgentUntil <= start else { return nil }
        return start + period
    }

    /// A tick begins.
    mutating func began(_ now: MonotonicInstant, after last: MonotonicInstant) {
        guard period != nil else { return }
        closeTicks = now - last <= closeness ? min(closeTicks + 1, Pacing.busyTicks) : 0
    }

    /// Input that somebody waits for an answer to.
    mutating func wasUrgent(_ now: MonotonicInstant) {
        guard period != nil else { return }
        urgentUntil = now + Pacing.urgentTime
    }
}
