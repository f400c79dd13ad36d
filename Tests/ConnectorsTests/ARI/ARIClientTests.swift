import Foundation
import Protocols
import Reactor
import Testing

@testable import Connectors
@testable import Simulator

@Suite("ARI client: connecting", .serialized)
struct ARIConnectTests {
    @Test("for all calls: filter, subscription, lists, in this order", arguments: HTTPDrivers.present)
    func calls(_ mode: IOMode) throws {
        let bench = try ARIBench(mode)
        let client = try bench.connect()
        #expect(bench.run { client.subscription == .active })
        #expect(
            bench.simulator.requests == [
                "GET /ari/events?app=callflow_elixir",
                "PUT /ari/applications/callflow_elixir/eventFilter",
                "POST /ari/applications/callflow_elixir/subscription?eventSource=channel:,bridge:",
                "GET /ari/applications/callflow_elixir", "GET /ari/asterisk/ping",
                "GET /ari/asterisk/info?only=status,system",
                "GET /ari/channels", "GET /ari/bridges",
            ])
        #expect(bench.keeper.snapshots.count == 1)
        #expect(bench.keeper.snapshots.first?.channels == Array("[]".utf8))
        #expect(bench.keeper.snapshots.first?.bridges == Array("[]".utf8))
        #expect(client.state.isConnected && bench.metrics[.ariConnected] == 1)
        let application = try #require(bench.simulator.applications.first)
        #expect(application.hasChannels && application.hasBridges)
        for kind in EventKind.allCases {
            #expect(application.wants(kind, isOfStasisChannel: false, owner: "callflow_elixir"))
        }
        #expect(application.json.contains(#"{"type":"BridgeAttendedTransfer"}"#))
    }

    @Test("for our application alone nothing is put, and the lists are read", arguments: HTTPDrivers.present)
    func app(_ mode: IOMode) throws {
        let bench = try ARIBench(mode)
        let client = try bench.connect { $0.subscription = .app }
        #expect(bench.run { client.subscription == .active })
        #expect(
            bench.simulator.requests == [
                "GET /ari/events?app=callflow_elixir", "GET /ari/asterisk/ping",
                "GET /ari/asterisk/info?only=status,system",
                "GET /ari/channels", "GET /ari/bridges",
            ])
        #expect(bench.keeper.snapshots.count == 1)
    }

    @Test("for everything the stream says so, and the lists are read")
    func all() throws {
        let bench = try ARIBench(.epoll)
        let client = try bench.connect { $0.subscription = .all }
        #expect(bench.run { client.subscription == .active })
        #expect(
            bench.simulator.requests == [
                "GET /ari/events?app=callflow_elixir&subscribeAll=true",
                "GET /ari/asterisk/ping", "GET /ari/asterisk/info?only=status,system", "GET /ari/channels",
                "GET /ari/bridges",
            ])
        #expect(bench.keeper.snapshots.count == 1)
    }

    @Test("addresses that end early are taken for what was meant")
    func addresses() throws {
        for (text, path) in [
            ("ws://pbx:8088/ari/events", "/ari/events"), ("ws://pbx:8088", "/ari/events"),
            ("ws://pbx:8088/", "/ari/events"), ("wss://pbx/ari", "/ari/events"),
            ("wss://pbx/ari/", "/ari/events"), ("ws://pbx/asterisk/ari/events/", "/asterisk/ari/events"),
        ] {
            let configuration = ARIConfiguration(name: "a", url: try URL(text), user: "u", password: "p")
            #expect(configuration.eventsURL.path == path, "\(text)")
        }
        var configuration = ARIConfiguration(
            name: "a", url: try URL("ws://pbx/ari/events?api_key=u:p"), user: "u", password: "p")
        configuration.appName = "my app&x"
        #expect(
            configuration.eventsURL.query == "app=my+app%26x"
                || configuration.eventsURL.query == "app=my%20app%26x")
    }

    @Test("the password stays out of what is printed, logged and sent in the clear")
    func secrecy() throws {
        let secret = "pa55-w0rd"
        let bench = try ARIBench(.epoll) { $0.password = secret }
        let client = try bench.connect { $0.password = secret }
        #expect(bench.run { client.subscription == .active })
        bench.simulator.faults = FaultPlan(handshake: .unauthorized, handshakes: 2, stream: .end)
        #expect(bench.run { bench.keeper.connections == 2 })
        var dumped = ""
        dump(client.configuration, to: &dumped)
        for text in bench.log.lines + bench.simulator.requests + [dumped, "\(client.configuration)"] {
            #expect(!text.contains(secret))
            #expect(!text.contains(Base64.encoded(Array("callflow:\(secret)".utf8))))
        }
        #expect(bench.log.lines.count > 3)
    }
}

@Suite("ARI client: events", .serialized)
struct ARIEventTests {
    @Test("every recorded stream arrives byte for byte", arguments: HTTPDrivers.present)
    func recorded(_ mode: IOMode) throws {
        for file in try Recordings.files() {
            let expected = try Recordings.events(in: file).map(Array.init)
            let bench = try ARIBench(mode) {
                $0.replayFile = file.path
                $0.replayPace = .asFastAsPossible
            }
            let client = try bench.connect()
            let keeper = bench.keeper
            #expect(bench.run { keeper.events.count >= expected.count }, "\(file.lastPathComponent)")
            #expect(keeper.events == expected, "\(file.lastPathComponent)")
            #expect(keeper.connections == 1 && client.reconnects == 0)
        }
    }

    @Test("a pretty stream arrives with its newlines", arguments: HTTPDrivers.present)
    func pretty(_ mode: IOMode) throws {
        let file = Recordings.folder.appending(path: "asterisk-22/inbound-answered-pretty.json-seq")
        let expected = try [UInt8](Data(contentsOf: file)).split(separator: 0x1E).map {
            Array($0.dropLast($0.last == 0x0A ? 1 : 0))
        }
        let bench = try ARIBench(mode) {
            $0.replayFile = file.path
            $0.replayPace = .eventsPerSecond(2000)
        }
        _ = try bench.connect()
        #expect(bench.run { bench.keeper.events.count >= expected.count })
        #expect(bench.keeper.events == expected && expected.count == 37)
    }

    @Test(
        "all events of simulated calls arrive, in order, and the truth says so",
        arguments: HTTPDrivers.present)
    func simulated(_ mode: IOMode) throws {
        let bench = try ARIBench(mode) {
            $0.callsPerSecond = 200
            $0.totalCalls = 120
            $0.ringMilliseconds = 5...40
            $0.talkMilliseconds = 10...200
            $0.stasisWaits = true
            $0.waitsForReader = true
            $0.seed = 5
        }
        let client = try bench.connect()
        bench.keeper.onEvent = { client, event in
            guard event.starts(with: Array(#"{"type":"StasisStart""#.utf8)),
                let object = try? JSONSerialization.jsonObject(with: Data(event)) as? [String: Any],
                let channel = object["channel"] as? [String: Any], let id = channel["id"] as? String
            else { return }
            client.continueInDialplan(id)
        }
        #expect(bench.run { bench.simulator.player.callsFinished == 120 })
        let delivered = Int(bench.simulator.player.eventsDelivered)
        #expect(bench.run { bench.keeper.events.count >= delivered })
        #expect(bench.keeper.events.count == delivered)
        #expect(UInt64(bench.keeper.events.count) == client.eventCount)
        #expect(bench.simulator.player.continued > 0)
        #expect(bench.metrics[.ariContinued] == Int(bench.simulator.player.continued))
        var perCall: [String: Int] = [:]
        for event in bench.keeper.events {
            let object = try #require(try JSONSerialization.jsonObject(with: Data(event)) as? [String: Any])
            let channel = (object["channel"] ?? object["peer"]) as? [String: Any]
            let variables = channel?["channelvars"] as? [String: String]
            perCall[variables?["CHANNEL(linkedid)"] ?? "", default: 0] += 1
        }
        let truths = bench.simulator.player.truths
        #expect(truths.count == 120)
        for truth in truths {
            #expect(truth.delivered == truth.events)
            #expect(perCall[truth.callID, default: 0] == truth.events)
        }
    }

    @Test("channels left in our application are continued after a connection", arguments: HTTPDrivers.present)
    func held(_ mode: IOMode) throws {
        let bench = try ARIBench(mode) {
            $0.callsPerSecond = 1000
            $0.totalCalls = 5
            $0.stasisWaits = true
        }
        bench.run(milliseconds: 100)
        #expect(bench.simulator.player.callsActive == 5)
        let client = try bench.connect()
        #expect(bench.run { bench.simulator.player.continued == 5 })
        #expect(bench.run { client.subscription == .active })
        #expect(bench.keeper.listed.count >= 5)
    }

    @Test("with the policy to hold, nothing is continued")
    func hold() throws {
        let bench = try ARIBench(.epoll) {
            $0.callsPerSecond = 1000
            $0.totalCalls = 3
            $0.stasisWaits = true
        }
        bench.run(milliseconds: 50)
        let client = try bench.connect { $0.stasisPolicy = .hold }
        #expect(bench.run { client.subscription == .active })
        client.continueInDialplan("1.1")
        bench.run(milliseconds: 60)
        #expect(bench.simulator.player.continued == 0)
        #expect(!bench.simulator.requests.contains { $0.hasSuffix("/continue") })
    }

    @Test("channels that are gone or went on by themselves are tolerated and counted")
    func gone() throws {
        let bench = try ARIBench(.epoll)
        let client = try bench.connect()
        #expect(bench.run { client.subscription == .active })
        for number in 0..<50 { client.continueInDialplan("1795344415.\(number)") }
        client.continueInDialplan("odd/../id?x=1&ü")
        #expect(bench.run { bench.metrics[.ariContinueRefused] == 51 })
        #expect(client.state.isConnected && bench.metrics[.ariContinued] == 0)
        #expect(
            bench.simulator.requests.contains("POST /ari/channels/odd%2F..%2Fid%3Fx%3D1%26%C3%BC/continue"))
        #expect(!bench.log.lines.contains { $0.hasPrefix("error") })
    }
}

@Suite("ARI client: a PBX that misbehaves", .serialized)
struct ARIFaultTests {
    @Test(
        "it comes back after every fault of the handshake, and says why",
        arguments: HTTPDrivers.present,
        [
            (FaultPlan.Handshake.unauthorized, "ARI_PASSWORD"), (.unavailable, "503"), (.cut, "reset"),
            (.garbage, "no HTTP answer"), (.silence, "within"),
        ])
    func handshake(_ mode: IOMode, _ fault: (plan: FaultPlan.Handshake, says: String)) throws {
        let bench = try ARIBench(mode) {
            $0.faults = FaultPlan(handshake: fault.plan, handshakes: 2)
        }
        let client = try bench.connect {
            if fault.plan == .silence { $0.connectTimeout = .milliseconds(150) }
        }
        #expect(bench.run { client.subscription == .active })
        #expect(client.reconnects == 2 && bench.keeper.reasons.count == 2)
        #expect(bench.metrics[.ariReconnects] == 2 && bench.metrics[.ariConnected] == 1)
        for reason in bench.keeper.reasons {
            #expect(!reason.isEmpty && reason.contains(fault.says), "\(reason)")
        }
        // The same reason twice gives one line that a person sees.
        let lines = bench.log.lines.filter { $0.hasPrefix("warning") }
        #expect(lines.count == Set(bench.keeper.reasons).count, "\(lines)")
        #expect(lines.allSatisfy { $0.contains("next try in") })
    }

    @Test(
        "it comes back after every fault of the stream, and subscribes again",
        arguments: HTTPDrivers.present,
        [
            FaultPlan.Stream.resetInFrame, .end, .badOpcode, .maskedFrame, .hugeFrame, .badUTF8, .silence,
        ])
    func stream(_ mode: IOMode, _ fault: FaultPlan.Stream) throws {
        let bench = try ARIBench(mode)
        let client = try bench.connect {
            // Short where it is what the test waits for: a machine may stand still for as long.
            guard fault == .silence else { return }
            $0.pingInterval = .milliseconds(100)
            $0.silenceLimit = .seconds(1)
        }
        #expect(bench.run { client.subscription == .active })
        bench.simulator.faults = FaultPlan(stream: fault)
        #expect(bench.run { bench.keeper.snapshots.count == 2 })
        #expect(client.reconnects == 1 && client.state.isConnected)
        #expect(bench.keeper.events.isEmpty)
        let breaksProtocol = [.badOpcode, .maskedFrame, .hugeFrame, .badUTF8].contains(fault)
        #expect(bench.metrics[.ariProtocolErrors] == (breaksProtocol ? 1 : 0))
        #expect(bench.metrics[.ariSilenceDrops] == (fault == .silence ? 1 : 0))
        let streams = bench.simulator.requests.filter { $0.contains("/events?") }
        #expect(streams.count == 2)
        #expect(bench.log.lines.filter { $0.hasPrefix("warning") }.count == 1, "\(bench.log.lines)")
    }

    @Test("messages that are no events are handed on; the stream goes on", arguments: HTTPDrivers.present)
    func badEvents(_ mode: IOMode) throws {
        let bench = try ARIBench(mode)
        let client = try bench.connect()
        #expect(bench.run { client.subscription == .active })
        bench.simulator.faults = FaultPlan(stream: .badJSON)
        bench.simulator.faults = FaultPlan(stream: .duplicateKeys)
        #expect(bench.run { bench.keeper.events.count == 6 })
        #expect(bench.keeper.events[3].isEmpty && client.reconnects == 0)
        #expect(bench.keeper.events[5].count > 400)
    }

    @Test("a silent connection that answers pings is kept", arguments: HTTPDrivers.present)
    func idle(_ mode: IOMode) throws {
        let bench = try ARIBench(mode)
        let client = try bench.connect {
            $0.pingInterval = .milliseconds(50)
            $0.silenceLimit = .seconds(2)
        }
        #expect(bench.run { client.subscription == .active })
        bench.run(milliseconds: 2500)
        #expect(client.reconnects == 0 && client.state.isConnected)
    }

    @Test("a port where nobody listens is tried again, with growing pauses")
    func refused() throws {
        let bench = try ARIBench(.epoll)
        bench.simulator.stop()
        bench.run(milliseconds: 20)
        let client = try bench.connect()
        #expect(bench.run { client.reconnects >= 4 })
        #expect(bench.keeper.connections == 0 && !client.state.isConnected)
        #expect(bench.metrics[.ariConnected] == 0)
        #expect(bench.log.lines.filter { $0.hasPrefix("warning") }.count == 1)
    }

    @Test("requests that fail are made again while the stream stays up", arguments: HTTPDrivers.present)
    func requests(_ mode: IOMode) throws {
        for (fault, says) in [
            (FaultPlan.Requests.fail, "500"), (.forbid, "read_only"), (.silence, "eventFilter"),
        ] {
            let bench = try ARIBench(mode) { $0.faults.requests = fault }
            let client = try bench.connect { if fault == .silence { $0.requestTimeout = .milliseconds(60) } }
            #expect(bench.run { bench.metrics[.ariRequestErrors] >= 2 })
            guard case .failed(let reason) = client.subscription else {
                Issue.record("subscription is \(client.subscription)")
                return
            }
            #expect(reason.contains(says), "\(reason)")
            #expect(client.problem == reason && bench.keeper.problems.contains(reason))
            #expect(client.state.isConnected && client.reconnects == 0)
            #expect(bench.log.lines.filter { $0.hasPrefix("error") }.count == 1)
            bench.simulator.faults.requests = .answer
            #expect(bench.run { client.subscription == .active })
            #expect(bench.keeper.connections == 1 && client.problem == nil)
        }
    }

    @Test("a read-only user is told what to change")
    func readOnly() throws {
        let bench = try ARIBench(.epoll)
        let client = try bench.connect { $0.user = "watcher" }
        #expect(bench.run { if case .failed = client.subscription { true } else { false } })
        #expect(client.state.isConnected)
        #expect(bench.log.lines.contains { $0.contains("'watcher'") && $0.contains("read_only = no") })
    }

    @Test("wrong credentials are said to be wrong")
    func credentials() throws {
        let bench = try ARIBench(.epoll)
        let client = try bench.connect { $0.password = "wrong" }
        #expect(bench.run { client.reconnects >= 3 })
        #expect(bench.keeper.reasons.allSatisfy { $0.contains("401") && $0.contains("'callflow'") })
        #expect(bench.keeper.connections == 0)
    }

    @Test(
        "when another reader takes the name, it waits until the name is free", arguments: HTTPDrivers.present)
    func replaced(_ mode: IOMode) throws {
        let bench = try ARIBench(mode)
        let client = try bench.connect { $0.replacedCheck = .milliseconds(40) }
        #expect(bench.run { client.subscription == .active })
        let other = Other()
        let socket = WebSocketConnection.connect(
            loop: bench.loop, url: client.configuration.eventsURL,
            fields: [("Authorization", client.configuration.authorization)], delegate: other)
        #expect(bench.run { !client.state.isConnected })
        #expect(bench.keeper.reasons.last?.contains("another reader") == true)
        #expect(bench.keeper.types == ["ApplicationReplaced"])
        bench.run(milliseconds: 200)
        #expect(!client.state.isConnected && other.isOpen && bench.metrics[.ariReplaced] == 1)
        #expect(bench.simulator.readersAccepted == 2)
        socket.close(code: 1000, reason: "")
        #expect(bench.run { client.subscription == .active })
        #expect(bench.keeper.connections == 2)
    }

    @Test("a name that is never given back is taken back in the end")
    func patience() throws {
        let bench = try ARIBench(.epoll)
        let client = try bench.connect {
            $0.replacedCheck = .milliseconds(20)
            $0.replacedPatience = .milliseconds(100)
        }
        #expect(bench.run { client.subscription == .active })
        let other = Other()
        let socket = WebSocketConnection.connect(
            loop: bench.loop, url: client.configuration.eventsURL,
            fields: [("Authorization", client.configuration.authorization)], delegate: other)
        #expect(bench.run { bench.keeper.connections == 2 })
        #expect(socket.isOpen)
    }

    @Test("stopping closes with 1001, from every state", arguments: HTTPDrivers.present)
    func stop(_ mode: IOMode) throws {
        let bench = try ARIBench(mode)
        let client = try bench.connect()
        #expect(bench.run { client.subscription == .active })
        client.stop()
        #expect(bench.run { bench.keeper.states.last == .stopped })
        #expect(bench.run { bench.simulator.lastClose?.code == 1001 })
        #expect(bench.metrics[.ariConnected] == 0)
        bench.run(milliseconds: 100)
        #expect(bench.keeper.connections == 1 && bench.keeper.states.last == .stopped)

        let waiting = try ARIBench(mode) { $0.faults = FaultPlan(handshake: .cut) }
        let second = try waiting.connect()
        #expect(waiting.run { second.reconnects > 0 })
        second.stop()
        #expect(waiting.run { waiting.keeper.states.last == .stopped })
        let before = second.reconnects
        waiting.run(milliseconds: 150)
        #expect(second.reconnects == before)

        let connecting = try ARIBench(mode) { $0.faults = FaultPlan(handshake: .silence) }
        let third = try connecting.connect()
        connecting.run(milliseconds: 40)
        third.stop()
        #expect(connecting.run { connecting.keeper.states.last == .stopped })
    }

    private final class Other: WebSocketDelegate {
        var isOpen = false
        func opened(_ socket: WebSocketConnection) { isOpen = true }
        func message(_ kind: WebSocketMessageKind, _ payload: RawSpan, on socket: WebSocketConnection) {}
        func closed(_ socket: WebSocketConnection, _ close: WebSocketClose) { isOpen = false }
    }
}

@Suite("ARI client: pure parts")
struct ARIPartsTests {
    @Test("pauses double up to the cap and are at most halved by chance")
    func backoff() {
        var longest = ARIBackoff(base: .milliseconds(500), cap: .seconds(30))
        var shortest = longest
        var expected: [Int64] = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]
        for _ in 0..<200 { expected.append(30_000) }
        for milliseconds in expected {
            #expect(longest.next(random: .max) == .milliseconds(milliseconds))
            #expect(shortest.next(random: 0) == .milliseconds(milliseconds) / 2)
        }
        longest.reset()
        #expect(longest.next(random: .max) == .milliseconds(500))
    }

    @Test("answers to the steps say what to change")
    func verdicts() {
        let step = ARISubscriptionStep.putFilter
        #expect(step.verdict(status: 200, message: "", user: "u") == .done)
        #expect(ARISubscriptionStep.subscribe.verdict(status: 204, message: "", user: "u") == .done)
        for (status, says) in [(401, "ARI_PASSWORD"), (403, "read_only = no"), (500, "500"), (404, "404")] {
            guard case .failed(let reason) = step.verdict(status: status, message: "", user: "u") else {
                Issue.record("\(status) is no failure")
                continue
            }
            #expect(reason.contains(says))
        }
        let old = step.verdict(status: 404, message: #"{"message":"Resource not found"}"#, user: "u")
        #expect(
            old
                == .unsupported(
                    "this Asterisk has no event filter (before 13.26 and 16.3); all events will come"))
        let other = ARISubscriptionStep.subscribe.verdict(status: 501, message: "", user: "u")
        #expect(other == .failed("POST /applications/…/subscription: 501, not supported by this Asterisk"))
    }

    @Test("bodies of filter requests are read, and nonsense is refused")
    func filters() {
        #expect(FilterBody.types(in: ARISubscriptionStep.filterBody) == ARISubscriptionStep.allowedTypes)
        #expect(FilterBody.types(in: Array(#"{"allowed":[]}"#.utf8)) == [])
        #expect(FilterBody.types(in: Array(#"{"disallowed":[]}"#.utf8)) == [])
        for text in ["", "[]", #"{"allowed":"x"}"#, #"{"allowed":["x"]}"#] {
            #expect(FilterBody.types(in: Array(text.utf8)) == nil, "\(text)")
        }
    }
}
