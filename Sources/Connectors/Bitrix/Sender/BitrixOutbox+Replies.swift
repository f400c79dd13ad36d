import CallEngine

extension BitrixOutbox {
    /// A full bucket is asked again after at most so long: it drains all the time.
    static let longestBucketHold: Duration = .seconds(15)
    /// How soon the portal is asked again whether its statistics can be read, when it did not answer.
    static let statisticsRepeat: Duration = .seconds(60)

    /// Takes in what came of a request that had one command.
    package mutating func replied(
        to departure: Departure, _ reply: BitrixReply, at now: Duration, effects: inout [Effect]
    ) {
        replied(to: departure, .whole(reply), at: now, effects: &effects)
    }

    /// Takes in what came of a request.
    package mutating func replied(
        to departure: Departure, _ answer: BitrixAnswer, at now: Duration, effects: inout [Effect]
    ) {
        underWay -= 1
        commandsUnderWay -= departure.parts.count
        if departure.lane == .ended { endedUnderWay -= 1 }
        for part in departure.parts { budget(part.command.method) { $0.returned() } }
        let before = breaker.state
        switch answer {
        case .parts(let replies): took(departure, replies, at: now, effects: &effects)
        case .whole(let reply): whole(reply, to: departure, at: now, effects: &effects)
        }
        if breaker.state != before { effects.append(.circuit(breaker.state)) }
    }

    // MARK: - The whole request

    private mutating func whole(
        _ reply: BitrixReply, to departure: Departure, at now: Duration, effects: inout [Effect]
    ) {
        switch reply {
        case .success:
            took(departure, [reply], at: now, effects: &effects)
        case .noAnswer(let mayHaveRun, let reason):
            breaker.failed(at: now, jitter: chance())
            change(.failing(reason: reason), effects: &effects)
            if departure.isBatch, mayHaveRun { batchLimit = max(2, batchLimit / 2) }
            lose(departure, mayHaveRun: mayHaveRun, reason: reason, at: now, effects: &effects)
        case .refusal(let refusal):
            refusedWhole(refusal, departure: departure, at: now, effects: &effects)
        }
    }

    private mutating func refusedWhole(
        _ refusal: BitrixRefusal, departure: Departure, at now: Duration, effects: inout [Effect]
    ) {
        switch refusal.meaning {
        case .tooManyRequests:
            // It lives, and it says that it did nothing.
            breaker.succeeded()
            fullBucketAnswers += 1
            let hold = min(Self.longestBucketHold, delay(afterAttempt: fullBucketAnswers))
            pacer.refused(at: now, holdUntil: now + hold)
            eachCall(of: departure) { outbox, entry, step in
                outbox.notRun(&entry, step, refusal.summary, at: now, effects: &effects)
            }
            forgetProbe(departure, at: now)
        case .serverFailure:
            breaker.failed(at: now, jitter: chance())
            change(.failing(reason: refusal.summary), effects: &effects)
            lose(departure, mayHaveRun: true, reason: refusal.summary, at: now, effects: &effects)
        case .configuration(let problem):
            let step = departure.parts[0].step
            if refusal.isOfMethod, !departure.isBatch, step == .lookup || step == .search || step == .cards {
                took(departure, [.refusal(refusal)], at: now, effects: &effects)
                return
            }
            if refusal.isOfMethod, departure.lane == .errand {
                // Only the statistics, or the list of employees, are closed to us.
                breaker.succeeded()
                if departure.errand == nil { know(statisticsAreReadable: false, effects: &effects) }
                return
            }
            fail(forConfiguration: problem, at: now, effects: &effects)
            eachCall(of: departure) { outbox, entry, step in
                outbox.notRun(&entry, step, problem, at: now, effects: &effects)
            }
            forgetProbe(departure, at: now)
        case .methodBlocked, .userUnknown, .callNotFound, .refused:
            if departure.isBatch {
                fail(
                    forConfiguration: "the portal does not take several commands at once: \(refusal.summary)",
                    at: now, effects: &effects)
                batchLimit = 1
                lose(departure, mayHaveRun: false, reason: refusal.summary, at: now, effects: &effects)
            } else {
                took(departure, [.refusal(refusal)], at: now, effects: &effects)
            }
        }
    }

    /// The portal says that it did nothing of a request; it does not count as an attempt.
    private mutating func notRun(
        _ entry: inout Entry, _ step: Step, _ reason: String, at now: Duration, effects: inout [Effect]
    ) {
        if step == .cards { return goOnAfterCards(&entry, failed: reason, at: now) }
        entry.attempts -= 1
        repeatLater(&entry, step: step, reason: reason, at: now, effects: &effects)
    }

    private mutating func fail(
        forConfiguration problem: String, at now: Duration, effects: inout [Effect]
    ) {
        breaker.failed(at: now, isLasting: true, jitter: chance())
        change(.failing(reason: problem), effects: &effects)
    }

    /// Nothing is known of any of it, or it is known that nothing ran.
    private mutating func lose(
        _ departure: Departure, mayHaveRun: Bool, reason: String, at now: Duration, effects: inout [Effect]
    ) {
        let settled = departure.sentAt + configuration.outcomeSettles
        eachCall(of: departure) { outbox, entry, step in
            var notBefore: Duration?
            if step == .cards {
                return outbox.lostCards(departure, &entry, reason, mayHaveRun: mayHaveRun, at: now)
            }
            if mayHaveRun, step == .register || step == .finish {
                entry.mayHaveRun = true
                if step == .register, departure.hasFinish(of: entry.call.callID) {
                    entry.lookupFrom = settled
                    notBefore = settled
                }
            }
            outbox.repeatLater(
                &entry, step: step, reason: reason, at: now, notBefore: notBefore, effects: &effects)
        }
        forgetProbe(departure, at: now)
    }

    /// A request for a call's cards had no answer.
    private mutating func lostCards(
        _ departure: Departure, _ entry: inout Entry, _ reason: String, mayHaveRun: Bool, at now: Duration
    ) {
        for part in departure.parts where part.callID == entry.call.callID && mayHaveRun {
            tookCards(part.command, .noAnswer(mayHaveRun: true, reason: reason), &entry)
        }
        goOnAfterCards(&entry, failed: reason, at: now)
    }

    /// The question after the statistics had no answer: asked again later.
    private mutating func forgetProbe(_ departure: Departure, at now: Duration) {
        guard departure.lane == .errand, departure.errand == nil, statistics == .asked else { return }
        statistics = .unknown
        statisticsAskedAgainAt = now + Self.statisticsRepeat
    }

    /// Calls `body` with each call of a request and its first step there, and puts it back.
    private mutating func eachCall(
        of departure: Departure, _ body: (inout BitrixOutbox, inout Entry, Step) -> Void
    ) {
        var last = ""
        for part in departure.parts where part.callID != last {
            last = part.callID
            guard var entry = entries[part.callID], entry.place == .underWay else { continue }
            entry.place = .idle
            body(&self, &entry, part.step)
            store(entry)
        }
    }

    private mutating func store(_ taken: Entry) {
        var entry = taken
        noteRows(&entry)
        // With a table the rest of a closed call is read there, should its end come.
        if case .closed = entry.stage, entry.ended != nil || keepsSteps {
            forget(entry.call.callID)
        } else {
            entries[entry.call.callID] = entry
        }
    }

    // MARK: - Each command

    private mutating func took(
        _ departure: Departure, _ replies: [BitrixReply?], at now: Duration, effects: inout [Effect]
    ) {
        breaker.succeeded()
        fullBucketAnswers = 0
        var index = 0
        while index < departure.parts.count {
            let part = departure.parts[index]
            let reply = index < replies.count ? replies[index] : nil
            learn(from: reply, method: part.command.method, at: now)
            index += 1
            if part.step == .errand {
                if departure.errand == nil { probed(reply, at: now, effects: &effects) }
                continue
            }
            // Register and finish of one call stand side by side.
            var finishReply: BitrixReply??
            if index < departure.parts.count, departure.parts[index].callID == part.callID {
                let second = index < replies.count ? replies[index] : nil
                learn(from: second, method: departure.parts[index].command.method, at: now)
                finishReply = second
                index += 1
            }
            guard var entry = entries[part.callID], entry.place == .underWay else { continue }
            entry.place = .idle
            if part.step == .cards {
                let second = finishReply.map { (departure.parts[index - 1], $0) }
                tookCards(part, reply, second, entry: &entry, at: now)
            } else {
                take(
                    part, reply, finishReply, of: departure, entry: &entry, at: now, effects: &effects)
            }
            store(entry)
        }
        if departure.isBatch { adaptBatchLimit(departure, at: now) }
    }

    /// Batches that take half of the time there is, at the speed of this one.
    private mutating func adaptBatchLimit(_ departure: Departure, at now: Duration) {
        let each = (now - departure.sentAt) / .seconds(1) / Double(departure.parts.count)
        let half = configuration.batchTimeout / .seconds(1) / 2
        let fitting = each > 0 ? min(Double(BitrixCommand.maximumBatchCommands), half / each) : 50
        let target = max(2, Int(fitting))
        // Down at once, up in steps.
        batchLimit = target < batchLimit ? target : min(target, batchLimit + max(1, batchLimit / 4))
    }

    private mutating func learn(from reply: BitrixReply?, method: BitrixMethod, at now: Duration) {
        guard case .success(let success)? = reply else { return }
        budget(method) { $0.learn(from: success, at: now) }
    }

    private mutating func probed(_ reply: BitrixReply?, at now: Duration, effects: inout [Effect]) {
        switch reply {
        case .success?: know(statisticsAreReadable: true, effects: &effects)
        case .refusal(let refusal)? where refusal.meaning != .methodBlocked:
            know(statisticsAreReadable: false, effects: &effects)
        case .refusal, .noAnswer, nil:
            statistics = .unknown
            statisticsAskedAgainAt = now + Self.statisticsRepeat
        }
    }

    private mutating func know(statisticsAreReadable isReadable: Bool, effects: inout [Effect]) {
        statistics = isReadable ? .readable : .denied
        effects.append(.statistics(isReadable: isReadable))
    }

    private mutating func take(
        _ part: Departure.Part, _ reply: BitrixReply?, _ finishReply: BitrixReply??, of departure: Departure,
        entry: inout Entry, at now: Duration, effects: inout [Effect]
    ) {
        switch reply {
        case nil:
            // The portal says nothing of it: cut off in the middle of a batch.
            if part.step == .register || part.step == .finish { entry.mayHaveRun = true }
            var notBefore: Duration?
            if finishReply != nil {
                entry.lookupFrom = departure.sentAt + configuration.outcomeSettles
                notBefore = entry.lookupFrom
            }
            repeatLater(
                &entry, step: part.step, reason: "the answer to a batch leaves the command out", at: now,
                notBefore: notBefore, effects: &effects)
        case .success(let success)?:
            lastSuccess = now
            switch part.step {
            case .register:
                noteShown(&entry, by: part.command)
                registered(&entry, success, at: now, effects: &effects)
                if let finishReply, case .finishing = entry.stage {
                    leave(entry.place)
                    entry.place = .idle
                    finishTaken(finishReply, entry: &entry, at: now, effects: &effects)
                }
            case .finish:
                change(.ok, effects: &effects)
                close(&entry, confirmed: true, success.warnings, effects: &effects)
            case .search: searched(&entry, success, at: now, effects: &effects)
            case .lookup: lookedUp(&entry, success, at: now, effects: &effects)
            case .cards, .errand: break
            }
        case .noAnswer(let mayHaveRun, let reason)?:
            if mayHaveRun, part.step != .search { entry.mayHaveRun = true }
            repeatLater(&entry, step: part.step, reason: reason, at: now, effects: &effects)
        case .refusal(let refusal)?:
            // The finish of a register that failed has no CALL_ID; what it says means nothing.
            refused(&entry, part.step, part.command.method, refusal, at: now, effects: &effects)
        }
    }

    /// Cards: one command, or showing and hiding.
    private mutating func tookCards(
        _ part: Departure.Part, _ reply: BitrixReply?, _ second: (Departure.Part, BitrixReply?)?,
        entry: inout Entry, at now: Duration
    ) {
        tookCards(part.command, reply, &entry)
        if case .refusal(let refusal)? = reply, refusal.meaning == .methodBlocked {
            let earliest = now + delay(afterAttempt: 1)
            budget(part.command.method) { $0.block(at: now, notBefore: earliest) }
        }
        var failure = Self.failure(reply)
        if let second {
            tookCards(second.0.command, second.1, &entry)
            failure = failure ?? Self.failure(second.1)
        }
        goOnAfterCards(&entry, failed: failure, at: now)
    }

    private static func failure(_ reply: BitrixReply?) -> String? {
        switch reply {
        case .success?: nil
        case .refusal(let refusal)?: refusal.summary
        case .noAnswer(_, let reason)?: reason
        case nil: "the answer to a batch leaves the command out"
        }
    }

    /// The finish that travelled behind another command of its call.
    private mutating func finishTaken(
        _ reply: BitrixReply?, entry: inout Entry, at now: Duration, effects: inout [Effect]
    ) {
        if entry.attempts == 0 { entry.attempts = 1 }
        switch reply {
        case .success(let success)?:
            change(.ok, effects: &effects)
            lastSuccess = now
            close(&entry, confirmed: true, success.warnings, effects: &effects)
        case .refusal(let refusal)?:
            refused(&entry, .finish, .finish, refusal, at: now, effects: &effects)
        case .noAnswer?, nil:
            entry.mayHaveRun = true
            repeatLater(
                &entry, step: .finish, reason: "the answer to a batch leaves the finish out", at: now,
                effects: &effects)
        }
    }

    private mutating func registered(
        _ entry: inout Entry, _ success: BitrixSuccess, at now: Duration, effects: inout [Effect]
    ) {
        let callID = entry.call.callID
        guard let bitrixCallID = success.callID, !bitrixCallID.isEmpty else {
            entry.mayHaveRun = true
            let reason = "the portal's answer has no CALL_ID"
            change(.failing(reason: reason), effects: &effects)
            repeatLater(&entry, step: .register, reason: reason, at: now, effects: &effects)
            return
        }
        change(.ok, effects: &effects)
        begin(&entry)
        effects.append(
            .registered(callID: callID, bitrixCallID: bitrixCallID, warnings: success.warnings))
        if entry.ended == nil {
            entry.stage = .registered(bitrixCallID: bitrixCallID)
            nowRegistered(callID)
            schedule(cardsOf: &entry, at: now)
        } else {
            entry.stage = .finishing(bitrixCallID: bitrixCallID)
            enqueue(&entry, due: now, at: now)
        }
    }

    /// The statistics told: the call is finished, or its finish never ran, so that both steps are safe to repeat.
    private mutating func lookedUp(
        _ entry: inout Entry, _ success: BitrixSuccess, at now: Duration, effects: inout [Effect]
    ) {
        change(.ok, effects: &effects)
        begin(&entry)
        guard success.rows > 0 else {
            entry.mayHaveRun = true
            enqueue(&entry, due: now, at: now)
            return
        }
        if let bitrixCallID = success.callID {
            entry.stage = .registered(bitrixCallID: bitrixCallID)
            noteRows(&entry)
            effects.append(
                .registered(callID: entry.call.callID, bitrixCallID: bitrixCallID, warnings: []))
        }
        close(&entry, confirmed: true, [], effects: &effects)
    }

    /// The portal told who is responsible for the client, or that it knows none.
    private mutating func searched(
        _ entry: inout Entry, _ success: BitrixSuccess, at now: Duration, effects: inout [Effect]
    ) {
        change(.ok, effects: &effects)
        if let userID = success.responsibleID, directory?.isActive(userID) ?? true {
            entry.finishUser = .userID(userID)
        }
        goOnWithoutSearch(&entry, at: now)
    }

    private mutating func goOnWithoutSearch(_ entry: inout Entry, at now: Duration) {
        let mayHaveRun = entry.mayHaveRun
        begin(&entry)
        entry.mayHaveRun = mayHaveRun
        entry.needsSearch = false
        enqueue(&entry, due: now, at: now)
    }

    /// The present step is over, the next one begins.
    private func begin(_ entry: inout Entry) {
        entry.attempts = 0
        entry.mayHaveRun = false
        entry.failingSince = nil
        entry.lookupFrom = nil
        entry.lastError = nil
        entry.repeatsIn = .zero
    }

    private mutating func close(
        _ entry: inout Entry, confirmed: Bool, _ warnings: [String], effects: inout [Effect]
    ) {
        noteRows(&entry)
        if let bitrixCallID = entry.bitrixCallID, let ended = entry.ended, configuration.recording != nil,
            ended.mayHaveRecording
        {
            effects.append(.recordDue(ended, bitrixCallID: bitrixCallID, age: .zero))
        }
        entry.stage = .closed
        entry.ending = .done
        effects.append(.finished(callID: entry.call.callID, confirmed: confirmed, warnings: warnings))
    }

    private mutating func refused(
        _ entry: inout Entry, _ step: Step, _ method: BitrixMethod, _ refusal: BitrixRefusal,
        at now: Duration, effects: inout [Effect]
    ) {
        let callID = entry.call.callID
        switch refusal.meaning {
        case .tooManyRequests:
            entry.attempts -= 1
            repeatLater(&entry, step: step, reason: refusal.summary, at: now, effects: &effects)
        case .methodBlocked:
            let earliest = now + delay(afterAttempt: entry.attempts)
            entry.attempts -= 1
            var until = earliest
            budget(method) {
                $0.block(at: now, notBefore: earliest)
                until = $0.heldUntil
            }
            repeatLater(
                &entry, step: step, reason: refusal.summary, at: now, notBefore: until, effects: &effects)
        case .serverFailure:
            entry.mayHaveRun = true
            repeatLater(&entry, step: step, reason: refusal.summary, at: now, effects: &effects)
        case .configuration where step == .search && refusal.isOfMethod, .callNotFound where step == .search,
            .refused where step == .search, .userUnknown where step == .search:
            // The call matters more than who gets it.
            goOnWithoutSearch(&entry, at: now)
        case .configuration(let problem) where step == .lookup && refusal.isOfMethod:
            know(statisticsAreReadable: false, effects: &effects)
            giveUp(
                &entry, step: step,
                reason: "whether the portal took the call is not known and cannot be asked: \(problem)",
                effects: &effects)
        case .configuration(let problem):
            fail(forConfiguration: problem, at: now, effects: &effects)
            entry.attempts -= 1
            repeatLater(&entry, step: step, reason: problem, at: now, effects: &effects)
        case .userUnknown:
            lastSuccess = now
            change(.ok, effects: &effects)
            if step == .finish, let chosen = entry.finishUser, chosen != entry.facts.user {
                effects.append(.userReplaced(callID: callID, from: chosen, to: entry.facts.user))
                entry.finishUser = nil
                entry.attempts = 0
                enqueue(&entry, due: now, at: now)
                return
            }
            let fallback = BitrixUser.userID(configuration.fallbackUserID)
            guard entry.facts.user != fallback else {
                giveUp(&entry, step: step, reason: refusal.summary, effects: &effects)
                return
            }
            effects.append(.userReplaced(callID: callID, from: entry.facts.user, to: fallback))
            entry.unknownUser = entry.facts.user
            entry.facts.user = fallback
            entry.facts.userHasPhone = false
            entry.attempts = 0
            enqueue(&entry, due: now, at: now)
        case .callNotFound where step == .finish && entry.mayHaveRun:
            lastSuccess = now
            change(.ok, effects: &effects)
            close(&entry, confirmed: false, [], effects: &effects)
        case .callNotFound, .refused:
            lastSuccess = now
            change(.ok, effects: &effects)
            giveUp(&entry, step: step, reason: refusal.summary, effects: &effects)
        }
    }

    // MARK: - Again, or never

    /// A step that fails while the portal does others' is given up in the end; one that fails like all others
    /// waits for the portal.
    mutating func repeatLater(
        _ entry: inout Entry, step: Step, reason: String, at now: Duration, notBefore: Duration? = nil,
        effects: inout [Effect]
    ) {
        let callID = entry.call.callID
        let since = entry.failingSince ?? now
        entry.failingSince = since
        let othersSucceed = lastSuccess.map { $0 > since } ?? false
        guard entry.attempts < configuration.retry.maximumAttempts || !othersSucceed else {
            if step == .search { return goOnWithoutSearch(&entry, at: now) }
            giveUp(
                &entry, step: step, reason: "\(reason) (after \(entry.attempts) attempts)", effects: &effects)
            return
        }
        let time = max(notBefore ?? now, now + delay(afterAttempt: entry.attempts))
        entry.lastError = reason
        entry.repeatsIn = time - now
        effects.append(.retrying(callID: callID, step: step, reason: reason, after: time - now))
        enqueue(&entry, due: time, at: now)
    }

    private mutating func giveUp(_ entry: inout Entry, step: Step, reason: String, effects: inout [Effect]) {
        let callID = entry.call.callID
        noteRows(&entry)
        entry.stage = .closed
        // What fails before the call is registered fails the register.
        entry.ending = .failed(step == .finish ? .finish : .register, reason: reason)
        effects.append(.dropped(callID: callID, step: step, reason: reason))
        if step == .register, entry.ended != nil {
            effects.append(.dropped(callID: callID, step: .finish, reason: Self.noRegister))
        }
    }

    private mutating func change(_ newState: CRMState, effects: inout [Effect]) {
        guard newState != state else { return }
        state = newState
        effects.append(.state(newState))
    }

    /// Exponential, with the upper half of it random, so that calls that failed together do not come back
    /// together.
    mutating func delay(afterAttempt attempt: Int) -> Duration {
        let retry = configuration.retry
        let doublings = min(max(0, attempt - 1), 20)
        let full = min(retry.maximumDelay, retry.firstDelay * (1 << doublings))
        return full * (0.5 + 0.5 * chance())
    }
}

extension BitrixOutbox.Departure {
    fileprivate func hasFinish(of callID: String) -> Bool {
        parts.contains { $0.callID == callID && $0.step == .finish }
    }
}
