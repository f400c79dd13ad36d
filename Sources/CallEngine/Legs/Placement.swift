/// Where an event belongs and what it did to the legs of its call: what `LegGraph` tells the call's shard.
public struct Placement: Sendable, BitwiseCopyable {
    /// What happened to the legs.
    public struct Changes: OptionSet, Sendable, BitwiseCopyable {
        /// The bits.
        public let rawValue: UInt8
        /// Takes bits.
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        /// The channel was seen for the first time.
        public static let legOpened = Changes(rawValue: 1)
        /// The channel ended.
        public static let legClosed = Changes(rawValue: 2)
        /// No channel of the call is left.
        public static let callEnded = Changes(rawValue: 4)
        /// The event's channel is the call's first one.
        public static let isRoot = Changes(rawValue: 8)
        /// The event's channel was dialled, so its context and numbers are not the caller's.
        public static let isDialed = Changes(rawValue: 16)
        /// No leg of a call (a snoop, external media), or the table of channels is full: the event is stored, no
        /// call begins with it.
        public static let untracked = Changes(rawValue: 32)
    }

    /// The call.
    public var key: CallKey
    /// The call's id in the payload; when `isEmpty` the key's text is the whole id.
    public var callID = ARIText()
    /// What happened.
    public var changes: Changes = []
    /// Channels of the call that are alive after this event.
    public var openLegs: UInt16 = 0
    /// Set when with this event another call became part of `key`'s.
    public var mergedCall: CallKey?

    /// An event of a call about whose legs nothing is known.
    public init(key: CallKey) {
        self.key = key
    }
}
