import CLibPQ
import Glibc
import Protocols

/// What the writer is compared with: libpq, blocking, in loops that do nothing else.
final class PlainClient {
    private let handle: OpaquePointer

    init(_ url: String) throws(BenchError) {
        guard let handle = PQconnectdb(url) else { throw BenchError("PostgreSQL: out of memory") }
        self.handle = handle
        guard PQstatus(handle) == CONNECTION_OK else { throw BenchError(message) }
    }

    deinit { PQfinish(handle) }

    private var message: String { String(cString: PQerrorMessage(handle)) }

    func execute(_ sql: String) throws(BenchError) {
        try check(PQexec(handle, sql))
    }

    /// The first value of a query's first row.
    func text(_ sql: String) throws(BenchError) -> String {
        let result = PQexec(handle, sql)
        defer { PQclear(result) }
        guard PQresultStatus(result) == PGRES_TUPLES_OK, let value = PQgetvalue(result, 0, 0) else {
            throw BenchError(message)
        }
        return String(cString: value)
    }

    /// CPU time that sessions of this database have used so far, in microseconds: this client's own, or the writer's.
    ///
    /// From `/proc/PID/schedstat`, whose first number is the time on a core in nanoseconds; 0 where there is none.
    func serverTime(ofWriter: Bool) throws(BenchError) -> Double {
        let sessions = ofWriter ? "application_name = 'callflow-fast'" : "pid = pg_backend_pid()"
        let pids = try text(
            """
            SELECT coalesce(string_agg(pid::text, ','), '') FROM pg_stat_activity
            WHERE datname = current_database() AND \(sessions)
            """)
        var total = 0.0
        for pid in pids.split(separator: ",") {
            guard let file = fopen("/proc/\(pid)/schedstat", "r") else { continue }
            defer { fclose(file) }
            var line = [CChar](repeating: 0, count: 128)
            guard fgets(&line, Int32(line.count), file) != nil else { continue }
            total += strtod(line, nil) / 1000
        }
        return total
    }

    private func check(_ result: OpaquePointer?) throws(BenchError) {
        defer { PQclear(result) }
        switch PQresultStatus(result) {
        case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY: return
        default: throw BenchError(message)
        }
    }

    // MARK: COPY

    private static let columns = "call_id, event_type, payload, occurred_at, inserted_at, updated_at"
    /// Bytes given to libpq at once.
    private static let copyChunk = 64 << 10

    /// Writes a stream made by `copyStream` in one transaction.
    ///
    /// The stream is made beforehand, so that the client only hands over bytes: nobody sends rows faster.
    func copy(_ stream: [UInt8]) throws(BenchError) {
        let result = PQexec(handle, "COPY call_events (\(Self.columns)) FROM STDIN (FORMAT binary)")
        let state = PQresultStatus(result)
        PQclear(result)
        guard state == PGRES_COPY_IN else { throw BenchError(message) }
        let isSent = stream.withUnsafeBytes { bytes in
            stride(from: 0, to: bytes.count, by: Self.copyChunk).allSatisfy { start in
                let count = min(Self.copyChunk, bytes.count - start)
                let part = bytes.baseAddress?.advanced(by: start).assumingMemoryBound(to: CChar.self)
                return PQputCopyData(handle, part, Int32(count)) == 1
            }
        }
        guard isSent, PQputCopyEnd(handle, nil) == 1 else { throw BenchError(message) }
        while let result = PQgetResult(handle) { try check(result) }
    }

    /// Rows in PostgreSQL's binary format of COPY (PostgreSQL documentation, "COPY", File Formats), a stream for so many.
    static func copyStreams(_ corpus: EventCorpus, rowsEach: Int) -> [[UInt8]] {
        stride(from: 0, to: corpus.rows.count, by: rowsEach).map {
            copyStream(corpus, $0..<min($0 + rowsEach, corpus.rows.count))
        }
    }

    private static func copyStream(_ corpus: EventCorpus, _ rows: Range<Int>) -> [UInt8] {
        var stream = Array("PGCOPY\n".utf8) + [0xFF, 0x0D, 0x0A, 0x00] + [UInt8](repeating: 0, count: 8)
        func append(_ value: some FixedWidthInteger) {
            withUnsafeBytes(of: value.bigEndian) { stream.append(contentsOf: $0) }
        }
        for row in rows {
            corpus.with(row) { callID, type, payload, occurredAt in
                append(Int16(6))
                append(Int32(callID.count))
                stream.append(contentsOf: callID)
                append(Int32(type.count))
                stream.append(contentsOf: type)
                append(Int32(payload.count + 1))
                stream.append(1)
                stream.append(contentsOf: payload)
                for _ in 0..<3 {
                    append(Int32(8))
                    append(occurredAt.microseconds - epoch)
                }
            }
        }
        append(Int16(-1))
        return stream
    }

    /// Microseconds from 1970 to 2000, PostgreSQL's epoch.
    private static let epoch: Int64 = 946_684_800_000_000

    // MARK: One INSERT per event

    func prepareSingle() throws(BenchError) {
        let sql = """
            INSERT INTO call_events (\(Self.columns))
            VALUES ($1::text, $2::text, $3::jsonb, $4::timestamp, $4::timestamp, $4::timestamp)
            """
        try check(PQprepare(handle, "single", sql, 4, nil))
    }

    /// Writes rows one after the other, each its own transaction.
    func insertSingly(_ corpus: EventCorpus, count: Int) throws(BenchError) {
        var json: [UInt8] = []
        for row in 0..<count {
            let result = corpus.with(row) { callID, type, payload, occurredAt in
                json.removeAll(keepingCapacity: true)
                json.append(1)
                json.append(contentsOf: payload)
                return withUnsafeBytes(of: (occurredAt.microseconds - Self.epoch).bigEndian) { time in
                    json.withUnsafeBytes { json in
                        let texts = [callID, type, json, time]
                        return PQexecPrepared(
                            handle, "single", 4,
                            texts.map { $0.baseAddress?.assumingMemoryBound(to: CChar.self) },
                            texts.map { Int32($0.count) }, [1, 1, 1, 1], 1)
                    }
                }
            }
            try check(result)
        }
    }
}
