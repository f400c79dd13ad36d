import Protocols

/// Deletes events older than the retention from the embedded store, a few rows at a time.
///
/// Ids grow with time, so no index on a time is needed: it walks from the lowest id until it meets events that are
/// young enough. Freed pages are used again; the file does not shrink (`VACUUM` would, and blocks meanwhile).
final class SQLiteRetention {
    /// Rows looked at in one step; some ten milliseconds of the writing thread.
    static let rowsPerStep: Int64 = 1_000
    /// Between two steps, for batches to be written.
    static let pause: Duration = .milliseconds(50)

    private let days: Int
    private let chunk: SQLiteStatement
    private let delete: SQLiteStatement
    /// Rows up to here were looked at and kept.
    private var cursor: Int64 = .min

    init(_ database: SQLiteDatabase, days: Int) throws(StoreError) {
        self.days = days
        // The last row of the chunk, and its time.
        chunk = try database.prepare(
            """
            SELECT id, inserted_at FROM call_events WHERE id IN
                (SELECT id FROM call_events WHERE id > ?1 ORDER BY id LIMIT ?2) ORDER BY id DESC LIMIT 1
            """)
        delete = try database.prepare(
            "DELETE FROM call_events WHERE id > ?1 AND id <= ?2 AND inserted_at < ?3 RETURNING 1")
    }

    /// Takes one step.
    ///
    /// - Returns: How many rows are gone, and whether nothing is left to be done now.
    func step(now: Timestamp) throws(StoreError) -> (deleted: Int, isDone: Bool) {
        chunk.bind(1, cursor)
        chunk.bind(2, Self.rowsPerStep)
        guard try chunk.step(), let last = chunk.integer(0), let time = chunk.timestamp(1) else {
            chunk.reset()
            cursor = .min
            return (0, true)
        }
        chunk.reset()
        let limit = Timestamp(microseconds: now.microseconds - Int64(days) * 86_400_000_000)
        delete.bind(1, cursor)
        delete.bind(2, last)
        delete.bind(3, limit.microseconds)
        var deleted = 0
        while try delete.step() { deleted += 1 }
        // A row from the future (the clock was wrong) must not keep those behind it for ever.
        let isDone = time >= limit && time <= now
        cursor = isDone ? .min : last
        return (deleted, isDone)
    }
}
