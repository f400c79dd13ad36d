import Protocols

/// The calls' states, what the CRM is told, and what the store gets.
extension CallGraph {
    /// Holds the times of a record against each other: the PBX's clock may run backwards between legs.
    mutating func refreshTimes(_ call: Int) {
        let started = calls[call].startedAt.timestamp ?? calls[call].record.startedAt
        calls[call].record.startedAt = started
        calls[call].record.answeredAt = calls[call].upAt.timestamp.map { max($0, started) }
        if let ended = calls[call].record.endedAt {
            calls[call].record.endedAt = max(ended, calls[call].record.answeredAt ?? started)
        }
    }

    /// Ends a call, or ends it again after a channel of it came back; what the end was is made of it at the end of the tick.
    mutating func finish(_ call: Int, at moment: Moment) {
        let earliest = calls[call].record.answeredAt ?? calls[call].record.startedAt
        let now = moment.time.timestamp ?? moment.receivedAt
        // Of a call that became part of another this stays; else the last leg's end is put here when its legs are looked at.
        calls[call].record.endedAt = max(now, earliest)
        calls[call].record.status = .finished
        calls[call].needsSave = true
        calls[call].isEnding = true
        calls[call].forgetAt = moment.now &+ Self.linger
        calls[call].record.updatedAt = moment.receivedAt
        touch(call)
        if !calls[call].isMerged {
            forgetLater(slot: UInt32(call), stamp: calls[call].stamp, isCall: true, moment.now)
        }
        guard !calls[call].wasFinished else { return }
        calls[call].wasFinished = true
        counters.finished += 1
    }

    /// Tells the CRM of the call as soon as it is known whose call it is: direction and customer's number.
    ///
    /// Of a call whose begin was not seen the numbers may be those of a telephone, until its other leg was heard: it is told at
    /// its end. Others at the end at the latest, except a call that became part of another before it was registered, and a leg that an
    /// application originated and nobody joined.
    mutating func register(_ call: Int, isLast: Bool, _ actions: inout [CRMAction]) {
        guard !calls[call].isRegistered, !isOnlyDialed(call) || isAskedFor(call) else { return }
        if isLast {
            guard !calls[call].record.flags.contains(.merged) else { return }
        } else {
            guard !calls[call].record.flags.contains(.partial) else { return }
            switch calls[call].record.direction {
            case .unknown: return
            case .inbound: guard !calls[call].record.callerNumber.isEmpty else { return }
            case .outbound: guard !calls[call].record.calleeNumber.isEmpty else { return }
            }
        }
        calls[call].isRegistered = true
        actions.append(.register(crmCall(call, isEnd: false)))
    }

    /// A telephone that an application called, as yet no customer's call.
    private func isOnlyDialed(_ call: Int) -> Bool {
        guard !calls[call].hasCaller, let root = leg(calls[call].root) else { return false }
        if legs[root].isDialed { return true }
        guard legs[root].flags.contains(.secondHalf), let partner = leg(legs[root].partner) else {
            return false
        }
        return legs[partner].flags.contains(.originated)
    }

    /// Whether the CRM knows the call already, since it asked for it: it is told of its end whatever becomes of it.
    private func isAskedFor(_ call: Int) -> Bool {
        // By bytes: a search in texts allocates, and every call that is only dialed asks.
        let mark = CRMCall.askedForMark.utf8
        return calls[call].record.callID.withUnsafeBytes { id in
            id.count >= mark.count
                && (0...(id.count - mark.count)).contains { id[$0..<($0 + mark.count)].elementsEqual(mark) }
        }
    }

    /// The call as the CRM is told of it; at its end with what its legs told, which lies in `details`.
    func crmCall(_ call: Int, isEnd: Bool) -> CRMCall {
        let record = calls[call].record
        let long = record.flags.contains(.longTexts) ? longTexts[UInt32(call)] : nil
        var told = CRMCall(
            callID: long?.callID ?? record.callID.string, direction: record.direction,
            callerNumber: record.callerNumber.isEmpty
                ? nil : long?.callerNumber ?? record.callerNumber.string,
            calleeNumber: record.calleeNumber.isEmpty
                ? nil : long?.calleeNumber ?? record.calleeNumber.string,
            startedAt: record.startedAt, answeredAt: record.answeredAt, endedAt: record.endedAt,
            outcome: record.outcome, hangupCause: record.hangupCause)
        told.pbx = record.pbx
        told.writer = record.writer
        if isEnd {
            told.take(details.facts)
            told.take(details)
        }
        return told
    }

    // MARK: Draining

    /// Publishes what changed and hands changed rows to the store, each once; tells the CRM of ends.
    ///
    /// Call it at the end of a tick. `CallDetails` are given when a call ends, and when its first conversation begins; they
    /// are borrowed for the call of `save`.
    public mutating func drain(
        actions: inout [CRMAction],
        _ save: (borrowing CallRecord, LongTexts?, borrowing CallDetails?) -> Void
    ) {
        for index in touched.indices {
            let call = Int(touched[index])
            let isEnding = calls[call].isEnding && calls[call].record.status == .finished
            let hasDetails = isEnding || calls[call].needsDetails
            if hasDetails {
                calls[call].isEnding = false
                derive(call)
                // Only now: looking at the legs notes the answer anew.
                calls[call].needsDetails = false
                details.isRepeated = calls[call].hasGivenEnd
                if calls[call].record.status == .finished { calls[call].hasGivenEnd = true }
            }
            if isEnding { end(call, &actions) } else { tellTelephones(call, &actions) }
            // Only now: looking at the legs may have touched it again.
            calls[call].isTouched = false
            let isNew = !calls[call].isPublished
            calls[call].isPublished = true
            registry.publish(
                calls[call].record, slot: call, hash: calls[call].keyHash, isNew: isNew)
            if calls[call].needsSave {
                calls[call].needsSave = false
                save(
                    calls[call].record, longTexts.isEmpty ? nil : longTexts[UInt32(call)],
                    hasDetails ? details : nil)
            }
        }
        touched.removeAll(keepingCapacity: true)
    }

    /// Takes what the legs say of the end into the record, and tells the CRM, once.
    private mutating func end(_ call: Int, _ actions: inout [CRMAction]) {
        calls[call].record.outcome = details.facts.outcome
        calls[call].record.hangupCause = details.facts.cause
        register(call, isLast: true, &actions)
        guard calls[call].isRegistered, !calls[call].finishIsTold else { return }
        calls[call].finishIsTold = true
        actions.append(.finish(crmCall(call, isEnd: true)))
    }

    // MARK: Ends without proof

    /// A call this young, in microseconds of the PBX's clock, may have a channel that was not told of yet.
    ///
    /// Events of different legs change places within milliseconds.
    static let settling: Int64 = 1_000_000
    /// How long such a call is waited with, in nanoseconds.
    static let settlingPatience: UInt64 = 1_000_000_000
    /// How long a call that lived through a gap is waited with, when the PBX does not tell what runs.
    static let gapPatience: UInt64 = 60_000_000_000

    /// How long to wait with the end of a call whose last known channel is gone, in nanoseconds; `nil`: it is over.
    func patience(with call: Int, _ moment: Moment) -> UInt64? {
        // It was over already; a channel came back, and is gone again.
        guard calls[call].record.status != .finished else { return nil }
        if calls[call].record.flags.contains(.partial), uncompared.contains(calls[call].record.pbx) {
            return Self.gapPatience
        }
        let isYoung = moment.time.microseconds(since: calls[call].startedAt) < Self.settling
        return isYoung && !calls[call].hasNamed ? Self.settlingPatience : nil
    }

    /// Ends the calls that stayed without channels.
    ///
    /// - Parameter pbx: One that told what runs: its calls are waited with no longer.
    mutating func endUnproven(_ now: UInt64, comparedWith pbx: UInt16? = nil) {
        var kept = 0
        for place in unproven.indices {
            let entry = unproven[place]
            let call = Int(entry.call)
            guard calls[call].stamp == entry.stamp, calls[call].totalOpen == 0, !calls[call].isMerged,
                calls[call].record.status != .finished
            else { continue }
            guard entry.until <= now || calls[call].record.pbx == pbx else {
                unproven[kept] = entry
                kept += 1
                continue
            }
            var moment = entry.moment
            moment.now = now
            finish(call, at: moment)
        }
        unproven.removeLast(unproven.count - kept)
    }

    // MARK: Forgetting

    mutating func forgetLater<Number: BinaryInteger>(slot: Number, stamp: UInt32, isCall: Bool, _ now: UInt64)
    {
        ended.append(
            Deadline(at: now &+ Self.linger, slot: UInt32(slot), stamp: stamp, isCall: isCall))
    }

    /// Forgets what ended more than `linger` ago; O(1) amortised.
    ///
    /// Call it about once a second, after `drain`.
    public mutating func sweep(now: UInt64) {
        endUnproven(now)
        while endedHead < ended.count, ended[endedHead].at <= now {
            let deadline = ended[endedHead]
            let slot = Int(deadline.slot)
            if deadline.isCall {
                if calls[slot].stamp == deadline.stamp, calls[slot].isTouched { break }
                endedHead += 1
                // It may have been opened again, or have become part of another since.
                if calls[slot].stamp == deadline.stamp, calls[slot].totalOpen == 0, !calls[slot].isMerged,
                    calls[slot].forgetAt <= now
                {
                    forgetCall(slot)
                }
            } else {
                endedHead += 1
                if legs[slot].stamp == deadline.stamp, !legs[slot].isOpen { forgetLeg(slot) }
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

    private mutating func forgetCall(_ call: Int) {
        // First those that became part of it, innermost first; they have no other way to go.
        var merged = calls[call].firstMerged
        while merged != Self.none {
            let next = calls[Int(merged)].nextMerged
            forgetCall(Int(merged))
            merged = next
        }
        while calls[call].firstLeg != Self.none { forgetLeg(Int(calls[call].firstLeg)) }
        if calls[call].isPublished { registry.retire(slot: call, hash: calls[call].keyHash) }
        longTexts[UInt32(call)] = nil
        if !adopted.isEmpty { adopted[UInt32(call)] = nil }
        calls[call].stamp = 0
        calls.remove(calls[call].hash, slot: call)
    }

    private mutating func forgetLeg(_ slot: Int) {
        leaveBridge(slot, legs[slot].endedAt)
        if legs[slot].home != Self.none { leave(slot) }
        let stemHash = legs[slot].stemHash
        if stemHash != 0, let stem = stems.find(stemHash, where: { $0.pointee.hash == stemHash }) {
            let me = reference(to: slot)
            if stems[stem].first == me { stems[stem].first = .none }
            if stems[stem].second == me { stems[stem].second = .none }
            if leg(stems[stem].first) == nil, leg(stems[stem].second) == nil {
                stems.remove(stemHash, slot: stem)
            }
        }
        if !legTexts.isEmpty { legTexts[legs[slot].stamp] = nil }
        marks.removeAll(of: &legs[slot])
        legs[slot].stamp = 0
        legs.remove(legs[slot].hash, slot: slot)
    }
}
