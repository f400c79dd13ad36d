/// Everything the Bitrix24 client may be told.
package struct BitrixConfiguration: Sendable, Hashable, CustomStringConvertible {
    /// The portal and the credential.
    package var webhook: BitrixWebhook
    /// Put before each call's id in `EXTERNAL_CALL_ID`, since PBX ids are unique on one box only.
    package var pbxName: String
    /// Who gets calls without an extension of ours (a call to the company's number that nobody answered,
    /// for instance).
    ///
    /// When not set: the employee that made the webhook, who is the one user sure to exist.
    package var defaultUserID: Int?
    /// Users by extension, for extensions that the portal does not know: longer than it allows, or somebody's second
    /// one.
    package var extensionUsers: [String: Int] = [:]
    /// Who gets a call from outside that nobody answered.
    package var missedCalls = MissedCalls.rung
    /// What becomes of a call that was handed on.
    package var transfers = Transfers.last
    /// Where recordings lie; `nil`: none are attached.
    package var recording: RecordingTemplate?
    /// Bytes of a recording that is attached; it is in memory meanwhile.
    package var maximumRecordingBytes = 64 << 20
    /// Names of the PBXs, in the order of ``CRMCall/pbx``.
    package var pbxNames: [String] = []
    /// What the portal proves its events with; `nil`: events are not taken.
    package var clicks: BitrixClicks?
    /// The tokens of an application and their file, instead of a webhook.
    package var application: BitrixApplication?
    /// Through which the portal is reached; `nil`: directly.
    package var proxy: HTTPProxy?
    /// How often the employees are read anew.
    package var directoryInterval: Duration = .seconds(15 * 60)
    /// What becomes of the customers' numbers before the portal gets them.
    package var numberRules = NumberRules()
    /// Whether the portal pops a call's card up at the extension it rings at.
    ///
    /// Never done for the default user.
    package var showsCard = true
    /// `CRM_CREATE`: whether the portal makes a lead for a number it does not know.
    ///
    /// On by default: without it a call of an unknown number leaves a row in the statistics but no trace in the
    /// CRM, because there is nothing that an activity could be bound to.
    package var createsLead = true
    /// `CRM_SOURCE`, a `STATUS_ID` of the portal's sources; the portal's own choice when not set.
    package var source: String?
    /// `LINE_NUMBER` for calls whose own line is not known.
    package var lineNumber: String?
    /// `ADD_TO_CHAT` of finish; always sent, because the portal's default is documented both ways.
    package var addsToChat = false
    /// Whether calls between two extensions are told to the CRM.
    package var registersInternalCalls = false
    /// Sent in place of a hidden number; calls of hidden numbers are skipped when not set.
    package var hiddenNumber: String?
    /// The most digits that an extension of ours has (the portal's own limit is four).
    package var maximumExtensionDigits = 4

    /// Requests a second that the portal's bucket loses (2, Enterprise 5).
    package var requestsPerSecond = 2.0
    /// Requests that may go out at once after a quiet time.
    ///
    /// The portal allows 50 (Enterprise 250); the rest is headroom for other programs behind the same
    /// address.
    package var requestBurst = 45.0
    /// Connections to the portal, and so requests under way at a time.
    package var maximumConnections = 8
    /// Calls that are held in memory at a time; the steps of others wait in the database.
    package var maximumCalls = 4_000
    /// After so long the portal cuts a request off, whatever it was doing; see ``follow(cutOff:)``.
    package private(set) var cutOff: Duration = .seconds(60)
    /// After this a request counts as having an unknown outcome.
    ///
    /// Below the portal's own 60 s.
    package var requestTimeout: Duration = .seconds(30)
    /// The same of a `batch`; a little below the portal's own 60 s.
    package var batchTimeout: Duration = .seconds(55)
    /// When the portal has surely cut off a request of which nothing was heard, counted from its sending.
    package var outcomeSettles: Duration = .seconds(65)
    /// Running time in ten minutes at which the portal blocks a method, in seconds, until it tells another.
    package var operatingLimit = 420.0
    /// So many failures in a row open the circuit.
    package var failuresThatOpenTheCircuit = 5
    /// How often and when a failed step is repeated.
    package var retry = RetryPolicy()

    /// Who gets a call from outside that nobody answered.
    package enum MissedCalls: String, Sendable, Hashable, CaseIterable {
        /// Whoever's telephone rang last.
        case rung
        /// The default user.
        case fixed
        /// Whoever is responsible for the client in the CRM; else whoever's telephone rang last.
        case responsible
    }

    /// What becomes of a call that was handed on.
    package enum Transfers: String, Sendable, Hashable, CaseIterable {
        /// One record, for the last who talked.
        case last
        /// A record for each who talked, with the time of their own.
        case each
    }

    /// Bounds of the repeats of one step.
    package struct RetryPolicy: Sendable, Hashable {
        /// The most requests for one step, the first included.
        package var maximumAttempts = 10
        /// The delay before the second attempt; doubled each time.
        package var firstDelay: Duration = .seconds(1)
        /// The longest delay.
        package var maximumDelay: Duration = .seconds(60)

        /// The defaults.
        package init() {}
    }

    /// Who gets the calls that have no extension of ours.
    package var fallbackUserID: Int { defaultUserID ?? webhook.userID }

    /// The defaults for a webhook.
    package init(webhook: BitrixWebhook, pbxName: String = "pbx1") {
        self.webhook = webhook
        self.pbxName = pbxName
    }

    /// Portal and settings without the secret.
    package var description: String {
        "\(webhook), user \(fallbackUserID), \(requestsPerSecond) requests/s, burst \(requestBurst)"
    }

    /// Sets after how long the portal cuts a request off, and the waits for answers with it.
    package mutating func follow(cutOff time: Duration) {
        cutOff = time
        requestTimeout = time / 2
        batchTimeout = time * 11 / 12
        outcomeSettles = time * 13 / 12
    }
}

extension BitrixConfiguration {
    /// The environment variables that are read, each with what it means; for `--help` and the README.
    package static let settings: KeyValuePairs<String, String> = [
        "BITRIX_WEBHOOK_URL":
            "https://DOMAIN/rest/USER/TOKEN/ of an incoming webhook with the scopes telephony and crm; absent: CRM off",
        "HTTPS_PROXY": "http://[USER:PASSWORD@]HOST:PORT through which https portals are reached",
        "NO_PROXY": "hosts and domains, by commas, that are reached without it",
        "BITRIX_CUTOFF_SECONDS":
            "after so long the portal cuts a request off, 3 to 600 (default 60, as in the cloud)",
        "BITRIX_ALLOW_HTTP": "1: accept http:// for hosts other than this machine (default 0)",
        "BITRIX_DEFAULT_USER_ID":
            "user that gets calls without an extension of ours (default: the webhook's user)",
        "BITRIX_EXTENSION_USERS":
            "users of extensions that the portal does not know, such as 21401=7,21402=8",
        "BITRIX_MISSED_CALLS":
            "who gets a missed call: rung (whose telephone rang last, default), fixed (the default user), responsible (the client's)",
        "BITRIX_TRANSFERS":
            "a call that was handed on: last (one record, for the last who talked; default), each (a record for each)",
        "BITRIX_RECORDING":
            "where recordings lie, /PATH/{year}/*{uniqueid}.wav or https://HOST/{id}.mp3; absent: none are attached",
        "BITRIX_RECORDING_MAX_BYTES": "largest recording that is attached, 1 MiB to 1 GiB (default 67108864)",
        "BITRIX_APPLICATION_TOKEN":
            "token of the portal's events (POST /bitrix24/events): calls begun by a click; absent: off",
        "BITRIX_CLICK_ENDPOINT": "telephone that a click rings first (default PJSIP/{extension})",
        "BITRIX_CLICK_CONTEXT":
            "dialplan context in which the clicked number is called (default from-internal)",
        "BITRIX_CLICK_PBX": "PBX that calls for clicks (default: the first)",
        "BITRIX_CLICK_NUMBER_RULES": "PATTERN=REPLACEMENT;… for numbers that are called for clicks",
        "BITRIX_CALLBACK_ENDPOINT":
            "what answers a wish to be called back, such as Local/600@from-internal; absent: off",
        "BITRIX_OAUTH_FILE":
            "JSON file (mode 600) with domain, client_id, client_secret, refresh_token of an application, instead of a webhook",
        "BITRIX_USERS_MINUTES": "how often the employees are read anew, 1 to 1440 (default 15)",
        "BITRIX_NUMBER_RULES":
            "PATTERN=REPLACEMENT;… for customers' numbers, extended regular expressions, groups as \\1",
        "BITRIX_SHOW": "0|1: pop the card up at the extension that rings (default 1)",
        "BITRIX_CRM_CREATE": "0|1: make a lead for an unknown number (default 1)",
        "BITRIX_CRM_SOURCE": "source of such leads, a STATUS_ID of the portal",
        "BITRIX_LINE_NUMBER": "line named for calls whose own line is not known",
        "BITRIX_ADD_TO_CHAT": "0|1: note of each call in the chat (default 0)",
        "BITRIX_INTERNAL_CALLS": "0|1: tell the CRM of calls between extensions (default 0)",
        "BITRIX_HIDDEN_NUMBER": "number sent for hidden callers (default: such calls are skipped)",
        "BITRIX_EXTENSION_DIGITS": "most digits of an extension, 1 to 8 (default 4)",
        "BITRIX_REQUESTS_PER_SECOND": "the portal's allowance (default 2; Enterprise 5)",
        "BITRIX_REQUEST_BURST": "requests at once after a quiet time (default 45; Enterprise 240)",
        "BITRIX_MAX_CALLS":
            "calls held in memory, the others wait in the database, 64 to 1000000 (default 4000)",
    ]

    /// Reads the settings of the environment.
    ///
    /// - Parameters:
    ///   - pbxName: See ``pbxName``.
    ///   - value: Gives a variable's text; nil or empty is as good as absent.
    /// - Returns: nil when `BITRIX_WEBHOOK_URL` is absent: the CRM is off.
    /// - Throws: ``BitrixConfigurationError`` naming the first variable that cannot be used.
    package init?(
        pbxName: String = "pbx1", reading value: @escaping (String) -> String?
    ) throws(BitrixConfigurationError) {
        let reader = SettingReader(value: value)
        let allowsPlainHTTP = try reader.flag("BITRIX_ALLOW_HTTP") ?? false
        let user = try reader.integer("BITRIX_DEFAULT_USER_ID", in: 1...Int(Int32.max))
        switch (reader.text("BITRIX_WEBHOOK_URL"), reader.text("BITRIX_OAUTH_FILE")) {
        case (nil, nil): return nil
        case (let text?, nil):
            self.init(webhook: try BitrixWebhook(text, allowsPlainHTTP: allowsPlainHTTP), pbxName: pbxName)
        case (nil, let path?):
            let application = try BitrixApplication(path: path)
            self.init(webhook: BitrixWebhook(portal: application.tokens.portal), pbxName: pbxName)
            self.application = application
            guard user != nil else {
                throw BitrixConfigurationError(
                    variable: "BITRIX_DEFAULT_USER_ID", problem: "is needed with BITRIX_OAUTH_FILE")
            }
        case (_?, _?):
            throw BitrixConfigurationError(
                variable: "BITRIX_OAUTH_FILE", problem: "and BITRIX_WEBHOOK_URL: only one of them")
        }
        proxy = HTTPProxy.forOrigin(webhook.origin, reading: value)
        defaultUserID = user
        clicks = try BitrixClicks(reader)
        if let text = reader.text("BITRIX_RECORDING") {
            do throws(RecordingTemplate.Problem) {
                recording = try RecordingTemplate(text)
            } catch {
                throw BitrixConfigurationError(variable: "BITRIX_RECORDING", problem: error.description)
            }
        }
        maximumRecordingBytes =
            try reader.integer("BITRIX_RECORDING_MAX_BYTES", in: (1 << 20)...(1 << 30))
            ?? maximumRecordingBytes
        extensionUsers = try reader.users("BITRIX_EXTENSION_USERS")
        if let text = reader.text("BITRIX_MISSED_CALLS") {
            guard let policy = MissedCalls(rawValue: text.lowercased()) else {
                throw BitrixConfigurationError(
                    variable: "BITRIX_MISSED_CALLS", problem: "must be rung, fixed or responsible")
            }
            missedCalls = policy
        }
        if let text = reader.text("BITRIX_TRANSFERS") {
            guard let policy = Transfers(rawValue: text.lowercased()) else {
                throw BitrixConfigurationError(variable: "BITRIX_TRANSFERS", problem: "must be last or each")
            }
            transfers = policy
        }
        if let minutes = try reader.integer("BITRIX_USERS_MINUTES", in: 1...1440) {
            directoryInterval = .seconds(minutes * 60)
        }
        if let text = reader.text("BITRIX_NUMBER_RULES") {
            var wrong = ""
            guard let rules = NumberRules(text, wrong: { wrong = $0 }) else {
                throw BitrixConfigurationError(
                    variable: "BITRIX_NUMBER_RULES", problem: "cannot use the rule \"\(wrong)\"")
            }
            numberRules = rules
        }
        showsCard = try reader.flag("BITRIX_SHOW") ?? showsCard
        createsLead = try reader.flag("BITRIX_CRM_CREATE") ?? createsLead
        source = reader.text("BITRIX_CRM_SOURCE")
        lineNumber = reader.text("BITRIX_LINE_NUMBER")
        addsToChat = try reader.flag("BITRIX_ADD_TO_CHAT") ?? addsToChat
        registersInternalCalls = try reader.flag("BITRIX_INTERNAL_CALLS") ?? registersInternalCalls
        hiddenNumber = reader.text("BITRIX_HIDDEN_NUMBER")
        if let hiddenNumber, PhoneNumber.strippedIsEmpty(hiddenNumber) {
            throw BitrixConfigurationError(variable: "BITRIX_HIDDEN_NUMBER", problem: "has no digits")
        }
        maximumExtensionDigits =
            try reader.integer("BITRIX_EXTENSION_DIGITS", in: 1...8) ?? maximumExtensionDigits
        requestsPerSecond =
            try reader.number("BITRIX_REQUESTS_PER_SECOND", in: 0.01...100_000) ?? requestsPerSecond
        requestBurst = try reader.number("BITRIX_REQUEST_BURST", in: 1...100_000) ?? requestBurst
        if let seconds = try reader.integer("BITRIX_CUTOFF_SECONDS", in: 3...600) {
            follow(cutOff: .seconds(seconds))
        }
        maximumCalls = try reader.integer("BITRIX_MAX_CALLS", in: 64...1_000_000) ?? maximumCalls
    }
}

/// Reads typed settings; the error names the variable.
struct SettingReader {
    let value: (String) -> String?

    func text(_ variable: String) -> String? {
        guard let text = value(variable), !text.isEmpty else { return nil }
        return text
    }

    func flag(_ variable: String) throws(BitrixConfigurationError) -> Bool? {
        guard let text = text(variable) else { return nil }
        switch text.lowercased() {
        case "1", "true", "yes", "on": return true
        case "0", "false", "no", "off": return false
        default: throw BitrixConfigurationError(variable: variable, problem: "must be 0 or 1")
        }
    }

    func integer(_ variable: String, in range: ClosedRange<Int>) throws(BitrixConfigurationError) -> Int? {
        guard let text = text(variable) else { return nil }
        guard let number = Int(text), range.contains(number) else {
            throw BitrixConfigurationError(
                variable: variable,
                problem: "must be a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// `21401=7,21402=8`.
    func users(_ variable: String) throws(BitrixConfigurationError) -> [String: Int] {
        var users: [String: Int] = [:]
        for pair in (text(variable) ?? "").split(separator: ",") {
            let sides = pair.split(separator: "=").map { String($0.filter { $0 != " " }) }
            guard sides.count == 2, !sides[0].isEmpty, sides[0] == PhoneNumber.digits(sides[0]),
                let user = Int(sides[1]), user > 0
            else {
                throw BitrixConfigurationError(
                    variable: variable, problem: "must be EXTENSION=USER pairs, not \"\(pair)\"")
            }
            users[sides[0]] = user
        }
        return users
    }

    func number(_ variable: String, in range: ClosedRange<Double>) throws(BitrixConfigurationError) -> Double?
    {
        guard let text = text(variable) else { return nil }
        guard let number = Double(text), range.contains(number) else {
            throw BitrixConfigurationError(
                variable: variable,
                problem: "must be a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }
}
