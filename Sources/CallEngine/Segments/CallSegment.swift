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

/// One part of a call, with the attempts made during it; an element of column `segments`.
public struct CallSegment: Sendable, Hashable {
    /// What it was.
    public var kind: SegmentKind
    /// The queue's, room's, box's or application's name, or the number talked with or handed on to; empty when unknown.
    public var name: String
    /// PBX time of its begin.
    public var startedAt: Timestamp
    /// PBX time of its end; never before its begin.
    public var endedAt: Timestamp
    /// Of a queue or of ringing: what it came to. Of a transfer: `answered` when it succeeded, else `failed`.
    public var result: LegResult
    /// Of a transfer: the number that handed the call on; of a queue or ringing: the number that answered.
    public var by: String
    /// How a transfer was made: `blind`, `attended` or `refer`; else empty.
    public var detail: String
    /// Channel ids of the telephones called, in the order of dialling.
    public var attempts: [String]

    /// All fields; see each.
    public init(
        kind: SegmentKind, name: String, startedAt: Timestamp, endedAt: Timestamp,
        result: LegResult = .none, by: String = "", detail: String = "", attempts: [String] = []
    ) {
        self.kind = kind
        self.name = name
        self.startedAt = startedAt
        self.endedAt = max(startedAt, endedAt)
        self.result = result
        self.by = by
        self.detail = detail
        self.attempts = attempts
    }
}
