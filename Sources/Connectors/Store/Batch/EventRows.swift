import Protocols

/// Rows of `call_events` as columns.
struct EventRows {
    private(set) var callIDs = PostgresArray(of: .text)
    private(set) var types = PostgresArray(of: .text)
    private(set) var payloads = PostgresArray(of: .jsonb)
    private(set) var occurredAt = PostgresArray(of: .timestamp)
    private(set) var insertedAt = PostgresArray(of: .timestamp)

    var count: Int { callIDs.count }

    var byteCount: Int {
        callIDs.bytes.count + types.bytes.count + payloads.bytes.count + occurredAt.bytes.count
            + insertedAt.bytes.count - 5 * PostgresArray.headerBytes
    }

    /// The columns in the order of the statement's parameters; call `finish()` before.
    var parameters: [PostgresArray] { [callIDs, types, payloads, occurredAt, insertedAt] }

    /// Types of `parameters`.
    static let columnTypes: [PostgresType] = [.text, .text, .jsonb, .timestamp, .timestamp]

    /// No rows.
    init() {}

    /// Takes columns of these types, equally long.
    init(columns: [PostgresArray]) {
        callIDs = columns[0]
        types = columns[1]
        payloads = columns[2]
        occurredAt = columns[3]
        insertedAt = columns[4]
    }

    /// Appends a row.
    ///
    /// - Returns: How many of its texts had to be cut or cleaned.
    mutating func append(
        callID: UnsafeRawBufferPointer, type: UnsafeRawBufferPointer, payload: UnsafeRawBufferPointer,
        occurredAt occurred: Timestamp, insertedAt inserted: Timestamp, payloadNeedsRepair: Bool
    ) -> Int {
        var changed = callIDs.append(columnText: callID) ? 1 : 0
        changed += types.append(columnText: type) ? 1 : 0
        if payloadNeedsRepair {
            let (repaired, repairs) = PayloadRepair.repaired(payload)
            repaired.withUnsafeBytes { payloads.append(json: $0) }
            if repairs > 0 { changed += 1 }
        } else {
            payloads.append(json: payload)
        }
        occurredAt.append(occurred)
        insertedAt.append(inserted)
        return changed
    }

    /// Appends a row as it stands in another batch.
    mutating func append(copying row: Row) {
        callIDs.append(row.callID)
        types.append(row.type)
        if let payload = row.payload { payloads.append(json: payload) } else { payloads.appendNull() }
        occurredAt.append(row.occurredAt)
        insertedAt.append(row.insertedAt)
    }

    /// Makes all payloads NULL.
    ///
    /// - Returns: How many there were.
    mutating func dropPayloads() -> Int {
        payloads.removeAll(keepingUpTo: 0)
        for _ in 0..<count { payloads.appendNull() }
        return count
    }

    mutating func finish() {
        callIDs.finish()
        types.finish()
        payloads.finish()
        occurredAt.finish()
        insertedAt.finish()
    }

    mutating func removeAll(keepingUpTo keptBytes: Int) {
        callIDs.removeAll(keepingUpTo: keptBytes)
        types.removeAll(keepingUpTo: keptBytes)
        payloads.removeAll(keepingUpTo: keptBytes)
        occurredAt.removeAll(keepingUpTo: keptBytes)
        insertedAt.removeAll(keepingUpTo: keptBytes)
    }

    /// One row, borrowed from the columns.
    struct Row {
        let callID: UnsafeRawBufferPointer
        let type: UnsafeRawBufferPointer
        /// JSON text; `nil` when it was left out for want of room.
        let payload: UnsafeRawBufferPointer?
        let occurredAt: Timestamp
        let insertedAt: Timestamp
    }

    /// Calls `body` with each row in turn; stops at the first that throws.
    func forEach<Failure: Error>(_ body: (Row) throws(Failure) -> Void) throws(Failure) {
        // A typed error does not pass through `withUnsafeBytes`, so it is carried out as a value.
        let failure: Failure? = callIDs.bytes.withUnsafeBytes { callIDBytes in
            types.bytes.withUnsafeBytes { typeBytes in
                payloads.bytes.withUnsafeBytes { payloadBytes in
                    var (callID, type) = (
                        PostgresArray.Cursor(callIDBytes), PostgresArray.Cursor(typeBytes)
                    )
                    var payload = PostgresArray.Cursor(payloadBytes)
                    return occurredAt.bytes.withUnsafeBytes { occurredBytes in
                        insertedAt.bytes.withUnsafeBytes { insertedBytes -> Failure? in
                            var (occurred, inserted) = (
                                PostgresArray.Cursor(occurredBytes), PostgresArray.Cursor(insertedBytes)
                            )
                            for _ in 0..<count {
                                guard let callID = callID.next(), let type = type.next() else { return nil }
                                let json = payload.next()
                                guard let occurredAt = occurred.nextTimestamp(),
                                    let insertedAt = inserted.nextTimestamp()
                                else { return nil }
                                let row = Row(
                                    callID: callID, type: type,
                                    payload: json.map { UnsafeRawBufferPointer(rebasing: $0.dropFirst()) },
                                    occurredAt: occurredAt, insertedAt: insertedAt)
                                do throws(Failure) { try body(row) } catch { return error }
                            }
                            return nil
                        }
                    }
                }
            }
        }
        if let failure { throw failure }
    }
}

extension EventRows {
    /// Calls `body` with the row at `index`.
    func withRow(at index: Int, _ body: (Row) -> Void) {
        var position = 0
        forEach { row in
            if position == index { body(row) }
            position += 1
        }
    }
}

extension PostgresArray {
    /// Appends a text of the world as a `varchar(255)` takes it.
    ///
    /// - Returns: Whether it had to be cut or cleaned.
    @inline(__always)
    mutating func append(columnText text: UnsafeRawBufferPointer) -> Bool {
        if ColumnText.isClean(text) {
            append(text)
            return false
        }
        let (bytes, changed) = ColumnText.cleaned(text)
        append(bytes)
        return changed
    }

    /// Appends a text, an empty one as NULL.
    mutating func append(optionalColumnText text: UnsafeRawBufferPointer) -> Bool {
        guard !text.isEmpty else {
            appendNull()
            return false
        }
        return append(columnText: text)
    }
}
