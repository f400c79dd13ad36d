public import Protocols

/// What the leg graph knows of a call beyond its `CallRecord`: the additive columns of table `calls`.
///
/// Made from the legs, so it does not depend on the order in which the legs' events came. Times are the PBX's;
/// durations are whole microseconds and never negative, whatever the PBX's clock does.
public struct CallFacts: Sendable, BitwiseCopyable {
    /// How it ended; `none` while it lives.
    public var outcome = CallOutcome.none
    /// The rule that chose the outcome.
    public var rule = OutcomeRule.none
    /// Who ended it.
    public var hungUpBy = HungUpBy.nobody
    /// Q.850 cause that describes the end best; 0 when none was told.
    public var cause: UInt16 = 0
    /// SIP code that describes the end best; 0 when none was told.
    public var sipCode: UInt16 = 0
    /// When the first telephone was dialled or rang.
    public var ringStartedAt: Timestamp?
    /// When a person first talked with the caller: the answer, as people mean it.
    public var talkStartedAt: Timestamp?
    /// From the start to the answer, or to the end.
    public var waitMicroseconds: Int64 = 0
    /// From the begin of ringing to the answer or to the end of the last attempt.
    public var ringMicroseconds: Int64 = 0
    /// Talking with persons, hold not counted.
    public var talkMicroseconds: Int64 = 0
    /// Talking suspended by hold.
    public var holdMicroseconds: Int64 = 0
    /// From the first dialling to the first sign of the dialled; `nil` without both.
    public var postDialDelayMicroseconds: Int64?
    /// The number or extension that answered; empty when nobody did.
    public var answeredBy = InlineText<40>()
    /// The extension that a click-to-call began with; empty when it was none.
    public var operatorNumber = InlineText<40>()
    /// Who handed the call on last; empty when nobody did.
    public var transferredBy = InlineText<40>()
    /// To whom; empty when to nobody.
    public var transferredTo = InlineText<40>()
    /// The last queue the caller waited in; empty when in none.
    public var queue = InlineText<31>()
    /// Attempts to reach a telephone.
    public var attemptCount: UInt32 = 0
    /// The call that this one became part of; empty when it is one of its own.
    public var mergedInto = InlineText<76>()
    /// Legs or marks of the call were too many to keep all.
    public var isIncomplete = false

    /// Nothing known yet.
    public init() {}
}

/// All that is known of a call besides its record, in buffers that are used again: nothing is allocated for the next call.
public struct CallDetails: Sendable {
    /// The additive columns.
    public internal(set) var facts = CallFacts()
    /// The legs, in the order of their first signs.
    public internal(set) var legs: [LegRecord] = []
    /// The parts of the call, in the order of their begin.
    public internal(set) var segments: [CallSegment] = []
    /// Indices into `legs` of the telephones called; `CallSegment.attempts` are ranges of it.
    public internal(set) var attempts: [Int32] = []
    /// An end of the call was given before, so fewer legs or parts than then may be left.
    public var isRepeated = false
    /// Places of the legs in the graph, beside `legs`.
    var slots: [UInt32] = []
    /// Which legs are attempts of a queue, beside `legs`.
    var queued: [Bool] = []

    /// Nothing.
    public init() {}

    /// Takes the parts.
    public init(
        facts: CallFacts, legs: [LegRecord] = [], segments: [CallSegment] = [], attempts: [Int32] = [],
        isRepeated: Bool = false
    ) {
        self.facts = facts
        self.legs = legs
        self.segments = segments
        self.attempts = attempts
        self.isRepeated = isRepeated
    }

    mutating func removeAll() {
        facts = CallFacts()
        isRepeated = false
        legs.removeAll(keepingCapacity: true)
        segments.removeAll(keepingCapacity: true)
        attempts.removeAll(keepingCapacity: true)
        slots.removeAll(keepingCapacity: true)
        queued.removeAll(keepingCapacity: true)
    }
}
