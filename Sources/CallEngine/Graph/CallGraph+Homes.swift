import Protocols

/// Which call a leg belongs to, and which calls are one.
extension CallGraph {
    /// Finds the leg's call: the one it names, else the one that dials it, else one of its own.
    mutating func findHome(
        _ slot: Int, _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ idText: ARIText,
        _ moment: Moment, isNew: Bool
    ) {
        if grouping == .channel {
            guard legs[slot].home == Self.none, event.kind == .stasisStart else { return }
            enter(ownCall(slot, idText, payload, moment), slot)
        } else if event.channel.linkedID.isEmpty {
            findHomeWithoutLinkedID(slot, event, payload, idText, moment, isNew: isNew)
        } else {
            followLinkedID(slot, event.channel.linkedID, payload, moment, isNew: isNew)
            // A pickup: the neighbour's channel answers another call's dialling under a linkedid of its own.
            if event.kind == .dial, let dialer = findLeg(hash: legs[slot].dialerHash) {
                join(slot, dialer, .dial, 0, moment)
            }
        }
    }

    private mutating func followLinkedID(
        _ slot: Int, _ text: ARIText, _ payload: UnsafeRawBufferPointer, _ moment: Moment, isNew: Bool
    ) {
        let key: CallKey = key(text, in: payload, legs[slot].pbx)
        legs[slot].flags.insert(.hasLinkedID)
        let home = legs[slot].home
        if home != Self.none, calls[Int(home)].has(key) { return }
        let pbx = legs[slot].pbx
        let known = findCall(key, pbx)
        // What it was called before a list was made that overtook this event.
        if home != Self.none, known == nil, Int(pbx) < listTimes.count, listTimes[Int(pbx)].isKnown,
            moment.time < listTimes[Int(pbx)]
        {
            return
        }
        guard let target = known ?? makeCall(key, text, payload, slot, moment, counting: isNew) else {
            return
        }
        guard home != Self.none else { return enter(target, slot) }
        // The channel names another call now: it goes there, and the two are one.
        let from = survivor(of: Int(home))
        leave(slot)
        enter(target, slot)
        join(calls: from, survivor(of: target), .linkedID, 0, moment)
    }

    /// Without `channelvars` in ari.conf `Dial` tells who belongs to whom; a channel that is still down waits for it.
    private mutating func findHomeWithoutLinkedID(
        _ slot: Int, _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ idText: ARIText,
        _ moment: Moment, isNew: Bool
    ) {
        let dialer = findLeg(hash: legs[slot].dialerHash)
        let home = legs[slot].home
        if home != Self.none {
            guard event.kind == .dial, let dialer, legs[dialer].home != Self.none else { return }
            let (own, other) = (survivor(of: Int(home)), survivor(of: Int(legs[dialer].home)))
            if own != other { merge(own, into: other, .dial, 0, moment) }
        } else if let dialer, legs[dialer].home != Self.none {
            enter(Int(legs[dialer].home), slot)
        } else if let partner = leg(legs[slot].partner), legs[partner].home != Self.none {
            enter(Int(legs[partner].home), slot)
        } else if event.kind != .channelCreated || event.channel.state != .down {
            enter(ownCall(slot, idText, payload, moment, counting: isNew), slot)
        }
    }

    private mutating func ownCall(
        _ slot: Int, _ idText: ARIText, _ payload: UnsafeRawBufferPointer, _ moment: Moment,
        counting: Bool = true
    ) -> Int? {
        let key: CallKey = key(idText, in: payload, legs[slot].pbx)
        return findCall(key, legs[slot].pbx)
            ?? makeCall(key, idText, payload, slot, moment, counting: counting)
    }

    // MARK: Calls

    private mutating func makeCall(
        _ key: CallKey, _ text: ARIText, _ payload: UnsafeRawBufferPointer, _ slot: Int, _ moment: Moment,
        counting: Bool
    ) -> Int? {
        guard calls.count < registry.capacity else {
            if counting { counters.refused += 1 }
            return nil
        }
        // A call first met in a list began with the channel, not with the list.
        let startedAt = legs[slot].startedAt
        var record = CallRecord(
            id: CallUUID(random: nextRandom(), nextRandom()),
            startedAt: startedAt.timestamp ?? moment.receivedAt,
            insertedAt: moment.receivedAt)
        record.pbx = legs[slot].pbx
        record.writer = writerOfNewCalls
        record.callID = key.text
        let hash = mixed(key.hash, legs[slot].pbx)
        var state = CallState(record: record, key: key, hash: hash, stamp: stamp(), startedAt: startedAt)
        state.needsSave = true
        let call = calls.insert(hash, state)
        if key.isFolded {
            calls[call].record.flags.insert(.longTexts)
            longTexts[UInt32(call), default: LongTexts()].callID =
                withID(text, in: payload, legs[slot].pbx) { String(decoding: $0, as: UTF8.self) }
        }
        counters.started += 1
        touch(call)
        return call
    }

    private mutating func enter(_ call: Int?, _ slot: Int) {
        guard let call else { return }
        legs[slot].home = UInt32(call)
        let first = calls[call].firstLeg
        legs[slot].nextInCall = first
        legs[slot].previousInCall = Self.none
        if first != Self.none { legs[Int(first)].previousInCall = UInt32(slot) }
        calls[call].firstLeg = UInt32(slot)
        calls[call].legCount += 1
        let top = survivor(of: call)
        if legs[slot].key.hash == calls[call].key.hash { calls[call].hasNamed = true }
        if legs[slot].isOpen { count(1, in: call, top) }
        beginEarlier(call, legs[slot].startedAt)
        chooseRoot(top, candidate: slot)
    }

    /// The leg began before what was told of it first.
    mutating func beginEarlier(leg slot: Int, _ time: PBXTime) {
        legs[slot].startedAt = time
        guard legs[slot].home != Self.none else { return }
        beginEarlier(Int(legs[slot].home), time)
        chooseRoot(survivor(of: Int(legs[slot].home)), candidate: slot)
    }

    /// A leg of the call began at `time`.
    mutating func beginEarlier(_ call: Int, _ time: PBXTime) {
        guard time < calls[call].startedAt else { return }
        calls[call].startedAt = time
        calls[call].needsSave = true
        refreshTimes(call)
    }

    /// Takes a leg out of its call's list.
    mutating func leave(_ slot: Int) {
        let call = Int(legs[slot].home)
        let (next, previous) = (legs[slot].nextInCall, legs[slot].previousInCall)
        if next != Self.none { legs[Int(next)].previousInCall = previous }
        if previous != Self.none {
            legs[Int(previous)].nextInCall = next
        } else {
            calls[call].firstLeg = next
        }
        calls[call].legCount -= 1
        if legs[slot].isOpen { count(-1, in: call, survivor(of: call)) }
        legs[slot].home = Self.none
    }

    mutating func count(_ change: Int, in call: Int, _ top: Int) {
        calls[call].openLegs = UInt32(truncatingIfNeeded: Int(calls[call].openLegs) + change)
        if top != call || !calls[call].isMerged {
            calls[top].totalOpen = UInt32(truncatingIfNeeded: Int(calls[top].totalOpen) + change)
        }
        calls[top].record.openLegs = UInt16(clamping: calls[top].totalOpen)
    }

    // MARK: Merging and splitting

    /// Calls that may become part of one; more stay calls of their own.
    static let maximumMergedCalls: UInt32 = 256

    /// Open legs of a call and of those that became part of it.
    private func openLegs(of call: Int) -> UInt32 {
        var open = calls[call].openLegs
        var merged = calls[call].firstMerged
        while merged != Self.none {
            open += openLegs(of: Int(merged))
            merged = calls[Int(merged)].nextMerged
        }
        return open
    }

    /// Makes `call` part of `target`; both stand for themselves so far.
    ///
    /// The younger call keeps its legs and what it knows; its row ends and points to the older one.
    mutating func merge(
        _ call: Int, into target: Int, _ evidence: MergeEvidence, _ bridge: UInt64, _ moment: Moment
    ) {
        let count = calls[call].mergedCount + 1
        guard calls[target].mergedCount + count <= Self.maximumMergedCalls else {
            return calls[target].isIncomplete = true
        }
        calls[target].mergedCount += count
        calls[call].survivor = UInt32(target)
        calls[call].nextMerged = calls[target].firstMerged
        calls[target].firstMerged = UInt32(call)
        calls[call].evidence = evidence
        calls[call].evidenceBridge = bridge
        calls[target].totalOpen += calls[call].totalOpen
        calls[target].record.openLegs = UInt16(clamping: calls[target].totalOpen)
        if calls[call].hasCaller { calls[target].hasCaller = true }
        calls[call].record.flags.insert(.merged)
        calls[call].record.openLegs = 0
        calls[call].record.outcome = .merged
        counters.merged += 1
        finish(call, at: moment)
        touch(target)
        if let root = leg(calls[call].root) { chooseRoot(target, candidate: root) }
    }

    /// Takes a merge back: the call stands for itself again, as its own legs say.
    mutating func split(_ call: Int, _ moment: Moment) {
        let target = Int(calls[call].survivor)
        guard calls[call].survivor != Self.none else { return }
        if calls[target].firstMerged == UInt32(call) {
            calls[target].firstMerged = calls[call].nextMerged
        } else {
            var before = Int(calls[target].firstMerged)
            while calls[before].nextMerged != UInt32(call) { before = Int(calls[before].nextMerged) }
            calls[before].nextMerged = calls[call].nextMerged
        }
        calls[call].survivor = Self.none
        calls[call].nextMerged = Self.none
        calls[call].evidence = .none
        counters.split += 1
        counters.merged -= 1
        let top = survivor(of: target)
        // Legs that ended since then were counted with the survivor.
        calls[call].totalOpen = openLegs(of: call)
        calls[top].totalOpen -= min(calls[top].totalOpen, calls[call].totalOpen)
        var above = target
        while true {
            calls[above].mergedCount -= calls[call].mergedCount + 1
            guard calls[above].isMerged else { break }
            above = Int(calls[above].survivor)
        }
        calls[top].record.openLegs = UInt16(clamping: calls[top].totalOpen)
        calls[call].record.openLegs = UInt16(clamping: calls[call].totalOpen)
        calls[call].record.flags.remove(.merged)
        calls[call].record.outcome = .none
        calls[call].record.endedAt = nil
        calls[call].record.status = calls[call].upAt.isKnown ? .answered : .ringing
        if calls[call].upAt.isKnown { counters.answered += calls[call].wasAnswered ? 0 : 1 }
        calls[call].wasAnswered = calls[call].upAt.isKnown
        calls[call].wasFinished = false
        calls[call].forgetAt = 0
        counters.finished -= 1
        calls[call].record.updatedAt = moment.receivedAt
        calls[call].needsSave = true
        // Its row says that it is part of the other.
        calls[call].needsDetails = true
        chooseRoot(call)
        chooseRoot(top)
        touch(call)
        touch(top)
        if calls[call].totalOpen == 0 { finish(call, at: moment) }
    }

    /// Joins the calls of two legs that another event than their linkedid says belong together.
    mutating func join(
        _ one: Int, _ other: Int, _ evidence: MergeEvidence, _ bridge: UInt64, _ moment: Moment
    ) {
        guard grouping == .linkedID, legs[one].home != Self.none, legs[other].home != Self.none else {
            return
        }
        join(
            calls: survivor(of: Int(legs[one].home)), survivor(of: Int(legs[other].home)), evidence, bridge,
            moment)
    }

    /// Makes the younger of two calls part of the older one, if they are two.
    mutating func join(
        calls first: Int, _ second: Int, _ evidence: MergeEvidence, _ bridge: UInt64, _ moment: Moment
    ) {
        guard first != second else { return }
        let firstIsOlder = isOlder(first, second)
        merge(firstIsOlder ? second : first, into: firstIsOlder ? first : second, evidence, bridge, moment)
    }

    private func isOlder(_ left: Int, _ right: Int) -> Bool {
        if calls[left].startedAt != calls[right].startedAt {
            return calls[left].startedAt < calls[right].startedAt
        }
        return calls[left].record.callID.string < calls[right].record.callID.string
    }

    // MARK: Root

    /// How well a leg fits as the one that began the call; smaller is better.
    private func rootRank(_ slot: Int, _ call: Int) -> UInt8 {
        let leg = legs[slot]
        // A linkedid is the unique id of the oldest channel.
        let isNamed = leg.key.hash == calls[call].keyHash
        if leg.flags.contains(.secondHalf), !leg.isDialed, let partner = self.leg(leg.partner) {
            // Its other half is called by an application: this half acts for whom it is called.
            let partnerIsNamed = legs[partner].key.hash == calls[call].keyHash
            if legs[partner].flags.contains(.originated) { return partnerIsNamed ? 1 : 5 }
            if legs[partner].isDialed { return 6 }
            return 3
        }
        if !leg.isDialed { return isNamed ? 0 : 2 }
        if leg.flags.contains(.originated) { return isNamed ? 4 : 7 }
        return 8
    }

    private func isBetterRoot(_ left: Int, than right: Int, _ call: Int) -> Bool {
        let (first, second) = (rootRank(left, call), rootRank(right, call))
        if first != second { return first < second }
        if legs[left].startedAt != legs[right].startedAt {
            return legs[left].startedAt < legs[right].startedAt
        }
        return isBefore(legs[left].key, legs[right].key)
    }

    /// Orders keys as texts, so that every reader orders them alike.
    func isBefore(_ left: ChannelKey, _ right: ChannelKey) -> Bool {
        left.text.withUnsafeBytes { left in
            right.text.withUnsafeBytes { right in left.lexicographicallyPrecedes(right) }
        }
    }

    /// Legs up to which a changed one is reason to look at all of them again while the call lives.
    static let fewLegs: UInt32 = 8

    /// Chooses who began the call.
    ///
    /// - Parameter candidate: The leg that is new or changed; without one all are looked at, which an ended call does once.
    mutating func chooseRoot(_ call: Int, candidate: Int? = nil) {
        var best = leg(calls[call].root)
        if let candidate, calls[call].legCount > Self.fewLegs, best != candidate {
            if best.map({ isBetterRoot(candidate, than: $0, call) }) ?? true { best = candidate }
        } else {
            if let current = best, legs[current].home != UInt32(call), survivor(ofLeg: current) != call {
                best = nil
            }
            var next = calls[call].firstLeg
            while next != Self.none {
                let slot = Int(next)
                steps += 1
                if best.map({ $0 != slot && isBetterRoot(slot, than: $0, call) }) ?? true { best = slot }
                next = legs[slot].nextInCall
            }
            if let candidate, best.map({ $0 != candidate && isBetterRoot(candidate, than: $0, call) }) ?? true
            {
                best = candidate
            }
        }
        guard let best else { return }
        let isChanged = calls[call].root != reference(to: best)
        calls[call].root = reference(to: best)
        if isChanged { describe(call) }
    }

    private func survivor(ofLeg slot: Int) -> Int? {
        legs[slot].home == Self.none ? nil : survivor(of: Int(legs[slot].home))
    }

    /// A leg's numbers or direction changed.
    mutating func changedTexts(_ slot: Int) {
        guard legs[slot].home != Self.none else { return }
        let call = survivor(of: Int(legs[slot].home))
        let me = reference(to: slot)
        if calls[call].root == me || calls[call].starter == me { describe(call) }
    }

    /// Takes the call's numbers and direction from the leg that entered our application first, and from its root.
    mutating func describe(_ call: Int) {
        let starter = leg(calls[call].starter)
        let root = leg(calls[call].root)
        if !calls[call].directionIsTold {
            var direction = CallDirection.unknown
            if let starter { direction = legs[starter].direction }
            if direction == .unknown, let root, !legs[root].isDialed || legs[root].flags.contains(.acted) {
                direction = legs[root].direction
            }
            if direction != .unknown, direction != calls[call].record.direction {
                calls[call].record.direction = direction
                calls[call].needsSave = true
            }
        }
        if let starter { takeTexts(call, from: starter, replacing: true) }
        if let root, root != starter { takeTexts(call, from: root, replacing: starter == nil) }
    }

    private mutating func takeTexts(_ call: Int, from slot: Int, replacing: Bool) {
        let long = legTexts.isEmpty ? nil : legTexts[legs[slot].stamp]
        let replacing = replacing && !calls[call].isAdopted
        if !legs[slot].caller.isEmpty, replacing || calls[call].record.callerNumber.isEmpty {
            calls[call].record.callerNumber = legs[slot].caller
            keepLong(call, long?.callerNumber) { $0.callerNumber = $1 }
            calls[call].needsSave = true
        }
        if !legs[slot].callee.isEmpty, replacing || calls[call].record.calleeNumber.isEmpty {
            calls[call].record.calleeNumber = legs[slot].callee
            keepLong(call, long?.calleeNumber) { $0.calleeNumber = $1 }
            calls[call].needsSave = true
        }
    }

    private mutating func keepLong(_ call: Int, _ text: String?, _ set: (inout LongTexts, String?) -> Void) {
        guard text != nil || longTexts[UInt32(call)] != nil else { return }
        set(&longTexts[UInt32(call), default: LongTexts()], text)
        if text != nil { calls[call].record.flags.insert(.longTexts) }
    }
}
