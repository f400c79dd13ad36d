import CallEngine
import Protocols

/// What is true of one call of a play, as its script made it happen.
final class TruthCall {
    let id: String
    let play: Int
    /// The caller's line: who talks is told by it.
    let line: TruthChannel
    var direction = CallDirection.unknown
    var startedAt: Int64 = 0
    var outcome = CallOutcome.none
    /// When a person first talked with the caller.
    var talkStartedAt: Int64?
    var answeredBy = ""
    /// What the caller's line heard before: the machine, or nobody yet, behind a Local channel.
    var talkBefore: Int64 = 0
    /// `nil`: it cannot be told.
    var hungUpBy: HungUpBy? = .nobody
    var queue = ""
    var transferredBy = ""
    var transferredTo = ""
    /// It became part of that one.
    var mergedInto: TruthCall?
    /// All of its channels.
    var channels: [TruthChannel] = []
    /// It is one of a conference room.
    var isConference = false
    /// The PBX went down with it.
    var wasCutOff = false
    /// When the last of its channels was gone; `nil` while one is there, or before the first.
    var endedAt: Int64? {
        channels.contains(where: \.isThere) ? nil : channels.compactMap(\.endedAt).max()
    }
    /// It is there now.
    var isAlive: Bool { mergedInto == nil && channels.contains(where: \.isThere) }

    init(_ line: TruthChannel, id: String) {
        self.line = line
        self.id = id
        play = line.play
        channels = [line]
    }
}

/// One play's stage: its script plans what happens when, its own chance decides how.
///
/// `now` is the script's own time, which runs ahead; `then` plans something for it.
final class TruthCast {
    let pbx: TruthPBX
    let play: Int
    var chance: Chance
    var now: Int64
    private(set) var calls: [TruthCall] = []
    private var names = 0
    /// This PBX tells SIP codes.
    let hasSIPCodes: Bool

    init(pbx: TruthPBX, play: Int, seed: UInt64, at start: Int64) {
        self.pbx = pbx
        self.play = play
        chance = Chance(seed)
        now = start
        hasSIPCodes = chance.once(in: 2)
    }

    // MARK: Time

    /// Plans `body` for the script's time, and lets a millisecond or two pass, or none.
    func then(_ body: @escaping () -> Void) {
        pbx.at(now, body)
        now += [0, 0, 300, 1000, 2000].randomElement(using: &chance) ?? 0
    }

    /// Lets time pass.
    func wait(_ milliseconds: ClosedRange<Int>) {
        now += .milliseconds(Int.random(in: milliseconds, using: &chance))
    }

    func once(in count: UInt64) -> Bool { chance.once(in: count) }

    /// Does the things in any order.
    func inAnyOrder(_ things: [() -> Void]) {
        for thing in things.shuffled(using: &chance) { then(thing) }
    }

    // MARK: Channels

    func channel(
        _ peer: String, number: String, context: String, exten: String, state: String = "Down",
        application: String = ""
    ) -> TruthChannel {
        names += 1
        let made = pbx.channel(ChannelFace(id: "", name: "", linkedID: ""), play: play)
        // Ids in the order of their text as well, as Asterisk's are by their time.
        let order = String(made.number)
        made.face.id = "1795300000.\(String(repeating: "0", count: max(0, 6 - order.count)))\(order)"
        made.face.linkedID = made.face.id
        made.face.name = peer.hasPrefix("Local/") ? peer : "\(peer)-\(String(made.number, radix: 16))"
        made.face.number = number
        (made.face.context, made.face.exten) = (context, exten)
        made.face.state = state
        made.face.application = application
        return made
    }

    /// Both halves of a Local channel.
    func local(_ exten: String, _ context: String) -> (TruthChannel, TruthChannel) {
        let stem = "Local/\(exten)@\(context)-\(play)x\(names)"
        let first = channel("\(stem);1", number: "", context: context, exten: exten)
        let second = channel("\(stem);2", number: "", context: context, exten: exten, state: "Ring")
        return (first, second)
    }

    // MARK: Calls

    /// A channel comes in and begins a call.
    func begin(_ line: TruthChannel, _ direction: CallDirection) -> TruthCall {
        let call = TruthCall(line, id: line.face.id)
        call.direction = direction
        calls.append(call)
        then { [pbx] in
            pbx.create(line)
            call.startedAt = pbx.stamp
        }
        return call
    }

    /// A customer calls.
    func inbound(_ exten: String, context: String = "from-trunk") -> TruthCall {
        let number = "7916\(1_000_000 + chance.below(8_999_999))"
        return begin(
            channel("PJSIP/trunk", number: number, context: context, exten: exten, state: "Ring"), .inbound)
    }

    /// A telephone of the company calls out.
    func outbound(_ exten: String) -> TruthCall {
        begin(
            channel("PJSIP/101", number: "101", context: "from-internal", exten: exten, state: "Ring"),
            .outbound)
    }

    /// A telephone is called, and perhaps rings.
    func dial(
        _ number: String, by dialer: TruthChannel, for call: TruthCall, application: String? = "Dial",
        rings: Bool = true
    ) -> TruthChannel {
        let phone = channel(
            "PJSIP/\(number)", number: number, context: "office", exten: dialer.face.exten,
            application: "AppDial")
        call.channels.append(phone)
        then { [pbx] in
            if let application { pbx.run(dialer, application, "PJSIP/\(number),10") }
            pbx.create(phone, for: dialer)
        }
        then { [pbx] in pbx.dial(phone, by: dialer, "") }
        if rings { ring(phone, by: dialer) }
        return phone
    }

    func ring(_ phone: TruthChannel, by dialer: TruthChannel?) {
        inAnyOrder([
            { [pbx] in pbx.setState(phone, "Ringing") },
            { [pbx] in pbx.dial(phone, by: dialer, "RINGING") },
        ])
    }

    /// The telephone is picked up.
    func pickUp(_ phone: TruthChannel, by dialer: TruthChannel?) {
        then { [pbx] in pbx.setState(phone, "Up") }
        then { [pbx] in pbx.dial(phone, by: dialer, "ANSWER") }
        if let dialer {
            then { [pbx] in if !dialer.isUp { pbx.setState(dialer, "Up") } }
        }
    }

    /// The two talk; the first conversation of the call is its answer.
    @discardableResult
    func connect(
        _ phone: TruthChannel, _ dialer: TruthChannel, for call: TruthCall, by number: String? = nil
    )
        -> TruthBridge
    {
        let bridge = pbx.bridge()
        then { [pbx] in pbx.enter(phone, bridge) }
        then { [pbx] in
            pbx.enter(dialer, bridge)
            if let number { self.answered(call, by: number) }
        }
        return bridge
    }

    func answered(_ call: TruthCall, by number: String) {
        guard call.talkStartedAt == nil else { return }
        call.talkStartedAt = pbx.stamp
        call.answeredBy = number
        call.talkBefore = call.line.talk(until: pbx.stamp)
    }

    // MARK: Ends

    /// Other telephones stop ringing.
    func giveUp(_ phones: [TruthChannel], by dialer: TruthChannel, _ status: String, cause: Int) {
        for phone in phones { then { [pbx] in pbx.dial(phone, by: dialer, status) } }
        inAnyOrder(phones.map { phone in { [pbx] in pbx.destroy(phone, cause) } })
    }

    /// A conversation of two ends: one hangs up, the other is sent home.
    func hangUp(_ first: TruthChannel, then second: TruthChannel, for call: TruthCall) {
        call.hungUpBy = first === call.line ? .caller : .callee
        then { [pbx] in pbx.hangUp(first, 16) }
        then { [pbx] in pbx.leave(first) }
        inAnyOrder([
            { [pbx] in pbx.destroy(first, 16) }, { [pbx] in pbx.leave(second) },
        ])
        then { [pbx] in pbx.hangUp(second, 16, soft: true) }
        then { [pbx] in pbx.destroy(second, 16) }
        end(call, .answered)
    }

    /// The dialplan ends an unanswered call.
    func sendHome(_ line: TruthChannel, cause: Int = 16, sip: Int = 0) {
        then { [pbx] in
            pbx.run(line, "Hangup")
            pbx.hangUp(line, 16, soft: true)
        }
        then { [pbx] in
            pbx.run(line, "")
            pbx.destroy(line, cause, sip: sip)
        }
    }

    /// The caller hangs up while telephones ring.
    func abandon(_ call: TruthCall, _ phones: [TruthChannel], cause: Int = 19) {
        let line = call.line
        call.hungUpBy = .caller
        then { [pbx] in pbx.hangUp(line, cause) }
        for phone in phones { then { [pbx] in pbx.dial(phone, by: line, "CANCEL") } }
        then { [pbx] in pbx.hangUp(line, 16, soft: true) }
        let left = chance.once(in: 2) ? 19 : 26
        inAnyOrder(
            [{ [pbx] in pbx.destroy(line, cause) }]
                + phones.map { phone in { [pbx] in pbx.destroy(phone, left) } })
    }

    /// What the call comes to, if nothing cuts it off.
    func end(_ call: TruthCall, _ outcome: CallOutcome) { call.outcome = outcome }
}
