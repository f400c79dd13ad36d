import CallEngine
import Protocols

/// The statements of a batch, prepared once, run in one transaction.
final class SQLiteBatchInsert {
    private let database: SQLiteDatabase
    private let insertEvent: SQLiteStatement
    private let upsertCall: SQLiteStatement
    private let updateCRM: SQLiteStatement
    private let insertGap: SQLiteStatement
    private let upsertSighting: SQLiteStatement
    private let insertDeadLetter: SQLiteStatement
    private let noteBatch: SQLiteStatement
    private let pbxNames: [String]

    /// Same rules as `PostgresStatements.upsertCalls`, row by row.
    private static let upsert = """
        INSERT INTO calls AS c (id, call_id, direction, caller_number, callee_number, status, started_at,
            answered_at, ended_at, inserted_at, updated_at, outcome, hangup_cause, pbx, ended_estimated)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
        ON CONFLICT (call_id) DO UPDATE SET
            direction = CASE WHEN excluded.direction = 'unknown'
                OR (c.updated_at > excluded.updated_at AND c.direction <> 'unknown')
                THEN coalesce(c.direction, excluded.direction) ELSE excluded.direction END,
            caller_number = \(newer("caller_number")),
            callee_number = \(newer("callee_number")),
            status = CASE WHEN \(rank("excluded")) > \(rank("c"))
                OR (\(rank("excluded")) = \(rank("c")) AND excluded.updated_at >= c.updated_at)
                THEN excluded.status ELSE c.status END,
            started_at = \(least("started_at")),
            answered_at = \(least("answered_at")),
            ended_estimated = CASE WHEN excluded.ended_at IS NOT NULL
                AND (c.ended_at IS NULL OR excluded.updated_at >= c.updated_at)
                THEN excluded.ended_estimated ELSE c.ended_estimated END,
            ended_at = \(newer("ended_at")),
            updated_at = max(c.updated_at, excluded.updated_at),
            outcome = \(newer("outcome")),
            hangup_cause = \(newer("hangup_cause")),
            pbx = \(newer("pbx"))
        """

    private static func newer(_ column: String) -> String {
        """
        CASE WHEN excluded.updated_at >= c.updated_at THEN coalesce(excluded.\(column), c.\(column))
        ELSE coalesce(c.\(column), excluded.\(column)) END
        """
    }

    private static func rank(_ table: String) -> String {
        "(CASE \(table).status WHEN 'ringing' THEN 0 WHEN 'answered' THEN 1 ELSE 2 END)"
    }

    private static func least(_ column: String) -> String {
        "coalesce(min(c.\(column), excluded.\(column)), c.\(column), excluded.\(column))"
    }

    init(_ database: SQLiteDatabase, pbxNames: [String]) throws(StoreError) {
        self.database = database
        self.pbxNames = pbxNames
        insertEvent = try database.prepare(
            """
            INSERT INTO call_events (call_id, event_type, payload, occurred_at, inserted_at, updated_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?5)
            """)
        upsertCall = try database.prepare(Self.upsert)
        updateCRM = try database.prepare("UPDATE calls SET bitrix_call_id = ?2 WHERE call_id = ?1")
        insertGap = try database.prepare(
            """
            INSERT OR IGNORE INTO callflow_gaps (id, pbx, started_at, ended_at, reason, detail, calls_ended,
                calls_found, calls_kept, inserted_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
            """)
        upsertSighting = try database.prepare(
            """
            INSERT INTO callflow_pbx AS p (pbx, seen_at, started_at) VALUES (?1, ?2, ?3)
            ON CONFLICT (pbx) DO UPDATE SET seen_at = max(p.seen_at, excluded.seen_at),
                started_at = coalesce(excluded.started_at, p.started_at)
            """)
        insertDeadLetter = try database.prepare(
            """
            INSERT INTO dead_letters
                (row_kind, call_id, event_type, code, reason, payload, writer, batch, inserted_at)
            VALUES (?1, ?2, nullif(?3, ''), ?4, ?5, ?6, ?7, ?8, ?9)
            """)
        noteBatch = try database.prepare("INSERT OR REPLACE INTO callflow_writers VALUES (?1, ?2, ?3, ?4)")
    }

    /// Commits the batch, or leaves nothing of it.
    ///
    /// A row that SQLite refuses undoes only its own statement; it becomes a dead letter in the same transaction.
    func write(_ batch: WriteBatch) throws(StoreError) {
        batch.refused = []
        try database.execute("BEGIN IMMEDIATE")
        do throws(StoreError) {
            var index = 0
            try batch.events.forEach { row throws(StoreError) in
                try keep(batch, index) { () throws(StoreError) in try insert(row) }
                index += 1
            }
            for row in batch.calls.records.indices {
                try keep(batch, batch.eventCount + row) { () throws(StoreError) in
                    try upsert(batch.calls, row)
                }
            }
            for (row, update) in batch.crmUpdates.enumerated() {
                try keep(batch, batch.eventCount + batch.callCount + row) { () throws(StoreError) in
                    try self.update(update.callID, update.bitrixCallID)
                }
            }
            var noteIndex = batch.eventCount + batch.callCount + batch.crmUpdates.count
            for note in batch.notes {
                try keep(batch, noteIndex) { () throws(StoreError) in
                    switch note {
                    case .gap(let gap): try insert(gap)
                    case .sighting(let sighting): try upsert(sighting)
                    }
                }
                noteIndex += 1
            }
            // The commit tells a living process all; a batch that lies in the spool may be asked for after its end.
            if batch.spoolKey != nil { try note(batch) }
            try database.execute("COMMIT")
        } catch {
            if database.isInTransaction { try? database.execute("ROLLBACK") }
            throw error
        }
    }

    /// Writes a row, or keeps it as a dead letter.
    private func keep(
        _ batch: WriteBatch, _ index: Int, _ write: () throws(StoreError) -> Void
    ) throws(StoreError) {
        do throws(StoreError) {
            try write()
        } catch {
            guard case .data(let code, let reason) = error else { throw error }
            let row = batch.refusedRow(at: index, code: code, reason: reason)
            batch.refused.append(row)
            insertDeadLetter.bind(1, copying: row.kind.rawValue)
            insertDeadLetter.bind(2, copying: row.callID)
            insertDeadLetter.bind(3, copying: row.eventType)
            insertDeadLetter.bind(4, copying: row.code)
            insertDeadLetter.bind(5, copying: row.reason)
            insertDeadLetter.bind(6, copying: String(decoding: row.payload, as: UTF8.self))
            insertDeadLetter.bind(7, copying: batch.id.writerName)
            insertDeadLetter.bind(8, batch.id.number)
            insertDeadLetter.bind(9, WallClock.now().microseconds)
            try insertDeadLetter.run()
        }
    }

    private func note(_ batch: WriteBatch) throws(StoreError) {
        noteBatch.bind(1, copying: batch.id.writerName)
        noteBatch.bind(2, Int64(batch.slot ?? 0))
        noteBatch.bind(3, batch.id.number)
        noteBatch.bind(4, WallClock.now().microseconds)
        try noteBatch.run()
    }

    /// Batches of these writers that were committed, as far as their notes reach back.
    func committed(of writers: [UInt64]) throws(StoreError) -> Set<BatchID> {
        // Those of runs long gone.
        let names = writers.map { "'\(BatchID.name(of: $0))'" }.joined(separator: ",")
        let old = WallClock.now().microseconds - 30 * 86_400 * 1_000_000
        try database.execute(
            "DELETE FROM callflow_writers WHERE committed_at < \(old) AND writer NOT IN (\(names))")
        let read = try database.prepare("SELECT batch FROM callflow_writers WHERE writer = ?1")
        var found: Set<BatchID> = []
        for writer in writers {
            read.bind(1, copying: BatchID.name(of: writer))
            while try read.step() { found.insert(BatchID(writer: writer, number: read.integer(0) ?? 0)) }
        }
        return found
    }

    private func insert(_ row: EventRows.Row) throws(StoreError) {
        insertEvent.bind(1, row.callID)
        insertEvent.bind(2, row.type)
        insertEvent.bind(3, row.payload)
        insertEvent.bind(4, row.occurredAt.microseconds)
        insertEvent.bind(5, row.insertedAt.microseconds)
        try insertEvent.run()
    }

    private func upsert(_ rows: CallRows, _ row: Int) throws(StoreError) {
        let record = rows.records[row]
        upsertCall.bind(1, copying: record.id.string)
        rows.withCallID(at: row) { upsertCall.bind(2, copying: Self.columnText($0)) }
        upsertCall.bind(3, record.direction.name)
        rows.withCallerNumber(at: row) { upsertCall.bind(4, copying: Self.optionalText($0)) }
        rows.withCalleeNumber(at: row) { upsertCall.bind(5, copying: Self.optionalText($0)) }
        upsertCall.bind(6, record.status.name)
        upsertCall.bind(7, record.startedAt.microseconds)
        upsertCall.bind(8, record.answeredAt?.microseconds)
        upsertCall.bind(9, record.endedAt?.microseconds)
        upsertCall.bind(10, record.insertedAt.microseconds)
        upsertCall.bind(11, record.updatedAt.microseconds)
        if record.outcome == .none {
            upsertCall.bind(12, nil as Int64?)
        } else {
            upsertCall.bind(12, record.outcome.name)
        }
        upsertCall.bind(13, record.hangupCause == 0 ? nil : Int64(record.hangupCause))
        upsertCall.bind(14, copying: Int(record.pbx) < pbxNames.count ? pbxNames[Int(record.pbx)] : nil)
        upsertCall.bind(15, record.flags.contains(.estimatedEnd) ? 1 : 0)
        try upsertCall.run()
    }

    private func update(_ callID: [UInt8], _ bitrixCallID: [UInt8]) throws(StoreError) {
        updateCRM.bind(1, copying: String(decoding: callID, as: UTF8.self))
        updateCRM.bind(2, copying: String(decoding: bitrixCallID, as: UTF8.self))
        try updateCRM.run()
    }

    private func insert(_ gap: StoredGap) throws(StoreError) {
        insertGap.bind(1, copying: gap.id.string)
        insertGap.bind(2, copying: gap.pbx)
        insertGap.bind(3, gap.from.microseconds)
        insertGap.bind(4, gap.to.microseconds)
        insertGap.bind(5, copying: gap.reason)
        insertGap.bind(6, copying: gap.detail)
        insertGap.bind(7, Int64(gap.callsEnded))
        insertGap.bind(8, Int64(gap.callsFound))
        insertGap.bind(9, Int64(gap.callsKept))
        insertGap.bind(10, gap.insertedAt.microseconds)
        try insertGap.run()
    }

    private func upsert(_ sighting: PBXSighting) throws(StoreError) {
        upsertSighting.bind(1, copying: sighting.pbx)
        upsertSighting.bind(2, sighting.seenAt.microseconds)
        upsertSighting.bind(3, sighting.startedAt?.microseconds)
        try upsertSighting.run()
    }

    private static func columnText(_ text: UnsafeRawBufferPointer) -> String {
        String(
            decoding: ColumnText.isClean(text) ? [UInt8](text) : ColumnText.cleaned(text).bytes, as: UTF8.self
        )
    }

    private static func optionalText(_ text: UnsafeRawBufferPointer) -> String? {
        text.isEmpty ? nil : columnText(text)
    }
}
