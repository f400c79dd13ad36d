package import Logging
package import Protocols
package import Reactor
import Synchronization

/// The local spool: batches on this machine's disk while the database is away, or before they are sent.
///
/// One file and one thread for all shards (a commit blocks). What shards ask between two commits is one
/// transaction, so a slow disk makes larger groups and not a longer queue.
package final class Spool: Sendable {
    private let shared = SpoolShared()
    private let thread: LoopThread

    /// Starts the thread; the file is opened there when the first shard asks.
    ///
    /// - Parameter lanes: How many shards there are.
    package init(
        _ settings: SpoolSettings, lanes: Int, metrics: Metrics, logger: Logger
    ) throws(ReactorError) {
        let shared = shared
        var configuration = LoopConfiguration()
        // This loop serves a mailbox only.
        configuration.maximumConnections = 1
        configuration.receiveBufferCount = 1
        configuration.name = "spool"
        thread = try LoopThread.start(configuration) { loop in
            let worker = SpoolWorker(
                loop: loop, shared: shared, settings: settings, lanes: lanes, metrics: metrics, logger: logger
            )
            loop.attach(shared.orders) { worker.take($0) }
            _ = loop.atEndOfTick { worker.work() }
        }
    }

    /// What lies in it now.
    package var status: SpoolStatus { shared.status.withLock { $0 } }

    /// A shard's access; made and used on the shard's thread.
    package func makeLane(_ lane: Int, on loop: Loop) -> any BatchSpool {
        SpoolLane(shared: shared, lane: lane, loop: loop)
    }

    /// Ends the thread; after all shards have stopped.
    package func close() {
        thread.stop()
        thread.join()
    }
}

/// What the spool holds, for `/health`, `/metrics` and the log.
package struct SpoolStatus: Sendable, Equatable {
    package enum State: String, Sendable {
        /// Not opened yet.
        case opening
        /// Takes batches.
        case open
        /// Refuses some batches: its bound is reached.
        case full
        /// Cannot be opened or written.
        case failing
    }

    package var state: State = .opening
    /// What is wrong; `nil` when nothing is.
    package var problem: String?
    package var bytes = 0
    package var batches = 0
    package var events = 0
    /// When the oldest batch was received.
    package var oldest: Timestamp?

    package init() {}
}

/// What the shards and the spool's thread share.
final class SpoolShared: Sendable {
    /// Orders of all shards that may wait; a shard keeps few on the way.
    static let mailboxCapacity = 65_536

    let orders = Mailbox<SpoolOrder>(capacity: SpoolShared.mailboxCapacity)
    let status = Locked(SpoolStatus())
    /// The last key given to a batch; set when the file is opened.
    let lastKey = Atomic<Int64>(0)
}

/// What shards ask of the spool's thread.
enum SpoolOrder: Sendable {
    case open(lane: Int, Mailbox<SpoolAnswer>)
    case append(lane: Int, SpoolRecord)
    case load(lane: Int, after: Int64, maximumCount: Int, maximumBytes: Int)
    case remove(lane: Int, [Int64])
}

/// One shard's access to the spool's thread.
private final class SpoolLane: BatchSpool {
    private let shared: SpoolShared
    private let lane: Int
    private let loop: Loop
    private let answers = Mailbox<SpoolAnswer>(capacity: SpoolShared.mailboxCapacity)

    var onAnswer: ((SpoolAnswer) -> Void)?

    init(shared: SpoolShared, lane: Int, loop: Loop) {
        self.shared = shared
        self.lane = lane
        self.loop = loop
    }

    func open() {
        loop.attach(answers) { [weak self] in self?.onAnswer?($0) }
        _ = shared.orders.post(.open(lane: lane, answers))
    }

    func nextKey() -> Int64 { shared.lastKey.wrappingAdd(1, ordering: .relaxed).newValue }

    func append(_ record: SpoolRecord) {
        guard shared.orders.post(.append(lane: lane, record)) else {
            // Never while a shard keeps its bound on what it has on the way; answered like any refusal.
            _ = answers.post(.appended(key: record.key, .disk("the spool's mailbox is full"), hasRoom: false))
            return
        }
    }

    func load(after key: Int64, maximumCount: Int, maximumBytes: Int) {
        let order = SpoolOrder.load(
            lane: lane, after: key, maximumCount: maximumCount, maximumBytes: maximumBytes)
        if !shared.orders.post(order) { _ = answers.post(.loaded([], isLast: false)) }
    }

    func remove(_ keys: [Int64]) {
        _ = shared.orders.post(.remove(lane: lane, keys))
    }
}
