import Protocols

/// What each event does to its leg: the leg's state machine.
extension CallGraph {
    mutating func move(
        _ slot: Int, _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ subscription: Subscription,
        _ moment: Moment
    ) {
        let time = moment.time
        switch event.kind {
        case .channelStateChange, .channelSnapshot:
            if event.channel.state == .ringing { legs[slot].ringingAt = min(legs[slot].ringingAt, time) }
            if event.channel.state == .up { up(slot, time) }
            if event.kind == .channelSnapshot { takeListed(slot, event, payload, time) }
        case .stasisStart:
            start(slot, event, payload, moment)
        case .stasisEnd:
            // Where all channels are read, its destruction comes too, and that is the end.
            if subscription == .applicationOnly || grouping == .channel { close(slot, time, moment) }
        case .channelDestroyed:
            destroy(slot, event, subscription, moment)
        case .channelHangupRequest:
            requestHangup(slot, event, time)
        case .channelEnteredBridge:
            enterBridge(slot, event, payload, moment)
        case .channelLeftBridge:
            leave(event.bridgeID, slot, payload, time)
        case .channelHold:
            if !legs[slot].holdSince.isKnown { legs[slot].holdSince = time }
        case .channelUnhold:
            endHold(slot, time)
        case .channelVarset:
            learnVariable(slot, event, payload)
        case .bridgeBlindTransfer, .bridgeAttendedTransfer, .channelTransfer:
            transfer(slot, event, payload, moment)
        default:
            break
        }
    }

    // MARK: States

    private mutating func up(_ slot: Int, _ time: PBXTime) {
        // What a list told may be older than it, and an event of that time on its way.
        legs[slot].upAt = min(legs[slot].upAt, time)
        answer(slot, time)
        if legs[slot].bridge != Self.none { activate(slot, time) }
    }

    /// The contract's answer: the first Up of a channel of the call, or its first entry into a talking bridge while up.
    private mutating func answer(_ slot: Int, _ time: PBXTime) {
        guard legs[slot].home != Self.none else { return }
        let call = Int(legs[slot].home)
        guard time < calls[call].upAt else { return }
        guard calls[call].record.status != .finished || calls[call].isMerged else { return }
        calls[call].upAt = time
        calls[call].needsSave = true
        if !calls[call].isMerged, calls[call].record.status == .ringing {
            calls[call].record.status = .answered
            calls[call].wasAnswered = true
            counters.answered += 1
        }
        refreshTimes(call)
    }

    private mutating func start(
        _ slot: Int, _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ moment: Moment
    ) {
        reopen(slot)
        legs[slot].stasisAt = min(legs[slot].stasisAt, moment.time)
        if let replaced = findLeg(event.replacement, payload, legs[slot].pbx) {
            join(slot, replaced, .replacement, 0, moment)
        }
        guard legs[slot].home != Self.none, !legs[slot].isDialed else { return }
        legs[slot].flags.insert(.acted)
        let call = Int(legs[slot].home)
        let top = survivor(of: call)
        calls[top].hasCaller = true
        calls[call].hasCaller = true
        let earliest = leg(calls[call].starter)
        if earliest.map({ legs[slot].stasisAt < legs[$0].stasisAt }) ?? true {
            calls[call].starter = reference(to: slot)
            describe(call)
        }
    }

    /// A channel that left the application and comes back was not at its end.
    private mutating func reopen(_ slot: Int) {
        guard !legs[slot].isOpen else { return }
        legs[slot].flags.insert(.open)
        legs[slot].flags.remove(.hangupRequested)
        legs[slot].endedAt = .none
        guard legs[slot].home != Self.none else { return }
        let home = Int(legs[slot].home)
        count(1, in: home, survivor(of: home))
    }

    private mutating func requestHangup(_ slot: Int, _ event: ARIEvent, _ time: PBXTime) {
        let isFirst = !legs[slot].flags.contains(.hangupRequested)
        legs[slot].flags.insert(.hangupRequested)
        if isFirst {
            legs[slot].hangupAt = time
            legs[slot].hangupWasSoft = event.isSoftHangup
        }
        // A soft request's cause is Asterisk's flag mask.
        if !event.isSoftHangup, event.cause != 0, legs[slot].cause == 0 { legs[slot].cause = event.cause }
        if event.techCause != 0 { legs[slot].sipCode = event.techCause }
    }

    private mutating func destroy(
        _ slot: Int, _ event: ARIEvent, _ subscription: Subscription, _ moment: Moment
    ) {
        let (cause, code) = (legs[slot].cause, legs[slot].sipCode)
        let wasOpen = legs[slot].isOpen
        if event.cause != 0 { legs[slot].cause = event.cause }
        if event.techCause != 0 { legs[slot].sipCode = event.techCause }
        close(slot, moment.time, moment, isTold: subscription == .allChannels)
        // It had ended with StasisEnd, which has no cause: what the end was is looked at again.
        guard !wasOpen, legs[slot].cause != cause || legs[slot].sipCode != code, legs[slot].home != Self.none
        else {
            return
        }
        let call = survivor(of: Int(legs[slot].home))
        guard calls[call].record.status == .finished else { return }
        calls[call].isEnding = true
        calls[call].needsSave = true
        touch(call)
    }

    /// The channel is gone.
    ///
    /// - Parameter isTold: By an event of its own, so that an unknown channel of the call may still be told of.
    mutating func close(_ slot: Int, _ time: PBXTime, _ moment: Moment, isTold: Bool = false) {
        if !listed.isEmpty { settleListed(slot, time) }
        leaveBridge(slot, time)
        endHold(slot, time)
        guard legs[slot].isOpen else { return }
        legs[slot].flags.remove(.open)
        legs[slot].endedAt = time
        if legs[slot].isDialed { noteTelephones(slot) }
        clampUp(slot, time)
        guard legs[slot].home != Self.none else {
            return forgetLater(slot: slot, stamp: legs[slot].stamp, isCall: false, moment.now)
        }
        let home = Int(legs[slot].home)
        let top = survivor(of: home)
        count(-1, in: home, top)
        if calls[top].totalOpen == 0 {
            if isTold, let wait = patience(with: top, moment) {
                unproven.append(
                    Unproven(
                        call: UInt32(top), stamp: calls[top].stamp, moment: moment, until: moment.now &+ wait)
                )
            } else {
                finish(top, at: moment)
            }
        } else if calls[home].legCount > Self.maximumLegsPerCall, calls[top].root != reference(to: slot) {
            calls[top].isIncomplete = true
            forgetLater(slot: slot, stamp: legs[slot].stamp, isCall: false, moment.now)
        }
    }

    /// A leg is up before its end, whatever a list that overtook its end says.
    private mutating func clampUp(_ slot: Int, _ time: PBXTime) {
        guard legs[slot].upAt.isKnown, time < legs[slot].upAt else { return }
        legs[slot].upAt = time
        guard legs[slot].home != Self.none else { return }
        let call = Int(legs[slot].home)
        guard time < calls[call].upAt else { return }
        calls[call].upAt = time
        calls[call].needsSave = true
        refreshTimes(call)
    }

    private mutating func learnVariable(_ slot: Int, _ event: ARIEvent, _ payload: UnsafeRawBufferPointer) {
        guard !event.value.isEmpty, legs[slot].home != Self.none else { return }
        let call = survivor(of: Int(legs[slot].home))
        guard calls[call].record.status != .finished else { return }
        event.variable.withBytes(in: payload) { name in
            if name.elementsEqual("intNum".utf8) { tell(.outbound, call) }
            if name.elementsEqual("extNum".utf8) { tell(.inbound, call) }
        }
    }

    private mutating func tell(_ direction: CallDirection, _ call: Int) {
        calls[call].directionIsTold = true
        guard calls[call].record.direction != direction else { return }
        calls[call].record.direction = direction
        calls[call].needsSave = true
    }

    // MARK: Transfers

    private mutating func transfer(
        _ slot: Int, _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ moment: Moment
    ) {
        let pbx = legs[slot].pbx
        let act: LegAct =
            switch event.kind {
            case .bridgeBlindTransfer: .blindTransfer
            default: .attendedTransfer
            }
        let target = findLeg(event.transferTarget, payload, pbx)
        if event.kind == .channelTransfer { return refer(slot, event, payload, moment) }
        guard event.transferSucceeded else {
            return event.transferNumber.withBytes(in: payload) {
                mark(slot, .failedTransfer, moment.time, name: $0)
            }
        }
        legs[slot].flags.insert(.transferer)
        join(slot, event.secondLeg, payload, moment)
        join(slot, event.transferee, payload, moment)
        join(slot, event.transferTarget, payload, moment)
        join(slot, event.replacement, payload, moment)
        if let second = findLeg(event.secondLeg, payload, pbx) { legs[second].flags.insert(.transferer) }
        if let target {
            legs[target].flags.insert(.target)
            let name = legs[target].number.isEmpty ? legs[target].callee : InlineText<48>()
            if legs[target].number.isEmpty {
                name.withUnsafeBytes { mark(slot, act, moment.time, name: $0) }
            } else {
                legs[target].number.withUnsafeBytes { mark(slot, act, moment.time, name: $0) }
            }
        } else {
            event.transferNumber.withBytes(in: payload) { mark(slot, act, moment.time, name: $0) }
        }
    }

    /// A REFER that an application has to carry out: asked for, going on, done, or given up.
    ///
    /// It counts as a transfer until it is said to have failed: an application need not tell how it went. Only when it was
    /// carried out the calls of its channels are joined.
    private mutating func refer(
        _ slot: Int, _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ moment: Moment
    ) {
        var place = marks.lastPlace(of: legs[slot]) { $0.act == .referTransfer }
        if place == nil || event.transferIsNew {
            let act: LegAct = event.transferFailed ? .failedTransfer : .referTransfer
            event.transferNumber.withBytes(in: payload) { mark(slot, act, moment.time, name: $0) }
            place = marks.lastPlace(of: legs[slot]) { _ in true }
        } else if let place, event.transferFailed {
            marks[place].act = .failedTransfer
        }
        if event.transferFailed {
            legs[slot].flags.remove(.transferer)
        } else {
            legs[slot].flags.insert(.transferer)
        }
        guard event.transferSucceeded else { return }
        for party in [event.secondLeg, event.transferee, event.transferTarget] {
            join(slot, party, payload, moment)
        }
        let pbx = legs[slot].pbx
        if let second = findLeg(event.secondLeg, payload, pbx) { legs[second].flags.insert(.transferer) }
        guard let target = findLeg(event.transferTarget, payload, pbx) else { return }
        legs[target].flags.insert(.target)
        if let place, marks[place].name.isEmpty {
            let number = number(of: target)
            number.withUnsafeBytes { _ = marks[place].name.assign($0) }
        }
    }

    private mutating func join(
        _ slot: Int, _ party: ARIParty, _ payload: UnsafeRawBufferPointer, _ moment: Moment
    ) {
        let pbx = legs[slot].pbx
        if let other = findLeg(party, payload, pbx) { return join(slot, other, .transfer, 0, moment) }
        // A channel not seen: a call that it names is one all the same.
        guard party.isPresent, !party.linkedID.isEmpty, grouping == .linkedID, legs[slot].home != Self.none
        else { return }
        let key: CallKey = key(party.linkedID, in: payload, pbx)
        guard let known = findCall(key, pbx) else { return }
        join(calls: survivor(of: Int(legs[slot].home)), survivor(of: known), .transfer, 0, moment)
    }

    // MARK: Bridges

    private mutating func enterBridge(
        _ slot: Int, _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ moment: Moment
    ) {
        let time = moment.time
        if event.channel.state == .up, event.bridgeKind == .talking || event.bridgeKind == .conference {
            if !legs[slot].upAt.isKnown { legs[slot].upAt = time }
            answer(slot, time)
        }
        // A channel that is gone is in no bridge, whatever comes late.
        guard !event.bridgeID.isEmpty, legs[slot].isOpen else { return }
        if !listed.isEmpty { listed[UInt32(slot)] = nil }
        let key = event.bridgeID.withBytes(in: payload) { ChannelKey($0, hasher) }
        enter(slot, key, event.bridgeKind, isUp: event.channel.state == .up, time, moment)
    }

    /// Puts the leg into a bridge.
    mutating func enter(
        _ slot: Int, _ key: ChannelKey, _ kind: BridgeKind, isUp: Bool, _ time: PBXTime, _ moment: Moment
    ) {
        leaveBridge(slot, time)
        let hash = mixed(key.hash, legs[slot].pbx)
        let bridge =
            bridges.find(hash) { $0.pointee.key == key }
            ?? bridges.insert(hash, Bridge(key: key, hash: hash, kind: kind))
        if kind == .parking {
            mark(slot, .parked, time, name: UnsafeRawBufferPointer(start: nil, count: 0))
        }
        let first = bridges[bridge].firstMember
        if first != Self.none, bridges[bridge].kind == .talking {
            weighEvidence(slot, Int(first), bridge, moment)
        }
        legs[slot].bridge = UInt32(bridge)
        legs[slot].enteredAt = time
        legs[slot].nextMember = bridges[bridge].firstMember
        legs[slot].previousMember = Self.none
        if first != Self.none { legs[Int(first)].previousMember = UInt32(slot) }
        bridges[bridge].firstMember = UInt32(slot)
        bridges[bridge].memberCount += 1
        if isUp { activate(slot, time) }
    }

    /// The channel left a bridge; of another one than it is known to be in only what a list told is newer.
    private mutating func leave(
        _ bridgeID: ARIText, _ slot: Int, _ payload: UnsafeRawBufferPointer, _ time: PBXTime
    ) {
        let key = bridgeID.withBytes(in: payload) { ChannelKey($0, hasher) }
        if !listed.isEmpty, let place = listed[UInt32(slot)] {
            if place.bridge == key { settleListed(slot, time) } else { listed[UInt32(slot)] = nil }
        }
        guard legs[slot].bridge != Self.none else { return }
        guard bridgeID.isEmpty || bridges[Int(legs[slot].bridge)].key == key else { return }
        leaveBridge(slot, time)
    }

    /// Nothing but the bridge joins these two: one call, unless a third comes, which makes it a room.
    private mutating func weighEvidence(_ slot: Int, _ member: Int, _ bridge: Int, _ moment: Moment) {
        guard !legs[slot].flags.contains(.hasLinkedID), !legs[member].flags.contains(.hasLinkedID),
            grouping == .linkedID, legs[slot].home != Self.none, legs[member].home != Self.none
        else { return }
        let (own, other) = (survivor(of: Int(legs[slot].home)), survivor(of: Int(legs[member].home)))
        guard own != other else { return }
        bridges[bridge].joinedCalls += 1
        guard bridges[bridge].joinedCalls > 1 else {
            return join(slot, member, .bridge, bridges[bridge].hash, moment)
        }
        bridges[bridge].kind = .conference
        var next = bridges[bridge].firstMember
        while next != Self.none {
            steps += 1
            let home = Int(legs[Int(next)].home)
            if legs[Int(next)].home != Self.none, calls[home].evidence == .bridge,
                calls[home].evidenceBridge == bridges[bridge].hash
            {
                split(home, moment)
            }
            next = legs[Int(next)].nextMember
        }
    }

    mutating func leaveBridge(_ slot: Int, _ time: PBXTime) {
        guard legs[slot].bridge != Self.none else { return }
        let bridge = Int(legs[slot].bridge)
        deactivate(slot, time)
        let (next, previous) = (legs[slot].nextMember, legs[slot].previousMember)
        if next != Self.none { legs[Int(next)].previousMember = previous }
        if previous != Self.none {
            legs[Int(previous)].nextMember = next
        } else {
            bridges[bridge].firstMember = next
        }
        if bridges[bridge].kind == .parking {
            mark(slot, .other, time, name: UnsafeRawBufferPointer(start: nil, count: 0))
        }
        bridges[bridge].memberCount -= 1
        legs[slot].bridge = Self.none
        legs[slot].nextMember = Self.none
        legs[slot].previousMember = Self.none
        if bridges[bridge].memberCount == 0 { bridges.remove(bridges[bridge].hash, slot: bridge) }
    }
}
