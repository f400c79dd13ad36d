import Foundation
import Logging
import Protocols
import Reactor
import Testing

@testable import Connectors

/// Where a real Asterisk with the settings of a call-flow PBX listens; the tests here are skipped without.
private let realAsterisk = ProcessInfo.processInfo.environment["CALLFLOW_TEST_ARI_URL"]

/// What the client does where nothing is simulated.
///
/// Needs `CALLFLOW_TEST_ARI_URL=ws://127.0.0.1:18088/ari/events`, user `callflow` (password `secret`), the
/// read-only user `watcher`, and contexts `from-external-dial` and `caller` in its dialplan. With `wss://…` also
/// `CALLFLOW_TEST_ARI_TRUST`, a file with the certificate to trust.
@Suite(
    "ARI client against a real Asterisk", .serialized,
    .enabled(if: realAsterisk != nil, "SKIPPED: CALLFLOW_TEST_ARI_URL is not set"))
struct RealAsteriskTests {
    private struct Bench {
        let loop: Loop
        let keeper = EventKeeper()
        let metrics = Metrics()
        let log = LogLines()
        let client: ARIClient
        let http: HTTPClient

        init(_ mode: IOMode, change: (inout ARIConfiguration) -> Void = { _ in }) throws {
            loop = try Loop(configuration: LoopConfiguration(ioMode: mode, maximumConnections: 64))
            let url = try URL(realAsterisk ?? "")
            var configuration = ARIConfiguration(
                name: "real", url: url, user: "callflow", password: "secret")
            configuration.backoffBase = .milliseconds(50)
            change(&configuration)
            let trust = ProcessInfo.processInfo.environment["CALLFLOW_TEST_ARI_TRUST"]
            let tls = url.isSecure ? try TLSClientContext(trustFile: trust) : nil
            client = ARIClient(
                loop: loop, configuration: configuration, sink: keeper, tls: tls, logger: log.logger,
                metrics: metrics)
            http = HTTPClient(
                loop: loop, origin: HTTPOrigin(isSecure: url.isSecure, host: url.host, port: url.port),
                tls: tls)
            client.start()
        }

        func run(seconds: Double = 30, until condition: () -> Bool) -> Bool {
            let limit = MonotonicInstant.now() + .milliseconds(Int(seconds * 1000))
            while !condition() {
                guard MonotonicInstant.now() < limit else { return false }
                loop.runOnce(maximumWait: .milliseconds(5))
            }
            return true
        }

        /// Has Asterisk call itself: `;1` is the caller's telephone, which hangs up after `seconds`.
        func call(_ number: Int, context: String, seconds: Double) {
            http.send(
                HTTPClientRequest(
                    method: "POST",
                    target: "/ari/channels?endpoint=Local/\(number)@\(context)/n&extension=w\(seconds)"
                        + "&context=caller&priority=1&callerId=Ivan%20%3C79161234567%3E",
                    fields: [("Authorization", client.configuration.authorization)])
            ) { _ in }
        }
    }

    @Test("the whole life of calls that the dialplan dials", arguments: HTTPDrivers.present)
    func calls(_ mode: IOMode) throws {
        let bench = try Bench(mode)
        #expect(bench.run { bench.client.subscription == .active })
        bench.keeper.onEvent = { client, event in
            guard event.starts(with: Array(#"{"type":"StasisStart""#.utf8)),
                let object = try? JSONSerialization.jsonObject(with: Data(event)) as? [String: Any],
                let id = (object["channel"] as? [String: Any])?["id"] as? String
            else { return }
            client.continueInDialplan(id)
        }
        let calls = 20
        for number in 0..<calls {
            bench.call(74_950_000_000 + number, context: "from-external-dial", seconds: 1.5)
        }
        // Two Local channels for the call, two for the telephone that the dialplan dials.
        func destroyed() -> Int { bench.keeper.types.filter { $0 == "ChannelDestroyed" }.count }
        #expect(bench.run { bench.keeper.events.count > calls * 20 })
        #expect(bench.run { destroyed() == calls * 4 })
        _ = bench.run(seconds: 0.5) { false }
        var counts: [String: Int] = [:]
        for type in bench.keeper.types { counts[type, default: 0] += 1 }
        print("real Asterisk, \(mode): \(counts.sorted { $0.key < $1.key })")
        #expect(counts["ChannelCreated"] == calls * 4 && counts["ChannelDestroyed"] == calls * 4)
        #expect(counts["StasisStart"] == calls && counts["StasisEnd"] == calls)
        #expect(counts["ChannelEnteredBridge"] == calls * 2 && counts["ChannelLeftBridge"] == calls * 2)
        #expect(counts.keys.allSatisfy { ARISubscriptionStep.allowedTypes.contains($0) })
        #expect(bench.keeper.types.count == bench.keeper.events.count)
        #expect(bench.metrics[.ariContinued] == calls && bench.metrics[.ariContinueRefused] == 0)
        #expect(bench.client.reconnects == 0)
        bench.client.stop()
        #expect(bench.run { bench.keeper.states.last == .stopped })
    }

    @Test("a channel left in our application is continued after a connection")
    func held() throws {
        let first = try Bench(.epoll) { $0.stasisPolicy = .hold }
        #expect(first.run { first.client.subscription == .active })
        first.call(74_950_000_077, context: "from-external-dial", seconds: 20)
        #expect(first.run { first.keeper.types.contains("StasisStart") })
        first.client.stop()
        #expect(first.run { first.keeper.states.last == .stopped })

        let second = try Bench(.epoll)
        #expect(second.run { second.metrics[.ariContinued] == 1 })
        #expect(second.run { second.keeper.types.contains("ChannelEnteredBridge") })
        let snapshot = try #require(second.keeper.snapshots.first)
        let channels = try #require(
            try JSONSerialization.jsonObject(with: Data(snapshot.channels)) as? [[String: Any]])
        #expect(channels.count == 2)
        second.client.stop()
        #expect(second.run { second.keeper.states.last == .stopped })
    }

    @Test("an idle connection is kept, and pings are answered")
    func idle() throws {
        let bench = try Bench(.epoll) {
            $0.pingInterval = .milliseconds(50)
            $0.silenceLimit = .milliseconds(500)
        }
        #expect(bench.run { bench.client.subscription == .active })
        _ = bench.run(seconds: 2) { false }
        #expect(bench.client.reconnects == 0 && bench.client.state.isConnected)
        bench.client.stop()
        #expect(bench.run { bench.keeper.states.last == .stopped })
    }

    @Test("wrong credentials and a read-only user are told apart")
    func users() throws {
        let wrong = try Bench(.epoll) { $0.password = "wrong" }
        #expect(wrong.run { wrong.client.reconnects >= 1 })
        #expect(wrong.keeper.reasons.first?.contains("401") == true)
        wrong.client.stop()
        let watcher = try Bench(.epoll) { $0.user = "watcher" }
        #expect(watcher.run { if case .failed = watcher.client.subscription { true } else { false } })
        #expect(watcher.client.state.isConnected)
        #expect(watcher.log.lines.contains { $0.contains("read_only = no") })
        watcher.client.stop()
        #expect(watcher.run { watcher.keeper.states.last == .stopped })
    }

    @Test("two readers with one name do not fight; the first comes back when the second is gone")
    func replaced() throws {
        // Asterisk 16 never says that a name is free: there the first one comes back when its patience ends.
        let first = try Bench(.epoll) {
            $0.replacedCheck = .milliseconds(100)
            $0.replacedPatience = .seconds(5)
        }
        #expect(first.run { first.client.subscription == .active })
        let second = try Bench(.epoll)
        // Both loops are turned here, a little each.
        func turn(seconds: Double = 20, until condition: () -> Bool) -> Bool {
            let limit = MonotonicInstant.now() + .milliseconds(Int(seconds * 1000))
            while !condition() {
                guard MonotonicInstant.now() < limit else { return false }
                first.loop.runOnce(maximumWait: .milliseconds(2))
                second.loop.runOnce(maximumWait: .milliseconds(2))
            }
            return true
        }
        #expect(turn { second.client.subscription == .active && !first.client.state.isConnected })
        #expect(!turn(seconds: 1) { first.client.state.isConnected })
        #expect(first.keeper.types == ["ApplicationReplaced"])
        second.client.stop()
        #expect(turn { first.client.subscription == .active })
        first.client.stop()
        #expect(turn { first.keeper.states.last == .stopped })
    }
}
