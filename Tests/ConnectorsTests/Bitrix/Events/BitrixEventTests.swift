import CallEngine
import Protocols
import Reactor
import Simulator
import Testing

@testable import Connectors

@Suite("Events of the portal: believed only with the token, taken once")
struct BitrixEventTests {
    private static func body(_ items: KeyValuePairs<String, String>) -> [UInt8] {
        var query = Query(items)
        query.append("auth[application_token]", "t0ken")
        return Array(query.encoded.utf8)
    }

    private static let click: KeyValuePairs<String, String> = [
        "event": "ONEXTERNALCALLSTART", "data[PHONE_NUMBER]": "8 (999) 555-01-01",
        "data[PHONE_NUMBER_INTERNATIONAL]": "+79995550101", "data[EXTENSION]": "214", "data[USER_ID]": "7",
        "data[CALL_ID]": "externalCall.ab.1", "data[LINE_NUMBER]": "", "data[CRM_ENTITY_ID]": "0",
    ]

    @Test func aClickIsRead() throws {
        let expected = BitrixEvent.Click(
            bitrixCallID: "externalCall.ab.1", number: "+79995550101", extension: "214", userID: 7, line: "")
        #expect(try BitrixEvent(Self.body(Self.click), token: "t0ken") == .click(expected))
    }

    @Test func aWishToBeCalledBackIsRead() throws {
        let body = Self.body([
            "event": "OnExternalCallBackStart", "data[PHONE_NUMBER]": "+7 999 555",
            "data[LINE_NUMBER]": "74950000001",
        ])
        #expect(
            try BitrixEvent(body, token: "t0ken") == .callBack(.init(number: "+7999555", line: "74950000001"))
        )
        #expect(
            try BitrixEvent(Self.body(["event": "ONCRMLEADADD"]), token: "t0ken") == .other("ONCRMLEADADD"))
    }

    @Test func whatIsNotOursIsNotBelieved() {
        let body = Self.body(Self.click)
        #expect(throws: BitrixEvent.Refusal.stranger) { try BitrixEvent(body, token: "other") }
        #expect(throws: BitrixEvent.Refusal.stranger) {
            try BitrixEvent(Array("event=X".utf8), token: "t0ken")
        }
        #expect(throws: BitrixEvent.Refusal.stranger) { try BitrixEvent([], token: "t0ken") }
        #expect(throws: BitrixEvent.Refusal.malformed) {
            try BitrixEvent(Array("a=%zz".utf8), token: "t0ken")
        }
        let large = body + Array(repeating: 0x61, count: BitrixEvent.maximumBytes)
        #expect(throws: BitrixEvent.Refusal.malformed) { try BitrixEvent(large, token: "t0ken") }
    }

    @Test(arguments: ["CALL_ID", "USER_ID", "PHONE_NUMBER"])
    func withoutWhatIsNeededItIsNone(key: String) {
        var query = Query()
        for (name, value) in Self.click where !name.hasPrefix("data[\(key)") { query.append(name, value) }
        query.append("auth[application_token]", "t0ken")
        #expect(throws: BitrixEvent.Refusal.malformed) {
            try BitrixEvent(Array(query.encoded.utf8), token: "t0ken")
        }
    }

    @Test func nothingOfANumberLeavesItsArgumentInTheDialplan() throws {
        var clicks = BitrixClicks(token: "t0ken")
        for (number, dialed) in [
            ("+79995550101", "+79995550101"), ("79995550101,123", "79995550101"),
            ("74950000001;5", "74950000001"),
            (",900", ""), ("*97", "*97"), ("+7 (999) 555-01.01", "+7 (999) 555-01.01"),
            ("123&PJSIP/900", "123"), ("1@evil.example", "1"), ("${SHELL(id)}", ""), ("1\n2", "1"),
        ] {
            #expect(clicks.dialed(number) == dialed)
        }
        clicks.numberRules = try #require(NumberRules(#"^\+7(.*)=8\1"#, wrong: { _ in }))
        #expect(clicks.dialed("+79995550101,1") == "89995550101")
        clicks.endpoint = "PJSIP/{extension}@{extension}"
        #expect(clicks.endpoint(of: "214") == "PJSIP/214@214")
        for wrong in ["214/sip:1@evil.example", "214&SIP/9", "2 14", "21\n4"] {
            #expect(clicks.endpoint(of: wrong) == nil)
        }
    }

    @Test func theSameClickIsTakenOnce() throws {
        var filter = BitrixClickFilter()
        func click(_ id: String, user: Int = 7, _ number: String = "1") -> BitrixEvent {
            .click(.init(bitrixCallID: id, number: number, extension: "", userID: user, line: ""))
        }
        func isNew(_ event: BitrixEvent, at now: Duration) -> Bool { filter.isNew(event, at: now) }
        #expect(isNew(click("a"), at: .seconds(100)))
        #expect(!isNew(click("a"), at: .seconds(100)))
        #expect(!isNew(click("a"), at: .seconds(129)), "one call, half a minute")
        #expect(!isNew(click("b"), at: .seconds(104)), "one finger, five seconds")
        #expect(isNew(click("b"), at: .seconds(106)))
        #expect(isNew(click("c", user: 8), at: .seconds(106)))
        #expect(isNew(click("d", "2"), at: .seconds(106)))
        #expect(isNew(click("a"), at: .seconds(131)))
        for number in 0..<5_000 { _ = isNew(click("x\(number)", "\(number)"), at: .seconds(200)) }
        #expect(!isNew(click("new", "new"), at: .seconds(200)), "bounded")
        #expect(isNew(click("new", "new"), at: .seconds(240)))
    }
}

@Suite("Calls begun in the portal: one call there, finished whatever becomes of ours", .serialized)
struct BitrixDialerTests {
    /// A portal, a client with a table, a dialer, and a PBX that says what the test wants.
    private final class Bench {
        let http: HTTPBench
        let portal: FakeBitrixServer
        let client: BitrixClient
        let store: StoreBench
        var asked: [ARIOriginate] = []
        var refusal: String?
        private(set) var registered: [String: String] = [:]
        private(set) var dialer: BitrixDialer?

        init(configure: (inout BitrixClicks) -> Void = { _ in }) throws {
            http = try HTTPBench(.epoll)
            var settings = PortalSettings()
            settings.plan = .unlimited
            settings.applicationToken = "t0ken"
            portal = FakeBitrixServer(loop: http.loop, portal: FakeBitrixPortal(settings: settings))
            let address = try portal.listen(
                on: .loopback(port: 0), tls: nil, logger: http.log.logger, metrics: http.metrics)
            var configuration = BitrixConfiguration(
                webhook: try BitrixWebhook(portal.webhookURL(port: address.port)))
            configuration.requestsPerSecond = 10_000
            configuration.requestBurst = 10_000
            configuration.pbxNames = ["main"]
            var clicks = BitrixClicks(token: "t0ken")
            configure(&clicks)
            var stores = StoreBench.quick
            stores.crmTargets = ["bitrix24"]
            store = try StoreBench(.sqlite, settings: stores)
            store.start()
            client = BitrixClient(
                loop: http.loop, configuration: configuration, tls: nil,
                steps: store.store.makeSteps(of: "bitrix24", on: http.loop), logger: http.log.logger,
                metrics: Metrics())
            client.onRegistered = { [unowned self] callID, bitrixCallID in registered[callID] = bitrixCallID }
            client.start()
            dialer = BitrixDialer(
                loop: http.loop, clicks: clicks, configuration: configuration, prefixes: [""], client: client,
                logger: http.log.logger
            ) { [unowned self] request, _, begun in
                asked.append(request)
                begun(refusal)
            }
        }

        deinit {
            client.stop()
            portal.close()
            store.close()
        }

        /// An employee clicks in the portal.
        func click(userID: Int, number: String) throws -> (event: PortalEvent, callID: String) {
            let clicked = portal.portal.click(userID: userID, number: number, at: BitrixBench.now)
            return try #require(clicked)
        }

        /// What the engine says of the call's life, written and told as the pipeline does it.
        func plays(_ actions: [CRMAction]) {
            for action in actions { store.commit.attach(crm: action) }
            store.settle()
            for action in actions { client.submit(action) }
        }
    }

    @Test func theClickedCallIsFinishedUnderThePortalsOwnId() throws {
        let bench = try Bench { $0.endpoint = "SIP/{extension}" }
        let clicked = try bench.click(userID: 7, number: "+79995550177")
        #expect(bench.dialer?.take(clicked.event.body) == 200)
        #expect(bench.dialer?.take(clicked.event.body) == 200, "the second time for nothing")
        bench.http.run { bench.asked.count == 1 }
        let request = try #require(bench.asked.first)
        #expect(request.endpoint == "SIP/101" && request.extension == "+79995550177")
        #expect(request.context == "from-internal")
        #expect(request.path.contains("channelId=\(request.channelID)"))

        // The engine sees it like any other call, and registers it.
        var call = CRMCall(
            callID: request.channelID, direction: .outbound, callerNumber: "101",
            calleeNumber: "+79995550177",
            startedAt: BitrixBench.now)
        bench.plays([.register(call)])
        call.endedAt = Timestamp(microseconds: call.startedAt.microseconds + 40_000_000)
        call.answeredAt = Timestamp(microseconds: call.startedAt.microseconds + 10_000_000)
        call.outcome = .answered
        bench.plays([.finish(call)])
        bench.http.run { bench.portal.portal.statistics.count == 1 }
        let row = try #require(bench.portal.portal.statistics.values.first)
        #expect(row.call.callID == clicked.callID, "not a second call")
        bench.http.run { bench.client.callCount == 0 }
        #expect(bench.registered == [call.callID: clicked.callID], "the call's row gets the portal's id")
        #expect(row.userID == 7 && row.statusCode == "200" && row.duration == 30)
        #expect(bench.portal.portal.activeCalls.isEmpty)
        #expect(bench.portal.portal.requestCounts["telephony.externalcall.register"] == nil)
    }

    @Test func aCallThatThePBXRefusesIsFinishedAsFailed() throws {
        let bench = try Bench()
        bench.refusal = "the PBX answers 400: no such endpoint"
        let clicked = try bench.click(userID: 7, number: "+79995550178")
        #expect(bench.dialer?.take(clicked.event.body) == 200)
        bench.http.run { bench.portal.portal.statistics.count == 1 }
        let row = try #require(bench.portal.portal.statistics.values.first)
        #expect(row.call.callID == clicked.callID && row.statusCode == "OTHER" && row.duration == 0)
        #expect(bench.portal.portal.activeCalls.isEmpty)
    }

    @Test func aWishIsRegisteredAsACallBack() throws {
        let bench = try Bench { $0.callBackEndpoint = "Local/600@from-internal" }
        let event = bench.portal.portal.callBackRequest(
            number: "+79995550179", text: "now", at: BitrixBench.now)
        #expect(bench.dialer?.take(event.body) == 200)
        bench.http.run { bench.asked.count == 1 && bench.portal.portal.activeCalls.count == 1 }
        #expect(bench.asked.first?.endpoint == "Local/600@from-internal")
        #expect(bench.portal.portal.activeCalls.values.first?.type == 4)
        let other = try Bench()
        #expect(other.dialer?.take(event.body) == 200)
        other.http.settle(.milliseconds(100))
        #expect(other.asked.isEmpty, "nobody answers such wishes")
    }

    @Test func strangersAreTurnedAway() throws {
        let bench = try Bench()
        #expect(bench.dialer?.take(Array("event=ONEXTERNALCALLSTART".utf8)) == 403)
        #expect(
            bench.dialer?.take(Array("auth%5Bapplication_token%5D=t0ken&event=ONEXTERNALCALLSTART".utf8))
                == 400)
        #expect(bench.asked.isEmpty)
    }
}
