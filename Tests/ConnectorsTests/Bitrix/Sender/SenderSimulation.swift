import CallEngine
import Connectors
import Protocols
import Simulator
import Testing

/// The outbox, its table and the fake portal with nothing but time between them: hours pass in milliseconds.
final class SenderSimulation {
    /// One call as the judge knows it.
    struct Truth {
        var call: CRMCall
        var type: Int
        var number: String
        var userID: Int
        var status: String
        var duration: Int

        /// Leaves the call its end and gives it an earlier one, so many seconds after its beginning.
        mutating func shorten(to seconds: Int64) {
            let end = Timestamp(microseconds: call.startedAt.microseconds + seconds * 1_000_000)
            call.endedAt = end
            guard call.answeredAt != nil else { return }
            call.answeredAt = Timestamp(microseconds: end.microseconds - 3_000_000)
            duration = 3
        }
    }

    private struct Pending {
        enum Kind {
            case answer(BitrixOutbox.Departure, BitrixAnswer)
            case write([CRMStepChange])
            case claim(BitrixOutbox.Departure)
            case load(CRMStepLoad)
        }

        var due: Duration
        var order: Int
        var kind: Kind
    }

    static let users =
        [PortalSettings.User(id: 1, name: "Admin")]
        + (0..<40).map {
            PortalSettings.User(id: 10 + $0, name: "User \($0)", extensionNumber: "\(200 + $0)")
        }

    var outbox: BitrixOutbox
    var portal: FakeBitrixPortal
    var now: Duration = .seconds(1000)
    /// The time of day at ``now`` = 0.
    let epoch = BitrixFixtures.start.microseconds - 1_000_000_000
    private(set) var effects: [BitrixOutbox.Effect] = []
    private(set) var departures: [BitrixOutbox.Departure] = []
    private var pending: [Pending] = []
    private var actions: [(due: Duration, action: CRMAction)] = []
    private let configuration: BitrixConfiguration
    private let decoder = BitrixReplyDecoder()
    /// What the database holds of the steps; it survives a crash.
    var steps = SimulatedSteps()
    /// From asking the database for something to its being done.
    var databaseTime: Duration = .milliseconds(3)
    private var run = 1
    /// The part of an answer's way that does not depend on what is asked.
    var latency: Duration = .milliseconds(40)
    /// While this holds the portal cannot be reached.
    var isDown: (Duration) -> Bool = { _ in false }
    private var sequence = 0

    init(
        seed: UInt64 = 1, arrange: (inout PortalSettings) -> Void = { _ in },
        configure: (inout BitrixConfiguration) -> Void = { _ in }
    ) throws {
        var settings = PortalSettings()
        settings.users = Self.users
        settings.defaultRunningTime = 0.02
        settings.maximumStatistics = 50_000
        settings.maximumLogEntries = 200_000
        arrange(&settings)
        portal = FakeBitrixPortal(settings: settings, seed: seed)
        configuration = try BitrixFixtures.configuration(configure)
        outbox = BitrixOutbox(configuration: configuration, seed: seed, keepsSteps: true)
    }

    func wallClock(at time: Duration) -> Timestamp {
        Timestamp(microseconds: epoch + Int64(time / .microseconds(1)))
    }

    /// Something happens at a time.
    func schedule(_ action: CRMAction, at due: Duration) {
        actions.append((due, action))
    }

    /// Runs until nothing is left to do, or to `limit`.
    func run(until limit: Duration) {
        actions.sort { $0.due < $1.due }
        var nextAction = 0
        while now < limit {
            while nextAction < actions.count, actions[nextAction].due <= now {
                let action = actions[nextAction].action
                // The batch is durable, and then the sender hears of it.
                steps.insert(action, at: now)
                outbox.submit(action, at: now, wallClock: wallClock(at: now), effects: &effects)
                nextAction += 1
            }
            while let first = pending.first, first.due <= now {
                pending.removeFirst()
                happened(first.kind)
            }
            pump()
            if pending.isEmpty, nextAction == actions.count, outbox.waitingSteps == 0, steps.openCount == 0 {
                break
            }
            var next: Duration?
            for time in [
                nextAction < actions.count ? actions[nextAction].due : nil, pending.first?.due,
                outbox.nextWake(at: now),
            ] {
                if let time { next = min(next ?? time, time) }
            }
            guard let next else { break }
            // A wake that is not ahead would be a busy loop.
            now = max(next, now + .microseconds(1))
        }
        actions.removeFirst(nextAction)
    }

    private func happened(_ kind: Pending.Kind) {
        switch kind {
        case .answer(let departure, let answer):
            outbox.replied(to: departure, answer, at: now, effects: &effects)
        case .write(let changes): steps.write(changes, at: now)
        case .claim(let departure):
            let granted = steps.claim(departure.claims, by: run, at: now)
            if let departure = outbox.claimed(departure, granted, at: now) { send(departure) }
        case .load(let load):
            outbox.loaded(load, steps.load(load, at: now), at: now, effects: &effects)
        }
    }

    /// What the client does after each thing that happens.
    private func pump() {
        let changes = outbox.takeChanges()
        if !changes.isEmpty { ask(.write(changes)) }
        if let load = outbox.nextLoad(at: now) { ask(.load(load)) }
        while let departure = outbox.next(at: now) {
            if departure.claims.isEmpty { send(departure) } else { ask(.claim(departure)) }
        }
    }

    /// The database does things in their order.
    private func ask(_ kind: Pending.Kind) { later(kind, at: now + databaseTime) }

    private func send(_ departure: BitrixOutbox.Departure) {
        departures.append(departure)
        let timeout = departure.isBatch ? configuration.batchTimeout : configuration.requestTimeout
        if isDown(now) {
            return answer(
                departure, .whole(.noAnswer(mayHaveRun: false, reason: "refused")), at: now + .milliseconds(5)
            )
        }
        let reply = portal.handle(
            PortalRequest(
                target: configuration.webhook.target(of: departure.method),
                contentType: "application/x-www-form-urlencoded", body: departure.formBody),
            at: wallClock(at: now))
        var time = latency
        for part in departure.parts {
            let seconds =
                portal.settings.runningTime[part.command.method.rawValue]
                ?? portal.settings.defaultRunningTime
            time += .seconds(seconds)
        }
        switch reply.delivery {
        case .cut:
            answer(departure, .whole(.noAnswer(mayHaveRun: true, reason: "cut")), at: now + time)
            return
        case .after(let delay): time += delay
        case .now: break
        }
        guard time < timeout else {
            answer(departure, .whole(.noAnswer(mayHaveRun: true, reason: "time-out")), at: now + timeout)
            return
        }
        answer(
            departure, decoder.decode(departure, status: reply.status, body: reply.body), at: now + time)
    }

    private func answer(_ departure: BitrixOutbox.Departure, _ answer: BitrixAnswer, at due: Duration) {
        later(.answer(departure, answer), at: due)
    }

    private func later(_ kind: Pending.Kind, at due: Duration) {
        sequence += 1
        let index = pending.firstIndex { $0.due > due } ?? pending.count
        pending.insert(Pending(due: due, order: sequence, kind: kind), at: index)
    }

    /// kill -9 and a new start: what was in memory is gone, what the database was asked for and had not done, and the
    /// answer to what is under way.
    func killAndStart(seed: UInt64) {
        pending = []
        run += 1
        outbox = BitrixOutbox(configuration: configuration, seed: seed, keepsSteps: true)
    }

    // MARK: - Calls

    /// Calls of all kinds that began and ended before ``now``, one second apart, and what the portal must hold of each.
    func calls(_ count: Int, seed: UInt64, endedAgo: Int64 = 7200) -> [Truth] {
        var random = SimulationRandom(state: seed)
        return (0..<count).map { index in
            let isIncoming = Bool.random(using: &random)
            let user = Int.random(in: 0..<40, using: &random)
            let number = "+7999\(1_000_000 + index)"
            let talk = Int64.random(in: 1...300, using: &random)
            let outcome = [CallOutcome.answered, .answered, .noAnswer, .busy].randomElement(using: &random)
            let end = wallClock(at: now).microseconds - (endedAgo + Int64(count - index)) * 1_000_000
            var call = CRMCall(
                callID: "s\(seed).\(index)", direction: isIncoming ? .inbound : .outbound,
                callerNumber: isIncoming ? number : "\(200 + user)",
                calleeNumber: isIncoming ? "\(200 + user)" : number,
                startedAt: Timestamp(microseconds: end - (talk + 20) * 1_000_000))
            call.endedAt = Timestamp(microseconds: end)
            call.outcome = outcome ?? .answered
            var status = "486"
            if call.outcome == .answered {
                call.answeredAt = Timestamp(microseconds: end - talk * 1_000_000)
                status = "200"
            } else if call.outcome == .noAnswer {
                status = isIncoming ? "304" : "480"
            }
            return Truth(
                call: call, type: isIncoming ? 2 : 1, number: number, userID: 10 + user, status: status,
                duration: call.outcome == .answered ? Int(talk) : 0)
        }
    }

    /// The same calls, but beginning at ``now`` one after the other.
    func shifted(_ truth: [Truth], apart: Duration) -> [Truth] {
        truth.enumerated().map { index, item in
            var item = item
            let delta =
                wallClock(at: now + apart * index).microseconds - item.call.startedAt.microseconds
            item.call.startedAt.microseconds += delta
            item.call.answeredAt?.microseconds += delta
            item.call.endedAt?.microseconds += delta
            return item
        }
    }

    static func begun(_ call: CRMCall) -> CRMCall {
        var call = call
        call.answeredAt = nil
        call.endedAt = nil
        call.outcome = .none
        call.hangupCause = 0
        return call
    }

    /// Register and finish come at the times of day when the call begins and ends.
    func schedule(live truth: [Truth]) {
        for item in truth {
            let start = Duration.microseconds(item.call.startedAt.microseconds - epoch)
            let end = Duration.microseconds((item.call.endedAt ?? item.call.startedAt).microseconds - epoch)
            schedule(.register(Self.begun(item.call)), at: start)
            schedule(.finish(item.call), at: end)
        }
    }

    /// Both come now: a backlog.
    func schedule(backlog truth: [Truth]) {
        for item in truth {
            schedule(.register(Self.begun(item.call)), at: now)
            schedule(.finish(item.call), at: now)
        }
    }

    /// The ledger against the truth: each call exactly one activity, right in everything; no orphans.
    ///
    /// - Parameter mayLeaveOpen: Registrations that nobody can recognise again may stay open in the portal; they
    ///   have no card and no activity.
    func judge(
        _ truth: [Truth], mayLeaveOpen: Bool = false, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        var rows: [String: [StatisticsRow]] = [:]
        for row in portal.statistics.values { rows[row.call.externalCallID ?? "", default: []].append(row) }
        var wrong: [String] = []
        for item in truth {
            let found = rows["pbx1-\(item.call.callID)"] ?? []
            guard found.count == 1, let row = found.first else {
                wrong.append("\(item.call.callID): \(found.count) activities")
                continue
            }
            if row.call.type != item.type || row.call.phoneNumber != item.number || row.userID != item.userID
                || row.statusCode != item.status || row.duration != item.duration || row.activityID == nil
            {
                wrong.append("\(item.call.callID): \(row)")
            }
        }
        #expect(wrong.isEmpty, "\(wrong.prefix(3)) and so on: \(wrong.count)", sourceLocation: sourceLocation)
        #expect(portal.statistics.count == truth.count, sourceLocation: sourceLocation)
        #expect(
            portal.entities.count == Set(truth.map(\.number)).count, "one lead for each number",
            sourceLocation: sourceLocation)
        if !mayLeaveOpen {
            #expect(portal.activeCalls.isEmpty, "calls left open", sourceLocation: sourceLocation)
        }
        let present = Set(portal.settings.users.filter(\.isActive).map(\.id))
        let cards = portal.cards.reduce(0) { $0 + (present.contains($1.key) ? $1.value.count : 0) }
        #expect(cards == 0, "orphan cards", sourceLocation: sourceLocation)
        #expect(outbox.callCount == 0 && outbox.waitingSteps == 0, sourceLocation: sourceLocation)
        #expect(outbox.underWay == 0 && outbox.commandsUnderWay == 0, sourceLocation: sourceLocation)
        let dropped = effects.count { if case .dropped = $0 { true } else { false } }
        #expect(dropped == 0, sourceLocation: sourceLocation)
        #expect(steps.openCount == 0, "steps left open in the table", sourceLocation: sourceLocation)
        #expect(
            steps.count(.done, .register) == truth.count && steps.count(.done, .finish) == truth.count,
            sourceLocation: sourceLocation)
    }

    func requests(_ method: String) -> Int { portal.requestCounts[method] ?? 0 }

    func refusals(_ code: String) -> Int { portal.refusals.entries.count { $0.code == code } }
}

/// A repeatable generator.
struct SimulationRandom: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return (state ^ (state >> 33)) &* 0xFF51_AFD7_ED55_8CCD
    }
}
