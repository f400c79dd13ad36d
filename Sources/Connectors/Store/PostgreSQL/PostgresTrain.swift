import CLibPQ
import Protocols

/// Several full batches on their way as one transaction, their events by `COPY` (docs/adr/0017-trains-by-copy.md).
///
///     opening ──COPY may begin──▶ feeding ──all rows given──▶ ending ──taken──▶ pipeline mode again: the other rows,
///        └──refused───────────────────────────────────────────▲ └──refused──▶   the numbers, COMMIT
///
/// libpq takes no COPY in pipeline mode, so the connection leaves it for the time of the rows. What comes behind
/// them is sent by the writer as always, and its answer is read as that of any batch.
struct PostgresTrain {
    /// What follows.
    enum Progress {
        /// More answers, or room in the socket.
        case goesOn
        /// The rows are taken or refused, the connection is in pipeline mode again.
        case copied(isRefused: Bool)
        /// libpq does not go along; its message tells why.
        case broken
    }

    private enum Phase { case opening, feeding, ending }

    /// Batches given before others have their turn: some two megabytes, about what the socket holds.
    private static let batchesATurn = 4
    /// Memory for the rows of a usual batch.
    private static let usualBytes = 512 << 10

    let batches: [WriteBatch]
    private let handle: OpaquePointer
    private let eventsInSeconds: Bool
    private var phase = Phase.opening
    private var fed = 0
    private var isRefused = false
    private var rows: [UInt8] = []

    /// - Parameters:
    ///   - handle: A connection in pipeline mode on which nothing is on the way; outlives this.
    ///   - eventsInSeconds: Whether the times of `call_events` are whole seconds.
    init(_ batches: [WriteBatch], over handle: OpaquePointer, eventsInSeconds: Bool) {
        self.batches = batches
        self.handle = handle
        self.eventsInSeconds = eventsInSeconds
    }

    /// Whether the server did not even begin to take rows.
    private(set) var wasTurnedAway = false

    /// Begins the transaction and its COPY.
    ///
    /// - Returns: `false` when the connection is of no use any more.
    func open() -> Bool {
        PQexitPipelineMode(handle) == 1 && PQsendQuery(handle, "BEGIN; \(PostgresStatements.copyEvents)") == 1
    }

    /// Whether it wants to be fed when the socket has room, though libpq may hold nothing that waits for that.
    var isFeeding: Bool { phase == .feeding }

    /// Gives rows, a few batches at a time, as fast as the socket takes them; to be called again while `isFeeding`.
    ///
    /// An error that the server reports meanwhile is read at the end.
    mutating func feed() -> Progress {
        guard phase == .feeding else { return .goesOn }
        for _ in 0..<Self.batchesATurn {
            switch PQflush(handle) {
            case 0: break
            case 1: return .goesOn
            default: return .broken
            }
            guard fed < batches.count else {
                phase = .ending
                return PQputCopyEnd(handle, nil) == 1 ? .goesOn : .broken
            }
            batches[fed].events.appendCopyRows(to: &rows, inSeconds: eventsInSeconds)
            fed += 1
            if fed == batches.count { EventRows.endCopy(&rows) }
            guard give() else { return .broken }
        }
        return .goesOn
    }

    private mutating func give() -> Bool {
        defer { rows.removeAll(keepingCapacity: true) }
        return rows.withUnsafeBytes { bytes in
            guard !bytes.isEmpty else { return true }
            let start = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
            return PQputCopyData(handle, start, Int32(truncatingIfNeeded: bytes.count)) == 1
        }
    }

    /// Reads answers, after input and after rows were given: a refusal may have come before the last of them, and libpq
    /// takes input in while it sends, so that no event of the socket would tell of it.
    ///
    /// - Parameter refusal: Told of each error, with libpq's result.
    mutating func read(refusal: (OpaquePointer) -> Void) -> Progress {
        while phase != .feeding, PQisBusy(handle) == 0 {
            guard let result = PQgetResult(handle) else {
                guard PQenterPipelineMode(handle) == 1 else { return .broken }
                return .copied(isRefused: isRefused)
            }
            defer { PQclear(result) }
            switch PQresultStatus(result) {
            case PGRES_COPY_IN:
                // From here on libpq would give the same answer again and again.
                phase = .feeding
                rows.reserveCapacity(Self.usualBytes)
                EventRows.beginCopy(&rows)
                if case .broken = feed() { return .broken }
            case PGRES_FATAL_ERROR, PGRES_BAD_RESPONSE:
                isRefused = true
                wasTurnedAway = wasTurnedAway || phase == .opening
                refusal(result)
            default: break
            }
        }
        return .goesOn
    }
}

/// Rows as binary COPY takes them (PostgreSQL documentation, "COPY", File Formats).
extension EventRows {
    private static let columns = Int16(6)

    static func beginCopy(_ bytes: inout [UInt8]) {
        // Signature, no flags, no extension.
        bytes.append(contentsOf: [0x50, 0x47, 0x43, 0x4F, 0x50, 0x59, 0x0A, 0xFF, 0x0D, 0x0A, 0x00])
        bytes.append(contentsOf: repeatElement(0, count: 8))
    }

    static func endCopy(_ bytes: inout [UInt8]) {
        bytes.append(contentsOf: [0xFF, 0xFF])
    }

    /// Appends the rows, in the order of `PostgresStatements.copyEvents`.
    ///
    /// - Parameter inSeconds: Times are truncated to the second, as `date_trunc` does; the column's own rounding
    ///   would put them into the future.
    func appendCopyRows(to bytes: inout [UInt8], inSeconds: Bool) {
        bytes.reserveCapacity(bytes.count + byteCount + count * 24)
        forEach { row in
            bytes.append(bigEndian: Self.columns)
            bytes.append(field: row.callID)
            bytes.append(field: row.type)
            if let payload = row.payload {
                bytes.append(bigEndian: Int32(truncatingIfNeeded: payload.count + 1))
                bytes.append(1)
                bytes.append(contentsOf: payload)
            } else {
                bytes.append(bigEndian: Int32(-1))
            }
            for time in [row.occurredAt, row.insertedAt, row.insertedAt] {
                bytes.append(bigEndian: Int32(8))
                bytes.append(bigEndian: Self.copied(time, inSeconds))
            }
        }
    }

    private static func copied(_ time: Timestamp, _ inSeconds: Bool) -> Int64 {
        let value = PostgresArray.microseconds(time)
        guard inSeconds else { return value }
        let part = value % 1_000_000
        let (second, overflow) = value.subtractingReportingOverflow(part < 0 ? part + 1_000_000 : part)
        return overflow ? value : second
    }

    /// Whether all rows were received within `window`, microseconds since 1970.
    func areInserted(within window: Range<Int64>) -> Bool {
        insertedAt.bytes.withUnsafeBytes { bytes in
            var cursor = PostgresArray.Cursor(bytes)
            for _ in 0..<count {
                guard let time = cursor.nextTimestamp(), window.contains(time.microseconds) else {
                    return false
                }
            }
            return true
        }
    }
}

extension [UInt8] {
    @inline(__always)
    fileprivate mutating func append(bigEndian value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
    }

    @inline(__always)
    fileprivate mutating func append(field: UnsafeRawBufferPointer) {
        append(bigEndian: Int32(truncatingIfNeeded: field.count))
        append(contentsOf: field)
    }
}
