import CallEngine
import Protocols
import Simulator

/// Rows as a busy PBX makes them, all in one buffer: events of simulated calls whose text is 700 to 800 bytes.
struct EventCorpus: Sendable {
    /// What the contract's tables are measured with.
    static let payloadBytes = 700...800

    struct Row: Sendable {
        var callID: Range<Int>
        var type: Range<Int>
        var payload: Range<Int>
        var occurredAt: Timestamp
    }

    private(set) var bytes: [UInt8] = []
    private(set) var rows: [Row] = []

    /// Mean bytes of a payload.
    var meanPayload: Int { rows.isEmpty ? 0 : rows.reduce(0) { $0 + $1.payload.count } / rows.count }

    /// Plays calls until there are so many rows.
    init(rows count: Int) throws(BenchError) {
        var configuration = SimulatorConfiguration()
        configuration.callsPerSecond = 1000
        configuration.maximumConcurrentCalls = 100_000
        let start: Int64 = 1_770_233_400_000
        let player = CallPlayer(configuration: configuration, start: start)
        let gatherer = Gatherer(wanted: count)
        rows.reserveCapacity(count)
        for step in 1...600 where gatherer.corpus.rows.count < count {
            _ = player.advance(to: start + Int64(step) * 1000, budget: .max, into: gatherer)
        }
        guard gatherer.corpus.rows.count == count else {
            throw BenchError(
                "only \(gatherer.corpus.rows.count) of \(count) events came of the simulated calls")
        }
        self = gatherer.corpus
    }

    private init() {}

    /// Calls `body` with the texts of a row, borrowed.
    func with<R>(
        _ row: Int,
        _ body: (
            _ callID: UnsafeRawBufferPointer, _ type: UnsafeRawBufferPointer,
            _ payload: UnsafeRawBufferPointer, _ occurredAt: Timestamp
        ) throws -> R
    ) rethrows -> R {
        let row = rows[row]
        return try bytes.withUnsafeBytes { all in
            try body(
                UnsafeRawBufferPointer(rebasing: all[row.callID]),
                UnsafeRawBufferPointer(rebasing: all[row.type]),
                UnsafeRawBufferPointer(rebasing: all[row.payload]), row.occurredAt)
        }
    }

    /// Keeps the events that have the wanted size.
    private final class Gatherer: EventReceiver {
        var corpus = EventCorpus()
        private let wanted: Int
        private var reader = ARIEventReader()
        private var actions: [CRMAction] = []
        private var graph: CallGraph
        private let tail = Array(
            #""asterisk_id":"02:fc:00:00:00:01","application":"callflow_elixir"}"#.utf8)
        private var event: [UInt8] = []

        init(wanted: Int) {
            self.wanted = wanted
            let hasher = TextHash(keyA: 0x9E37_79B9_7F4A_7C15, keyB: 0xD1B5_4A32_D192_ED03)
            graph = CallGraph(
                registry: CallRegistry(capacity: 100_000, hasher: hasher), hasher: hasher, seed: 1,
                maximumLegs: 400_000)
        }

        func played(_ kind: EventKind, isOfStasisChannel: Bool, body: UnsafeRawBufferPointer) -> Bool {
            event.removeAll(keepingCapacity: true)
            event.append(contentsOf: body)
            event.append(contentsOf: tail)
            var read = ARIEvent()
            event.withUnsafeBytes { payload in
                guard (try? reader.read(payload.bytes, into: &read)) != nil,
                    let placement = graph.handle(
                        read, payload: payload, pbx: 0, subscription: .allChannels,
                        receivedAt: Timestamp(microseconds: 0), now: 0, actions: &actions),
                    EventCorpus.payloadBytes.contains(payload.count), corpus.rows.count < wanted
                else { return }
                let callID = placement.key.text.withUnsafeBytes { corpus.keep($0) }
                read.withStoredName(in: payload) { name in
                    corpus.rows.append(
                        Row(
                            callID: callID, type: corpus.keep(name), payload: corpus.keep(payload),
                            occurredAt: read.timestamp ?? Timestamp(microseconds: 0)))
                }
            }
            return true
        }
    }

    private mutating func keep(_ text: UnsafeRawBufferPointer) -> Range<Int> {
        let start = bytes.count
        bytes.append(contentsOf: text)
        return start..<bytes.count
    }
}
