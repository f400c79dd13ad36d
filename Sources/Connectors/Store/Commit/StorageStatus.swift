package import Protocols
import Reactor

/// How far the database is behind what was received, of all shards; written by them, read by whoever answers.
package final class StorageStatus: Sendable {
    /// One shard's part.
    package struct Lane: Sendable, Equatable {
        /// Whether new rows go to the spool instead of the database.
        package var isSpilling = false
        /// Batches and events that lie in the spool only.
        package var batches = 0
        package var events = 0
        /// When the oldest row was received that the database does not have, if that is worth telling.
        package var oldest: Timestamp?

        package init() {}
    }

    /// A row younger than this is on its usual way.
    package static let tellsAfter: Duration = .seconds(1)

    private let lanes: Locked<[Lane]>

    package init(lanes count: Int) { lanes = Locked(Array(repeating: Lane(), count: count)) }

    package func set(_ lane: Int, _ status: Lane) {
        lanes.withLock { if $0.indices.contains(lane) { $0[lane] = status } }
    }

    /// All shards together.
    package var all: Lane {
        lanes.withLock { lanes in
            lanes.reduce(into: Lane()) { sum, lane in
                sum.isSpilling = sum.isSpilling || lane.isSpilling
                sum.batches += lane.batches
                sum.events += lane.events
                if let oldest = lane.oldest { sum.oldest = min(sum.oldest ?? oldest, oldest) }
            }
        }
    }
}
