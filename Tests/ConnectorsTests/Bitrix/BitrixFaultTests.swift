import CallEngine
import Connectors
import Reactor
import Simulator
import Testing

@Suite("Bitrix24 client: every fault, and the ledger as the judge")
struct BitrixFaultTests {
    private static let register = "telephony.externalcall.register"
    private static let finish = "telephony.externalcall.finish"

    static let passing: [PortalFault] = [
        .cutBeforeEffect, .cutAfterEffect, .page(status: 500), .page(status: 502), .page(status: 503),
        .page(status: 504), .pageAfterEffect(status: 500), .pageAfterEffect(status: 502), .page(status: 200),
        .queryLimit, .operationTimeLimit, .body(#"{"result":"ok"}"#), .body(""),
        .body("{\"result\":{\"CALL_ID\":"),
        .refusal(status: 500, code: "INTERNAL_SERVER_ERROR", text: "Internal server error"),
        .refusal(status: 500, code: "ERROR_UNEXPECTED_ANSWER", text: ""),
        .delayAfterEffect(.milliseconds(400)),
    ]

    @Test(arguments: passing)
    func strikingRegister(fault: PortalFault) throws {
        let bench = try BitrixBench { _ in
        } configure: {
            $0.requestTimeout = .milliseconds(150)
        }
        bench.portal.portal.faults = [PortalFaultRule(fault, method: Self.register, count: 2)]
        bench.play([BitrixBench.call("a", talk: 7)])
        #expect(bench.rows.map(\.call.externalCallID) == ["pbx1-a"])
        #expect(bench.rows.first?.duration == 7)
        #expect(bench.portal.portal.activeCalls.isEmpty, "no call left open")
        #expect(bench.portal.portal.entities.count == 1, "no second lead")
        #expect(bench.clientMetrics[.crmRequests] == 4)
        #expect(bench.client.state == .ok)
    }

    @Test(arguments: passing.filter { $0 != .body(#"{"result":"ok"}"#) })
    func strikingFinish(fault: PortalFault) throws {
        let bench = try BitrixBench { _ in
        } configure: {
            $0.requestTimeout = .milliseconds(150)
        }
        bench.portal.portal.faults = [PortalFaultRule(fault, method: Self.finish, count: 1)]
        bench.play([BitrixBench.call("a", talk: 7)])
        #expect(bench.rows.map(\.call.externalCallID) == ["pbx1-a"])
        #expect(bench.rows.first?.duration == 7)
        #expect(bench.portal.portal.activeCalls.isEmpty)
        #expect(bench.clientMetrics[.crmFinished] == 1)
        #expect(bench.clientMetrics[.crmDropped] == 0)
        #expect(bench.client.callCount == 0)
    }

    @Test func aPortalThatIsAwayIsSaidOnce() throws {
        let bench = try BitrixBench()
        bench.portal.portal.faults = [PortalFaultRule(.page(status: 503), count: 12)]
        bench.play((0..<4).map { BitrixBench.call("c\($0)") })
        #expect(bench.rows.count == 4)
        let lines = bench.http.log.lines
        #expect(lines.contains { $0.hasPrefix("debug") && $0.contains("will be repeated") })
        #expect(!lines.contains { $0.hasPrefix("info") && $0.contains("will be repeated") }, "\(lines)")
        #expect(lines.count { $0.hasPrefix("error") } == 1, "\(lines)")
    }

    @Test func burstOf503LosesNothing() throws {
        let bench = try BitrixBench()
        bench.portal.portal.faults = [PortalFaultRule(.queryLimit, after: 5, count: 30)]
        bench.play((0..<40).map { BitrixBench.call("c\($0)") })
        #expect(bench.rows.count == 40)
        #expect(bench.clientMetrics[.crmDropped] == 0)
    }

    @Test func oneMethodBlockedLeavesTheOtherGoing() throws {
        let bench = try BitrixBench { _ in
        } configure: {
            $0.retry.firstDelay = .milliseconds(300)
            $0.retry.maximumDelay = .milliseconds(300)
        }
        bench.client.submit(.register(BitrixBench.call("early")))
        bench.settle()
        bench.portal.portal.faults = [PortalFaultRule(.operationTimeLimit, method: Self.register, count: 1)]
        bench.client.submit(.register(BitrixBench.call("late")))
        bench.http.run { bench.clientMetrics[.crmErrors] == 1 }
        bench.client.submit(.finish(BitrixBench.call("early")))
        bench.http.run { bench.rows.count == 1 }
        #expect(bench.portal.portal.activeCalls.isEmpty, "register is still held")
        bench.settle()
        #expect(bench.portal.portal.activeCalls.count == 1)
    }

    @Test func callsOfTheClientsOwnMakingAreNeverRepeated() throws {
        let bench = try BitrixBench { _ in
        } configure: {
            $0.defaultUserID = 9
        }
        // User 9 has left the company: nobody can take the call.
        bench.play([BitrixBench.call("a", to: "74950000001")])
        #expect(bench.clientMetrics[.crmRequests] == 1)
        #expect(bench.clientMetrics[.crmDropped] == 2)
        #expect(bench.http.log.lines.filter { $0.contains("given up") && $0.contains("call=a") }.count == 2)
        #expect(bench.client.state == .ok, "the link itself works")
    }
}

@Suite("Bitrix24 client: the portal's ledger equals the truth")
struct BitrixTruthTests {
    private struct Expected: Equatable {
        var type: Int
        var number: String
        var userID: Int
        var line: String?
        var status: String
        var duration: Int
    }

    private static let users =
        [PortalSettings.User(id: 1, name: "Admin")]
        + (0..<40).map {
            PortalSettings.User(id: 10 + $0, name: "User \($0)", extensionNumber: "\(200 + $0)")
        }

    /// Calls of all kinds with what the portal must hold of each, said here without the client's own code.
    private static func truth(_ count: Int, seed: UInt64) -> [(CRMCall, Expected)] {
        var random = BitrixTruthRandom(state: seed)
        return (0..<count).map { index in
            let agent = Int.random(in: 0..<40, using: &random)
            let customer = "+7916\(1_000_000 + index)"
            let talk = Int64.random(in: 1...99, using: &random)
            let outcomes: [(CallOutcome, String, String)] = [
                (.answered, "200", "200"), (.noAnswer, "304", "480"), (.busy, "486", "486"),
                (.abandoned, "304", "304"), (.cancelled, "603-S", "603-S"), (.rejected, "603", "603"),
                (.failed, "OTHER", "OTHER"), (.numberInvalid, "404", "404"),
            ]
            let (outcome, incoming, outgoing) = outcomes[Int.random(in: 0..<outcomes.count, using: &random)]
            let duration = outcome == .answered ? Int(talk) : 0
            let kind = Int.random(in: 0..<3, using: &random)
            switch kind {
            case 0:
                return (
                    BitrixBench.call(
                        "call-\(index)", .inbound, from: customer, to: "\(200 + agent)", outcome: outcome,
                        talk: talk),
                    Expected(
                        type: 2, number: customer, userID: 10 + agent, line: nil, status: incoming,
                        duration: duration)
                )
            case 1:
                return (
                    BitrixBench.call(
                        "call-\(index)", .outbound, from: "\(200 + agent)", to: customer, outcome: outcome,
                        talk: talk),
                    Expected(
                        type: 1, number: customer, userID: 10 + agent, line: nil, status: outgoing,
                        duration: duration)
                )
            default:
                return (
                    BitrixBench.call(
                        "call-\(index)", .inbound, from: customer, to: "74950000001", outcome: outcome,
                        talk: talk),
                    Expected(
                        type: 2, number: customer, userID: 1, line: "74950000001", status: incoming,
                        duration: duration)
                )
            }
        }
    }

    private func judge(_ bench: BitrixBench, _ truth: [(CRMCall, Expected)], seed: UInt64) {
        var rows: [String: [Expected]] = [:]
        for row in bench.rows {
            rows[row.call.externalCallID ?? "", default: []].append(
                Expected(
                    type: row.call.type, number: row.call.phoneNumber, userID: row.userID,
                    line: row.call.line,
                    status: row.statusCode, duration: row.duration))
        }
        #expect(bench.rows.count == truth.count, "seed \(seed)")
        for (call, expected) in truth {
            #expect(rows["pbx1-\(call.callID)"] == [expected], "seed \(seed), \(call.callID)")
        }
        let portal = bench.portal.portal
        #expect(portal.activeCalls.isEmpty, "seed \(seed): \(portal.activeCalls.count) calls left open")
        #expect(portal.entities.count == truth.count, "one lead for each number, seed \(seed)")
        let missed = truth.filter { $0.1.status == "304" && $0.1.type == 2 }.count
        #expect(bench.rows.filter(\.isMissed).count == missed, "seed \(seed)")
        #expect(bench.client.callCount == 0)
        #expect(bench.clientMetrics[.crmRegistered] == truth.count)
        #expect(bench.clientMetrics[.crmFinished] == truth.count)
        #expect(bench.clientMetrics[.crmDropped] == 0, "seed \(seed)")
        #expect(bench.registered.count == truth.count)
        // Register before finish, by the ledger's own order.
        var registered: Set<String> = []
        for effect in portal.effects.entries {
            switch effect.kind {
            case .callRegistered(let call): registered.insert(call.callID)
            case .callFinished(let row): #expect(registered.contains(row.call.callID), "seed \(seed)")
            default: break
            }
        }
        #expect(registered.count == truth.count, "each call once, seed \(seed)")
    }

    @Test(arguments: HTTPDrivers.present)
    func fiveHundredCallsAtOnce(mode: IOMode) throws {
        let truth = Self.truth(500, seed: 500)
        let bench = try BitrixBench(mode, users: Self.users)
        bench.play(truth.map(\.0))
        judge(bench, truth, seed: 500)
        #expect(bench.clientMetrics[.crmRequests] < 1000, "ended calls travel together")
        #expect(bench.refusals.isEmpty)
    }

    @Test(arguments: [UInt64(1), 2, 3])
    func withEveryFaultStrikingByChance(seed: UInt64) throws {
        let truth = Self.truth(150, seed: seed)
        let bench = try BitrixBench(users: Self.users) { _ in
        } configure: {
            $0.requestTimeout = .milliseconds(300)
            $0.retry.maximumAttempts = 40
        }
        bench.portal.portal.faults = [
            PortalFaultRule(.cutBeforeEffect, percent: 9), PortalFaultRule(.cutAfterEffect, percent: 9),
            PortalFaultRule(.page(status: 502), percent: 9),
            PortalFaultRule(.pageAfterEffect(status: 500), percent: 9),
            PortalFaultRule(.queryLimit, percent: 5), PortalFaultRule(.operationTimeLimit, percent: 5),
            PortalFaultRule(.delayAfterEffect(.milliseconds(600)), percent: 3),
            PortalFaultRule(.body(""), percent: 5),
        ]
        bench.play(truth.map(\.0))
        judge(bench, truth, seed: seed)
        #expect(bench.clientMetrics[.crmErrors] > 0, "the faults must have struck")
    }

    @Test func finishesThatComeWhileRegistersAreUnderWay() throws {
        let truth = Self.truth(100, seed: 9)
        let bench = try BitrixBench(users: Self.users)
        // Finish is submitted at another moment of each call's register.
        for (index, item) in truth.enumerated() {
            bench.client.submit(.register(item.0))
            for _ in 0..<(index % 4) { bench.http.loop.runOnce(maximumWait: .milliseconds(1)) }
            bench.client.submit(.finish(item.0))
        }
        bench.settle()
        judge(bench, truth, seed: 9)
    }
}

/// A repeatable generator.
private struct BitrixTruthRandom: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return (state ^ (state >> 33)) &* 0xFF51_AFD7_ED55_8CCD
    }
}
