import CallEngine
import Protocols

/// Texts of a call that are longer than their room in `CallRecord`; `nil` where the record's own is whole.
package struct LongTexts: Sendable {
    /// The call's key.
    package var callID: [UInt8]?
    /// Who called.
    package var callerNumber: [UInt8]?
    /// Who was called.
    package var calleeNumber: [UInt8]?

    /// All texts; see each.
    package init(callID: [UInt8]? = nil, callerNumber: [UInt8]? = nil, calleeNumber: [UInt8]? = nil) {
        self.callID = callID
        self.callerNumber = callerNumber
        self.calleeNumber = calleeNumber
    }
}

/// Rows of `calls`, one for each call however often it changed; kept as records until they are sent.
struct CallRows {
    private(set) var records: [CallRecord] = []
    private var longTexts: [Int: LongTexts] = [:]
    /// Hash of the call id → row.
    ///
    /// A colliding hash moves on by one.
    private var rows: [Int: Int] = [:]
    /// What was derived from the calls' legs; a row without is of a call that only changed.
    private(set) var details = DetailRows()

    var count: Int { records.count }

    /// Memory of the rows; with the index, not to the byte.
    var byteCount: Int {
        records.count * (MemoryLayout<CallRecord>.stride + 40) + longTexts.count * 512 + details.byteCount
    }

    /// Takes the newest state of a call; a row of the same call is replaced.
    ///
    /// Details of an earlier state stay when the newer one has none.
    mutating func append(
        _ record: borrowing CallRecord, longTexts texts: LongTexts?, details: CallDetails? = nil
    ) {
        let record = copy record
        let row = place(record, texts)
        if let details { self.details.append(details, at: row, isOver: record.status == .finished) }
    }

    /// Puts the record into its row, an old or a new one.
    private mutating func place(_ record: CallRecord, _ texts: LongTexts?) -> Int {
        var hash = Self.withCallID(of: record, texts) { Self.hash($0) }
        while let row = rows[hash] {
            if hasSameCallID(row, record, texts) {
                records[row] = record
                if texts != nil || !longTexts.isEmpty { longTexts[row] = texts }
                return row
            }
            hash = hash &+ 1
        }
        rows[hash] = records.count
        if let texts { longTexts[records.count] = texts }
        records.append(record)
        details.appendRow()
        return records.count - 1
    }

    /// Appends rows of another batch.
    mutating func append(contentsOf other: CallRows, in range: Range<Int>) {
        for from in range { append(copying: from, of: other) }
    }

    /// Appends a row of another batch, or puts it in the place of an older state.
    mutating func append(copying from: Int, of other: CallRows) {
        let row = place(other.records[from], other.longTexts[from])
        details.append(copying: from, of: other.details, at: row)
    }

    /// Forgets the oldest rows; O(rows).
    mutating func removeFirst(_ count: Int) {
        var rest = CallRows()
        rest.append(contentsOf: self, in: count..<records.count)
        self = rest
    }

    /// Takes details read back from the spool for the row appended last.
    mutating func appendDetails(
        reading reader: inout RecordReader, pbxs: [UInt16]
    ) throws(BatchRecord.Damage) {
        guard !records.isEmpty else { throw .malformed("details of no call") }
        try details.append(reading: &reader, at: records.count - 1, pbxs: pbxs)
    }

    /// What was derived from the legs of the call in `row`; `nil` when nothing was.
    func details(at row: Int) -> DetailRows.Entry? { details.entry(of: row) }

    mutating func removeAll(keepingUpTo keptBytes: Int) {
        let keep = records.capacity * MemoryLayout<CallRecord>.stride <= keptBytes
        records.removeAll(keepingCapacity: keep)
        rows.removeAll(keepingCapacity: keep)
        longTexts.removeAll()
        details.removeAll(keepingUpTo: keptBytes)
    }

    private static func hash(_ bytes: UnsafeRawBufferPointer) -> Int {
        var hasher = Hasher()
        hasher.combine(bytes: bytes)
        return hasher.finalize()
    }

    private static func withCallID<R>(
        of record: CallRecord, _ texts: LongTexts?, _ body: (UnsafeRawBufferPointer) -> R
    ) -> R {
        if let long = texts?.callID { return long.withUnsafeBytes(body) }
        return record.callID.withUnsafeBytes(body)
    }

    private func hasSameCallID(_ row: Int, _ record: CallRecord, _ texts: LongTexts?) -> Bool {
        withCallID(at: row) { left in
            Self.withCallID(of: record, texts) { right in left.elementsEqual(right) }
        }
    }

    /// The call id of a row as it was given, borrowed for the call of `body`.
    func withCallID<R>(at row: Int, _ body: (UnsafeRawBufferPointer) -> R) -> R {
        Self.withCallID(of: records[row], longTexts[row], body)
    }

    /// The caller's number of a row; empty when there is none.
    func withCallerNumber<R>(at row: Int, _ body: (UnsafeRawBufferPointer) -> R) -> R {
        if let long = longTexts[row]?.callerNumber { return long.withUnsafeBytes(body) }
        return records[row].callerNumber.withUnsafeBytes(body)
    }

    /// The callee's number of a row; empty when there is none.
    func withCalleeNumber<R>(at row: Int, _ body: (UnsafeRawBufferPointer) -> R) -> R {
        if let long = longTexts[row]?.calleeNumber { return long.withUnsafeBytes(body) }
        return records[row].calleeNumber.withUnsafeBytes(body)
    }
}
