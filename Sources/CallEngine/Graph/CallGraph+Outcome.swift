/// How legs and calls ended (SIP code before Q.850 cause before dial status, since Asterisk folds the finer into the coarser).
extension CallGraph {
    /// What a SIP code says of one attempt (RFC 3261 §21); `nil`: nothing.
    static func result(sipCode code: UInt16) -> LegResult? {
        switch code {
        case 300...399: .forwarded
        case 403, 603: .rejected
        case 404, 410, 484, 604: .numberInvalid
        case 408, 480: .noAnswer
        case 486, 600: .busy
        case 487: .cancelled
        case 488, 606, 400...499: .failed
        case 500...599: .congestion
        default: nil
        }
    }

    /// What a Q.850 cause says of one attempt; `nil`: nothing.
    static func result(cause: UInt16) -> LegResult? {
        switch cause {
        case 17: .busy
        case 21: .rejected
        case 1, 22, 28: .numberInvalid
        case 3, 20, 27: .unavailable
        case 34, 38, 41, 42: .congestion
        case 18, 19: .noAnswer
        case 26: .answeredElsewhere
        case 58, 88, 102, 127: .failed
        default: nil
        }
    }

    /// What became of one leg.
    func result(of slot: Int, _ sight: Sight) -> LegResult { judge(slot, sight).result }

    /// What became of one leg, and what tells it.
    func judge(_ slot: Int, _ sight: Sight) -> (result: LegResult, evidence: LegEvidence) {
        let leg = legs[slot]
        if leg.flags.contains(.forwarded) { return (.forwarded, .forwarded) }
        if leg.upAt.isKnown { return (.answered, .up) }
        if leg.dialStatus == .answer { return (.answered, .dialStatus) }
        guard leg.isDialed, !leg.isOpen || leg.dialStatus != .none else { return (.none, .none) }
        // Asterisk says 26 also of telephones that stop ringing because the caller left.
        if leg.cause == 26 {
            return sight.answer.isKnown && !isLaterThanAnswer(leg, sight)
                ? (.answeredElsewhere, .cause) : (.cancelled, .cause)
        }
        switch leg.dialStatus {
        case .busy: return (.busy, .dialStatus)
        case .declined: return (.rejected, .dialStatus)
        case .cancel:
            // Whoever dialled gave this one up: because another answered, or because the caller left.
            let answered =
                sight.answer.isKnown && sight.answer >= leg.startedAt && !isLaterThanAnswer(leg, sight)
            return (answered ? .answeredElsewhere : .cancelled, .dialStatus)
        case .noAnswer, .congestion, .unavailable, .none, .answer: break
        }
        if let told = Self.result(sipCode: leg.sipCode) { return (told, .sipCode) }
        if let told = Self.result(cause: leg.cause) {
            return told == .unavailable && leg.dialStatus == .noAnswer
                ? (.noAnswer, .dialStatus) : (told, .cause)
        }
        switch leg.dialStatus {
        case .noAnswer: return (.noAnswer, .dialStatus)
        case .congestion: return (.congestion, .dialStatus)
        case .unavailable: return (.unavailable, .dialStatus)
        // An application called it, and let it ring out without a word.
        case .none where leg.flags.contains(.originated) && !leg.flags.contains(.hangupRequested):
            return (.noAnswer, .time)
        default:
            return sight.answer.isKnown && !isLaterThanAnswer(leg, sight)
                ? (.answeredElsewhere, .time) : (.cancelled, .time)
        }
    }

    private func isLaterThanAnswer(_ leg: Leg, _ sight: Sight) -> Bool {
        leg.dialedAt.isKnown && sight.answer.isKnown && leg.dialedAt > sight.answer
    }

    // MARK: The call

    /// Who ended it: the first of those who were in it last to ask for the end.
    private func whoHungUp(_ sight: Sight) -> (by: HungUpBy, wasAsked: Bool) {
        var best: (time: PBXTime, isSoft: Bool, isCaller: Bool)?
        func consider(_ slot: Int?, isCaller: Bool) {
            guard let slot, legs[slot].hangupAt.isKnown else { return }
            let found = (time: legs[slot].hangupAt, isSoft: legs[slot].hangupWasSoft, isCaller: isCaller)
            guard let known = best else { return best = found }
            // In one millisecond the other side's hang-up, a hard one, is what the soft ones follow.
            if found.time < known.time || (found.time == known.time && !found.isSoft && known.isSoft) {
                best = found
            }
        }
        // The caller is out of it only after having handed the call on; who went on talking among themselves is no matter.
        let callerIsIn = sight.lastPerson.map { person in
            !legs[sight.root].flags.contains(.transferer) || !legs[sight.root].endedAt.isKnown
                || legs[sight.root].lastTalkEndedAt >= legs[person].lastTalkEndedAt
                || legs[sight.root].endedAt >= legs[person].lastTalkEndedAt
        }
        if sight.answer.isKnown, let person = sight.lastPerson {
            consider(person, isCaller: false)
            consider(legs[person].isLocalHalf ? leg(legs[person].partner) : nil, isCaller: false)
        }
        if callerIsIn ?? true {
            consider(sight.root, isCaller: true)
            consider(legs[sight.root].isLocalHalf ? leg(legs[sight.root].partner) : nil, isCaller: true)
        }
        if let best { return (best.isSoft ? .system : (best.isCaller ? .caller : .callee), true) }
        if sight.answer.isKnown, let person = sight.lastPerson,
            legs[person].endedAt < legs[sight.root].endedAt
        {
            return (.callee, false)
        }
        return (legs[sight.root].endedAt.isKnown ? .caller : .nobody, false)
    }

    /// Chooses outcome and rule; the first rule that holds decides (`OutcomeRule`).
    func decide(_ made: inout CallDetails, _ sight: Sight) {
        let (hungUpBy, wasAsked) = whoHungUp(sight)
        made.facts.hungUpBy = hungUpBy
        takeCause(&made, sight)
        let record = calls[sight.call].record
        let root = legs[sight.root]
        let early: CallOutcome = record.direction == .outbound ? .cancelled : .abandoned
        func choose(_ outcome: CallOutcome, _ rule: OutcomeRule) {
            made.facts.outcome = outcome
            made.facts.rule = rule
        }
        if sight.answer.isKnown { return choose(.answered, .talk) }
        if sight.hasConference, root.flags.contains(.inConference) { return choose(.answered, .conference) }
        if record.flags.contains(.estimatedEnd) {
            // An answer by a machine proves no conversation.
            made.facts.hungUpBy = .nobody
            return choose(.lost, .unseenEnd)
        }
        let acts = made.slots.reduce(UInt32(0)) { $0 | legs[Int($1)].acts }
        if acts & LegAct.voicemail.bit != 0 { return choose(.voicemail, .voicemail) }
        if let queue = made.segments.last(where: { $0.kind == .queue }) {
            let later = made.segments.contains { $0.kind == .ring && $0.startedAt >= queue.endedAt }
            if !later {
                let inQueue =
                    hungUpBy == .caller && (root.hangupAt.isKnown || !wasAsked) && endsIn(queue, sight)
                return inQueue ? choose(.abandoned, .leftQueue) : choose(.noAnswer, .queueEnded)
            }
        }
        if decideByAttempts(&made, sight, hungUpBy, early) { return }
        if root.upAt.isKnown { return choose(.ivrOnly, .noDial) }
        if let telephone = onlyTelephone(sight) {
            if let outcome = result(of: telephone, sight).outcome { return choose(outcome, .attempts) }
            return choose(.failed, .nothingTold)
        }
        let (outcome, rule) = outcomeByCause(made.facts, hungUpBy, early)
        choose(outcome, rule)
    }

    /// The telephone of a call that an application made and nobody joined; `nil` when it is another kind of call.
    private func onlyTelephone(_ sight: Sight) -> Int? {
        guard !calls[sight.call].hasCaller else { return nil }
        if legs[sight.root].flags.contains(.originated) { return sight.root }
        guard let partner = leg(legs[sight.root].partner), legs[partner].flags.contains(.originated) else {
            return nil
        }
        return partner
    }

    /// Whether the caller was still in this queue when the call ended.
    private func endsIn(_ queue: CallSegment, _ sight: Sight) -> Bool {
        let left = legs[sight.root].hangupAt.isKnown ? legs[sight.root].hangupAt : legs[sight.root].endedAt
        return (left.timestamp ?? queue.endedAt) <= queue.endedAt
    }

    /// By the best result among the telephones called last.
    private func decideByAttempts(
        _ made: inout CallDetails, _ sight: Sight, _ hungUpBy: HungUpBy, _ early: CallOutcome
    ) -> Bool {
        guard let group = made.segments.last(where: { !$0.attempts.isEmpty }) else { return false }
        var best = LegResult.none
        var wasCancelled = false
        for index in group.attempts {
            let leg = made.legs[Int(made.attempts[Int(index)])]
            if leg.result == .cancelled { wasCancelled = true }
            guard leg.result.outcome != nil else { continue }
            if best == .none || leg.result.rawValue < best.rawValue {
                best = leg.result
                if leg.sipCode != 0 { made.facts.sipCode = leg.sipCode }
            }
        }
        if wasCancelled {
            made.facts.outcome = early
            made.facts.rule = .callerLeft
            return true
        }
        // Asterisk folds almost every cause into NOANSWER; where the attempts tell no more, the caller's own end may.
        if best == .noAnswer, !hasCause(made, group),
            let finer = Self.result(cause: legs[sight.root].cause), let outcome = finer.outcome,
            finer != .unavailable
        {
            made.facts.outcome = outcome
            made.facts.rule = outcome == .noAnswer ? .attempts : .cause
            return true
        }
        guard let outcome = best.outcome else { return false }
        made.facts.outcome = outcome
        made.facts.rule = .attempts
        return true
    }

    private func hasCause(_ made: CallDetails, _ group: CallSegment) -> Bool {
        group.attempts.contains { index in
            let leg = made.legs[Int(made.attempts[Int(index)])]
            return leg.sipCode != 0 || Self.result(cause: leg.cause) != nil
        }
    }

    private func outcomeByCause(
        _ facts: CallFacts, _ hungUpBy: HungUpBy, _ early: CallOutcome
    ) -> (CallOutcome, OutcomeRule) {
        // The caller left: 19 is then only what Asterisk 22 makes of it, no telephone's answer.
        if hungUpBy == .caller, [0, 16, 18, 19].contains(facts.cause) { return (early, .whoHungUp) }
        // Of the caller's own channel the SIP code is only what Asterisk made of the cause.
        if let outcome = Self.result(cause: facts.cause)?.outcome { return (outcome, .cause) }
        if let outcome = Self.result(sipCode: facts.sipCode)?.outcome { return (outcome, .sipCode) }
        switch hungUpBy {
        case .caller: return (early, .whoHungUp)
        case .system: return (early == .cancelled ? .failed : .noAnswer, .systemEnded)
        case .callee, .nobody:
            return facts.cause == 16 || facts.cause == 26 ? (early, .whoHungUp) : (.failed, .nothingTold)
        }
    }

    /// The cause that tells most of the end: the caller's own, else that of whom the call was with or tried last.
    private func takeCause(_ made: inout CallDetails, _ sight: Sight) {
        made.facts.cause = legs[sight.root].cause
        made.facts.sipCode = legs[sight.root].sipCode
        var source = sight.lastPerson
        if source == nil, let group = made.segments.last(where: { !$0.attempts.isEmpty }) {
            source = Int(made.slots[Int(made.attempts[Int(group.attempts.upperBound) - 1])])
        }
        if let source {
            if made.facts.sipCode == 0, !sight.answer.isKnown { made.facts.sipCode = legs[source].sipCode }
            if made.facts.cause == 0 { made.facts.cause = legs[source].cause }
        }
        if made.facts.cause == 0 {
            for slot in made.slots where legs[Int(slot)].cause != 0 {
                made.facts.cause = legs[Int(slot)].cause
                return
            }
        }
    }
}
