/// What a leg was in its call; several may hold.
public struct LegRoles: OptionSet, Sendable, Hashable, BitwiseCopyable {
    /// The bits.
    public let rawValue: UInt16
    /// Takes bits.
    public init(rawValue: UInt16) { self.rawValue = rawValue }
    /// Began the call.
    public static let caller = LegRoles(rawValue: 1)
    /// Called by us first, then the customer was (click-to-call).
    public static let operator_ = LegRoles(rawValue: 2)
    /// The first that talked with the caller.
    public static let callee = LegRoles(rawValue: 4)
    /// Handed the call on.
    public static let transferer = LegRoles(rawValue: 8)
    /// Talked after a transfer.
    public static let target = LegRoles(rawValue: 16)
    /// Took the call from a ringing neighbour.
    public static let pickup = LegRoles(rawValue: 32)
    /// Was called and never talked.
    public static let attempt = LegRoles(rawValue: 64)
    /// A half of a Local channel between two parties, or another channel that nobody speaks on.
    public static let technical = LegRoles(rawValue: 128)
    /// Was there and none of these.
    public static let other = LegRoles(rawValue: 256)

    private static let names: [(LegRoles, String)] = [
        (.caller, "caller"), (.operator_, "operator"), (.callee, "callee"), (.transferer, "transferer"),
        (.target, "target"), (.pickup, "pickup"), (.attempt, "attempt"), (.technical, "technical"),
        (.other, "other"),
    ]

    /// Reads what `name` wrote; words that it does not know are left out.
    public init(name: String) {
        self = []
        for word in name.split(separator: "+") {
            if let known = Self.names.first(where: { $0.1 == word }) { insert(known.0) }
        }
    }

    /// The words stored in `call_legs.role`, joined by `+`.
    public var name: String {
        // Most legs have one role, which needs no new text.
        var name = ""
        for (role, word) in Self.names where contains(role) {
            if name.isEmpty { name = word } else { name += "+" + word }
        }
        return name
    }
}

/// What became of one attempt to reach a telephone, or of any leg; column `call_legs.result`.
///
/// In the order of how much they tell about a group of attempts: of five telephones of which four rang out and one was
/// busy, the group rang out.
public enum LegResult: UInt8, Sendable, CaseIterable, BitwiseCopyable {
    case none, answered, noAnswer, rejected, busy, numberInvalid, congestion, unavailable, failed
    /// Not wanted any more: the caller left.
    case cancelled
    /// Another telephone answered (Q.850 26).
    case answeredElsewhere
    /// Sent the call on to another number.
    case forwarded

    /// The word stored; empty for `none`.
    public var name: StaticString {
        switch self {
        case .none: ""
        case .answered: "answered"
        case .noAnswer: "no_answer"
        case .rejected: "rejected"
        case .busy: "busy"
        case .numberInvalid: "number_invalid"
        case .congestion: "congestion"
        case .unavailable: "unavailable"
        case .failed: "failed"
        case .cancelled: "cancelled"
        case .answeredElsewhere: "answered_elsewhere"
        case .forwarded: "forwarded"
        }
    }

    /// The outcome of a call whose best attempt ended so; `nil` when it says nothing of the call.
    public var outcome: CallOutcome? {
        switch self {
        case .none, .cancelled, .answeredElsewhere, .forwarded, .answered: nil
        case .noAnswer: .noAnswer
        case .rejected: .rejected
        case .busy: .busy
        case .numberInvalid: .numberInvalid
        case .congestion: .congestion
        case .unavailable: .unavailable
        case .failed: .failed
        }
    }
}

/// What a leg's result was taken from; column `call_legs.result_rule`.
public enum LegEvidence: UInt8, Sendable, CaseIterable, BitwiseCopyable {
    case none
    /// It was up.
    case up
    /// It sent the call on.
    case forwarded
    /// How its dialling ended, as Asterisk says (`DIALSTATUS`).
    case dialStatus
    /// The SIP code of its end.
    case sipCode
    /// The Q.850 cause of its end.
    case cause
    /// Nothing was told: from when it ended, beside the answer.
    case time

    /// The word stored; empty for `none`.
    public var name: StaticString {
        switch self {
        case .none: ""
        case .up: "up"
        case .forwarded: "forwarded"
        case .dialStatus: "dial_status"
        case .sipCode: "sip_code"
        case .cause: "cause"
        case .time: "time"
        }
    }
}
