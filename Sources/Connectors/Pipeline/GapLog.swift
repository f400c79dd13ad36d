import Reactor

/// Times in which a PBX was not heard, of this run: for `/health`, which must not wait for the database.
package final class GapLog: Sendable {
    /// What is known of them.
    package struct Summary: Sendable, Hashable {
        /// How many there were.
        package var count = 0
        /// The last one of any PBX.
        package var last: StoredGap?

        package init() {}
    }

    private let state = Locked(Summary())

    package init() {}

    /// So far.
    package var summary: Summary { state.withLock { $0 } }

    func note(_ gap: StoredGap) {
        state.withLock {
            $0.count += 1
            $0.last = gap
        }
    }
}
