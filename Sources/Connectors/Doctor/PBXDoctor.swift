package import Protocols
package import Reactor

/// Looks at a PBX as the daemon would use it: over ARI, with a reader of its own that disturbs nobody.
package struct PBXDoctor {
    private let configuration: ARIConfiguration
    private let examiner: Examiner
    private let tls: TLSClientContext?

    /// The application that the doctor's reader has; not the daemon's, whose name it would take away.
    package static let appName = "callflow_doctor"
    /// A clock that is further off than this shifts what people read.
    static let tolerableOffset: Double = 2
    /// Older ones have no event filter (13.26, 16.3).
    static let oldestRelease = [16, 3]

    /// - Throws: When no loop can be made.
    package init(_ configuration: ARIConfiguration, tls: TLSClientContext?) throws(ReactorError) {
        self.configuration = configuration
        self.tls = tls
        examiner = try Examiner(tls: tls)
    }

    /// All findings, in the order in which to mend them; ends at the first that hides the rest.
    ///
    /// - Parameter clock: Our wall clock.
    package func examine(clock: () -> Timestamp) -> [Finding] {
        let asked = clock()
        let answer = ask("GET", "/asterisk/info")
        let answered = clock()
        var findings = [reachable(answer)]
        guard case .success(let response) = answer, response.status == 200 else { return findings }
        findings.append(version(response.body))
        findings.append(
            clockOffset(clock) ?? clockOffset(response.fields["Date"], between: asked, and: answered))
        findings.append(application())
        findings += reader()
        findings += channels()
        return findings
    }

    private func ask(
        _ method: String, _ path: String, body: String = ""
    ) -> Result<HTTPClientResponse, HTTPClientError> {
        var fields = [("Authorization", configuration.authorization)]
        if !body.isEmpty { fields.append(("Content-Type", "application/json")) }
        return examiner.ask(
            HTTPOrigin(configuration.url),
            HTTPClientRequest(
                method: method, target: configuration.basePath + path, fields: fields, body: Array(body.utf8),
                timeout: Examiner.patience))
    }

    // MARK: Findings

    private func reachable(_ answer: Result<HTTPClientResponse, HTTPClientError>) -> Finding {
        func finding(_ state: Finding.State, _ text: String, _ remedy: String = "") -> Finding {
            Finding(.pbx, "reachable", state, text, remedy: remedy)
        }
        switch answer {
        case .failure(let error):
            return finding(
                .failure, "\(configuration.url.hostField): \(error)",
                "http.conf of the PBX: enabled = yes, bindaddr and bindport (or tlsenable and tlsbindaddr for wss); "
                    + "a firewall between; ARI_URL here")
        case .success(let response):
            switch response.status {
            case 200: return finding(.ok, "\(configuration)")
            case 401:
                return finding(
                    .failure, "the PBX does not know ARI user \(configuration.user) with this password",
                    "ari.conf of the PBX: section [\(configuration.user)], type = user, password; ARI_USER and ARI_PASSWORD here"
                )
            case 403:
                return finding(
                    .failure, "ARI user \(configuration.user) may not",
                    "ari.conf of the PBX: section [\(configuration.user)], and acl = if there is one")
            case 404:
                return finding(
                    .failure, "there is no ARI at \(configuration.basePath)",
                    "ari.conf of the PBX: [general] enabled = yes; modules.conf: load = res_ari.so; http.conf: prefix; ARI_URL here"
                )
            default:
                return finding(
                    .failure, "the PBX answers \(response.status)",
                    "the log of the PBX (/var/log/asterisk/messages)")
            }
        }
    }

    private func version(_ body: [UInt8]) -> Finding {
        let info = try? JSONValue.parse(String(decoding: body, as: UTF8.self))
        guard let text = info?["system"]?["version"]?.string else {
            return Finding(
                .pbx, "version", .unknown, "the PBX does not tell its version",
                remedy: "asterisk -V on the PBX")
        }
        let numbers = text.split(whereSeparator: { !$0.isNumber }).prefix(2).compactMap { Int($0) }
        if numbers.count == 2, numbers.lexicographicallyPrecedes(Self.oldestRelease) {
            return Finding(
                .pbx, "version", .warning,
                "Asterisk \(text) has no event filter: every event of the PBX is sent to us",
                remedy: "Asterisk 16.3 or newer")
        }
        return Finding(.pbx, "version", .ok, "Asterisk \(text)")
    }

    /// Times that the PBX's clock is asked; the quickest answer counts.
    private static let clockQuestions = 3

    /// As the PBX answers `GET /asterisk/ping`, to the millisecond; `nil`: it does not (before 16.2).
    private func clockOffset(_ clock: () -> Timestamp) -> Finding? {
        var best: (offset: Int64, doubt: Int64)?
        for _ in 0..<Self.clockQuestions {
            let asked = clock()
            let answer = ask("GET", "/asterisk/ping")
            let answered = clock()
            guard case .success(let response) = answer, response.status == 200,
                let theirs = ARIReadBack.clock(in: response.body)
            else { return nil }
            let doubt = abs(answered.microseconds - asked.microseconds) / 2
            let offset = theirs.microseconds - (asked.microseconds + answered.microseconds) / 2
            if doubt < best?.doubt ?? .max { best = (offset, doubt) }
        }
        guard let best else { return nil }
        let milliseconds = abs(best.offset) / 1000
        let size =
            milliseconds < 10_000
            ? "\(milliseconds) ms" : "\(milliseconds / 1000).\(milliseconds / 100 % 10) s"
        let direction = best.offset > 0 ? "ahead of" : "behind"
        // Asterisk cuts off microseconds.
        let text = "\(size) \(direction) ours, give or take \(best.doubt / 1000 + 1) ms"
        guard Double(abs(best.offset)) / 1e6 > Self.tolerableOffset else {
            return Finding(.pbx, "clock", .ok, text)
        }
        return Finding(
            .pbx, "clock", .warning, "\(text): times of calls are the PBX's", remedy: Self.clockRemedy)
    }

    private static let clockRemedy = "run chrony or another NTP client on the PBX (and here)"

    /// By the date of an answer.
    private func clockOffset(_ date: String?, between asked: Timestamp, and answered: Timestamp) -> Finding {
        guard let date, let theirs = HTTPDate.parse(date) else {
            return Finding(
                .pbx, "clock", .unknown, "the PBX does not tell its time",
                remedy: "compare `date -u` on the PBX and here; both should run chrony or another NTP client")
        }
        // The date has whole seconds, so anything within one is as good as none.
        let ours = (asked.microseconds + answered.microseconds) / 2
        let offset = Double(theirs.microseconds + 500_000 - ours) / 1e6
        let rounded = (offset * 10).rounded() / 10
        guard abs(offset) > Self.tolerableOffset else {
            return Finding(.pbx, "clock", .ok, "within a second or two of ours")
        }
        return Finding(
            .pbx, "clock", .warning,
            "\(abs(rounded)) s \(offset > 0 ? "ahead of" : "behind") ours: times of calls are the PBX's",
            remedy: Self.clockRemedy)
    }

    private func application() -> Finding {
        let name = configuration.appName
        switch ask("GET", "/applications/\(PercentCoding.encoded(name))") {
        case .success(let response) where response.status == 200:
            return Finding(
                .pbx, "application", .ok,
                "\(name) has a reader now: a daemon runs (two daemons must not share a name)")
        case .success(let response) where response.status == 404:
            return Finding(.pbx, "application", .ok, "\(name) is free: no daemon reads it now")
        case .success(let response):
            return Finding(
                .pbx, "application", .warning, "asking for \(name) is answered with \(response.status)")
        case .failure(let error):
            return Finding(.pbx, "application", .failure, "\(error)")
        }
    }

    /// Connects as a reader, and tries what the daemon does then: filter, reading it back.
    private func reader() -> [Finding] {
        var theirs = configuration
        theirs.appName = Self.appName
        let delegate = ReaderProbe()
        let socket = WebSocketConnection.connect(
            loop: examiner.loop, url: theirs.eventsURL,
            fields: [("Authorization", configuration.authorization)],
            subprotocols: ["ari"], tls: tls, timeout: Examiner.patience, limits: WebSocketLimits(),
            delegate: delegate)
        examiner.wait { delegate.isOpen || delegate.close != nil }
        guard delegate.isOpen else {
            let reason = delegate.close.map { "\($0)" } ?? "no answer"
            return [
                Finding(
                    .pbx, "event stream", .failure, "the WebSocket is refused: \(reason)",
                    remedy:
                        "modules.conf of the PBX: load = res_http_websocket.so, res_ari_events.so, res_stasis.so"
                )
            ]
        }
        defer {
            socket.close(code: 1000, reason: "")
            examiner.wait { delegate.close != nil }
        }
        return [Finding(.pbx, "event stream", .ok, "opens"), filter()]
    }

    private func filter() -> Finding {
        let path = "/applications/\(Self.appName)"
        let wanted = #"{"allowed":[{"type":"StasisStart"}]}"#
        switch ask("PUT", path + "/eventFilter", body: wanted) {
        case .failure(let error): return Finding(.pbx, "event filter", .failure, "\(error)")
        case .success(let response):
            switch response.status {
            case 200...299: break
            case 403:
                return Finding(
                    .pbx, "event filter", .failure, "ARI user \(configuration.user) may only read",
                    remedy:
                        "ari.conf of the PBX: section [\(configuration.user)], read_only = no; the daemon sets its filter and sends channels on in the dialplan"
                )
            case 404, 405:
                return Finding(
                    .pbx, "event filter", .warning, "not there: every event of the PBX is sent to us",
                    remedy: "Asterisk 16.3 or newer")
            default:
                return Finding(
                    .pbx, "event filter", .warning, "setting it is answered with \(response.status)")
            }
        }
        guard case .success(let response) = ask("GET", path), response.status == 200,
            let application = try? JSONValue.parse(String(decoding: response.body, as: UTF8.self)),
            application["events_allowed"]?[0]?["type"]?.string == "StasisStart"
        else {
            return Finding(.pbx, "event filter", .warning, "taken, but the PBX does not show it when asked")
        }
        return Finding(.pbx, "event filter", .ok, "taken and shown; the user may write")
    }

    private func channels() -> [Finding] {
        var findings: [Finding] = []
        for (path, module) in [("/channels", "res_ari_channels.so"), ("/bridges", "res_ari_bridges.so")] {
            let answer = ask("GET", path)
            guard case .success(let response) = answer, response.status == 200 else {
                var text = "no answer"
                if case .success(let response) = answer { text = "answered with \(response.status)" }
                findings.append(
                    Finding(
                        .pbx, "list of \(path.dropFirst())", .failure, text,
                        remedy: "modules.conf of the PBX: load = \(module)"))
                continue
            }
            if path == "/channels" { findings.append(channelVariables(response.body)) }
        }
        return findings
    }

    private func channelVariables(_ body: [UInt8]) -> Finding {
        let check = "channelvars"
        let list = try? JSONValue.parse(String(decoding: body, as: UTF8.self))
        guard let first = list?.array?.first else {
            return Finding(
                .pbx, check, .unknown,
                "no call is going on, so what the PBX sends with a channel cannot be seen",
                remedy:
                    "ari.conf of the PBX: [general] channelvars = CHANNEL(linkedid); or ask again during a call"
            )
        }
        let names = (first["channelvars"]?.members ?? []).map(\.key)
        guard names.contains(where: { $0.lowercased() == "channel(linkedid)" }) else {
            return Finding(
                .pbx, check, .warning,
                "channels come without CHANNEL(linkedid): legs of one call are joined by dialling and bridges only",
                remedy: "ari.conf of the PBX: [general] channelvars = CHANNEL(linkedid), then `core reload`")
        }
        return Finding(.pbx, check, .ok, names.joined(separator: ", "))
    }
}

/// Waits for a WebSocket to open.
private final class ReaderProbe: WebSocketDelegate {
    var isOpen = false
    var close: WebSocketClose?

    func opened(_ socket: WebSocketConnection) { isOpen = true }
    func message(_ kind: WebSocketMessageKind, _ payload: RawSpan, on socket: WebSocketConnection) {}
    func closed(_ socket: WebSocketConnection, _ close: WebSocketClose) { self.close = close }
}
