package import CallEngine
import Protocols

/// Decides which step of which call is delivered when, and what became of it; no socket, no clock.
///
/// Of one call one step is under way, its begin before its end. What was not taken is tried again, ever more seldom, and given
/// up after a day; a receiver that takes nothing is tried with one delivery at a time.
package struct WebhookOutbox {
    /// A step to be delivered now.
    package struct Delivery: Sendable, Hashable {
        package var key: CRMStepKey
        package var call: CRMCall
        /// Tries before this one.
        package var attempts: Int
    }

    /// What came of a delivery.
    package enum Outcome: Sendable, Hashable {
        case taken
        /// Nobody took it, or nobody knows.
        case failed(reason: String)
        /// The receiver wants no more of it.
        case gone
    }

    private struct Part {
        var call: CRMCall
        var attempts = 0
        var due: Duration
        /// When it was written.
        var since: Duration
    }

    private struct Entry {
        /// What is to be done, the first first.
        var parts: [(kind: CRMStepKind, part: Part)] = []
        var isUnderWay = false
        var ticket = 0
    }

    private struct Ticket {
        var callID: String
        var number: Int
    }

    private let configuration: WebhookConfiguration
    private var feed: CRMFeed
    private var entries: [String: Entry] = [:]
    private var due = DueQueue<Ticket>()
    private var lastTicket = 0
    private var underWay = 0
    private var changes: [CRMStepChange] = []
    private var breaker: CircuitBreaker
    private var random: SplitMix64

    package init(configuration: WebhookConfiguration, seed: UInt64) {
        self.configuration = configuration
        feed = CRMFeed(capacity: configuration.maximumCalls)
        breaker = CircuitBreaker(
            threshold: 5, firstDelay: configuration.firstDelay, maximumDelay: configuration.maximumDelay)
        random = SplitMix64(seed: seed)
    }

    /// Calls held.
    package var callCount: Int { entries.count }
    /// Whether the receiver takes deliveries.
    package var circuit: CircuitBreaker.State { breaker.state }

    // MARK: - Steps come

    /// Takes an action in that has become durable.
    package mutating func submit(_ action: CRMAction, at now: Duration) {
        switch action {
        case .register(let call): add(.register, call, due: now, since: now)
        case .finish(let call):
            // Its begin may wait in the table.
            if entries[call.callID] == nil {
                feed.want(call.callID)
            } else {
                add(.finish, call, due: now, since: now)
            }
        case .telephones: break
        }
    }

    private mutating func add(_ kind: CRMStepKind, _ call: CRMCall, due time: Duration, since: Duration) {
        guard entries[call.callID] != nil || entries.count < configuration.maximumCalls else {
            return feed.leave()
        }
        var entry = entries[call.callID] ?? Entry()
        guard !entry.parts.contains(where: { $0.kind == kind }) else { return }
        entry.parts.append((kind, Part(call: call, due: time, since: since)))
        entry.parts.sort { $0.kind == .register && $1.kind != .register }
        enqueue(&entry, call.callID)
        entries[call.callID] = entry
    }

    private mutating func enqueue(_ entry: inout Entry, _ callID: String) {
        guard !entry.isUnderWay, let first = entry.parts.first else { return }
        lastTicket += 1
        entry.ticket = lastTicket
        due.insert(Ticket(callID: callID, number: lastTicket), due: first.part.due)
    }

    /// What to read from the table now, if anything.
    package mutating func nextLoad(at now: Duration) -> CRMStepLoad? { feed.next(room: room, at: now) }

    private var room: CRMFeed.Room {
        CRMFeed.Room(
            forPages: configuration.maximumCalls * 3 / 4 - entries.count,
            forCalls: configuration.maximumCalls - entries.count)
    }

    /// Takes in what was read.
    package mutating func loaded(_ load: CRMStepLoad, _ rows: CRMStepRows, at now: Duration) {
        for call in feed.took(load, rows, at: now) where entries[call.callID] == nil {
            for kind in [CRMStepKind.register, .finish] {
                guard let step = call[kind], step.state.isOpen else { continue }
                guard let told = step.call else {
                    changes.append(
                        CRMStepChange(
                            step.key, .failed, attempts: step.attempts,
                            error: "what is stored of the call cannot be read"))
                    continue
                }
                var wait = step.dueIn
                if step.state == .sending, let ago = step.sentAgo {
                    wait = max(wait, CRMStepClaim.abandonedAfter + .seconds(5) - ago)
                }
                add(kind, told, due: now + wait, since: now - step.age)
                if let place = entries[call.callID]?.parts.firstIndex(where: { $0.kind == kind }) {
                    entries[call.callID]?.parts[place].part.attempts = step.attempts
                }
            }
        }
    }

    /// What became of steps, to be written before anything else is claimed.
    package mutating func takeChanges() -> [CRMStepChange] {
        defer { changes.removeAll() }
        return changes
    }

    // MARK: - Steps go

    /// The next delivery, if one is due.
    package mutating func next(at now: Duration) -> Delivery? {
        guard underWay < configuration.maximumConnections, let chance = breaker.nextChance(at: now),
            chance <= now
        else { return nil }
        while let ticket = due.popFirst(dueBy: now) {
            guard var entry = entries[ticket.callID], entry.ticket == ticket.number, !entry.isUnderWay,
                let first = entry.parts.first
            else { continue }
            entry.isUnderWay = true
            entries[ticket.callID] = entry
            underWay += 1
            breaker.sent()
            return Delivery(
                key: CRMStepKey(callID: ticket.callID, kind: first.kind), call: first.part.call,
                attempts: first.part.attempts)
        }
        return nil
    }

    /// When ``next(at:)`` or ``nextLoad(at:)`` is worth asking again.
    package func nextWake(at now: Duration) -> Duration? {
        var wake = feed.nextWake(room: room)
        if underWay < configuration.maximumConnections, let first = due.firstDue,
            let chance = breaker.nextChance(at: now)
        {
            wake = min(wake ?? max(first, chance), max(first, chance))
        }
        return wake.map { max($0, now) }
    }

    /// The table did not grant a delivery's claim: it knows better.
    package mutating func refused(_ delivery: Delivery, at now: Duration) {
        underWay -= 1
        breaker.notSent(at: now)
        entries[delivery.key.callID] = nil
        feed.want(delivery.key.callID)
    }

    /// Takes in what came of a delivery.
    package mutating func replied(to delivery: Delivery, _ outcome: Outcome, at now: Duration) {
        underWay -= 1
        let callID = delivery.key.callID
        guard var entry = entries[callID], entry.isUnderWay, let first = entry.parts.first else { return }
        entry.isUnderWay = false
        let attempts = first.part.attempts + 1
        switch outcome {
        case .taken:
            breaker.succeeded()
            settle(&entry, callID, .done, nil, attempts)
        case .gone:
            breaker.succeeded()
            settle(&entry, callID, .failed, "the receiver wants no more of it (410)", attempts)
        case .failed(let reason):
            breaker.failed(at: now, jitter: chance())
            if now - first.part.since >= configuration.maximumAge {
                settle(&entry, callID, .failed, reason, attempts)
            } else {
                let full = min(
                    configuration.maximumDelay, configuration.firstDelay * (1 << min(attempts - 1, 20)))
                let pause = full * (0.5 + 0.5 * chance())
                entry.parts[0].part.attempts = attempts
                entry.parts[0].part.due = now + pause
                changes.append(
                    CRMStepChange(delivery.key, .doubtful, attempts: attempts, dueIn: pause, error: reason))
            }
        }
        guard !entry.parts.isEmpty else {
            entries[callID] = nil
            return feed.settled(callID)
        }
        enqueue(&entry, callID)
        entries[callID] = entry
    }

    private mutating func settle(
        _ entry: inout Entry, _ callID: String, _ state: CRMStepState, _ error: String?, _ attempts: Int
    ) {
        let kind = entry.parts.removeFirst().kind
        changes.append(
            CRMStepChange(CRMStepKey(callID: callID, kind: kind), state, attempts: attempts, error: error))
    }

    private mutating func chance() -> Double { Double(random.next() >> 11) / Double(1 << 53) }
}
