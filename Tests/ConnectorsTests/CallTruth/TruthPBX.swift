import CallEngine
import Protocols

/// A channel of the simulated PBX, from before its creation to after its end.
final class TruthChannel {
    var face: ChannelFace
    let play: Int
    /// Place in the order of creation; also what conflicting events are told apart by.
    let number: Int
    fileprivate(set) var isThere = false
    /// PBX time of its end.
    fileprivate(set) var endedAt: Int64?
    fileprivate(set) var bridge: TruthBridge?
    /// Since when another hears it, in PBX time.
    fileprivate var talkSince: Int64? {
        didSet { if talkSince != nil { hasTalked = true } }
    }
    /// Another heard it once.
    private(set) var hasTalked = false
    fileprivate var holdSince: Int64?
    /// Time on a bridge with another, hold included.
    private(set) var talk: Int64 = 0
    /// Of that, on hold.
    private(set) var hold: Int64 = 0

    init(_ face: ChannelFace, play: Int, number: Int) {
        self.face = face
        self.play = play
        self.number = number
    }

    /// Talk so far.
    func talk(until stamp: Int64) -> Int64 { talk + (talkSince.map { stamp - $0 } ?? 0) }

    var isUp: Bool { face.state == "Up" }

    fileprivate func endTalk(_ stamp: Int64) {
        endHold(stamp)
        if let since = talkSince { talk += stamp - since }
        talkSince = nil
    }

    fileprivate func endHold(_ stamp: Int64) {
        if let since = holdSince, let talking = talkSince { hold += stamp - max(since, talking) }
        holdSince = nil
    }
}

/// A bridge of the simulated PBX.
final class TruthBridge {
    let face: BridgeFace
    let number: Int
    fileprivate(set) var members: [TruthChannel] = []

    init(_ kind: BridgeKind, number: Int) {
        self.number = number
        face = BridgeFace(id: "bridge-\(number)", kind: kind)
    }

    fileprivate var isTalking: Bool { face.kind == .talking || face.kind == .conference }

    /// Those who are up hear one another.
    fileprivate func settle(_ stamp: Int64) {
        guard isTalking else { return }
        let up = members.filter(\.isUp)
        for member in members {
            if up.count > 1, member.isUp {
                if member.talkSince == nil { member.talkSince = stamp }
            } else {
                member.endTalk(stamp)
            }
        }
    }
}

/// A PBX that knows the truth: channels and bridges, and an event for everything that the daemon's filter lets through.
///
/// Events come as the real one orders them: per channel and per bridge in their order, between the legs of a call out of it
/// by up to `disorder`. A Dial is in the order of who dials, and may pass the events of the telephone dialled; a blind
/// transfer may change places with the same channel's leaving of its bridge.
final class TruthPBX {
    let time: TruthTime
    /// PBX clock minus true time, in microseconds.
    let clockOffset: Int64
    /// How far events may be out of order, in microseconds.
    let disorder: Int64
    private var chance: Chance
    /// Grows with each start; what an earlier one planned does not happen any more.
    private(set) var run = 1
    private(set) var startedAt: Int64
    /// Told of each event: what it is, and its place in the stream.
    var onEvent: (PBXEvent, Int64) -> Void = { _, _ in }
    private(set) var channels: [TruthChannel] = []
    /// How long a channel that has ended stays on the list, in microseconds.
    let listLag: Int64
    /// Channels that are on the list only, and until when.
    private var gone: [(face: ChannelFace, until: Int64)] = []
    private var lastPlaces: [Int: Int64] = [:]
    private var made = 0
    private var madeBridges = 0

    init(time: TruthTime, clockOffset: Int64, disorder: Int64, listLag: Int64, chance: Chance) {
        self.listLag = listLag
        self.time = time
        self.clockOffset = clockOffset
        self.disorder = disorder
        self.chance = chance
        startedAt = clockOffset - 3_600_000_000
    }

    /// The PBX's clock, to the millisecond.
    var stamp: Int64 {
        let clock = time.now + clockOffset
        return clock - clock % 1000
    }

    /// Plans what this run of the PBX does at `moment`.
    func at(_ moment: Int64, _ body: @escaping () -> Void) {
        let run = run
        time.at(moment) { [unowned self] in
            if self.run == run { body() }
        }
    }

    // MARK: Channels

    /// A channel that is not there yet.
    func channel(_ face: ChannelFace, play: Int) -> TruthChannel {
        made += 1
        return TruthChannel(face, play: play, number: made)
    }

    /// A bridge that nobody is in yet.
    func bridge(_ kind: BridgeKind = .talking) -> TruthBridge {
        madeBridges += 1
        return TruthBridge(kind, number: madeBridges)
    }

    func create(_ channel: TruthChannel, for other: TruthChannel? = nil) {
        if let other { channel.face.linkedID = other.face.linkedID }
        channel.face.createdAt = stamp
        channel.isThere = true
        channels.append(channel)
        tell(.channelCreated, channel)
    }

    func setState(_ channel: TruthChannel, _ state: String) {
        guard channel.isThere else { return }
        channel.face.state = state
        channel.bridge?.settle(stamp)
        tell(.channelStateChange, channel)
    }

    func run(_ channel: TruthChannel, _ application: String, _ data: String = "") {
        (channel.face.application, channel.face.data) = (application, data)
    }

    func dial(
        _ peer: TruthChannel, by caller: TruthChannel?, _ status: String, forwarded: TruthChannel? = nil
    ) {
        guard peer.isThere || status != "" else { return }
        var event = PBXEvent(kind: .dial, channel: peer.face, play: peer.play)
        event.caller = caller?.face
        event.dialStatus = status
        event.forwarded = forwarded?.face.party
        if status.isEmpty {
            event.dialString = String(peer.face.name.prefix { $0 != "-" }.drop { $0 != "/" }.dropFirst())
        }
        publish(event, keys: keys(caller ?? peer))
    }

    func hangUp(_ channel: TruthChannel, _ cause: Int, soft: Bool = false, sip: Int = 0) {
        guard channel.isThere else { return }
        var event = PBXEvent(kind: .channelHangupRequest, channel: channel.face, play: channel.play)
        (event.cause, event.isSoft, event.sipCode) = (cause, soft, sip)
        publish(event, keys: keys(channel))
    }

    func destroy(_ channel: TruthChannel, _ cause: Int, sip: Int = 0) {
        guard channel.isThere else { return }
        if channel.bridge != nil { leave(channel) }
        channel.isThere = false
        channel.endedAt = stamp
        channels.removeAll { $0 === channel }
        if listLag > 0 { gone.append((channel.face, time.now + listLag)) }
        var event = PBXEvent(kind: .channelDestroyed, channel: channel.face, play: channel.play)
        (event.cause, event.sipCode) = (cause, sip)
        publish(event, keys: keys(channel))
    }

    func enterStasis(_ channel: TruthChannel) { tell(.stasisStart, channel) }

    func leaveStasis(_ channel: TruthChannel) { tell(.stasisEnd, channel) }

    func hold(_ channel: TruthChannel) {
        guard channel.isThere else { return }
        if channel.holdSince == nil { channel.holdSince = stamp }
        tell(.channelHold, channel)
    }

    func unhold(_ channel: TruthChannel) {
        guard channel.isThere else { return }
        channel.endHold(stamp)
        tell(.channelUnhold, channel)
    }

    // MARK: Bridges

    func enter(_ channel: TruthChannel, _ bridge: TruthBridge) {
        guard channel.isThere else { return }
        if channel.bridge != nil { leave(channel) }
        channel.bridge = bridge
        bridge.members.append(channel)
        // Two that meet take the linkedid of the older one.
        if bridge.face.kind == .talking, bridge.members.count > 1 {
            let oldest = bridge.members.map(\.face.linkedID).min() ?? channel.face.linkedID
            for member in bridge.members { member.face.linkedID = oldest }
        }
        bridge.settle(stamp)
        tellBridge(.channelEnteredBridge, channel, bridge)
    }

    func leave(_ channel: TruthChannel) {
        guard channel.isThere, let bridge = channel.bridge else { return }
        channel.bridge = nil
        bridge.members.removeAll { $0 === channel }
        channel.endTalk(stamp)
        bridge.settle(stamp)
        tellBridge(.channelLeftBridge, channel, bridge)
    }

    func transferBlindly(_ channel: TruthChannel, of transferee: TruthChannel, to number: String) {
        var event = PBXEvent(kind: .bridgeBlindTransfer, channel: channel.face, play: channel.play)
        event.bridge = channel.bridge?.face
        event.transferee = transferee.face.party
        event.number = number
        publish(event, keys: [2 * channel.number + 1])
    }

    func transferAttended(
        _ first: TruthChannel, _ second: TruthChannel, of transferee: TruthChannel, to target: TruthChannel
    ) {
        var event = PBXEvent(kind: .bridgeAttendedTransfer, channel: first.face, play: first.play)
        event.secondLeg = second.face.party
        event.transferee = transferee.face.party
        event.target = target.face.party
        publish(event, keys: keys(first) + keys(second))
    }

    // MARK: Ends

    /// Everything is gone without a word.
    func crash() {
        for channel in channels {
            channel.endTalk(stamp)
            channel.isThere = false
            channel.endedAt = stamp
        }
        (channels, gone) = ([], [])
        run += 1
    }

    /// The PBX is there again.
    func restarted() { startedAt = stamp }

    /// Channels as `GET /channels` tells them.
    var channelList: [UInt8] {
        Array(("[" + listed.map(\.json).joined(separator: ",") + "]").utf8)
    }

    /// The ids of the same channels.
    var channelIDs: [[UInt8]] { listed.map { Array($0.id.utf8) } }

    private var listed: [ChannelFace] {
        gone.removeAll { $0.until <= time.now }
        return channels.map(\.face) + gone.map(\.face)
    }

    /// Bridges as `GET /bridges` tells them.
    var bridgeList: [UInt8] {
        var seen: Set<Int> = []
        var texts: [String] = []
        for case .some(let bridge) in channels.map(\.bridge) where seen.insert(bridge.number).inserted {
            texts.append(bridge.face.json(bridge.members.map(\.face.id)))
        }
        return Array(("[" + texts.joined(separator: ",") + "]").utf8)
    }

    // MARK: Telling

    private func keys(_ channel: TruthChannel) -> [Int] { [2 * channel.number, 2 * channel.number + 1] }

    private func tell(_ kind: ARIEventKind, _ channel: TruthChannel) {
        guard channel.isThere else { return }
        publish(PBXEvent(kind: kind, channel: channel.face, play: channel.play), keys: keys(channel))
    }

    private func tellBridge(_ kind: ARIEventKind, _ channel: TruthChannel, _ bridge: TruthBridge) {
        var event = PBXEvent(kind: kind, channel: channel.face, play: channel.play)
        event.bridge = bridge.face
        var keys = kind == .channelLeftBridge ? [2 * channel.number] : keys(channel)
        keys.append(-bridge.number)
        publish(event, keys: keys)
    }

    /// Gives the event its place in the stream: not before what it must follow, else anywhere within `disorder`.
    private func publish(_ event: PBXEvent, keys: [Int]) {
        var event = event
        event.stamp = stamp
        var place = time.now + (disorder > 0 ? Int64(chance.next() % UInt64(disorder)) : 0)
        for key in keys { place = max(place, lastPlaces[key] ?? .min) }
        for key in keys { lastPlaces[key] = place }
        onEvent(event, place)
    }
}
