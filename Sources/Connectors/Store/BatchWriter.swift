package import Reactor

/// Commits batches.
///
/// PostgreSQL through a pipeline, or SQLite on its own thread. Used on one loop's thread.
package protocol BatchWriter: AnyObject {
    /// Whether another batch may be given now: connected, and fewer on the way than the bound.
    var canAccept: Bool { get }
    /// Batches on the way.
    var inFlightCount: Int { get }
    /// How it stands with the database.
    var state: StoreState { get }
    /// Told of every batch once, in the order of `write`; never called from inside `write`'s caller twice
    /// for one batch. The writer does not touch the batch afterwards.
    var onCompletion: ((WriteBatch, Result<Void, StoreError>) -> Void)? { get set }
    /// Told when `state` changed.
    var onStateChange: ((StoreState) -> Void)? { get set }

    /// Begins to connect, and reconnects for ever.
    func start()
    /// Writes the batch as one transaction; allowed while `canAccept`.
    func write(_ batch: WriteBatch)
    /// Waits for the batches on the way, at most until `deadline`, then closes the connection. Batches that
    /// were not settled by then complete as unavailable.
    func flushAndStop(deadline: MonotonicInstant, completion: @escaping () -> Void)
}
