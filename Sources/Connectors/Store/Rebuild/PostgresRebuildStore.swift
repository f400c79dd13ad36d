import CLibPQ
import CallEngine
import Glibc
import Protocols

/// Stored calls and events of PostgreSQL, for `CallRebuild`.
///
/// Events come through a cursor, on a connection that does nothing else: its transaction sees the database as it was when
/// the reading began.
final class PostgresRebuildStore: RebuildStore {
    /// Events fetched at once; a payload is a kilobyte or two.
    private static let fetchRows = 2_000
    private static let updateName = "callflow_rebuild_reset"

    private let events: PostgresConnection
    private let calls: PostgresConnection
    private let pbxNames: [String]
    let callsInSeconds: Bool

    init(_ location: PostgresLocation, settings: StoreSettings) throws(StoreError) {
        let connector = PostgresConnector(location: location, settings: settings)
        events = try connector.connect(for: .upkeep).get()
        calls = try connector.connect(for: .upkeep).get()
        pbxNames = settings.pbxNames
        guard try PostgresMigrator(connection: calls).missing().isEmpty else {
            throw .configuration("the tables are of an older version; run `callflow-fast migrate`")
        }
        // Sorting the events of weeks takes as long as it takes.
        for connection in [events, calls] {
            try connection.execute("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
        }
        let coarse = try calls.text(PostgresStatements.precision) ?? ""
        callsInSeconds = coarse.split(separator: ",").contains { $0.hasSuffix("calls") }
        let statements = PostgresStatements(callsInSeconds: callsInSeconds)
        try calls.prepare(PostgresStatements.upsertCallsName, statements.upsertCalls)
        try calls.prepare(PostgresStatements.insertLegsName, statements.insertLegs)
        try calls.prepare(PostgresStatements.insertSegmentsName, statements.insertSegments)
        try calls.prepare(PostgresStatements.deleteSurplusName, statements.deleteSurplus)
        try calls.prepare(
            Self.updateName,
            """
            UPDATE calls AS c SET \(RebuildSQL.reset)
            FROM unnest($1::text[], $2::timestamp[]) AS t (call_id, seen)
            WHERE c.call_id = t.call_id AND c.updated_at = t.seen RETURNING c.call_id
            """)
    }

    private static func bounds(_ range: Range<Timestamp>) -> [String?] {
        [range.lowerBound.formatted(.microseconds), range.upperBound.formatted(.microseconds)]
    }

    func earliestOpen(in range: Range<Timestamp>) throws(StoreError) -> Timestamp? {
        try calls.query(
            """
            SELECT min(inserted_at) FROM calls WHERE inserted_at >= $1::timestamp AND inserted_at < $2::timestamp
            AND (ended_at IS NULL OR updated_at >= $2::timestamp)
            """, Self.bounds(range)
        ) { $0.row(0).time(0) }
    }

    func latestChange(in range: Range<Timestamp>) throws(StoreError) -> Timestamp? {
        try calls.query(
            """
            SELECT max(updated_at) FROM calls WHERE inserted_at >= $1::timestamp AND inserted_at < $2::timestamp
            """, Self.bounds(range)
        ) { $0.row(0).time(0) }
    }

    func callCount(in range: Range<Timestamp>) throws(StoreError) -> Int {
        try calls.query(
            "SELECT count(*) FROM calls WHERE inserted_at >= $1::timestamp AND inserted_at < $2::timestamp",
            Self.bounds(range)
        ) { Int($0.row(0).number(0) ?? 0) }
    }

    func gaps(notedFrom time: Timestamp) throws(StoreError) -> [StoredGap] {
        try calls.query(
            "SELECT \(RebuildSQL.gapColumns) FROM callflow_gaps WHERE inserted_at >= $1::timestamp",
            [time.formatted(.microseconds)]
        ) { rows in (0..<rows.count).map { rows.gap($0) } }
    }

    func events(in range: Range<Timestamp>, _ body: (RebuildEvent) -> Void) throws(StoreError) {
        let (from, to) = (
            range.lowerBound.formatted(.microseconds), range.upperBound.formatted(.microseconds)
        )
        // A daemon of one PBX need not look each event's call up.
        let (column, join) =
            pbxNames.count > 1
            ? ("c.pbx", "LEFT JOIN calls AS c ON c.call_id = e.call_id") : ("NULL::text", "")
        try events.execute(
            """
            BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
            DECLARE callflow_rebuild NO SCROLL CURSOR FOR
            SELECT e.payload, e.inserted_at, \(column) FROM call_events AS e \(join)
            WHERE e.inserted_at >= '\(from)'::timestamp AND e.inserted_at < '\(to)'::timestamp
            ORDER BY e.inserted_at, e.id
            """)
        while true {
            let count = try events.query("FETCH \(Self.fetchRows) FROM callflow_rebuild", []) { rows in
                for index in 0..<rows.count {
                    let row = rows.row(index)
                    guard let payload = row.json(0), let time = row.time(1) else { continue }
                    body(RebuildEvent(payload: payload, insertedAt: time, pbx: row.text(2)))
                }
                return rows.count
            }
            if count == 0 { break }
        }
        try events.execute("COMMIT")
    }

    func calls(_ callIDs: [String]) throws(StoreError) -> [StoredCallWithEvents] {
        let wanted = PostgresText.array(callIDs.map { RebuildSQL.key($0) })
        var found: [String: StoredCallWithEvents] = [:]
        try calls.query(
            "SELECT \(CallListQuery.columns) FROM calls WHERE call_id = ANY ($1::text[])", [wanted]
        ) { rows in
            for index in 0..<rows.count {
                let call = rows.row(index).call
                found[call.callID] = StoredCallWithEvents(call: call, events: [])
            }
        }
        try calls.query(StoredParts.legs(ofAll: "$1::text[]"), [wanted]) { rows in
            for index in 0..<rows.count {
                let row = rows.row(index)
                found[row.text(StoredParts.legKeyPlace) ?? ""]?.parts.legs.append(row.leg)
            }
        }
        try calls.query(StoredParts.segments(ofAll: "$1::text[]"), [wanted]) { rows in
            for index in 0..<rows.count {
                let row = rows.row(index)
                found[row.text(StoredParts.segmentKeyPlace) ?? ""]?.parts.segments.append(row.segment)
            }
        }
        return Array(found.values)
    }

    func write(_ corrections: [RebuildCorrection]) throws(StoreError) -> Set<String> {
        var (keys, seen) = (PostgresArray(of: .text), PostgresArray(of: .timestamp))
        for correction in corrections {
            guard let time = correction.seen else { continue }
            keys.append([UInt8](RebuildSQL.key(correction.call.callID).utf8))
            seen.append(time)
        }
        keys.finish()
        seen.finish()
        try calls.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        do throws(StoreError) {
            let unchanged = Set(try calls.run(Self.updateName, [keys, seen]))
            let right = corrections.filter {
                $0.seen == nil || unchanged.contains(RebuildSQL.key($0.call.callID))
            }
            let batch = RebuildSQL.batch(right)
            if let columns = batch.callParameters(pbxNames: pbxNames) {
                _ = try calls.run(PostgresStatements.upsertCallsName, columns)
            }
            if let details = batch.detailParameters(pbxNames: pbxNames) {
                for (name, columns) in [
                    (PostgresStatements.deleteSurplusName, details.surplus),
                    (PostgresStatements.insertLegsName, details.legs),
                    (PostgresStatements.insertSegmentsName, details.segments),
                ] where columns[0].count > 0 {
                    _ = try calls.run(name, columns)
                }
            }
            try calls.execute("COMMIT")
            return Set(right.map { $0.call.callID })
        } catch {
            try? calls.execute("ROLLBACK")
            throw error
        }
    }
}

extension PostgresConnection {
    /// Runs a query, blocking, with parameters as text, and gives its rows in binary format to `body`.
    func query<Result>(
        _ sql: String, _ parameters: [String?], _ body: (PostgresRows) -> Result
    ) throws(StoreError) -> Result {
        var values = parameters.map { $0.flatMap { UnsafePointer(strdup($0)) } }
        defer { for value in values { free(UnsafeMutablePointer(mutating: value)) } }
        let result = PQexecParams(handle, sql, Int32(values.count), nil, &values, nil, nil, 1)
        defer { PQclear(result) }
        guard PQresultStatus(result) == PGRES_TUPLES_OK else { throw error(of: result) }
        return body(PostgresRows(result))
    }

    /// Runs a prepared statement, blocking, and gives the first column of its rows.
    func run(_ name: String, _ columns: [PostgresArray]) throws(StoreError) -> [String] {
        var pointers: [UnsafePointer<CChar>?] = []
        let lengths = columns.map { Int32(truncatingIfNeeded: $0.bytes.count) }
        let formats = [Int32](repeating: 1, count: columns.count)
        var result: OpaquePointer?
        // One nested scope for each column, so that all of them stay where they are meanwhile.
        func pin(_ index: Int) {
            guard index < columns.count else {
                result = PQexecPrepared(handle, name, Int32(columns.count), pointers, lengths, formats, 1)
                return
            }
            columns[index].bytes.withUnsafeBytes { bytes in
                pointers.append(bytes.baseAddress?.assumingMemoryBound(to: CChar.self))
                pin(index + 1)
            }
        }
        pin(0)
        defer { PQclear(result) }
        switch PQresultStatus(result) {
        case PGRES_TUPLES_OK:
            let rows = PostgresRows(result)
            return (0..<rows.count).map { rows.row($0).text(0) ?? "" }
        case PGRES_COMMAND_OK: return []
        default: throw error(of: result)
        }
    }
}

enum PostgresText {
    /// Texts as an array in PostgreSQL's text format.
    static func array(_ texts: [String]) -> String {
        let quoted = texts.map { text in
            "\"" + text.map { $0 == "\"" || $0 == "\\" ? "\\\($0)" : String($0) }.joined() + "\""
        }
        return "{\(quoted.joined(separator: ","))}"
    }
}
