import CallEngine

/// The calls' steps as rows of a table: what is read from it, claimed in it and written to it.
///
/// The table is the truth, and what is held here a window on it: steps come with the batch that made them durable, or
/// are read when there is room (``CRMFeed``). A step is claimed before it is sent, so that after a crash it is known
/// which requests may have been under way; a claim that is not granted means that the table knows better, and the call
/// is read anew.
extension BitrixOutbox {
    /// Of the calls held, so many may come from reading the table; the rest is for those that go on now.
    private var readingRoom: Int { configuration.maximumCalls * 3 / 4 - entries.count }
    private var spareRoom: Int { configuration.maximumCalls - entries.count }

    /// Room for reading.
    var room: CRMFeed.Room { CRMFeed.Room(forPages: readingRoom, forCalls: spareRoom) }

    /// What to read from the table now, if anything.
    package mutating func nextLoad(at now: Duration) -> CRMStepLoad? {
        keepsSteps ? feed.next(room: room, at: now) : nil
    }

    /// Takes in what was read.
    package mutating func loaded(
        _ load: CRMStepLoad, _ rows: CRMStepRows, at now: Duration, effects: inout [Effect]
    ) {
        for call in feed.took(load, rows, at: now) { take(call, at: now, effects: &effects) }
    }

    /// What became of steps since it was last asked, to be written to the table before anything else is claimed.
    package mutating func takeChanges() -> [CRMStepChange] {
        defer { changes.removeAll() }
        return changes
    }

    /// Takes in which of a departure's claims were granted.
    ///
    /// - Returns: What is to be sent now; nil: nothing of it.
    package mutating func claimed(
        _ departure: Departure, _ granted: Set<CRMStepKey>, at now: Duration
    ) -> Departure? {
        var kept = departure
        kept.sentAt = now
        let refused = Set(departure.claims.lazy.map(\.key).filter { !granted.contains($0) }.map(\.callID))
        for claim in departure.claims where granted.contains(claim.key) {
            let callID = claim.key.callID
            if refused.contains(callID) {
                // Of a pair whose other half the table has settled; nothing of it goes out.
                changes.append(CRMStepChange(claim.key, .waiting, attempts: 0))
            } else {
                switch claim.key.kind {
                case .register: entries[callID]?.rows.register = .sending
                case .cards: entries[callID]?.rows.cards = .sending
                case .finish: entries[callID]?.rows.finish = .sending
                case .record: break
                }
            }
        }
        guard !refused.isEmpty else { return kept }
        for callID in refused {
            entries[callID] = nil
            feed.want(callID)
        }
        for part in departure.parts where refused.contains(part.callID) {
            commandsUnderWay -= 1
            budget(part.command.method) { $0.returned() }
        }
        kept.parts.removeAll { refused.contains($0.callID) }
        guard kept.parts.isEmpty else { return kept }
        underWay -= 1
        if departure.lane == .ended { endedUnderWay -= 1 }
        breaker.notSent(at: now)
        return nil
    }

    /// What has to be claimed before a command goes out.
    func claim(for part: Departure.Part, of entry: Entry) -> CRMStepClaim? {
        switch part.step {
        case .register where entry.rows.register != nil:
            CRMStepClaim(CRMStepKey(callID: part.callID, kind: .register), user: entry.facts.user.description)
        case .finish where entry.rows.finish != nil:
            CRMStepClaim(
                CRMStepKey(callID: part.callID, kind: .finish),
                user: (entry.finishUser ?? entry.facts.user).description)
        case .cards where entry.rows.cards != nil && part.command.method == .show:
            CRMStepClaim(
                CRMStepKey(callID: part.callID, kind: .cards), user: claimedUsers(entry, part.command))
        case .register, .finish, .cards, .lookup, .search, .errand: nil
        }
    }

    // MARK: - From the table

    private mutating func take(_ steps: CRMCallSteps, at now: Duration, effects: inout [Effect]) {
        let (register, finish) = (steps[.register], steps[.finish])
        guard entries[steps.callID] == nil, entries.count < configuration.maximumCalls else { return }
        let isRegistered = register?.state == .done && register?.crmCallID != nil
        guard
            register?.state.isOpen == true || finish?.state.isOpen == true || (isRegistered && finish == nil)
        else {
            if let record = steps[.record], record.state.isOpen { take(record, of: steps, effects: &effects) }
            // Cards of a call that is over.
            if let cards = steps[.cards], cards.state.isOpen {
                changes.append(CRMStepChange(cards.key, .skipped, attempts: cards.attempts))
            }
            return
        }
        guard let began = register?.call ?? finish?.call, let known = finish?.call ?? register?.call else {
            return give(up: steps, .failed, "what is stored of the call cannot be read", effects: &effects)
        }
        switch register?.state {
        case .failed: return give(up: steps, .failed, Self.noRegister, effects: &effects)
        case .skipped: return give(up: steps, .skipped, register?.lastError ?? "", effects: &effects)
        case .waiting, .sending, .doubtful, .done, nil: break
        }
        // Where nothing was sent yet, what is known at the end is what the portal is told.
        let mayBeThere = register?.state != .waiting && register != nil
        switch reading(mayBeThere ? began : known) {
        case .skip(let reason) where !mayBeThere:
            give(up: steps, .skipped, reason.description, effects: &effects)
        case .skip(let reason): give(up: steps, .failed, reason.description, effects: &effects)
        case .call(let facts):
            goOn(with: steps, Entry(call: began, facts: facts), at: now, effects: &effects)
        }
    }

    private mutating func goOn(
        with steps: CRMCallSteps, _ fresh: Entry, at now: Duration, effects: inout [Effect]
    ) {
        let (register, finish) = (steps[.register], steps[.finish])
        var entry = fresh
        entry.rows = .init(register: register?.state, finish: finish?.state, record: steps[.record]?.state)
        entry.ended = finish?.call
        entry.submittedAt = now - (register?.age ?? .zero)
        var due = now + max(register?.dueIn ?? .zero, finish?.dueIn ?? .zero)
        if let bitrixCallID = register?.crmCallID, register?.state == .done {
            entry.stage =
                finish == nil
                ? .registered(bitrixCallID: bitrixCallID) : .finishing(bitrixCallID: bitrixCallID)
            entry.mayHaveRun = finish.map { $0.state != .waiting } ?? false
            entry.attempts = finish?.attempts ?? 0
            due = max(due, now + settling(finish))
            effects.append(.resumed(callID: steps.callID, bitrixCallID: bitrixCallID))
        } else {
            entry.mayHaveRun = register?.state == .sending || register?.state == .doubtful
            entry.attempts = register?.attempts ?? 0
            due = max(due, now + settling(register))
            if entry.mayHaveRun, let finish, finish.state == .sending || finish.state == .doubtful {
                // They travelled together.
                due = max(due, now + settling(finish))
                entry.lookupFrom = due
            }
        }
        // As it was registered, whoever has the extension now.
        if register?.state != .waiting, let user = register?.user.flatMap({ BitrixUser($0) }) {
            entry.facts.userHasPhone = entry.facts.userHasPhone && user == entry.facts.user
            entry.facts.user = user
        }
        takeCards(steps, &entry, at: now)
        chooseFinishUser(&entry)
        guard finish != nil || register?.state != .done else {
            schedule(cardsOf: &entry, at: now)
            if !entry.cards.isPending { noteRows(&entry) }
            entries[steps.callID] = entry
            return nowRegistered(steps.callID)
        }
        enqueue(&entry, due: due, at: now)
        entries[steps.callID] = entry
    }

    /// How long a step that an earlier run sent, or another daemon, may still be running in the portal.
    private func settling(_ step: CRMStep?) -> Duration {
        guard let step, step.state == .sending, let ago = step.sentAgo else { return .zero }
        return max(.zero, configuration.outcomeSettles - ago)
    }

    /// A recording whose call is finished, or will not be.
    private mutating func take(_ record: CRMStep, of steps: CRMCallSteps, effects: inout [Effect]) {
        guard configuration.recording != nil, steps[.finish]?.state == .done, let call = record.call,
            let bitrixCallID = steps[.register]?.crmCallID
        else {
            changes.append(
                CRMStepChange(
                    record.key, .skipped, attempts: record.attempts,
                    error: "the call is not finished in the portal"))
            return
        }
        effects.append(.recordDue(call, bitrixCallID: bitrixCallID, age: record.age))
    }

    private mutating func give(
        up steps: CRMCallSteps, _ state: CRMStepState, _ reason: String, effects: inout [Effect]
    ) {
        for (kind, step) in steps.steps where step.state.isOpen {
            let state = kind == .cards || kind == .record ? .skipped : state
            changes.append(CRMStepChange(step.key, state, attempts: step.attempts, error: reason))
            guard state == .failed else { continue }
            effects.append(
                .dropped(
                    callID: steps.callID, step: kind == .register ? .register : .finish, reason: reason))
        }
    }

    // MARK: - To the table

    /// Notes a call that is not for the portal.
    mutating func noteSkipped(_ callID: String, _ kind: CRMStepKind, _ reason: BitrixSkipReason) {
        guard keepsSteps else { return }
        changes.append(
            CRMStepChange(
                CRMStepKey(callID: callID, kind: kind), .skipped, attempts: 0, error: reason.description))
    }

    /// Notes where a call's steps stand, as far as its rows say something else.
    mutating func noteRows(_ entry: inout Entry) {
        guard keepsSteps else { return }
        switch entry.stage {
        case .register:
            let isInDoubt = entry.mayHaveRun || entry.lookupFrom != nil
            note(&entry, .register, isInDoubt ? .doubtful : .waiting, error: entry.lastError)
            note(&entry, .finish, entry.lookupFrom == nil ? .waiting : .doubtful)
        case .registered(let bitrixCallID):
            note(&entry, .register, .done, crmCallID: bitrixCallID)
            note(&entry, .cards, entry.cards.isPending ? .waiting : .done)
        case .finishing(let bitrixCallID):
            note(&entry, .register, .done, crmCallID: bitrixCallID)
            note(&entry, .finish, entry.mayHaveRun ? .doubtful : .waiting, error: entry.lastError)
        case .closed:
            switch entry.ending {
            case .done:
                note(&entry, .register, .done)
                note(&entry, .cards, .done)
                note(&entry, .finish, .done)
            case .failed(.finish, let reason):
                note(&entry, .cards, .skipped, error: reason)
                note(&entry, .record, .skipped, error: reason)
                note(&entry, .finish, .failed, error: reason)
            case .failed(_, let reason):
                note(&entry, .register, .failed, error: reason)
                note(&entry, .cards, .skipped, error: Self.noRegister)
                note(&entry, .record, .skipped, error: Self.noRegister)
                note(&entry, .finish, .failed, error: Self.noRegister)
            }
        }
    }

    private mutating func note(
        _ entry: inout Entry, _ kind: CRMStepKind, _ state: CRMStepState, error: String? = nil,
        crmCallID: String? = nil
    ) {
        let known =
            switch kind {
            case .register: entry.rows.register
            case .cards: entry.rows.cards
            case .finish: entry.rows.finish
            case .record: entry.rows.record
            }
        guard let known, known != state else { return }
        switch kind {
        case .register: entry.rows.register = state
        case .cards: entry.rows.cards = state
        case .finish: entry.rows.finish = state
        case .record: entry.rows.record = state
        }
        changes.append(
            CRMStepChange(
                CRMStepKey(callID: entry.call.callID, kind: kind), state, attempts: entry.attempts,
                dueIn: state.isOpen ? entry.repeatsIn : .zero, error: error, crmCallID: crmCallID))
    }
}

/// Calls by the order of their registration; some may be over by now.
struct RegisteredCalls {
    private var calls: [String] = []
    private var first = 0

    /// Takes a call in.
    ///
    /// - Parameters:
    ///   - maximum: Calls that are held at most; with many more than that here, those that are over leave.
    ///   - isHeld: Whether a call still waits for its end.
    mutating func append(_ callID: String, maximum: Int, isHeld: (String) -> Bool) {
        if calls.count >= 2 * maximum {
            calls = calls[first...].filter(isHeld)
            first = 0
        }
        calls.append(callID)
    }

    mutating func popFirst() -> String? {
        guard first < calls.count else { return nil }
        defer { first += 1 }
        return calls[first]
    }
}
