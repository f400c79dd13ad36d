import Connectors
import Protocols
import Testing

@Suite("Bitrix24 settings: clear errors, no secrets")
struct BitrixConfigurationTests {
    @Test(arguments: [
        "https://portal.example/rest/1/s3cr3tt0k3n/", "https://portal.example/rest/1/s3cr3tt0k3n",
        "https://portal.example:443/rest/1/s3cr3tt0k3n/", "HTTPS://Portal.Example/rest/1/s3cr3tt0k3n",
    ])
    func webhookWithOrWithoutSlash(text: String) throws {
        let webhook = try BitrixWebhook(text)
        #expect(webhook.host == "portal.example")
        #expect(webhook.port == 443)
        #expect(webhook.userID == 1)
        #expect(
            webhook.target(of: .register) == "/rest/1/s3cr3tt0k3n/telephony.externalcall.register",
            "joined by exactly one slash")
    }

    @Test(arguments: [
        "", "portal.example", "ftp://portal.example/rest/1/s3cr3tt0k3n/",
        "wss://portal.example/rest/1/s3cr3tt0k3n/",
        "http://portal.example/rest/1/s3cr3tt0k3n/", "https://portal.example/rest/1/s3cr3tt0k3n/profile.json",
        "https://portal.example/rest/one/s3cr3tt0k3n/", "https://portal.example/rest/0/s3cr3tt0k3n/",
        "https://portal.example/rest/1/", "https://portal.example/rest/1//",
        "https://portal.example//rest/1/s3cr3tt0k3n/",
        "https://portal.example/rest/1/s3cr3tt0k3n//", "https://portal.example/rest/1/s3cr3tt0k3n?x=1",
        "https://u:s3cr3tt0k3n@portal.example/rest/1/s3cr3tt0k3n/",
        "https://portal.example:x/rest/1/s3cr3tt0k3n/",
        "https:///rest/1/s3cr3tt0k3n/", "https://portal.example/rest/1/s3cr3tt0k3n%2F/",
    ])
    func whatIsNoWebhookIsRefusedByNameWithoutTheSecret(text: String) {
        do {
            let webhook = try BitrixWebhook(text)
            Issue.record("accepted as \(webhook)")
        } catch {
            #expect("\(error)".hasPrefix("BITRIX_WEBHOOK_URL: "))
            #expect(!"\(error)".contains("s3cr3t"))
        }
    }

    @Test func plainHTTPIsForThisMachineOrOnRequest() throws {
        for host in ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"] {
            #expect(try BitrixWebhook("http://\(host):8080/rest/1/abc/").port == 8080)
        }
        #expect(throws: BitrixConfigurationError.self) {
            try BitrixWebhook("http://127.evil-host.example/rest/1/abc/")
        }
        #expect(try BitrixWebhook("http://portal.lan/rest/1/abc/", allowsPlainHTTP: true).scheme == .http)
    }

    @Test func noDescriptionShowsTheSecret() throws {
        let configuration = try BitrixFixtures.configuration()
        var dumped = ""
        dump(configuration, to: &dumped)
        for text in [
            "\(configuration)", String(reflecting: configuration), "\(configuration.webhook)",
            String(reflecting: configuration.webhook), dumped,
        ] {
            #expect(!text.contains(BitrixFixtures.secret), "\(text)")
        }
        #expect("\(configuration.webhook)" == "https://portal.example/rest/1/…/")
    }

    private func read(_ environment: [String: String]) throws -> BitrixConfiguration? {
        try BitrixConfiguration(pbxName: "office") { environment[$0] }
    }

    @Test func absentWebhookIsOff() throws {
        #expect(try read([:]) == nil)
        #expect(try read(["BITRIX_WEBHOOK_URL": "", "BITRIX_SHOW": "maybe"]) == nil)
    }

    @Test func settingsAreRead() throws {
        let configuration = try #require(
            try read([
                "BITRIX_WEBHOOK_URL": "https://portal.example/rest/3/abc", "BITRIX_DEFAULT_USER_ID": "12",
                "BITRIX_SHOW": "0", "BITRIX_CRM_CREATE": "false", "BITRIX_CRM_SOURCE": "WEB",
                "BITRIX_LINE_NUMBER": "main", "BITRIX_ADD_TO_CHAT": "yes", "BITRIX_INTERNAL_CALLS": "1",
                "BITRIX_HIDDEN_NUMBER": "+70000000000", "BITRIX_EXTENSION_DIGITS": "5",
                "BITRIX_REQUESTS_PER_SECOND": "5", "BITRIX_REQUEST_BURST": "240", "BITRIX_MAX_CALLS": "100",
            ]))
        #expect(configuration.pbxName == "office")
        #expect(configuration.fallbackUserID == 12)
        #expect(!configuration.showsCard && !configuration.createsLead)
        #expect(configuration.addsToChat && configuration.registersInternalCalls)
        #expect(configuration.source == "WEB" && configuration.lineNumber == "main")
        #expect(configuration.hiddenNumber == "+70000000000")
        #expect(configuration.maximumExtensionDigits == 5)
        #expect(configuration.requestsPerSecond == 5 && configuration.requestBurst == 240)
        #expect(configuration.maximumCalls == 100)
    }

    @Test func defaultsAreSafe() throws {
        let configuration = try #require(
            try read(["BITRIX_WEBHOOK_URL": "https://portal.example/rest/3/abc"]))
        #expect(configuration.fallbackUserID == 3, "the webhook's own user is sure to exist")
        #expect(configuration.createsLead, "else an unknown caller leaves no trace in the CRM")
        #expect(configuration.requestsPerSecond == 2)
        #expect(configuration.requestBurst < 50, "headroom below the portal's limit")
        #expect(configuration.requestTimeout < .seconds(60), "below the portal's own limit")
        #expect(!configuration.addsToChat)
    }

    @Test(arguments: [
        ("BITRIX_DEFAULT_USER_ID", "x"), ("BITRIX_DEFAULT_USER_ID", "0"), ("BITRIX_SHOW", "2"),
        ("BITRIX_CRM_CREATE", "maybe"), ("BITRIX_HIDDEN_NUMBER", "nobody"), ("BITRIX_EXTENSION_DIGITS", "20"),
        ("BITRIX_REQUESTS_PER_SECOND", "0"), ("BITRIX_REQUESTS_PER_SECOND", "nan"),
        ("BITRIX_REQUEST_BURST", "0"),
        ("BITRIX_MAX_CALLS", "-1"), ("BITRIX_ALLOW_HTTP", "x"), ("BITRIX_ADD_TO_CHAT", "x"),
        ("BITRIX_INTERNAL_CALLS", "x"), ("BITRIX_CUTOFF_SECONDS", "2"), ("BITRIX_RECORDING", "x.wav"),
    ])
    func unusableSettingIsNamed(variable: String, value: String) {
        do {
            _ = try read(["BITRIX_WEBHOOK_URL": "https://portal.example/rest/3/abc", variable: value])
            Issue.record("accepted \(variable)=\(value)")
        } catch {
            #expect("\(error)".hasPrefix("\(variable): "))
        }
    }

    @Test func waitsFollowThePortalsCutOff() throws {
        let read = try read([
            "BITRIX_WEBHOOK_URL": "https://portal.example/rest/3/abc", "BITRIX_CUTOFF_SECONDS": "120",
        ])
        let configuration = try #require(read)
        #expect(configuration.requestTimeout == .seconds(60) && configuration.batchTimeout == .seconds(110))
        #expect(configuration.outcomeSettles == .seconds(130))
        var usual = configuration
        usual.follow(cutOff: .seconds(60))
        let given = BitrixConfiguration(webhook: configuration.webhook)
        #expect(usual.requestTimeout == given.requestTimeout && usual.batchTimeout == given.batchTimeout)
        #expect(usual.outcomeSettles == given.outcomeSettles && usual.cutOff == given.cutOff)
    }

    @Test func everySettingThatIsReadIsDocumented() throws {
        final class Asked { var names: Set<String> = [] }
        let asked = Asked()
        _ = try BitrixConfiguration { name in
            asked.names.insert(name)
            return switch name {
            case "BITRIX_WEBHOOK_URL": "https://portal.example/rest/3/abc"
            case "HTTPS_PROXY": "http://proxy.example:3128"
            case "BITRIX_APPLICATION_TOKEN": "t0ken"
            default: nil
            }
        }
        #expect(asked.names == Set(BitrixConfiguration.settings.map(\.key)))
    }
}
