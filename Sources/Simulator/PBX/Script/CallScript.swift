/// The way of one kind of call: which events, after which pauses.
struct CallScript: Sendable {
    /// A pause before a step.
    enum Pause: Sendable, Equatable {
        /// A fixed time that Asterisk itself takes.
        case milliseconds(Int32)
        /// The application holds the channel in Stasis.
        case stasis
        /// The first, and the second, telephone rings.
        case ring, secondRing
        /// Two people speak: the whole time, or a third, or two thirds of it.
        case talk, talkThird, talkTwoThirds
    }

    /// What else a step does.
    struct Marks: OptionSet, Sendable {
        let rawValue: UInt8
        /// Channel A enters Stasis, leaves it.
        static let entersStasis = Marks(rawValue: 1)
        static let leavesStasis = Marks(rawValue: 2)
        /// The first `Up` of the call: it is answered.
        static let answers = Marks(rawValue: 4)
        /// The event is about a channel that is in Stasis, so the owner gets it without subscribing.
        static let ofStasisChannel = Marks(rawValue: 8)
    }

    struct Step: Sendable {
        var kind: EventKind
        /// Pause before it, from the step before.
        var pause: Pause
        var marks: Marks
        /// Channel slot (0 to 2) that begins to be with this step.
        var creates: Int?
        /// Bridge slot (0 or 1) that begins to be with this step.
        var opensBridge: Int?
        /// The event up to, not including, `"asterisk_id"`.
        var body: Template
        /// Channels as `GET /channels` shows them after this step, each one object.
        var channels: [Template]
        /// Bridges as `GET /bridges` shows them after this step.
        var bridges: [Template]
    }

    var kind: CallKind
    /// Whether the customer's side hangs up.
    var customerHangsUp: Bool
    var steps: [Step]
}

extension CallPlan {
    /// How long a pause is in this call, in milliseconds.
    func milliseconds(of pause: CallScript.Pause) -> Int32 {
        switch pause {
        case .milliseconds(let count): count
        case .stasis: stasisMilliseconds
        case .ring: ringMilliseconds
        case .secondRing: secondRingMilliseconds
        case .talk: talkMilliseconds
        case .talkThird: talkMilliseconds / 3
        case .talkTwoThirds: talkMilliseconds - talkMilliseconds / 3
        }
    }
}
