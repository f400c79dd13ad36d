import Protocols
import Testing

@testable import Simulator

@Suite("Calls rendered in advance")
struct PrerenderedStreamTests {
    private static let start: Int64 = 1_795_344_415_404

    private static func configuration(calls: Int, perSecond: Double, seed: UInt64) -> SimulatorConfiguration {
        var configuration = SimulatorConfiguration()
        configuration.seed = seed
        configuration.callsPerSecond = perSecond
        configuration.maximumConcurrentCalls = calls
        return configuration
    }

    /// What an application gets that has asked for everything.
    private static func application() -> PBXApplication {
        let application = PBXApplication(name: "callflow_elixir", subscribesToAll: true, asteriskID: "a")
        application.hasChannels = true
        application.hasBridges = true
        return application
    }

    private static func stream(
        _ configuration: SimulatorConfiguration, milliseconds: Int
    ) -> PrerenderedStream {
        PrerenderedStream(
            CallPlayer(configuration: configuration, start: start), for: application(),
            owner: configuration.appName, start: start, milliseconds: milliseconds)
    }

    /// Keeps the frames of a player that is asked for every millisecond by itself, and when they came.
    private final class Plain: EventReceiver {
        let application = PrerenderedStreamTests.application()
        var frames: [UInt8] = []
        var events = 0

        func played(_ kind: EventKind, isOfStasisChannel: Bool, body: UnsafeRawBufferPointer) -> Bool {
            guard application.wants(kind, isOfStasisChannel: isOfStasisChannel, owner: "callflow_elixir")
            else {
                return false
            }
            FrameWriter.appendHeader(
                .text, count: body.count + application.eventTail.count, fin: true, maskingKey: nil,
                to: &frames)
            frames.append(contentsOf: body)
            frames.append(contentsOf: application.eventTail)
            events += 1
            return true
        }
    }

    @Test(
        "at each millisecond what is due is what a player says that is asked every millisecond",
        arguments: [(1, 1.0), (3, 0.5), (200, 20.0)])
    func asPlayed(_ calls: Int, _ perSecond: Double) {
        let seed = UInt64.random(in: 1 ... .max)
        let configuration = Self.configuration(calls: calls, perSecond: perSecond, seed: seed)
        let milliseconds = 60_000
        let stream = Self.stream(configuration, milliseconds: milliseconds)
        let player = CallPlayer(configuration: configuration, start: Self.start)
        player.begin(at: Self.start)
        let plain = Plain()
        var taken: [UInt8] = []
        var events = 0
        for millisecond in 0..<Int64(milliseconds) {
            let now = Self.start + millisecond
            _ = player.advance(to: now, budget: .max, into: plain)
            let part = stream.take(at: now, limit: .max)
            taken += part.frames
            events += part.events
            guard taken.count == plain.frames.count, events == plain.events else {
                Issue.record("at \(millisecond) ms \(events) events, not \(plain.events); seed \(seed)")
                return
            }
        }
        #expect(taken == plain.frames && stream.isOver, "seed \(seed)")
        #expect(stream.eventCount == plain.events && plain.events > 20, "seed \(seed)")
        #expect(player.callsStarted > 1 && player.mostActive <= calls, "seed \(seed)")
    }

    @Test("nothing is due before the beginning, all of it without a clock, in whole events within the limit")
    func parts() {
        let stream = Self.stream(
            Self.configuration(calls: 50, perSecond: 20, seed: 3), milliseconds: 20_000)
        #expect(stream.take(at: Self.start - 1, limit: .max).events == 0)
        var events = 0
        var turns = 0
        var largest = 0
        while !stream.isOver, turns < 100_000 {
            let part = stream.take(at: nil, limit: 8192)
            largest = max(largest, part.frames.count)
            events += part.events
            turns += 1
            // A millisecond is never cut, so a part may be larger where one has much in it.
            #expect(part.events > 0 && part.frames.first == 0x81)
        }
        #expect(events == stream.eventCount && turns > 10 && largest < 65_536)
        #expect(stream.take(at: nil, limit: 8192).events == 0)
    }
}

@Suite("One call after another")
struct SingleLineTests {
    @Test("a PBX with room for one call has one most of the time, never two")
    func oneEach() {
        var configuration = SimulatorConfiguration()
        configuration.steadyLoad = .init(calls: 1, eventsPerSecond: 1, rampMilliseconds: 1000)
        configuration = configuration.withSteadyLoadWorkedOut()
        configuration.maximumConcurrentCalls = 1
        configuration.callsPerSecond = 1
        let player = CallPlayer(configuration: configuration, start: 0)
        let recorder = Recorder(keepsEvents: false)
        var busy = 0
        for second in 1...600 {
            _ = player.advance(to: Int64(second) * 1000, budget: .max, into: recorder)
            busy += player.callsActive
        }
        #expect(player.mostActive == 1)
        #expect(busy > 500 && player.callsFinished > 10)
    }
}
