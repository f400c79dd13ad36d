import CallEngine
import Logging
import Protocols

/// Calls and their events, from the database and the engine together.
extension APIService {
    /// `GET /api/calls`: a bare array, as the contract has it, the next page in the `Link` field (RFC 8288).
    ///
    /// With a `cursor` (empty for the first page) the answer is `{"calls":[…],"next_cursor":"…"}`, `null` at the end.
    func listCalls(_ request: HTTPRequest, _ exchange: HTTPExchange) {
        guard let limit = limit(in: request, orElse: Self.defaultLimit, exchange) else { return }
        let cursorText = request.query(named: "cursor")
        let cursor = cursorText.flatMap { CallCursor($0) }
        if let cursorText, !cursorText.isEmpty, cursor == nil { return refuseCursor(exchange) }
        let filter = CallFilter(
            status: request.query(named: "status").flatMap { $0.isEmpty ? nil : $0 },
            direction: request.query(named: "direction").flatMap { $0.isEmpty ? nil : $0 }, limit: limit,
            after: cursor)
        // No stored text has a NUL, and PostgreSQL refuses to be asked for one.
        if [filter.status, filter.direction].contains(where: { $0?.utf8.contains(0) == true }) {
            return respond(exchange, CallPage(calls: []), filter, isPaged: cursorText != nil)
        }
        environment.store.calls(filter) { [self] result in
            switch result {
            case .success(let stored):
                respond(exchange, merge(stored, filter), filter, isPaged: cursorText != nil)
            case .failure(let error): storeFailed(error, exchange)
            }
        }
    }

    /// `GET /api/calls/:id`: the call, its events (the first `StoreReads.maximumEvents` of them), its legs and its parts.
    ///
    /// `limit` and `cursor` page through the events; where there are more, `next_cursor` follows them. A call that became
    /// part of another links to that one.
    func showCall(_ callID: String, _ request: HTTPRequest, _ exchange: HTTPExchange) {
        guard let page = eventPage(in: request, orElse: StoreReads.maximumEvents, exchange) else { return }
        findCall(callID, page, exchange) { [self] call, found in
            findDetails(of: call, exchange) { [self] call, details in
                let json = JSONWriter.object {
                    $0.object("call") { $0.call(call) }
                    $0.array("events") { events in
                        for event in found { events.object { $0.event(event) } }
                    }
                    if let next = Self.next(found, page) { $0.member("next_cursor", next.text) }
                    $0.parts(details, words: nil)
                }
                respond(exchange, json: json, fields: Self.link(toSurvivorOf: call))
            }
        }
    }

    /// The legs and parts of a call: from the engine while it has the call, else as they are stored.
    private func findDetails(
        of call: APICall, _ exchange: HTTPExchange, found: @escaping (APICall, CallDetails) -> Void
    ) {
        environment.look(at: call.callID) { [self] live in
            if let live {
                var call = call
                call.take(live)
                return found(call, live.details)
            }
            // Rows of before have none.
            guard call.facts.derivedAt != nil else { return found(call, CallDetails()) }
            environment.store.parts(of: call.callID) { [self] result in
                switch result {
                case .success(let parts): found(call, CallDetails(call.stored, parts))
                case .failure(let error): storeFailed(error, exchange)
                }
            }
        }
    }

    private static func link(toSurvivorOf call: APICall) -> [(String, String)] {
        guard let survivor = call.facts.mergedInto else { return [] }
        return [("Link", "</api/calls/\(percentEncoded(survivor))>; rel=\"canonical\"")]
    }

    /// `GET /api/calls/:id/events`: `{"events":[…],"next_cursor":"…"}`, `null` at the end.
    func listEvents(_ callID: String, _ request: HTTPRequest, _ exchange: HTTPExchange) {
        guard let page = eventPage(in: request, orElse: Self.defaultEventLimit, exchange) else { return }
        findCall(callID, page, exchange) { [self] _, found in
            let json = JSONWriter.object {
                $0.array("events") { events in
                    for event in found { events.object { $0.event(event) } }
                }
                $0.member("next_cursor", Self.next(found, page)?.text)
            }
            respond(exchange, json: json)
        }
    }

    func findCall(
        _ callID: String, _ page: EventPage, _ exchange: HTTPExchange,
        found: @escaping (APICall, [StoredEvent]) -> Void
    ) {
        guard callID.unicodeScalars.count <= 255, !callID.utf8.contains(0) else {
            return callNotFound(exchange)
        }
        environment.store.call(id: callID, events: page) { [self] result in
            switch result {
            case .success(let stored):
                let live = environment.liveCall(callID: callID)
                guard
                    var call = stored.map({ APICall($0.call) })
                        ?? live.map({ APICall($0, pbxNames: environment.pbxNames) })
                else {
                    return callNotFound(exchange)
                }
                if let live { call.overlay(live) }
                found(call, stored?.events ?? [])
            case .failure(let error): storeFailed(error, exchange)
            }
        }
    }

    /// Where the page behind this one begins; a page that is not full is the last.
    private static func next(_ events: [StoredEvent], _ page: EventPage) -> EventCursor? {
        events.count < page.limit ? nil : events.last?.cursor
    }

    private func eventPage(
        in request: HTTPRequest, orElse fallback: Int, _ exchange: HTTPExchange
    ) -> EventPage? {
        guard let limit = limit(in: request, orElse: fallback, exchange) else { return nil }
        guard let text = request.query(named: "cursor"), !text.isEmpty else { return EventPage(limit: limit) }
        guard let cursor = EventCursor(text) else {
            refuseCursor(exchange)
            return nil
        }
        return EventPage(limit: limit, after: cursor)
    }

    private func refuseCursor(_ exchange: HTTPExchange) {
        refuse(exchange, status: 400, "cursor must be the next_cursor of an earlier answer")
    }

    /// `GET /api/gaps`: times in which a PBX was not heard, the newest first.
    func listGaps(_ request: HTTPRequest, _ exchange: HTTPExchange) {
        guard let limit = limit(in: request, orElse: Self.defaultLimit, exchange) else { return }
        environment.store.gaps(limit: limit) { [self] result in
            switch result {
            case .success(let gaps):
                var json = JSONWriter()
                json.array { list in
                    for gap in gaps { list.object { $0.gap(gap) } }
                }
                respond(exchange, json: json.output)
            case .failure(let error): storeFailed(error, exchange)
            }
        }
    }

    /// The `limit` asked for; `nil` when the request was refused for it.
    func limit(in request: HTTPRequest, orElse fallback: Int, _ exchange: HTTPExchange) -> Int? {
        guard let text = request.query(named: "limit") else { return fallback }
        if let number = Self.limit(text) { return number }
        refuse(exchange, status: 400, "limit must be a number from 1 to \(Self.maximumLimit)")
        return nil
    }

    private func respond(_ exchange: HTTPExchange, _ page: CallPage, _ filter: CallFilter, isPaged: Bool) {
        var buffer: [UInt8] = []
        buffer.reserveCapacity(page.calls.count * 1000 + 100)
        var json = JSONWriter(appendingTo: buffer)
        guard isPaged else {
            json.array { list in
                for call in page.calls { list.object { $0.call(call) } }
            }
            return respond(exchange, json: json.output, fields: Self.link(page, filter))
        }
        json.object {
            $0.array("calls") { list in
                for call in page.calls { list.object { $0.call(call) } }
            }
            $0.member("next_cursor", page.next?.text)
        }
        respond(exchange, json: json.output)
    }

    /// The next page as a link, relative to the host.
    private static func link(_ page: CallPage, _ filter: CallFilter) -> [(String, String)] {
        guard let next = page.next else { return [] }
        var target = "/api/calls?limit=\(filter.limit)&cursor=\(next.text)"
        if let status = filter.status { target += "&status=\(percentEncoded(status))" }
        if let direction = filter.direction { target += "&direction=\(percentEncoded(direction))" }
        return [("Link", "<\(target)>; rel=\"next\"")]
    }

    /// All but the unreserved characters of RFC 3986 §2.3 escaped.
    private static func percentEncoded(_ text: String) -> String {
        var result = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"),
                UInt8(ascii: "."):
                result.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let digits = String(byte, radix: 16, uppercase: true)
                result += "%" + (digits.utf8.count < 2 ? "0" : "") + digits
            }
        }
        return result
    }

    private func callNotFound(_ exchange: HTTPExchange) {
        refuse(exchange, status: 404, "Call not found")
    }

    func storeFailed(_ error: StoreError, _ exchange: HTTPExchange) {
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
    private func merge(_ stored: [StoredCall], _ filter: CallFilter) -> CallPage {
        var calls = stored.map(APICall.init)
        for index in calls.indices {
            if let record = environment.liveCall(callID: calls[index].callID) { calls[index].overlay(record) }
        }
        let known = Set(stored.map(\.callID))
        // A full page ends at its oldest row: what started earlier belongs behind it, and of thousands of live calls
        // that is nearly all.
        let isFull = stored.count >= filter.limit
        let end = isFull ? stored.last?.cursor : nil
        var added: [APICall] = []
        let names = environment.pbxNames
        environment.forEachLiveCall(since: end?.startedAt ?? Timestamp(microseconds: .min)) { record in
            let cursor = CallCursor(startedAt: record.startedAt, id: record.id)
            let isBehindStart = filter.after?.isBefore(cursor) ?? true
            let isWithin = end.map { cursor.isBefore($0) } ?? true
            if isBehindStart, isWithin, !known.contains(record.callID.string) {
                added.append(APICall(record, pbxNames: names))
            }
            return true
        }
        calls.append(contentsOf: added)
        calls.removeAll { !$0.matches(filter) }
        calls.sort { $0.cursor.isBefore($1.cursor) }
        let shown = Array(calls.prefix(filter.limit))
        // The next page goes on behind the last one shown, else behind the last row read.
        var next: CallCursor?
        if shown.count < calls.count {
            next = shown.last?.cursor
        } else if isFull {
            next = stored.last?.cursor
        }
        return CallPage(calls: shown, next: next)
    }
}

/// Calls for one answer, and where the next begins.
private struct CallPage {
    var calls: [APICall]
    /// `nil`: these were the last.
    var next: CallCursor?
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
        // What the contract does not have follows.
        let facts = call.facts
        member("outcome", call.outcome == .none ? nil : call.outcome.name.description)
        if call.outcome == .none {
            member("outcome_text", nil as String?)
        } else {
            words(
                "outcome_text",
                Words(
                    call.outcome.text(in: .english).description, call.outcome.text(in: .russian).description))
        }
        member("outcome_rule", facts.outcomeRule)
        member("hung_up_by", facts.hungUpBy)
        member("hangup_cause", call.hangupCause)
        member("sip_code", facts.sipCode)
        member("ring_started_at", facts.ringStartedAt, precision: .microseconds)
        member("talk_started_at", facts.talkStartedAt, precision: .microseconds)
        member("wait_us", facts.wait)
        member("ring_us", facts.ring)
        member("talk_us", facts.talk)
        member("hold_us", facts.hold)
        member("post_dial_us", facts.postDial)
        member("answered_by", facts.answeredBy)
        member("operator_number", facts.operatorNumber)
        member("transferred_by", facts.transferredBy)
        member("transferred_to", facts.transferredTo)
        member("queue", facts.queue)
        member("attempts", facts.attempts)
        member("merged_into", facts.mergedInto)
        member("pbx", call.pbx)
        member("bitrix_call_id", call.bitrixCallID)
        member("ended_estimated", call.endedEstimated)
        member("partial", facts.isPartial)
        member("incomplete", facts.isIncomplete)
    }

    mutating func gap(_ gap: StoredGap) {
        member("id", gap.id.string)
        member("pbx", gap.pbx)
        member("started_at", gap.from)
        member("ended_at", gap.to)
        member("reason", gap.reason)
        member("detail", gap.detail)
        member("calls_ended", gap.callsEnded)
        member("calls_found", gap.callsFound)
        member("calls_kept", gap.callsKept)
        member("inserted_at", gap.insertedAt)
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
