import Foundation
import Testing

@testable import Simulator

/// Keeps what was played.
final class Recorder: EventReceiver {
    var events: [(kind: EventKind, isOfStasisChannel: Bool, bytes: [UInt8])] = []
    var isListening = true
    let keepsEvents: Bool

    init(keepsEvents: Bool = true) { self.keepsEvents = keepsEvents }

    func played(_ kind: EventKind, isOfStasisChannel: Bool, body: UnsafeRawBufferPointer) -> Bool {
        guard keepsEvents else { return isListening }
        events.append(
            (
                kind, isOfStasisChannel,
                Array(body) + Array("\"asterisk_id\":\"a\",\"application\":\"b\"}".utf8)
            ))
        return isListening
    }

    /// Each event as Foundation reads it.
    func objects() throws -> [[String: Any]] {
        try events.map {
            try #require(try JSONSerialization.jsonObject(with: Data($0.bytes)) as? [String: Any])
        }
    }
}

/// A player of one kind of call, and what it played until all calls were over.
private func play(
    _ kind: CallKind, calls: Int, seed: UInt64 = 7, change: (inout SimulatorConfiguration) -> Void = { _ in }
) -> (player: CallPlayer, recorder: Recorder) {
    var configuration = SimulatorConfiguration()
    configuration.mix = CallMix([kind: 1])
    configuration.callsPerSecond = 50
    configuration.totalCalls = calls
    configuration.seed = seed
    change(&configuration)
    let player = CallPlayer(configuration: configuration, start: 1_795_344_415_404)
    let recorder = Recorder()
    for second in 1...600 {
        while !player.advance(to: 1_795_344_415_404 + Int64(second) * 1000, budget: 37, into: recorder) {}
        if player.callsFinished == UInt64(calls) { break }
    }
    return (player, recorder)
}

@Suite("Simulated calls look like Asterisk's")
struct CallPlayerShapeTests {
    /// Skeletons of all recorded events, by type.
    static let recorded: [String: Set<String>] = {
        var shapes: [String: Set<String>] = [:]
        for file in (try? Recordings.files()) ?? [] {
            for event in (try? Recordings.events(in: file)) ?? [] {
                guard let object = try? JSONSerialization.jsonObject(with: Data(event)) as? [String: Any],
                    let type = object["type"] as? String
                else { continue }
                shapes[type, default: []].insert(skeleton(of: event))
            }
        }
        return shapes
    }()

    @Test("fields and their order are those of a recorded event of the type", arguments: CallKind.allCases)
    func fieldOrder(_ kind: CallKind) {
        let (_, recorder) = play(kind, calls: 6)
        #expect(!recorder.events.isEmpty)
        // No recording has a blind transfer of channels that are not in Stasis, so none lacks
        // `replace_channel`, which Asterisk writes for those only.
        for event in recorder.events {
            let shape = skeleton(of: event.bytes)
            let known = Self.recorded[event.kind.name] ?? []
            if event.kind == .bridgeBlindTransfer {
                let channel = shape.split(separator: "transferee:")[1].prefix { $0 != "}" }
                #expect(known.contains { $0.split(separator: "transferee:")[1].hasPrefix(channel) })
            } else {
                #expect(known.contains(shape), "\(event.kind.name): \(shape)")
            }
        }
    }

    @Test("events are valid JSON of the size of real ones, 9 to 40 a call", arguments: CallKind.allCases)
    func sizes(_ kind: CallKind) throws {
        let (player, recorder) = play(kind, calls: 10)
        _ = try recorder.objects()
        for event in recorder.events {
            #expect(event.bytes.count > 450 && event.bytes.count < 2400)
            #expect(!event.bytes.contains(0x0A))
        }
        for truth in player.truths { #expect((9...40).contains(truth.events)) }
        #expect(player.truths.count == 10)
    }

    @Test("linkedid is the first channel's id in every event of the call")
    func linkedid() throws {
        let (player, recorder) = play(.blindTransfer, calls: 3)
        let ids = Set(player.truths.map(\.callID))
        #expect(ids.count == 3)
        var seen: [String: Int] = [:]
        for object in try recorder.objects() {
            let channel = try #require((object["channel"] ?? object["peer"]) as? [String: Any])
            let variables = try #require(channel["channelvars"] as? [String: String])
            let linkedid = try #require(variables["CHANNEL(linkedid)"])
            seen[linkedid, default: 0] += 1
            #expect(ids.contains(linkedid))
        }
        for truth in player.truths { #expect(seen[truth.callID] == truth.events) }
    }
}

@Suite("The simulator's truth agrees with its events")
struct CallPlayerTruthTests {
    @Test("direction, numbers, answer and end", arguments: CallKind.allCases)
    func truth(_ kind: CallKind) throws {
        let (player, recorder) = play(kind, calls: 8)
        let objects = try recorder.objects()
        #expect(player.truths.count == 8)
        for truth in player.truths {
            let mine = objects.filter {
                let channel = ($0["channel"] ?? $0["peer"]) as? [String: Any]
                return (channel?["channelvars"] as? [String: String])?["CHANNEL(linkedid)"] == truth.callID
            }
            #expect(mine.count == truth.events)
            let start = try #require(mine.first { $0["type"] as? String == "StasisStart" })
            let channel = try #require(start["channel"] as? [String: Any])
            let variables = try #require(channel["channelvars"] as? [String: String])
            #expect((channel["caller"] as? [String: String])?["number"] == truth.caller)
            #expect((channel["dialplan"] as? [String: Any])?["exten"] as? String == truth.callee)
            #expect(
                (truth.direction == "outbound" ? variables["intNum"] : variables["extNum"]) == truth.caller)
            #expect((truth.direction == "outbound" ? variables["extNum"] : variables["intNum"]) == "")

            let up = mine.first {
                $0["type"] as? String == "ChannelStateChange"
                    && ($0["channel"] as? [String: Any])?["state"] as? String == "Up"
            }
            #expect((up != nil) == kind.isAnswered)
            #expect((truth.answeredAt != 0) == kind.isAnswered)
            if let up { #expect(up["timestamp"] as? String == player.timeText(truth.answeredAt)) }
            let last = try #require(mine.last)
            #expect(last["type"] as? String == "ChannelDestroyed")
            #expect((last["channel"] as? [String: Any])?["id"] as? String == truth.callID)
            #expect(last["timestamp"] as? String == player.timeText(truth.endedAt))
            #expect(mine.first?["timestamp"] as? String == player.timeText(truth.startedAt))
            #expect(truth.status == "finished" && truth.outcome == kind.outcome)
            #expect(truth.delivered == truth.events)
        }
    }

    @Test("every channel that is created is destroyed once, after it left its bridge")
    func channels() throws {
        for kind in CallKind.allCases {
            var alive: Set<String> = []
            var bridged: [String: String] = [:]
            for object in try play(kind, calls: 20).recorder.objects() {
                let channel = object["channel"] as? [String: Any]
                let id = channel?["id"] as? String ?? ""
                let bridge = (object["bridge"] as? [String: Any])?["id"] as? String
                switch object["type"] as? String {
                case "ChannelCreated": #expect(alive.insert(id).inserted)
                case "ChannelDestroyed":
                    #expect(alive.remove(id) != nil)
                    #expect(bridged[id] == nil)
                case "ChannelEnteredBridge":
                    #expect(bridged[id] == nil)
                    bridged[id] = bridge
                case "ChannelLeftBridge":
                    #expect(bridged[id] == bridge)
                    bridged[id] = nil
                case "Dial":
                    let peer = (object["peer"] as? [String: Any])?["id"] as? String ?? ""
                    let caller = (object["caller"] as? [String: Any])?["id"] as? String ?? ""
                    #expect(alive.contains(peer) && alive.contains(caller))
                default: #expect(alive.contains(id))
                }
            }
            #expect(alive.isEmpty && bridged.isEmpty)
        }
    }

    @Test("calls that nobody listened to are not counted as delivered")
    func nobodyListens() {
        var configuration = SimulatorConfiguration()
        configuration.totalCalls = 3
        configuration.callsPerSecond = 10
        let player = CallPlayer(configuration: configuration, start: 0)
        let recorder = Recorder()
        recorder.isListening = false
        _ = player.advance(to: 400_000, budget: .max, into: recorder)
        #expect(player.callsFinished == 3)
        #expect(player.eventsPlayed == UInt64(recorder.events.count) && player.eventsDelivered == 0)
        #expect(player.truths.allSatisfy { $0.delivered == 0 && $0.events > 10 })
    }

    @Test("truths beyond the bound are counted")
    func bound() {
        let (player, _) = play(.busy, calls: 9) { $0.truthLimit = 4 }
        #expect(player.truths.count == 4 && player.truthsDropped == 5)
    }
}

@Suite("A simulated schedule")
struct CallPlayerScheduleTests {
    @Test("the same seed plays the same bytes, another one does not, however it is cut")
    func repeatable() {
        func bytes(seed: UInt64, stepMilliseconds: Int64, budget: Int) -> [[UInt8]] {
            var configuration = SimulatorConfiguration()
            configuration.seed = seed
            configuration.callsPerSecond = 20
            configuration.totalCalls = 40
            let player = CallPlayer(configuration: configuration, start: 1_000_000)
            let recorder = Recorder()
            var now: Int64 = 1_000_000
            while player.callsFinished < 40, now < 2_000_000 {
                now += stepMilliseconds
                while !player.advance(to: now, budget: budget, into: recorder) {}
            }
            return recorder.events.map(\.bytes)
        }
        let first = bytes(seed: 11, stepMilliseconds: 1, budget: .max)
        #expect(first == bytes(seed: 11, stepMilliseconds: 1, budget: .max))
        #expect(first == bytes(seed: 11, stepMilliseconds: 977, budget: .max))
        #expect(first != bytes(seed: 12, stepMilliseconds: 1, budget: .max))
        // A budget may change the order inside one millisecond, but loses nothing.
        #expect(Set(first) == Set(bytes(seed: 11, stepMilliseconds: 977, budget: 3)))
        #expect(first.count > 400)
    }

    @Test("calls begin at the rate asked for, whatever happens to them", arguments: [0.5, 3, 40, 700])
    func rate(_ rate: Double) {
        var configuration = SimulatorConfiguration()
        configuration.callsPerSecond = rate
        configuration.arrivals = .even
        configuration.maximumConcurrentCalls = .max
        let player = CallPlayer(configuration: configuration, start: 0)
        _ = player.advance(to: 9999, budget: .max, into: Recorder(keepsEvents: false))
        #expect(abs(Double(player.callsStarted) - rate * 10) <= 1)
    }

    @Test("the bound on calls at once holds, and what it costs is counted")
    func concurrency() {
        var configuration = SimulatorConfiguration()
        configuration.callsPerSecond = 100
        configuration.maximumConcurrentCalls = 60
        let player = CallPlayer(configuration: configuration, start: 0)
        _ = player.advance(to: 30_000, budget: .max, into: Recorder(keepsEvents: false))
        #expect(player.mostActive == 60)
        #expect(player.callsRefused > 0)
        #expect(player.callsStarted + player.callsRefused > 2500)
    }

    @Test("a player that drains begins no call and ends those that live", arguments: [0.5, 40])
    func drain(rate: Double) {
        var configuration = SimulatorConfiguration()
        configuration.callsPerSecond = rate
        configuration.maximumConcurrentCalls = 100_000
        let player = CallPlayer(configuration: configuration, start: 0)
        let recorder = Recorder(keepsEvents: false)
        while !player.advance(to: 10_000, budget: 1000, into: recorder) {}
        let started = player.callsStarted
        #expect(started > 0 && player.callsActive > 0)
        player.drain()
        while !player.advance(to: 200_000, budget: 1000, into: recorder) {}
        #expect(player.callsStarted == started)
        #expect(player.callsActive == 0)
    }

    @Test("a steady load holds its calls and its events", arguments: [(200, 200.0), (500, 2000.0)])
    func steady(_ calls: Int, _ eventsPerSecond: Double) {
        var configuration = SimulatorConfiguration()
        configuration.steadyLoad = .init(
            calls: calls, eventsPerSecond: eventsPerSecond, rampMilliseconds: 2000)
        let player = CallPlayer(configuration: configuration, start: 0)
        let recorder = Recorder(keepsEvents: false)
        // Complete after the ramp, and no more after it.
        for moment in stride(from: Int64(2100), through: 20_000, by: 895) {
            _ = player.advance(to: moment, budget: .max, into: recorder)
            #expect(
                abs(Double(player.callsActive) / Double(calls) - 1) < 0.15,
                "\(player.callsActive) at \(moment)")
        }
        _ = player.advance(to: 20_000, budget: .max, into: recorder)
        let before = player.eventsPlayed
        _ = player.advance(to: 60_000, budget: .max, into: recorder)
        let rate = Double(player.eventsPlayed - before) / 40
        #expect(abs(rate / eventsPerSecond - 1) < 0.1)
        #expect(abs(Double(player.callsActive) / Double(calls) - 1) < 0.15)
        #expect(player.callsRefused == 0)
    }

    @Test("the snapshot has the channels that events said are there")
    func snapshot() throws {
        var configuration = SimulatorConfiguration()
        configuration.callsPerSecond = 20
        let player = CallPlayer(configuration: configuration, start: 0)
        let recorder = Recorder()
        for moment in stride(from: Int64(1000), through: 60_000, by: 7919) {
            _ = player.advance(to: moment, budget: .max, into: recorder)
            var alive: [String: String] = [:]
            for object in try recorder.objects() {
                guard let channel = (object["channel"] ?? object["peer"]) as? [String: Any],
                    let id = channel["id"] as? String, let state = channel["state"] as? String
                else { continue }
                alive[id] = object["type"] as? String == "ChannelDestroyed" ? nil : state
            }
            var body = Array("[".utf8)
            player.appendSnapshot(bridges: false, to: &body)
            body.append(UInt8(ascii: "]"))
            let channels = try #require(
                try JSONSerialization.jsonObject(with: Data(body)) as? [[String: Any]])
            #expect(Set(channels.compactMap { $0["id"] as? String }) == Set(alive.keys))
            for channel in channels {
                #expect(channel["state"] as? String == alive[channel["id"] as? String ?? ""])
            }
            #expect(!channels.isEmpty)
        }
    }

    @Test("a channel in Stasis can be continued once; others cannot")
    func continuing() throws {
        var configuration = SimulatorConfiguration()
        configuration.mix = CallMix([.answered: 1])
        configuration.totalCalls = 1
        configuration.callsPerSecond = 1000
        configuration.stasisWaits = true
        let player = CallPlayer(configuration: configuration, start: 0)
        let recorder = Recorder()
        _ = player.advance(to: 5000, budget: .max, into: recorder)
        #expect(recorder.events.map(\.kind) == [.channelCreated, .stasisStart])
        #expect(player.continueChannel("0.2", now: 5000) == .notFound)
        #expect(player.continueChannel("nonsense", now: 5000) == .notFound)
        #expect(player.continueChannel("0.1", now: 5000) == .continued)
        _ = player.advance(to: 5001, budget: .max, into: recorder)
        #expect(recorder.events.last?.kind == .stasisEnd)
        #expect(player.continueChannel("0.1", now: 5001) == .notInStasis)
        _ = player.advance(to: 200_000, budget: .max, into: recorder)
        #expect(player.callsFinished == 1 && player.continued == 1)
        #expect(player.continueChannel("0.1", now: 200_000) == .notFound)
    }

    @Test("times are written as ARI writes them")
    func times() {
        #expect(ARITimeText(offsetMinutes: 0).string(1_795_344_432_014) == "2026-11-22T10:47:12.014+0000")
        #expect(ARITimeText(offsetMinutes: 180).string(1_795_344_432_014) == "2026-11-22T13:47:12.014+0300")
        #expect(ARITimeText(offsetMinutes: -210).string(951_782_400_000) == "2000-02-28T20:30:00.000-0330")
        #expect(ARITimeText(offsetMinutes: 0).string(951_868_799_999) == "2000-02-29T23:59:59.999+0000")
        #expect(ARITimeText(offsetMinutes: 0).string(-1) == "1969-12-31T23:59:59.999+0000")
    }

    @Test("a mix is read from text, and nonsense is refused")
    func mixes() {
        #expect(CallMix(parsing: "answered=3,missed=1") == CallMix([.answered: 3, .missed: 1]))
        for text in ["", "answered", "answered=0", "nobody=1", "answered=-1", "answered=1=2"] {
            #expect(CallMix(parsing: text) == nil, "\(text)")
        }
    }
}
