import CLibPQ
import Foundation
import NIOCore

/// What came and is not written yet; filled by the event loop, emptied by the writing thread.
final class Waiting: @unchecked Sendable {
    struct Batch {
        var events: [EventRow] = []
        var calls: [String: CallRow] = [:]
    }

    private let condition = NSCondition()
    private var batch = Batch()

    func add(_ event: EventRow, _ call: CallRow) {
        condition.lock()
        batch.events.append(event)
        batch.calls[call.callID] = call
        if batch.events.count == 1 { condition.signal() }
        condition.unlock()
    }

    /// All that waits, once there is something.
    func take() -> Batch {
        condition.lock()
        defer { condition.unlock() }
        while batch.events.isEmpty { condition.wait() }
        let taken = batch
        batch = Batch()
        return taken
    }
}

/// Writes what came while the last batch was written: one transaction, events by binary COPY, changed calls by one upsert.
struct Writer {
    struct Failure: Error {
        var message: String
    }

    private static let epoch2000: Int64 = 946_684_800_000_000
    private static let upsert = """
        INSERT INTO calls (id, call_id, status, started_at, answered_at, ended_at, inserted_at, updated_at)
        SELECT id, call_id, status, started, answered, ended, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC'
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamp[], $5::timestamp[], $6::timestamp[])
            AS t (id, call_id, status, started, answered, ended)
        ON CONFLICT (call_id) DO UPDATE SET status = excluded.status, answered_at = excluded.answered_at,
            ended_at = excluded.ended_at, updated_at = excluded.updated_at
        """

    private let connection: OpaquePointer

    init(_ url: String) throws {
        guard let connection = PQconnectdb(url) else { throw Failure(message: "out of memory") }
        self.connection = connection
        guard PQstatus(connection) == CONNECTION_OK else {
            throw Failure(message: String(cString: PQerrorMessage(connection)))
        }
    }

    func write(_ batch: Waiting.Batch) throws {
        try run("BEGIN")
        try run(
            "COPY call_events (call_id, event_type, payload, occurred_at, inserted_at, updated_at) FROM STDIN (FORMAT binary)"
        )
        let bytes = Self.copy(batch.events)
        guard bytes.withUnsafeBytes({ PQputCopyData(connection, $0.baseAddress, Int32($0.count)) }) == 1,
            PQputCopyEnd(connection, nil) == 1
        else { throw failure }
        while let result = PQgetResult(connection) { try check(result) }
        let rows = Array(batch.calls.values)
        try run(
            Self.upsert,
            [
                Self.array(rows) { $0.id.uuidString }, Self.array(rows) { $0.callID },
                Self.array(rows) { $0.status },
                Self.array(rows) { Self.time($0.startedAt) },
                Self.array(rows) { $0.answeredAt.map(Self.time) },
                Self.array(rows) { $0.endedAt.map(Self.time) },
            ])
        try run("COMMIT")
    }

    /// Rows as binary COPY wants them (PostgreSQL documentation, "COPY", File Formats).
    private static func copy(_ events: [EventRow]) -> [UInt8] {
        var bytes = Array("PGCOPY\n".utf8) + [0xFF, 0x0D, 0x0A, 0x00] + [UInt8](repeating: 0, count: 8)
        bytes.reserveCapacity(events.reduce(64) { $0 + $1.payload.readableBytes + 160 })
        func append(_ value: some FixedWidthInteger) {
            withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
        }
        let now = Int64(Date().timeIntervalSince1970 * 1e6) - epoch2000
        for event in events {
            append(Int16(6))
            for text in [event.callID, event.type] {
                append(Int32(text.utf8.count))
                bytes.append(contentsOf: text.utf8)
            }
            // jsonb in binary is a version and the text.
            append(Int32(event.payload.readableBytes + 1))
            bytes.append(1)
            bytes.append(contentsOf: event.payload.readableBytesView)
            for time in [event.occurredAt - epoch2000, now, now] {
                append(Int32(8))
                append(time)
            }
        }
        append(Int16(-1))
        return bytes
    }

    private static func time(_ microseconds: Int64) -> String {
        var seconds = time_t(microseconds / 1_000_000)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday)) "
            + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))"
    }

    private static func array(_ rows: [CallRow], _ cell: (CallRow) -> String?) -> String {
        "{" + rows.map { cell($0).map { "\"\($0)\"" } ?? "NULL" }.joined(separator: ",") + "}"
    }

    private func run(_ sql: String, _ parameters: [String] = []) throws {
        let copies = parameters.map { strdup($0) }
        defer { for copy in copies { free(copy) } }
        let pointers = copies.map { UnsafePointer($0) }
        try check(
            parameters.isEmpty
                ? PQexec(connection, sql)
                : PQexecParams(connection, sql, Int32(pointers.count), nil, pointers, nil, nil, 0))
    }

    private func check(_ result: OpaquePointer?) throws {
        defer { PQclear(result) }
        let status = PQresultStatus(result)
        guard status == PGRES_COMMAND_OK || status == PGRES_COPY_IN || status == PGRES_TUPLES_OK else {
            throw failure
        }
    }

    private var failure: Failure { Failure(message: String(cString: PQerrorMessage(connection))) }
}
