/// Where an event belongs: what its row in `call_events` is stored under.
public struct Placement: Sendable, BitwiseCopyable {
    /// The call.
    public var key: CallKey
    /// The call's id in the payload; when `isEmpty` the key's text is the whole id.
    public var callID = ARIText()
    /// Whose event it is.
    public var pbx: UInt16
    /// Which loop writes the call's rows; of a call that is not followed, whichever writes those of new ones.
    public var writer: UInt8

    /// Legs of the call that are there after this event.
    public var openLegs: UInt32 = 0
    /// The event's channel was seen for the first time.
    public var isLegNew = false
    /// The channel is followed: it is no snoop or other medium, and there was room for it.
    public var isTracked = false
    /// The call's last leg is gone.
    public var hasEnded = false
    /// The call that the channel was of until this event, and that became part of another by now.
    public var mergedCall: CallKey?

    /// An event of a call about whose legs nothing is known.
    public init(key: CallKey, pbx: UInt16, writer: UInt8 = 0) {
        self.key = key
        self.pbx = pbx
        self.writer = writer
    }
}

/// What becomes one row of `calls`.
public enum CallGrouping: String, Sendable, CaseIterable {
    /// Whatever belongs to one conversation.
    case linkedID = "linkedid"
    /// Each channel in the application by itself, ended by its `StasisEnd`: the old daemon, to the letter.
    case channel
}
