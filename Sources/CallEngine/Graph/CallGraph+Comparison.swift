public import Protocols

/// After a time in which a PBX was not heard: what it lists lives on, the rest has ended.
extension CallGraph {
    /// Begins a comparison with what the PBX says is there; see `finishReconcile`.
    ///
    /// What events tell meanwhile of channels that the list does not have yet, or no longer, is as good as the list.
    ///
    /// - Parameter lastSeen: The PBX's time of the last moment at which nothing had been missed; `nil`: nobody knows one.
    public mutating func beginReconcile(pbx: UInt16, lastSeen: Timestamp? = nil) {
        while generations.count <= Int(pbx) {
            generations.append(0)
            listTimes.append(.none)
            lastSeenTimes.append(.none)
        }
        generations[Int(pbx)] &+= 1
        if !listed.isEmpty { listed = listed.filter { legs[Int($0.key)].pbx != pbx } }
        lastSeenTimes[Int(pbx)] = lastSeen.map { PBXTime($0) } ?? .none
    }

    /// The PBX is not heard any more: of the calls that are open now something may be missed.
    public mutating func noteGap(pbx: UInt16) {
        uncompared.insert(pbx)
        var homes: [UInt32] = []
        legs.forEachSlot { slot in
            guard legs[slot].isOpen, legs[slot].pbx == pbx, legs[slot].home != Self.none else { return }
            homes.append(legs[slot].home)
        }
        // Not worth a row of its own: a later one has it.
        for home in homes { calls[survivor(of: Int(home))].record.flags.insert(.partial) }
    }

    // MARK: What a list tells

    /// Where a list has a channel that is known to be elsewhere.
    struct ListedPlace {
        /// The bridge; `nil`: in none.
        var bridge: ChannelKey?
        var kind: BridgeKind
        var isUp: Bool
        /// When the list was made.
        var time: PBXTime
    }

    /// Takes from a list what no event told yet.
    ///
    /// The list overtakes events: those that tell how the channel came to where it is may be on their way. So its place counts
    /// only when the comparison ends, or the channel does, without one.
    mutating func takeListed(
        _ slot: Int, _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ time: PBXTime
    ) {
        listTimes[Int(legs[slot].pbx)] = time
        if let created = event.channel.createdAt.map({ PBXTime($0) }), created < legs[slot].startedAt {
            beginEarlier(leg: slot, created)
        }
        var place = ListedPlace(
            bridge: nil, kind: event.bridgeKind, isUp: event.channel.state == .up, time: time)
        if !event.bridgeID.isEmpty {
            place.bridge = event.bridgeID.withBytes(in: payload) { ChannelKey($0, hasher) }
        }
        let known = legs[slot].bridge == Self.none ? nil : bridges[Int(legs[slot].bridge)].key
        guard known != place.bridge else { return }
        listed[UInt32(slot)] = place
    }

    /// Puts the channel where a list had it: what came before ended when it was last seen, what is there now began with
    /// the list.
    mutating func settleListed(_ slot: Int, _ limit: PBXTime) {
        guard let place = listed.removeValue(forKey: UInt32(slot)), legs[slot].isOpen else { return }
        let time = min(place.time, limit)
        let pbx = Int(legs[slot].pbx)
        let lastSeenAt = pbx < lastSeenTimes.count ? lastSeenTimes[pbx] : .none
        leaveBridge(slot, lastSeenAt.isKnown ? max(min(lastSeenAt, time), legs[slot].enteredAt) : time)
        guard let bridge = place.bridge else { return }
        let moment = Moment(time: time, receivedAt: Timestamp(microseconds: 0), now: 0)
        enter(slot, bridge, place.kind, isUp: place.isUp, time, moment)
    }

    /// Closes the channels of `pbx` that were not seen since `beginReconcile`, and with them the calls that have none left.
    ///
    /// Call it after the channels of `GET /channels` were taken as `ChannelSnapshot` events. A call in which a person had
    /// talked stays answered; of any other nobody knows how it went on.
    ///
    /// - Parameters:
    ///   - time: The PBX's time of the last moment at which they were known to live; the calls are marked.
    ///   - updatedAt: Our time.
    ///   - callEnded: Called for each call that ended.
    public mutating func finishReconcile(
        pbx: UInt16, at time: Timestamp, updatedAt: Timestamp, now: UInt64, callEnded: (CallKey) -> Void
    ) {
        let generation = generation(of: pbx)
        for slot in listed.keys.sorted() where legs[Int(slot)].pbx == pbx { settleListed(Int(slot), .none) }
        var stale: [Int] = []
        legs.forEachSlot { slot in
            if legs[slot].isOpen, legs[slot].pbx == pbx, legs[slot].generation != generation {
                stale.append(slot)
            }
        }
        uncompared.remove(pbx)
        endUnproven(now, comparedWith: pbx)
        end(stale, Moment(time: PBXTime(time), receivedAt: updatedAt, now: now), callEnded)
    }

    /// Closes channels that are gone without a word.
    ///
    /// - Parameter wereGone: They were gone when the last list was made.
    private mutating func end(
        _ stale: [Int], _ moment: Moment, wereGone: Bool = false, _ callEnded: (CallKey) -> Void
    ) {
        for slot in stale {
            var moment = moment
            // One of which only a list told may have been gone already when it was made.
            if let listed = unconfirmed[UInt32(slot)], listed.stamp == legs[slot].stamp {
                moment.time = min(moment.time, listed.lastSeenAt)
            }
            moment.time = max(moment.time, legs[slot].startedAt)
            legs[slot].flags.insert(.endEstimated)
            let home = legs[slot].home
            guard home != Self.none else {
                close(slot, moment.time, moment)
                continue
            }
            let call = survivor(of: Int(home))
            let wasFinished = calls[call].record.status == .finished
            close(slot, moment.time, moment)
            guard !wasFinished, calls[call].record.status == .finished else { continue }
            // The end is that of the last leg, and may be one that was told.
            let isTold = wereGone && lastToldEnd(of: call) >= listTimes[Int(legs[slot].pbx)]
            if !isTold { calls[call].record.flags.insert(.estimatedEnd) }
            callEnded(calls[call].key)
        }
    }

    /// When the last leg of a call ended of those whose end was told; long ago when it was of none.
    private func lastToldEnd(of call: Int) -> PBXTime {
        var slots: [UInt32] = []
        gather(call, &slots)
        var last = PBXTime(Timestamp(microseconds: .min))
        for slot in slots where !legs[Int(slot)].flags.contains(.endEstimated) {
            if legs[Int(slot)].endedAt.isKnown { last = max(last, legs[Int(slot)].endedAt) }
        }
        return last
    }

    // MARK: What a list told too much

    /// A channel of which nothing was told but that a list had it.
    struct Unconfirmed {
        var stamp: UInt32
        /// Until when nothing had been missed before the first of these lists.
        var lastSeenAt: PBXTime
    }

    mutating func noteUnconfirmed(_ slot: Int) {
        let pbx = Int(legs[slot].pbx)
        if let known = unconfirmed[UInt32(slot)], known.stamp == legs[slot].stamp { return }
        unconfirmed[UInt32(slot)] = Unconfirmed(
            stamp: legs[slot].stamp, lastSeenAt: pbx < lastSeenTimes.count ? lastSeenTimes[pbx] : .none)
    }

    /// Whether channels are open of which nothing was heard but that the last list had them.
    public func hasUnconfirmed(pbx: UInt16) -> Bool {
        unconfirmed.contains { isUnconfirmed($0.key, $0.value) && legs[Int($0.key)].pbx == pbx }
    }

    private func isUnconfirmed(_ slot: UInt32, _ entry: Unconfirmed) -> Bool {
        legs[Int(slot)].stamp == entry.stamp && legs[Int(slot)].isOpen
    }

    /// Which of them a later list lacks.
    ///
    /// A list may have a channel whose end was told just before we were subscribed: of it nothing will come any more. The end of
    /// one that was there may be on its way, so the rest is ended only if nothing came for a while; see `endUnconfirmed`.
    ///
    /// - Parameter listed: The ids of the channels that are there, as the PBX writes them.
    public func unconfirmed(pbx: UInt16, without listed: [[UInt8]]) -> [ChannelKey] {
        let there = Set(listed.map { key(ofChannel: $0, pbx).hash })
        return unconfirmed.compactMap { slot, entry in
            guard isUnconfirmed(slot, entry), legs[Int(slot)].pbx == pbx,
                !there.contains(legs[Int(slot)].key.hash)
            else { return nil }
            return legs[Int(slot)].key
        }
    }

    /// Closes those of `channels` of which still nothing was heard; of the others it is known now that they are there.
    ///
    /// They ended before the list that had them, so their end is put where nothing had been missed before it.
    ///
    /// - Parameter time: The PBX's time, for those that the first list of all had.
    public mutating func endUnconfirmed(
        _ channels: [ChannelKey], pbx: UInt16, at time: Timestamp, updatedAt: Timestamp, now: UInt64,
        callEnded: (CallKey) -> Void
    ) {
        let stale = channels.compactMap { key in
            findLeg(key, pbx).flatMap { slot in
                unconfirmed[UInt32(slot)].map { isUnconfirmed(UInt32(slot), $0) } ?? false ? slot : nil
            }
        }
        let moment = Moment(time: PBXTime(time), receivedAt: updatedAt, now: now)
        end(stale, moment, wereGone: true, callEnded)
        unconfirmed = unconfirmed.filter { legs[Int($0.key)].pbx != pbx }
    }

    /// Ends a call of which no channel is known any more, such as one of an earlier run.
    ///
    /// - Parameters:
    ///   - time: The PBX's time of the last moment at which it was known to live.
    ///   - updatedAt: Our time.
    /// - Returns: Whether it had not ended.
    public mutating func endUnseen(
        _ key: CallKey, pbx: UInt16, at time: Timestamp, updatedAt: Timestamp, now: UInt64
    ) -> Bool {
        guard let call = findCall(key, pbx), calls[call].record.status != .finished,
            calls[call].totalOpen == 0
        else { return false }
        calls[call].record.flags.insert(.estimatedEnd)
        finish(call, at: Moment(time: PBXTime(time), receivedAt: updatedAt, now: now))
        return true
    }

    /// What an earlier run had seen of the calls taken over was played: those whose legs are known again are like any other.
    public mutating func endReplay() {
        var known: [Int] = []
        calls.forEachSlot { call in
            let isTakenOver = calls[call].isAdopted || adopted[UInt32(call)] != nil
            if isTakenOver, calls[call].legCount > 0 { known.append(call) }
        }
        for call in known {
            calls[call].isAdopted = false
            // Whom it met in a room are other calls, which may have ended, so that nothing of them was played.
            let hasMet = adopted[UInt32(call)]?.rule == .conference
            adopted[UInt32(call)]?.talkStartedAt = nil
            if !hasMet { adopted[UInt32(call)] = nil }
        }
    }

    /// Takes over a call that an earlier run left open, as its row says, so that what the PBX tells of it goes on in
    /// the same row.
    ///
    /// The call stays open until an event or a comparison with the PBX says otherwise.
    ///
    /// - Parameters:
    ///   - record: The row; not ended.
    ///   - key: Of the whole call id.
    ///   - longTexts: Texts that the record has only in part.
    ///   - facts: What the earlier run had derived; it stands as long as nothing is known of the legs.
    ///   - isRegistered: The CRM knows the call.
    /// - Returns: `false` when the call is known already, or there is no room.
    public mutating func adopt(
        _ record: CallRecord, key: CallKey, longTexts texts: LongTexts?, facts: CallFacts? = nil,
        isRegistered: Bool
    ) -> Bool {
        guard findCall(key, record.pbx) == nil, record.status == .ringing || record.status == .answered,
            calls.count < registry.capacity
        else { return false }
        let hash = mixed(key.hash, record.pbx)
        var state = CallState(
            record: record, key: key, hash: hash, stamp: stamp(), startedAt: PBXTime(record.startedAt))
        state.record.writer = writerOfNewCalls
        state.isRegistered = isRegistered
        state.upAt = record.answeredAt.map { PBXTime($0) } ?? .none
        state.wasAnswered = record.status == .answered
        state.hasCaller = true
        uncompared.insert(record.pbx)
        // The earlier run has seen what is better than a list.
        state.isAdopted = !record.callerNumber.isEmpty
        // What happened between that run and this one nobody saw.
        state.record.flags.insert(.partial)
        let call = calls.insert(hash, state)
        if let texts { longTexts[UInt32(call)] = texts }
        if let facts, facts.talkStartedAt != nil || facts.rule == .conference {
            adopted[UInt32(call)] = facts
        }
        counters.started += 1
        touch(call)
        return true
    }
}
