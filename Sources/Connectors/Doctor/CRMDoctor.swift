import Protocols
package import Reactor

/// Looks at a Bitrix24 portal by two requests that change nothing.
package struct CRMDoctor {
    private let webhook: BitrixWebhook
    private let token: String?
    private let proxy: HTTPProxy?
    private let examiner: Examiner

    /// - Throws: When no loop can be made.
    package init(_ configuration: BitrixConfiguration, tls: TLSClientContext?) throws(ReactorError) {
        webhook = configuration.webhook
        token = configuration.application?.tokens.accessToken
        proxy = configuration.proxy
        examiner = try Examiner(tls: tls)
    }

    /// All findings; ends at the first that hides the rest.
    package func examine() -> [Finding] {
        let users = ask("user.get", "FILTER%5BACTIVE%5D=true")
        let first = finding(
            "webhook", users, ok: "\(webhook) answers; it may read employees",
            scope: "user",
            remedy: "the portal: Developer resources → the webhook → permissions: user, telephony, crm")
        guard case .success(let response) = users, response.status == 200 || first.state == .warning else {
            return [first]
        }
        let lines = ask("telephony.externalline.get", "")
        return [
            first,
            finding(
                "telephony", lines, ok: "the webhook may use telephony", scope: "telephony",
                remedy: "the portal: Developer resources → the webhook → permissions: telephony"),
        ]
    }

    private func ask(_ method: String, _ body: String) -> Result<HTTPClientResponse, HTTPClientError> {
        ask(method, body: body)
    }

    /// Asks the portal as the daemon would: by its webhook, or with the application's token.
    func ask(_ method: String, body: String) -> Result<HTTPClientResponse, HTTPClientError> {
        let auth = token.map { "\(body.isEmpty ? "" : "&")auth=\(PercentCoding.encoded($0))" } ?? ""
        return examiner.ask(
            webhook.origin,
            HTTPClientRequest(
                method: "POST", target: webhook.target(named: method),
                fields: [("Content-Type", "application/x-www-form-urlencoded")],
                body: Array((body + auth).utf8),
                timeout: Examiner.patience), proxy: proxy)
    }

    private func finding(
        _ check: String, _ answer: Result<HTTPClientResponse, HTTPClientError>, ok: String, scope: String,
        remedy: String
    ) -> Finding {
        func finding(_ state: Finding.State, _ text: String, _ remedy: String) -> Finding {
            Finding(.crm, check, state, text, remedy: remedy)
        }
        switch answer {
        case .failure(let error):
            return finding(
                .failure, "\(webhook): \(error)",
                "BITRIX_WEBHOOK_URL; whether this machine may reach the portal (firewall, proxy, DNS)")
        case .success(let response):
            let body = try? JSONValue.parse(String(decoding: response.body, as: UTF8.self))
            if response.status == 200, body?["result"] != nil { return finding(.ok, ok, "") }
            guard let body, let code = body["error"]?.string else {
                return finding(
                    .failure, "\(webhook) answers \(response.status) and no JSON",
                    "whether BITRIX_WEBHOOK_URL names a portal; a proxy between")
            }
            switch code {
            case "insufficient_scope":
                return finding(.warning, "the webhook lacks the permission \"\(scope)\"", remedy)
            case "INVALID_CREDENTIALS", "NO_AUTH_FOUND":
                return finding(
                    .failure, "the portal knows no such webhook, or it was deleted",
                    "the portal: Developer resources → Other → Inbound webhook; then BITRIX_WEBHOOK_URL here")
            case "expired_token":
                return finding(
                    .unknown, "the application's token in the file has expired; the daemon renews it",
                    "run the daemon once, then ask again")
            case "authorization_error":
                return finding(
                    .failure, "the webhook's owner is dismissed",
                    "make the webhook anew as an active employee")
            case "ACCESS_DENIED":
                return finding(.failure, "the portal's plan has no REST", "the portal's plan")
            case "WRONG_AUTH_TYPE":
                return finding(
                    .failure, "this portal wants an application instead of a webhook for telephony",
                    "the portal: make a local application with permission telephony")
            case "ERROR_METHOD_NOT_FOUND":
                return finding(
                    .unknown, "the portal does not know the question",
                    "whether telephony is switched on in the portal")
            case "QUERY_LIMIT_EXCEEDED":
                return finding(
                    .warning, "the portal has too many requests from this address now",
                    "which other programs here use the portal")
            default:
                return finding(
                    .failure, "the portal answers \(response.status) \(code)", "BITRIX_WEBHOOK_URL")
            }
        }
    }
}
