import CLibPQ
import CallEngine
import Glibc
package import Protocols

/// Looks at the steps for CRMs and sends some again, from the command line; blocking, beside a daemon that runs.
///
/// The daemon finds what was changed here within ``CRMFeed/passInterval``.
package struct CRMStepDesk {
    /// How many steps are in a state.
    package struct Count: Sendable, Hashable {
        package var target: String
        package var kind: String
        package var state: String
        package var count: Int
        /// Since the oldest of them was written, in seconds.
        package var oldestSeconds: Int
    }

    /// Why steps are not done.
    package struct Reason: Sendable, Hashable {
        package var state: String
        package var text: String
        package var count: Int
    }

    /// What sending again did, or would do.
    package struct Resent: Sendable, Hashable {
        /// Calls that the CRM was never told of.
        package var new = 0
        /// Calls that it was told of, or was to be: it is asked first whether it has them.
        package var doubted = 0
    }

    private let database: Database
    private let settings: StoreSettings

    /// Opens the database; its tables must be up to date.
    ///
    /// - Parameter isReadOnly: Nothing is going to be changed.
    package init(
        location: StoreLocation, settings: StoreSettings, isReadOnly: Bool
    ) throws(StoreError) {
        self.settings = settings
        switch location {
        case .sqlite(let path):
            guard access(path, F_OK) == 0 else { throw .unavailable("there is no SQLite file \(path)") }
            database = .sqlite(try SQLiteDatabase(path: path, forWriting: !isReadOnly))
        case .postgres(let location):
            let connector = PostgresConnector(location: location, settings: settings)
            database = .postgres(try connector.connect(for: .upkeep).get())
        }
    }

    // MARK: - Looking

    /// All steps there are, by what they are and where they stand.
    package func counts() throws(StoreError) -> [Count] {
        let oldest = database.select(
            postgres: "extract(epoch FROM localtimestamp - min(created_at))::int8",
            sqlite: "(\(WallClock.now().microseconds) - min(created_at)) / 1000000")
        return try database.rows(
            """
            SELECT target, step, state, count(*), \(oldest) FROM callflow_crm_steps
            GROUP BY target, step, state ORDER BY target, step DESC, state
            """
        ).map { row in
            Count(
                target: row[0] ?? "", kind: row[1] ?? "", state: row[2] ?? "", count: Int(row[3] ?? "") ?? 0,
                oldestSeconds: Int(row[4] ?? "") ?? 0)
        }
    }

    /// The most frequent reasons of what is open or failed.
    package func reasons(limit: Int = 10) throws(StoreError) -> [Reason] {
        try database.rows(
            """
            SELECT state, last_error, count(*) FROM callflow_crm_steps
            WHERE last_error IS NOT NULL AND state IN (\(CRMStepState.openWords), 'failed')
            GROUP BY state, last_error ORDER BY count(*) DESC, last_error LIMIT \(limit)
            """
        ).map { row in Reason(state: row[0] ?? "", text: row[1] ?? "", count: Int(row[2] ?? "") ?? 0) }
    }

    // MARK: - Again

    /// Has failed steps tried again.
    ///
    /// Of a call whose two steps were sent together, so that nobody knows whether the CRM has it, the CRM is asked first.
    ///
    /// - Returns: How many calls that are.
    package func retry(dryRun: Bool) throws(StoreError) -> Int {
        let calls = try database.rows(
            "SELECT count(DISTINCT call_id) FROM callflow_crm_steps WHERE state = 'failed'")
        if !dryRun {
            let now = database.now
            try database.execute(
                """
                UPDATE callflow_crm_steps AS s SET attempts = 0, due_at = NULL, updated_at = \(now),
                    state = CASE WHEN 2 = (SELECT count(*) FROM callflow_crm_steps AS both_of_them
                        WHERE both_of_them.call_id = s.call_id AND both_of_them.target = s.target
                            AND both_of_them.sent_at IS NOT NULL AND both_of_them.crm_call_id IS NULL)
                        THEN 'doubtful' ELSE 'waiting' END
                WHERE state = 'failed'
                """)
        }
        return Int(calls.first?.first.flatMap { $0 } ?? "") ?? 0
    }

    /// Calls that are looked at in one statement.
    private static let pageSize = 500

    /// Has all calls told again that began at or after `from` and before `to`, have ended, and of which nothing is under
    /// way: what the CRM was told before is looked up there first.
    ///
    /// - Parameter target: Which CRM.
    package func resend(
        from: Timestamp, to: Timestamp, target: String, dryRun: Bool
    ) throws(StoreError) -> Resent {
        var resent = Resent()
        var last: (start: Int64, callID: String)?
        while true {
            let page = try database.rows(Self.calls(database), parameters(from, to, target, after: last))
            guard let end = page.last, let start = Int64(end[4] ?? ""), let callID = end[0] else { break }
            last = (start, callID)
            let known = page.count { $0[17] != nil }
            resent.doubted += known
            resent.new += page.count - known
            if !dryRun { try tellAgain(page.compactMap { call($0) }, target) }
        }
        return resent
    }

    private func parameters(
        _ from: Timestamp, _ to: Timestamp, _ target: String, after last: (start: Int64, callID: String)?
    ) -> [String] {
        [
            String(from.microseconds), String(to.microseconds), target, CRMStepText.of(settings.pbxNames),
            String(last?.start ?? .min), last?.callID ?? "", String(Self.pageSize),
        ]
    }

    /// Ended calls of a time with what a CRM is told of them, by start; a last column tells whether it was told.
    private static func calls(_ database: Database) -> String {
        func time(_ column: String) -> String {
            database.select(
                postgres: "(extract(epoch FROM c.\(column)) * 1000000)::int8", sqlite: "c.\(column)")
        }
        func parameter(_ number: Int, _ type: String) -> String {
            database.select(postgres: "$\(number)::\(type)", sqlite: "CAST(?\(number) AS \(type))")
        }
        let names = database.select(
            postgres: "SELECT jsonb_array_elements_text($4::jsonb)", sqlite: "SELECT value FROM json_each(?4)"
        )
        let (whole, text) = database.select(postgres: ("int8", "text"), sqlite: ("INTEGER", "TEXT"))
        let start = time("started_at")
        let bound = database.select(
            postgres: """
                c.started_at >= timestamp 'epoch' + $1::int8 * interval '1 microsecond'
                AND c.started_at < timestamp 'epoch' + $2::int8 * interval '1 microsecond'
                """,
            sqlite: "c.started_at >= CAST(?1 AS INTEGER) AND c.started_at < CAST(?2 AS INTEGER)")
        return """
            SELECT c.call_id, c.direction, c.caller_number, c.callee_number, \(start), \(time("answered_at")),
                \(time("ended_at")), c.outcome, c.hangup_cause, c.pbx, c.talk_us, \(time("talk_started_at")),
                c.answered_by, c.operator_number, c.transferred_by, c.transferred_to, c.queue,
                (SELECT min(s.state) FROM callflow_crm_steps AS s WHERE s.call_id = c.call_id
                    AND s.target = \(parameter(3, text)))
            FROM calls AS c
            WHERE \(bound) AND c.status = 'finished' AND coalesce(c.outcome, '') <> 'merged'
                AND (c.pbx IS NULL OR c.pbx IN (\(names)))
                AND (\(start), c.call_id) > (\(parameter(5, whole)), \(parameter(6, text)))
                AND NOT EXISTS (SELECT 1 FROM callflow_crm_steps AS s WHERE s.call_id = c.call_id
                    AND s.target = \(parameter(3, text)) AND s.state IN (\(CRMStepState.openWords)))
            ORDER BY \(start), c.call_id LIMIT \(parameter(7, whole))
            """
    }

    private func call(_ row: [String?]) -> (pbx: String, call: CRMCall)? {
        guard let callID = row[0], let start = Int64(row[4] ?? "") else { return nil }
        func time(_ column: Int) -> Timestamp? {
            Int64(row[column] ?? "").map { Timestamp(microseconds: $0) }
        }
        var call = CRMCall(
            callID: callID,
            direction: CallDirection.allCases.first { "\($0.name)" == row[1] } ?? .unknown,
            callerNumber: row[2], calleeNumber: row[3], startedAt: Timestamp(microseconds: start),
            answeredAt: time(5), endedAt: time(6),
            outcome: CallOutcome.allCases.first { "\($0.name)" == row[7] } ?? .none,
            hangupCause: UInt16(row[8] ?? "") ?? 0)
        call.talkMicroseconds = row[11] == nil ? nil : Int64(row[10] ?? "")
        call.talkStartedAt = time(11)
        call.answeredBy = row[12]
        call.operatorNumber = row[13]
        call.transferredBy = row[14]
        call.transferredTo = row[15]
        call.queue = row[16]
        return (row[9] ?? settings.pbxNames.first ?? "", call)
    }

    /// Makes both rows of each call, or opens those that there are.
    private func tellAgain(_ calls: [(pbx: String, call: CRMCall)], _ target: String) throws(StoreError) {
        var writer = JSONWriter()
        writer.array { array in
            for (pbx, call) in calls {
                array.object {
                    $0.member("c", call.callID)
                    $0.member("p", pbx)
                    $0.member("j", String(decoding: call.json, as: UTF8.self))
                }
            }
        }
        let source = database.select(
            postgres: "jsonb_to_recordset($1::jsonb) AS t (c text, p text, j text)",
            sqlite: """
                (SELECT json_extract(value, '$.c') AS c, json_extract(value, '$.p') AS p,
                    json_extract(value, '$.j') AS j FROM json_each(?1)) AS t
                """)
        let parameter = database.select(postgres: "$2::text", sqlite: "?2")
        // An outcome that is settled is doubted; what was skipped is judged anew by the settings of now.
        _ = try database.rows(
            """
            INSERT INTO callflow_crm_steps AS s
                (target, pbx, call_id, step, state, call, attempts, created_at, updated_at)
            SELECT \(parameter), t.p, t.c, k.step, 'waiting', t.j, 0, \(database.now), \(database.now)
            FROM \(source) CROSS JOIN (SELECT 'register' AS step, 1 AS place UNION ALL SELECT 'finish', 2) AS k
            WHERE true ORDER BY t.c, k.place
            ON CONFLICT (call_id, target, step) DO UPDATE SET
                state = CASE WHEN s.state = 'skipped' THEN 'waiting' ELSE 'doubtful' END,
                crm_call_id = NULL, sent_at = NULL, due_at = NULL, attempts = 0, last_error = NULL,
                updated_at = excluded.updated_at
            """, [String(decoding: writer.output, as: UTF8.self), target])
    }
}

// MARK: - Both databases

extension CRMStepDesk {
    private enum Database {
        case sqlite(SQLiteDatabase)
        case postgres(PostgresConnection)

        func select<Value>(postgres: Value, sqlite: Value) -> Value {
            switch self {
            case .sqlite: sqlite
            case .postgres: postgres
            }
        }

        /// The time of a change, as a literal or expression.
        var now: String { select(postgres: "localtimestamp", sqlite: String(WallClock.now().microseconds)) }

        func execute(_ sql: String) throws(StoreError) {
            switch self {
            case .sqlite(let database): try database.execute(sql)
            case .postgres(let connection): try connection.execute(sql)
            }
        }

        /// Rows as text; `nil` is NULL.
        func rows(_ sql: String, _ parameters: [String] = []) throws(StoreError) -> [[String?]] {
            switch self {
            case .postgres(let connection): return try connection.rows(sql, parameters)
            case .sqlite(let database):
                let statement = try database.prepare(sql)
                for (index, value) in parameters.enumerated() {
                    statement.bind(Int32(index + 1), copying: value)
                }
                var rows: [[String?]] = []
                while try statement.step() {
                    rows.append((0..<statement.columnCount).map { statement.string($0) })
                }
                return rows
            }
        }
    }
}
