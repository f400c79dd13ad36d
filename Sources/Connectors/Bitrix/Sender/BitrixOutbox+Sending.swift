import CallEngine

extension BitrixOutbox {
    /// Ended calls are gathered so long for one batch while another one is under way.
    static let gatheringTime: Duration = .milliseconds(250)
    /// After so many requests for live calls in a row, ended ones have a turn.
    static let liveTurns = 3
    /// With fewer ended calls than this waiting it is not worth asking whether the statistics can be read.
    static let callsWorthAsking = 8
    /// A card that comes later than this is of no use.
    static let cardTime: Duration = .seconds(60)
    /// Calls put aside at most while one request is put together, so that a held method costs no look at each call.
    static let maximumPutAside = 200
    /// Live calls travel alone, which is fastest, until the bucket is so full.
    static let shareForSingles = 0.5

    /// The next request, if one is due, allowed by the portal's limits, and within the connections there are.
    package mutating func next(at now: Duration) -> Departure? {
        promote(at: now)
        guard underWay < configuration.maximumConnections, let chance = breaker.nextChance(at: now),
            chance <= now, pacer.nextRoom(at: now) <= now
        else { return nil }
        guard var departure = compose(at: now) else { return nil }
        guard pacer.take(at: now) else { return nil }
        departure.sentAt = now
        breaker.sent()
        underWay += 1
        commandsUnderWay += departure.parts.count
        switch departure.lane {
        case .live: liveInARow += 1
        case .ended, .errand: liveInARow = 0
        }
        if departure.lane == .ended {
            endedUnderWay += 1
            gatheringSince = now
        }
        for part in departure.parts { budget(part.command.method) { $0.sent() } }
        return departure
    }

    /// When ``next(at:)`` is worth asking again, apart from new actions and replies; nil when only those matter.
    package func nextWake(at now: Duration) -> Duration? {
        let sending = nextSending(at: now)
        guard keepsSteps, let reading = feed.nextWake(room: room) else { return sending }
        return max(now, min(reading, sending ?? reading))
    }

    private func nextSending(at now: Duration) -> Duration? {
        guard underWay < configuration.maximumConnections, let chance = breaker.nextChance(at: now) else {
            return nil
        }
        var first = waiting.firstDue
        if liveReady > 0 || !errands.isEmpty {
            first = now
        } else if endedReady > 0 {
            first = min(first ?? .seconds(Int64.max / 4), endedMayGo(at: now))
        }
        guard let first else { return nil }
        return max(first, chance, pacer.nextRoom(at: now))
    }

    /// Takes what has become due into the lanes.
    private mutating func promote(at now: Duration) {
        while let ticket = waiting.popFirst(dueBy: now) {
            guard var entry = entries[ticket.callID], entry.ticket == ticket.number, entry.place == .waiting
            else { continue }
            waitingCount -= 1
            makeReady(&entry, at: now)
            entries[ticket.callID] = entry
        }
    }

    /// The first step of a lane; it has left it.
    private mutating func pop(_ lane: Lane) -> (Ticket, Entry)? {
        while let ticket = lane == .live ? live.popFirst(dueBy: .forever) : ended.popFirst(dueBy: .forever) {
            guard let entry = entries[ticket.callID], entry.ticket == ticket.number,
                entry.place == .ready(lane)
            else { continue }
            leave(entry.place)
            return (ticket, entry)
        }
        return nil
    }

    /// When ended calls may go: at once if none are under way or a batch is full, else after the gathering.
    private func endedMayGo(at now: Duration) -> Duration {
        endedUnderWay == 0 || endedReady >= batchLimit ? now : max(now, gatheringSince + Self.gatheringTime)
    }

    private mutating func compose(at now: Duration) -> Departure? {
        let endedHasATurn = liveInARow >= Self.liveTurns && endedReady > 0 && endedMayGo(at: now) <= now
        if !endedHasATurn, let departure = composeCalls(.live, at: now) { return departure }
        if let departure = composeErrand(at: now) { return departure }
        if endedReady > 0, endedMayGo(at: now) <= now, let departure = composeCalls(.ended, at: now) {
            return departure
        }
        return endedHasATurn ? composeCalls(.live, at: now) : nil
    }

    private mutating func composeErrand(at now: Duration) -> Departure? {
        if !errands.isEmpty {
            let (number, command) = errands.removeFirst()
            return Departure(
                parts: [.init(callID: "", step: .errand, command: command, key: "e")], lane: .errand,
                sentAt: now, errand: number)
        }
        guard statistics == .unknown, statisticsAskedAgainAt <= now, endedReady >= Self.callsWorthAsking
        else { return nil }
        statistics = .asked
        return Departure(
            parts: [.init(callID: "", step: .errand, command: .statisticsProbe, key: "e")], lane: .errand,
            sentAt: now)
    }

    private mutating func composeCalls(_ lane: Lane, at now: Duration) -> Departure? {
        guard (lane == .live ? liveReady : endedReady) > 0 else { return nil }
        var limit = batchLimit
        if breaker.isTrying || lane == .live && pacer.share(at: now) < Self.shareForSingles { limit = 1 }
        var parts: [Departure.Part] = []
        var claims: [CRMStepClaim] = []
        var taken: [BitrixMethod: Int] = [:]
        /// What may go later; put in line again at the end, so that it is not met twice.
        var held: [(Entry, Duration)] = []
        while parts.count < limit, held.count < Self.maximumPutAside, let (ticket, found) = pop(lane) {
            var entry = found
            var wanted = commands(for: entry, number: parts.count, at: now)
            guard let first = wanted.first else {
                entry.place = .idle
                entry.cards.settle()
                noteRows(&entry)
                entries[ticket.callID] = entry
                continue
            }
            if let until = whenFree(first.command.method, lane, taken: taken, at: now) {
                held.append((entry, until))
                entry.place = .idle
                entries[ticket.callID] = entry
                continue
            }
            if wanted.count == 2 {
                if limit == 1 || whenFree(wanted[1].command.method, lane, taken: taken, at: now) != nil {
                    wanted.removeLast()
                } else if parts.count + 2 > limit {
                    push(ticket, lane, at: now)
                    break
                }
            }
            for part in wanted { taken[part.command.method, default: 0] += 1 }
            claims += wanted.compactMap { claim(for: $0, of: entry) }
            // Cards are counted apart.
            if wanted.contains(where: { $0.step != .cards }) { entry.attempts += 1 }
            entry.place = .underWay
            entries[ticket.callID] = entry
            parts.append(contentsOf: wanted)
        }
        for (found, until) in held {
            var entry = found
            entry.place = .idle
            enqueue(&entry, due: until, at: now)
            entries[entry.call.callID] = entry
        }
        return parts.isEmpty ? nil : Departure(parts: parts, lane: lane, sentAt: now, claims: claims)
    }

    /// Nil when a command of the method may go now, else when it may be tried again.
    private mutating func whenFree(
        _ method: BitrixMethod, _ lane: Lane, taken: [BitrixMethod: Int], at now: Duration
    ) -> Duration? {
        var until: Duration?
        budget(method) { budget in
            if budget.isHeld(at: now) {
                until = budget.heldUntil
            } else if lane == .ended, let room = budget.room(at: now), taken[method, default: 0] >= room {
                until = budget.nextRoom(at: now)
            }
        }
        return until
    }

    mutating func budget(_ method: BitrixMethod, _ change: (inout OperatingBudget) -> Void) {
        change(&budgets[method, default: OperatingBudget(limit: configuration.operatingLimit)])
    }

    /// The commands that a call needs now: one, or register and finish of a call that has ended.
    private func commands(for entry: Entry, number: Int, at now: Duration) -> [Departure.Part] {
        let callID = entry.call.callID
        var finishFacts = entry.facts
        finishFacts.user = entry.finishUser ?? finishFacts.user
        if entry.needsSearch, entry.ended != nil, entry.lookupFrom == nil {
            let command = BitrixCommand.search(entry.facts.phoneNumber)
            return [.init(callID: callID, step: .search, command: command, key: "s\(number)")]
        }
        switch entry.stage {
        case .register:
            if entry.lookupFrom != nil {
                let command = BitrixCommand.lookup(entry.call, configuration: configuration)
                return [.init(callID: callID, step: .lookup, command: command, key: "l\(number)")]
            }
            // A card is for the person whose phone rings now: not for the fallback user, not for the past.
            let showsCard =
                configuration.showsCard && entry.ended == nil && entry.facts.userHasPhone
                && now - entry.submittedAt < Self.cardTime
            let register = Departure.Part(
                callID: callID, step: .register,
                command: .register(
                    entry.call, as: entry.facts, showsCard: showsCard, portalIsAhead: portalIsAhead,
                    configuration: configuration),
                key: "r\(number)")
            guard let ended = entry.ended, statistics == .readable else { return [register] }
            let finish = Departure.Part(
                callID: callID, step: .finish,
                command: .finish(
                    ended, bitrixCallID: BitrixCommand.callIDReference(to: register.key), as: finishFacts,
                    configuration: configuration),
                key: "f\(number)")
            return [register, finish]
        case .finishing(let bitrixCallID):
            guard let ended = entry.ended else { return [] }
            let command = BitrixCommand.finish(
                ended, bitrixCallID: bitrixCallID, as: finishFacts, configuration: configuration)
            // First, and only when that is done: a call that is over has no cards any more that could be hidden.
            if let hide = hideBeforeFinish(entry, bitrixCallID, for: finishFacts.user, number: number) {
                return [hide]
            }
            return [.init(callID: callID, step: .finish, command: command, key: "f\(number)")]
        case .registered(let bitrixCallID):
            return cardCommands(entry, bitrixCallID, number: number, at: now)
        case .closed: return []
        }
    }
}

extension Duration {
    /// Later than any clock.
    fileprivate static var forever: Duration { .seconds(Int64.max / 4) }
}
