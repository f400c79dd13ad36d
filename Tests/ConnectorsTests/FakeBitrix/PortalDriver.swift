import Foundation
import Protocols
import Simulator

/// A portal with a clock, called as a client would: form-encoded, answers read as JSON.
final class PortalDriver {
    static let secret = "s3cr3tt0k3n"
    /// 2026-09-21 14:13:20 UTC.
    static let start = Protocols.Timestamp(microseconds: 1_790_000_000_000_000)

    var portal: FakeBitrixPortal
    var now = PortalDriver.start

    init(_ settings: PortalSettings = PortalSettings(), seed: UInt64 = 1) {
        portal = FakeBitrixPortal(settings: settings, seed: seed)
    }

    struct Answer {
        var status: Int
        var text: String
        var json: [String: Any]
        var delivery: PortalReply.Delivery

        var result: [String: Any] { json["result"] as? [String: Any] ?? [:] }
        var error: String? { json["error"] as? String }
        var errorText: String? { json["error_description"] as? String }
        var callID: String { result["CALL_ID"] as? String ?? "" }
    }

    func advance(_ seconds: Int64) {
        now.microseconds += seconds * 1_000_000
    }

    func send(_ request: PortalRequest) -> Answer {
        let reply = portal.handle(request, at: now)
        let parsed = try? JSONSerialization.jsonObject(with: Data(reply.body)) as? [String: Any]
        return Answer(status: reply.status, text: reply.text, json: parsed ?? [:], delivery: reply.delivery)
    }

    func call(
        _ method: String, _ parameters: KeyValuePairs<String, String> = [:], secret: String = secret
    ) -> Answer {
        send(
            PortalRequest(
                target: "/rest/1/\(secret)/\(method)", contentType: "application/x-www-form-urlencoded",
                body: Array(Query(parameters).encoded.utf8)))
    }

    func json(_ method: String, _ body: String) -> Answer {
        send(
            PortalRequest(
                target: "/rest/1/\(Self.secret)/\(method)", contentType: "application/json",
                body: Array(body.utf8)))
    }

    /// A register that the portal takes; every parameter may be replaced.
    func register(_ changes: [String: String?] = [:]) -> Answer {
        var parameters: [String: String?] = [
            "USER_PHONE_INNER": "101", "PHONE_NUMBER": "+79995550101", "TYPE": "2", "SHOW": "0",
            "CALL_START_DATE": "2026-09-21T14:13:20+00:00", "EXTERNAL_CALL_ID": "pbx1-1790000000.31",
        ]
        for (name, value) in changes { parameters[name] = value }
        let query = Query(
            parameters.compactMap { name, value in value.map { Query.Item(name: name, value: $0) } })
        return send(
            PortalRequest(
                target: "/rest/1/\(Self.secret)/telephony.externalcall.register",
                contentType: "application/x-www-form-urlencoded", body: Array(query.encoded.utf8)))
    }

    func finish(_ callID: String, _ changes: [String: String] = [:]) -> Answer {
        var parameters = [
            "CALL_ID": callID, "USER_PHONE_INNER": "101", "DURATION": "61", "STATUS_CODE": "200",
        ]
        for (name, value) in changes { parameters[name] = value.isEmpty ? nil : value }
        let query = Query(parameters.map { Query.Item(name: $0.key, value: $0.value) })
        return send(
            PortalRequest(
                target: "/rest/1/\(Self.secret)/telephony.externalcall.finish",
                contentType: "application/x-www-form-urlencoded", body: Array(query.encoded.utf8)))
    }

    var effects: [PortalEffect.Kind] { portal.effects.entries.map(\.kind) }
}
