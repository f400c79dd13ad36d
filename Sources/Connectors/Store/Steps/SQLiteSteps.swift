import CallEngine
import Logging
import Protocols
import Reactor

/// An order for the writing thread, and where its answer goes.
struct SQLiteStepOrder: Sendable {
    let order: CRMStepOrder
    let target: String
    /// The PBXs whose calls they are, as a JSON array.
    let pbxNames: String
    let mailbox: Mailbox<SQLiteStepAnswer>
}

/// What the writing thread tells of steps.
typealias SQLiteStepAnswer = Result<CRMStepAnswer, StoreError>

/// The steps of one target in SQLite, by way of the writing thread.
final class SQLiteSteps: CRMStepBackend {
    private let store: SQLiteStore
    private let loop: Loop
    private let target: String
    private let pbxNames: String
    private let answers = Mailbox<SQLiteStepAnswer>(capacity: 64)
    private var waiting: ((Result<CRMStepAnswer, StoreError>) -> Void)?
    private var isStarted = false

    var onReady: (() -> Void)?

    init(store: SQLiteStore, loop: Loop, target: String, pbxNames: [String]) {
        self.store = store
        self.loop = loop
        self.target = target
        self.pbxNames = CRMStepText.of(pbxNames)
    }

    var isReady: Bool { isStarted && waiting == nil }

    func start() {
        isStarted = true
        loop.attach(answers) { [weak self] answer in
            guard let self, let completion = waiting else { return }
            waiting = nil
            completion(answer)
        }
        onReady?()
    }

    func stop() {
        isStarted = false
        waiting = nil
    }

    func perform(
        _ order: CRMStepOrder, _ completion: @escaping (Result<CRMStepAnswer, StoreError>) -> Void
    ) {
        waiting = completion
        let posted = store.writes.post(
            .steps(SQLiteStepOrder(order: order, target: target, pbxNames: pbxNames, mailbox: answers)))
        if !posted {
            loop.schedule(after: .zero) { [weak self] in
                self?.waiting = nil
                completion(.failure(.unavailable("the SQLite thread's mailbox is full")))
            }
        }
    }
}

/// The writing thread's side: the statements, prepared once.
final class SQLiteStepStatements {
    private let database: SQLiteDatabase
    private let write: SQLiteStatement
    private let claim: SQLiteStatement
    private let page: SQLiteStatement
    private let calls: SQLiteStatement
    private let add: SQLiteStatement
    private let look: SQLiteStatement
    private let remove: SQLiteStatement

    init(
        _ database: SQLiteDatabase, abandonedAfter: Duration = CRMStepClaim.abandonedAfter
    ) throws(StoreError) {
        self.database = database
        write = try database.prepare(
            """
            UPDATE callflow_crm_steps AS s SET state = t.t, attempts = t.a, last_error = t.e, due_at = ?3 + t.d,
                crm_call_id = coalesce(t.i, s.crm_call_id), updated_at = ?3
            FROM (SELECT json_extract(value, '$.c') AS c, json_extract(value, '$.s') AS s,
                json_extract(value, '$.t') AS t, json_extract(value, '$.a') AS a,
                json_extract(value, '$.d') AS d, json_extract(value, '$.e') AS e,
                json_extract(value, '$.i') AS i FROM json_each(?1)) AS t
            WHERE s.call_id = t.c AND s.target = ?2 AND s.step = t.s
            """)
        claim = try database.prepare(
            """
            UPDATE callflow_crm_steps AS s SET state = 'sending', attempts = s.attempts + 1, claimed_by = ?3,
                crm_user = coalesce(t.u, s.crm_user), sent_at = ?4, updated_at = ?4
            FROM (SELECT json_extract(value, '$.c') AS c, json_extract(value, '$.s') AS s,
                json_extract(value, '$.u') AS u FROM json_each(?1)) AS t
            WHERE s.call_id = t.c AND s.target = ?2 AND s.step = t.s AND \(CRMStepSQL.mayBeClaimed)
                OR s.state = 'sending' AND (s.claimed_by = ?3
                    OR s.sent_at < ?4 - \(abandonedAfter.wholeMicroseconds)))
            RETURNING call_id, step
            """)
        page = try database.prepare(
            """
            WITH open AS (SELECT call_id, id FROM callflow_crm_steps
                WHERE target = ?1 AND state IN (\(CRMStepState.openWords)) AND id > ?3
                    AND pbx IN (SELECT value FROM json_each(?2))
                ORDER BY id LIMIT ?4)
            SELECT \(Self.columns), (SELECT CASE WHEN count(*) >= ?4 THEN max(id) END FROM open)
            FROM callflow_crm_steps AS s
            WHERE s.target = ?1 AND s.call_id IN (SELECT call_id FROM open) ORDER BY s.id
            """)
        calls = try database.prepare(
            """
            SELECT \(Self.columns), NULL FROM callflow_crm_steps AS s
            WHERE s.target = ?2 AND s.call_id IN (SELECT value FROM json_each(?1)) ORDER BY s.id
            """)
        add = try database.prepare(
            """
            INSERT INTO callflow_crm_steps (target, pbx, call_id, step, state, call, attempts, crm_call_id, crm_user,
                created_at, updated_at)
            SELECT ?2, json_extract(value, '$.p'), json_extract(value, '$.c'), json_extract(value, '$.s'),
                json_extract(value, '$.t'), json_extract(value, '$.j'), 0, json_extract(value, '$.i'),
                json_extract(value, '$.u'), ?3, ?3 FROM json_each(?1) WHERE true
            ON CONFLICT (call_id, target, step) DO NOTHING
            """)
        look = try database.prepare(
            """
            SELECT count(*), max(id), max(created_at) FROM (
                SELECT id, created_at FROM callflow_crm_steps WHERE id > ?1 ORDER BY id LIMIT ?2)
            """)
        remove = try database.prepare(
            """
            DELETE FROM callflow_crm_steps WHERE id > ?1 AND id <= ?2 AND updated_at < ?3
                AND state NOT IN (\(CRMStepState.openWords)) RETURNING 1
            """)
    }

    static let columns = """
        s.id, s.target, s.pbx, s.call_id, s.step, s.state, s.call, s.attempts, s.due_at, s.last_error,
        s.crm_call_id, s.crm_user, s.sent_at, s.created_at, s.updated_at
        """

    func perform(_ order: SQLiteStepOrder) throws(StoreError) -> CRMStepAnswer {
        let now = WallClock.now()
        switch order.order {
        case .write(let changes):
            write.bind(1, copying: CRMStepText.of(changes))
            write.bind(2, copying: order.target)
            write.bind(3, now.microseconds)
            try write.run()
            return .written
        case .claim(let claims, let name):
            claim.bind(1, copying: CRMStepText.of(claims))
            claim.bind(2, copying: order.target)
            claim.bind(3, copying: name)
            claim.bind(4, now.microseconds)
            var granted: Set<CRMStepKey> = []
            while try claim.step() {
                guard let kind = claim.string(1).flatMap({ CRMStepKind(rawValue: $0) }) else { continue }
                granted.insert(CRMStepKey(callID: claim.string(0) ?? "", kind: kind))
            }
            return .claimed(granted)
        case .load(.page(let id, let limit)):
            page.bind(1, copying: order.target)
            page.bind(2, copying: order.pbxNames)
            page.bind(3, id)
            page.bind(4, Int64(limit))
            return .rows(try rows(page, now))
        case .load(.calls(let callIDs)):
            calls.bind(1, copying: CRMStepText.of(callIDs))
            calls.bind(2, copying: order.target)
            return .rows(try rows(calls, now))
        case .add(let steps):
            add.bind(1, copying: CRMStepText.of(steps))
            add.bind(2, copying: order.target)
            add.bind(3, now.microseconds)
            try add.run()
            return .written
        case .prune(let days, let id): return try prune(days, id, now)
        }
    }

    private func rows(_ statement: SQLiteStatement, _ now: Timestamp) throws(StoreError) -> CRMStepRows {
        var found = CRMStepRows(steps: [])
        while try statement.step() {
            found.next = statement.integer(15)
            guard let step = CRMStep(statement, now: now) else { continue }
            found.steps.append(step)
        }
        return found
    }

    private func prune(_ days: Int, _ id: Int64, _ now: Timestamp) throws(StoreError) -> CRMStepAnswer {
        let limit = now.microseconds - Int64(days) * 86_400_000_000
        look.bind(1, id)
        look.bind(2, Int64(CRMStepSQL.prunedRows))
        guard try look.step(), let last = look.integer(1), let newest = look.integer(2) else {
            look.reset()
            return .pruned(0, next: nil)
        }
        let isFull = (look.integer(0) ?? 0) >= CRMStepSQL.prunedRows
        look.reset()
        remove.bind(1, id)
        remove.bind(2, last)
        remove.bind(3, limit)
        var removed = 0
        while try remove.step() { removed += 1 }
        return .pruned(removed, next: isFull && newest < limit ? last : nil)
    }
}

extension CRMStep {
    /// A row in the order of `SQLiteStepStatements.columns`; nil for a kind that a newer version made.
    init?(_ row: SQLiteStatement, now: Timestamp) {
        guard let kind = row.string(4).flatMap({ CRMStepKind(rawValue: $0) }),
            let state = row.string(5).flatMap({ CRMStepState(rawValue: $0) })
        else { return nil }
        func since(_ time: Int64) -> Duration { .microseconds(max(0, now.microseconds - time)) }
        let due = row.integer(8) ?? 0
        let created = row.integer(13) ?? 0
        self.init(
            id: row.integer(0) ?? 0, target: row.string(1) ?? "", pbx: row.string(2) ?? "",
            key: CRMStepKey(callID: row.string(3) ?? "", kind: kind), state: state,
            call: row.bytes(6).flatMap { CRMCall(json: $0) }, attempts: Int(row.integer(7) ?? 0),
            dueIn: .microseconds(max(0, due - now.microseconds)), lastError: row.string(9),
            crmCallID: row.string(10), user: row.string(11), age: since(created),
            sentAgo: row.integer(12).map { since($0) }, createdAt: Timestamp(microseconds: created),
            updatedAt: Timestamp(microseconds: row.integer(14) ?? 0))
    }
}
