import Protocols

/// Which days `call_events` has partitions for, and which it should have.
///
/// The key is `inserted_at`, our own time, and not `occurred_at`, the PBX's: a PBX's clock may say anything, and a
/// row must never fail because nobody foresaw its day. Ours may be wrong too, so the insert holds it within
/// `lookBackDays` and `lookAheadDays` of the server's clock (`PostgresStatements`), and partitions are made by the
/// same clock well ahead of that window. So every row has a partition, without a default one, which would make
/// each new partition look through it under a lock and would rule out detaching without one.
///
/// Days are counted from 1970-01-01 UTC.
struct PartitionPlan {
    /// Rows from a spool keep their time of receipt up to so many days back.
    static let lookBackDays = 2
    /// How far ahead of the server's clock ours may run.
    static let lookAheadDays = 1
    /// Partitions are made so far ahead; all of that can pass without anybody making one.
    static let leadDays = 14
    /// With less than this ahead it is said aloud: making partitions has failed for days.
    static let alarmDays = 7
    /// The least retention that never takes the window away.
    static let minimumRetentionDays = lookBackDays + 1
    /// With a retention up to this a partition holds one day, beyond it seven.
    ///
    /// A query without bounds, a dump or a restore locks every partition and its indexes, so that there should be
    /// hundreds of them at most (`max_locks_per_transaction`), and each should be worth its files.
    static let dailyUpToRetentionDays = 60

    /// The server's day.
    var today: Int
    /// Days of one partition, 1 or 7.
    var width: Int

    init(today: Int, retentionDays: Int?) {
        self.today = today
        width = (retentionDays ?? .max) <= Self.dailyUpToRetentionDays ? 1 : 7
    }

    /// Ranges of days to be made so that the window and the lead are covered; `covered` may overlap nothing.
    func missing(_ covered: [Range<Int>]) -> [Range<Int>] {
        let covered = covered.sorted { $0.lowerBound < $1.lowerBound }
        let end = today + Self.leadDays
        var cursor = boundary(notAfter: today - Self.lookBackDays)
        var result: [Range<Int>] = []
        while cursor < end {
            if let there = covered.first(where: { $0.contains(cursor) }) {
                cursor = there.upperBound
                continue
            }
            let next = covered.first { $0.lowerBound > cursor }?.lowerBound ?? .max
            let upper = min(boundary(notAfter: cursor) + width, next)
            result.append(cursor..<upper)
            cursor = upper
        }
        return result
    }

    /// First day after today without a partition.
    func coveredUntil(_ covered: [Range<Int>]) -> Int {
        var day = today
        while let there = covered.first(where: { $0.contains(day) }) { day = there.upperBound }
        return day
    }

    /// Whether every row of now has a partition.
    func holdsWindow(_ covered: [Range<Int>]) -> Bool {
        (today - Self.lookBackDays...today + Self.lookAheadDays).allSatisfy { day in
            covered.contains { $0.contains(day) }
        }
    }

    /// Monday, or the day itself, at or before a day.
    private func boundary(notAfter day: Int) -> Int {
        // 1970-01-01 was a Thursday; day 4 a Monday.
        guard width > 1 else { return day }
        let offset = ((day - 4) % width + width) % width
        return day - offset
    }

    /// Name of a partition, `call_events_p20260204`.
    static func name(from day: Int) -> String {
        let date = Timestamp(microseconds: Int64(day) * 86_400_000_000).formatted(.seconds).prefix(10)
        return "call_events_p" + date.filter { $0 != "-" }
    }

    /// A day as PostgreSQL reads it, `2026-02-04`.
    static func date(_ day: Int) -> String {
        String(Timestamp(microseconds: Int64(day) * 86_400_000_000).formatted(.seconds).prefix(10))
    }
}
