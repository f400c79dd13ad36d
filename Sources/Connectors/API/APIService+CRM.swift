import CallEngine
import Protocols

extension APIService {
    /// An event of the portal's; answered at once, since the portal waits and does not repeat.
    func takePortalEvent(_ request: HTTPRequest, _ exchange: HTTPExchange) {
        let status = environment.takePortalEvent(request.body)
        switch status {
        case 200: respond(exchange, json: JSONWriter.object { $0.member("status", "ok") })
        case 403: refuse(exchange, status: 403, "the application token is missing or wrong")
        case 404: exchange.respondError(404)
        default: refuse(exchange, status: status, "no event of a portal")
        }
    }

    /// What the CRM is to be told yet, or what was given up: page by page.
    func listSteps(_ kind: CRMStepQuery.Kind, _ request: HTTPRequest, _ exchange: HTTPExchange) {
        guard let limit = limit(in: request, orElse: Self.defaultLimit, exchange) else { return }
        var query = CRMStepQuery(kind, limit: limit)
        if let text = request.query(named: "cursor") {
            guard let row = Int64(text), row > 0 else {
                return refuse(exchange, status: 400, "cursor must be one that this list gave")
            }
            query.after = row
        }
        environment.store.steps(query) { [self] result in
            switch result {
            case .success(let list):
                let json = JSONWriter.object {
                    $0.member("total", list.total)
                    $0.array("steps") { array in
                        for step in list.steps { array.object { $0.step(step) } }
                    }
                    $0.member("next_cursor", list.next.map { String($0) })
                }
                respond(exchange, json: json)
            case .failure(let error): storeFailed(error, exchange)
            }
        }
    }
}

extension JSONWriter {
    fileprivate mutating func step(_ step: CRMStep) {
        member("call_id", step.key.callID)
        member("step", step.key.kind.rawValue)
        member("state", step.state.rawValue)
        member("target", step.target)
        member("pbx", step.pbx)
        member("attempts", step.attempts)
        member("due_in_seconds", step.state.isOpen ? Int(step.dueIn.components.seconds) : nil)
        member("last_error", step.lastError)
        member("crm_call_id", step.crmCallID)
        member("crm_user", step.user)
        member("direction", step.call.map { "\($0.direction.name)" })
        member("caller_number", step.call?.callerNumber)
        member("callee_number", step.call?.calleeNumber)
        member("started_at", step.call?.startedAt)
        member("created_at", step.createdAt)
        member("updated_at", step.updatedAt)
    }
}
