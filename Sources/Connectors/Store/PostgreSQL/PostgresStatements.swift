import Protocols

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
    static let insertStepsName = "callflow_insert_steps"

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

    /// The events of a train; times must lie within `trainWindow` and be truncated beforehand.
    static let copyEvents = """
        COPY call_events (call_id, event_type, payload, occurred_at, inserted_at, updated_at) FROM STDIN (FORMAT binary)
        """

    /// When rows must have been received, microseconds since 1970, to need no new date (`insertEvents`) at `now`, the
    /// server's time.
    static func trainWindow(at now: Timestamp) -> Range<Int64> {
        // An hour less on both sides: the server's clock may be set while we look at ours.
        let (hour, day) = (Int64(3_600_000_000), Int64(86_400_000_000))
        return now.microseconds - Int64(PartitionPlan.lookBackDays) * day + hour..<now.microseconds + Int64(
            PartitionPlan.lookAheadDays) * day - hour
    }

    /// Inserts calls, or joins what is new into the rows that are there.
    ///
    /// No fact is lost, in whatever order the states arrive:
    ///
    /// - status only moves ringing → answered → finished or error, except that a call which turns out not to be part of
    ///   another stands for itself again;
    /// - the earliest start and answer stay; an end once known is not forgotten;
    /// - of numbers, direction and the like the newer known value counts; unknown never replaces known;
    /// - of what is derived from the legs the newer derivation counts as a whole (`CallColumn.isDerived`);
    /// - `id` and `inserted_at` stay those of the first row.
    ///
    /// Rows are taken in the order of their keys, so that daemons that write the same calls wait for each other
    /// instead of deadlocking (a deadlock costs a second: `deadlock_timeout`).
    var upsertCalls: String {
        let whole: Set<CallColumn> = [.startedAt, .answeredAt, .endedAt, .insertedAt, .updatedAt]
        let values = CallColumn.allCases.map { column in
            whole.contains(column) ? Self.time("t.\(column.name)", callsInSeconds) : "t.\(column.name)"
        }
        return """
            INSERT INTO calls AS c (\(CallColumn.names))
            SELECT \(values.joined(separator: ", "))
            FROM unnest(\(Self.parameters(CallColumn.allCases.map(\.type)))) AS t (\(CallColumn.names))
            ORDER BY t.call_id COLLATE "C"
            ON CONFLICT (call_id) DO UPDATE SET
            \(CallJoin.assignments(least: "least", greatest: "greatest"))
            """
    }

    /// Columns as parameters: `$1::text[], $2::int4[]` and so on.
    private static func parameters(_ types: [PostgresType]) -> String {
        types.enumerated().map { "$\($0 + 1)::\($1.name)[]" }.joined(separator: ", ")
    }

    static let insertLegsName = "callflow_insert_legs"
    static let insertSegmentsName = "callflow_insert_segments"
    static let deleteSurplusName = "callflow_delete_surplus"

    /// Inserts legs; a call that ended again has them replaced, unless by an older derivation.
    let insertLegs = insert(
        into: "call_legs", key: "leg_no", LegColumn.allCases.map(\.column), LegColumn.allCases.map(\.type))

    /// The same of segments.
    let insertSegments = insert(
        into: "call_segments", key: "segment_no", SegmentColumn.allCases.map(\.column),
        SegmentColumn.allCases.map(\.type))

    private static func insert(
        into table: String, key: String, _ columns: [String], _ types: [PostgresType]
    ) -> String {
        let names = columns.joined(separator: ", ")
        let set = columns.filter { $0 != "call_id" && $0 != key }.map { "\($0) = excluded.\($0)" }
        return """
            INSERT INTO \(table) AS p (\(names)) SELECT * FROM unnest(\(parameters(types)))
            ON CONFLICT (call_id, \(key)) DO UPDATE SET \(set.joined(separator: ", "))
            WHERE p.derived_at <= excluded.derived_at
            """
    }

    /// Removes legs and segments that a call which ended again has no more.
    ///
    /// The subqueries are evaluated row by row (`OFFSET 0`), and so by index, whatever the planner thinks of tables
    /// that it met when they were empty.
    let deleteSurplus = """
        WITH t AS MATERIALIZED (
            SELECT * FROM unnest($1::text[], $2::int4[], $3::int4[], $4::timestamp[]) AS t (call_id, legs, segments, at)),
        gone AS (
            DELETE FROM call_legs WHERE ctid = ANY (ARRAY(SELECT p.ctid FROM t, LATERAL (
                SELECT ctid FROM call_legs AS l WHERE l.call_id = t.call_id AND l.leg_no >= t.legs
                    AND l.derived_at <= t.at OFFSET 0) AS p)))
        DELETE FROM call_segments WHERE ctid = ANY (ARRAY(SELECT p.ctid FROM t, LATERAL (
            SELECT ctid FROM call_segments AS s WHERE s.call_id = t.call_id AND s.segment_no >= t.segments
                AND s.derived_at <= t.at OFFSET 0) AS p))
        """

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

    /// A step that is there already, of an earlier run that knew the call, stays as it is.
    let insertSteps = """
        INSERT INTO callflow_crm_steps AS s (target, pbx, call_id, step, state, call, attempts, created_at, updated_at)
        SELECT target, pbx, call_id, step, 'waiting', call, 0, localtimestamp, localtimestamp
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY
            AS t (call_id, pbx, step, call, place), unnest($5::text[]) AS target
        WHERE target = '\(CRMTargetName.withCardsAndRecords.rawValue)' OR step IN ('register', 'finish')
        ORDER BY call_id COLLATE "C", place
        \(CRMStepSQL.onConflict)
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
