import Protocols
package import Reactor

/// Looks whether a Bitrix24 portal will take what the daemon is set up to tell it: small requests that change nothing.
package struct CRMCheck {
    private let configuration: BitrixConfiguration
    private let doctor: CRMDoctor

    /// - Throws: When no loop can be made.
    package init(_ configuration: BitrixConfiguration, tls: TLSClientContext?) throws(ReactorError) {
        self.configuration = configuration
        doctor = try CRMDoctor(configuration, tls: tls)
    }

    /// All findings; ends at the first that hides the rest.
    package func examine() -> [Finding] {
        let findings = doctor.examine()
        guard findings.first?.state != .failure else { return findings }
        return findings + [calls(), crm(), statistics()] + users() + line() + source()
    }

    private func ask(_ method: String, _ parameters: KeyValuePairs<String, String>) -> JSONValue? {
        var query = Query()
        for (name, value) in parameters { query.append(name, value) }
        guard case .success(let response) = doctor.ask(method, body: query.encoded) else { return nil }
        return try? JSONValue.parse(response.body.span.bytes)
    }

    private static func words(_ answer: JSONValue?) -> String {
        guard let answer else { return "no answer, or none that can be read" }
        return [answer["error"]?.string, answer["error_description"]?.string].compactMap { $0 }
            .filter { !$0.isEmpty }.joined(separator: ": ")
    }

    /// The finish of a call that there is not: refused because of the call, and not for who asks.
    private func calls() -> Finding {
        let answer = ask(
            "telephony.externalcall.finish",
            ["CALL_ID": "externalCall.check", "USER_ID": String(configuration.fallbackUserID)])
        let text = answer?["error_description"]?.string ?? ""
        if text.hasPrefix("Call is not found") {
            return Finding(.crm, "calls", .ok, "the webhook may register and finish calls")
        }
        if answer?["error"]?.string == "WRONG_AUTH_TYPE" {
            return Finding(
                .crm, "calls", .failure, "this portal takes calls from applications only, not from a webhook",
                remedy: "the portal: make a local application with permissions telephony and crm")
        }
        return Finding(
            .crm, "calls", .failure, Self.words(answer),
            remedy: "the portal: Developer resources → the webhook → permissions: telephony, crm")
    }

    private func crm() -> Finding {
        let answer = ask("telephony.externalcall.searchcrmentities", ["PHONE_NUMBER": "+10000000000"])
        if answer?["result"] != nil { return Finding(.crm, "clients", .ok, "clients can be found by number") }
        return Finding(
            .crm, "clients", .warning, Self.words(answer),
            remedy: "the portal: Developer resources → the webhook → permissions: crm")
    }

    private func statistics() -> Finding {
        let answer = ask("voximplant.statistic.get", ["FILTER[ID]": "0"])
        if answer?["result"] != nil {
            return Finding(
                .crm, "statistics", .ok,
                "can be read: a lost answer is looked up, and ended calls need one request instead of two")
        }
        return Finding(
            .crm, "statistics", .warning,
            "cannot be read (\(Self.words(answer))): ended calls need two requests, and `crm resend` cannot compare",
            remedy: "give the webhook's user the right to see the call statistics")
    }

    private func users() -> [Finding] {
        var reading = BitrixDirectoryReading()
        var command = reading.firstCommand
        for _ in 0..<BitrixDirectoryReading.maximumPages {
            let text = String(decoding: command.formBody, as: UTF8.self)
            let answer = doctor.ask(command.method.rawValue, body: text)
            guard case .success(let response) = answer else { break }
            switch reading.take(status: response.status, body: response.body) {
            case .next(let next): command = next
            case .complete(let directory): return of(directory)
            case .failed(let reason):
                return [
                    Finding(
                        .crm, "employees", .warning,
                        "cannot be read (\(reason)): the portal finds them by extension",
                        remedy: "the portal: Developer resources → the webhook → permissions: user")
                ]
            }
        }
        return [Finding(.crm, "employees", .unknown, "no answer, or too many pages")]
    }

    private func of(_ directory: BitrixDirectory) -> [Finding] {
        var findings = [
            Finding(
                .crm, "extensions", directory.extensionCount > 0 ? .ok : .warning,
                "\(directory.extensionCount) of \(directory.count) active employees have an extension",
                remedy: directory.extensionCount > 0
                    ? "" : "the portal: Telephony → Telephony users → extension; or BITRIX_EXTENSION_USERS")
        ]
        let fallback = configuration.fallbackUserID
        findings.append(
            directory.isActive(fallback)
                ? Finding(.crm, "default user", .ok, "user \(fallback) is active")
                : Finding(
                    .crm, "default user", .failure, "user \(fallback) is not an active employee",
                    remedy: "BITRIX_DEFAULT_USER_ID"))
        let gone = configuration.extensionUsers.filter { !directory.isActive($0.value) }
        if !gone.isEmpty {
            let pairs = gone.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(
                separator: ", ")
            findings.append(
                Finding(
                    .crm, "mapped extensions", .warning, "nobody active behind \(pairs)",
                    remedy: "BITRIX_EXTENSION_USERS"))
        }
        return findings
    }

    private func line() -> [Finding] {
        guard let number = configuration.lineNumber else { return [] }
        let answer = ask("telephony.externalline.get", [:])
        let lines = answer?["result"]?.array?.compactMap { $0["NUMBER"]?.text } ?? []
        if lines.contains(number) { return [Finding(.crm, "line", .ok, "the portal has the line \(number)")] }
        return [
            Finding(
                .crm, "line", .warning, "the portal has no line \(number); it makes one with the first call",
                remedy:
                    "BITRIX_LINE_NUMBER; the portal has: \(lines.isEmpty ? "none" : lines.joined(separator: ", "))"
            )
        ]
    }

    private func source() -> [Finding] {
        guard let source = configuration.source else { return [] }
        let answer = ask("crm.status.list", ["FILTER[ENTITY_ID]": "SOURCE"])
        guard let sources = answer?["result"]?.array?.compactMap({ $0["STATUS_ID"]?.text }) else {
            return [Finding(.crm, "source", .unknown, "sources cannot be listed: \(Self.words(answer))")]
        }
        if sources.contains(source) {
            return [Finding(.crm, "source", .ok, "the portal has the source \(source)")]
        }
        return [
            Finding(
                .crm, "source", .warning, "the portal has no source \(source) and would take another",
                remedy: "BITRIX_CRM_SOURCE; the portal has: \(sources.joined(separator: ", "))")
        ]
    }
}
