import CallEngine
import Connectors
import Protocols

/// The table of steps without a database: what both stores do with it, on a simulated clock.
struct SimulatedSteps {
    private struct Row {
        var step: CRMStep
        var due: Duration = .zero
        var created: Duration
        var sent: Duration?
        var claimedBy = 0
    }

    private var rows: [CRMStepKey: Row] = [:]
    private var order: [CRMStepKey] = []
    /// Ids of open rows, in order; as the partial index has them.
    private var open: [CRMStepKey] = []
    private(set) var loads = 0
    private(set) var claims = 0

    /// The row that a batch writes.
    mutating func insert(_ action: CRMAction, at now: Duration) {
        let (kind, call): (CRMStepKind, CRMCall) =
            switch action {
            case .register(let call): (.register, call)
            case .telephones(let call): (.cards, call)
            case .finish(let call): (.finish, call)
            }
        let key = CRMStepKey(callID: call.callID, kind: kind)
        if kind == .cards, rows[key] != nil {
            if rows[key]?.step.state.isOpen == false {
                openCount += 1
                open.append(key)
            }
            rows[key]?.step.state = .waiting
            rows[key]?.step.call = CRMCall(json: call.json)
            rows[key]?.created = now
            return
        }
        guard rows[key] == nil else { return }
        order.append(key)
        open.append(key)
        openCount += 1
        rows[key] = Row(
            step: CRMStep(
                id: Int64(order.count), target: "bitrix24", pbx: "pbx1", key: key, state: .waiting,
                call: CRMCall(json: call.json)), created: now)
    }

    subscript(callID: String, kind: CRMStepKind) -> CRMStep? {
        rows[CRMStepKey(callID: callID, kind: kind)]?.step
    }

    /// Rows of which something is still to be done.
    private(set) var openCount = 0

    func count(_ state: CRMStepState, _ kind: CRMStepKind) -> Int {
        rows.values.count { $0.step.state == state && $0.step.key.kind == kind }
    }

    /// What an operator's retry does.
    mutating func retryFailed() {
        for key in order where rows[key]?.step.state == .failed {
            rows[key]?.step.state = .waiting
            open.append(key)
            openCount += 1
        }
        open.sort { (rows[$0]?.step.id ?? 0) < (rows[$1]?.step.id ?? 0) }
    }

    mutating func write(_ changes: [CRMStepChange], at now: Duration) {
        for change in changes {
            guard var row = rows[change.key] else { continue }
            openCount += (change.state.isOpen ? 1 : 0) - (row.step.state.isOpen ? 1 : 0)
            row.step.state = change.state
            row.step.attempts = change.attempts
            row.step.lastError = change.error
            row.step.crmCallID = change.crmCallID ?? row.step.crmCallID
            row.due = now + change.dueIn
            rows[change.key] = row
        }
    }

    mutating func claim(_ wanted: [CRMStepClaim], by run: Int, at now: Duration) -> Set<CRMStepKey> {
        claims += 1
        var granted: Set<CRMStepKey> = []
        for claim in wanted {
            guard var row = rows[claim.key] else { continue }
            let isAbandoned = row.sent.map { $0 < now - CRMStepClaim.abandonedAfter } ?? true
            switch row.step.state {
            case .waiting, .doubtful: break
            case .sending where row.claimedBy == run || isAbandoned: break
            case .done where claim.key.kind == .cards, .failed where claim.key.kind == .cards,
                .skipped where claim.key.kind == .cards:
                openCount += 1
            case .sending, .done, .failed, .skipped: continue
            }
            row.step.state = .sending
            row.step.attempts += 1
            row.step.user = claim.user ?? row.step.user
            row.sent = now
            row.claimedBy = run
            rows[claim.key] = row
            granted.insert(claim.key)
        }
        return granted
    }

    mutating func load(_ load: CRMStepLoad, at now: Duration) -> CRMStepRows {
        loads += 1
        open.removeAll { rows[$0]?.step.state.isOpen != true }
        var next: Int64?
        var calls: [String] = []
        switch load {
        case .calls(let wanted): calls = wanted
        case .page(let id, let limit):
            var last: Int64?
            for key in open where calls.count < limit {
                guard let found = rows[key]?.step.id, found > id else { continue }
                calls.append(key.callID)
                last = found
            }
            if calls.count == limit { next = last }
        }
        var steps: [CRMStep] = []
        for callID in Set(calls) {
            for kind in CRMStepKind.allCases {
                guard let row = rows[CRMStepKey(callID: callID, kind: kind)] else { continue }
                var step = row.step
                step.dueIn = max(.zero, row.due - now)
                step.age = now - row.created
                step.sentAgo = row.sent.map { now - $0 }
                steps.append(step)
            }
        }
        return CRMStepRows(steps: steps.sorted { $0.id < $1.id }, next: next)
    }
}
