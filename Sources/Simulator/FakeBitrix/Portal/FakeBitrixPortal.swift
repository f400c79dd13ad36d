package import Protocols

/// A Bitrix24 portal as a value: a request and the time go in, the answer comes out, and everything that
/// happened is in its ledger.
///
/// It enforces what the real one does, above all where a client gets away with mistakes in front of a stub
/// that says yes to everything.
///
/// No socket, no clock: `FakeBitrixServer` puts it behind HTTP.
package struct FakeBitrixPortal: Sendable {
    package var settings: PortalSettings
    /// Faults to be injected; the first rule that strikes decides.
    package var faults: [PortalFaultRule] = []

    /// Calls registered and not finished, by `CALL_ID`.
    package internal(set) var activeCalls: [String: ActiveCall] = [:]
    /// Finished calls by `CALL_ID`.
    package internal(set) var statistics: [String: StatisticsRow] = [:]
    /// What is in the CRM.
    package internal(set) var directory: CRMDirectory
    /// Cards on users' screens: call ids by user id.
    package internal(set) var cards: [Int: Set<String>] = [:]
    /// Lines by number; what the methods of lines and the lines named by calls have made.
    package internal(set) var lineRows: [String: PortalLine] = [:]
    /// Everything that happened.
    package internal(set) var effects: BoundedLog<PortalEffect>
    /// Every refused request.
    package internal(set) var refusals: BoundedLog<PortalRefusal>
    /// Requests by method, refused ones included.
    package internal(set) var requestCounts: [String: Int] = [:]

    /// What is in the CRM, oldest first.
    package var entities: [PortalSettings.Entity] { directory.all }

    /// Ids of open calls by stripped number, for recognising a repeat.
    var activeByNumber: [String: [String]] = [:]
    /// Numbers in the list of missed calls.
    var missedNumbers: Set<String> = []
    /// Order of `activeCalls` and `statistics`, so that the oldest can leave.
    var activeOrder: [String] = []
    var statisticsOrder: [String] = []
    var uploads: [String: (callID: String, name: String)] = [:]
    /// When access tokens expire, in microseconds since 1970; a token without an entry does not.
    var tokenExpiry: [String: Int64] = [:]
    var refreshTokens: [String: PortalSettings.Webhook] = [:]
    var buckets: [String: IntensityBucket] = [:]
    var operating: [String: OperatingTime] = [:]
    /// The present batch is cut off after so many commands.
    var batchDiesAfter: Int?
    var nextID = 500
    var random: PortalRandom

    /// A portal.
    ///
    /// - Parameter seed: For `CALL_ID`s and for faults that strike by chance.
    package init(settings: PortalSettings = PortalSettings(), seed: UInt64 = 1) {
        self.settings = settings
        directory = CRMDirectory(settings.entities, capacity: settings.maximumEntities)
        effects = BoundedLog(capacity: settings.maximumLogEntries)
        refusals = BoundedLog(capacity: settings.maximumLogEntries)
        random = PortalRandom(state: seed)
    }

    /// Fills the request bucket of an address, as another program there would.
    package mutating func fillBucket(of source: String, at now: Timestamp) {
        buckets[source, default: IntensityBucket()].fill(at: now.seconds, plan: settings.plan)
    }

    /// Answers a request.
    package mutating func handle(_ request: PortalRequest, at now: Timestamp) -> PortalReply {
        guard !request.path.contains("//") else {
            // The real portal's behaviour is not known; a client must not rely on any.
            note(PortalError(status: 404, code: "", text: "doubled slash"), method: "//", at: now)
            return .plain(status: 404, "The path has a doubled slash: join the webhook's URL with one.")
        }
        let parameters = PortalParameters.read(request)
        let segments = request.path.split(separator: "/").map(String.init)
        if segments == ["oauth", "token"] { return refreshToken(request, at: now) }
        guard segments.first == "rest", segments.count == 2 || segments.count == 4 else {
            return .plain(status: 404, "Not found")
        }
        let method = Self.methodName(segments[segments.count - 1])
        requestCounts[method, default: 0] += 1

        var delivery = PortalReply.Delivery.now
        var page: Int?
        switch faultStriking(method) {
        case nil: break
        case .delayAfterEffect(let delay)?: delivery = .after(delay)
        case .cutAfterEffect?: delivery = .cut
        case .pageAfterEffect(let status)?: page = status
        case .diesInBatch(let commands)?:
            batchDiesAfter = commands
            page = 502
        case .cutBeforeEffect?: return PortalReply(status: 0, body: [], delivery: .cut)
        case .page(let status)?: return .page(status: status)
        case .body(let text)?: return PortalReply(status: 200, body: Array(text.utf8))
        case .refusal(let status, let code, let text)?:
            return refuse(PortalError(status: status, code: code, text: text), method: method, at: now)
        }

        var reply: PortalReply
        do {
            if method == "upload" {
                reply = .json(status: 200, .map(["result": try upload(request, parameters, at: now)]))
            } else {
                reply = try answer(method, segments, parameters, request, at: now)
            }
        } catch {
            reply = refuse(error, method: method, at: now)
        }
        batchDiesAfter = nil
        if let page { reply = .page(status: page) }
        reply.delivery = delivery
        return reply
    }

    private mutating func answer(
        _ method: String, _ segments: [String], _ parameters: PHPArray, _ request: PortalRequest,
        at now: Timestamp
    ) throws(PortalError) -> PortalReply {
        guard buckets[request.source, default: IntensityBucket()].take(at: now.seconds, plan: settings.plan)
        else {
            throw PortalError(status: 503, code: "QUERY_LIMIT_EXCEEDED", text: "Too many requests")
        }
        let caller = try authorize(segments, parameters, at: now)
        var envelope: PHPArray
        let outcome: MethodOutcome
        if method == "batch" {
            outcome = MethodOutcome(try batch(parameters, caller: caller, at: now))
        } else {
            outcome = try run(method, parameters, caller: caller, at: now)
        }
        envelope = PHPArray()
        envelope["result"] = outcome.result
        if let total = outcome.total { envelope["total"] = .int(total) }
        if let next = outcome.next { envelope["next"] = .int(next) }
        envelope["time"] = timeBlock(of: method, caller: caller, at: now)
        return .json(status: 200, .array(envelope))
    }

    /// Runs a method under the limits on its running time.
    mutating func run(
        _ method: String, _ parameters: PHPArray, caller: PortalCaller, at now: Timestamp
    ) throws(PortalError) -> MethodOutcome {
        guard let scope = Self.scopes[method] else {
            throw PortalError(status: 404, code: "ERROR_METHOD_NOT_FOUND", text: "Method not found!")
        }
        guard caller.scopes.contains(scope) else {
            throw PortalError(
                status: 401, code: "insufficient_scope",
                text: "The request requires higher privileges than provided by the webhook token")
        }
        let key = caller.key + " " + method
        var running = operating[key] ?? OperatingTime()
        if let limit = settings.operatingLimit, running.sum(at: now.seconds) > limit {
            throw PortalError(
                status: 429, code: "OPERATION_TIME_LIMIT",
                text: "Method is blocked due to operation time limit.")
        }
        running.add(settings.runningTime[method] ?? settings.defaultRunningTime, at: now.seconds)
        operating[key] = running

        let parameters = PHPValue.array(parameters)
        switch method {
        case "telephony.externalcall.register":
            return MethodOutcome(try register(parameters, caller, at: now))
        case "telephony.externalcall.finish": return MethodOutcome(try finish(parameters, caller, at: now))
        case "telephony.externalcall.show":
            return MethodOutcome(.bool(card(parameters, shown: true, at: now)))
        case "telephony.externalcall.hide":
            return MethodOutcome(.bool(card(parameters, shown: false, at: now)))
        case "telephony.externalcall.attachrecord":
            return MethodOutcome(try attachRecord(parameters, at: now))
        case "telephony.externalcall.searchcrmentities":
            return MethodOutcome(try searchEntities(parameters))
        case "user.get": return users(parameters)
        case "voximplant.statistic.get": return try statistics(parameters)
        case "crm.status.list":
            let isAsked = parameters["FILTER"]["ENTITY_ID"].text == "SOURCE"
            let sources = isAsked ? settings.sources.sorted() : []
            return MethodOutcome(
                .list(sources.map { .map(["ENTITY_ID": .string("SOURCE"), "STATUS_ID": .string($0)]) }))
        case "telephony.call.attachtranscription":
            return MethodOutcome(try attachTranscription(parameters, at: now))
        case "telephony.externalline.add":
            return MethodOutcome(try addLine(parameters, caller, at: now))
        case "telephony.externalline.update": return MethodOutcome(try updateLine(parameters, caller))
        case "telephony.externalline.get": return MethodOutcome(try allLines(caller))
        case "telephony.externalline.delete": return MethodOutcome(try deleteLine(parameters, caller))
        default: throw PortalError(status: 404, code: "ERROR_METHOD_NOT_FOUND", text: "Method not found!")
        }
    }

    /// The methods there are, in lower case, and the scope each needs.
    static let scopes: [String: String] = [
        "telephony.externalcall.register": "telephony",
        "telephony.externalcall.finish": "telephony",
        "telephony.externalcall.show": "telephony",
        "telephony.externalcall.hide": "telephony",
        "telephony.externalcall.attachrecord": "telephony",
        "telephony.externalcall.searchcrmentities": "telephony",
        "telephony.externalline.add": "telephony",
        "telephony.externalline.update": "telephony",
        "telephony.externalline.get": "telephony",
        "telephony.externalline.delete": "telephony",
        "telephony.call.attachtranscription": "telephony",
        "voximplant.statistic.get": "telephony",
        "user.get": "user",
        "crm.status.list": "crm",
    ]

    /// Lower case, without `.json` or `.xml`.
    static func methodName(_ segment: String) -> String {
        let name = segment.lowercased()
        for suffix in [".json", ".xml"] where name.hasSuffix(suffix) {
            return String(name.dropLast(suffix.count))
        }
        return name
    }

    private func authorize(
        _ segments: [String], _ parameters: PHPArray, at now: Timestamp
    ) throws(PortalError) -> PortalCaller {
        if segments.count == 4 {
            let match = settings.webhooks.first {
                String($0.userID) == segments[1] && $0.secret == segments[2]
            }
            guard let webhook = match else {
                throw PortalError(
                    status: 401, code: "INVALID_CREDENTIALS", text: "Invalid request credentials")
            }
            // All webhooks of a portal are one application to the telephony methods: none.
            return PortalCaller(
                key: "webhook \(webhook.userID)", application: "", userID: webhook.userID,
                scopes: webhook.scopes,
                isWebhook: true)
        }
        guard let token = parameters["auth"]?.text, !token.isEmpty else {
            throw PortalError(status: 401, code: "NO_AUTH_FOUND", text: "Wrong authorization data")
        }
        guard let application = settings.accessTokens[token], !hasExpired(token, at: now) else {
            throw PortalError(
                status: 401, code: "expired_token", text: "The access token provided has expired.")
        }
        return PortalCaller(
            key: "application \(application.secret)", application: application.secret,
            userID: application.userID, scopes: application.scopes, isWebhook: false)
    }

    private mutating func faultStriking(_ method: String) -> PortalFault? {
        for index in faults.indices where faults[index].strikes(method, random: &random) {
            return faults[index].fault
        }
        return nil
    }

    private mutating func refuse(_ error: PortalError, method: String, at now: Timestamp) -> PortalReply {
        note(error, method: method, at: now)
        return .json(status: error.status, error.envelope)
    }

    mutating func note(_ error: PortalError, method: String, at now: Timestamp) {
        refusals.append(
            PortalRefusal(at: now, method: method, status: error.status, code: error.code, text: error.text))
    }

    mutating func note(_ kind: PortalEffect.Kind, at now: Timestamp) {
        effects.append(PortalEffect(at: now, kind: kind))
    }

    /// The next id of anything.
    mutating func makeID() -> Int {
        nextID += 1
        return nextID
    }

    /// `time` of an answer.
    ///
    /// Whole numbers come without a fraction, so a reader meets both.
    mutating func timeBlock(of method: String, caller: PortalCaller, at now: Timestamp) -> PHPValue {
        let duration = settings.runningTime[method] ?? settings.defaultRunningTime
        let start = now.seconds
        let date = PHPValue.string(localTime(now))
        var block: KeyValuePairs<String, PHPValue> = [
            "start": .double(start), "finish": .double(start + duration), "duration": .double(duration),
            "processing": .double(duration), "date_start": date, "date_finish": date,
        ]
        if settings.operatingLimit != nil, method != "batch" {
            var running = operating[caller.key + " " + method] ?? OperatingTime()
            block = [
                "start": .double(start), "finish": .double(start + duration), "duration": .double(duration),
                "processing": .double(duration), "date_start": date, "date_finish": date,
                "operating_reset_at": .int(running.resetsAt(start)),
                "operating": .double(running.sum(at: start)),
            ]
        }
        return .map(block)
    }

    /// `2026-09-21T12:13:20+03:00` in the portal's zone.
    func localTime(_ time: Timestamp) -> String {
        let local = Timestamp(microseconds: time.microseconds + Int64(settings.zoneSeconds) * 1_000_000)
        let minutes = abs(settings.zoneSeconds) / 60
        func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let sign = settings.zoneSeconds < 0 ? "-" : "+"
        return local.formatted(.seconds).dropLast() + "\(sign)\(two(minutes / 60)):\(two(minutes % 60))"
    }
}

/// Who calls.
struct PortalCaller: Sendable {
    /// What running time is summed by.
    var key: String
    /// What calls are recognised by; empty for every webhook.
    var application: String
    var userID: Int
    var scopes: Set<String>
    var isWebhook: Bool
}

/// The result of a method; the numbers only with lists.
struct MethodOutcome: Sendable {
    var result: PHPValue
    var total: Int?
    var next: Int?

    init(_ result: PHPValue, total: Int? = nil, next: Int? = nil) {
        self.result = result
        self.total = total
        self.next = next
    }
}

/// An error of the portal's.
struct PortalError: Error, Sendable, Hashable {
    var status: Int
    var code: String
    var text: String
    var argument: String?

    var envelope: PHPValue {
        if let argument {
            return .map([
                "error": .string(code), "error_description": .string(text), "argument": .string(argument),
            ])
        }
        return .map(["error": .string(code), "error_description": .string(text)])
    }
}

/// A small generator for ids and chance; not for secrets.
struct PortalRandom: RandomNumberGenerator, Sendable {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

extension Timestamp {
    /// Seconds since 1970 with a fraction.
    var seconds: Double { Double(microseconds) / 1_000_000 }
}

extension PHPArray {
    package subscript(name: String) -> PHPValue? {
        get { self[Key(name)] }
        set { self[Key(name)] = newValue }
    }
}

extension PortalReply {
    static func json(status: Int, _ value: PHPValue) -> PortalReply {
        var body: [UInt8] = []
        value.encodeJSON(into: &body)
        return PortalReply(status: status, body: body)
    }

    static func plain(status: Int, _ text: String) -> PortalReply {
        PortalReply(status: status, contentType: "text/plain; charset=utf-8", body: Array(text.utf8))
    }

    /// What a proxy in front of the portal says.
    static func page(status: Int) -> PortalReply {
        let text =
            "<html><head><title>\(status)</title></head><body><h1>\(status)</h1><hr>nginx</body></html>"
        return PortalReply(status: status, contentType: "text/html", body: Array(text.utf8))
    }
}
