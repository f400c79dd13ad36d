import CLibPQ
import Glibc
import Protocols

/// Makes partitions ahead and drops what is older than the retention, blocking, on a connection of its own.
///
/// No step keeps writers or readers waiting: a partition is made as a table of its own and attached, which takes
/// `SHARE UPDATE EXCLUSIVE` on `call_events` (PostgreSQL documentation, ALTER TABLE); it is detached concurrently,
/// under the same lock, and dropped when it is nobody's part any more. Every wait for a lock is bounded.
struct PostgresUpkeep {
    /// Key of the advisory lock under which partitions are made, beside that of the migrations.
    static let makingLock = PostgresMigrator.advisoryLock + 1
    /// Key of the advisory lock of the one daemon that drops.
    static let droppingLock = PostgresMigrator.advisoryLock + 2
    /// Wait for a table's lock, behind which others may queue.
    static let lockTimeoutMilliseconds = 2_000
    /// Wait for transactions that still see a partition; nobody queues behind it.
    static let usualDetachTimeoutMilliseconds = 60_000
    /// Rows deleted at once from a table that has no partitions.
    static let sweepRows = 2_000
    /// Such steps in one run, with a pause between them.
    static let sweepSteps = 500
    static let sweepPauseMicroseconds: UInt32 = 20_000
    /// Stands as the comment of a table that is to be dropped, should we end in between.
    static let dropMark = "callflow-fast: older than EVENT_RETENTION_DAYS, to be dropped"

    let connection: PostgresConnection
    /// `nil`: nothing is dropped.
    let retentionDays: Int?
    var detachTimeoutMilliseconds = Self.usualDetachTimeoutMilliseconds

    /// Makes the partitions that are missing; does nothing on a table that is not ours.
    ///
    /// - Returns: Names of those made here.
    func makePartitions() throws(StoreError) -> [String] {
        guard let seen = try PostgresEventTable(connection), seen.isPartitioned,
            !plan(seen).missing(seen.covered).isEmpty
        else { return [] }
        do throws(StoreError) {
            try connection.execute(
                "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock(\(Self.makingLock))")
            // Another daemon may have made them while we waited.
            var made: [String] = []
            if let table = try PostgresEventTable(connection) {
                try connection.execute("SET LOCAL lock_timeout = \(Self.lockTimeoutMilliseconds)")
                for days in plan(table).missing(table.covered) { made.append(try make(days, of: table)) }
            }
            try connection.execute("COMMIT")
            return made
        } catch {
            rollBack()
            throw error
        }
    }

    private func plan(_ table: PostgresEventTable) -> PartitionPlan {
        PartitionPlan(today: table.today, retentionDays: retentionDays)
    }

    private func make(_ days: Range<Int>, of table: PostgresEventTable) throws(StoreError) -> String {
        let name = PartitionPlan.name(from: days.lowerBound)
        try connection.execute(
            """
            CREATE TABLE \(table.schema).\(name) (LIKE \(table.name)
                INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION);
            ALTER TABLE \(table.name) ATTACH PARTITION \(table.schema).\(name)
                FOR VALUES FROM ('\(PartitionPlan.date(days.lowerBound))')
                TO ('\(PartitionPlan.date(days.upperBound))')
            """)
        return name
    }

    private func rollBack() {
        if PQtransactionStatus(connection.handle) != PQTRANS_IDLE { try? connection.execute("ROLLBACK") }
    }
}

// MARK: - Retention

extension PostgresUpkeep {
    /// Drops whole partitions that are older than the retention, or deletes old rows of a table without
    /// partitions, a bounded number of them.
    func expire(_ report: inout UpkeepReport) throws(StoreError) {
        guard let retentionDays, let table = try PostgresEventTable(connection) else { return }
        guard try connection.text("SELECT pg_try_advisory_lock(\(Self.droppingLock))") == "t" else { return }
        defer { try? connection.execute("SELECT pg_advisory_unlock(\(Self.droppingLock))") }
        try connection.execute("SET lock_timeout = \(Self.lockTimeoutMilliseconds)")
        if table.isPartitioned {
            try dropPartitions(of: table, olderThan: table.today - retentionDays, &report)
        } else {
            try sweep(table, olderThan: table.today - retentionDays, &report)
        }
    }

    private func dropPartitions(
        of table: PostgresEventTable, olderThan limit: Int, _ report: inout UpkeepReport
    ) throws(StoreError) {
        // What an earlier run left half done comes first: there can be only one detaching at a time.
        for partition in table.partitions where partition.isDetachPending {
            try connection.execute("ALTER TABLE \(table.name) DETACH PARTITION \(partition.name) FINALIZE")
        }
        let hasDefault = table.partitions.contains(where: \.isDefault)
        let expired = table.partitions.filter {
            ($0.days?.upperBound ?? .max) <= limit && !$0.isDetachPending
        }
        .sorted { ($0.days?.lowerBound ?? 0) < ($1.days?.lowerBound ?? 0) }
        for partition in expired {
            try connection.execute("COMMENT ON TABLE \(partition.name) IS '\(Self.dropMark)'")
            try connection.execute(
                "SET statement_timeout = \(detachTimeoutMilliseconds); SET lock_timeout = 0")
            defer { try? connection.execute("SET lock_timeout = \(Self.lockTimeoutMilliseconds)") }
            let detach = "ALTER TABLE \(table.name) DETACH PARTITION \(partition.name)"
            if hasDefault {
                // Somebody gave the table a default partition, which rules out doing it concurrently.
                try connection.execute("SET lock_timeout = \(Self.lockTimeoutMilliseconds)")
                try connection.execute(detach)
            } else {
                try connection.execute("\(detach) CONCURRENTLY")
            }
        }
        let orphans = try connection.rows(
            """
            SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE quote_ident(n.nspname) = '\(table.schema)' AND c.relkind = 'r' AND NOT c.relispartition
                AND c.relname ~ '^call_events_p[0-9]{8}$'
                AND obj_description(c.oid, 'pg_class') = '\(Self.dropMark)'
            """)
        for name in orphans.compactMap({ $0.first ?? nil }) {
            try connection.execute("DROP TABLE \(name)")
            report.partitionsDropped.append(name)
        }
    }

    /// A table of the old daemon's: rows go in small transactions, found by its index on `occurred_at`.
    private func sweep(
        _ table: PostgresEventTable, olderThan limit: Int, _ report: inout UpkeepReport
    ) throws(StoreError) {
        for _ in 0..<Self.sweepSteps {
            let deleted = try connection.text(
                """
                WITH old AS MATERIALIZED (
                    SELECT ctid FROM \(table.name) WHERE occurred_at < '\(PartitionPlan.date(limit))'
                    ORDER BY occurred_at LIMIT \(Self.sweepRows)),
                gone AS (DELETE FROM \(table.name) WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)) RETURNING 1)
                SELECT count(*)::text FROM gone
                """)
            let count = Int(deleted ?? "") ?? 0
            report.rowsDeleted += count
            if count < Self.sweepRows { return }
            usleep(Self.sweepPauseMicroseconds)
        }
        report.isUnfinished = true
    }
}

/// What one run of the upkeep found and did.
package struct UpkeepReport: Sendable, Equatable {
    /// Partitions made ahead.
    package var partitionsMade: [String] = []
    /// Partitions dropped by the retention.
    package var partitionsDropped: [String] = []
    /// Rows deleted by the retention, from a table without partitions.
    package var rowsDeleted = 0
    /// More is to be deleted: worth another run soon.
    package var isUnfinished = false
    /// Partitions there are; `nil`: the table has none.
    package var partitions: Int?
    /// Days, today included, that have a partition; `nil`: the table needs none.
    package var daysAhead: Int?
    /// What could not be done, in words.
    package var problem: String?
}

extension PostgresUpkeep {
    /// All of it, and how it stands afterwards.
    ///
    /// A part that fails does not keep the others from their work; it is told in the report.
    func run() -> UpkeepReport {
        var report = UpkeepReport()
        do throws(StoreError) {
            report.partitionsMade = try makePartitions()
        } catch {
            report.problem = "event partitions cannot be made: \(error)"
        }
        do throws(StoreError) {
            try expire(&report)
        } catch {
            rollBack()
            report.problem = report.problem ?? "old events cannot be removed: \(error)"
        }
        do throws(StoreError) {
            if let table = try PostgresEventTable(connection), table.isPartitioned {
                report.partitions = table.partitions.count
                report.daysAhead = plan(table).coveredUntil(table.covered) - table.today
            }
        } catch {
            report.problem = report.problem ?? error.description
        }
        return report
    }
}
