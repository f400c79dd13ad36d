import CallEngine
import Foundation
import Logging
import Protocols
import Reactor
import Simulator
import Testing

@testable import Connectors

/// PBXs, the whole way of their events, and a database, on one loop on the test's own thread.
final class WholeWayBench {
    let loop: Loop
    let metrics = Metrics()
    let log = LogLines()
    let shared: CallPipeline.Shared
    let pipeline: CallPipeline
    let reader: any StoreReader
    private let store: Store
    let commit: GroupCommit
    private let folder: String?
    let url: String
    private var simulators: [PBXSimulator] = []
    private var clients: [ARIClient] = []
    private(set) var actions: [CRMAction] = []

    /// - Parameter database: URL of one that is there already; `nil`: a new one.
    init(_ mode: IOMode, _ kind: StoreKind, maximumCalls: Int = 8192, database: String? = nil) throws {
        var configuration = LoopConfiguration()
        configuration.ioMode = mode
        configuration.maximumConnections = 1024
        loop = try Loop(configuration: configuration)
        let url: String
        switch kind {
        case _ where database != nil:
            folder = nil
            url = database ?? ""
        case .sqlite:
            let folder = "/tmp/callflow-way-\(UInt64.random(in: 0...UInt64.max))"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
            self.folder = folder
            url = "sqlite:\(folder)/store.sqlite3"
        case .postgres:
            folder = nil
            url = try PostgresCluster.shared().makeDatabase()
        }
        var settings = StoreBench.quick
        settings.pbxNames = ["pbx0", "pbx1"]
        self.url = url
        store = try Store(
            location: StoreLocation(databaseURL: url), settings: settings, metrics: metrics,
            logger: log.logger)
        commit = GroupCommit(
            loop: loop, writer: store.makeWriter(on: loop), settings: settings, metrics: metrics,
            logger: log.logger)
        reader = store.makeReader(on: loop)
        shared = CallPipeline.Shared(count: 1, maximumCalls: maximumCalls, metrics: metrics)
        pipeline = CallPipeline(loop: loop, index: 0, shared: shared, commit: commit, logger: log.logger)
        pipeline.onActions = { [unowned self] in actions += $0 }
        reader.start()
    }

    deinit {
        if let folder { try? FileManager.default.removeItem(atPath: folder) }
    }

    func wait(
        for what: String, within limit: Duration = .seconds(120),
        sourceLocation: SourceLocation = #_sourceLocation,
        until condition: () -> Bool
    ) throws {
        let deadline = MonotonicInstant.now() + limit
        while !condition() {
            guard MonotonicInstant.now() < deadline else {
                Issue.record(
                    "waited in vain for \(what); log: \(log.lines.suffix(20))", sourceLocation: sourceLocation
                )
                throw Timeout()
            }
            loop.runOnce(maximumWait: .milliseconds(5))
        }
    }

    struct Timeout: Error {}

    /// Starts a PBX and a client that reads it.
    func read(
        _ configuration: SimulatorConfiguration, subscription: ARIConfiguration.Subscription
    ) throws -> PBXSimulator {
        let simulator = try PBXSimulator(loop: loop, configuration: configuration, logger: log.logger)
        let address = try simulator.start(on: .loopback(port: 0))
        simulators.append(simulator)
        try read(address, subscription: subscription)
        return simulator
    }

    /// Starts a client that reads the PBX at an address.
    @discardableResult
    func read(
        _ address: SocketAddress, subscription: ARIConfiguration.Subscription = .calls,
        change: (inout ARIConfiguration) -> Void = { _ in }
    ) throws -> ARIClient {
        var ari = ARIConfiguration(
            name: "pbx\(clients.count)", url: try URL("ws://\(address)/ari/events"), user: "callflow",
            password: "secret")
        ari.subscription = subscription
        // Many PBXs on one loop: a slow machine is busy with others for longer than a real one would be silent.
        ari.connectTimeout = .seconds(120)
        ari.silenceLimit = .seconds(120)
        ari.requestTimeout = .seconds(120)
        change(&ari)
        let client = ARIClient(
            loop: loop, index: clients.count, configuration: ari, sink: self, logger: log.logger,
            metrics: metrics)
        clients.append(client)
        client.start()
        return client
    }

    var isSettled: Bool { commit.isIdle }

    func calls(_ filter: CallFilter) throws -> [StoredCall] {
        var answer: Result<[StoredCall], StoreError>?
        reader.calls(filter) { answer = $0 }
        try wait(for: "a list of calls") { answer != nil }
        return try #require(answer).get()
    }

    func call(_ callID: String) throws -> StoredCallWithEvents? {
        var answer: Result<StoredCallWithEvents?, StoreError>?
        reader.call(id: callID) { answer = $0 }
        try wait(for: "a call") { answer != nil }
        return try #require(answer).get()
    }

    func gaps() throws -> [StoredGap] {
        var answer: Result<[StoredGap], StoreError>?
        reader.gaps(limit: 100) { answer = $0 }
        try wait(for: "the gaps") { answer != nil }
        return try #require(answer).get()
    }

    func sightings() throws -> [PBXSighting] {
        var answer: Result<[PBXSighting], StoreError>?
        reader.sightings { answer = $0 }
        try wait(for: "the sightings") { answer != nil }
        return try #require(answer).get()
    }

    func close() throws {
        for client in clients { client.stop() }
        var isDone = false
        commit.flushAndStop(deadline: .now() + .seconds(30)) { _ in isDone = true }
        try wait(for: "the writer to stop") { isDone }
        for simulator in simulators { simulator.stop() }
        reader.stop()
        store.close()
        loop.stop()
    }
}

extension WholeWayBench: ARIEventSink {
    func received(_ payload: RawSpan, from client: ARIClient) {
        let isApp = client.configuration.subscription == .app
        let event = pipeline.received(
            payload, pbx: UInt16(client.index), subscription: isApp ? .applicationOnly : .allChannels)
        if case .stasisStart(let channelID) = event { client.continueInDialplan(channelID) }
    }

    func stateChanged(_ client: ARIClient, _ state: ARIConnectionState) {
        if case .disconnected = state { pipeline.connectionLost(pbx: UInt16(client.index)) }
    }

    func comparisonBegan(_ facts: ARIComparisonFacts, from client: ARIClient) {
        pipeline.comparisonBegan(facts, pbx: UInt16(client.index))
    }

    func listed(_ payload: RawSpan, from client: ARIClient) {
        let isApp = client.configuration.subscription == .app
        pipeline.listed(
            payload, pbx: UInt16(client.index), subscription: isApp ? .applicationOnly : .allChannels)
    }

    func comparisonEnded(_ facts: ARIComparisonFacts, from client: ARIClient) {
        pipeline.comparisonEnded(facts, pbx: UInt16(client.index), name: client.name)
    }

    func needsConfirmation(_ client: ARIClient) -> Bool {
        pipeline.needsConfirmation(pbx: UInt16(client.index))
    }

    func confirmed(_ channels: [[UInt8]], from client: ARIClient) {
        pipeline.confirmed(channels: channels, pbx: UInt16(client.index), name: client.name)
    }
}
