/// Everything about one call that chance decides; the same for the same seed and sequence number.
struct CallPlan: Sendable {
    /// How long, in milliseconds, the parts of calls take.
    struct Durations: Sendable {
        /// A telephone rings before it is answered or gives up.
        var ring: ClosedRange<Int>
        /// Two people speak.
        var talk: ClosedRange<Int>
    }

    var kind: CallKind
    /// Whether the customer hangs up (else the company's side does).
    var customerHangsUp: Bool
    /// Customer's number without the plus sign.
    var customer: UInt64
    /// Whether the customer's number carries a plus sign.
    var hasPlus: Bool
    /// Index into `CallPlan.names`.
    var name: Int
    /// The company's number that customers dial.
    var line: UInt64
    /// Extensions of two telephones, never equal.
    var agentA: UInt32
    var agentB: UInt32
    /// From StasisStart to StasisEnd when the application does not continue the channel earlier.
    var stasisMilliseconds: Int32
    var ringMilliseconds: Int32
    var secondRingMilliseconds: Int32
    var talkMilliseconds: Int32
    /// Basis of the call's invented ids (bridges, SIP Call-IDs).
    var identity: UInt64

    /// Names of callers, JSON's escapes applied where Asterisk applies them; about one in eight is not ASCII.
    static let names = [
        "", "Ivan", "Olga", "Sergey Ivanov", "J. Smith", "ACME GmbH", "79161234567", "Maria", "Anna K.",
        "Pavel", "Reception", "O'Brien", "R\\\"D", "Иван Петров", "李雷", "Zoë",
    ]

    init(
        seed: UInt64, sequence: UInt64, mix: CallMix, durations: Durations, agents: ClosedRange<Int>
    ) {
        var random = SeededRandom(seed: seed, index: sequence)
        kind = mix.pick(&random)
        customerHangsUp = random.below(10) < 6
        customer = 79_000_000_000 + random.next() % 1_000_000_000
        hasPlus = random.below(2) == 0
        name = Int(random.below(UInt32(Self.names.count)))
        line = 74_950_000_000 + UInt64(random.below(100))
        let count = UInt32(clamping: agents.count)
        let first = random.below(count)
        let second = (first + 1 + random.below(max(1, count - 1))) % max(2, count)
        agentA = UInt32(clamping: agents.lowerBound) + first
        agentB = UInt32(clamping: agents.lowerBound) + second
        stasisMilliseconds = Int32(random.number(in: 5...30))
        ringMilliseconds = Int32(clamping: random.number(in: durations.ring))
        secondRingMilliseconds = Int32(clamping: random.number(in: durations.ring))
        talkMilliseconds = Int32(clamping: random.number(in: durations.talk))
        identity = random.next()
    }

    /// Makes ringing and talking shorter by a factor of 0 to 1.
    mutating func shorten(to factor: Double) {
        ringMilliseconds = Int32(Double(ringMilliseconds) * factor)
        secondRingMilliseconds = Int32(Double(secondRingMilliseconds) * factor)
        talkMilliseconds = Int32(Double(talkMilliseconds) * factor)
    }

    /// What the caller's telephone shows as the caller's number.
    var callerNumber: String {
        kind.isOutbound ? String(agentA) : (hasPlus ? "+" : "") + String(customer)
    }

    /// The number that was dialled first.
    var dialled: String { String(kind.isOutbound ? customer : line) }
}
