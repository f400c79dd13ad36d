import Protocols

/// How one telephone's dialling ended (Asterisk `DIALSTATUS`).
enum DialStatus: UInt8, BitwiseCopyable {
    case none, answer, busy, noAnswer, cancel, congestion, unavailable, declined

    init?(_ text: UnsafeRawBufferPointer) {
        // Told apart by length and first letter; compared whole, since the text comes from outside.
        let (status, word): (DialStatus, StaticString)
        switch (text.count, text.first) {
        case (6, 0x41): (status, word) = (.answer, "ANSWER")
        case (4, 0x42): (status, word) = (.busy, "BUSY")
        case (8, 0x4E): (status, word) = (.noAnswer, "NOANSWER")
        case (6, 0x43): (status, word) = (.cancel, "CANCEL")
        case (10, 0x43): (status, word) = (.congestion, "CONGESTION")
        case (11, 0x43): (status, word) = (.unavailable, "CHANUNAVAIL")
        case (8, 0x44): (status, word) = (.declined, "DONTCALL")
        case (7, 0x54): (status, word) = (.declined, "TORTURE")
        default: return nil
        }
        guard text.elementsEqual(word.bytes) else { return nil }
        self = status
    }
}

/// A time of the PBX in microseconds, or none; eight bytes where an optional takes sixteen.
struct PBXTime: BitwiseCopyable, Comparable {
    private var raw: Int64

    static let none = PBXTime(raw: .max)

    private init(raw: Int64) { self.raw = raw }

    init(_ time: Timestamp) { raw = min(time.microseconds, .max - 1) }

    var isKnown: Bool { raw != .max }
    var timestamp: Timestamp? { isKnown ? Timestamp(microseconds: raw) : nil }

    /// Unknown is later than everything, so that the smaller of two is the known one, or the earlier.
    static func < (left: PBXTime, right: PBXTime) -> Bool { left.raw < right.raw }

    /// The later of two, an unknown one not counting.
    static func latest(_ left: PBXTime, _ right: PBXTime) -> PBXTime {
        guard left.isKnown else { return right }
        return right.isKnown ? max(left, right) : left
    }

    /// Microseconds from `start` to here; 0 when the PBX's clock ran backwards, or one of them is unknown.
    func microseconds(since start: PBXTime) -> Int64 {
        guard isKnown, start.isKnown else { return 0 }
        return max(0, raw &- start.raw)
    }
}

/// A place in a table and which of its inhabitants is meant, so that a later one is not taken for it.
struct LegReference: BitwiseCopyable, Equatable {
    var slot: UInt32
    var stamp: UInt32

    static let none = LegReference(slot: .max, stamp: 0)
}

/// One channel of a PBX.
///
///     open    end seen → closed
///     closed  comes back into the application → open; its call is forgotten → gone
///
/// Everything in it follows from the channel's own events and from those of the bridge it is in, whose order Asterisk
/// keeps; other legs are compared with by time, never by order of arrival.
struct Leg: BitwiseCopyable {
    struct Flags: OptionSet, BitwiseCopyable {
        let rawValue: UInt16
        static let open = Flags(rawValue: 1)
        /// The peer of a Dial.
        static let dialed = Flags(rawValue: 2)
        /// Of a Dial without a caller: an application made it.
        static let originated = Flags(rawValue: 4)
        static let hangupRequested = Flags(rawValue: 8)
        static let localHalf = Flags(rawValue: 16)
        static let secondHalf = Flags(rawValue: 32)
        /// Entered our application without being dialled, or dialled another: it is a caller.
        static let acted = Flags(rawValue: 64)
        static let hasLinkedID = Flags(rawValue: 128)
        static let active = Flags(rawValue: 256)
        static let forwarded = Flags(rawValue: 512)
        static let transferer = Flags(rawValue: 1024)
        static let target = Flags(rawValue: 2048)
        static let pickup = Flags(rawValue: 4096)
        static let endEstimated = Flags(rawValue: 8192)
        static let inConference = Flags(rawValue: 16384)
        /// Came in, rather than being made to call somebody.
        static let incoming = Flags(rawValue: 32768)
    }

    var key: ChannelKey
    var hash: UInt64
    var stamp: UInt32
    var pbx: UInt16
    var generation: UInt16
    /// The call that the channel itself names; `UInt32.max`: not known to be of any.
    var home = UInt32.max
    var nextInCall = UInt32.max
    var previousInCall = UInt32.max
    /// Place in `bridges`.
    var bridge = UInt32.max
    var nextMember = UInt32.max
    var previousMember = UInt32.max
    var partner = LegReference.none
    /// The first leg it talked with.
    var firstTalkPartner = LegReference.none
    /// Hash of the channel that dialled it; 0: nobody.
    var dialerHash: UInt64 = 0
    var stemHash: UInt64 = 0
    var flags: Flags = .open
    var act = LegAct.none
    /// Every act seen.
    var acts: UInt32 = 0
    var contextSignature: UInt32 = 0
    var actSignature: UInt32 = 0
    var direction = CallDirection.unknown
    var dialStatus = DialStatus.none
    var hangupWasSoft = false
    var markCount: UInt8 = 0
    var cause: UInt16 = 0
    var sipCode: UInt16 = 0
    var causeIsFinal = false
    var startedAt: PBXTime
    var dialedAt = PBXTime.none
    var ringingAt = PBXTime.none
    var progressAt = PBXTime.none
    var upAt = PBXTime.none
    var enteredAt = PBXTime.none
    var activeSince = PBXTime.none
    var talkSince = PBXTime.none
    var firstTalkAt = PBXTime.none
    /// The last conversation that is over.
    var lastTalkStartedAt = PBXTime.none
    var lastTalkEndedAt = PBXTime.none
    var holdSince = PBXTime.none
    var hangupAt = PBXTime.none
    var endedAt = PBXTime.none
    var stasisAt = PBXTime.none
    var talk: Int64 = 0
    var hold: Int64 = 0
    var name = InlineText<63>()
    /// Who this end is: dialled number, endpoint or caller's number.
    var number = InlineText<40>()
    /// As the contract reads the channel: who calls, who is called.
    var caller = InlineText<48>()
    var callee = InlineText<48>()
    /// Of `LegMarks`.
    var firstMark = UInt32.max

    init(key: ChannelKey, hash: UInt64, stamp: UInt32, pbx: UInt16, startedAt: PBXTime) {
        self.key = key
        self.hash = hash
        self.stamp = stamp
        self.pbx = pbx
        generation = 0
        self.startedAt = startedAt
    }

    var isOpen: Bool { flags.contains(.open) }
    var isDialed: Bool { flags.contains(.dialed) }
    var isLocalHalf: Bool { flags.contains(.localHalf) }
    var isActive: Bool { flags.contains(.active) }

    func did(_ act: LegAct) -> Bool { acts & act.bit != 0 }

    /// Took a neighbour's ringing call: by application, or by a feature code, when it came in by itself and then answers a
    /// dialling that never went to it.
    var isPickup: Bool {
        flags.contains(.pickup)
            || (flags.contains(.incoming) && !isLocalHalf && dialStatus == .answer && !dialedAt.isKnown)
    }
}
