package import Connectors
import Protocols
import Reactor

/// The requests that ARI clients make; answers and texts are those of Asterisk 22.10.
extension PBXSimulator: HTTPService {
    /// Answers one request.
    package func handle(_ request: HTTPRequest, _ exchange: HTTPExchange) {
        log("\(request.method) \(request.target)")
        var parts = request.path.split(separator: "/", omittingEmptySubsequences: true).map(String.init)
        switch parts.first {
        case "simulator": return handleOwn(Array(parts.dropFirst()), request, exchange)
        case "ari": parts.removeFirst()
        default:
            return exchange.answer(404, html: "Not Found", "The requested URL was not found on this server.")
        }
        let isStream = parts == ["events"]
        if isStream, refuseByFault(exchange) { return }
        guard let reader = authenticated(request) else {
            return exchange.answer(
                401, "Authentication required",
                fields: [("WWW-Authenticate", "Basic realm=\"Asterisk REST Interface\"")])
        }
        if isStream { return openStream(request, exchange) }
        switch faults.requests {
        case .answer: break
        case .fail: return exchange.answer(500, "Allocation failed")
        case .forbid: return exchange.answer(403, "Write access denied")
        case .silence: return leaveUnanswered(exchange)
        }
        if reader.isReadOnly, request.method != "GET" {
            return exchange.answer(403, "Write access denied")
        }
        handleResource(parts, request, exchange)
    }

    private func handleResource(_ parts: [String], _ request: HTTPRequest, _ exchange: HTTPExchange) {
        resourceRequests += 1
        switch (request.method, parts.first, parts.count) {
        case ("GET", "channels", 1), ("GET", "bridges", 1):
            var body: [UInt8] = [0x5B]
            // Calls rendered in advance have all been played already, as far as the player knows.
            if stream == nil { player.appendSnapshot(bridges: parts[0] == "bridges", to: &body) }
            body.append(0x5D)
            exchange.answer(200, json: body)
            // Whoever has read the lists takes what comes now for newer than they are.
            if parts[0] == "bridges" { for reader in readers { beginReplay(to: reader) } }
        case ("POST", "channels", 3) where parts[2] == "continue" && stream != nil:
            exchange.respond(status: 204, fields: HTTPExchange.asteriskFields)
        case ("POST", "channels", 3) where parts[2] == "continue":
            switch player.continueChannel(parts[1], now: Self.wallMilliseconds()) {
            case .continued: exchange.respond(status: 204, fields: HTTPExchange.asteriskFields)
            case .notInStasis: exchange.answer(409, "Channel not in Stasis application")
            case .notFound: exchange.answer(404, "Channel not found")
            }
        case ("GET", "asterisk", 2) where parts[1] == "ping":
            exchange.answer(200, json: Array(ping.utf8))
        case ("GET", "asterisk", 2) where parts[1] == "info":
            exchange.answer(200, json: Array(information.utf8))
        case ("GET", "applications", 1):
            let all = applications.map(\.json).joined(separator: ",")
            exchange.answer(200, json: Array("[\(all)]".utf8))
        case (_, "applications", 2...3):
            guard let application = applications.first(where: { $0.name == parts[1] }) else {
                return exchange.answer(404, "Application not found")
            }
            handleApplication(application, parts.count == 3 ? parts[2] : "", request, exchange)
        default: exchange.answer(404, "Resource not found")
        }
    }

    private func handleApplication(
        _ application: PBXApplication, _ part: String, _ request: HTTPRequest, _ exchange: HTTPExchange
    ) {
        switch (request.method, part) {
        case ("GET", ""): break
        case ("PUT", "eventFilter"):
            guard let types = FilterBody.types(in: request.body) else {
                return exchange.answer(400, "Invalid format definition")
            }
            application.filter(allowing: types)
        case ("POST", "subscription"), ("DELETE", "subscription"):
            guard let sources = request.query(named: "eventSource") else {
                return exchange.answer(400, "Missing parameter eventSource")
            }
            let adds = request.method == "POST"
            for source in sources.split(separator: ",") {
                // Everything is `channel:` when subscribing and the topic's name when unsubscribing.
                switch source {
                case "channel:" where adds, "channel:__AST_CHANNEL_ALL_TOPIC": application.hasChannels = adds
                case "bridge:" where adds, "bridge:__AST_BRIDGE_ALL_TOPIC": application.hasBridges = adds
                default:
                    return adds
                        ? exchange.answer(422, "Event source does not exist")
                        : exchange.answer(422, "Event source was not subscribed to")
                }
            }
        default: return exchange.answer(404, "Resource not found")
        }
        exchange.answer(200, json: Array(application.json.utf8))
    }

    private var ping: String {
        let time = player.timeText(Self.wallMilliseconds())
        return #"{"ping":"pong","timestamp":"\#(time)","asterisk_id":"\#(configuration.asteriskID)"}"#
    }

    private var information: String {
        """
        {"build":{"os":"Linux","kernel":"unknown","machine":"unknown","options":"","date":"","user":""},\
        "system":{"version":"22.10.1","entity_id":"\(configuration.asteriskID)"},\
        "config":{"name":"\(configuration.systemName.jsonEscaped)","default_language":"en",\
        "setid":{"user":"","group":""}},"status":{"startup_time":"\(startTimeText)",\
        "last_reload_time":"\(startTimeText)"}}
        """
    }

    // MARK: Who asks

    /// The user of a request: the `Authorization` field, else `api_key`; `nil` when neither is right.
    private func authenticated(_ request: HTTPRequest) -> (isReadOnly: Bool, Void)? {
        var credentials: String?
        if let field = request.fields["authorization"] {
            guard field.lowercased().hasPrefix("basic "),
                let decoded = Base64.decoded(String(field.dropFirst(6)))
            else { return nil }
            credentials = String(decoding: decoded, as: UTF8.self)
        } else {
            credentials = request.query(named: "api_key")
        }
        switch credentials {
        case "\(configuration.user):\(configuration.password)": return (false, ())
        case "watcher:\(configuration.password)": return (true, ())
        default: return nil
        }
    }

    // MARK: The event stream

    private func openStream(_ request: HTTPRequest, _ exchange: HTTPExchange) {
        guard request.fields["upgrade"] != nil else {
            return exchange.answer(426, html: "Upgrade Required", "")
        }
        let names = (request.query(named: "app") ?? "").split(separator: ",").map(String.init)
        guard !names.isEmpty else {
            return exchange.answer(400, html: "Bad Request", "HTTP request is missing param: [app]")
        }
        let reader = PBXReader(
            simulator: self, applicationNames: names,
            subscribesToAll: request.query(named: "subscribeAll") == "true")
        _ = exchange.acceptWebSocket(subprotocols: ["ari"], delegate: reader)
    }

    /// Plays the fault of the handshake, if one is due.
    private func refuseByFault(_ exchange: HTTPExchange) -> Bool {
        guard faults.handshake != .accept, faults.handshakes > 0 else { return false }
        if faults.handshakes != .max { faults.handshakes -= 1 }
        readersRefused += 1
        switch faults.handshake {
        case .accept: return false
        case .unauthorized: exchange.answer(401, "Authentication required")
        case .unavailable: exchange.answer(503, html: "Service Unavailable", "")
        case .cut: exchange.abort()
        case .garbage: exchange.abort(sending: Array("\u{0}\u{1}SSH-2.0-nonsense\r\n\r\n".utf8))
        case .silence: leaveUnanswered(exchange)
        }
        return true
    }

    private func leaveUnanswered(_ exchange: HTTPExchange) {
        if unanswered.count >= Self.maximumUnanswered { unanswered.removeFirst() }
        unanswered.append(exchange)
    }

    // MARK: The simulator's own

    private func handleOwn(_ parts: [String], _ request: HTTPRequest, _ exchange: HTTPExchange) {
        switch (request.method, parts) {
        case ("GET", ["stats"]): exchange.answer(200, json: Array(statistics.utf8))
        case ("GET", ["truth"]):
            let from = UInt64(request.query(named: "from") ?? "") ?? 0
            let limit = Int(request.query(named: "limit") ?? "") ?? 100_000
            exchange.answer(200, json: truth(from: from, limit: limit))
        case ("POST", ["faults"]):
            guard let plan = FaultPlan(query: request.query, before: faults) else {
                return exchange.answer(400, "Unknown fault")
            }
            faults = plan
            exchange.respond(status: 204)
        case ("POST", ["drain"]):
            player.drain()
            exchange.respond(status: 204)
        default: exchange.answer(404, "Resource not found")
        }
    }

    /// `{"calls":[…],"dropped":n}`: calls with a sequence number of `from` or more, at most `limit`.
    package func truth(from: UInt64 = 0, limit: Int) -> [UInt8] {
        var output = Array("{\"calls\":[".utf8)
        var left = limit
        player.forEachTruth { truth in
            guard left > 0, truth.sequence >= from else { return }
            if left < limit { output.append(0x2C) }
            truth.appendJSON(to: &output) { player.timeText($0) }
            left -= 1
        }
        output.append(contentsOf: "],\"dropped\":\(player.truthsDropped)}".utf8)
        return output
    }
}

extension FaultPlan {
    /// Reads `handshake`, `handshakes`, `stream` and `requests` of a query; what is left out stays as it was.
    init?(query: [(name: String, value: String)], before: FaultPlan) {
        self = before
        for (name, value) in query {
            switch name {
            case "handshake":
                guard let fault = Handshake(rawValue: value) else { return nil }
                handshake = fault
            case "handshakes":
                guard let count = Int(value) else { return nil }
                handshakes = count
            case "stream":
                guard let fault = Stream(rawValue: value) else { return nil }
                stream = fault
            case "requests":
                guard let fault = Requests(rawValue: value) else { return nil }
                requests = fault
            default: return nil
            }
        }
    }
}

extension HTTPExchange {
    /// Fields of every answer of Asterisk's.
    static let asteriskFields = [("Server", "Asterisk/22.10.1"), ("Cache-Control", "no-cache, no-store")]

    /// An answer with ARI's message.
    func answer(_ status: Int, _ message: String, fields: [(String, String)] = []) {
        respond(
            status: status, fields: Self.asteriskFields + fields,
            body: Array("{\"message\":\"\(message)\"}".utf8), contentType: "application/json")
    }

    /// An answer with a JSON body.
    func answer(_ status: Int, json body: [UInt8]) {
        respond(status: status, fields: Self.asteriskFields, body: body, contentType: "application/json")
    }

    /// An answer of Asterisk's web server itself.
    func answer(_ status: Int, html title: String, _ text: String) {
        let page = """
            <!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\r
            <html><head>\r
            <title>\(status) \(title)</title>\r
            </head><body>\r
            <h1>\(title)</h1>\r
            <p>\(text)</p>\r
            <hr />\r
            <address>Asterisk/22.10.1</address>\r
            </body></html>\r

            """
        respond(status: status, fields: Self.asteriskFields, body: Array(page.utf8), contentType: "text/html")
    }
}

/// Reads the body of a request for a filter: `{"allowed":[{"type":"…"},…]}`.
enum FilterBody {
    /// The allowed types; empty when there is no `allowed`; `nil` when the body is something else.
    static func types(in body: [UInt8]) -> [String]? {
        let text = String(decoding: body, as: UTF8.self)
        guard text.first == "{", text.last == "}" else { return nil }
        guard let start = text.firstRange(of: "\"allowed\"") else { return [] }
        let rest = text[start.upperBound...].drop { $0 == ":" || $0.isWhitespace }
        guard rest.first == "[", let end = rest.firstIndex(of: "]") else { return nil }
        let parts = rest[..<end].split(separator: "\"", omittingEmptySubsequences: false)
        // Quoted texts are the odd parts: type, its value, type, its value, …
        let quoted = stride(from: 1, to: parts.count, by: 2).map { parts[$0] }
        guard quoted.count % 2 == 0 else { return nil }
        return stride(from: 0, to: quoted.count, by: 2).map { String(quoted[$0 + 1]) }
    }
}
