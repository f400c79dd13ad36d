public import Protocols

/// What happened to the caller during one part of a call.
public enum SegmentKind: UInt8, Sendable, CaseIterable, BitwiseCopyable {
    /// A machine talked: menu, announcement, an application.
    case ivr
    /// Waited in a queue, its members being called.
    case queue
    /// One telephone or a group of them was called.
    case ring
    /// Talked with a person.
    case talk
    /// Was handed on.
    case transfer
    /// Spoke to a message box.
    case voicemail
    /// Was in a conference room.
    case conference
    /// Was parked.
    case parking

    /// The word stored.
    public var name: StaticString {
        switch self {
        case .ivr: "ivr"
        case .queue: "queue"
        case .ring: "ring"
        case .talk: "talk"
        case .transfer: "transfer"
        case .voicemail: "voicemail"
        case .conference: "conference"
        case .parking: "parking"
        }
    }
}

/// One part of a call: a row of table `call_segments`.
public struct CallSegment: Sendable, BitwiseCopyable {
    /// Parts of one call that are kept.
    public static let maximumCount = 64

    /// What it was.
    public var kind: SegmentKind
    /// The queue's, room's, box's or application's name, or the number talked with or handed on to; empty when unknown.
    public var name: InlineText<40>
    /// PBX time of its begin.
    public var startedAt: Timestamp
    /// PBX time of its end; never before its begin.
    public var endedAt: Timestamp
    /// What a queue or ringing came to; of a transfer `answered` when it succeeded, else `failed`.
    public var result = LegResult.none
    /// The number that answered a queue or ringing, or that handed the call on.
    public var by = InlineText<40>()
    /// How a transfer was made; else `none`.
    public var transfer = TransferKind.none
    /// Where in `CallDetails.attempts` the telephones called stand, in the order of dialling.
    public var attempts: Range<Int32> {
        get { firstAttempt..<endOfAttempts }
        set {
            firstAttempt = newValue.lowerBound
            endOfAttempts = newValue.upperBound
        }
    }

    private var firstAttempt: Int32 = 0
    private var endOfAttempts: Int32 = 0

    /// A part without attempts; one that ends before its begin ends with it.
    public init(_ kind: SegmentKind, name: InlineText<40>, from startedAt: Timestamp, to endedAt: Timestamp) {
        self.kind = kind
        self.name = name
        self.startedAt = startedAt
        self.endedAt = max(startedAt, endedAt)
    }

    init(_ kind: SegmentKind, name: InlineText<40>, from startedAt: PBXTime, to endedAt: PBXTime) {
        self.init(
            kind, name: name, from: startedAt.timestamp ?? Timestamp(microseconds: 0),
            to: endedAt.timestamp ?? Timestamp(microseconds: 0))
    }
}

/// How a call was handed on.
public enum TransferKind: UInt8, Sendable, CaseIterable, BitwiseCopyable {
    case none
    /// To a number, without asking.
    case blind
    /// After talking with the target.
    case attended
    /// By a SIP REFER that an application has to carry out.
    case refer

    /// The word stored.
    public var name: StaticString {
        switch self {
        case .none: ""
        case .blind: "blind"
        case .attended: "attended"
        case .refer: "refer"
        }
    }
}
