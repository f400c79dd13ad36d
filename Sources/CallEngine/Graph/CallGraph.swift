public import Protocols
internal import Synchronization

/// The calls of the PBXs of one loop: which channel belongs to which call, and what each call has come to.
///
/// A value that events move: no socket, no clock; times come with the events. It sees every event of its PBXs and keeps
/// channels (legs), bridges and calls. A call is a set of legs: those that name it by their linkedid, or were dialled by
/// one of its legs, and those of the calls that became part of it. What readers are told of a call is made from its legs,
/// so the order in which the events of different legs arrive does not matter; Asterisk keeps the order within a channel and
/// within a bridge, and only that is relied upon.
///
/// `handle` does a bounded amount however many legs a call has, and allocates nothing once a call exists. Changed calls
/// gather on a list until `drain`, so that a call changed five times in one tick is published and stored once.
///
/// Merges are reversible: the younger call keeps its own legs and points to the older one (`CallState.survivor`).
///
/// Bounded by `maximumLegs` and by the registry's capacity; above them events are stored, and calls are not followed.
public struct CallGraph: ~Copyable {
    /// How the daemon is subscribed, which decides what the end of a channel looks like.
    public enum Subscription: Sendable {
        /// All channels: `ChannelDestroyed` comes for each.
        case allChannels
        /// Only channels in the Stasis application: `StasisEnd` is the last word.
        case applicationOnly
    }

    /// Texts of a record that did not fit inline, whole.
    public struct LongTexts: Sendable {
        /// The call's id; `nil`: as in the record.
        public var callID: String?
        /// Who called; `nil`: as in the record.
        public var callerNumber: String?
        /// Who was called; `nil`: as in the record.
        public var calleeNumber: String?

        /// None.
        public init() {}
    }

    /// What happened since the start.
    public struct Counters: Sendable {
        /// Calls begun.
        public var started = 0
        /// Calls answered, as the contract means it.
        public var answered = 0
        /// Calls ended.
        public var finished = 0
        /// Calls that became part of another.
        public var merged = 0
        /// Merges taken back.
        public var split = 0
        /// Calls not tracked because there was no room.
        public var refused = 0
        /// Calls that have not ended.
        public var active: Int { started - finished }

        /// Nothing yet.
        public init() {}
    }

    /// When and by which clocks.
    struct Moment {
        /// The PBX's time, for facts.
        var time: PBXTime
        /// Our wall clock, for rows.
        var receivedAt: Timestamp
        /// Monotonic nanoseconds, for durations of ours.
        var now: UInt64
    }

    /// A call without channels of which one may have been missed.
    struct Unproven {
        var call: UInt32
        var stamp: UInt32
        var moment: Moment
        /// When it is over all the same; monotonic nanoseconds.
        var until: UInt64
    }

    /// What ended and is to be forgotten.
    struct Deadline {
        var at: UInt64
        var slot: UInt32
        var stamp: UInt32
        var isCall: Bool
    }

    /// How long an ended channel or call is remembered for late events, in nanoseconds.
    public static let linger: UInt64 = 10_000_000_000
    /// Legs of one call that are kept to its end; of more, those that ended are forgotten, and the call says so.
    public static let maximumLegsPerCall = 2048
    /// The index that stands for no PBX: of events that a person made up.
    public static let noPBX = UInt16.max
    static let none = UInt32.max

    /// What readers on other threads see.
    public let registry: CallRegistry
    /// Whether the CRM is told at which telephones a call rings.
    public var tellsTelephones = false
    /// Which loop writes the rows of calls that begin from now on; kept with each call (`CallRecord.writer`).
    public var writerOfNewCalls: UInt8 = 0
    /// What happened so far.
    public internal(set) var counters = Counters()
    /// Turns of the loops over legs, members of a bridge and merged calls: what is bounded for each event.
    public internal(set) var steps = 0

    let hasher: TextHash
    let maximumLegs: Int
    let grouping: CallGrouping
    /// What stands before the identifiers of a PBX, by its index; empty when no PBX has any.
    let prefixes: [[UInt8]]
    var legs: SlotTable<Leg>
    var calls: SlotTable<CallState>
    var bridges: SlotTable<Bridge>
    var stems: SlotTable<LocalStem>
    var marks = LegMarks()
    var touched: [UInt32] = []
    var ended: [Deadline] = []
    var endedHead = 0
    /// Grows with each connection to a PBX; a channel seen since then carries it.
    var generations: [UInt16] = []
    var longTexts: [UInt32: LongTexts] = [:]
    /// Long texts of legs, by stamp.
    var legTexts: [UInt32: LongTexts] = [:]
    var details = CallDetails()
    /// What an earlier run had derived of calls whose legs are not known, by place in `calls`.
    var adopted: [UInt32: CallFacts] = [:]
    /// Channels that the running comparison has elsewhere than events do, by place in `legs`.
    var listed: [UInt32: ListedPlace] = [:]
    /// Channels that a list had and that no event told of since, by place in `legs`.
    var unconfirmed: [UInt32: Unconfirmed] = [:]
    /// Until when nothing was missed before each PBX's last comparison, by index.
    var lastSeenTimes: [PBXTime] = []
    /// When each PBX's last list was made, by index.
    var listTimes: [PBXTime] = []
    /// PBXs that were not heard for a time and have not told since what runs, by index.
    var uncompared: Set<UInt16> = []
    /// Calls that would be over, if no channel of theirs is still to be told of.
    var unproven: [Unproven] = []
    var nextStamp: UInt32 = 1
    var random: UInt64
    // Means nothing. A value that holds an atomic is always used where it lies; otherwise the compiler copies all of
    // it, 800 bytes, before most calls of its own functions that change nothing.
    private let stays = Atomic<Bool>(true)

    /// An empty graph publishing into `registry`, whose capacity bounds its calls.
    ///
    /// - Parameters:
    ///   - seed: Random bits; row ids are drawn from a generator started with them.
    ///   - prefixes: What makes the identifiers of PBXs unique among each other, by the index of the PBX; see ``key(_:in:_:)``.
    public init(
        registry: CallRegistry, hasher: TextHash, seed: UInt64, maximumLegs: Int = 262_144,
        grouping: CallGrouping = .linkedID, prefixes: [String] = []
    ) {
        self.prefixes = prefixes.allSatisfy(\.isEmpty) ? [] : prefixes.map { Array($0.utf8) }
        self.registry = registry
        self.hasher = hasher
        self.maximumLegs = maximumLegs
        self.grouping = grouping
        random = seed
        legs = SlotTable(minimumCapacity: 64, reserving: maximumLegs)
        calls = SlotTable(minimumCapacity: 32, reserving: registry.capacity)
        bridges = SlotTable(minimumCapacity: 16)
        stems = SlotTable(minimumCapacity: 16)
    }

    /// Channels remembered, ended ones included.
    public var legCount: Int { legs.count }
    /// Calls remembered, ended and merged ones included.
    public var callCount: Int { calls.count }
    /// Bridges with legs in them.
    public var bridgeCount: Int { bridges.count }
    /// Memory of one leg in bytes, index places included.
    public static var bytesPerLeg: Int { MemoryLayout<Leg>.stride + 2 * 12 }

    /// Takes one event.
    ///
    /// - Parameters:
    ///   - event: The event, read from `payload`.
    ///   - payload: The event's bytes, borrowed until return.
    ///   - pbx: Index of the PBX; part of every key, since unique ids are unique per box only.
    ///   - subscription: How that PBX is read.
    ///   - receivedAt: Our time of receipt, which stands in for a missing PBX time.
    ///   - now: Monotonic nanoseconds.
    ///   - actions: What the CRM is to be told once the call's row is durable; appended to.
    /// - Returns: The event's call; `nil` when the event names no channel.
    public mutating func handle(
        _ event: ARIEvent, payload: UnsafeRawBufferPointer, pbx: UInt16, subscription: Subscription,
        receivedAt: Timestamp, now: UInt64, actions: inout [CRMAction]
    ) -> Placement? {
        guard event.channel.isPresent else { return nil }
        let moment = Moment(
            time: PBXTime(event.timestamp ?? receivedAt), receivedAt: receivedAt, now: now)
        let idText = event.channel.id.isEmpty ? event.channel.name : event.channel.id
        let key: ChannelKey = key(idText, in: payload, pbx)
        let slot: Int
        var isNew = false
        var isUnseenBegin = false
        // Where only our application's channels are read, its end would never be told.
        if event.kind == .dial, event.caller.isPresent, grouping == .linkedID, subscription == .allChannels {
            meetDialer(event, payload, pbx, moment)
        }
        if let known = findLeg(key, pbx) {
            slot = known
        } else {
            guard Self.canBegin(event) || endsUnseen(event, payload, pbx, subscription),
                legs.count < maximumLegs,
                grouping == .channel || !Self.isTechnical(event.channel.name, payload)
            else { return placementOfStranger(event, payload, idText, pbx) }
            slot = makeLeg(key, event.channel, payload, pbx, moment)
            isUnseenBegin = !Self.isBegin(event, subscription)
            if event.channel.state == .ring { legs[slot].flags.insert(.incoming) }
            isNew = true
        }
        legs[slot].generation = generation(of: pbx)
        if event.kind == .channelSnapshot {
            noteUnconfirmed(slot)
        } else if !unconfirmed.isEmpty {
            unconfirmed[UInt32(slot)] = nil
        }
        let formerHome = legs[slot].home
        if event.kind == .dial { noteDialing(slot, event, payload, pbx, moment) }
        // Dial may come before the dialled channel's own first event.
        if event.kind == .channelCreated, moment.time < legs[slot].startedAt {
            beginEarlier(leg: slot, moment.time)
        }
        learn(slot, event, payload, moment, isNew: isNew)
        findHome(slot, event, payload, idText, moment, isNew: isNew)
        move(slot, event, payload, subscription, moment)
        // Its own end may have come before this.
        if isNew, Self.isGivenUp(event, payload) { close(slot, moment.time, moment) }
        var placement = placement(of: slot, event, payload, idText)
        placement.isLegNew = isNew
        placement.isTracked = true
        guard legs[slot].home != Self.none else { return placement }
        let call = survivor(of: Int(legs[slot].home))
        placement.openLegs = calls[call].totalOpen
        placement.hasEnded = calls[call].record.status == .finished
        if formerHome != Self.none, formerHome != legs[slot].home, calls[Int(formerHome)].isMerged {
            placement.mergedCall = calls[Int(formerHome)].key
        }
        if isUnseenBegin { calls[call].record.flags.insert(.partial) }
        calls[call].record.eventCount &+= 1
        touch(call)
        if event.kind == .dial { calls[call].telephonesChanged = true }
        if Self.showsCall(event) { register(call, isLast: false, &actions) }
        if calls[call].needsSave { calls[call].record.updatedAt = receivedAt }
        return placement
    }

    /// The end of a channel never seen opens nothing.
    private static func canBegin(_ event: ARIEvent) -> Bool {
        switch event.kind {
        case .channelDestroyed, .stasisEnd, .channelLeftBridge: false
        default: true
        }
    }

    /// Whether a telephone was not reached, or is given up.
    static func isGivenUp(_ event: ARIEvent, _ payload: UnsafeRawBufferPointer) -> Bool {
        guard event.kind == .dial else { return false }
        return event.dialStatus.withBytes(in: payload) { status in
            DialStatus(status).map { $0 != .answer } ?? false
        }
    }

    /// Whether the end of a channel never seen is one of a call that goes on: then that much is known of it.
    private func endsUnseen(
        _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ pbx: UInt16, _ subscription: Subscription
    ) -> Bool {
        guard event.kind == .channelDestroyed, subscription == .allChannels, grouping == .linkedID,
            !event.channel.linkedID.isEmpty
        else { return false }
        let key: CallKey = key(event.channel.linkedID, in: payload, pbx)
        return findCall(key, pbx).map { calls[survivor(of: $0)].record.status != .finished } ?? false
    }

    /// Whether a channel that nothing told of before begins with this event.
    private static func isBegin(_ event: ARIEvent, _ subscription: Subscription) -> Bool {
        switch event.kind {
        case .channelCreated: true
        // It may come before the dialled channel's own first event.
        case .dial: event.dialStatus.isEmpty || subscription == .applicationOnly
        case .channelSnapshot: false
        default: subscription == .applicationOnly
        }
    }

    /// Whether the event tells a customer's call from a leg that was only just made: an originated leg is dialled
    /// before it does any of these.
    private static func showsCall(_ event: ARIEvent) -> Bool {
        switch event.kind {
        case .stasisStart, .dial, .channelEnteredBridge, .channelSnapshot: true
        case .channelStateChange: event.channel.state == .up
        default: false
        }
    }

    /// Whether an event made up by a person may move calls: it begins one, or is of one begun so.
    ///
    /// A made-up channel in a PBX's call would never end.
    public func mayTakeInjected(_ event: ARIEvent, payload: UnsafeRawBufferPointer) -> Bool {
        event.channel.name.withBytes(in: payload) { text in
            if findLeg(ChannelKey(text, hasher), Self.noPBX) != nil { return true }
            let key = CallKey(text, hasher)
            return event.kind == .stasisStart
                && !(0..<max(1, UInt16(prefixes.count))).contains { findCall(key, $0) != nil }
        }
    }

    // MARK: Placement

    private func placement(
        of slot: Int, _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ idText: ARIText
    ) -> Placement {
        guard legs[slot].home != Self.none else {
            return placementOfStranger(event, payload, idText, legs[slot].pbx)
        }
        let home = Int(legs[slot].home)
        let call = survivor(of: home)
        var placement = Placement(
            key: calls[call].key, pbx: legs[slot].pbx, writer: calls[call].record.writer)
        guard calls[call].keyIsFolded else { return placement }
        // A folded key is not the whole id; the event has it if it names this very call.
        if home == call, !event.channel.linkedID.isEmpty {
            placement.callID = event.channel.linkedID
        } else if home == call, legs[slot].key.hash == calls[call].keyHash {
            placement.callID = idText
        }
        return placement
    }

    private func placementOfStranger(
        _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ idText: ARIText, _ pbx: UInt16
    ) -> Placement {
        let useLinkedID = grouping == .linkedID && !event.channel.linkedID.isEmpty
        let text = useLinkedID ? event.channel.linkedID : idText
        let key: CallKey = key(text, in: payload, pbx)
        if let known = findCall(key, pbx) {
            let call = survivor(of: known)
            var placement = Placement(key: calls[call].key, pbx: pbx, writer: calls[call].record.writer)
            placement.openLegs = calls[call].totalOpen
            placement.hasEnded = calls[call].record.status == .finished
            if call == known { placement.callID = text }
            return placement
        }
        var placement = Placement(key: key, pbx: pbx, writer: writerOfNewCalls)
        placement.callID = text
        placement.hasEnded = event.kind == .channelDestroyed || event.kind == .stasisEnd
        return placement
    }

    // MARK: Tables

    /// The place of a key in the tables: unique ids of two PBXs must not meet.
    @inline(__always)
    func mixed(_ hash: UInt64, _ pbx: UInt16) -> UInt64 {
        let mixed = hash ^ (UInt64(pbx) &* 0x9E37_79B9_7F4A_7C15)
        return mixed == 0 ? 1 : mixed
    }

    @inline(__always)
    func findLeg(_ key: ChannelKey, _ pbx: UInt16) -> Int? {
        legs.find(mixed(key.hash, pbx)) { $0.pointee.pbx == pbx && $0.pointee.key == key }
    }

    func findLeg(hash: UInt64) -> Int? {
        hash == 0 ? nil : legs.find(hash) { $0.pointee.hash == hash }
    }

    func findLeg(_ party: ARIParty, _ payload: UnsafeRawBufferPointer, _ pbx: UInt16) -> Int? {
        guard party.isPresent else { return nil }
        return findLeg(key(party.id, in: payload, pbx), pbx)
    }

    @inline(__always)
    func findCall(_ key: CallKey, _ pbx: UInt16) -> Int? {
        calls.find(mixed(key.hash, pbx)) { $0.pointee.record.pbx == pbx && $0.pointee.has(key) }
    }

    /// The leg meant, if it is still remembered.
    @inline(__always)
    func leg(_ reference: LegReference) -> Int? {
        guard reference.slot != Self.none, legs[Int(reference.slot)].stamp == reference.stamp else {
            return nil
        }
        return Int(reference.slot)
    }

    @inline(__always)
    func reference(to slot: Int) -> LegReference {
        LegReference(slot: UInt32(slot), stamp: legs[slot].stamp)
    }

    /// The call that stands for this one; itself when it was not merged.
    @inline(__always)
    func survivor(of call: Int) -> Int {
        var call = call
        while calls[call].survivor != Self.none { call = Int(calls[call].survivor) }
        return call
    }

    mutating func touch(_ call: Int) {
        guard !calls[call].isTouched else { return }
        calls[call].isTouched = true
        touched.append(UInt32(call))
    }

    mutating func stamp() -> UInt32 {
        nextStamp = nextStamp == .max ? 1 : nextStamp + 1
        return nextStamp
    }

    func generation(of pbx: UInt16) -> UInt16 {
        Int(pbx) < generations.count ? generations[Int(pbx)] : 0
    }

    /// SplitMix64 over a seed from the system's random source: row ids need to be unique, not secret.
    mutating func nextRandom() -> UInt64 {
        random &+= 0x9E37_79B9_7F4A_7C15
        var word = random
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}
