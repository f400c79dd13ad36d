/// What a channel does, as far as calls depend on it: the dialplan application it runs, or what was done with it.
enum LegAct: UInt8, BitwiseCopyable {
    case none
    /// Any other application.
    case other
    case queue, voicemail, conference, ivr, dial, stasis, pickup
    /// In a parking bridge.
    case parked
    /// Took a parked call back.
    case retrieval
    case blindTransfer, attendedTransfer, referTransfer
    case failedTransfer

    var bit: UInt32 { 1 << UInt32(rawValue) }

    /// Whether a part of the call begins with it.
    var isOfInterest: Bool { self != .none && self != .other && self != .dial && self != .stasis }

    /// A machine at the end of a Local channel: being bridged with it is no answer.
    static let machines: UInt32 =
        LegAct.queue.bit | LegAct.voicemail.bit | LegAct.ivr.bit | LegAct.dial.bit | LegAct.conference.bit

    private static let applications: [(name: StaticString, act: LegAct)] = [
        ("Queue", .queue), ("VoiceMail", .voicemail), ("VoiceMailMain", .voicemail), ("MiniVM", .voicemail),
        ("ConfBridge", .conference), ("MeetMe", .conference), ("Dial", .dial), ("FollowMe", .dial),
        ("RetryDial", .dial), ("Page", .dial), ("Stasis", .stasis), ("Pickup", .pickup),
        ("PickupChan", .pickup), ("Playback", .ivr), ("BackGround", .ivr), ("Background", .ivr),
        ("Read", .ivr), ("WaitExten", .ivr), ("ControlPlayback", .ivr), ("SayDigits", .ivr),
        ("SayNumber", .ivr), ("SayUnixTime", .ivr), ("Directory", .ivr), ("Festival", .ivr), ("AGI", .ivr),
        ("EAGI", .ivr), ("SpeechBackground", .ivr), ("Echo", .ivr), ("Milliwatt", .ivr),
        ("MusicOnHold", .ivr), ("ParkedCall", .retrieval),
    ]

    /// The act of a dialplan application's name.
    init(application name: UnsafeRawBufferPointer) {
        guard name.count > 1 else {
            self = .none
            return
        }
        for entry in Self.applications where entry.name.utf8CodeUnitCount == name.count {
            if entry.name.utf8Start[0] == name[0], name.elementsEqual(entry.name.bytes) {
                self = entry.act
                return
            }
        }
        self = .other
    }
}
