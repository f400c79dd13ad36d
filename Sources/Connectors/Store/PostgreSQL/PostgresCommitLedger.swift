import CLibPQ
import Reactor

/// How a writer learns, after its connection broke, which of its batches were committed.
///
/// Each batch carries a number and writes it, in its own transaction, into one of a few rows of
/// `callflow_writers` that belong to this writer. So the rows that a new session reads say exactly which of the
/// batches on the way were committed; the others are written again. Nothing is repeated, nothing is left out.
///
/// That holds only when the old session can commit nothing more. Each session therefore holds an advisory lock
/// under the writer's key: a new one ends whoever still holds it and waits for the lock before it reads.
struct PostgresCommitLedger: Sendable {
    /// Rows of one writer; more than batches may be on the way, so that no number is overwritten too early.
    static let slots: Int64 = 16

    /// Names this writer for the life of the process.
    let writer: UInt64

    init() { writer = SystemRandom.uint64() }

    private var name: String { String(writer, radix: 16) }

    /// The prepared statement that notes a batch; parameters: slot (int4), number (int8).
    static let noteName = "callflow_note_batch"

    var note: String {
        """
        INSERT INTO callflow_writers (writer, slot, batch, committed_at)
        VALUES ('\(name)', $1::int4, $2::int8, now() AT TIME ZONE 'UTC')
        ON CONFLICT (writer, slot) DO UPDATE SET batch = excluded.batch, committed_at = excluded.committed_at
        """
    }

    /// Ends the session that this writer lost, should the server not have noticed.
    private var endFormerSession: String {
        """
        SELECT pg_terminate_backend(pid) FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND pid <> pg_backend_pid()
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND classid = \(writer >> 32)::oid AND objid = \(writer & 0xFFFF_FFFF)::oid
        """
    }

    /// Takes over from the writer's former session.
    ///
    /// - Returns: Numbers of the last batches that were committed.
    func takeOver(_ connection: PostgresConnection) throws(StoreError) -> Set<Int64> {
        try connection.execute(endFormerSession)
        try connection.execute("SELECT pg_advisory_lock(\(Int64(bitPattern: writer)))")
        let text = try connection.text(
            "SELECT string_agg(batch::text, ',') FROM callflow_writers WHERE writer = '\(name)'")
        // Writers of processes long gone; not everybody may delete, and then the few rows stay.
        try? connection.execute(
            "DELETE FROM callflow_writers WHERE committed_at < now() AT TIME ZONE 'UTC' - interval '30 days'")
        return Set((text ?? "").split(separator: ",").compactMap { Int64($0) })
    }
}
