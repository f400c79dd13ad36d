/// What happens in a simulated call.
package enum CallKind: UInt8, CaseIterable, Sendable {
    /// A customer calls, a telephone answers.
    case answered
    /// As `answered`, with the customer put on hold for a while.
    case held
    /// Two telephones ring until the dialplan gives up.
    case missed
    /// Both telephones are busy.
    case busy
    /// Both telephones decline.
    case rejected
    /// The customer hangs up while two telephones ring.
    case abandoned
    /// A telephone answers and sends the customer on to another one, blindly.
    case blindTransfer
    /// An employee calls a customer, who answers.
    case outbound
    /// An employee calls a customer, who does not answer.
    case outboundNoAnswer
    /// An employee calls a customer, who is busy.
    case outboundBusy

    /// The word used in settings and in the truth.
    package var name: String {
        switch self {
        case .answered: "answered"
        case .held: "held"
        case .missed: "missed"
        case .busy: "busy"
        case .rejected: "rejected"
        case .abandoned: "abandoned"
        case .blindTransfer: "blind_transfer"
        case .outbound: "outbound"
        case .outboundNoAnswer: "outbound_no_answer"
        case .outboundBusy: "outbound_busy"
        }
    }

    /// The kind with this name.
    package init?(name: some StringProtocol) {
        guard let kind = CallKind.allCases.first(where: { $0.name == name }) else { return nil }
        self = kind
    }

    /// Whether the company calls.
    package var isOutbound: Bool {
        switch self {
        case .outbound, .outboundNoAnswer, .outboundBusy: true
        case .answered, .held, .missed, .busy, .rejected, .abandoned, .blindTransfer: false
        }
    }

    /// Whether two people spoke.
    package var isAnswered: Bool {
        switch self {
        case .answered, .held, .blindTransfer, .outbound: true
        case .missed, .busy, .rejected, .abandoned, .outboundNoAnswer, .outboundBusy: false
        }
    }

    /// The outcome that a reader of the events should come to, in the words of the `outcome` column.
    package var outcome: String {
        switch self {
        case .answered, .held, .blindTransfer, .outbound: "answered"
        case .missed, .outboundNoAnswer: "no_answer"
        case .busy, .outboundBusy: "busy"
        case .rejected: "rejected"
        case .abandoned: "abandoned"
        }
    }
}

/// How often each kind of call happens: weights, not percentages.
package struct CallMix: Sendable, Equatable {
    /// Weight of each kind, indexed by `CallKind.rawValue`.
    private var weights = [UInt32](repeating: 0, count: CallKind.allCases.count)
    /// The largest weight of one kind, so that sums cannot overflow.
    package static let maximumWeight: UInt32 = 1_000_000

    /// A day in a small company.
    package static let usual = CallMix([
        .answered: 38, .held: 8, .missed: 10, .busy: 5, .rejected: 3, .abandoned: 8, .blindTransfer: 5,
        .outbound: 16, .outboundNoAnswer: 5, .outboundBusy: 2,
    ])

    /// Takes weights; kinds left out never happen.
    ///
    /// Weights above `maximumWeight` are cut to it.
    package init(_ weights: [CallKind: UInt32]) {
        for (kind, weight) in weights { self.weights[Int(kind.rawValue)] = min(weight, Self.maximumWeight) }
    }

    /// Reads `answered=60,missed=20`; `nil` for an unknown kind, a bad number, or when all weights are 0.
    package init?(parsing text: String) {
        for part in text.split(separator: ",") {
            let sides = part.split(separator: "=", omittingEmptySubsequences: false)
            guard sides.count == 2, let kind = CallKind(name: sides[0]), let weight = UInt32(sides[1]),
                weight <= Self.maximumWeight
            else { return nil }
            weights[Int(kind.rawValue)] = weight
        }
        if total == 0 { return nil }
    }

    /// The weight of a kind.
    package subscript(kind: CallKind) -> UInt32 { weights[Int(kind.rawValue)] }

    /// Sum of the weights.
    package var total: UInt32 { weights.reduce(0, +) }

    /// The kind that a random number picks.
    func pick(_ random: inout SeededRandom) -> CallKind {
        var rest = random.below(max(1, total))
        for kind in CallKind.allCases {
            let weight = weights[Int(kind.rawValue)]
            if rest < weight { return kind }
            rest -= weight
        }
        return .answered
    }
}
