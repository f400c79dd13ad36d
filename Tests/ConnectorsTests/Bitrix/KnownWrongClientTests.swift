import CallEngine
import Connectors
import Protocols
import Simulator
import Testing

/// The mistakes of the daemon that this one replaces, each done right, judged by what the portal holds.
@Suite("Bitrix24: what the old daemon did wrong")
struct KnownWrongClientTests {
    @Test func directionsAreNotReversed() throws {
        let bench = try BitrixBench()
        bench.play([
            BitrixBench.call("in", .inbound, from: "+79995550101", to: "101"),
            BitrixBench.call("out", .outbound, from: "101", to: "+79995550102"),
        ])
        let types = Dictionary(
            uniqueKeysWithValues: bench.rows.map { ($0.call.externalCallID ?? "", $0.call.type) })
        #expect(types == ["pbx1-in": 2, "pbx1-out": 1])
    }

    @Test func finishNamesTheUser() throws {
        let bench = try BitrixBench()
        bench.play([BitrixBench.call("a", to: "102")])
        #expect(bench.rows.map(\.userID) == [8])
        #expect(bench.refusals.isEmpty)
    }

    @Test func finishCarriesThePortalsIDNotOurs() throws {
        let bench = try BitrixBench()
        bench.play([BitrixBench.call("a")])
        let callID = try #require(bench.registered["a"])
        #expect(callID.hasPrefix("externalCall."))
        #expect(bench.portal.portal.statistics[callID] != nil)
    }

    @Test func registerSendsExternalCallIDAndNoCallID() throws {
        let configuration = try BitrixFixtures.configuration()
        let call = BitrixFixtures.call("1790000000.31")
        guard case .call(let facts) = BitrixCallFacts.reading(call, configuration: configuration) else {
            Issue.record("skipped")
            return
        }
        let command = BitrixCommand.register(call, as: facts, showsCard: true, configuration: configuration)
        #expect(command["CALL_ID"] == nil)
        #expect(command["EXTERNAL_CALL_ID"] == "pbx1-1790000000.31")
    }

    @Test func twoCallsOfOneNumberStayTwo() throws {
        let bench = try BitrixBench()
        let calls = ["first", "second"].map { BitrixBench.call($0) }
        for call in calls { bench.client.submit(.register(call)) }
        bench.settle()
        #expect(bench.portal.portal.activeCalls.count == 2)
        for call in calls { bench.client.submit(.finish(call)) }
        bench.settle()
        #expect(Set(bench.rows.map(\.call.externalCallID)) == ["pbx1-first", "pbx1-second"])
    }

    @Test func outgoingCallsNameTheCustomerAsTheNumber() throws {
        let bench = try BitrixBench()
        bench.play([BitrixBench.call("out", .outbound, from: "102", to: "+79995550102")])
        let row = try #require(bench.rows.first)
        #expect(row.call.phoneNumber == "+79995550102")
        #expect(row.userID == 8)
    }

    @Test func emptyNumbersAreNeverSent() throws {
        let bench = try BitrixBench()
        bench.play([
            BitrixBench.call("a", from: ""), BitrixBench.call("b", from: nil), BitrixBench.call("c", to: ""),
            BitrixBench.call("d", .outbound, from: nil, to: "+79995550103"),
        ])
        #expect(bench.refusals.isEmpty, "the portal would refuse an empty number")
        #expect(Set(bench.rows.map(\.call.externalCallID)) == ["pbx1-c", "pbx1-d"])
        #expect(bench.rows.map(\.userID) == [1, 1], "without an extension: the default user")
        #expect(bench.clientMetrics[.crmSkipped] == 2)
    }

    @Test func missedCallsReachTheMissedList() throws {
        let bench = try BitrixBench()
        bench.play([
            BitrixBench.call("missed", outcome: .noAnswer),
            BitrixBench.call("abandoned", outcome: .abandoned),
            BitrixBench.call("talked"), BitrixBench.call("busy", outcome: .busy),
        ])
        let missed = bench.portal.portal.effects.entries.compactMap { effect -> String? in
            guard case .missed(let callID) = effect.kind else { return nil }
            return bench.portal.portal.statistics[callID]?.call.externalCallID
        }
        #expect(Set(missed) == ["pbx1-missed", "pbx1-abandoned"])
        let successful = bench.rows.filter { $0.callStatus == 1 }.map(\.call.externalCallID)
        #expect(successful == ["pbx1-talked"])
    }

    @Test func unknownCallersLeaveATraceInTheCRM() throws {
        let bench = try BitrixBench()
        bench.play([BitrixBench.call("a")])
        #expect(bench.portal.portal.entities.map(\.kind) == [.lead])
        #expect(bench.rows.first?.activityID != nil)
        #expect(bench.rows.first?.activityError == nil)
    }

    @Test func finishNeverOvertakesRegister() throws {
        let bench = try BitrixBench()
        // The register's answer is slow; on eight connections there would be room for the finish.
        bench.portal.portal.faults = [
            PortalFaultRule(
                .delayAfterEffect(.milliseconds(150)), method: "telephony.externalcall.register", count: 1)
        ]
        bench.play([BitrixBench.call("a")])
        #expect(bench.refusals.isEmpty)
        #expect(bench.rows.count == 1)
        #expect(bench.clientMetrics[.crmRequests] == 2)
    }

    @Test func twoEndsOfACallAreOneFinish() throws {
        let bench = try BitrixBench()
        let call = BitrixBench.call("a")
        bench.play([call])
        bench.client.submit(.finish(call))
        bench.client.submit(.finish(call))
        bench.settle()
        #expect(bench.portal.portal.requestCounts["telephony.externalcall.finish"] == 1)
        #expect(bench.rows.count == 1)
    }

    @Test func limitsCostTimeAndNoCalls() throws {
        let bench = try BitrixBench()
        bench.portal.portal.faults = [
            PortalFaultRule(.queryLimit, count: 6), PortalFaultRule(.operationTimeLimit, count: 6),
        ]
        bench.play((0..<10).map { BitrixBench.call("c\($0)") })
        #expect(bench.rows.count == 10)
    }

    @Test(arguments: ["", "/"])
    func webhookWithOrWithoutSlashGivesOneSlash(end: String) throws {
        let webhook = try BitrixWebhook("https://portal.example/rest/1/\(PortalDriver.secret)\(end)")
        let driver = PortalDriver()
        let answer = driver.send(PortalRequest(target: webhook.target(of: .register)))
        #expect(answer.status == 400, "the method was reached")
        #expect(answer.errorText == "USER_ID or USER_PHONE_INNER should be set")
    }

    @Test func aStubThatSaysOKIsNotBelieved() throws {
        let bench = try BitrixBench()
        bench.portal.portal.faults = [PortalFaultRule(.body(#"{"result":"ok"}"#), count: 1)]
        bench.play([BitrixBench.call("a")])
        #expect(bench.clientMetrics[.crmErrors] + bench.clientMetrics[.crmRequests] >= 3, "asked again")
        #expect(bench.rows.count == 1)
    }
}
