import Protocols

/// What a person sees of the portal: the same as a page and as JSON.
enum FakeBitrixPage {
    /// Rows of each table when nothing else is asked for.
    static let defaultRows = 50

    /// The page; reloads itself every two seconds, loads nothing else.
    static func html(of portal: FakeBitrixPortal) -> String {
        var page = """
            <!doctype html><html lang="en"><head><meta charset="utf-8"><title>Fake Bitrix24</title>
            <meta http-equiv="refresh" content="2"><style>
            body{font:14px system-ui,sans-serif;margin:2em;color:#222}table{border-collapse:collapse;margin:0 0 2em}
            td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd}h2{margin:.5em 0}
            </style></head><body><h1>Fake Bitrix24</h1>
            <p>\(portal.activeCalls.count) calls open, \(portal.statistics.count) finished, \
            \(portal.directory.count) CRM entities, \(portal.effects.total) effects, \
            \(portal.refusals.total) requests refused. <a href="/effects">As JSON</a></p>
            """
        page += table(
            "Open calls", ["Call", "Our id", "Type", "Customer", "User", "Line"],
            portal.activeOrder.reversed().lazy.compactMap { portal.activeCalls[$0] }.prefix(defaultRows).map {
                call in
                [
                    call.callID, call.externalCallID ?? "", typeName(call.type), call.phoneNumber,
                    userName(call.userID, portal), call.line ?? "",
                ]
            })
        page += table(
            "Finished calls",
            ["Finished", "Our id", "Type", "Customer", "User", "Status", "Seconds", "Reason"],
            portal.statisticsOrder.suffix(defaultRows).reversed().compactMap { portal.statistics[$0] }.map {
                row in
                [
                    row.finishedAt.formatted(.seconds), row.call.externalCallID ?? "",
                    typeName(row.call.type),
                    row.call.phoneNumber, userName(row.userID, portal), row.statusCode, String(row.duration),
                    row.failedReason,
                ]
            })
        page += table(
            "Refused requests", ["At", "Method", "Status", "Code", "Text"],
            portal.refusals.entries.suffix(defaultRows).reversed().map { refusal in
                [
                    refusal.at.formatted(.seconds), refusal.method, String(refusal.status), refusal.code,
                    refusal.text,
                ]
            })
        return page + "</body></html>"
    }

    /// Counts, calls and refusals, newest last, at most `limit` of each.
    static func summary(of portal: FakeBitrixPortal, limit: Int) -> PHPValue {
        var requests = PHPArray()
        for (method, count) in portal.requestCounts.sorted(by: { $0.key < $1.key }) {
            requests[method] = .int(count)
        }
        return .map([
            "active_count": .int(portal.activeCalls.count),
            "finished_count": .int(portal.statistics.count),
            "entity_count": .int(portal.directory.count),
            "card_count": .int(portal.cards.reduce(0) { $0 + $1.value.count }),
            "effect_count": .int(portal.effects.total),
            "refusal_count": .int(portal.refusals.total),
            "requests": .array(requests),
            "active": .list(
                portal.activeOrder.reversed().lazy.compactMap { portal.activeCalls[$0] }.prefix(limit)
                    .reversed()
                    .map { describe($0) }),
            "finished": .list(
                portal.statisticsOrder.suffix(limit).compactMap { portal.statistics[$0] }.map { row in
                    .map([
                        "call": describe(row.call), "user_id": .int(row.userID),
                        "status": .string(row.statusCode),
                        "duration": .int(row.duration), "reason": .string(row.failedReason),
                        "activity_id": row.activityID.map { .int($0) } ?? .null,
                        "file_id": row.fileID.map { .int($0) } ?? .null,
                        "finished_at": .string(row.finishedAt.formatted(.seconds)),
                    ])
                }),
            "refusals": .list(
                portal.refusals.entries.suffix(limit).map { refusal in
                    .map([
                        "at": .string(refusal.at.formatted(.seconds)), "method": .string(refusal.method),
                        "status": .int(refusal.status), "code": .string(refusal.code),
                        "text": .string(refusal.text),
                    ])
                }),
        ])
    }

    private static func describe(_ call: ActiveCall) -> PHPValue {
        .map([
            "call_id": .string(call.callID),
            "external_call_id": call.externalCallID.map { .string($0) } ?? .null,
            "type": .int(call.type), "phone_number": .string(call.phoneNumber), "user_id": .int(call.userID),
            "line": call.line.map { .string($0) } ?? .null,
            "registered_at": .string(call.registeredAt.formatted(.seconds)),
        ])
    }

    private static func typeName(_ type: Int) -> String {
        switch type {
        case 1: "outgoing"
        case 2: "incoming"
        case 3: "redirected"
        case 4: "callback"
        default: "info"
        }
    }

    private static func userName(_ id: Int, _ portal: FakeBitrixPortal) -> String {
        portal.settings.users.first { $0.id == id }?.name ?? "user \(id)"
    }

    private static func table(_ title: String, _ heads: [String], _ rows: [[String]]) -> String {
        guard !rows.isEmpty else { return "<h2>\(title)</h2><p>none</p>" }
        let head = heads.map { "<th>\($0)</th>" }.joined()
        let body = rows.map { row in "<tr>" + row.map { "<td>\(escaped($0))</td>" }.joined() + "</tr>" }
        return "<h2>\(title)</h2><table><tr>\(head)</tr>\(body.joined())</table>"
    }

    private static func escaped(_ text: String) -> String {
        var output = ""
        for character in text {
            switch character {
            case "&": output += "&amp;"
            case "<": output += "&lt;"
            case ">": output += "&gt;"
            case "\"": output += "&quot;"
            default: output.append(character)
            }
        }
        return output
    }
}
