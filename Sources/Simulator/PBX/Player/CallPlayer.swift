import Glibc

/// Who gets the events that a player plays.
package protocol EventReceiver: AnyObject {
    /// Takes one event.
    ///
    /// - Parameters:
    ///   - isOfStasisChannel: Whether the owner of the channel gets it without having subscribed.
    ///   - body: The event up to, not including, `"asterisk_id"`; valid until return.
    /// - Returns: Whether anybody got it.
    func played(_ kind: EventKind, isOfStasisChannel: Bool, body: UnsafeRawBufferPointer) -> Bool
}

/// Plays calls on an open-loop schedule: when a call begins depends on the clock alone, never on how fast
/// anybody reads.
///
/// It has no clock and no socket. Times of events are the times they were due, so a player that runs late shows as latency at the reader
/// instead of hiding it (no coordinated omission).
package final class CallPlayer {
    private let configuration: SimulatorConfiguration
    private let scripts: [CallScript]
    private let scriptIndex: [(customer: Int, company: Int)]
    private let renderer: EventRenderer
    private let durations: CallPlan.Durations
    /// No call is longer, in milliseconds.
    private let longestCall: Double

    private var calls: [LiveCall] = []
    private var freeHead: Int32 = -1
    private var wheel = TimingWheel()
    /// The millisecond being played; all before it are done.
    private var clock: Int64
    /// Whether calls of this millisecond were begun already, and a budget ended in the middle of it.
    private var isInsideMillisecond = false
    /// Whether no call begins any more.
    private var isDraining = false
    private var nextArrival: Double
    private var nextSequence: UInt64
    /// Where the first fill begins, and its call that comes next.
    private var firstArrival: Double
    private var nextFirst: UInt64 = 0
    private var arrivals = SeededRandom(seed: 0)
    /// Channels that exist, by the number in their unique id.
    private var channels: [UInt32: Int32] = [:]
    private var finished: [FinishedCall] = []
    private var nextNumber: UInt32

    /// Calls begun, begun and ended, left out because of the bound on calls at once.
    package private(set) var callsStarted: UInt64 = 0
    package private(set) var callsFinished: UInt64 = 0
    package private(set) var callsRefused: UInt64 = 0
    /// Events played, events that somebody got, and bytes of bodies.
    package private(set) var eventsPlayed: UInt64 = 0
    package private(set) var eventsDelivered: UInt64 = 0
    /// Finished calls of which nothing is kept, for the bound was reached.
    package private(set) var truthsDropped: UInt64 = 0
    /// Channels that were continued by the application.
    package private(set) var continued: UInt64 = 0
    /// Calls at once now, and the most there were.
    package var callsActive: Int { Int(callsStarted - callsFinished) }
    package private(set) var mostActive = 0

    /// - Parameters:
    ///   - start: Time of the first possible call, in milliseconds since 1970.
    ///   - scripts: Of the configuration's application, when they were made before; others are not used.
    package init(configuration: SimulatorConfiguration, start: Int64, scripts: CallScripts? = nil) {
        let configuration = configuration.withSteadyLoadWorkedOut()
        self.configuration = configuration
        let known = scripts.flatMap { $0.appName == configuration.appName ? $0 : nil }
        let scripts = known ?? CallScripts(appName: configuration.appName)
        self.scripts = scripts.all
        scriptIndex = scripts.places
        renderer = EventRenderer(
            systemName: configuration.systemName, utcOffsetMinutes: configuration.utcOffsetMinutes,
            maximumBytes: scripts.largestTemplate)
        clock = start
        nextArrival = Double(start)
        firstArrival = Double(start)
        nextSequence = configuration.firstCalls
        nextNumber = max(1, configuration.firstChannelNumber)
        arrivals = SeededRandom(seed: configuration.seed, index: UInt64.max)
        durations = CallPlan.Durations(
            ring: configuration.ringMilliseconds, talk: configuration.talkMilliseconds)
        // Two telephones ring, people speak, and Asterisk takes some time of its own.
        longestCall = Double(2 * durations.ring.upperBound + durations.talk.upperBound + 1000)
        calls.reserveCapacity(min(configuration.maximumConcurrentCalls, 65_536))
    }

    // MARK: Playing

    /// Moves the beginning of the schedule; does nothing once a call has begun.
    package func begin(at start: Int64) {
        guard callsStarted == 0, callsRefused == 0 else { return }
        clock = start
        nextArrival = Double(start)
        firstArrival = Double(start)
        isInsideMillisecond = false
    }

    /// Begins no further call; those that live go on to their end.
    package func drain() { isDraining = true }

    /// Plays what is due up to and including `now`.
    ///
    /// - Parameters:
    ///   - now: Milliseconds since 1970; a time before the last one is taken for the last one.
    ///   - budget: The most events to play; the rest stays due.
    /// - Returns: Whether everything due was played.
    package func advance(to now: Int64, budget: Int, into receiver: any EventReceiver) -> Bool {
        var left = budget
        while clock <= now {
            if !isInsideMillisecond {
                clock = nextDue(by: now + 1)
                guard clock <= now else { return true }
                startDueCalls()
                isInsideMillisecond = true
            }
            var index = wheel.first(at: clock)
            while index >= 0 {
                let next = calls[Int(index)].next
                if calls[Int(index)].due <= clock {
                    if left <= 0 { return false }
                    wheel.remove(index, from: &calls)
                    left -= play(index, receiver)
                }
                index = next
            }
            isInsideMillisecond = false
            clock += 1
        }
        return true
    }

    /// Calls at once up to which it is worth asking each when it goes on.
    private static let fewCalls = 4

    /// The next millisecond in which something is due, or may be; at most `limit`.
    ///
    /// Of a PBX with a call or two hardly any millisecond has anything in it; of one with more it is the next one.
    func nextDue(by limit: Int64) -> Int64 {
        guard calls.count <= Self.fewCalls else { return clock }
        var next = limit
        if !isDraining, nextFirst < configuration.firstCalls {
            let share = Double(nextFirst) / Double(configuration.firstCalls)
            next = min(next, Int64(firstArrival + share * Double(configuration.firstCallsMilliseconds)))
        }
        if !isDraining, configuration.callsPerSecond > 0, nextArrival < Double(next) {
            next = Int64(nextArrival)
        }
        for call in calls where call.step >= 0 && !call.isParked { next = min(next, call.due) }
        return max(clock, next)
    }

    /// Begins the calls whose time has come.
    private func startDueCalls() {
        guard !isDraining else { return }
        let end = Double(clock + 1)
        let first = configuration.firstCalls
        while nextFirst < first {
            let share = Double(nextFirst) / Double(first)
            let due = firstArrival + share * Double(configuration.firstCallsMilliseconds)
            guard due < end else { break }
            start(sequence: nextFirst, due: max(clock, Int64(due)))
            nextFirst += 1
        }
        guard configuration.callsPerSecond > 0 else { return }
        while nextArrival < end {
            let total = callsStarted + callsRefused
            if configuration.totalCalls > 0, total >= UInt64(configuration.totalCalls) { return }
            let due = max(clock, Int64(nextArrival))
            nextArrival += pauseToNext()
            nextSequence += 1
            guard callsActive < configuration.maximumConcurrentCalls else {
                callsRefused += 1
                continue
            }
            start(sequence: nextSequence - 1, due: due)
        }
    }

    /// Milliseconds from the beginning of a call to that of the next one.
    private func pauseToNext() -> Double {
        let even = 1000 / configuration.callsPerSecond
        switch configuration.arrivals {
        case .even: return even
        // Pauses of a Poisson process are distributed exponentially.
        case .poisson: return -log(1 - arrivals.fraction()) * even
        }
    }

    private func start(sequence: UInt64, due: Int64) {
        var plan = self.plan(sequence)
        if sequence < configuration.firstCalls {
            // Calls of the first fill look as if they had begun earlier: their ends are spread evenly over
            // the length of such a call, counted from the beginning of the fill.
            let share = (Double(sequence) + 0.5) / Double(configuration.firstCalls)
            let length = Double(max(1, milliseconds(of: plan)))
            plan.shorten(to: share * max(0, 1 - Double(configuration.firstCallsMilliseconds) / length))
        }
        let indices = scriptIndex[Int(plan.kind.rawValue)]
        var call = LiveCall(
            sequence: sequence, plan: plan,
            script: plan.customerHangsUp ? indices.customer : indices.company, due: due)
        call.startedAt = due
        let index: Int32
        if freeHead >= 0 {
            index = freeHead
            freeHead = calls[Int(index)].next
            calls[Int(index)] = call
        } else {
            index = Int32(calls.count)
            calls.append(call)
        }
        callsStarted += 1
        mostActive = max(mostActive, callsActive)
        wheel.insert(index, into: &calls)
    }

    private func plan(_ sequence: UInt64) -> CallPlan {
        if sequence < configuration.firstCalls { return firstPlan(sequence) }
        return CallPlan(
            seed: configuration.seed, sequence: sequence, mix: configuration.mix, durations: durations,
            agents: configuration.agents)
    }

    /// The plan of a call of the first fill: who looks at a PBX at any moment sees more of the long calls, in
    /// proportion to their length, than begin.
    private func firstPlan(_ sequence: UInt64) -> CallPlan {
        var random = SeededRandom(seed: ~configuration.seed, index: sequence)
        for _ in 0..<64 {
            let plan = CallPlan(
                seed: random.next(), sequence: sequence, mix: configuration.mix, durations: durations,
                agents: configuration.agents)
            if random.fraction() * longestCall < Double(milliseconds(of: plan)) { return plan }
        }
        return CallPlan(
            seed: configuration.seed, sequence: sequence, mix: configuration.mix, durations: durations,
            agents: configuration.agents)
    }

    /// How long a call of this plan is.
    private func milliseconds(of plan: CallPlan) -> Int {
        script(of: plan).steps.reduce(0) { $0 + Int(plan.milliseconds(of: $1.pause)) }
    }

    private func script(of plan: CallPlan) -> CallScript {
        let indices = scriptIndex[Int(plan.kind.rawValue)]
        return scripts[plan.customerHangsUp ? indices.customer : indices.company]
    }

    /// Plays the step that is due, and those that follow in the same millisecond.
    ///
    /// - Returns: How many events that were.
    private func play(_ index: Int32, _ receiver: any EventReceiver) -> Int {
        let slot = Int(index)
        let steps = scripts[calls[slot].script].steps
        var played = 0
        while true {
            let position = calls[slot].step
            emit(steps[position], of: index, receiver)
            played += 1
            calls[slot].step = position + 1
            guard position + 1 < steps.count else {
                finish(index)
                return played
            }
            let pause = calls[slot].plan.milliseconds(of: steps[position + 1].pause)
            calls[slot].due += Int64(pause)
            if steps[position + 1].marks.contains(.leavesStasis), configuration.stasisWaits {
                calls[slot].isParked = true
                return played
            }
            if calls[slot].due > clock {
                wheel.insert(index, into: &calls)
                return played
            }
        }
    }

    private func emit(_ step: CallScript.Step, of index: Int32, _ receiver: any EventReceiver) {
        let slot = Int(index)
        let now = calls[slot].due
        if let created = step.creates {
            calls[slot].numbers[created] = nextNumber
            calls[slot].created[created] = now
            channels[nextNumber] = index
            nextNumber = nextNumber == UInt32.max ? 1 : nextNumber + 1
        }
        if let opened = step.opensBridge { calls[slot].bridgeCreated[opened] = now }
        if step.marks.contains(.answers) { calls[slot].answeredAt = now }
        if step.marks.contains(.entersStasis) { calls[slot].isInStasis = true }
        if step.marks.contains(.leavesStasis) { calls[slot].isInStasis = false }
        let body = renderer.render(step.body, for: calls[slot], now: now)
        let isDelivered = receiver.played(
            step.kind, isOfStasisChannel: step.marks.contains(.ofStasisChannel), body: body)
        calls[slot].events += 1
        eventsPlayed += 1
        if isDelivered {
            calls[slot].delivered += 1
            eventsDelivered += 1
        }
    }

    private func finish(_ index: Int32) {
        let slot = Int(index)
        let call = calls[slot]
        for leg in 0..<3 where call.numbers[leg] != 0 { channels[call.numbers[leg]] = nil }
        callsFinished += 1
        if finished.count < configuration.truthLimit {
            finished.append(
                FinishedCall(
                    sequence: call.sequence, startedAt: call.startedAt, answeredAt: call.answeredAt,
                    endedAt: call.due, number: call.numbers[0], events: call.events,
                    delivered: call.delivered))
        } else {
            truthsDropped += 1
        }
        calls[slot].step = -1
        calls[slot].next = freeHead
        freeHead = index
    }

    // MARK: What applications ask

    /// What came of a request about a channel.
    package enum ContinueResult: Sendable { case continued, notInStasis, notFound }

    /// `POST /channels/{id}/continue`: the channel leaves Stasis now.
    package func continueChannel(_ id: String, now: Int64) -> ContinueResult {
        guard let dot = id.lastIndex(of: "."), let number = UInt32(id[id.index(after: dot)...]),
            let index = channels[number]
        else { return .notFound }
        let slot = Int(index)
        guard number == calls[slot].numbers[0], calls[slot].isInStasis else { return .notInStasis }
        continued += 1
        if calls[slot].isParked {
            calls[slot].isParked = false
        } else {
            // Due in this millisecond already: it is about to be played.
            if calls[slot].due <= clock { return .continued }
            wheel.remove(index, from: &calls)
        }
        calls[slot].due = max(clock, now)
        wheel.insert(index, into: &calls)
        return .continued
    }

    /// Appends the objects of `GET /channels` or `/bridges`, separated by commas.
    package func appendSnapshot(bridges: Bool, to output: inout [UInt8]) {
        var isFirst = true
        for call in calls where call.step > 0 {
            let step = scripts[call.script].steps[call.step - 1]
            for template in bridges ? step.bridges : step.channels {
                if !isFirst { output.append(0x2C) }
                isFirst = false
                output.append(contentsOf: renderer.render(template, for: call, now: call.due))
            }
        }
    }

    // MARK: The truth

    /// What happened in every call kept, finished ones first in the order of their end, then those that live.
    package func forEachTruth(_ body: (CallTruth) -> Void) {
        for call in finished { body(truth(of: call)) }
        for call in calls where call.step > 0 {
            var truth = truth(
                of: FinishedCall(
                    sequence: call.sequence, startedAt: call.startedAt, answeredAt: call.answeredAt,
                    endedAt: 0, number: call.numbers[0], events: call.events, delivered: call.delivered))
            truth.status = call.answeredAt == 0 ? "ringing" : "answered"
            truth.outcome = ""
            body(truth)
        }
    }

    /// All truths in one array, for tests.
    package var truths: [CallTruth] {
        var all: [CallTruth] = []
        forEachTruth { all.append($0) }
        return all
    }

    /// Time as ARI writes it.
    package func timeText(_ milliseconds: Int64) -> String { renderer.timeText(milliseconds) }

    private func truth(of call: FinishedCall) -> CallTruth {
        let plan = plan(call.sequence)
        return CallTruth(
            callID: renderer.callID(startedAt: call.startedAt, number: call.number),
            sequence: call.sequence, kind: plan.kind,
            direction: plan.kind.isOutbound ? "outbound" : "inbound", caller: plan.callerNumber,
            callee: plan.dialled, status: "finished", outcome: plan.kind.outcome,
            startedAt: call.startedAt, answeredAt: call.answeredAt, endedAt: call.endedAt,
            events: Int(call.events), delivered: Int(call.delivered))
    }

    /// Mean events of a call and mean length of it, over many plans: what a steady load is worked out from.
    package static func means(
        of configuration: SimulatorConfiguration
    ) -> (events: Double, milliseconds: Double) {
        var configuration = configuration
        configuration.steadyLoad = nil
        let player = CallPlayer(configuration: configuration, start: 0)
        let samples: UInt64 = 2000
        var events = 0
        var milliseconds = 0
        for sequence in 0..<samples {
            let plan = player.plan(sequence)
            events += player.script(of: plan).steps.count
            milliseconds += player.milliseconds(of: plan)
        }
        return (Double(events) / Double(samples), Double(milliseconds) / Double(samples))
    }
}
