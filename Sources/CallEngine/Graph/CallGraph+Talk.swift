import Protocols

/// Who hears whom: talking, hold, and the answer.
///
/// A leg is *active* while it is up and in a talking bridge. Two active legs of one bridge talk. Times are those of the
/// later of the two, so they do not depend on whose event came first.
extension CallGraph {
    /// Members of a bridge up to which each one's begin of talking is set right when another becomes active.
    private static let fewMembers: UInt32 = 4

    /// The leg is up and in its bridge now.
    mutating func activate(_ slot: Int, _ time: PBXTime) {
        let bridge = Int(legs[slot].bridge)
        let kind = bridges[bridge].kind
        guard kind == .talking || kind == .conference, !legs[slot].isActive else { return }
        legs[slot].flags.insert(.active)
        legs[slot].activeSince = PBXTime.latest(time, legs[slot].enteredAt)
        bridges[bridge].activeCount += 1
        guard bridges[bridge].activeCount > 1 else { return }
        var next = bridges[bridge].firstMember
        var seen: UInt32 = 0
        // Also of a large room only a few are looked at: those who were there talk already.
        while next != Self.none, seen < Self.fewMembers {
            let other = Int(next)
            steps += 1
            next = legs[other].nextMember
            guard other != slot, legs[other].isActive else { continue }
            seen += 1
            let begin = max(legs[slot].activeSince, legs[other].activeSince)
            talk(slot, other, from: begin, kind)
            talk(other, slot, from: begin, kind)
            meet(slot, other)
        }
    }

    /// The leg hears `other` from `time` on.
    private mutating func talk(_ slot: Int, _ other: Int, from time: PBXTime, _ kind: BridgeKind) {
        if !legs[slot].talkSince.isKnown, legs[slot].holdSince.isKnown { settleHold(slot, time) }
        legs[slot].talkSince = min(legs[slot].talkSince, time)
        guard time < legs[slot].firstTalkAt else { return }
        legs[slot].firstTalkAt = time
        legs[slot].firstTalkPartner = reference(to: other)
        guard kind == .conference, !legs[slot].flags.contains(.inConference) else { return }
        legs[slot].flags.insert(.inConference)
        noteConference(slot)
    }

    /// The leg has met another in a room: a row is to have that, since the events that prove it are of several calls.
    private mutating func noteConference(_ slot: Int) {
        guard legs[slot].home != Self.none else { return }
        let call = survivor(of: Int(legs[slot].home))
        guard calls[call].record.status != .finished else { return }
        calls[call].needsDetails = true
        calls[call].needsSave = true
        touch(call)
    }

    /// The leg leaves its bridge, or is gone.
    mutating func deactivate(_ slot: Int, _ time: PBXTime) {
        guard legs[slot].isActive else { return }
        legs[slot].flags.remove(.active)
        let bridge = Int(legs[slot].bridge)
        bridges[bridge].activeCount -= 1
        endHold(slot, time)
        endTalk(slot, time)
        guard bridges[bridge].activeCount == 1 else { return }
        var next = bridges[bridge].firstMember
        while next != Self.none {
            let other = Int(next)
            steps += 1
            if other != slot, legs[other].isActive { return endTalk(other, time) }
            next = legs[other].nextMember
        }
    }

    /// The conversation is over: the leg left, or the other one did.
    ///
    /// A hold of the leg's own goes on: its end is an event of the leg, which may come behind the other one's leaving.
    private mutating func endTalk(_ slot: Int, _ time: PBXTime) {
        guard legs[slot].talkSince.isKnown else { return }
        let end = max(time, legs[slot].talkSince)
        legs[slot].talk += end.microseconds(since: legs[slot].talkSince)
        legs[slot].lastTalkStartedAt = legs[slot].talkSince
        legs[slot].lastTalkEndedAt = PBXTime.latest(legs[slot].lastTalkEndedAt, end)
        legs[slot].talkSince = .none
    }

    /// The leg is taken off hold, or cannot be on it any more.
    mutating func endHold(_ slot: Int, _ time: PBXTime) {
        guard legs[slot].holdSince.isKnown else { return }
        let held = legs[slot].holdSince
        if legs[slot].talkSince.isKnown {
            legs[slot].hold += time.microseconds(since: max(held, legs[slot].talkSince))
        } else if legs[slot].lastTalkEndedAt.isKnown {
            legs[slot].hold += min(time, legs[slot].lastTalkEndedAt).microseconds(
                since: max(held, legs[slot].lastTalkStartedAt))
        }
        legs[slot].holdSince = .none
    }

    /// Counts what was held of the last conversation before the next one begins, at `time`.
    private mutating func settleHold(_ slot: Int, _ time: PBXTime) {
        guard legs[slot].lastTalkEndedAt.isKnown else { return }
        legs[slot].hold += legs[slot].lastTalkEndedAt.microseconds(
            since: max(legs[slot].holdSince, legs[slot].lastTalkStartedAt))
        legs[slot].holdSince = max(legs[slot].holdSince, time)
    }

    // MARK: The answer

    /// Local channels that a conversation may pass through.
    private static let maximumHops = 8

    /// Looks whether with these two the caller talks with a person, and notes the answer.
    private mutating func meet(_ one: Int, _ other: Int) {
        guard legs[one].home != Self.none else { return }
        let call = survivor(of: Int(legs[one].home))
        guard let found = answer(of: call, one, other, isFinal: false) else { return }
        note(answer: found, of: call)
    }

    mutating func note(answer: (leg: Int, time: PBXTime), of call: Int) {
        let known = calls[call].talkStartedAt
        guard answer.time <= known else { return }
        if answer.time == known, let leg = leg(calls[call].answeredBy),
            !isBefore(legs[answer.leg].key, legs[leg].key)
        {
            return
        }
        if !known.isKnown { calls[call].needsDetails = calls[call].record.status != .finished }
        calls[call].talkStartedAt = answer.time
        calls[call].answeredBy = reference(to: answer.leg)
        calls[call].needsSave = true
        // A caller whose own channel never came up (early media) is answered by the talk.
        if answer.time < calls[call].upAt, calls[call].record.status != .finished {
            calls[call].upAt = answer.time
            if calls[call].record.status == .ringing {
                calls[call].record.status = .answered
                calls[call].wasAnswered = true
                counters.answered += 1
            }
            refreshTimes(call)
        }
        touch(call)
    }

    /// The person that the caller of `call` reaches where these two talk, and since when; `nil` when it is none.
    ///
    /// - Parameter isFinal: The call is over, so what a Local channel's other half did is known to its end; before, a
    ///   conversation that ends in a Local channel may turn out to be one with a machine.
    func answer(of call: Int, _ one: Int, _ other: Int, isFinal: Bool) -> (leg: Int, time: PBXTime)? {
        guard let root = leg(calls[call].root) else { return nil }
        let (first, firstTime) = farEnd(one, root)
        let (second, secondTime) = farEnd(other, root)
        let begin = max(legs[one].activeSinceOrFirst, legs[other].activeSinceOrFirst)
        var time = PBXTime.latest(firstTime, secondTime)
        time = PBXTime.latest(time, isFinal ? legs[one].firstTalkAt : begin)
        let firstIsCaller = isCallerLine(first, root)
        let secondIsCaller = isCallerLine(second, root)
        guard firstIsCaller != secondIsCaller else { return nil }
        let far = firstIsCaller ? second : first
        guard isPerson(far, isFinal: isFinal), !legs[far].flags.contains(.inConference) else { return nil }
        return (far, time)
    }

    /// Whether the leg is the caller's channel, or the other half of it.
    func isCallerLine(_ slot: Int, _ root: Int) -> Bool {
        slot == root || (legs[root].isLocalHalf && leg(legs[root].partner) == slot)
    }

    /// Follows a conversation through Local channels: a half passes on what its other half hears.
    ///
    /// - Returns: The last leg on that side, and when the last of the links on the way began.
    func farEnd(_ start: Int, _ root: Int) -> (slot: Int, time: PBXTime) {
        var slot = start
        var time = PBXTime.none
        for _ in 0..<Self.maximumHops {
            guard legs[slot].isLocalHalf, !isCallerLine(slot, root), let partner = leg(legs[slot].partner),
                legs[partner].firstTalkAt.isKnown, let next = leg(legs[partner].firstTalkPartner)
            else { break }
            time = PBXTime.latest(time, legs[partner].firstTalkAt)
            slot = next
        }
        return (slot, time)
    }

    /// Whether a person is at this end, and not a machine behind a Local channel.
    private func isPerson(_ slot: Int, isFinal: Bool) -> Bool {
        guard legs[slot].isLocalHalf else { return true }
        guard isFinal else { return false }
        guard let partner = leg(legs[slot].partner) else { return true }
        return legs[partner].acts & LegAct.machines == 0
    }
}

extension Leg {
    /// Since when it has been active in its bridge, or first talked in one.
    var activeSinceOrFirst: PBXTime { isActive ? activeSince : firstTalkAt }
}
