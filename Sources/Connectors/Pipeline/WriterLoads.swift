import Synchronization

/// How many bytes of rows each loop has received and not yet made durable: by this the loops choose who writes a new
/// call's rows (docs/adr/0025-rows-where-they-are-read.md).
///
/// Each loop tells its own at the end of a tick; the others read it, a tick old.
package final class WriterLoads: Sendable {
    /// Bytes on the way at which a loop is behind: a full batch's, far more than what gathers during a commit.
    package static let behindBytes = 1 << 19

    private final class Load: Sendable {
        let bytes = Atomic<Int>(0)
    }

    private let loads: [Load]

    /// Nothing on the way.
    package init(count: Int) {
        loads = (0..<count).map { _ in Load() }
    }

    /// What is on the way at a loop.
    package subscript(loop: Int) -> Int { loads[loop].bytes.load(ordering: .relaxed) }

    /// Tells what is on the way at a loop.
    package func set(_ bytes: Int, of loop: Int) {
        loads[loop].bytes.store(bytes, ordering: .relaxed)
    }

    /// Who writes the rows of a call that begins now: the loop that reads it, unless that is behind and another one has
    /// less to do.
    package func writer(forCallsOf loop: Int) -> Int {
        let own = self[loop]
        guard own > Self.behindBytes else { return loop }
        let least = loads.indices.min { self[$0] < self[$1] } ?? loop
        return self[least] + Self.behindBytes <= own ? least : loop
    }
}
