package import CallEngine
package import Protocols

/// Decides what is sent to the portal, when, and what its answers mean.
///
/// No socket, no clock.
///
/// One machine per call; at most one request of a call is under way, so its order holds by construction:
///
///     register ──CALL_ID──▶ registered ──call ends──▶ finishing ──done, or given up──▶ closed
///        ├──refused for good──▶ closed ──call ends──▶ (finish dropped)
///        └──call ends before it was sent──▶ register and finish in one batch ──▶ closed
///
/// A closed call that has ended leaves; only its id is remembered for a while.
///
/// A `finish` that comes while `register` is under way waits in the call's entry. Steps that the portal did not
/// answer are repeated for as long as it answers nobody; one that fails while others succeed is given up in the end.
///
/// What is sent is chosen in `BitrixOutbox+Sending.swift`, what answers mean is in `BitrixOutbox+Replies.swift`.
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
    static let noRegister = "the call could not be registered"

    let configuration: BitrixConfiguration
    /// Whether the calls' steps are rows of a table, to be claimed there and to be read from there.
    let keepsSteps: Bool
    /// What is read from the table.
    var feed: CRMFeed
    /// What became of steps since it was last asked for.
    var changes: [CRMStepChange] = []
    /// Registered calls in the order of their registration, which leave first when room is needed.
    private var registered = RegisteredCalls()
    /// The portal's employees, once they were read.
    package var directory: BitrixDirectory?
    var entries: [String: Entry] = [:]
    /// Steps until their time.
    var waiting = DueQueue<Ticket>()
    /// Steps whose time has come.
    var live = DueQueue<Ticket>()
    var ended = DueQueue<Ticket>()
    var liveReady = 0
    var endedReady = 0
    var waitingCount = 0
    private var lastTicket: UInt64 = 0
    private var liveRank: Duration = .zero

    var errands: [(number: Int, command: BitrixCommand)] = []
    private var lastErrand = 0

    /// By how much the portal's clock goes before ours; zero while they agree within ``agreeingClocks``.
    package private(set) var portalIsAhead: Duration = .zero
    /// Clocks that differ by less agree: an answer takes its time too.
    static let agreeingClocks: Duration = .seconds(120)

    var pacer: RequestPacer
    var breaker: CircuitBreaker
    var budgets: [BitrixMethod: OperatingBudget] = [:]
    var statistics = Statistics.unknown
    var statisticsAskedAgainAt: Duration = .zero
    var fullBucketAnswers = 0
    /// When the portal last did what it was asked.
    var lastSuccess: Duration?
    /// The most commands in one batch at the portal's present speed.
    var batchLimit = BitrixCommand.maximumBatchCommands
    /// Since when ended calls are gathered for the next batch.
    var gatheringSince: Duration = .zero
    var liveInARow = 0
    var endedUnderWay = 0

    private var recent = RecentSet<String>(capacity: BitrixOutbox.recentCalls)
    /// Calls that are not for the portal, of which the finish will come.
    private var skipped = RecentSet<String>(capacity: BitrixOutbox.recentCalls)
    private var nextSweep: Duration = .zero
    private var random: SplitMix64
    /// How the link stands.
    package var state = CRMState.ok
    /// Requests sent and not yet answered.
    package internal(set) var underWay = 0
    /// Commands sent and not yet answered.
    package internal(set) var commandsUnderWay = 0

    /// An empty outbox.
    ///
    /// - Parameters:
    ///   - seed: For the jitter of repeats.
    ///   - keepsSteps: Whether the steps are rows of a table; else all there is of them is held here.
    package init(configuration: BitrixConfiguration, seed: UInt64, keepsSteps: Bool = false) {
        self.configuration = configuration
        self.keepsSteps = keepsSteps
        feed = CRMFeed(capacity: configuration.maximumCalls)
        pacer = RequestPacer(perSecond: configuration.requestsPerSecond, burst: configuration.requestBurst)
        breaker = CircuitBreaker(
            threshold: configuration.failuresThatOpenTheCircuit, firstDelay: configuration.retry.firstDelay,
            maximumDelay: configuration.retry.maximumDelay)
        random = SplitMix64(seed: seed)
    }

    /// Steps waiting to be sent or to be repeated.
    package var waitingSteps: Int { waitingCount + liveReady + endedReady }
    /// Calls held.
    package var callCount: Int { entries.count }
    /// Where the circuit breaker stands.
    package var circuit: CircuitBreaker.State { breaker.state }

    /// Compares the portal's clock with ours.
    ///
    /// - Parameter finishedAt: The portal's time of day in an answer that just came, in seconds since 1970.
    /// - Returns: Whether what is known of the difference has changed.
    package mutating func compareClocks(finishedAt: Double, wallClock: Timestamp) -> Bool {
        let seconds = finishedAt - Double(wallClock.microseconds) / 1_000_000
        guard seconds.magnitude < 1e10 else { return false }
        let ahead: Duration = .seconds(Int64(seconds.rounded()))
        let known = portalIsAhead
        // Small changes of a large difference are the time that answers take.
        guard (ahead - known).magnitude > Self.agreeingClocks else { return false }
        portalIsAhead = ahead.magnitude > Self.agreeingClocks ? ahead : .zero
        return portalIsAhead != known
    }

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
        case .telephones(let call): submitTelephones(call, at: now, effects: &effects)
        case .finish(let call): submitFinish(call, at: now, wallClock: wallClock, effects: &effects)
        }
    }

    /// Puts a request that is no call's in line, under the same limits.
    ///
    /// It is sent once; its departure bears the number that is returned.
    package mutating func submitErrand(_ command: BitrixCommand) -> Int {
        lastErrand += 1
        errands.append((lastErrand, command))
        return lastErrand
    }

    private mutating func submitRegister(
        _ call: CRMCall, at now: Duration, wallClock: Timestamp, effects: inout [Effect]
    ) {
        guard entries[call.callID] == nil, !recent.contains(call.callID) else {
            effects.append(.ignored(callID: call.callID, step: .register, reason: "given before"))
            return
        }
        switch reading(call) {
        case .skip(let reason):
            skipped.insert(call.callID)
            noteSkipped(call.callID, .register, reason)
            effects.append(.skipped(callID: call.callID, reason: reason))
        case .call(let facts):
            var entry = Entry(call: call, facts: facts)
            if keepsSteps { entry.rows.register = .waiting }
            insert(entry, step: .register, at: now, wallClock: wallClock, effects: &effects)
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
        if keepsSteps {
            entry.rows.finish = .waiting
            if configuration.recording != nil, call.mayHaveRecording { entry.rows.record = .waiting }
        }
        chooseFinishUser(&entry)
        switch entry.stage {
        case .register:
            // Nothing was sent yet, so what is known now, at the end, is what the portal is told.
            if entry.attempts == 0, !entry.mayHaveRun {
                if case .call(let facts) = reading(call) {
                    entry.facts = facts
                    chooseFinishUser(&entry)
                }
                // From the lane of the live calls to that of the ended ones.
                enqueue(&entry, due: now, at: now)
            }
        case .registered(let bitrixCallID):
            entry.stage = .finishing(bitrixCallID: bitrixCallID)
            // A request for its cards is under way: its answer goes on.
            if entry.place != .underWay { enqueue(&entry, due: now, at: now) }
        case .closed:
            noteRows(&entry)
            forget(callID)
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
        if keepsSteps {
            if skipped.contains(callID), case .skip(let reason) = reading(call) {
                noteSkipped(callID, .finish, reason)
                effects.append(.ignored(callID: callID, step: .finish, reason: reason.description))
            } else {
                // Its register is in the table, or was there before it.
                feed.want(callID)
            }
            return
        }
        if recent.contains(callID) {
            effects.append(.ignored(callID: callID, step: .finish, reason: "the call is done"))
            return
        }
        switch reading(call) {
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
            chooseFinishUser(&entry)
            insert(entry, step: .finish, at: now, wallClock: wallClock, effects: &effects)
        }
    }

    /// Whether a call is known not to be for the portal.
    func isSkipped(_ callID: String) -> Bool { skipped.contains(callID) }

    func reading(_ call: CRMCall) -> BitrixReading {
        BitrixCallFacts.reading(call, configuration: configuration, directory: directory)
    }

    /// Who gets the finished call may be known only at its end; one from outside that nobody answered goes by the settings.
    func chooseFinishUser(_ entry: inout Entry) {
        guard let ended = entry.ended else { return }
        entry.finishUser = nil
        if case .call(let atEnd) = reading(ended), atEnd.userHasPhone, atEnd.user != entry.facts.user,
            atEnd.user != entry.unknownUser
        {
            entry.finishUser = atEnd.user
        }
        guard entry.facts.type == .incoming, ended.outcome != .answered else { return }
        switch configuration.missedCalls {
        case .rung: break
        case .fixed: entry.finishUser = .userID(configuration.fallbackUserID)
        case .responsible: entry.needsSearch = true
        }
    }

    private mutating func insert(
        _ entry: Entry, step: Step, due: Duration? = nil, at now: Duration, wallClock: Timestamp,
        effects: inout [Effect]
    ) {
        if keepsSteps {
            guard hasRoom() else { return feed.leave() }
        } else if entries.count >= configuration.maximumCalls, now >= nextSweep {
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
        var entry = entry
        entry.submittedAt = now
        enqueue(&entry, due: due ?? now, at: now)
        entries[entry.call.callID] = entry
    }

    /// Whether one more call can be held; a registered one, of which the table has all, leaves for it.
    mutating func hasRoom() -> Bool {
        while entries.count >= configuration.maximumCalls {
            guard let callID = registered.popFirst() else { return false }
            if let entry = entries[callID], entry.place == .idle, entry.ended == nil { entries[callID] = nil }
        }
        return true
    }

    /// Notes that a call waits for its end only.
    mutating func nowRegistered(_ callID: String) {
        guard keepsSteps else { return }
        let held = entries
        registered.append(callID, maximum: configuration.maximumCalls) {
            held[$0].map { $0.ended == nil } ?? false
        }
    }

    private mutating func sweep(wallClock: Timestamp, effects: inout [Effect]) {
        for (callID, entry) in entries where entry.ended == nil && entry.place != .underWay {
            let age = Duration.microseconds(wallClock.microseconds - entry.call.startedAt.microseconds)
            guard age > Self.maximumCallAge else { continue }
            leave(entry.place)
            entries[callID] = nil
            effects.append(
                .dropped(
                    callID: callID, step: .finish, reason: "its end was never told, and the room is needed"))
        }
    }

    // MARK: - Queues

    /// Puts a call's next step in line; what was queued for it before no longer counts.
    mutating func enqueue(_ entry: inout Entry, due: Duration, at now: Duration) {
        leave(entry.place)
        lastTicket += 1
        entry.ticket = lastTicket
        guard due <= now else {
            entry.place = .waiting
            waitingCount += 1
            waiting.insert(Ticket(callID: entry.call.callID, number: lastTicket, rank: .zero), due: due)
            return
        }
        makeReady(&entry, at: now)
    }

    /// Puts a call into its lane; its ticket stays.
    mutating func makeReady(_ entry: inout Entry, at now: Duration) {
        if let ended = entry.ended {
            // The oldest first.
            let rank = Duration.microseconds((ended.endedAt ?? ended.startedAt).microseconds)
            push(Ticket(callID: entry.call.callID, number: entry.ticket, rank: rank), .ended, at: now)
            entry.place = .ready(.ended)
        } else {
            liveRank = max(liveRank, now)
            push(Ticket(callID: entry.call.callID, number: entry.ticket, rank: liveRank), .live, at: now)
            entry.place = .ready(.live)
        }
    }

    /// Puts a ticket in its lane.
    mutating func push(_ ticket: Ticket, _ lane: Lane, at now: Duration) {
        if lane == .live {
            live.insert(ticket, due: ticket.rank)
            liveReady += 1
        } else {
            if endedReady == 0 { gatheringSince = now }
            ended.insert(ticket, due: ticket.rank)
            endedReady += 1
        }
    }

    /// Counts a call out of where it was.
    mutating func leave(_ place: Entry.Place) {
        switch place {
        case .idle, .underWay: break
        case .waiting: waitingCount -= 1
        case .ready(.live): liveReady -= 1
        case .ready: endedReady -= 1
        }
    }

    /// Forgets a call that is over, but for its id.
    mutating func forget(_ callID: String) {
        entries[callID] = nil
        if keepsSteps { feed.settled(callID) } else { recent.insert(callID) }
    }

    /// 0 ..< 1.
    mutating func chance() -> Double {
        Double(random.next() >> 11) / Double(1 << 53)
    }
}

extension Duration {
    fileprivate var magnitude: Duration { self < .zero ? .zero - self : self }
}
