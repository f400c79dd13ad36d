import Foundation
import Protocols
import Reactor
import Testing

@testable import Connectors

/// A scripted PBX and a client on one loop.
private final class ComparisonBench {
    let loop: Loop
    let pbx: ScriptedPBX
    let keeper = EventKeeper()
    let log = LogLines()
    let client: ARIClient

    init(change: (inout ARIConfiguration) -> Void = { _ in }) throws {
        loop = try Loop(configuration: LoopConfiguration(ioMode: .epoll, maximumConnections: 64))
        pbx = try ScriptedPBX(loop: loop)
        var configuration = ARIConfiguration(
            name: "pbx", url: try URL("ws://\(pbx.address)/ari/events"), user: "callflow", password: "secret")
        configuration.backoffBase = .milliseconds(10)
        configuration.backoffCap = .milliseconds(20)
        configuration.maximumHold = .seconds(20)
        change(&configuration)
        client = ARIClient(
            loop: loop, configuration: configuration, sink: keeper, logger: log.logger, metrics: Metrics())
    }

    func run(until condition: () -> Bool) -> Bool {
        let limit = MonotonicInstant.now() + .seconds(20)
        while !condition() {
            guard MonotonicInstant.now() < limit else { return false }
            loop.runOnce(maximumWait: .milliseconds(5))
        }
        return true
    }

    func turn() { for _ in 0..<20 { loop.runOnce(maximumWait: .milliseconds(2)) } }

    func close() {
        client.stop()
        _ = run { client.state == .stopped }
        pbx.close()
        loop.stop()
    }

    static func event(_ number: Int) -> String {
        ScriptedPBX.Channel("1.\(number)").event("ChannelCreated", at: "2026-11-22T10:00:00.000+0000")
    }
}

@Suite("Comparing with the PBX: events are laid around the list", .serialized)
struct ARIComparisonTests {
    @Test("What came before the question goes on before the list, what came after it behind")
    func order() throws {
        let bench = try ComparisonBench()
        bench.pbx.channels = [.init("1.1"), .init("1.2")]
        bench.pbx.heldPath = "/subscription"
        bench.client.start()
        #expect(bench.run { bench.pbx.isAsked })
        bench.pbx.send(ComparisonBench.event(3))
        bench.turn()
        #expect(bench.keeper.events.isEmpty)
        bench.pbx.heldPath = "/bridges"
        bench.pbx.answerHeld()
        #expect(bench.run { bench.pbx.isAsked })
        bench.pbx.send(ComparisonBench.event(4))
        bench.turn()
        #expect(bench.keeper.order == [])
        bench.pbx.heldPath = ""
        bench.pbx.answerHeld()
        #expect(bench.run { bench.client.isFollowing })
        #expect(bench.keeper.order == ["event", "began", "listed", "listed", "event", "ended"])
        bench.pbx.send(ComparisonBench.event(5))
        #expect(bench.run { bench.keeper.events.count == 3 })
        bench.close()
    }

    @Test("A listed channel carries its bridge")
    func bridges() throws {
        let bench = try ComparisonBench()
        bench.pbx.channels = [.init("1.1"), .init("1.2"), .init("1.3")]
        bench.pbx.bridges = [("b-1", ["1.1", "1.2"])]
        bench.client.start()
        #expect(bench.run { bench.client.isFollowing })
        let listed = try bench.keeper.listed.map {
            try #require(try JSONSerialization.jsonObject(with: Data($0)) as? [String: Any])
        }
        #expect(listed.map { $0["type"] as? String } == Array(repeating: "ChannelSnapshot", count: 3))
        let bridges = listed.map { ($0["bridge"] as? [String: Any])?["id"] as? String }
        #expect(bridges == ["b-1", "b-1", nil])
        bench.close()
    }

    @Test("A PBX that does not answer in time: the events go on, and it is asked again with more patience")
    func slowPBX() throws {
        let bench = try ComparisonBench { $0.maximumHold = .milliseconds(50) }
        bench.pbx.heldPath = "/channels"
        bench.client.start()
        #expect(bench.run { bench.pbx.isAsked })
        bench.pbx.send(ComparisonBench.event(1))
        #expect(bench.run { bench.keeper.events.count == 1 })
        // It may have been asked for the second time by now.
        #expect(bench.run { bench.log.lines.contains { $0.contains(" 50 ms") } })
        #expect(bench.client.problem?.contains(" ms") == true)
        #expect(bench.keeper.order == ["event"])
        #expect(bench.run { bench.log.lines.contains { $0.contains("100 ms") } })
        // The answer to a question that was given up says nothing.
        bench.pbx.heldPath = ""
        bench.pbx.answerHeld()
        #expect(bench.run { bench.client.isFollowing })
        #expect(bench.keeper.ended.count == 1)
        #expect(bench.client.problem == nil)
        bench.close()
    }

    @Test("Held events are handed on when the link is lost before the list came")
    func lostWhileAsking() throws {
        let bench = try ComparisonBench()
        bench.pbx.heldPath = "/channels"
        bench.client.start()
        #expect(bench.run { bench.pbx.isAsked })
        for number in 0..<300 { bench.pbx.send(ComparisonBench.event(number)) }
        bench.turn()
        bench.pbx.cut()
        #expect(bench.run { !bench.client.state.isConnected })
        // A reset may take bytes with it; what was received is in order and whole.
        let events = bench.keeper.events.map { String(decoding: $0, as: UTF8.self) }
        #expect(!events.isEmpty)
        #expect(events == (0..<events.count).map { ComparisonBench.event($0) })
        #expect(bench.keeper.ended.isEmpty)
        bench.close()
    }

    @Test("What the PBX took is read back: what is missing is said")
    func readBack() {
        func problem(_ text: String, isFiltered: Bool = true) -> String? {
            ARIReadBack.problem(in: Array(text.utf8), isFiltered: isFiltered)
        }
        let types = ARISubscriptionStep.allowedTypes.map { "{\"type\":\"\($0)\"}" }.joined(separator: ",")
        func application(_ channels: String, _ bridges: String, _ allowed: String) -> String {
            #"{"name":"a","channel_ids":[\#(channels)],"bridge_ids":[\#(bridges)],"events_allowed":[\#(allowed)]}"#
        }
        let (channels, bridges) = (#""__AST_CHANNEL_ALL_TOPIC""#, #""__AST_BRIDGE_ALL_TOPIC""#)
        #expect(problem(application(channels, bridges, types)) == nil)
        #expect(problem(application(channels, bridges, ""), isFiltered: false) == nil)
        #expect(problem(application("", bridges, types))?.contains("channels are missing") == true)
        #expect(problem(application(#""123.4""#, bridges, types))?.contains("channels are missing") == true)
        #expect(problem(application(channels, "", types))?.contains("bridges are missing") == true)
        #expect(problem(application(channels, bridges, #"{"type":"Dial"}"#))?.contains("StasisStart") == true)
        #expect(problem("[]") != nil)
        #expect(problem("nonsense") != nil)
    }

    @Test("When the PBX started is read with its zone")
    func startupTime() {
        func startup(_ text: String) -> Timestamp? {
            ARIReadBack.startupTime(in: Array(#"{"status":{"startup_time":"\#(text)"}}"#.utf8))
        }
        #expect(startup("2026-11-22T16:02:13.376+0000") == Timestamp(microseconds: 1_795_363_333_376_000))
        #expect(startup("2026-11-22T19:02:13.376+0300") == Timestamp(microseconds: 1_795_363_333_376_000))
        #expect(startup("yesterday") == nil)
        #expect(ARIReadBack.startupTime(in: Array("{}".utf8)) == nil)
    }

    @Test("The PBX's clock is read off the events that came quickest")
    func clock() {
        var clock = PBXClock()
        #expect(clock.offset == .zero)
        let start = Timestamp(microseconds: 1_795_363_333_000_000)
        // Three hours ahead, by way of 5 to 900 ms.
        for (index, delay) in [200, 5, 900, 30].enumerated() {
            let receivedAt = start + .seconds(index)
            clock.note(receivedAt + .seconds(10_800) - .milliseconds(delay), receivedAt: receivedAt)
        }
        #expect(clock.offset == .seconds(10_800) - .milliseconds(5))
        #expect(clock.lag == .milliseconds(25))
        #expect(clock.pbxTime(of: start) == start + .seconds(10_800) - .milliseconds(5))
        // Set right: forgotten after two windows.
        for second in stride(from: 61, through: 200, by: 20) {
            clock.note(start + .seconds(second), receivedAt: start + .seconds(second))
        }
        #expect(clock.offset == .zero)
    }
}
