import CallEngine
import Logging
import Reactor

/// The steps of one target in PostgreSQL, over a connection of their own.
///
/// Ages are reckoned by the database's clock alone, so that several machines need not agree on the time.
final class PostgresSteps: CRMStepBackend {
    private let lane: PostgresReadLane
    private let loop: Loop
    private let settings: StoreSettings
    private let target: String
    private let pbxNames: String

    var onReady: (() -> Void)?

    init(
        location: PostgresLocation, loop: Loop, settings: StoreSettings, target: String, logger: Logger
    ) {
        self.loop = loop
        self.settings = settings
        self.target = target
        pbxNames = CRMStepText.of(settings.pbxNames)
        lane = PostgresReadLane(
            connector: PostgresConnector(location: location, settings: settings), loop: loop, logger: logger,
            purpose: .steps)
    }

    var isReady: Bool { lane.canAsk }

    func start() {
        lane.onChange = { [weak self] in self?.onReady?() }
        lane.start()
    }

    func stop() { lane.stop() }

    func perform(
        _ order: CRMStepOrder, _ completion: @escaping (Result<CRMStepAnswer, StoreError>) -> Void
    ) {
        let (sql, parameters) = statement(for: order)
        // A server that stands still is left for another connection; the server itself gives up first.
        let timer = loop.schedule(after: settings.statementTimeout + settings.silenceMargin) { [weak self] in
            self?.lane.giveUp("no answer to the CRM's steps")
        }
        lane.ask(
            .init(
                sql: sql, parameters: parameters,
                timeoutMilliseconds: settings.statementTimeout.milliseconds
            ) { [loop] result in
                loop.cancel(timer)
                completion(result.map { Self.answer(to: order, $0) })
            })
    }

    private func statement(for order: CRMStepOrder) -> (String, [String?]) {
        switch order {
        case .write(let changes): (Self.write, [CRMStepText.of(changes), target])
        case .claim(let claims, let name):
            (
                Self.claim,
                [
                    CRMStepText.of(claims), target, name,
                    String(settings.crmAbandonedAfter.wholeMicroseconds),
                ]
            )
        case .load(.page(let id, let limit)): (Self.page, [target, pbxNames, String(id), String(limit)])
        case .load(.calls(let calls)): (Self.calls, [CRMStepText.of(calls), target])
        case .add(let steps): (Self.add, [CRMStepText.of(steps), target])
        case .prune(let days, let id):
            (Self.prune, [String(days), String(id), String(CRMStepSQL.prunedRows)])
        }
    }

    private static func answer(to order: CRMStepOrder, _ rows: PostgresRows) -> CRMStepAnswer {
        switch order {
        case .write, .add: return .written
        case .claim: return .claimed(Set((0..<rows.count).compactMap { rows.stepKey($0) }))
        case .load:
            let steps = (0..<rows.count).compactMap { rows.step($0) }
            return .rows(CRMStepRows(steps: steps, next: rows.count > 0 ? rows.nextStep(0) : nil))
        case .prune:
            let (count, next) = rows.count > 0 ? rows.pruned(0) : (0, nil)
            return .pruned(count, next: next)
        }
    }
}

// MARK: - Statements

extension PostgresSteps {
    /// Rows are locked in the order of their keys, as the writers do it, so that nobody waits in a circle.
    private static func locked(_ columns: String) -> String {
        """
        SELECT s.id AS row_id, t.* FROM jsonb_to_recordset($1::jsonb) AS t (\(columns))
        JOIN callflow_crm_steps AS s ON s.call_id = t.c AND s.target = $2::text AND s.step = t.s
        ORDER BY s.call_id COLLATE "C", s.step FOR UPDATE OF s
        """
    }

    private static let write = """
        WITH changes AS (\(locked("c text, s text, t text, a int4, d int8, e text, i text")))
        UPDATE callflow_crm_steps AS s SET state = changes.t, attempts = changes.a, last_error = changes.e,
            due_at = localtimestamp + changes.d * interval '1 microsecond',
            crm_call_id = coalesce(changes.i, s.crm_call_id), updated_at = localtimestamp
        FROM changes WHERE s.id = changes.row_id
        RETURNING s.id
        """

    private static let claim = """
        WITH claims AS (\(locked("c text, s text, u text")))
        UPDATE callflow_crm_steps AS s SET state = 'sending', attempts = s.attempts + 1, claimed_by = $3::text,
            crm_user = coalesce(claims.u, s.crm_user), sent_at = localtimestamp, updated_at = localtimestamp
        FROM claims WHERE s.id = claims.row_id AND \(CRMStepSQL.mayBeClaimed)
            OR s.state = 'sending' AND (s.claimed_by = $3::text
                OR s.sent_at < localtimestamp - $4::int8 * interval '1 microsecond'))
        RETURNING s.call_id, s.step
        """

    static let columns = """
        s.id, s.target, s.pbx, s.call_id, s.step, s.state, s.call, s.attempts,
        \(microseconds("s.due_at - localtimestamp")), s.last_error, s.crm_call_id, s.crm_user,
        \(microseconds("localtimestamp - s.created_at")), \(microseconds("localtimestamp - s.sent_at")),
        s.created_at, s.updated_at
        """

    private static func microseconds(_ interval: String) -> String {
        "(extract(epoch FROM \(interval)) * 1000000)::int8"
    }

    private static let page = """
        WITH open AS (SELECT call_id, id FROM callflow_crm_steps
            WHERE target = $1::text AND state IN (\(CRMStepState.openWords)) AND id > $3::int8
                AND pbx = ANY (ARRAY(SELECT jsonb_array_elements_text($2::jsonb)))
            ORDER BY id LIMIT $4::int4)
        SELECT \(columns), (SELECT CASE WHEN count(*) >= $4::int4 THEN max(id) END FROM open)
        FROM callflow_crm_steps AS s
        WHERE s.target = $1::text AND s.call_id IN (SELECT call_id FROM open) ORDER BY s.id
        """

    private static let calls = """
        SELECT \(columns), NULL::int8 FROM callflow_crm_steps AS s
        WHERE s.target = $2::text AND s.call_id IN (SELECT jsonb_array_elements_text($1::jsonb)) ORDER BY s.id
        """

    private static let add = """
        INSERT INTO callflow_crm_steps (target, pbx, call_id, step, state, call, attempts, crm_call_id, crm_user,
            created_at, updated_at)
        SELECT $2::text, p, c, s, t, j, 0, i, u, localtimestamp, localtimestamp
        FROM jsonb_to_recordset($1::jsonb) AS t (c text, s text, t text, p text, j text, i text, u text)
        ON CONFLICT (call_id, target, step) DO NOTHING RETURNING id
        """

    private static let prune = """
        WITH looked AS (SELECT id, state, created_at, updated_at FROM callflow_crm_steps WHERE id > $2::int8
                ORDER BY id LIMIT $3::int4),
            gone AS (DELETE FROM callflow_crm_steps AS s USING looked WHERE s.id = looked.id
                AND looked.state NOT IN (\(CRMStepState.openWords))
                AND looked.updated_at < localtimestamp - $1::int4 * interval '1 day' RETURNING 1)
        SELECT (SELECT count(*) FROM gone)::int8,
            (SELECT CASE WHEN count(*) >= $3::int4 AND max(created_at) < localtimestamp - $1::int4 * interval '1 day'
                THEN max(id) END FROM looked)
        """
}
