import CallEngine
import Connectors
import Reactor
import Simulator
import Testing

@Suite("Bitrix24 client against the fake portal, over sockets")
struct BitrixClientTests {
    @Test(arguments: HTTPDrivers.present)
    func aCallsWholeWay(mode: IOMode) throws {
        let bench = try BitrixBench(mode)
        bench.play([BitrixBench.call("1790000000.31", to: "102", talk: 42)])
        let row = try #require(bench.rows.first)
        #expect(bench.rows.count == 1)
        #expect(row.call.externalCallID == "pbx1-1790000000.31")
        #expect(row.call.type == 2)
        #expect(row.call.phoneNumber == "+79995550101")
        #expect(row.userID == 8)
        #expect(row.duration == 42)
        #expect(row.statusCode == "200")
        #expect(bench.registered == ["1790000000.31": row.call.callID])
        #expect(bench.portal.portal.activeCalls.isEmpty)
        #expect(bench.client.callCount == 0)
        #expect(bench.client.link.state == .ok)
        #expect(bench.clientMetrics[.crmRequests] == 2)
        #expect(bench.clientMetrics[.crmRegistered] == 1)
        #expect(bench.clientMetrics[.crmFinished] == 1)
        #expect(bench.clientMetrics[.crmErrors] == 0)
        #expect(bench.clientMetrics[.crmQueued] == 0)
    }

    @Test func overTLSWithTheCertificateChecked() throws {
        guard let certificate = Certificate.shared else {
            print("SKIPPED: Bitrix24 over TLS: no openssl program")
            return
        }
        let bench = try BitrixBench(tls: certificate)
        bench.play([BitrixBench.call("a"), BitrixBench.call("b")])
        #expect(bench.rows.count == 2)

        let stranger = try BitrixBench(tls: certificate, trusts: false)
        stranger.client.submit(.register(BitrixBench.call("a")))
        stranger.http.run { stranger.client.state != .ok }
        #expect(
            stranger.portal.portal.requestCounts.isEmpty, "nothing may reach a portal that is not trusted")
        guard case .failing(let reason) = stranger.client.state else {
            Issue.record("\(stranger.client.state)")
            return
        }
        #expect(reason.contains("certificate"), "\(reason)")
        #expect(stranger.client.pendingSteps == 1, "the step waits for somebody to mend it")
    }

    @Test func connectionsAreBoundedAndKept() throws {
        let bench = try BitrixBench()
        bench.play((0..<100).map { BitrixBench.call("c\($0)") })
        #expect(bench.rows.count == 100)
        #expect(bench.http.loop.counters.accepts <= 8, "\(bench.http.loop.counters.accepts) connections")
    }

    @Test func hiddenAndInternalCallsAreCountedAndLogged() throws {
        let bench = try BitrixBench()
        bench.play([
            BitrixBench.call("hidden", from: "anonymous"),
            BitrixBench.call("inside", .outbound, from: "101", to: "102"),
        ])
        #expect(bench.portal.portal.requestCounts.isEmpty)
        #expect(bench.clientMetrics[.crmSkipped] == 2)
        #expect(bench.clientMetrics[.crmDropped] == 0)
        let lines = bench.http.log.lines.filter { $0.contains("not told to the portal") }
        #expect(lines.count == 2)
        #expect(lines.contains { $0.contains("call=hidden") && $0.contains("hidden") })
    }

    @Test func extensionThatNobodyHasGoesToTheDefaultUser() throws {
        let bench = try BitrixBench { _ in
        } configure: {
            $0.defaultUserID = 8
        }
        bench.play([BitrixBench.call("a", to: "555"), BitrixBench.call("b", to: "199")])
        #expect(bench.rows.map(\.userID) == [8, 8])
        #expect(bench.refusals.count == 2)
        #expect(bench.http.log.lines.filter { $0.contains("nobody has this extension") }.count == 2)
    }

    @Test func portalThatIsNotThere() throws {
        let bench = try BitrixBench()
        bench.portal.close()
        bench.http.settle()
        bench.client.submit(.register(BitrixBench.call("a")))
        bench.client.submit(.finish(BitrixBench.call("a")))
        bench.http.run { bench.clientMetrics[.crmCircuit] == 2 }
        guard case .failing = bench.client.state else {
            Issue.record("\(bench.client.state)")
            return
        }
        #expect(bench.clientMetrics[.crmRequests] == 5)
        #expect(bench.clientMetrics[.crmDropped] == 0)
        #expect(bench.client.callCount == 1, "it waits for the portal")
        #expect(bench.http.log.lines.contains { $0.contains("no requests for a while") })
    }

    @Test func wrongSecretIsAClearErrorOnceAndNeverShown() throws {
        let bench = try BitrixBench()
        bench.portal.portal.settings.webhooks[0].secret = "another"
        for index in 0..<30 { bench.client.submit(.register(BitrixBench.call("c\(index)"))) }
        for index in 0..<30 { bench.client.submit(.finish(BitrixBench.call("c\(index)"))) }
        bench.http.run { bench.clientMetrics[.crmErrors] >= 10 }
        guard case .failing(let reason) = bench.client.link.state else {
            Issue.record("\(bench.client.link.state)")
            return
        }
        #expect(reason.contains("BITRIX_WEBHOOK_URL"))
        #expect(bench.clientMetrics[.crmDropped] == 0)
        let lines = bench.http.log.lines
        #expect(lines.filter { $0.contains("the link fails") }.count == 1)
        #expect(!lines.contains { $0.contains("s3cr3tt0k3n") })
        // The administrator mends it: the link recovers by itself, and nothing was lost.
        bench.portal.portal.settings.webhooks[0].secret = "s3cr3tt0k3n"
        bench.settle()
        #expect(bench.client.link.state == .ok)
        #expect(bench.client.link.circuit == .closed)
        #expect(bench.rows.count == 30)
        #expect(bench.portal.portal.activeCalls.isEmpty)
    }

    @Test func portalThatWantsAnApplicationIsAConfigurationError() throws {
        let bench = try BitrixBench { $0.authPolicy = .applicationOnly }
        bench.client.submit(.register(BitrixBench.call("a")))
        bench.http.run { bench.client.state != .ok }
        guard case .failing(let reason) = bench.client.state else {
            Issue.record("\(bench.client.state)")
            return
        }
        #expect(reason.contains("WRONG_AUTH_TYPE"))
    }

    @Test func credentialsTakenAwayInMidRun() throws {
        let bench = try BitrixBench()
        bench.portal.portal.faults = [
            PortalFaultRule(
                .refusal(status: 401, code: "expired_token", text: "expired"), after: 10, count: 4)
        ]
        bench.play((0..<20).map { BitrixBench.call("c\($0)") })
        #expect(bench.rows.count == 20)
        #expect(bench.client.link.state == .ok)
        #expect(bench.clientMetrics[.crmDropped] == 0)
    }

    @Test func logIsBounded() throws {
        let bench = try BitrixBench { $0.users = [.init(id: 1, name: "Left", isActive: false)] }
        let start = ContinuousClock.now
        bench.play((0..<300).map { BitrixBench.call("c\($0)") })
        let seconds = Int((ContinuousClock.now - start) / .seconds(1)) + 2
        let lines = bench.http.log.lines.filter { $0.contains("given up") }
        #expect(lines.count <= seconds * BitrixClient.maximumLogsPerSecond, "\(lines.count) lines")
        #expect(bench.clientMetrics[.crmDropped] == 600)
    }

    @Test func pacedBelowThePortalsBucket() throws {
        let bench = try BitrixBench {
            $0.plan = .init(perSecond: 100, limit: 50)
        } configure: {
            $0.requestsPerSecond = 100
            $0.requestBurst = 45
        }
        bench.play((0..<75).map { BitrixBench.call("c\($0)") })
        #expect(bench.rows.count == 75)
        #expect(bench.refusals.isEmpty, "\(bench.refusals.count) refused")
    }

    @Test func bucketFullOfAnotherProgramsRequests() throws {
        let bench = try BitrixBench {
            $0.plan = .init(perSecond: 100, limit: 50)
        } configure: {
            $0.requestsPerSecond = 50
            $0.requestBurst = 20
        }
        bench.portal.portal.fillBucket(of: "127.0.0.1", at: BitrixBench.now)
        bench.play((0..<20).map { BitrixBench.call("c\($0)") })
        #expect(bench.rows.count == 20)
        #expect(bench.client.link.state == .ok)
        #expect(bench.clientMetrics[.crmDropped] == 0)
        #expect(!bench.refusals.isEmpty)
        #expect(Set(bench.refusals.map(\.code)) == ["QUERY_LIMIT_EXCEEDED"])
    }

    @Test func stopWithinATimeSendsWhatWaits() throws {
        let bench = try BitrixBench()
        for index in 0..<30 {
            bench.client.submit(.register(BitrixBench.call("c\(index)")))
            bench.client.submit(.finish(BitrixBench.call("c\(index)")))
        }
        var answers: [Bool] = []
        bench.client.stop(within: .seconds(20)) { answers.append($0) }
        #expect(answers.isEmpty)
        bench.http.run { !answers.isEmpty }
        #expect(answers == [true])
        #expect(bench.rows.count == 30)
        bench.client.submit(.register(BitrixBench.call("later")))
        bench.client.stop(within: .seconds(20)) { answers.append($0) }
        #expect(answers == [true, true])
        #expect(bench.client.pendingSteps == 0)
    }

    @Test func stopWithinATimeGivesUpAPortalThatIsNotThere() throws {
        let bench = try BitrixBench { _ in
        } configure: {
            $0.retry.maximumAttempts = 1000
        }
        bench.portal.close()
        bench.http.settle()
        bench.client.submit(.register(BitrixBench.call("a")))
        var answers: [Bool] = []
        bench.client.stop(within: .milliseconds(200)) { answers.append($0) }
        bench.http.run { !answers.isEmpty }
        #expect(answers == [false])
        bench.http.settle()
        #expect(answers == [false], "once")
        #expect(bench.http.log.lines.contains { $0.contains("stopped with steps not sent") })
    }
}

@Suite("Fake Bitrix24 server: what a person sees")
struct FakeBitrixServerTests {
    @Test func pageAndEffects() throws {
        let bench = try BitrixBench()
        bench.play([
            BitrixBench.call("done-1", from: "+7999<b>5550101"), BitrixBench.call("refused-1", to: "555"),
        ])
        bench.client.submit(.register(BitrixBench.call("open-1")))
        bench.settle()
        let port = try #require(bench.portalPort)
        func get(_ target: String) -> String {
            let peer = RawPeer()
            peer.connection = bench.http.loop.connect(
                host: "127.0.0.1", port: port, options: ConnectOptions(), handler: peer)
            peer.send("GET \(target) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            bench.http.run { peer.isOver }
            return peer.text
        }
        let page = get("/")
        #expect(page.statusLine == "HTTP/1.1 200 OK")
        #expect(page.contains("1 calls open, 2 finished"))
        #expect(page.contains("pbx1-done-1") && page.contains("pbx1-open-1"))
        #expect(page.contains("+7999&lt;b&gt;5550101"))
        #expect(page.contains("USER_ID or USER_PHONE_INNER should be set"))
        let json = get("/effects?limit=1").httpBody
        #expect(json.contains(#""active_count":1,"finished_count":2"#))
        #expect(json.contains(#""telephony.externalcall.register":4"#))
        #expect(json.contains(#""external_call_id":"pbx1-open-1""#))
        #expect(!json.contains("pbx1-done-1"), "one row of each")
        #expect(get("/nothing").statusLine.hasPrefix("HTTP/1.1 404"))
    }
}
