/// The running time that one method may still use at the portal, kept so that the portal never has to block it.
///
/// The portal sums a method's running time in ten buckets of a minute and refuses the method (429,
/// `OPERATION_TIME_LIMIT`) while the sum is above its limit. Each answer tells the sum and when the oldest
/// minute drops out; between answers, what is under way is added at the usual cost.
struct OperatingBudget: Sendable {
    /// Finished calls use the budget up to this share; the rest is left to live ones.
    static let shareForFinished = 0.9
    /// Commands that may go out to learn the sum anew once a minute has dropped out.
    static let commandsToLearn = 5
    /// The portal does not add calls shorter than this.
    private static let leastCost = 0.1

    /// Seconds; taken down when the portal blocks at less.
    private(set) var limit: Double
    private var sum: Double?
    private var resetsAt: Duration = .zero
    private var cost = 0.3
    private var hasAnswered = false
    private var underWay = 0
    /// Nothing of this method goes out before; the portal said so.
    private(set) var heldUntil: Duration = .zero

    init(limit: Double) {
        self.limit = limit
    }

    /// Whether the method is blocked.
    func isHeld(at now: Duration) -> Bool { heldUntil > now }

    /// Commands for finished calls that may go out now; nil: not bounded.
    ///
    /// Before the first answer nothing is known of the cost, so one request goes out and the next ones wait for it.
    func room(at now: Duration) -> Int? {
        guard let sum else { return hasAnswered || underWay == 0 ? nil : 0 }
        let left = limit * Self.shareForFinished - sum - Double(underWay) * cost
        if left >= cost { return Int(left / cost) }
        return resetsAt <= now && underWay == 0 ? Self.commandsToLearn : 0
    }

    /// When there may be room again.
    func nextRoom(at now: Duration) -> Duration {
        resetsAt > now ? resetsAt : now + (sum == nil ? .milliseconds(250) : .seconds(1))
    }

    mutating func sent() { underWay += 1 }

    /// An answer, or none, to a command that was sent.
    mutating func returned() { underWay = max(0, underWay - 1) }

    /// What the portal told with an answer.
    mutating func learn(from success: BitrixSuccess, at now: Duration) {
        if let duration = success.duration {
            cost += (max(Self.leastCost, duration) - cost) * (hasAnswered ? 0.1 : 1)
        }
        hasAnswered = true
        if let operating = success.operating { sum = operating }
        if let reset = success.operatingResetsAfter { resetsAt = now + reset }
    }

    /// The portal has blocked the method; at least until `earliest`.
    mutating func block(at now: Duration, notBefore earliest: Duration) {
        if let sum { limit = min(limit, max(30, sum)) }
        heldUntil = max(resetsAt, earliest)
    }
}
