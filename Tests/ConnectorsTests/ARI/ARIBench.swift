import Foundation
import Logging
import Protocols
import Reactor
import Testing

@testable import Connectors
@testable import Simulator

/// Keeps what a client hands on.
final class EventKeeper: ARIEventSink {
    var events: [[UInt8]] = []
    var states: [ARIConnectionState] = []
    /// What was wrong when a state changed.
    var problems: [String] = []
    var snapshots: [(channels: [UInt8], bridges: [UInt8])] = []
    var listed: [[UInt8]] = []
    var ended: [ARIComparisonFacts] = []
    /// What came, in order: `event`, `began`, `listed`, `ended`.
    var order: [String] = []
    var onEvent: ((ARIClient, [UInt8]) -> Void)?

    func received(_ payload: RawSpan, from client: ARIClient) {
        let event = payload.withUnsafeBytes { Array($0) }
        events.append(event)
        order.append("event")
        onEvent?(client, event)
    }

    func stateChanged(_ client: ARIClient, _ state: ARIConnectionState) {
        states.append(state)
        if let problem = client.problem { problems.append(problem) }
    }

    func comparisonBegan(_ facts: ARIComparisonFacts, from client: ARIClient) {
        snapshots.append((facts.channels, facts.bridges))
        order.append("began")
    }

    func listed(_ payload: RawSpan, from client: ARIClient) {
        listed.append(payload.withUnsafeBytes { Array($0) })
        order.append("listed")
    }

    func comparisonEnded(_ facts: ARIComparisonFacts, from client: ARIClient) {
        ended.append(facts)
        order.append("ended")
    }

    /// How often the stream was opened.
    var connections: Int {
        zip(states, [.idle] + states).filter { $0.isConnected && !$1.isConnected }.count
    }

    /// Reasons of the times it was not, in order.
    var reasons: [String] {
        states.compactMap { state in
            if case .disconnected(let reason, _) = state { return reason }
            return nil
        }
    }

    /// Types of the events kept.
    var types: [String] {
        events.compactMap {
            (try? JSONSerialization.jsonObject(with: Data($0)) as? [String: Any])?["type"] as? String
        }
    }
}

/// A simulated PBX and a client on one loop, turned by hand on the test's thread.
final class ARIBench {
    let loop: Loop
    let metrics = Metrics()
    let log = LogLines()
    let keeper = EventKeeper()
    let simulator: PBXSimulator
    let address: SocketAddress
    private(set) var client: ARIClient?

    init(_ mode: IOMode, change: (inout SimulatorConfiguration) -> Void = { _ in }) throws {
        loop = try Loop(configuration: LoopConfiguration(ioMode: mode, maximumConnections: 256))
        var configuration = SimulatorConfiguration()
        configuration.callsPerSecond = 0
        configuration.tickMilliseconds = 1
        change(&configuration)
        simulator = try PBXSimulator(
            loop: loop, configuration: configuration, logger: Logger(label: "pbx") { _ in Silent() })
        address = try simulator.start(on: .loopback(port: 0))
    }

    deinit { loop.stop() }

    /// Starts a client whose pauses suit a test.
    @discardableResult
    func connect(change: (inout ARIConfiguration) -> Void = { _ in }) throws -> ARIClient {
        let url = try URL("ws://127.0.0.1:\(address.port)/ari/events")
        var configuration = ARIConfiguration(name: "pbx", url: url, user: "callflow", password: "secret")
        configuration.backoffBase = .milliseconds(10)
        configuration.backoffCap = .milliseconds(50)
        configuration.stableAfter = .zero
        // None of these is met by accident on a machine that is slow.
        configuration.connectTimeout = .seconds(60)
        configuration.silenceLimit = .seconds(60)
        configuration.requestTimeout = .seconds(60)
        change(&configuration)
        let client = ARIClient(
            loop: loop, configuration: configuration, sink: keeper, logger: log.logger, metrics: metrics)
        self.client = client
        client.start()
        return client
    }

    /// Turns the loop until `condition` holds; says whether it did within `seconds`.
    func run(seconds: Double = 60, until condition: () -> Bool) -> Bool {
        let limit = MonotonicInstant.now() + .milliseconds(Int(seconds * 1000))
        while !condition() {
            guard MonotonicInstant.now() < limit else { return false }
            loop.runOnce(maximumWait: .milliseconds(5))
        }
        return true
    }

    /// Turns the loop for a while, for things that must not happen.
    func run(milliseconds: Int) { _ = run(seconds: Double(milliseconds) / 1000) { false } }

    private struct Silent: LogHandler {
        var metadata: Logger.Metadata = [:]
        var logLevel: Logger.Level = .critical
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
        func log(event: LogEvent) {}
    }
}
