public import Protocols

/// What is known of one leg of a call: a row of table `call_legs`, and a step of an explanation.
///
/// Times are the PBX's; durations are whole microseconds and never negative. No heap: it is made for every leg that ends.
public struct LegRecord: Sendable, BitwiseCopyable {
    /// The channel's unique id (an id of more than 48 bytes in its folded form).
    public var channelID: InlineText<48>
    /// The channel's name, such as `PJSIP/101-00000007`.
    public var name: InlineText<63>
    /// The number or extension at this end; empty when unknown.
    public var number: InlineText<40>
    /// What it was.
    public var roles: LegRoles
    /// What became of it.
    public var result: LegResult
    /// What that was taken from.
    public var evidence = LegEvidence.none
    /// Which PBX; index into the daemon's list.
    public var pbx: UInt16
    /// Unique id of the channel that dialled it; empty when none did.
    public var dialedBy: InlineText<48>
    /// First sign of it.
    public var startedAt: Timestamp
    /// When dialling began.
    public var dialedAt: Timestamp?
    /// When it first rang.
    public var ringingAt: Timestamp?
    /// When it was up.
    public var answeredAt: Timestamp?
    /// When it first talked with another party.
    public var talkStartedAt: Timestamp?
    /// When it was gone; `nil` while it is there.
    public var endedAt: Timestamp?
    /// On a bridge with another party, hold included.
    public var talkMicroseconds: Int64
    /// Of that, with one of the two on hold.
    public var holdMicroseconds: Int64
    /// Q.850 cause of its end; 0 when none was told.
    public var cause: UInt16
    /// SIP code of its end; 0 when none was told.
    public var sipCode: UInt16
    /// Its end was inferred.
    public var isEndEstimated: Bool
    /// The call that it was a leg of before that became part of this one; empty: it was always of this one.
    public var cameFrom = InlineText<76>()

    /// A leg of which only this is known.
    public init(channelID: InlineText<48>, startedAt: Timestamp) {
        self.channelID = channelID
        self.startedAt = startedAt
        name = InlineText()
        number = InlineText()
        roles = []
        result = .none
        pbx = 0
        dialedBy = InlineText()
        talkMicroseconds = 0
        holdMicroseconds = 0
        cause = 0
        sipCode = 0
        isEndEstimated = false
    }

    /// From its first ringing, or else its dialling, to its answer or end; 0 when it was never called, or is still.
    public var ringMicroseconds: Int64 {
        guard let begin = ringingAt ?? dialedAt, let end = answeredAt ?? endedAt else { return 0 }
        return max(0, end.microseconds - begin.microseconds)
    }
}
