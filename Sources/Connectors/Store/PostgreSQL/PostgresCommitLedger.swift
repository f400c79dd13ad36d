import CLibPQ
import Reactor

/// How a writer learns, after its connection broke or the process died, which of its batches were committed.
///
/// Each batch writes its number, in its own transaction, into one of a few rows of `callflow_writers` that belong to
/// its writer (`CommitSlots`). So the rows that a new session reads say exactly which of the batches on the way were
/// committed; the others are written again. Nothing is repeated, nothing is left out.
///
/// That holds only when the old session can commit nothing more. Each session therefore holds an advisory lock
/// under its own key: a new one ends whoever still holds it and waits for the lock before it reads. A session that
/// writes a former writer's batches holds that one's locks as well, all its life: should the process die meanwhile,
/// the next one finds it by them.
struct PostgresCommitLedger: Sendable {
    /// Names the batches of one shard in one run of the process; see `BatchID`.
    let writer: UInt64
    /// Which of the writer's connections this is, below `maximumLinks`.
    let link: UInt64
    /// Writers of earlier runs whose batches still lie in the spool.
    let formers: [UInt64]

    /// Connections that may write under one name.
    static let maximumLinks: UInt64 = 1 << BatchID.linkBits

    init(writer: UInt64, link: UInt64 = 0, formers: [UInt64] = []) {
        self.writer = writer
        self.link = link
        self.formers = formers
    }

    /// The key of this session's advisory lock.
    private var key: UInt64 { writer + link }

    /// The prepared statement that notes a batch; parameters: writer (text), slot (int4), number (int8).
    static let noteName = "callflow_note_batch"

    static let note = """
        INSERT INTO callflow_writers (writer, slot, batch, committed_at)
        VALUES ($1::text, $2::int4, $3::int8, now() AT TIME ZONE 'UTC')
        ON CONFLICT (writer, slot) DO UPDATE SET batch = excluded.batch, committed_at = excluded.committed_at
        """

    /// Ends the sessions that hold one of these keys, should the server not have noticed that they are lost.
    private static func end(_ keys: ClosedRange<UInt64>) -> String {
        """
        SELECT pg_terminate_backend(pid) FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND pid <> pg_backend_pid()
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND classid = \(keys.lowerBound >> 32)::oid
            AND objid::int8 BETWEEN \(keys.lowerBound & 0xFFFF_FFFF) AND \(keys.upperBound & 0xFFFF_FFFF)
        """
    }

    /// Takes over from the former sessions.
    ///
    /// - Returns: The last batches of the writer and of the former ones that were committed.
    func takeOver(_ connection: PostgresConnection) throws(StoreError) -> Set<BatchID> {
        for former in formers {
            let keys = former...(former + Self.maximumLinks - 1)
            try connection.execute(Self.end(keys))
            // To have each lock is to know that its holder is gone.
            try connection.execute(
                keys.map { "SELECT pg_advisory_lock(\(Int64(bitPattern: $0)))" }.joined(separator: ";"))
        }
        try connection.execute(Self.end(key...key))
        try connection.execute("SELECT pg_advisory_lock(\(Int64(bitPattern: key)))")
        let names = ([writer] + formers).map { "'\(BatchID.name(of: $0))'" }.joined(separator: ",")
        let text = try connection.text(
            """
            SELECT string_agg(writer || ':' || batch, ',') FROM callflow_writers WHERE writer IN (\(names))
            """)
        // Writers of processes long gone; not everybody may delete, and then the few rows stay.
        try? connection.execute(
            """
            DELETE FROM callflow_writers
            WHERE committed_at < now() AT TIME ZONE 'UTC' - interval '30 days' AND writer NOT IN (\(names))
            """)
        return Set((text ?? "").split(separator: ",").compactMap(Self.batch))
    }

    private static func batch(_ text: Substring) -> BatchID? {
        let parts = text.split(separator: ":")
        guard parts.count == 2, let writer = UInt64(parts[0], radix: 16), let number = Int64(parts[1]) else {
            return nil
        }
        return BatchID(writer: writer, number: number)
    }
}
