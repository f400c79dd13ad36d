/// Which channel belongs to which call, for the PBXs of one loop.
///
/// The graph sees every event of its PBXs in order and answers where the event belongs (`Placement`). Calls are found by
/// linkedid; when Asterisk moves a channel to another linkedid (two calls bridged, a leg originated on its own), the
/// two calls become one: the call that Asterisk names survives, the other one points to it for good, so that a channel
/// that still carries the old linkedid lands in the surviving call as well (measured: the `;2` half of a Local
/// channel does).
///
/// A call ends with its last channel. A channel ends with `ChannelDestroyed`; with `StasisEnd` when it was asked to
/// hang up before, or when nothing else will come because the daemon reads its application's channels only.
///
/// Bounded by `maximumChannels`; above it events are placed by what they carry, and legs are not followed.
public struct LegGraph: ~Copyable {
    /// How the daemon is subscribed, which decides what the end of a channel looks like.
    public enum Subscription: Sendable {
        /// All channels: `ChannelDestroyed` comes for each.
        case allChannels
        /// Only channels in the Stasis application: `StasisEnd` is the last word.
        case applicationOnly
    }

    struct Channel: BitwiseCopyable {
        var key: ChannelKey
        var call: UInt32
        var pbx: UInt16
        var generation: UInt16
        var isOpen = true
        var isDialed = false
        var hangupRequested = false
    }

    struct Call: BitwiseCopyable {
        var key: CallKey
        var root: UInt64
        /// Slot of the call that this one became part of.
        var survivor: UInt32?
        /// Channels and merged calls that point here; the slot is freed at 0.
        var references: UInt32 = 0
        var openLegs: UInt16 = 0
        /// The root was dialled; the first leg that was not takes its place.
        var rootIsDialed = false
    }

    /// What ended and is to be forgotten after `linger`.
    private enum Ended {
        case channel(hash: UInt64, slot: UInt32)
        case call(hash: UInt64, slot: UInt32)
        /// Releases the reference by which `merge` keeps the old key known.
        case merged(slot: UInt32)
    }

    /// How long an ended channel or call is remembered for late events, in nanoseconds.
    public static let linger: UInt64 = 10_000_000_000

    private let hasher: TextHash
    private let maximumChannels: Int
    private var channels: SlotTable<Channel>
    private var calls: SlotTable<Call>
    private var ended: [(deadline: UInt64, what: Ended)] = []
    private var endedHead = 0
    /// Grows with each connection to a PBX; a channel seen since then carries it.
    private var generations: [UInt16] = []

    /// An empty graph.
    public init(hasher: TextHash, maximumChannels: Int = 262_144) {
        self.hasher = hasher
        self.maximumChannels = maximumChannels
        channels = SlotTable(minimumCapacity: 64)
        calls = SlotTable(minimumCapacity: 32)
    }

    /// Channels remembered, ended ones within `linger` included.
    public var channelCount: Int { channels.count }

    /// Calls remembered, ended and merged ones included.
    public var callCount: Int { calls.count }

    /// Finds the event's call and moves its legs.
    ///
    /// - Parameters:
    ///   - event: The event, read from `payload`.
    ///   - payload: The event's bytes, borrowed until return.
    ///   - pbx: Index of the PBX; part of no key yet (one daemon, unique ids unique enough), kept for `reconcile`.
    ///   - now: Monotonic nanoseconds.
    /// - Returns: The placement; `nil` when the event names no channel.
    public mutating func place(
        _ event: ARIEvent, payload: UnsafeRawBufferPointer, pbx: UInt16, subscription: Subscription,
        now: UInt64
    ) -> Placement? {
        guard event.channel.isPresent else { return nil }
        let idText = event.channel.id.isEmpty ? event.channel.name : event.channel.id
        let channelKey = idText.withBytes(in: payload) { ChannelKey($0, hasher) }
        var placement: Placement
        if let slot = findChannel(channelKey) {
            placement = placeKnown(slot, event, payload, now)
            promoteCaller(event, payload)
            step(slot, event, subscription, now, &placement)
        } else {
            placement = placeUnknown(channelKey, idText, event, payload, pbx, now)
            promoteCaller(event, payload)
        }
        return placement
    }

    // MARK: Known channels

    private mutating func placeKnown(
        _ slot: Int, _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ now: UInt64
    ) -> Placement {
        channels[slot].generation = generation(of: channels[slot].pbx)
        var call = survivor(of: Int(channels[slot].call))
        var placement: Placement
        if event.channel.linkedID.isEmpty {
            placement = Placement(key: calls[call].key)
        } else {
            let reported = event.channel.linkedID.withBytes(in: payload) { CallKey($0, hasher) }
            if reported == calls[call].key {
                placement = Placement(key: reported)
                placement.callID = event.channel.linkedID
            } else {
                let target = survivor(
                    of: findCall(reported) ?? makeCall(reported, root: channels[slot].key.hash))
                if target != call {
                    placement = Placement(key: calls[target].key)
                    placement.mergedCall = calls[call].key
                    merge(call, into: target, now)
                    call = target
                } else {
                    placement = Placement(key: calls[call].key)
                }
                if reported == placement.key { placement.callID = event.channel.linkedID }
            }
        }
        repoint(slot, to: call)
        return placement
    }

    /// Moves the channel's own state; fills in the rest of the placement.
    private mutating func step(
        _ slot: Int, _ event: ARIEvent, _ subscription: Subscription, _ now: UInt64,
        _ placement: inout Placement
    ) {
        let call = Int(channels[slot].call)
        switch event.kind {
        case .channelHangupRequest:
            channels[slot].hangupRequested = true
        case .dial:
            noteDialed(slot, call)
        case .channelDestroyed:
            close(slot, call, now, &placement)
        case .stasisStart:
            reopen(slot, call, &placement)
            promote(slot, call)
        case .stasisEnd:
            if channels[slot].hangupRequested || subscription == .applicationOnly {
                close(slot, call, now, &placement)
            }
        default:
            break
        }
        let isRoot = calls[call].root == channels[slot].key.hash
        if isRoot { placement.changes.insert(.isRoot) }
        if channels[slot].isDialed { placement.changes.insert(.isDialed) }
        placement.openLegs = calls[call].openLegs
    }

    private mutating func close(_ slot: Int, _ call: Int, _ now: UInt64, _ placement: inout Placement) {
        guard channels[slot].isOpen else { return }
        channels[slot].isOpen = false
        placement.changes.insert(.legClosed)
        calls[call].openLegs &-= 1
        if calls[call].openLegs == 0 {
            placement.changes.insert(.callEnded)
            forgetLater(.call(hash: calls[call].key.hash, slot: UInt32(call)), now)
        }
        forgetLater(.channel(hash: channels[slot].key.hash, slot: UInt32(slot)), now)
    }

    /// Who dials is no dialled leg.
    private mutating func promoteCaller(_ event: ARIEvent, _ payload: UnsafeRawBufferPointer) {
        guard let caller = dialing(event, payload) else { return }
        let call = survivor(of: Int(channels[caller].call))
        promote(caller, call)
    }

    private mutating func noteDialed(_ slot: Int, _ call: Int) {
        channels[slot].isDialed = true
        if calls[call].root == channels[slot].key.hash { calls[call].rootIsDialed = true }
    }

    /// Makes a leg that was not dialled the call's root when the root so far was (an originated leg comes first, then
    /// the leg that runs the dialplan).
    private mutating func promote(_ slot: Int, _ call: Int) {
        guard calls[call].rootIsDialed, !channels[slot].isDialed else { return }
        calls[call].root = channels[slot].key.hash
        calls[call].rootIsDialed = false
    }

    /// A channel that left the application and comes back was not at its end.
    private mutating func reopen(_ slot: Int, _ call: Int, _ placement: inout Placement) {
        guard !channels[slot].isOpen else { return }
        channels[slot].isOpen = true
        channels[slot].hangupRequested = false
        calls[call].openLegs &+= 1
        placement.changes.insert(.legOpened)
    }

    // MARK: New channels

    private mutating func placeUnknown(
        _ channelKey: ChannelKey, _ idText: ARIText, _ event: ARIEvent, _ payload: UnsafeRawBufferPointer,
        _ pbx: UInt16, _ now: UInt64
    ) -> Placement {
        var callID = event.channel.linkedID
        var key: CallKey
        if !callID.isEmpty {
            key = callID.withBytes(in: payload) { CallKey($0, hasher) }
        } else if let dialing = dialingCall(event, payload) {
            key = calls[dialing].key
        } else {
            callID = idText
            key = callID.withBytes(in: payload) { CallKey($0, hasher) }
        }
        let known = findCall(key).map { survivor(of: $0) }
        if let known, !(calls[known].key == key) {
            key = calls[known].key
            callID = ARIText()
        }
        var placement = Placement(key: key)
        placement.callID = callID
        // The end of a channel never seen opens nothing.
        guard event.kind != .channelDestroyed, event.kind != .stasisEnd else {
            if let known { placement.openLegs = calls[known].openLegs }
            if known == nil || placement.openLegs == 0 { placement.changes.insert(.callEnded) }
            return placement
        }
        guard channels.count < maximumChannels, !Self.isTechnical(event.channel.name, payload) else {
            placement.changes.insert(.untracked)
            return placement
        }
        let call = known ?? makeCall(key, root: channelKey.hash)
        var channel = Channel(key: channelKey, call: UInt32(call), pbx: pbx, generation: generation(of: pbx))
        channel.isDialed = event.kind == .dial
        channel.hangupRequested = event.kind == .channelHangupRequest
        _ = channels.insert(channelKey.hash, channel)
        calls[call].references += 1
        calls[call].openLegs &+= 1
        placement.changes.insert(.legOpened)
        // A linkedid is the unique id of the oldest channel, whichever of a call's channels was seen first.
        if isNamedAfter(channelKey, call) { calls[call].root = channelKey.hash }
        if calls[call].root == channelKey.hash {
            placement.changes.insert(.isRoot)
            calls[call].rootIsDialed = channel.isDialed
        }
        if channel.isDialed { placement.changes.insert(.isDialed) }
        placement.openLegs = calls[call].openLegs
        return placement
    }

    /// Channels that carry media or listen, and are no party of a call: snoops, external media, the announcers and
    /// recorders of conferences and bridges.
    private static func isTechnical(_ name: ARIText, _ payload: UnsafeRawBufferPointer) -> Bool {
        name.withBytes(in: payload) { name in
            technicalNames.contains { prefix in name.starts(with: prefix.bytes) }
        }
    }

    private static let technicalNames: [StaticString] = [
        "Snoop/", "UnicastRTP/", "AudioSocket/", "WebSocket/", "Announcer/", "Recorder/", "CBAnn/", "CBRec/",
        "Surrogate/", "Message/",
    ]

    /// Without `channelvars` in ari.conf a dialled leg has no linkedid; `Dial` names who dials it.
    private func dialingCall(_ event: ARIEvent, _ payload: UnsafeRawBufferPointer) -> Int? {
        dialing(event, payload).map { survivor(of: Int(channels[$0].call)) }
    }

    private func dialing(_ event: ARIEvent, _ payload: UnsafeRawBufferPointer) -> Int? {
        guard event.kind == .dial, event.caller.isPresent else { return nil }
        let id = event.caller.id.isEmpty ? event.caller.name : event.caller.id
        return findChannel(id.withBytes(in: payload) { ChannelKey($0, hasher) })
    }

    // MARK: Reconciling and forgetting

    /// Begins a comparison with what the PBX says is there; see `finishReconcile`.
    ///
    /// Call it when the connection opens, before any event of it: what events tell of channels that the list does not
    /// have yet, or no longer, is as good as the list.
    public mutating func beginReconcile(pbx: UInt16) {
        while generations.count <= Int(pbx) { generations.append(0) }
        generations[Int(pbx)] &+= 1
    }

    private func generation(of pbx: UInt16) -> UInt16 {
        Int(pbx) < generations.count ? generations[Int(pbx)] : 0
    }

    /// Closes the channels of `pbx` that were not seen since `beginReconcile`.
    ///
    /// Call it after the channels of `GET /channels` were placed as `ChannelSnapshot` events.
    ///
    /// - Parameter callEnded: Called for each call that has no channel left.
    public mutating func finishReconcile(pbx: UInt16, now: UInt64, callEnded: (CallKey) -> Void) {
        let generation = generation(of: pbx)
        var stale: [Int] = []
        channels.forEachSlot { slot in
            if channels[slot].isOpen, channels[slot].pbx == pbx, channels[slot].generation != generation {
                stale.append(slot)
            }
        }
        for slot in stale {
            let call = survivor(of: Int(channels[slot].call))
            repoint(slot, to: call)
            var placement = Placement(key: calls[call].key)
            close(slot, call, now, &placement)
            if placement.changes.contains(.callEnded) { callEnded(placement.key) }
        }
    }

    /// Forgets what ended more than `linger` ago; O(1) amortised.
    ///
    /// Call it about once a second.
    public mutating func sweep(now: UInt64) {
        while endedHead < ended.count, ended[endedHead].deadline <= now {
            let (_, what) = ended[endedHead]
            endedHead += 1
            switch what {
            case .channel(let hash, let slot): forgetChannel(hash, Int(slot))
            case .call(let hash, let slot): forgetCall(hash, Int(slot))
            case .merged(let slot):
                calls[Int(slot)].references -= 1
                freeIfUnreferenced(Int(slot))
            }
        }
        if endedHead == ended.count {
            ended.removeAll(keepingCapacity: true)
            endedHead = 0
        } else if endedHead > 1024, endedHead * 2 > ended.count {
            ended.removeFirst(endedHead)
            endedHead = 0
        }
    }

    private mutating func forgetLater(_ what: Ended, _ now: UInt64) {
        ended.append((now &+ Self.linger, what))
    }

    private mutating func forgetChannel(_ hash: UInt64, _ slot: Int) {
        // The slot may have been freed by an earlier entry for the same channel, or opened again.
        guard isUsed(channel: slot, hash), !channels[slot].isOpen else { return }
        let call = survivor(of: Int(channels[slot].call))
        repoint(slot, to: call)
        channels.remove(hash, slot: slot)
        calls[call].references -= 1
        freeIfUnreferenced(call)
    }

    private mutating func forgetCall(_ hash: UInt64, _ slot: Int) {
        guard let found = calls.find(hash, where: { $0.pointee.key.hash == hash }), found == slot else {
            return
        }
        freeIfUnreferenced(slot)
    }

    private mutating func freeIfUnreferenced(_ slot: Int) {
        var slot = slot
        while calls[slot].references == 0, calls[slot].openLegs == 0 {
            let survivor = calls[slot].survivor
            calls.remove(calls[slot].key.hash, slot: slot)
            guard let survivor else { return }
            slot = Int(survivor)
            calls[slot].references -= 1
        }
    }

    // MARK: Tables

    private func isUsed(channel slot: Int, _ hash: UInt64) -> Bool {
        channels.find(hash, where: { $0.pointee.key.hash == hash }) == slot
    }

    private func isNamedAfter(_ channel: ChannelKey, _ call: Int) -> Bool {
        channel.hash == calls[call].key.hash
    }

    private func findChannel(_ key: ChannelKey) -> Int? {
        channels.find(key.hash) { $0.pointee.key == key }
    }

    private func findCall(_ key: CallKey) -> Int? {
        calls.find(key.hash) { $0.pointee.key == key }
    }

    private mutating func makeCall(_ key: CallKey, root: UInt64) -> Int {
        calls.insert(key.hash, Call(key: key, root: root))
    }

    private func survivor(of slot: Int) -> Int {
        var slot = slot
        while let next = calls[slot].survivor { slot = Int(next) }
        return slot
    }

    private mutating func merge(_ call: Int, into target: Int, _ now: UInt64) {
        calls[call].survivor = UInt32(target)
        calls[target].openLegs &+= calls[call].openLegs
        calls[call].openLegs = 0
        calls[target].references += 1
        calls[call].references += 1
        forgetLater(.merged(slot: UInt32(call)), now)
    }

    private mutating func repoint(_ slot: Int, to call: Int) {
        let old = Int(channels[slot].call)
        guard old != call else { return }
        channels[slot].call = UInt32(call)
        calls[call].references += 1
        calls[old].references -= 1
        freeIfUnreferenced(old)
    }
}
