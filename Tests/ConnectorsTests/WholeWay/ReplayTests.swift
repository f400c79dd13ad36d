import CallEngine
import Foundation
import Protocols
import Reactor
import Simulator
import Testing

@testable import Connectors

@Suite("Recorded streams, from a WebSocket into the database", .serialized)
struct ReplayTests {
    private static let fixtures = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Fixtures/ari")

    private static func recordings() throws -> [String] {
        try ["asterisk-16", "asterisk-22"].flatMap { version in
            try FileManager.default.contentsOfDirectory(atPath: fixtures.appending(path: version).path)
                .filter { $0.hasSuffix(".jsonl") }.map { "\(version)/\($0.dropLast(6))" }
        }.sorted()
    }

    private static func text(_ path: String) throws -> [String] {
        try String(contentsOf: fixtures.appending(path: path), encoding: .utf8)
            .components(separatedBy: "\n").filter { !$0.isEmpty && !$0.hasPrefix("#") }
    }

    /// As `expected-calls.tsv` has it.
    private static func row(_ call: StoredCall) -> String {
        func time(_ time: Timestamp?) -> String {
            time.map { String($0.formatted(.milliseconds).dropFirst(11).dropLast()) } ?? "-"
        }
        return [
            call.callID, call.direction ?? "", call.callerNumber ?? "", call.calleeNumber ?? "", call.status,
            time(call.startedAt), time(call.answeredAt), time(call.endedAt), call.outcome ?? "",
        ].joined(separator: "\t")
    }

    static var combinations: [(IOMode, StoreKind)] {
        [IOMode.epoll, .ioURing].flatMap { mode in StoreKind.available.map { (mode, $0) } }
    }

    @Test(
        "Every recording: each call as a person reads it, each event once, in order", arguments: combinations)
    func replay(mode: IOMode, kind: StoreKind) throws {
        let bench = try WholeWayBench(mode, kind)
        var total = 0
        for recording in try Self.recordings() {
            var configuration = SimulatorConfiguration()
            configuration.replayFile = Self.fixtures.appending(path: "\(recording).jsonl").path
            configuration.replayPace = .asFastAsPossible
            total += try Self.text("\(recording).jsonl").count
            _ = try bench.read(configuration, subscription: recording.hasSuffix("suball") ? .all : .app)
        }
        try bench.wait(for: "all \(total) events") { bench.metrics[.ariEvents] >= total && bench.isSettled }
        #expect(bench.metrics[.ariEvents] == total)
        #expect(bench.metrics[.ariEventsInvalid] == 0)
        #expect(bench.metrics[.storeEventsWritten] == total)
        #expect(bench.metrics[.storeEventsDropped] == 0)
        #expect(
            bench.metrics[.ariReconnects] == 0,
            "\(bench.log.lines.filter { $0.contains("next try") }.prefix(3))")

        // Each call.
        for line in try Self.text("expected-calls.tsv") where line.hasPrefix("asterisk-") {
            let columns = line.components(separatedBy: "\t")
            let stored = try #require(
                try bench.call(columns[1]), "\(columns[0]): call \(columns[1]) is not stored")
            #expect(Self.row(stored.call) == columns[1...9].joined(separator: "\t"), "\(columns[0])")
        }
        // The bursts, whose calls are too many to list: answered by an application and over, with their caller's number.
        var burstCalls = 0
        for recording in try Self.recordings() where recording.contains("burst") {
            var ids: Set<String> = []
            for line in try Self.text("\(recording).jsonl") {
                let event = try #require(
                    try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
                let channel = event["channel"] as? [String: Any]
                let variables = channel?["channelvars"] as? [String: Any]
                if let id = variables?["CHANNEL(linkedid)"] as? String { ids.insert(id) }
            }
            burstCalls += ids.count
            for id in ids.sorted().prefix(20) {
                let stored = try #require(try bench.call(id))
                #expect(stored.call.status == "finished")
                #expect(stored.call.outcome == "ivr_only")
                #expect(stored.call.callerNumber?.hasPrefix("+791600") == true)
                #expect(stored.events.count == 4)
            }
        }
        #expect(burstCalls >= 400)
        #expect(bench.metrics[.callsFinished] == bench.metrics[.callsStarted])

        // Events of one call: all of them, oldest first, each equal to what the PBX sent.
        let id = "1795344287.0"
        let sent = try Self.text("asterisk-22/inbound-answered.jsonl").filter {
            $0.contains(#""CHANNEL(linkedid)":"\#(id)""#)
        }
        let stored = try #require(try bench.call(id))
        #expect(stored.events.count >= sent.count)
        #expect(stored.events.map(\.occurredAt) == stored.events.map(\.occurredAt).sorted())
        let payloads = try stored.events.map { event in
            try #require(try JSONSerialization.jsonObject(with: Data(event.payload ?? [])) as? NSDictionary)
        }
        for line in sent {
            let event = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? NSDictionary)
            #expect(payloads.count(where: { $0 == event }) == 1)
        }
        try bench.close()
    }

    @Test("Simulated calls: what the database says is what the PBX did", arguments: combinations)
    func simulated(mode: IOMode, kind: StoreKind) throws {
        let bench = try WholeWayBench(mode, kind)
        var configuration = SimulatorConfiguration()
        configuration.callsPerSecond = 200
        configuration.totalCalls = 150
        configuration.ringMilliseconds = 20...100
        configuration.talkMilliseconds = 20...300
        configuration.seed = 42
        // Of calls that began before, the database would know only the end.
        configuration.waitsForReader = true
        let simulator = try bench.read(configuration, subscription: .calls)
        try bench.wait(for: "150 calls to end") {
            simulator.statistics.contains(#""calls_finished":150"#) && bench.metrics[.callsFinished] >= 150
                && bench.isSettled
        }
        let truth = try #require(
            try JSONSerialization.jsonObject(with: Data(simulator.truth(limit: 1000))) as? [String: Any])
        let played = try #require(truth["calls"] as? [[String: Any]])
        #expect(played.count == 150)
        for call in played {
            let id = try #require(call["call_id"] as? String)
            let stored = try #require(try bench.call(id), "call \(id) is not stored")
            #expect(stored.call.status == "finished", "seed 42, \(id)")
            #expect(stored.call.direction == call["direction"] as? String, "seed 42, \(id)")
            #expect(stored.call.callerNumber == call["caller"] as? String, "seed 42, \(id)")
            #expect(stored.call.calleeNumber == call["callee"] as? String, "seed 42, \(id)")
            #expect((stored.call.answeredAt != nil) == (call["answered"] as? Bool), "seed 42, \(id)")
            #expect(
                stored.call.outcome == call["outcome"] as? String,
                "seed 42, \(id), \(call["kind"] as? String ?? "")")
            #expect(stored.events.count == call["delivered"] as? Int, "seed 42, \(id)")
        }
        // The CRM hears of each call once, and of its end after its beginning.
        let registered = bench.actions.compactMap { action in
            if case .register(let call) = action { call.callID } else { nil }
        }
        let finished = bench.actions.compactMap { action in
            if case .finish(let call) = action { call.callID } else { nil }
        }
        #expect(registered.count == 150)
        #expect(Set(registered) == Set(finished))
        #expect(Set(registered).count == 150)
        try bench.close()
    }

    @Test("Keys that stand twice are counted and said, and the event is stored")
    func duplicateKeys() throws {
        let bench = try WholeWayBench(.epoll, .sqlite)
        var configuration = SimulatorConfiguration()
        configuration.totalCalls = 1
        let simulator = try bench.read(configuration, subscription: .calls)
        try bench.wait(for: "an event") { bench.metrics[.ariEvents] > 0 }
        simulator.faults = FaultPlan(stream: .duplicateKeys)
        try bench.wait(for: "the event") { bench.metrics[.ariEventsDuplicateKeys] == 1 && bench.isSettled }
        #expect(bench.log.count(containing: "warning an event has keys twice") == 1)
        #expect(bench.metrics[.ariEventsInvalid] == 0)
        #expect(bench.metrics[.storeEventsWritten] == bench.metrics[.ariEvents])
        try bench.close()
    }

    @Test("Calls beyond MAX_CALLS are counted and said once a minute; their events are stored")
    func maximumCalls() throws {
        let bench = try WholeWayBench(.epoll, .sqlite, maximumCalls: 8)
        var configuration = SimulatorConfiguration()
        configuration.callsPerSecond = 200
        configuration.totalCalls = 60
        configuration.ringMilliseconds = 50...100
        // Long enough for more than eight at once, however slowly they come.
        configuration.talkMilliseconds = 2000...2500
        let simulator = try bench.read(configuration, subscription: .calls)
        try bench.wait(for: "all calls to end") {
            simulator.statistics.contains(#""calls_finished":60"#) && bench.isSettled
        }
        #expect(bench.metrics[.callsRefused] > 1)
        #expect(bench.log.count(containing: "error calls are not tracked") == 1, "\(bench.log.lines)")
        #expect(bench.metrics[.storeEventsWritten] == bench.metrics[.ariEvents])
        try bench.close()
    }
}
