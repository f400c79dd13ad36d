public import Protocols

/// What the leg graph knows of a call beyond its `CallRecord`: the additive columns of table `calls`.
///
/// Made from the legs, so it does not depend on the order in which the legs' events came. Times are the PBX's;
/// durations are whole microseconds and never negative, whatever the PBX's clock does.
public struct CallFacts: Sendable, Hashable {
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
    public var answeredBy = ""
    /// The extension that a click-to-call began with; empty when it was none.
    public var operatorNumber = ""
    /// Who handed the call on last; empty when nobody did.
    public var transferredBy = ""
    /// To whom; empty when to nobody.
    public var transferredTo = ""
    /// The last queue the caller waited in; empty when in none.
    public var queue = ""
    /// Attempts to reach a telephone.
    public var attemptCount = 0
    /// The call that this one became part of; `nil` when it is one of its own.
    public var mergedInto: String?
    /// Legs or events of the call were too many to keep all.
    public var isIncomplete = false

    /// Nothing known yet.
    public init() {}
}
