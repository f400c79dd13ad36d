package import Reactor

/// Commits batches.
///
/// PostgreSQL through a pipeline, or SQLite on its own thread. Used on one loop's thread.
package protocol BatchWriter: AnyObject {
    /// Whether another batch may be given now: connected, and fewer on the way than the bound.
    var canAccept: Bool { get }
    /// Whether a full batch may be given although `canAccept` is not: it waits there with others, and they become one
    /// transaction.
    var canBoard: Bool { get }
    /// Batches given and not completed.
    var inFlightCount: Int { get }
    /// Whether a batch on its way may be read by whoever gave it (it may not when another thread has it).
    var sharesBatches: Bool { get }
    /// How it stands with the database.
    var state: StoreState { get }
    /// Told of every batch once; never called from inside `write`'s caller twice for one batch. The writer does
    /// not touch the batch afterwards.
    ///
    /// A success means that all its rows are durable, those in `batch.refused` as dead letters. An error is never
    /// about a row.
    var onCompletion: ((WriteBatch, Result<Void, StoreError>) -> Void)? { get set }
    /// Told when `state` changed.
    var onStateChange: ((StoreState) -> Void)? { get set }
    /// Told with each new connection, before `canAccept`: which of the former writers' batches were committed, as
    /// far as the ledger's rows reach back (`CommitSlots.count` batches of each).
    var onTakeOver: ((Set<BatchID>) -> Void)? { get set }

    /// Begins to connect, and reconnects for ever.
    ///
    /// - Parameters:
    ///   - writer: The name that this shard's batches carry in this run.
    ///   - formers: Writers of earlier runs whose batches still lie in the spool: their sessions are ended, so that
    ///     they can commit nothing more, and the ledger is read for them.
    func start(as writer: UInt64, after formers: [UInt64])
    /// Writes the batch, whole or not at all; allowed while `canAccept` or `canBoard`. `batch.slot` is its row in
    /// the ledger.
    func write(_ batch: WriteBatch)
    /// Waits for the batches on the way, at most until `deadline`, then closes the connection. Batches that
    /// were not settled by then complete as unavailable.
    func flushAndStop(deadline: MonotonicInstant, completion: @escaping () -> Void)
}

/// The rows of the ledger that one writer's batches use: a batch holds one from its first sending until its fate is
/// known and, if it lies in the spool, it is gone from there.
///
/// So no note is overwritten that may still be asked for.
///
/// Each run has rows of its own, also for batches that a former run left in the spool: among that run's notes may be
/// some of batches that are still there, and the next run may have to ask again.
struct CommitSlots {
    /// More than batches may be on the way and waiting for their removal from the spool.
    static let count: Int32 = 48

    private var free: [Int32]

    /// - Parameter random: Random bits, which choose this run's rows.
    init(random: UInt64) {
        let base = Int32(truncatingIfNeeded: random & 0x3FFF_FFFF) / Self.count * Self.count
        free = (base..<base + Self.count).reversed()
    }

    var isEmpty: Bool { free.isEmpty }

    mutating func take() -> Int32? { free.popLast() }

    mutating func give(back slot: Int32?) {
        if let slot { free.append(slot) }
    }
}
