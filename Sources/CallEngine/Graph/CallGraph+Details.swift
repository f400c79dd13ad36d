import Protocols

/// What a call has come to, made from its legs.
///
/// O(legs), sorted; done when a call ends and when its first conversation begins, never per event.
extension CallGraph {
    /// What the steps of the derivation know of the call.
    struct Sight {
        var call: Int
        var root: Int
        var isOver: Bool
        var end: PBXTime
        var answer = PBXTime.none
        var answered: Int?
        /// The person the last conversation was with.
        var lastPerson: Int?
        var hasConference = false
        /// First hand-over to another person.
        var transferAt = PBXTime.none
    }

    /// Fills `details` with what the legs of `call` say.
    mutating func derive(_ call: Int) {
        var made = CallDetails()
        swap(&made, &details)
        made.removeAll()
        defer { swap(&made, &details) }
        made.facts.isIncomplete = calls[call].isIncomplete
        if calls[call].isMerged {
            made.facts.outcome = .merged
            made.facts.rule = .merged
            made.facts.mergedInto = calls[survivor(of: call)].record.callID
            return
        }
        chooseRoot(call)
        gather(call, &made.slots)
        steps += made.slots.count
        guard let root = leg(calls[call].root), !made.slots.isEmpty else {
            // A call of an earlier run, of which nothing came any more.
            let isIncomplete = made.facts.isIncomplete
            if let known = adopted[UInt32(call)] { made.facts = known }
            made.facts.isIncomplete = isIncomplete
            guard calls[call].record.status == .finished else { return }
            let hasTalked = made.facts.talkStartedAt != nil
            let hasMet = made.facts.rule == .conference
            made.facts.outcome = hasTalked || hasMet ? .answered : .lost
            made.facts.rule = hasTalked ? .talk : hasMet ? .conference : .unseenEnd
            return
        }
        sort(&made.slots)
        var sight = Sight(
            call: call, root: root, isOver: calls[call].record.status == .finished,
            end: PBXTime(calls[call].record.endedAt ?? calls[call].record.updatedAt))
        findEnd(&sight, made.slots)
        findAnswer(&sight, made.slots)
        for slot in made.slots { made.legs.append(record(of: Int(slot), sight, made.slots)) }
        times(&made, sight)
        segments(&made, sight)
        if sight.isOver {
            decide(&made, sight)
        } else if sight.hasConference, legs[root].flags.contains(.inConference) {
            made.facts.rule = .conference
        }
    }

    /// The legs of a call and of those that became part of it.
    func gather(_ call: Int, _ slots: inout [UInt32]) {
        var next = calls[call].firstLeg
        while next != Self.none {
            slots.append(next)
            next = legs[Int(next)].nextInCall
        }
        var merged = calls[call].firstMerged
        while merged != Self.none {
            gather(Int(merged), &slots)
            merged = calls[Int(merged)].nextMerged
        }
    }

    /// By first sign, then by id: the same for every reader.
    private func sort(_ slots: inout [UInt32]) {
        slots.sort { left, right in
            let (one, other) = (Int(left), Int(right))
            if legs[one].startedAt != legs[other].startedAt {
                return legs[one].startedAt < legs[other].startedAt
            }
            return isBefore(legs[one].key, legs[other].key)
        }
    }

    private mutating func findEnd(_ sight: inout Sight, _ slots: [UInt32]) {
        guard sight.isOver else { return }
        var last = PBXTime.none
        for slot in slots { last = PBXTime.latest(last, legs[Int(slot)].endedAt) }
        guard let ended = last.timestamp else { return }
        let record = calls[sight.call].record
        let earliest = record.answeredAt ?? record.startedAt
        calls[sight.call].record.endedAt = max(ended, earliest)
        sight.end = PBXTime(max(ended, earliest))
    }

    private mutating func findAnswer(_ sight: inout Sight, _ slots: [UInt32]) {
        calls[sight.call].talkStartedAt = .none
        calls[sight.call].answeredBy = .none
        for entry in slots {
            let slot = Int(entry)
            guard legs[slot].firstTalkAt.isKnown else { continue }
            if legs[slot].flags.contains(.inConference) { sight.hasConference = true }
            guard let partner = leg(legs[slot].firstTalkPartner) else { continue }
            if let found = answer(of: sight.call, slot, partner, isFinal: sight.isOver) {
                note(answer: found, of: sight.call)
            }
        }
        if let known = adopted[UInt32(sight.call)] {
            if let talk = known.talkStartedAt {
                calls[sight.call].talkStartedAt = min(calls[sight.call].talkStartedAt, PBXTime(talk))
            }
            if known.rule == .conference {
                sight.hasConference = true
                legs[sight.root].flags.insert(.inConference)
            }
        }
        sight.answer = calls[sight.call].talkStartedAt
        sight.answered = leg(calls[sight.call].answeredBy)
        for entry in slots {
            let slot = Int(entry)
            var place = legs[slot].firstMark
            while place != Self.none {
                let mark = marks[place]
                place = mark.next
                switch mark.act {
                case .blindTransfer, .attendedTransfer, .referTransfer:
                    sight.transferAt = min(sight.transferAt, mark.time)
                default: break
                }
            }
        }
        var latest = PBXTime.none
        for entry in slots {
            let slot = Int(entry)
            guard legs[slot].firstTalkAt.isKnown, !isCallerLine(slot, sight.root),
                !isTechnical(slot, sight, slots)
            else { continue }
            let end = legs[slot].isActive ? sight.end : legs[slot].lastTalkEndedAt
            if !latest.isKnown || (end.isKnown && end > latest) {
                latest = end
                sight.lastPerson = slot
            }
        }
    }

    /// Whether nobody speaks at this channel: a half of a Local channel that leads on to another leg, or to a machine.
    func isTechnical(_ slot: Int, _ sight: Sight, _ slots: [UInt32]) -> Bool {
        guard legs[slot].isLocalHalf, slot != sight.root else { return false }
        if isCallerLine(slot, sight.root) || legs[slot].flags.contains(.secondHalf) { return true }
        guard let partner = leg(legs[slot].partner) else { return false }
        if legs[partner].acts & LegAct.machines != 0 { return true }
        return farEnd(slot, sight.root).slot != slot
    }

    // MARK: Legs

    private func record(of slot: Int, _ sight: Sight, _ slots: [UInt32]) -> LegRecord {
        let leg = legs[slot]
        let isTalking = leg.talkSince.isKnown
        var talk = leg.talk
        if isTalking { talk += sight.end.microseconds(since: leg.talkSince) }
        var record = LegRecord(
            channelID: leg.key.text,
            startedAt: leg.startedAt.timestamp ?? calls[sight.call].record.startedAt)
        record.name = leg.name
        record.number = number(of: slot)
        record.roles = roles(of: slot, sight, slots)
        (record.result, record.evidence) = judge(slot, sight)
        record.pbx = leg.pbx
        if let dialer = findLeg(hash: leg.dialerHash) { record.dialedBy = legs[dialer].key.text }
        record.dialedAt = leg.dialedAt.timestamp
        record.ringingAt = leg.ringingAt.timestamp
        record.answeredAt = leg.upAt.timestamp
        record.talkStartedAt = leg.firstTalkAt.timestamp
        record.endedAt = leg.endedAt.timestamp
        record.talkMicroseconds = talk
        record.holdMicroseconds = min(leg.hold, talk)
        record.cause = leg.cause
        record.sipCode = leg.sipCode
        record.isEndEstimated = leg.flags.contains(.endEstimated)
        if leg.home != Self.none, Int(leg.home) != sight.call {
            record.cameFrom = calls[Int(leg.home)].record.callID
        }
        return record
    }

    /// What was dialled to reach it, else its endpoint if it was dialled, else its caller's number.
    func number(of slot: Int) -> InlineText<40> {
        if !legs[slot].number.isEmpty { return legs[slot].number }
        var number = InlineText<40>()
        if !legs[slot].isDialed, !legs[slot].caller.isEmpty {
            legs[slot].caller.withUnsafeBytes { _ = number.assign($0) }
            return number
        }
        // `PJSIP/101-00000007` → 101, `Local/101@office-00000002;1` → 101.
        legs[slot].name.withUnsafeBytes { name in
            guard let slash = name.firstIndex(of: 0x2F) else { return }
            let end = name.firstIndex(of: 0x40) ?? name.lastIndex(of: 0x2D) ?? name.count
            guard end > slash + 1 else { return }
            _ = number.assign(UnsafeRawBufferPointer(rebasing: name[(slash + 1)..<end]))
        }
        return number
    }

    /// Whether somebody was to be reached at this leg.
    ///
    /// The telephone with which an application began the call is its caller's, not one that was called for a caller.
    func isAttempt(_ slot: Int, _ roles: LegRoles, _ sight: Sight) -> Bool {
        let leg = legs[slot]
        guard leg.isDialed, slot != sight.root, !roles.contains(.technical), !leg.isPickup else {
            return false
        }
        return !leg.flags.contains(.originated) || leg.key.hash != calls[sight.call].keyHash
    }

    private func roles(of slot: Int, _ sight: Sight, _ slots: [UInt32]) -> LegRoles {
        let leg = legs[slot]
        var roles: LegRoles = []
        if slot == sight.root {
            roles.insert(leg.flags.contains(.originated) && !leg.isLocalHalf ? .operator_ : .caller)
        } else if isTechnical(slot, sight, slots) {
            roles.insert(.technical)
        } else if slot == sight.answered {
            roles.insert(.callee)
        } else if isTarget(slot, sight) {
            roles.insert(.target)
        } else if leg.isDialed {
            roles.insert(.attempt)
        } else {
            roles.insert(.other)
        }
        if leg.flags.contains(.transferer) { roles.insert(.transferer) }
        if leg.isPickup, leg.firstTalkAt.isKnown { roles.insert(.pickup) }
        return roles
    }

    /// Whether the call was handed on to this leg: an attended transfer names it, else it talked only after one.
    func isTarget(_ slot: Int, _ sight: Sight) -> Bool {
        if legs[slot].flags.contains(.target) || legs[slot].did(.retrieval) { return true }
        guard sight.transferAt.isKnown, legs[slot].firstTalkAt.isKnown else { return false }
        if legs[slot].firstTalkAt >= sight.transferAt { return true }
        // The target named is the near half of a Local channel; this is who is at its far end.
        guard let partner = leg(legs[slot].firstTalkPartner), legs[partner].isLocalHalf,
            let near = leg(legs[partner].partner)
        else { return false }
        return legs[near].flags.contains(.target)
    }

    // MARK: Times

    private func times(_ made: inout CallDetails, _ sight: Sight) {
        let start = calls[sight.call].startedAt
        let isAnswered = sight.answer.isKnown
        let until = isAnswered ? sight.answer : sight.end
        made.facts.talkStartedAt = sight.answer.timestamp
        made.facts.waitMicroseconds = until.microseconds(since: start)
        var ring = PBXTime.none
        var lastEnd = PBXTime.none
        var first: Int?
        var talk: Int64 = 0
        var hold: Int64 = 0
        let callerLeft = legs[sight.root].flags.contains(.transferer)
        for (index, entry) in made.slots.enumerated() {
            let slot = Int(entry)
            let leg = legs[slot]
            let roles = made.legs[index].roles
            // The caller's own talk, unless the caller handed the call on and left.
            let isCaller = isCallerLine(slot, sight.root)
            if isAnswered, isCaller || !roles.contains(.technical) {
                hold += made.legs[index].holdMicroseconds
            }
            if isAnswered, isCaller || (callerLeft && !roles.contains(.technical)) {
                let before = sight.answer.microseconds(since: leg.firstTalkAt)
                talk = max(
                    talk, made.legs[index].talkMicroseconds - min(before, made.legs[index].talkMicroseconds))
            }
            guard isAttempt(slot, roles, sight) else { continue }
            made.facts.attemptCount += 1
            let begin = min(leg.dialedAt, leg.ringingAt)
            if begin < ring {
                ring = begin
                first = slot
            }
            lastEnd = PBXTime.latest(lastEnd, leg.upAt.isKnown ? leg.upAt : leg.endedAt)
        }
        made.facts.holdMicroseconds = min(hold, talk)
        made.facts.talkMicroseconds = talk - made.facts.holdMicroseconds
        made.facts.ringStartedAt = ring.timestamp
        if ring.isKnown {
            let ringEnd = isAnswered ? sight.answer : (lastEnd.isKnown ? lastEnd : sight.end)
            made.facts.ringMicroseconds = ringEnd.microseconds(since: ring)
        }
        if let first, legs[first].dialedAt.isKnown {
            let sign = min(legs[first].ringingAt, min(legs[first].progressAt, legs[first].upAt))
            if sign.isKnown {
                made.facts.postDialDelayMicroseconds = sign.microseconds(since: legs[first].dialedAt)
            }
        }
        if let known = adopted[UInt32(sight.call)], known.talkStartedAt != nil {
            made.facts.answeredBy = known.answeredBy
        } else if let answered = sight.answered {
            made.facts.answeredBy = number(of: answered)
        }
        if legs[sight.root].flags.contains(.originated), !legs[sight.root].isLocalHalf {
            made.facts.operatorNumber = number(of: sight.root)
        }
    }
}
