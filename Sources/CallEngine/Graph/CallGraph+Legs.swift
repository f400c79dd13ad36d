import Protocols

/// What a leg's own events tell of it.
extension CallGraph {
    /// Channels that carry media or listen, and are no party of a call: snoops, external media, the announcers and
    /// recorders of conferences and bridges.
    static func isTechnical(_ name: ARIText, _ payload: UnsafeRawBufferPointer) -> Bool {
        name.withBytes(in: payload) { name in
            guard let first = name.first else { return false }
            return technicalNames.contains { prefix in
                prefix.utf8Start[0] == first && name.starts(with: prefix.bytes)
            }
        }
    }

    private static let technicalNames: [StaticString] = [
        "Snoop/", "UnicastRTP/", "AudioSocket/", "WebSocket/", "Announcer/", "Recorder/", "CBAnn/", "CBRec/",
        "Surrogate/", "Message/",
    ]

    mutating func makeLeg(
        _ key: ChannelKey, _ channel: ARIChannel, _ payload: UnsafeRawBufferPointer, _ pbx: UInt16,
        _ moment: Moment
    ) -> Int {
        let hash = mixed(key.hash, pbx)
        let started = channel.createdAt.map { PBXTime($0) } ?? moment.time
        var leg = Leg(key: key, hash: hash, stamp: stamp(), pbx: pbx, startedAt: started)
        leg.generation = generation(of: pbx)
        let slot = legs.insert(hash, leg)
        channel.name.withBytes(in: payload) { name in
            legs[slot].name.assign(name)
            linkHalves(slot, name)
        }
        return slot
    }

    /// Joins the halves of a Local channel: `Local/101@office-00000007;1` and `;2`.
    private mutating func linkHalves(_ slot: Int, _ name: UnsafeRawBufferPointer) {
        guard name.count > 8, name.starts(with: ("Local/" as StaticString).bytes),
            name[name.count - 2] == 0x3B
        else { return }
        let isSecond = name[name.count - 1] == 0x32
        legs[slot].flags.insert(.localHalf)
        if isSecond { legs[slot].flags.insert(.secondHalf) }
        let stemHash = mixed(hasher(UnsafeRawBufferPointer(rebasing: name.dropLast(2))), legs[slot].pbx)
        legs[slot].stemHash = stemHash
        let me = reference(to: slot)
        guard let stem = stems.find(stemHash, where: { $0.pointee.hash == stemHash }) else {
            _ = stems.insert(
                stemHash,
                LocalStem(
                    hash: stemHash, first: isSecond ? .none : me, second: isSecond ? me : .none))
            return
        }
        if isSecond { stems[stem].second = me } else { stems[stem].first = me }
        guard let other = leg(isSecond ? stems[stem].first : stems[stem].second) else { return }
        legs[slot].partner = reference(to: other)
        legs[other].partner = me
    }

    /// Takes texts, direction and what the channel does from any event of it.
    mutating func learn(
        _ slot: Int, _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ moment: Moment, isNew: Bool
    ) {
        let channel = event.channel
        let isStart = event.kind == .stasisStart
        if isStart || legs[slot].caller.isEmpty || legs[slot].callee.isEmpty {
            learnTexts(
                slot, channel, payload,
                replacing: isStart && !legs[slot].isDialed && !legs[slot].stasisAt.isKnown)
        }
        learnDirection(slot, channel, payload, isNew: isNew || isStart)
        if !channel.application.isEmpty {
            noteApplication(slot, channel.application, channel.applicationData, payload, moment.time)
        }
    }

    private mutating func learnTexts(
        _ slot: Int, _ channel: ARIChannel, _ payload: UnsafeRawBufferPointer, replacing: Bool
    ) {
        let caller = firstPresent(channel.callerNumber, channel.callerName, channel.callerIDVariable)
        let callee = firstPresent(channel.exten, channel.connectedNumber, channel.extenVariable)
        if !caller.isEmpty, replacing || legs[slot].caller.isEmpty {
            caller.withBytes(in: payload) { bytes in
                if !legs[slot].caller.assign(bytes) {
                    legTexts[legs[slot].stamp, default: LongTexts()].callerNumber =
                        String(decoding: bytes, as: UTF8.self)
                }
            }
            changedTexts(slot)
        }
        if !callee.isEmpty, replacing || legs[slot].callee.isEmpty {
            callee.withBytes(in: payload) { bytes in
                if !legs[slot].callee.assign(bytes) {
                    legTexts[legs[slot].stamp, default: LongTexts()].calleeNumber =
                        String(decoding: bytes, as: UTF8.self)
                }
            }
            changedTexts(slot)
        }
    }

    private func firstPresent(_ first: ARIText, _ second: ARIText, _ third: ARIText) -> ARIText {
        if !first.isEmpty { return first }
        return second.isEmpty ? third : second
    }

    private mutating func learnDirection(
        _ slot: Int, _ channel: ARIChannel, _ payload: UnsafeRawBufferPointer, isNew: Bool
    ) {
        guard legs[slot].direction == .unknown else { return }
        // Looking through the context costs; it is done again only when the context changed.
        let signature = signature(of: channel.context, payload)
        let variables = channel.internalNumber.count | channel.externalNumber.count
        guard isNew || variables != 0 || signature != legs[slot].contextSignature else { return }
        legs[slot].contextSignature = signature
        let direction = CallDirection(of: channel, in: payload)
        guard direction != .unknown else { return }
        legs[slot].direction = direction
        changedTexts(slot)
    }

    /// Length, first, middle and last byte of a text: what tells one context or application from the next.
    private func signature(of text: ARIText, _ payload: UnsafeRawBufferPointer) -> UInt32 {
        guard text.count > 0 else { return 0 }
        let (start, count) = (Int(text.offset), Int(text.count))
        return UInt32(truncatingIfNeeded: count) << 24 | UInt32(payload[start]) << 16
            | UInt32(payload[start + count / 2]) << 8 | UInt32(payload[start + count - 1])
    }

    private mutating func noteApplication(
        _ slot: Int, _ name: ARIText, _ data: ARIText, _ payload: UnsafeRawBufferPointer, _ time: PBXTime
    ) {
        let signature = signature(of: name, payload) &* 31 &+ signature(of: data, payload)
        guard signature != legs[slot].actSignature else { return }
        legs[slot].actSignature = signature
        let act = name.withBytes(in: payload) { LegAct(application: $0) }
        guard act != .none else { return }
        if act == legs[slot].act, !act.isOfInterest || act == .ivr { return }
        let isKept: Bool
        if act.isOfInterest || legs[slot].act.isOfInterest {
            let text = act == .ivr ? name : data
            isKept = text.withBytes(in: payload) { bytes in
                let end = bytes.firstIndex { $0 == 0x2C || $0 == 0x40 || $0 == 0x7C } ?? bytes.count
                return marks.append(
                    act, at: time,
                    name: UnsafeRawBufferPointer(rebasing: bytes[..<(act == .ivr ? bytes.count : end)]),
                    to: &legs[slot])
            }
        } else {
            legs[slot].acts |= act.bit
            isKept = true
        }
        legs[slot].act = act
        if act == .pickup { legs[slot].flags.insert(.pickup) }
        if !isKept, legs[slot].home != Self.none { calls[Int(legs[slot].home)].isIncomplete = true }
    }

    /// Adds a mark that no application's name tells.
    mutating func mark(_ slot: Int, _ act: LegAct, _ time: PBXTime, name: UnsafeRawBufferPointer) {
        let isKept = marks.append(act, at: time, name: name, to: &legs[slot])
        if !isKept, legs[slot].home != Self.none { calls[Int(legs[slot].home)].isIncomplete = true }
    }

    // MARK: Dial

    /// A channel that dials is there, whether its begin was seen or not.
    mutating func meetDialer(
        _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ pbx: UInt16, _ moment: Moment
    ) {
        let text = event.caller.id.isEmpty ? event.caller.name : event.caller.id
        let key: ChannelKey = key(text, in: payload, pbx)
        guard findLeg(key, pbx) == nil, legs.count < maximumLegs,
            !Self.isTechnical(event.caller.name, payload)
        else { return }
        let slot = makeLeg(key, event.caller, payload, pbx, moment)
        var told = ARIEvent()
        told.channel = event.caller
        learn(slot, told, payload, moment, isNew: true)
        findHome(slot, told, payload, text, moment, isNew: true)
        guard legs[slot].home != Self.none else { return }
        calls[survivor(of: Int(legs[slot].home))].record.flags.insert(.partial)
    }

    /// Takes what `Dial` tells of the dialled leg, and of who dials.
    mutating func noteDialing(
        _ slot: Int, _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ pbx: UInt16, _ moment: Moment
    ) {
        let hasCaller = event.caller.isPresent
        let isFirst = !legs[slot].isDialed
        if hasCaller {
            let text = event.caller.id.isEmpty ? event.caller.name : event.caller.id
            let key: ChannelKey = key(text, in: payload, pbx)
            if legs[slot].dialerHash == 0 { legs[slot].dialerHash = mixed(key.hash, pbx) }
            legs[slot].flags.remove(.originated)
            if let caller = findLeg(key, pbx) { noteDialer(caller, event, payload, moment) }
        } else if isFirst {
            legs[slot].flags.insert(.originated)
        }
        event.dialStatus.withBytes(in: payload) { status in
            note(status: status, of: slot, event, payload, moment.time)
        }
        if hasCaller, let caller = findLeg(hash: legs[slot].dialerHash) { noteCustomer(slot, of: caller) }
        guard isFirst else { return }
        legs[slot].flags.insert(.dialed)
        if legs[slot].home != Self.none { chooseRoot(survivor(of: Int(legs[slot].home)), candidate: slot) }
    }

    private mutating func note(
        status: UnsafeRawBufferPointer, of slot: Int, _ event: ARIEvent, _ payload: UnsafeRawBufferPointer,
        _ time: PBXTime
    ) {
        if status.isEmpty {
            legs[slot].dialedAt = min(legs[slot].dialedAt, time)
            event.dialString.withBytes(in: payload) { text in
                let number = Self.number(dialed: text)
                if !number.isEmpty { legs[slot].number.assign(number) }
            }
        } else if let final = DialStatus(status) {
            // A queue sends CANCEL behind the result.
            if legs[slot].dialStatus == .none { legs[slot].dialStatus = final }
        } else if status.elementsEqual("RINGING".utf8) {
            legs[slot].ringingAt = min(legs[slot].ringingAt, time)
        } else if status.elementsEqual("PROGRESS".utf8) {
            legs[slot].progressAt = min(legs[slot].progressAt, time)
        }
        if event.replacement.isPresent { legs[slot].flags.insert(.forwarded) }
    }

    private mutating func noteDialer(
        _ caller: Int, _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ moment: Moment
    ) {
        if !legs[caller].flags.contains(.acted) {
            legs[caller].flags.insert(.acted)
            // What it said of the direction counts from now on, whenever it said it.
            changedTexts(caller)
        }
        legs[caller].generation = generation(of: legs[caller].pbx)
        if legs[caller].caller.isEmpty || legs[caller].callee.isEmpty {
            learnTexts(caller, event.caller, payload, replacing: false)
        }
        learnDirection(caller, event.caller, payload, isNew: false)
        // In the order of the caller's own events; a reader without ChannelDialplan has little else.
        if !event.caller.application.isEmpty {
            noteApplication(
                caller, event.caller.application, event.caller.applicationData, payload, moment.time)
        }
        guard legs[caller].home != Self.none else { return }
        let call = survivor(of: Int(legs[caller].home))
        calls[call].hasCaller = true
    }

    /// Click-to-call: whom the operator's telephone dials is the one called; its own extension in the dialplan says nothing.
    private mutating func noteCustomer(_ slot: Int, of caller: Int) {
        guard legs[caller].flags.contains(.originated), !legs[caller].isLocalHalf,
            !legs[slot].number.isEmpty, legs[caller].home != Self.none
        else { return }
        let call = survivor(of: Int(legs[caller].home))
        guard calls[call].root == reference(to: caller), !calls[call].isCustomerKnown else { return }
        calls[call].isCustomerKnown = true
        legs[slot].number.withUnsafeBytes { number in
            _ = legs[caller].callee.assign(number)
            _ = calls[call].record.calleeNumber.assign(number)
        }
        calls[call].needsSave = true
    }

    /// The number within a dial string: `101`, `PJSIP/101`, `74957654321@trunk`, `trunk/sip:7495@host`, `Local/101@follow/n`.
    static func number(dialed text: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        let end = text.firstIndex { $0 == 0x40 || $0 == 0x3B || $0 == 0x2C || $0 == 0x26 } ?? text.count
        var start = 0
        for index in 0..<end where text[index] == 0x2F || text[index] == 0x3A { start = index + 1 }
        return UnsafeRawBufferPointer(rebasing: text[start..<end])
    }
}
