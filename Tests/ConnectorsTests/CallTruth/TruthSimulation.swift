import CallEngine
import Protocols

@testable import Connectors

/// A PBX that knows the truth, a daemon that reads it through everything that goes wrong, and what must hold.
final class TruthSimulation {
    private let plan: TruthPlan
    private let time = TruthTime()
    private let pbx: TruthPBX
    private let stream: TruthStream
    private let store = TruthStore()
    private var casts: [TruthCast] = []
    private var daemon: TruthDaemon?
    private var runs = 0
    private var attempts = 0
    private var isReachable = true
    private(set) var problems: [String] = []
    /// Calls that were told of at least once.
    private var told: Set<Int> = []
    /// Calls that lived wholly where nobody looked.
    private(set) var hidden = 0
    /// Calls that a list which was late brought back, or kept.
    private(set) var ghosts = 0
    /// Calls with all their events, and calls without.
    private(set) var whole = 0
    private(set) var broken = 0
    var steps: Int { time.steps }
    var eventCount: Int { stream.events.count }

    /// Bounds of a clock read over a connection: what it takes to arrive, and milliseconds cut off.
    private static let slack: Int64 = 40_000

    init(_ plan: TruthPlan) {
        self.plan = plan
        var chance = Chance(plan.seed &+ 77)
        pbx = TruthPBX(
            time: time, clockOffset: TruthStream.epoch + .milliseconds(plan.clockOffset),
            disorder: .milliseconds(plan.disorder), listLag: .milliseconds(plan.listLag),
            chance: Chance(chance.next()))
        let stalls = plan.incidents.filter { $0.fault == .stall }.map {
            Int64.milliseconds($0.start)..<Int64.milliseconds($0.start + $0.length)
        }
        stream = TruthStream(time: time, pbx: pbx, stalls: stalls)
    }

    /// What was sent and what came of it, for a person.
    var story: String {
        var lines = stream.events.map { event in
            let stamp = event.stamp - TruthStream.epoch
            let channel =
                "\(event.channel.id.suffix(3))<\(event.channel.linkedID.suffix(3)) \(event.channel.state)"
            let more =
                "\(event.dialStatus) \(event.bridge?.id ?? "") \(event.cause)\(event.isSoft ? " soft" : "")"
            return "\(stamp / 1000) \(event.kind) \(event.channel.name) \(channel) \(more)"
        }
        for gap in store.gaps { lines.append("gap \(gap)") }
        for (id, row) in store.rows.sorted(by: { $0.key < $1.key }) {
            let (record, facts) = (row.record, row.facts ?? CallFacts())
            let times = [record.startedAt, record.answeredAt, facts.talkStartedAt, record.endedAt].map {
                $0.map { "\(($0.microseconds - TruthStream.epoch) / 1000)" } ?? "-"
            }
            lines.append(
                "row \(id.suffix(3)) \(record.status) \(record.outcome) by \(facts.rule)"
                    + " began, up, talk, end \(times) flags \(record.flags.rawValue)")
        }
        return lines.joined(separator: "\n")
    }

    /// Plays all of it.
    func run() {
        start()
        for (number, play) in plan.plays.enumerated() {
            let cast = TruthCast(pbx: pbx, play: number, seed: play.seed, at: .milliseconds(play.start))
            cast.perform(play.kind)
            casts.append(cast)
        }
        for incident in plan.incidents {
            time.at(.milliseconds(incident.start)) { [unowned self] in befall(incident) }
        }
        let lastFault = plan.incidents.map { Int64.milliseconds($0.start + $0.length) }.max() ?? 0
        let end = max(casts.map(\.now).max() ?? 0, lastFault) + .milliseconds(16_000)
        time.at(end) { [unowned self] in
            // Whatever is still lost is found by a last connection, and by the grace after it.
            stream.cut()
            connect(after: 100)
        }
        time.at(end + .milliseconds(30_000)) { [unowned self] in stream.isOver = true }
        while time.step() {}
        daemon?.stop()
        collect()
        check()
    }

    // MARK: The daemon

    private func start() {
        runs += 1
        let made = TruthDaemon(
            time: time, store: store, stream: stream, seed: plan.seed &+ UInt64(runs), asText: plan.asText,
            readsEvents: plan.readsEvents)
        made.onTaken = { [unowned self] in told.insert(stream.events[$0].play) }
        made.onListed = { [unowned self] in for channel in pbx.channels { told.insert(channel.play) } }
        made.onRow = { [unowned self] in watch($0, $1) }
        daemon = made
        connect(after: 100)
    }

    private func connect(after milliseconds: Int) {
        guard let daemon else { return }
        attempts += 1
        let attempt = attempts
        time.after(.milliseconds(milliseconds)) { [unowned self] in
            guard !daemon.isDead, daemon === self.daemon, attempt == attempts else { return }
            guard isReachable else { return connect(after: 200) }
            stream.open(daemon)
        }
    }

    private func collect() {
        ghosts += daemon?.ghosts ?? 0
        problems += daemon?.problems ?? []
    }

    private func befall(_ incident: TruthPlan.Incident) {
        switch incident.fault {
        case .stall: break
        case .refuse: stream.refuse(1 + incident.length / 500)
        case .cut:
            stream.cut()
            connect(after: incident.length)
        case .silence:
            stream.silence()
            time.after(.milliseconds(incident.length)) { [unowned self] in
                stream.cut()
                connect(after: 50)
            }
        case .kill, .stop:
            guard let daemon, !daemon.isDead else { return }
            if incident.fault == .stop { daemon.stop() } else { daemon.die() }
            collect()
            stream.cut()
            // The next run knows what this one had stored; so a call is whole unless more of it was seen than that.
            for cast in casts where cast.calls.contains(where: { isLeftOpen($0) }) {
                if !plan.readsEvents || cast.calls.contains(where: { store.torn.contains($0.id) }) {
                    stream.disturb(cast.play)
                }
            }
            time.after(.milliseconds(incident.length)) { [unowned self] in start() }
        case .crash:
            for call in casts.flatMap(\.calls) where call.isAlive {
                call.wasCutOff = true
                stream.disturb(call.play)
            }
            for cast in casts where cast.calls.contains(where: { $0.startedAt == 0 || $0.isAlive }) {
                stream.disturb(cast.play)
            }
            pbx.crash()
            isReachable = false
            stream.cut()
            connect(after: 100)
            time.after(.milliseconds(incident.length)) { [unowned self] in
                isReachable = true
                pbx.restarted()
            }
        }
    }

    /// A run ended with the call open, or with its end not yet durable.
    private func isLeftOpen(_ call: TruthCall) -> Bool {
        guard call.startedAt != 0 else { return false }
        guard let row = store.rows[call.id], row.record.status == .finished else { return true }
        return store.torn.contains(call.id) || call.endedAt == nil
    }

    // MARK: After each step

    private func watch(_ record: CallRecord, _ details: CallDetails?) {
        let id = record.callID.string
        func expect(_ holds: Bool, _ what: @autoclosure () -> String) {
            if !holds { problems.append("\(id): \(what())") }
        }
        if let answered = record.answeredAt {
            expect(answered >= record.startedAt, "answered before its start")
            if let ended = record.endedAt { expect(ended >= answered, "ended before its answer") }
        }
        if let ended = record.endedAt { expect(ended >= record.startedAt, "ended before its start") }
        if let details {
            let facts = details.facts
            for (name, time) in [
                ("wait", facts.waitMicroseconds), ("ring", facts.ringMicroseconds),
                ("talk", facts.talkMicroseconds), ("hold", facts.holdMicroseconds),
                ("delay", facts.postDialDelayMicroseconds ?? 0),
            ] {
                expect(time >= 0, "a negative \(name)")
            }
            for leg in details.legs {
                expect(leg.talkMicroseconds >= 0 && leg.holdMicroseconds >= 0, "a leg's negative time")
                expect(leg.holdMicroseconds <= leg.talkMicroseconds, "held longer than it talked")
            }
            for segment in details.segments {
                expect(segment.endedAt >= segment.startedAt, "a part backwards")
            }
        }
        guard record.status == .finished, let call = casts.flatMap(\.calls).first(where: { $0.id == id })
        else {
            return
        }
        if record.flags.contains(.merged) {
            expect(call.mergedInto != nil, "taken for a part of another call")
        } else {
            expect(!call.isAlive, "ended while it lives")
        }
    }

    // MARK: At the end

    private func check() {
        let calls = casts.flatMap(\.calls).filter { $0.startedAt != 0 }
        for call in calls { check(call) }
        problems += store.problems
        let known = Set(calls.map(\.id))
        for id in store.rows.keys where !known.contains(id) {
            problems.append("\(id): a call that never was")
        }
    }

    private func check(_ call: TruthCall) {
        func expect(_ holds: Bool, _ what: @autoclosure () -> String) {
            if !holds { problems.append("\(plan.plays[call.play].kind) \(call.id): \(what())") }
        }
        guard let row = store.rows[call.id] else {
            let isHidden = stream.disturbed.contains(call.play)
            expect(isHidden, "no row")
            if isHidden { hidden += 1 }
            return
        }
        let record = row.record
        expect(record.status == .finished, "left open")
        let isWhole = !stream.disturbed.contains(call.play)
        if isWhole { whole += 1 } else { broken += 1 }
        guard call.mergedInto == nil else {
            if isWhole {
                expect(record.flags.contains(.merged), "not part of \(call.mergedInto?.id ?? "")")
                expect(row.facts?.mergedInto.string == call.mergedInto?.id, "part of another call")
            }
            return
        }
        guard let facts = row.facts, let ended = call.endedAt else { return expect(false, "nothing derived") }
        let truth = Truth(call)
        if isWhole {
            expect(!record.flags.contains(.merged), "taken for a part of another call")
            for (what, said, meant) in truth.all(record, facts) {
                expect(said == meant, "\(what) \(said), in truth \(meant)")
            }
            expect(!record.flags.contains(.estimatedEnd), "its end is called estimated")
            return
        }
        checkBroken(row, facts, truth, ended, expect)
    }

    /// Of a call that was not seen whole: nothing invented, and bounds that hold.
    private func checkBroken(
        _ row: TruthStore.Row, _ facts: CallFacts, _ truth: Truth, _ ended: Int64,
        _ expect: (Bool, @autoclosure () -> String) -> Void
    ) {
        let record = row.record
        guard let end = record.endedAt?.microseconds else { return expect(false, "no end") }
        let start = record.startedAt.microseconds
        expect(start >= truth.startedAt - Self.slack, "began \(truth.startedAt - start) µs too early")
        if record.flags.contains(.estimatedEnd) {
            expect(end <= ended + Self.slack, "its estimated end is \(end - ended) µs behind the true one")
            expect(
                store.gaps.contains {
                    ($0.from?.microseconds ?? .min) <= ended + Self.slack
                        && ended <= $0.to.microseconds + Self.slack
                }, "no gap has its end")
            expect(facts.outcome == .lost || facts.outcome == .answered, "a guess: \(facts.outcome.name)")
        } else {
            expect(end == ended, "ended \(end - ended) µs beside the truth, and not called estimated")
        }
        if facts.outcome == .answered {
            expect(truth.outcome == .answered || truth.hasTalked, "an answer that never was")
        }
        if let talk = facts.talkStartedAt?.microseconds {
            expect(truth.talkStartedAt.map { talk >= $0 } ?? false, "talked before the answer")
        }
    }
}

/// What a call's row ought to say.
struct Truth {
    let startedAt: Int64
    let talkStartedAt: Int64?
    let outcome: CallOutcome
    let hasTalked: Bool
    private let call: TruthCall

    init(_ call: TruthCall) {
        self.call = call
        startedAt = call.startedAt
        talkStartedAt = call.talkStartedAt
        hasTalked = call.line.hasTalked
        let isAnswered = call.talkStartedAt != nil || (call.isConference && hasTalked)
        outcome = call.wasCutOff ? (isAnswered ? .answered : .lost) : call.outcome
    }

    /// What is said, and what is meant.
    func all(_ record: CallRecord, _ facts: CallFacts) -> [(String, String, String)] {
        var pairs: [(String, String, String)] = [
            ("start", "\(record.startedAt.microseconds)", "\(startedAt)"),
            ("end", "\(record.endedAt?.microseconds ?? 0)", "\(call.endedAt ?? 0)"),
            ("outcome", "\(record.outcome.name)", "\(outcome.name)"),
            ("outcome of the facts", "\(facts.outcome.name)", "\(outcome.name)"),
            ("talk", "\(facts.talkStartedAt?.microseconds ?? 0)", "\(talkStartedAt ?? 0)"),
            ("answered by", facts.answeredBy.string, call.answeredBy),
            ("queue", facts.queue.string, call.queue),
            ("transferred by", facts.transferredBy.string, call.transferredBy),
            ("transferred to", facts.transferredTo.string, call.transferredTo),
        ]
        if let hungUpBy = call.hungUpBy, !call.wasCutOff {
            pairs.append(("hung up by", "\(facts.hungUpBy.name)", "\(hungUpBy.name)"))
        }
        if call.direction != .unknown {
            pairs.append(("direction", "\(record.direction.name)", "\(call.direction.name)"))
        }
        if talkStartedAt != nil {
            let talk = call.line.talk - call.talkBefore
            let held = min(call.channels.reduce(0) { $0 + $1.hold }, talk)
            pairs.append(("hold", "\(facts.holdMicroseconds)", "\(held)"))
            pairs.append(("talk and hold", "\(facts.talkMicroseconds + facts.holdMicroseconds)", "\(talk)"))
        }
        return pairs
    }
}
