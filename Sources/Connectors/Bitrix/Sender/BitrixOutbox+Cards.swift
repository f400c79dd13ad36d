import CallEngine

/// Cards on employees' screens: shown to everyone whose telephone rings, hidden for the rest on the answer.
///
/// What happens within ``cardsGather`` goes together. A card that comes too late is not shown; one that was shown is
/// always hidden: to whom it may be shown is written down with the claim, before it is sent.
extension BitrixOutbox {
    /// Telephones begin to ring one by one; so long their changes are gathered.
    static let cardsGather: Duration = .milliseconds(500)

    /// A call's cards: to whom they are to be shown, and to whom they may be shown in the portal.
    struct Cards {
        /// Who has one of the telephones at which the call is now.
        var wanted: Set<Int> = []
        /// Who may see the card.
        var shown: Set<Int> = []
        /// Whether it may be shown to whoever the call was registered for, by an extension of which we do not know whose it
        /// is.
        var isShownToRegistered = false
        /// When the telephones were last told; nil: never.
        var toldAt: Duration?
        /// Whether something is to be done.
        var isPending = false
        /// Requests made since the telephones were last told.
        var attempts = 0

        /// Forgets what there was to be done.
        mutating func settle() {
            isPending = false
            attempts = 0
        }
    }

    /// Takes in at which telephones a call is now.
    mutating func submitTelephones(_ call: CRMCall, at now: Duration, effects: inout [Effect]) {
        guard var entry = entries[call.callID], configuration.showsCard else {
            guard keepsSteps else { return }
            if isSkipped(call.callID) || !configuration.showsCard {
                changes.append(
                    CRMStepChange(CRMStepKey(callID: call.callID, kind: .cards), .skipped, attempts: 0))
            } else {
                feed.want(call.callID)
            }
            return
        }
        guard entry.ended == nil else { return }
        if keepsSteps { entry.rows.cards = .waiting }
        take(call.telephones, &entry, at: now)
        schedule(cardsOf: &entry, at: now)
        entries[call.callID] = entry
    }

    private func take(_ telephones: [String], _ entry: inout Entry, at now: Duration) {
        entry.cards.wanted = Set(telephones.compactMap { userID(extension: $0) })
        entry.cards.toldAt = now
        entry.cards.isPending = true
        entry.cards.attempts = 0
    }

    private func userID(extension number: String) -> Int? {
        configuration.extensionUsers[number] ?? directory?.userID(extension: number)
    }

    /// Puts a registered call in line for its cards, unless it is in line or under way.
    mutating func schedule(cardsOf entry: inout Entry, at now: Duration) {
        guard case .registered = entry.stage, entry.place == .idle, entry.cards.isPending else { return }
        enqueue(&entry, due: max(now, (entry.cards.toldAt ?? now) + Self.cardsGather), at: now)
    }

    /// Notes who sees the card that a register popped up.
    func noteShown(_ entry: inout Entry, by command: BitrixCommand) {
        guard command["SHOW"] == "1" else { return }
        switch entry.facts.user {
        case .userID(let id): entry.cards.shown.insert(id)
        case .phoneInner: entry.cards.isShownToRegistered = true
        }
    }

    // MARK: - What goes out

    /// The commands that bring the cards of a registered call up to date; none when they are.
    func cardCommands(
        _ entry: Entry, _ bitrixCallID: String, number: Int, at now: Duration
    ) -> [Departure.Part] {
        guard entry.cards.isPending else { return [] }
        let callID = entry.call.callID
        var parts: [Departure.Part] = []
        let isStale = entry.cards.toldAt.map { now - $0 >= Self.cardTime } ?? true
        let new = isStale ? [] : entry.cards.wanted.subtracting(entry.cards.shown)
        if !new.isEmpty {
            parts.append(
                .init(
                    callID: callID, step: .cards, command: .show(bitrixCallID, to: new.sorted()),
                    key: "c\(number)"))
        }
        let gone = entry.cards.shown.subtracting(entry.cards.wanted)
        if !gone.isEmpty {
            parts.append(
                .init(
                    callID: callID, step: .cards, command: .hide(bitrixCallID, from: gone.sorted()),
                    key: "h\(number)"))
        }
        return parts
    }

    /// The command that hides the cards which the finish for `user` does not hide.
    func hideBeforeFinish(
        _ entry: Entry, _ bitrixCallID: String, for user: BitrixUser, number: Int
    ) -> Departure.Part? {
        var users = entry.cards.shown
        if case .userID(let id) = user { users.remove(id) }
        let isOther = entry.cards.isShownToRegistered && user != entry.facts.user
        guard !users.isEmpty || isOther else { return nil }
        // Without users the portal hides it for whoever the call was registered for.
        return .init(
            callID: entry.call.callID, step: .cards, command: .hide(bitrixCallID, from: users.sorted()),
            key: "h\(number)")
    }

    /// What is written down before cards are shown: everybody who may see one then.
    func claimedUsers(_ entry: Entry, _ command: BitrixCommand) -> String {
        let new = command.method == .show ? command.users : []
        return entry.cards.shown.union(new).sorted().map { String($0) }.joined(separator: ",")
    }

    /// Reads ``claimedUsers(_:_:)``.
    static func users(claimed text: String?) -> Set<Int> {
        Set((text ?? "").split(separator: ",").compactMap { Int($0) })
    }

    // MARK: - What came of it

    /// Takes in the answer to a command of a call's cards.
    mutating func tookCards(_ command: BitrixCommand, _ reply: BitrixReply?, _ entry: inout Entry) {
        let users = Set(command.users)
        switch reply {
        case .success?:
            if command.method == .show {
                entry.cards.shown.formUnion(users)
            } else if users.isEmpty {
                entry.cards.isShownToRegistered = false
            } else {
                entry.cards.shown.subtract(users)
            }
        case .noAnswer?, nil:
            if command.method == .show { entry.cards.shown.formUnion(users) }
        case .refusal(let refusal)?:
            if refusal.meaning == .serverFailure, command.method == .show {
                entry.cards.shown.formUnion(users)
            }
        }
    }

    /// Goes on after a request for cards: with the finish, with what changed meanwhile, or with nothing.
    mutating func goOnAfterCards(_ entry: inout Entry, failed reason: String?, at now: Duration) {
        guard case .registered = entry.stage else {
            entry.cards.attempts += reason == nil ? 0 : 1
            // The call is worth more than a card that cannot be hidden.
            if entry.cards.attempts >= configuration.retry.maximumAttempts { entry.cards = Cards() }
            let pause = reason == nil ? .zero : delay(afterAttempt: entry.cards.attempts)
            return enqueue(&entry, due: now + pause, at: now)
        }
        guard reason != nil else {
            // What came while it was under way is seen by what is wanted now.
            let isUpToDate =
                entry.cards.shown == entry.cards.wanted
                || entry.cards.toldAt.map { now - $0 >= Self.cardTime } ?? true
            if isUpToDate { entry.cards.settle() }
            return schedule(cardsOf: &entry, at: now)
        }
        entry.cards.attempts += 1
        guard entry.cards.attempts < configuration.retry.maximumAttempts else { return entry.cards.settle() }
        enqueue(&entry, due: now + delay(afterAttempt: entry.cards.attempts), at: now)
    }

    // MARK: - The table

    /// Takes the cards of a call that was read from the table.
    func takeCards(_ steps: CRMCallSteps, _ entry: inout Entry, at now: Duration) {
        let row = steps[.cards]
        entry.rows.cards = row?.state
        entry.cards.shown = Self.users(claimed: row?.user)
        // Its register may have popped a card up.
        if configuration.showsCard, let register = steps[.register], register.sentAgo != nil,
            entry.facts.userHasPhone
        {
            switch entry.facts.user {
            case .userID(let id): entry.cards.shown.insert(id)
            case .phoneInner: entry.cards.isShownToRegistered = true
            }
        }
        guard let row, row.state.isOpen, steps[.finish] == nil else { return }
        take(row.call?.telephones ?? [], &entry, at: now - row.age)
    }
}
