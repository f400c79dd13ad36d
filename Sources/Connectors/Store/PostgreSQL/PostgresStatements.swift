/// The statements of a batch, prepared once per connection.
///
/// Parameters are binary arrays (`PostgresArray`). Columns that the old daemon made are `timestamp(0)`; what is
/// written there is truncated to the second, as the old daemon did, and not rounded up into the future.
struct PostgresStatements {
    static let insertEventsName = "callflow_insert_events"
    static let upsertCallsName = "callflow_upsert_calls"
    static let updateCRMName = "callflow_update_crm"
    static let insertGapsName = "callflow_insert_gaps"
    static let upsertSightingsName = "callflow_upsert_sightings"

    /// Whether the times of `call_events` are whole seconds.
    var eventsInSeconds = false
    /// Whether the times of `calls` are whole seconds.
    var callsInSeconds = false
    /// Whether `call_events` is partitioned by `inserted_at`, which then must not leave the partitions there are.
    var eventsArePartitioned = false

    /// Finds out both.
    static let precision = """
        SELECT string_agg(attrelid::regclass::text, ',') FROM pg_attribute
        WHERE atttypid = 'timestamp'::regtype AND atttypmod = 0 AND
            (attrelid = to_regclass('call_events') AND attname = 'occurred_at'
            OR attrelid = to_regclass('calls') AND attname = 'started_at')
        """

    private static func time(_ column: String, _ inSeconds: Bool) -> String {
        inSeconds ? "date_trunc('second', \(column))" : column
    }

    var insertEvents: String {
        let occurred = Self.time("d", eventsInSeconds)
        var inserted = Self.time("e", eventsInSeconds)
        if eventsArePartitioned {
            inserted =
                "greatest(localtimestamp - interval '\(PartitionPlan.lookBackDays) days', "
                + "least(localtimestamp + interval '\(PartitionPlan.lookAheadDays) days', \(inserted)))"
        }
        return """
            INSERT INTO call_events (call_id, event_type, payload, occurred_at, inserted_at, updated_at)
            SELECT a, b, c, d, e, e FROM (
                SELECT a, b, c, \(occurred) AS d, \(inserted) AS e FROM (
                    SELECT unnest($1::text[]) AS a, unnest($2::text[]) AS b, unnest($3::jsonb[]) AS c,
                        unnest($4::timestamp[]) AS d, unnest($5::timestamp[]) AS e) AS t) AS t
            """
    }

    /// Inserts calls, or joins what is new into the rows that are there.
    ///
    /// No fact is lost, in whatever order the states arrive:
    ///
    /// - status only moves ringing → answered → finished or error;
    /// - the earliest start and answer stay; an end once known is not forgotten;
    /// - of numbers, direction and the like the newer known value counts; unknown never replaces known;
    /// - `id` and `inserted_at` stay those of the first row.
    ///
    /// Rows are taken in the order of their keys, so that daemons that write the same calls wait for each other
    /// instead of deadlocking (a deadlock costs a second: `deadlock_timeout`).
    var upsertCalls: String {
        let time = { (column: String) in Self.time(column, callsInSeconds) }
        return """
            INSERT INTO calls AS c (id, call_id, direction, caller_number, callee_number, status, started_at,
                answered_at, ended_at, inserted_at, updated_at, outcome, hangup_cause, pbx, ended_estimated)
            SELECT a, b, c, d, e, f, \(time("g")), \(time("h")), \(time("i")), \(time("j")), \(time("k")),
                l, m, n, o
            FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                $7::timestamp[], $8::timestamp[], $9::timestamp[], $10::timestamp[], $11::timestamp[],
                $12::text[], $13::int4[], $14::text[], $15::bool[])
                AS t (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o)
            ORDER BY b COLLATE "C"
            ON CONFLICT (call_id) DO UPDATE SET
                direction = CASE WHEN excluded.direction = 'unknown'
                    OR (c.updated_at > excluded.updated_at AND c.direction <> 'unknown')
                    THEN coalesce(c.direction, excluded.direction) ELSE excluded.direction END,
                caller_number = \(Self.newer("caller_number")),
                callee_number = \(Self.newer("callee_number")),
                status = CASE WHEN \(Self.rank("excluded")) > \(Self.rank("c"))
                    OR (\(Self.rank("excluded")) = \(Self.rank("c"))
                        AND excluded.updated_at >= c.updated_at)
                    THEN excluded.status ELSE c.status END,
                started_at = least(c.started_at, excluded.started_at),
                answered_at = least(c.answered_at, excluded.answered_at),
                ended_estimated = CASE WHEN excluded.ended_at IS NOT NULL
                    AND (c.ended_at IS NULL OR excluded.updated_at >= c.updated_at)
                    THEN excluded.ended_estimated ELSE c.ended_estimated END,
                ended_at = \(Self.newer("ended_at")),
                updated_at = greatest(c.updated_at, excluded.updated_at),
                outcome = \(Self.newer("outcome")),
                hangup_cause = \(Self.newer("hangup_cause")),
                pbx = \(Self.newer("pbx"))
            """
    }

    private static func newer(_ column: String) -> String {
        """
        CASE WHEN excluded.updated_at >= c.updated_at THEN coalesce(excluded.\(column), c.\(column))
        ELSE coalesce(c.\(column), excluded.\(column)) END
        """
    }

    private static func rank(_ table: String) -> String {
        "(CASE \(table).status WHEN 'ringing' THEN 0 WHEN 'answered' THEN 1 ELSE 2 END)"
    }

    let insertGaps = """
        INSERT INTO callflow_gaps (id, pbx, started_at, ended_at, reason, detail, calls_ended, calls_found,
            calls_kept, inserted_at)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamp[], $4::timestamp[], $5::text[], $6::text[],
            $7::int4[], $8::int4[], $9::int4[], $10::timestamp[])
        ON CONFLICT (id) DO NOTHING
        """

    let upsertSightings = """
        INSERT INTO callflow_pbx AS p (pbx, seen_at, started_at)
        SELECT * FROM unnest($1::text[], $2::timestamp[], $3::timestamp[])
        ON CONFLICT (pbx) DO UPDATE SET seen_at = greatest(p.seen_at, excluded.seen_at),
            started_at = coalesce(excluded.started_at, p.started_at)
        """

    /// Keeps a refused row; parameters as text, in the order of `values`.
    static let insertDeadLetter = """
        INSERT INTO dead_letters (row_kind, call_id, event_type, code, reason, payload, writer, batch, inserted_at)
        VALUES ($1, left($2, 255), nullif(left($3, 255), ''), $4, $5, $6, $7, $8::bigint,
            now() AT TIME ZONE 'UTC')
        """

    /// A refused row as text parameters, which hold no U+0000.
    static func values(of row: RefusedRow, _ batch: BatchID) -> [String] {
        [
            row.kind.rawValue, row.callID, row.eventType, row.code, row.reason,
            String(decoding: row.payload, as: UTF8.self), batch.writerName, String(batch.number),
        ].map { $0.utf8.contains(0) ? String($0.map { $0 == "\0" ? "\u{FFFD}" : $0 }) : $0 }
    }

    let updateCRM = """
        UPDATE calls SET bitrix_call_id = t.b FROM unnest($1::text[], $2::text[]) AS t (a, b)
        WHERE calls.call_id = t.a
        """
}
