package import CallEngine
package import Protocols
package import Reactor

/// Rows that one shard gathered, to be committed in one transaction; reused after `reset()`.
///
/// Event rows are columns in PostgreSQL's binary array format from the moment they are appended (SQLite
/// walks over the same columns), so a payload is copied once between the receive buffer and libpq. Call
/// rows stay records until they are sent: a call that changes many times in one batch is one row.
///
/// Owned by one thread at a time; a writer that works on another thread hands it back when it is done.
package final class WriteBatch {
    /// Event rows of a full batch; measured: 100–1000 rows per statement go as fast as COPY.
    package static let maximumEvents = 500
    /// Bytes of a full batch (one more event may lie above it).
    package static let maximumBytes = 1 << 20
    /// Call rows of a full batch.
    package static let maximumCalls = 2000
    /// Memory a column keeps for reuse.
    package static let keptColumnBytes = 2 << 20

    private(set) var events = EventRows()
    private(set) var calls = CallRows()
    private(set) var crmUpdates: [(callID: [UInt8], bitrixCallID: [UInt8])] = []
    private var crmUpdateBytes = 0
    private(set) var notes: [StoreNote] = []

    /// What the CRM shall be told once this batch is durable: each is a row of the steps too.
    package private(set) var crmActions: [CRMAction] = []
    /// When its events were received, for the latency from receipt to commit: the ticks, and how many rows each brought.
    package private(set) var receipts: [(at: MonotonicInstant, rows: Int)] = []
    /// Texts that had to be cut or cleaned.
    package private(set) var textsChanged = 0

    /// Its name, once it is closed to further rows.
    package var id = BatchID(writer: 0, number: 0)
    /// Order of the batches of one shard on their way into the database.
    var sequence: UInt64 = 0
    /// The ledger's row for it while it may be on its way; see `CommitSlots`.
    package var slot: Int32?
    /// Its place in the spool when it lies there, or is on its way there and will not be given up.
    package var spoolKey: Int64?
    /// The place that was kept for it there.
    var reservedKey: Int64?
    /// Whether it was read back from the spool.
    var isDrained = false
    /// What was left out of it for want of room.
    private(set) var weight = SpoolRecord.Weight.whole
    /// Rows that the database refused; written as dead letters with the rest.
    ///
    /// Set by the writer.
    package var refused: [RefusedRow] = []
    /// Whether its rows are durable (those refused: as dead letters).
    var isSettled = false
    /// When its first row was appended, by the monotonic clock.
    var openedAt: MonotonicInstant?
    /// When its memory was made; see `GroupCommit.renewBatches`.
    var generation: UInt32 = 0

    /// An empty batch.
    package init() {}

    /// Event rows.
    package var eventCount: Int { events.count }
    /// Call rows.
    package var callCount: Int { calls.count }
    /// Rows of all kinds.
    package var rowCount: Int {
        events.count + calls.count + crmUpdates.count + notes.count + crmActions.count
    }
    /// Memory of the rows.
    package var byteCount: Int {
        events.byteCount + calls.byteCount + crmUpdateBytes + crmActions.count * Self.actionBytes
    }
    /// Memory of an action, roughly.
    private static let actionBytes = 512
    /// Whether there is nothing to write and nobody waits for it.
    package var isEmpty: Bool { rowCount == 0 }
    /// Whether it should be sent before more is appended.
    package var isFull: Bool {
        events.count >= Self.maximumEvents || calls.count >= Self.maximumCalls
            || byteCount >= Self.maximumBytes
    }

    /// Appends an event row; all bytes are copied before it returns.
    ///
    /// - Parameters:
    ///   - callID: UTF-8 text; cut or cleaned if it does not fit its column, and counted.
    ///   - type: The stored event type, as `callID`.
    ///   - payload: Valid JSON text.
    ///   - occurredAt: PBX time.
    ///   - insertedAt: Our time.
    ///   - payloadNeedsRepair: The payload has `\u0000` or a lone surrogate escape, which jsonb refuses:
    ///     they are stored as `\ufffd`.
    package func appendEvent(
        callID: UnsafeRawBufferPointer, type: UnsafeRawBufferPointer, payload: UnsafeRawBufferPointer,
        occurredAt: Timestamp, insertedAt: Timestamp, payloadNeedsRepair: Bool
    ) {
        textsChanged += events.append(
            callID: callID, type: type, payload: payload, occurredAt: occurredAt, insertedAt: insertedAt,
            payloadNeedsRepair: payloadNeedsRepair)
    }

    /// Takes event rows read back from the spool.
    func setEvents(_ rows: EventRows) { events = rows }

    /// Takes the newest state of a call.
    ///
    /// - Parameter details: What its legs say; its legs and segments are written once it has ended, in the same transaction.
    package func appendCall(
        _ record: borrowing CallRecord, longTexts: LongTexts? = nil, details: CallDetails? = nil
    ) {
        calls.append(record, longTexts: longTexts, details: details)
    }

    /// Takes a row of others.
    func appendCall(copying row: Int, of rows: CallRows) { calls.append(copying: row, of: rows) }

    /// Takes details read back from the spool for the call appended last.
    func appendDetails(reading reader: inout RecordReader, pbxs: [UInt16]) throws(BatchRecord.Damage) {
        try calls.appendDetails(reading: &reader, pbxs: pbxs)
    }

    /// Writes the id that Bitrix24 gave a call into the call's row (which is stored by now or in this batch).
    package func appendCRM(callID: UnsafeRawBufferPointer, bitrixCallID: UnsafeRawBufferPointer) {
        let (key, keyChanged) = ColumnText.cleaned(callID)
        let (value, valueChanged) = ColumnText.cleaned(bitrixCallID)
        textsChanged += (keyChanged ? 1 : 0) + (valueChanged ? 1 : 0)
        crmUpdates.append((key, value))
        crmUpdateBytes += key.count + value.count + 64
    }

    /// Takes a row that is written once in a while.
    package func append(note: StoreNote) {
        notes.append(note)
    }

    /// Carries along what the CRM shall be told once the batch is durable.
    package func attach(crm action: CRMAction) {
        crmActions.append(action)
    }

    /// Notes when the row just appended was received; rows of one tick are one entry.
    package func note(receipt: MonotonicInstant) {
        if receipts.last?.at == receipt {
            receipts[receipts.count - 1].rows += 1
        } else {
            receipts.append((receipt, 1))
        }
    }

    /// Leaves the payloads of its events out.
    ///
    /// - Returns: How many there were.
    func dropPayloads() -> Int {
        guard weight == .whole else { return 0 }
        weight = .withoutPayloads
        return events.dropPayloads()
    }

    /// Leaves its events out.
    ///
    /// - Returns: How many there were.
    func dropEvents() -> Int {
        defer { events.removeAll(keepingUpTo: 0) }
        weight = .callsOnly
        return eventCount
    }

    /// Notes what was left out of it before it came to the spool.
    func setWeight(_ weight: SpoolRecord.Weight) { self.weight = weight }

    /// Empties the batch; its memory is kept for reuse, up to a bound.
    package func reset() {
        events.removeAll(keepingUpTo: Self.keptColumnBytes)
        calls.removeAll(keepingUpTo: Self.keptColumnBytes)
        crmUpdates.removeAll()
        notes.removeAll()
        crmUpdateBytes = 0
        crmActions.removeAll()
        receipts.removeAll(keepingCapacity: true)
        textsChanged = 0
        id = BatchID(writer: 0, number: 0)
        sequence = 0
        slot = nil
        spoolKey = nil
        reservedKey = nil
        isDrained = false
        weight = .whole
        refused = []
        isSettled = false
        openedAt = nil
    }
}

extension WriteBatch {
    /// Columns of the events insert, or `nil` without events.
    func eventParameters() -> [PostgresArray]? {
        guard events.count > 0 else { return nil }
        events.finish()
        return events.parameters
    }

    /// Columns of the calls upsert, or `nil` without calls.
    func callParameters(pbxNames: [String]) -> [PostgresArray]? {
        guard calls.count > 0 else { return nil }
        var columns = CallColumns()
        columns.encode(calls, pbxNames: pbxNames)
        return columns.columns
    }

    /// Columns of the inserts of legs and segments, or `nil` without any.
    func detailParameters(pbxNames: [String]) -> DetailColumns? {
        guard calls.details.hasParts else { return nil }
        var columns = DetailColumns()
        columns.encode(calls, pbxNames: pbxNames)
        return columns
    }

    /// Columns of the update of Bitrix24's ids, or `nil` without any.
    ///
    /// The last id given for a call counts.
    func crmParameters() -> [PostgresArray]? {
        guard !crmUpdates.isEmpty else { return nil }
        var (keys, values) = (PostgresArray(of: .text), PostgresArray(of: .text))
        var seen: Set<[UInt8]> = []
        for update in crmUpdates.reversed() where seen.insert(update.callID).inserted {
            keys.append(update.callID)
            values.append(update.bitrixCallID)
        }
        keys.finish()
        values.finish()
        return [keys, values]
    }

    /// A batch of some of the rows, counted events first, then calls, then updates of Bitrix24's ids,
    /// then notes, then steps for CRMs, of which those of refused calls are left out.
    func part(rows: Range<Int>) -> WriteBatch {
        let part = WriteBatch()
        var index = 0
        events.forEach { row in
            if rows.contains(index) {
                part.events.append(copying: row)
            }
            index += 1
        }
        let callRows = rows.clamped(to: events.count..<events.count + calls.count)
        part.calls.append(
            contentsOf: calls, in: callRows.lowerBound - events.count..<callRows.upperBound - events.count)
        let offset = events.count + calls.count
        let updates = rows.clamped(to: offset..<offset + crmUpdates.count)
        for update in crmUpdates[updates.lowerBound - offset..<updates.upperBound - offset] {
            part.crmUpdates.append(update)
            part.crmUpdateBytes += update.callID.count + update.bitrixCallID.count + 64
        }
        let before = offset + crmUpdates.count
        let noteRows = rows.clamped(to: before..<before + notes.count)
        part.notes.append(contentsOf: notes[noteRows.lowerBound - before..<noteRows.upperBound - before])
        let beforeActions = before + notes.count
        let actionRows = rows.clamped(to: beforeActions..<beforeActions + crmActions.count)
        part.crmActions.append(
            contentsOf: crmActions[
                actionRows.lowerBound - beforeActions..<actionRows.upperBound - beforeActions])
        part.refused = refused
        return part
    }

    /// Takes back what the CRM should be told of a call whose row the database refused.
    func dropActions(ofCall callID: String) {
        crmActions.removeAll { $0.call.callID == callID }
    }
}
