import CallEngine
import Logging
import Protocols

/// Calls and their events, from the database and the engine together.
extension APIService {
    func listCalls(_ request: HTTPRequest, _ exchange: HTTPExchange) {
        var limit = Self.defaultLimit
        if let text = request.query(named: "limit") {
            guard let number = Self.limit(text) else {
                return refuse(exchange, status: 400, "limit must be a number from 1 to \(Self.maximumLimit)")
            }
            limit = number
        }
        let filter = CallFilter(
            status: request.query(named: "status").flatMap { $0.isEmpty ? nil : $0 },
            direction: request.query(named: "direction").flatMap { $0.isEmpty ? nil : $0 }, limit: limit)
        // No stored text has a NUL, and PostgreSQL refuses to be asked for one.
        if [filter.status, filter.direction].contains(where: { $0?.utf8.contains(0) == true }) {
            return respond(exchange, json: Array("[]".utf8))
        }
        environment.store.calls(filter) { [self] result in
            switch result {
            case .success(let stored): respond(exchange, json: Self.render(merge(stored, filter)))
            case .failure(let error): storeFailed(error, exchange)
            }
        }
    }

    func showCall(_ callID: String, _ exchange: HTTPExchange) {
        guard callID.unicodeScalars.count <= 255, !callID.utf8.contains(0) else {
            return callNotFound(exchange)
        }
        environment.store.call(id: callID) { [self] result in
            switch result {
            case .success(let found):
                let live = environment.liveCall(callID: callID)
                guard var call = found.map({ APICall($0.call) }) ?? live.map(APICall.init) else {
                    return callNotFound(exchange)
                }
                if let live { call.overlay(live) }
                let json = JSONWriter.object {
                    $0.object("call") { $0.call(call) }
                    $0.array("events") { events in
                        for event in found?.events ?? [] { events.object { $0.event(event) } }
                    }
                }
                respond(exchange, json: json)
            case .failure(let error): storeFailed(error, exchange)
            }
        }
    }

    private func callNotFound(_ exchange: HTTPExchange) {
        refuse(exchange, status: 404, "Call not found")
    }

    private func storeFailed(_ error: StoreError, _ exchange: HTTPExchange) {
        switch error {
        case .configuration, .unavailable, .transient:
            // What is wrong names hosts and users; the log and the page have it, a client need not.
            refuse(exchange, status: 503, "Database unavailable")
        case .data:
            logger.error("API: the database refused a query", metadata: ["error": "\(error.description)"])
            refuse(exchange, status: 500, "The database refused the query")
        }
    }

    /// The decimal number 1 to `maximumLimit`, or nil.
    private static func limit(_ text: String) -> Int? {
        guard !text.isEmpty, text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return nil }
        guard let number = Int(text), number >= 1, number <= maximumLimit else { return nil }
        return number
    }

    /// Lays the live calls over the stored ones and adds those whose row is still on its way.
    ///
    /// The filter is applied again afterwards: a row says `ringing` a moment longer than the engine does.
    private func merge(_ stored: [StoredCall], _ filter: CallFilter) -> [APICall] {
        var calls = stored.map(APICall.init)
        var known: [String: Int] = [:]
        known.reserveCapacity(calls.count)
        for (index, call) in calls.enumerated() { known[call.callID] = index }
        // A full list ends at its oldest row: what started earlier belongs behind it.
        let horizon = calls.count < filter.limit ? Int64.min : calls.last?.startedAt?.microseconds ?? .min
        var added: [APICall] = []
        environment.forEachLiveCall { record in
            if let index = known[record.callID.string] {
                calls[index].overlay(record)
            } else if record.startedAt.microseconds >= horizon {
                added.append(APICall(record))
            }
            return true
        }
        calls.append(contentsOf: added)
        calls.removeAll { !$0.matches(filter) }
        calls.sort(by: APICall.isBefore)
        return Array(calls.prefix(filter.limit))
    }

    private static func render(_ calls: [APICall]) -> [UInt8] {
        var buffer: [UInt8] = []
        buffer.reserveCapacity(calls.count * 400 + 2)
        var json = JSONWriter(appendingTo: buffer)
        json.array { list in
            for call in calls { list.object { $0.call(call) } }
        }
        return json.output
    }
}

/// Calls and events in JSON, fields in the contract's order.
extension JSONWriter {
    mutating func call(_ call: APICall) {
        member("id", call.id.string)
        member("call_id", call.callID)
        member("direction", call.direction)
        member("caller_number", call.callerNumber)
        member("callee_number", call.calleeNumber)
        member("status", call.status)
        member("started_at", call.startedAt)
        member("answered_at", call.answeredAt)
        member("ended_at", call.endedAt)
        member("inserted_at", call.insertedAt)
        member("updated_at", call.updatedAt)
    }

    mutating func event(_ event: StoredEvent) {
        member("id", event.id)
        member("call_id", event.callID)
        member("event_type", event.eventType)
        key("payload")
        if let payload = event.payload { raw(payload.span.bytes) } else { null() }
        member("occurred_at", event.occurredAt)
        member("inserted_at", event.insertedAt)
        member("updated_at", event.updatedAt)
    }
}
