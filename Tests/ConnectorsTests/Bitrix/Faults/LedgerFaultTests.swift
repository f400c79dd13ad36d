import CallEngine
import Foundation
import Protocols
import Reactor
import Simulator
import Testing

@testable import Connectors

/// `SenderFaultTests` has the same faults in virtual time and by many seeds; kills of the real process are in
/// `IntegrationTests`.
@Suite(
    "Bitrix24, over real sockets and a real table: every fault, and each call is in the ledger once",
    .serialized)
struct LedgerFaultTests {
    @Test("an hour without the portal, a thousand times faster, with calls going on")
    func portalDownForAnHour() throws {
        let bench = try LedgerBench()
        bench.client.start()
        let truth = LedgerBench.calls(300, seed: 31)
        try bench.play(truth, pause: .milliseconds(12)) { index in
            if index == 20 { bench.portalGoes() }
            if index == 318 { try bench.portalComes() }
        }
        bench.judge(truth)
        #expect(bench.http.log.lines.contains { $0.contains("no requests for a while") })
        #expect(bench.client.state == .ok)
    }

    @Test("every answer lost after its effect, for a minute of a hundredth")
    func everyAnswerLost() throws {
        let bench = try LedgerBench()
        bench.client.start()
        let truth = LedgerBench.calls(120, seed: 32)
        bench.play(truth, pause: .milliseconds(8)) { index in
            if index == 30 { bench.portal.portal.faults = [PortalFaultRule(.cutAfterEffect)] }
            if index == 100 { bench.portal.portal.faults = [] }
        }
        bench.judge(truth)
        #expect(bench.metrics[.crmErrors] > 0)
    }

    @Test("a bucket that another program keeps full, at ten times the plan's pace")
    func bucketFull() throws {
        let bench = try LedgerBench(
            arrange: { $0.plan = .init(perSecond: 20, limit: 50) },
            configure: {
                $0.requestsPerSecond = 20
                $0.requestBurst = 45
            })
        bench.client.start()
        let truth = LedgerBench.calls(100, seed: 33)
        bench.play(truth, pause: .milliseconds(5)) { _ in
            bench.portal.portal.fillBucket(of: "127.0.0.1", at: WallClock.now())
        }
        bench.judge(truth)
        #expect(bench.refusals("QUERY_LIMIT_EXCEEDED") > 0)
        #expect(bench.refusals("QUERY_LIMIT_EXCEEDED") < 60, "hammered")
    }

    @Test("users removed in mid-call: their calls go to the default user")
    func usersRemoved() throws {
        let bench = try LedgerBench()
        bench.client.start()
        var truth = LedgerBench.calls(40, seed: 34)
        bench.begin(truth)
        bench.http.run { bench.portal.portal.activeCalls.count == 40 }
        for index in bench.portal.portal.settings.users.indices where index > 0 {
            bench.portal.portal.settings.users[index].isActive = false
        }
        bench.end(truth)
        for index in truth.indices { truth[index].userID = 1 }
        bench.judge(truth)
    }

    @Test("the portal's clock off by hours, and answers lost on top", arguments: [-5, 5])
    func clockOff(hours: Int) throws {
        let bench = try LedgerBench(
            clock: {
                Protocols.Timestamp(microseconds: WallClock.now().microseconds + Int64(hours) * 3_600_000_000)
            })
        bench.client.start()
        bench.http.run { bench.client.directory != nil }
        let truth = LedgerBench.calls(80, seed: 35)
        bench.portal.portal.faults = [
            PortalFaultRule(.cutAfterEffect, method: "telephony.externalcall.register", percent: 25),
            PortalFaultRule(.cutAfterEffect, method: "telephony.externalcall.finish", percent: 25),
        ]
        try bench.play(truth, pause: .milliseconds(5))
        bench.judge(truth)
        #expect(bench.metrics[.crmErrors] > 0)
        // A clock that is wrong by hours is said, once.
        #expect(bench.http.log.lines.count { $0.contains("clock") } == 1)
    }

    /// `make chaos` takes 10,000 calls; else fewer, for time's sake.
    @Test("ended calls that wait in the table")
    func backlog() throws {
        let bench = try LedgerBench()
        let isLong = ProcessInfo.processInfo.environment["CHAOS_MINUTES"] != nil
        let truth = LedgerBench.calls(isLong ? 10_000 : 1_500, seed: 36)
        for start in stride(from: 0, to: truth.count, by: 500) {
            let part = truth[start..<(start + 500)]
            bench.tell(part.map { .register(SenderSimulation.begun($0.call)) }, isTold: false)
            bench.tell(part.map { .finish($0.call) }, isTold: false)
        }
        bench.client.start()
        bench.judge(truth, within: .seconds(300))
        // Pairs, 25 in a request, and some for the first ones and the employees.
        #expect(bench.metrics[.crmRequests] < truth.count / 25 + 60)
    }
}
