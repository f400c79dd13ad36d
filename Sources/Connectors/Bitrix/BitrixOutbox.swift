package import CallEngine
package import Protocols

/// Decides what is sent to the portal, when, and what its answers mean.
///
/// No socket, no clock.
///
/// One machine per call; at most one step of a call is under way, so its order holds by construction:
///
///     register ──CALL_ID──▶ registered ──call ends──▶ finishing ──done, or given up──▶ closed
///        └──refused for good, or given up──▶ closed ──call ends──▶ (finish dropped)
///
/// A closed call that has ended leaves; only its id is remembered for a while.
///
/// A `finish` that comes while `register` is under way waits in the call's entry. This is the in-memory form: a
/// durable outbox puts the same entries into rows and hands the open ones to ``resume(_:)`` at the start.
///
/// `now` is any monotonic clock's time; it must not go back.
package struct BitrixOutbox {
    /// Calls that were finished lately; a second finish of one of them is ignored.
    package static let recentCalls = 16_384
    /// The portal recognises a repeated register for 30 minutes from the call's start.
    ///
    /// A finish whose register an earlier run of this daemon sent can be saved within that time, less some
    /// room for delays.
    package static let recognitionWindow: Duration = .seconds(25 * 60)

    /// Calls that are older than this may leave to make room when ``BitrixConfiguration/maximumCalls`` is
    /// reached: their end was never told.
    package static let maximumCallAge: Duration = .seconds(24 * 3600)
    /// The sweep looks at every call, so it runs no more often than this.
    private static let sweepInterval: Duration = .seconds(60)
    private static let noRegister = "the call could not be registered"

    private struct Entry {
        enum Stage {
            case register
            case registered(bitrixCallID: String)
            case finishing(bitrixCallID: String)
            /// Done, or given up; kept only until the call has ended.
            case closed
        }

        var call: CRMCall
        var facts: BitrixCallFacts
        var stage = Stage.register
        /// Set when the call has ended.
        var ended: CRMCall?
        /// Requests made for the present step.
        var attempts = 0
        /// Whether one of them may have had its effect without our hearing of it.
        var mayHaveRun = false
        var isUnderWay = false
    }

    private let configuration: BitrixConfiguration
    private var entries: [String: Entry] = [:]
    private var due = DueQueue<String>()
    private var pacer: RequestPacer
    private var recent = RecentSet<String>(capacity: BitrixOutbox.recentCalls)
    private var held: [BitrixMethod: Duration] = [:]
    private var operatingResetsAt: [BitrixMethod: Duration] = [:]
    private var fullBucketAnswers = 0
    private var nextSweep: Duration = .zero
    private var random: SplitMix64
    /// How the link stands.
    package private(set) var state = CRMState.ok
    /// Requests sent and not yet answered.
    package private(set) var underWay = 0

    /// An empty outbox.
    ///
    /// - Parameter seed: For the jitter of repeats.
    package init(configuration: BitrixConfiguration, seed: UInt64) {
        self.configuration = configuration
        pacer = RequestPacer(perSecond: configuration.requestsPerSecond, burst: configuration.requestBurst)
        random = SplitMix64(seed: seed)
    }

    /// Steps waiting to be sent or to be repeated.
    package var waitingSteps: Int { due.count }
    /// Calls held.
    package var callCount: Int { entries.count }

    // MARK: - What the calls do

    /// Takes an action in.
    ///
    /// - Parameters:
    ///   - wallClock: The time of day, against which a call's start is held.
    ///   - effects: Appended to, in order.
    package mutating func submit(
        _ action: CRMAction, at now: Duration, wallClock: Timestamp, effects: inout [Effect]
    ) {
        switch action {
        case .register(let call): submitRegister(call, at: now, wallClock: wallClock, effects: &effects)
        case .finish(let call): submitFinish(call, at: now, wallClock: wallClock, effects: &effects)
        }
    }

    private mutating func submitRegister(
        _ call: CRMCall, at now: Duration, wallClock: Timestamp, effects: inout [Effect]
    ) {
        guard entries[call.callID] == nil, !recent.contains(call.callID) else {
            effects.append(.ignored(callID: call.callID, step: .register, reason: "given before"))
            return
        }
        switch BitrixCallFacts.reading(call, configuration: configuration) {
        case .skip(let reason): effects.append(.skipped(callID: call.callID, reason: reason))
        case .call(let facts):
            insert(
                Entry(call: call, facts: facts), step: .register, at: now, wallClock: wallClock,
                effects: &effects)
        }
    }

    private mutating func submitFinish(
        _ call: CRMCall, at now: Duration, wallClock: Timestamp, effects: inout [Effect]
    ) {
        let callID = call.callID
        guard var entry = entries[callID] else {
            finishUnknown(call, at: now, wallClock: wallClock, effects: &effects)
            return
        }
        guard entry.ended == nil else {
            effects.append(.ignored(callID: callID, step: .finish, reason: "given before"))
            return
        }
        entry.ended = call
        switch entry.stage {
        case .register:
            // Nothing was sent yet, so what is known now, at the end, is what the portal is told.
            if entry.attempts == 0,
                case .call(let facts) = BitrixCallFacts.reading(call, configuration: configuration)
            {
                entry.facts = facts
            }
        case .registered(let bitrixCallID):
            entry.stage = .finishing(bitrixCallID: bitrixCallID)
            due.insert(callID, due: now)
        case .closed:
            entries[callID] = nil
            recent.insert(callID)
            effects.append(.dropped(callID: callID, step: .finish, reason: Self.noRegister))
            return
        case .finishing: break
        }
        entries[callID] = entry
    }

    /// A finish whose register this run of the daemon did not see.
    private mutating func finishUnknown(
        _ call: CRMCall, at now: Duration, wallClock: Timestamp, effects: inout [Effect]
    ) {
        let callID = call.callID
        if recent.contains(callID) {
            effects.append(.ignored(callID: callID, step: .finish, reason: "the call is done"))
            return
        }
        switch BitrixCallFacts.reading(call, configuration: configuration) {
        case .skip(let reason):
            effects.append(.ignored(callID: callID, step: .finish, reason: reason.description))
        case .call(let facts):
            let age = Duration.microseconds(wallClock.microseconds - call.startedAt.microseconds)
            guard age < Self.recognitionWindow else {
                effects.append(
                    .dropped(
                        callID: callID, step: .finish,
                        reason:
                            "its register is not known here and too old for the portal to recognise a repeat")
                )
                return
            }
            var entry = Entry(call: call, facts: facts)
            entry.ended = call
            insert(entry, step: .finish, at: now, wallClock: wallClock, effects: &effects)
        }
    }

    private mutating func insert(
        _ entry: Entry, step: Step, at now: Duration, wallClock: Timestamp, effects: inout [Effect]
    ) {
        if entries.count >= configuration.maximumCalls, now >= nextSweep {
            nextSweep = now + Self.sweepInterval
            sweep(wallClock: wallClock, effects: &effects)
        }
        guard entries.count < configuration.maximumCalls else {
            effects.append(
                .dropped(
                    callID: entry.call.callID, step: step,
                    reason: "\(configuration.maximumCalls) calls are held already (BITRIX_MAX_CALLS)"))
            return
        }
        entries[entry.call.callID] = entry
        due.insert(entry.call.callID, due: now)
    }

    private mutating func sweep(wallClock: Timestamp, effects: inout [Effect]) {
        for (callID, entry) in entries where entry.ended == nil && !entry.isUnderWay {
            let age = Duration.microseconds(wallClock.microseconds - entry.call.startedAt.microseconds)
            guard age > Self.maximumCallAge else { continue }
            entries[callID] = nil
            effects.append(
                .dropped(
                    callID: callID, step: .finish, reason: "its end was never told, and the room is needed"))
        }
    }

    /// Takes up calls that the store holds as registered, so that their finish finds the portal's id.
    ///
    /// Call before anything is submitted.
    package mutating func resume(_ pending: [PendingCall]) {
        for open in pending where entries.count < configuration.maximumCalls {
            guard let bitrixCallID = open.bitrixCallID,
                case .call(let facts) = BitrixCallFacts.reading(open.call, configuration: configuration)
            else { continue }
            entries[open.call.callID] = Entry(
                call: open.call, facts: facts, stage: .registered(bitrixCallID: bitrixCallID))
        }
    }

    // MARK: - What is sent

    /// The next request, if one is due, allowed by the portal's limits, and within the connections there are.
    package mutating func next(at now: Duration) -> Departure? {
        guard underWay < configuration.maximumConnections, let first = due.firstDue, first <= now,
            pacer.nextRoom(at: now) <= now
        else { return nil }
        while let callID = due.popFirst(dueBy: now) {
            guard var entry = entries[callID], let command = command(for: entry) else { continue }
            if let until = held[command.method], until > now {
                due.insert(callID, due: until)
                continue
            }
            guard pacer.take(at: now) else {
                due.insert(callID, due: pacer.nextRoom(at: now))
                return nil
            }
            entry.attempts += 1
            entry.isUnderWay = true
            entries[callID] = entry
            underWay += 1
            return Departure(callID: callID, command: command)
        }
        return nil
    }

    /// When ``next(at:)`` is worth asking again, apart from new actions and replies; nil when only those matter.
    package func nextWake(at now: Duration) -> Duration? {
        guard underWay < configuration.maximumConnections, let first = due.firstDue else { return nil }
        return max(first, pacer.nextRoom(at: now))
    }

    private func command(for entry: Entry) -> BitrixCommand? {
        switch entry.stage {
        case .register:
            // A card is for the person whose phone rings now: not for the fallback user, not for the past.
            var showsCard = configuration.showsCard && entry.ended == nil
            if case .userID = entry.facts.user { showsCard = false }
            return .register(
                entry.call, as: entry.facts, showsCard: showsCard, configuration: configuration)
        case .finishing(let bitrixCallID):
            guard let ended = entry.ended else { return nil }
            return .finish(ended, bitrixCallID: bitrixCallID, as: entry.facts, configuration: configuration)
        case .registered, .closed: return nil
        }
    }

    // MARK: - What comes back

    /// Takes in what came of a request.
    package mutating func replied(
        to departure: Departure, _ reply: BitrixReply, at now: Duration, effects: inout [Effect]
    ) {
        let callID = departure.callID
        guard var entry = entries[callID], entry.isUnderWay else { return }
        entry.isUnderWay = false
        underWay -= 1
        let step: Step = departure.command.method == .register ? .register : .finish
        switch reply {
        case .success(let success):
            succeeded(&entry, departure: departure, success, at: now, effects: &effects)
        case .noAnswer(let mayHaveRun, let reason):
            if mayHaveRun { entry.mayHaveRun = true }
            change(.failing(reason: reason), effects: &effects)
            repeatLater(&entry, step: step, reason: reason, at: now, effects: &effects)
        case .refusal(let refusal):
            refused(&entry, departure: departure, refusal, at: now, effects: &effects)
        }
        if isOver(entry) {
            entries[callID] = nil
            recent.insert(callID)
        } else {
            entries[callID] = entry
        }
    }

    private func isOver(_ entry: Entry) -> Bool {
        guard case .closed = entry.stage else { return false }
        return entry.ended != nil
    }

    private mutating func succeeded(
        _ entry: inout Entry, departure: Departure, _ success: BitrixSuccess, at now: Duration,
        effects: inout [Effect]
    ) {
        fullBucketAnswers = 0
        if let reset = success.operatingResetsAfter {
            operatingResetsAt[departure.command.method] = now + reset
        }
        switch departure.command.method {
        case .register:
            guard let bitrixCallID = success.callID, !bitrixCallID.isEmpty else {
                entry.mayHaveRun = true
                let reason = "the portal's answer has no CALL_ID"
                change(.failing(reason: reason), effects: &effects)
                repeatLater(&entry, step: .register, reason: reason, at: now, effects: &effects)
                return
            }
            change(.ok, effects: &effects)
            entry.attempts = 0
            entry.mayHaveRun = false
            effects.append(
                .registered(
                    callID: departure.callID, bitrixCallID: bitrixCallID, warnings: success.warnings))
            if entry.ended == nil {
                entry.stage = .registered(bitrixCallID: bitrixCallID)
            } else {
                entry.stage = .finishing(bitrixCallID: bitrixCallID)
                due.insert(departure.callID, due: now)
            }
        case .finish:
            change(.ok, effects: &effects)
            finished(&entry, callID: departure.callID, confirmed: true, success.warnings, effects: &effects)
        }
    }

    private func finished(
        _ entry: inout Entry, callID: String, confirmed: Bool, _ warnings: [String], effects: inout [Effect]
    ) {
        entry.stage = .closed
        effects.append(.finished(callID: callID, confirmed: confirmed, warnings: warnings))
    }

    private mutating func refused(
        _ entry: inout Entry, departure: Departure, _ refusal: BitrixRefusal, at now: Duration,
        effects: inout [Effect]
    ) {
        let method = departure.command.method
        let step: Step = method == .register ? .register : .finish
        switch refusal.meaning {
        case .tooManyRequests:
            fullBucketAnswers += 1
            pacer.refused(at: now, holdUntil: now + delay(afterAttempt: fullBucketAnswers))
            repeatLater(&entry, step: step, reason: refusal.summary, at: now, effects: &effects)
        case .methodBlocked:
            let until = max(operatingResetsAt[method] ?? now, now + delay(afterAttempt: entry.attempts))
            held[method] = until
            repeatLater(
                &entry, step: step, reason: refusal.summary, at: now, notBefore: until, effects: &effects)
        case .serverFailure:
            entry.mayHaveRun = true
            change(.failing(reason: refusal.summary), effects: &effects)
            repeatLater(&entry, step: step, reason: refusal.summary, at: now, effects: &effects)
        case .configuration(let problem):
            change(.failing(reason: problem), effects: &effects)
            giveUp(&entry, step: step, callID: departure.callID, reason: problem, effects: &effects)
        case .userUnknown:
            change(.ok, effects: &effects)
            let fallback = BitrixUser.userID(configuration.fallbackUserID)
            guard entry.facts.user != fallback else {
                giveUp(
                    &entry, step: step, callID: departure.callID, reason: refusal.summary, effects: &effects)
                return
            }
            effects.append(
                .userReplaced(callID: departure.callID, from: entry.facts.user, to: fallback))
            entry.facts.user = fallback
            entry.attempts = 0
            due.insert(departure.callID, due: now)
        case .callNotFound where method == .finish && entry.mayHaveRun:
            change(.ok, effects: &effects)
            finished(&entry, callID: departure.callID, confirmed: false, [], effects: &effects)
        case .callNotFound, .refused:
            change(.ok, effects: &effects)
            giveUp(&entry, step: step, callID: departure.callID, reason: refusal.summary, effects: &effects)
        }
    }

    private mutating func repeatLater(
        _ entry: inout Entry, step: Step, reason: String, at now: Duration, notBefore: Duration? = nil,
        effects: inout [Effect]
    ) {
        let callID = entry.call.callID
        guard entry.attempts < configuration.retry.maximumAttempts else {
            giveUp(
                &entry, step: step, callID: callID, reason: "\(reason) (after \(entry.attempts) attempts)",
                effects: &effects)
            return
        }
        let time = max(notBefore ?? now, now + delay(afterAttempt: entry.attempts))
        effects.append(.retrying(callID: callID, step: step, reason: reason, after: time - now))
        due.insert(callID, due: time)
    }

    private func giveUp(
        _ entry: inout Entry, step: Step, callID: String, reason: String, effects: inout [Effect]
    ) {
        entry.stage = .closed
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
    private mutating func delay(afterAttempt attempt: Int) -> Duration {
        let retry = configuration.retry
        let doublings = min(max(0, attempt - 1), 20)
        let full = min(retry.maximumDelay, retry.firstDelay * (1 << doublings))
        let share = Double(random.next() >> 11) / Double(1 << 53)
        return full * (0.5 + 0.5 * share)
    }
}
