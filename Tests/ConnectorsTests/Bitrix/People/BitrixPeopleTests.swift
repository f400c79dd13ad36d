import CallEngine
import Connectors
import Simulator
import Testing

@Suite("Bitrix24: the right person")
struct BitrixPeopleTests {
    private static func directory(_ rows: String, next: String = "") -> BitrixDirectoryReading.Outcome {
        var reading = BitrixDirectoryReading()
        return reading.take(status: 200, body: Array("{\"result\":[\(rows)]\(next),\"total\":1}".utf8))
    }

    @Test func readsIdsAsTextsOrNumbersAndLeavesTheInactiveOut() throws {
        let outcome = Self.directory(
            #"""
            {"ID":"7","ACTIVE":true,"UF_PHONE_INNER":"101"},{"ID":8,"UF_PHONE_INNER":102},
            {"ID":"9","ACTIVE":false,"UF_PHONE_INNER":"103"},{"ID":"10","ACTIVE":true,"UF_PHONE_INNER":null},
            {"ID":"11","ACTIVE":true,"UF_PHONE_INNER":" 104 "},{"ID":"12","ACTIVE":true,"UF_PHONE_INNER":"101"},
            {"ID":"x"},[]
            """#)
        guard case .complete(let directory) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(directory.count == 5)
        #expect(directory.userID(extension: "101") == 7, "the first one keeps it")
        #expect(directory.userID(extension: "102") == 8)
        #expect(directory.userID(extension: "103") == nil)
        #expect(directory.userID(extension: "104") == 11)
        #expect(directory.isActive(10) && !directory.isActive(9))
    }

    @Test func pagesFollowUntilThereIsNoNext() {
        var reading = BitrixDirectoryReading()
        let first = reading.take(
            status: 200, body: Array(#"{"result":[{"ID":"7","ACTIVE":true}],"next":50}"#.utf8))
        #expect(first == .next(.users(start: 50)))
        guard case .complete(let all) = reading.take(status: 200, body: Array(#"{"result":[]}"#.utf8)) else {
            Issue.record("not complete")
            return
        }
        #expect(all.count == 1)
    }

    @Test(arguments: [
        (401, #"{"error":"insufficient_scope","error_description":"more"}"#), (502, "<html>"), (200, ""),
        (200, #"{"result":{"ID":"1"}}"#),
    ])
    func whatIsNoListIsAFailure(status: Int, body: String) {
        var reading = BitrixDirectoryReading()
        guard case .failed(let reason) = reading.take(status: status, body: Array(body.utf8)) else {
            Issue.record("taken")
            return
        }
        #expect(!reason.isEmpty)
    }

    @Test func settingsComeBeforeTheDirectoryAndThePortalKnowsTheRest() throws {
        guard
            case .complete(let directory) = Self.directory(
                #"{"ID":"7","ACTIVE":true,"UF_PHONE_INNER":"101"},{"ID":"8","ACTIVE":true,"UF_PHONE_INNER":"21402"}"#
            )
        else {
            Issue.record("no directory")
            return
        }
        let configuration = try BitrixFixtures.configuration { $0.extensionUsers = ["21401": 9, "101": 3] }
        func facts(_ callee: String) -> BitrixCallFacts? {
            let call = BitrixFixtures.call(to: callee)
            guard
                case .call(let facts) = BitrixCallFacts.reading(
                    call, configuration: configuration, directory: directory)
            else { return nil }
            return facts
        }
        #expect(facts("101")?.user == .userID(3))
        #expect(facts("21401")?.user == .userID(9), "longer than the portal allows")
        #expect(facts("21402")?.user == .userID(8), "long, but the portal has it")
        #expect(facts("555")?.user == .phoneInner("555"), "new since: the portal is asked")
        #expect(facts("555")?.userHasPhone == true)
        let line = facts("74950000001")
        #expect(line?.user == .userID(1) && line?.userHasPhone == false && line?.lineNumber == "74950000001")
    }

    @Test func readFromThePortalPageByPageAndKeptWhileItFails() throws {
        let users = (0..<120).map {
            PortalSettings.User(id: 10 + $0, name: "U\($0)", extensionNumber: "\(2000 + $0)")
        }
        let bench = try BitrixBench(users: users) { _ in
        } configure: {
            $0.directoryInterval = .milliseconds(20)
        }
        bench.client.readDirectory()
        bench.http.run { bench.client.directory != nil }
        #expect(bench.client.directory?.count == 120)
        #expect(bench.client.directory?.userID(extension: "2119") == 129)
        #expect(bench.clientMetrics[.crmUsers] == 120)
        bench.portal.portal.faults = [PortalFaultRule(.page(status: 502), method: "user.get")]
        bench.http.run { bench.http.log.lines.contains { $0.contains("the last list is kept") } }
        #expect(bench.client.directory?.count == 120)
        bench.portal.portal.faults = []
        bench.portal.portal.settings.users.removeLast()
        bench.http.run { bench.client.directory?.count == 119 }
        bench.play([BitrixBench.call("a", to: "2007")])
        #expect(bench.rows.map(\.userID) == [17])
        #expect(bench.refusals.isEmpty)
    }

    @Test func withoutTheScopeCallsGoOnByExtension() throws {
        let bench = try BitrixBench { $0.webhooks[0].scopes = ["telephony", "crm"] }
        bench.client.readDirectory()
        bench.http.run { bench.http.log.lines.contains { $0.contains("employees cannot be read") } }
        bench.play([BitrixBench.call("a", to: "102")])
        #expect(bench.rows.map(\.userID) == [8])
        #expect(bench.client.state == .ok)
        #expect(bench.client.link.circuit == .closed)
    }
}

@Suite("Bitrix24: who gets a missed call")
struct BitrixMissedCallTests {
    /// The client's company is looked after by user 8; extension 101 is user 7's.
    private static func bench(_ policy: BitrixConfiguration.MissedCalls) throws -> BitrixBench {
        try BitrixBench {
            $0.entities = [
                .init(kind: .contact, id: 33, name: "Anna", phone: "79995550101", responsibleID: 8)
            ]
        } configure: {
            $0.missedCalls = policy
            $0.defaultUserID = 1
        }
    }

    private static let missed = BitrixBench.call("m", to: "101", outcome: .abandoned)
    private static let stranger = BitrixBench.call(
        "s", from: "+79995550999", to: "101", outcome: .noAnswer)
    private static let answered = BitrixBench.call("a", to: "101")
    private static let outgoing = BitrixBench.call(
        "o", .outbound, from: "101", to: "+79995550101", outcome: .noAnswer)

    private static func users(_ policy: BitrixConfiguration.MissedCalls) throws -> [String: Int] {
        let bench = try bench(policy)
        bench.play([missed, stranger, answered, outgoing])
        #expect(bench.portal.portal.activeCalls.isEmpty)
        #expect(bench.clientMetrics[.crmDropped] == 0)
        return Dictionary(
            uniqueKeysWithValues: bench.rows.map { ($0.call.externalCallID ?? "", $0.userID) })
    }

    @Test func whoeverWasCalled() throws {
        #expect(
            try Self.users(.rung) == ["pbx1-m": 7, "pbx1-s": 7, "pbx1-a": 7, "pbx1-o": 7])
    }

    @Test func theDefaultUser() throws {
        #expect(
            try Self.users(.fixed) == ["pbx1-m": 1, "pbx1-s": 1, "pbx1-a": 7, "pbx1-o": 7])
    }

    @Test func theClientsOwnManager() throws {
        #expect(
            try Self.users(.responsible) == ["pbx1-m": 8, "pbx1-s": 7, "pbx1-a": 7, "pbx1-o": 7])
    }

    @Test func aSearchThatFailsCostsNoCall() throws {
        let bench = try Self.bench(.responsible)
        bench.portal.portal.faults = [
            PortalFaultRule(
                .refusal(status: 400, code: "ERROR_CORE", text: "CRM is not installed."),
                method: "telephony.externalcall.searchcrmentities")
        ]
        bench.play([Self.missed])
        #expect(bench.rows.map(\.userID) == [7])
        #expect(bench.clientMetrics[.crmDropped] == 0)
    }

    @Test func aManagerWhoHasLeftIsReplacedByWhoeverWasCalled() throws {
        let bench = try Self.bench(.responsible)
        bench.portal.portal.settings.users[2].isActive = false
        bench.play([Self.missed])
        #expect(bench.rows.map(\.userID) == [7])
    }
}

@Suite("Bitrix24: rules for numbers")
struct NumberRuleTests {
    @Test func theFirstThatFitsDecides() throws {
        let rules = try #require(
            NumberRules(#"^8([0-9]{10})$=+7\1;^00([1-9][0-9]*)$=+\1;^([0-9]{7})$=+7495\1"#) { _ in })
        #expect(rules.rewritten("89995550101") == "+79995550101")
        #expect(rules.rewritten("00493012345") == "+493012345")
        #expect(rules.rewritten("1234567") == "+74951234567")
        #expect(rules.rewritten("+79995550101") == "+79995550101")
        #expect(rules.rewritten("101") == "101")
    }

    @Test func aRuleThatCannotBeUsedIsNamed() throws {
        for text in ["^8(=x", "noequals", "=x", #"^1$=a;[=b"#] {
            var wrong = ""
            #expect(NumberRules(text) { wrong = $0 } == nil)
            #expect(!wrong.isEmpty && text.contains(wrong))
        }
        #expect(throws: BitrixConfigurationError.self) {
            _ = try BitrixConfiguration(reading: {
                ["BITRIX_WEBHOOK_URL": "https://p.example/rest/1/x/", "BITRIX_NUMBER_RULES": "^8(=x"][$0]
            })
        }
    }

    @Test func customersNumbersOnly() throws {
        let rules = try #require(NumberRules(#"^8([0-9]{10})$=+7\1"#) { _ in })
        let configuration = try BitrixFixtures.configuration { $0.numberRules = rules }
        let call = BitrixFixtures.call(from: "89995550101", to: "84950000001")
        guard case .call(let facts) = BitrixCallFacts.reading(call, configuration: configuration) else {
            Issue.record("skipped")
            return
        }
        #expect(facts.phoneNumber == "+79995550101")
        #expect(facts.lineNumber == "84950000001", "the line is the company's own")
    }
}
