import BenchSupport
import CallEngine
import Connectors
import Logging
import Protocols
import Reactor

/// What takes events off a WebSocket, and what came of them.
protocol Intake: AnyObject, WebSocketDelegate {
    /// What the table says it does.
    static var title: String { get }
    init(loop: Loop, calls: Int)
    var events: Int { get }
    /// Whether the stream has ended, and why when not as it should.
    var close: WebSocketClose? { get }
    var callsStarted: Int { get }
    var callsFinished: Int { get }
    /// Begun and neither ended nor joined to another.
    var callsActive: Int { get }
    /// What there was no room for.
    var refused: Int { get }
    /// Calls that would become rows, or did.
    var rows: Int { get }
}

/// What `ARIClient` does with a message before it hands the event on.
private enum Notice {
    private static let maximumBytes = 512

    static func isReplaced(_ event: RawSpan) -> Bool {
        event.byteCount <= maximumBytes && event.contains("\"ApplicationReplaced\"")
    }
}

/// Reads each event, moves its call, and lets the changed calls go at the end of each turn: nothing is kept for a store.
final class ModelIntake: Intake {
    static let title = "receive, decode, model, discard"

    private let loop: Loop
    private var reader = ARIEventReader()
    private var graph: CallGraph
    private var actions: [CRMAction] = []
    private var invalid = 0
    private(set) var events = 0
    private(set) var close: WebSocketClose?
    private(set) var rows = 0

    var callsStarted: Int { graph.counters.started }
    var callsFinished: Int { graph.counters.finished }
    var callsActive: Int { graph.counters.active }
    var refused: Int { graph.counters.refused + invalid }

    init(loop: Loop, calls: Int) {
        self.loop = loop
        let hasher = TextHash(keyA: SystemRandom.uint64(), keyB: SystemRandom.uint64())
        graph = CallGraph(
            registry: CallRegistry(capacity: calls, hasher: hasher), hasher: hasher,
            seed: SystemRandom.uint64(), maximumLegs: calls * 4)
        _ = loop.atEndOfTick { [unowned self] in endTick() }
        sweepLater()
    }

    func message(_ kind: WebSocketMessageKind, _ payload: RawSpan, on socket: WebSocketConnection) {
        guard !Notice.isReplaced(payload) else { return }
        let receivedAt = WallClock.now()
        events += 1
        var event = ARIEvent()
        do throws(JSONError) {
            try reader.read(payload, into: &event)
        } catch {
            invalid += 1
            return
        }
        payload.withUnsafeBytes { bytes in
            _ = graph.handle(
                event, payload: bytes, pbx: 0, subscription: .allChannels, receivedAt: receivedAt,
                now: loop.now.nanoseconds, actions: &actions)
        }
    }

    private func endTick() {
        graph.drain(actions: &actions) { _, _, _ in rows += 1 }
        actions.removeAll(keepingCapacity: true)
    }

    private func sweepLater() {
        loop.schedule(after: .seconds(1)) { [weak self] in
            guard let self else { return }
            graph.sweep(now: loop.now.nanoseconds)
            sweepLater()
        }
    }

    func closed(_ socket: WebSocketConnection, _ close: WebSocketClose) { self.close = close }
}

/// The daemon's own pipeline, up to and with the batches of rows; they are thrown away instead of written.
final class PipelineIntake: Intake {
    static let title = "the same through the daemon's pipeline, with its counters and batches of rows"

    private let pipeline: CallPipeline
    private let writer: DiscardingWriter
    private let metrics = Metrics()
    private(set) var events = 0
    private(set) var close: WebSocketClose?

    var rows: Int { writer.rows }
    var callsStarted: Int { metrics[.callsStarted] }
    var callsFinished: Int { metrics[.callsFinished] }
    var callsActive: Int { metrics[.callsActive] }
    var refused: Int {
        metrics[.callsRefused] + metrics[.ariEventsInvalid] + metrics[.storeEventsDropped]
            + metrics[.storeCallsDropped]
    }

    init(loop: Loop, calls: Int) {
        let logger = Logger(label: "intake") { _ in SwiftLogNoOpLogHandler() }
        writer = DiscardingWriter(loop)
        let commit = GroupCommit(
            loop: loop, writer: writer, settings: StoreSettings(), metrics: metrics, logger: logger)
        let shared = CallPipeline.Shared(count: 1, maximumCalls: calls, metrics: metrics, tellsCRM: false)
        pipeline = CallPipeline(loop: loop, index: 0, shared: shared, commit: commit, logger: logger)
    }

    func message(_ kind: WebSocketMessageKind, _ payload: RawSpan, on socket: WebSocketConnection) {
        guard !Notice.isReplaced(payload) else { return }
        events += 1
        _ = pipeline.received(payload, pbx: 0, subscription: .allChannels)
    }

    func closed(_ socket: WebSocketConnection, _ close: WebSocketClose) { self.close = close }
}

/// A database that takes everything at once and keeps nothing.
private final class DiscardingWriter: BatchWriter {
    private let loop: Loop
    private(set) var rows = 0

    private(set) var inFlightCount = 0
    private(set) var state = StoreState.connecting
    let sharesBatches = true
    let canBoard = false
    // More than a turn of the loop can fill, or rows would wait.
    var canAccept: Bool { state.isConnected && inFlightCount < 40 }
    var onCompletion: ((WriteBatch, Result<Void, StoreError>) -> Void)?
    var onStateChange: ((StoreState) -> Void)?
    var onTakeOver: ((Set<BatchID>) -> Void)?

    init(_ loop: Loop) { self.loop = loop }

    func start(as writer: UInt64, after formers: [UInt64]) {
        state = .connected(serverVersion: "none")
        onTakeOver?([])
        onStateChange?(state)
    }

    func write(_ batch: WriteBatch) {
        inFlightCount += 1
        rows += batch.eventCount
        loop.schedule(after: .zero) { [self] in
            inFlightCount -= 1
            onCompletion?(batch, .success(()))
        }
    }

    func flushAndStop(deadline: MonotonicInstant, completion: @escaping () -> Void) { completion() }
}
