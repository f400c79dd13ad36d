import Protocols

/// Events made up by a person: `POST /api/test/events`.
extension APIService {
    /// What the body's scanner notes, in this order.
    static let testEventPlan = JSONFieldPlan([["call_id"], ["event_type"], ["payload"]])
    /// How deep a test event's JSON may nest.
    static let maximumTestEventDepth = 128
    /// Characters of a call id or an event type: what their columns hold.
    static let maximumTextCharacters = 255

    func postTestEvent(_ request: HTTPRequest, _ exchange: HTTPExchange) {
        let bytes = request.body.span.bytes
        do {
            _ = try testEventScanner.scan(bytes)
        } catch {
            return refuse(exchange, status: 400, "The body is not valid JSON")
        }
        guard let callID = testEventScanner[0].string(in: bytes), !callID.isEmpty,
            let eventType = testEventScanner[1].string(in: bytes), !eventType.isEmpty
        else { return refuse(exchange, status: 400, "Missing required fields: call_id, event_type") }
        for (name, text) in [("call_id", callID), ("event_type", eventType)] where !Self.isUsable(text) {
            return refuse(
                exchange, status: 400,
                "\(name) must have at most \(Self.maximumTextCharacters) characters, none of them control characters"
            )
        }
        let payload = testEventScanner[2]
        guard payload.kind == .object || payload.kind == .null || payload.kind == .absent else {
            return refuse(exchange, status: 400, "payload must be an object")
        }
        let json = payload.kind == .object ? bytes.extracting(payload.bounds).copied : Array("{}".utf8)
        let event = TestEvent(callID: callID, eventType: eventType, payload: json)
        switch environment.inject(event) {
        case .accepted:
            let answer = JSONWriter.object {
                $0.member("status", "accepted")
                $0.member("call_id", callID)
                $0.member("event_type", eventType)
            }
            respond(exchange, status: 202, json: answer)
        case .refused(let reason): refuse(exchange, status: 503, reason)
        }
    }

    private static func isUsable(_ text: String) -> Bool {
        text.unicodeScalars.count <= maximumTextCharacters
            && text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F }
    }
}
