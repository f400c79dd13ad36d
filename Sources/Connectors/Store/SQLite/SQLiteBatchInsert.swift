import CallEngine
import Protocols

/// The statements of a batch, prepared once, run in one transaction.
final class SQLiteBatchInsert {
    private let database: SQLiteDatabase
    private let insertEvent: SQLiteStatement
    private let upsertCall: SQLiteStatement
    private let details: SQLiteDetailInsert
    private let updateCRM: SQLiteStatement
    private let insertGap: SQLiteStatement
    private let upsertSighting: SQLiteStatement
    private let insertStep: SQLiteStatement
    private let insertDeadLetter: SQLiteStatement
    private let noteBatch: SQLiteStatement
    private let pbxNames: [String]
    private let crmTargets: [String]
    private let crmRecordings: Bool

    /// Same rules as `PostgresStatements.upsertCalls`, row by row.
    private static let upsert = """
        INSERT INTO calls AS c (\(CallColumn.names))
        VALUES (\(CallColumn.allCases.map { "?\($0.rawValue + 1)" }.joined(separator: ", ")))
        ON CONFLICT (call_id) DO UPDATE SET
        \(CallJoin.assignments(least: "min", greatest: "max"))
        """

    init(
        _ database: SQLiteDatabase, pbxNames: [String], crmTargets: [String] = [], crmRecordings: Bool = false
    ) throws(StoreError) {
        self.database = database
        self.crmRecordings = crmRecordings
        self.crmTargets = crmTargets
        self.pbxNames = pbxNames
        insertEvent = try database.prepare(
            """
            INSERT INTO call_events (call_id, event_type, payload, occurred_at, inserted_at, updated_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?5)
            """)
        upsertCall = try database.prepare(Self.upsert)
        details = try SQLiteDetailInsert(database, pbxNames: pbxNames)
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
        insertStep = try database.prepare(
            """
            INSERT INTO callflow_crm_steps AS s
                (target, pbx, call_id, step, state, call, attempts, created_at, updated_at)
            VALUES (?1, ?2, ?3, ?4, 'waiting', ?5, 0, ?6, ?6)
            \(CRMStepSQL.onConflict)
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
            if !crmTargets.isEmpty {
                for action in batch.crmActions {
                    if !batch.refusedCalls.contains(action.call.callID) {
                        try keep(batch, noteIndex) { () throws(StoreError) in
                            for row in CRMStepRow.rows(of: action, hasRecordings: crmRecordings) {
                                try insert(row)
                            }
                        }
                    }
                    noteIndex += 1
                }
            }
            // The commit tells a living process all; a batch that lies in the spool may be asked for after its end.
            if batch.spoolKey != nil { try note(batch) }
            try database.execute("COMMIT")
        } catch {
            if database.isInTransaction { try? database.execute("ROLLBACK") }
            throw error
        }
    }

    /// Writes the calls of a batch, within a transaction of whoever asks.
    func writeCalls(of batch: WriteBatch) throws(StoreError) {
        for row in batch.calls.records.indices { try upsert(batch.calls, row) }
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

    /// A call with its legs and segments, all or nothing of it.
    private func upsert(_ rows: CallRows, _ row: Int) throws(StoreError) {
        let record = rows.records[row]
        let entry = rows.details(at: row)
        guard let entry, entry.isOver else { return try upsert(record, entry, rows, row) }
        try database.execute("SAVEPOINT callflow_call")
        do throws(StoreError) {
            try upsert(record, entry, rows, row)
            try details.write(entry, of: record, rows, row)
            try database.execute("RELEASE callflow_call")
        } catch {
            if database.isInTransaction {
                try? database.execute("ROLLBACK TO callflow_call; RELEASE callflow_call")
            }
            throw error
        }
    }

    private func upsert(
        _ record: CallRecord, _ entry: DetailRows.Entry?, _ rows: CallRows, _ row: Int
    ) throws(StoreError) {
        func bind(_ column: CallColumn, _ value: Int64?) {
            upsertCall.bind(Int32(column.rawValue + 1), value)
        }
        func bind(_ column: CallColumn, _ text: String?) {
            upsertCall.bind(Int32(column.rawValue + 1), copying: text)
        }
        func bind(_ column: CallColumn, word: StaticString) {
            if word.utf8CodeUnitCount == 0 {
                bind(column, nil as Int64?)
            } else {
                upsertCall.bind(Int32(column.rawValue + 1), word)
            }
        }
        bind(.id, record.id.string)
        rows.withCallID(at: row) { bind(.callID, SQLiteText.column($0)) }
        bind(.direction, word: record.direction.name)
        rows.withCallerNumber(at: row) { bind(.callerNumber, SQLiteText.optional($0)) }
        rows.withCalleeNumber(at: row) { bind(.calleeNumber, SQLiteText.optional($0)) }
        bind(.status, word: record.status.name)
        bind(.startedAt, record.startedAt.microseconds)
        bind(.answeredAt, record.answeredAt?.microseconds)
        bind(.endedAt, record.endedAt?.microseconds)
        bind(.insertedAt, record.insertedAt.microseconds)
        bind(.updatedAt, record.updatedAt.microseconds)
        bind(.outcome, word: record.outcome.name)
        bind(.hangupCause, record.hangupCause == 0 ? nil : Int64(record.hangupCause))
        bind(.pbx, Int(record.pbx) < pbxNames.count ? pbxNames[Int(record.pbx)] : nil)
        bind(.endedEstimated, record.flags.contains(.estimatedEnd) ? 1 : 0)
        bind(.partial, record.flags.contains(.partial) ? 1 : nil)
        let facts = entry?.facts
        let durations = facts.map { StoredDurations($0, isOver: record.status == .finished) }
        bind(.derivedAt, facts == nil ? nil : record.updatedAt.microseconds)
        bind(.outcomeRule, word: facts.map { $0.rule == .none ? "" : $0.rule.name } ?? "")
        bind(.hungUpBy, word: facts?.hungUpBy.name ?? "")
        bind(.sipCode, facts.flatMap { $0.sipCode == 0 ? nil : Int64($0.sipCode) })
        bind(.ringStartedAt, facts?.ringStartedAt?.microseconds)
        bind(.talkStartedAt, facts?.talkStartedAt?.microseconds)
        bind(.wait, durations?.wait)
        bind(.ring, durations?.ring)
        bind(.talk, durations?.talk)
        bind(.hold, durations?.hold)
        bind(.postDial, facts?.postDialDelayMicroseconds)
        bind(.answeredBy, facts.flatMap { SQLiteText.optional($0.answeredBy) })
        bind(.operatorNumber, facts.flatMap { SQLiteText.optional($0.operatorNumber) })
        bind(.transferredBy, facts.flatMap { SQLiteText.optional($0.transferredBy) })
        bind(.transferredTo, facts.flatMap { SQLiteText.optional($0.transferredTo) })
        bind(.queue, facts.flatMap { SQLiteText.optional($0.queue) })
        bind(.attempts, facts.map { Int64($0.attemptCount) })
        bind(.mergedInto, facts.flatMap { SQLiteText.optional($0.mergedInto) })
        bind(.incomplete, facts?.isIncomplete == true ? 1 : nil)
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

    private func insert(_ row: CRMStepRow) throws(StoreError) {
        let call = String(decoding: row.call.json, as: UTF8.self)
        for target in crmTargets where row.isFor(target) {
            insertStep.bind(1, copying: target)
            insertStep.bind(2, copying: String(decoding: row.pbx(pbxNames), as: UTF8.self))
            insertStep.bind(3, copying: String(decoding: row.callID, as: UTF8.self))
            insertStep.bind(4, copying: row.kind.rawValue)
            insertStep.bind(5, copying: call)
            insertStep.bind(6, WallClock.now().microseconds)
            try insertStep.run()
        }
    }

    private func upsert(_ sighting: PBXSighting) throws(StoreError) {
        upsertSighting.bind(1, copying: sighting.pbx)
        upsertSighting.bind(2, sighting.seenAt.microseconds)
        upsertSighting.bind(3, sighting.startedAt?.microseconds)
        try upsertSighting.run()
    }
}
