import CallEngine
import Protocols

/// Stored calls and events of the embedded store, for `CallRebuild`; a daemon may write to it meanwhile.
final class SQLiteRebuildStore: RebuildStore {
    let callsInSeconds = false
    private let reading: SQLiteDatabase
    private let writing: SQLiteDatabase
    private let insert: SQLiteBatchInsert
    private let pbxNames: [String]

    init(path: String, settings: StoreSettings) throws(StoreError) {
        reading = try SQLiteDatabase(path: path, forWriting: false)
        guard Migration.missing(Migration.sqlite, from: try SQLiteSchema.versions(reading)).isEmpty else {
            throw .configuration("the tables are of an older version; run `callflow-fast migrate`")
        }
        writing = try SQLiteDatabase(path: path, forWriting: true)
        insert = try SQLiteBatchInsert(writing, pbxNames: settings.pbxNames)
        pbxNames = settings.pbxNames
    }

    private func statement(_ sql: String, _ range: Range<Timestamp>) throws(StoreError) -> SQLiteStatement {
        let statement = try reading.prepare(sql)
        statement.bind(1, range.lowerBound.microseconds)
        statement.bind(2, range.upperBound.microseconds)
        return statement
    }

    private func time(_ sql: String, _ range: Range<Timestamp>) throws(StoreError) -> Timestamp? {
        let statement = try statement(sql, range)
        defer { statement.reset() }
        return try statement.step() ? statement.timestamp(0) : nil
    }

    func earliestOpen(in range: Range<Timestamp>) throws(StoreError) -> Timestamp? {
        try time(
            """
            SELECT min(inserted_at) FROM calls WHERE inserted_at >= ?1 AND inserted_at < ?2
            AND (ended_at IS NULL OR updated_at >= ?2)
            """, range)
    }

    func latestChange(in range: Range<Timestamp>) throws(StoreError) -> Timestamp? {
        try time("SELECT max(updated_at) FROM calls WHERE inserted_at >= ?1 AND inserted_at < ?2", range)
    }

    func callCount(in range: Range<Timestamp>) throws(StoreError) -> Int {
        let statement = try statement(
            "SELECT count(*) FROM calls WHERE inserted_at >= ?1 AND inserted_at < ?2", range)
        defer { statement.reset() }
        return try statement.step() ? Int(statement.integer(0) ?? 0) : 0
    }

    func gaps(notedFrom time: Timestamp) throws(StoreError) -> [StoredGap] {
        let list = try reading.prepare(
            "SELECT \(RebuildSQL.gapColumns) FROM callflow_gaps WHERE inserted_at >= ?1")
        list.bind(1, time.microseconds)
        var gaps: [StoredGap] = []
        while try list.step() { gaps.append(list.gap) }
        return gaps
    }

    func events(in range: Range<Timestamp>, _ body: (RebuildEvent) -> Void) throws(StoreError) {
        let (column, join) =
            pbxNames.count > 1
            ? ("c.pbx", "LEFT JOIN calls AS c ON c.call_id = e.call_id") : ("NULL", "")
        let list = try statement(
            """
            SELECT e.payload, e.inserted_at, \(column) FROM call_events AS e \(join)
            WHERE e.inserted_at >= ?1 AND e.inserted_at < ?2 ORDER BY e.inserted_at, e.id
            """, range)
        while try list.step() {
            guard let payload = list.bytes(0), let time = list.timestamp(1) else { continue }
            body(RebuildEvent(payload: payload, insertedAt: time, pbx: list.string(2)))
        }
    }

    func calls(_ callIDs: [String]) throws(StoreError) -> [StoredCallWithEvents] {
        let find = try reading.prepare("SELECT \(CallListQuery.columns) FROM calls WHERE call_id = ?1")
        let legs = try reading.prepare(StoredParts.legs { "?\($0)" })
        let segments = try reading.prepare(StoredParts.segments { "?\($0)" })
        var found: [StoredCallWithEvents] = []
        for callID in callIDs {
            let key = RebuildSQL.key(callID)
            find.bind(1, copying: key)
            guard try find.step() else { continue }
            var call = StoredCallWithEvents(call: find.call, events: [])
            find.reset()
            legs.bind(1, copying: key)
            while try legs.step() { call.parts.legs.append(legs.leg) }
            segments.bind(1, copying: key)
            while try segments.step() { call.parts.segments.append(segments.segment) }
            found.append(call)
        }
        return found
    }

    func write(_ corrections: [RebuildCorrection]) throws(StoreError) -> Set<String> {
        let reset = try writing.prepare(
            "UPDATE calls SET \(RebuildSQL.reset) WHERE call_id = ?1 AND updated_at = ?2 RETURNING 1")
        try writing.execute("BEGIN IMMEDIATE")
        do throws(StoreError) {
            var right: [RebuildCorrection] = []
            for correction in corrections {
                guard let seen = correction.seen else {
                    right.append(correction)
                    continue
                }
                reset.bind(1, copying: RebuildSQL.key(correction.call.callID))
                reset.bind(2, seen.microseconds)
                var isUnchanged = false
                while try reset.step() { isUnchanged = true }
                if isUnchanged { right.append(correction) }
            }
            try insert.writeCalls(of: RebuildSQL.batch(right))
            try writing.execute("COMMIT")
            return Set(right.map { $0.call.callID })
        } catch {
            if writing.isInTransaction { try? writing.execute("ROLLBACK") }
            throw error
        }
    }
}
