import CallEngine
import Connectors
import Protocols
import Simulator
import Testing

@Suite("Bitrix24 sender: a backlog goes out as fast as the portal allows")
struct SenderBacklogTests {
    @Test func fiveThousandFinishedCallsAtTwoRequestsASecond() throws {
        let simulation = try SenderSimulation()
        let truth = simulation.calls(5000, seed: 1)
        simulation.schedule(backlog: truth)
        let start = simulation.now
        simulation.run(until: start + .seconds(3600))
        simulation.judge(truth)
        // 10,000 commands, 50 in a request, two requests a second, and the burst that is free at the beginning.
        let least = (5000.0 * 2 / 50 - 50) / 2
        let taken = (simulation.now - start) / .seconds(1)
        print("backlog of 5,000: \(taken) s simulated, least possible \(least) s, ratio \(taken / least)")
        #expect(taken <= least * 1.1)
        #expect(simulation.refusals("QUERY_LIMIT_EXCEEDED") == 0)
        // Every pair by reference: nearly every request full, one more to ask for the statistics.
        #expect(simulation.departures.count <= 203)
    }

    @Test func sameWithoutTheStatisticsToLookInto() throws {
        let simulation = try SenderSimulation { $0.statisticsReadable = false }
        let truth = simulation.calls(2000, seed: 2)
        simulation.schedule(backlog: truth)
        let start = simulation.now
        simulation.run(until: start + .seconds(3600))
        simulation.judge(truth)
        #expect(!simulation.departures.contains { $0.command["CALL_ID"]?.contains("$result") == true })
        #expect(simulation.departures.count <= 84, "\(simulation.departures.count) requests")
    }

    @Test func theAllowanceIsUsed() throws {
        let simulation = try SenderSimulation()
        simulation.schedule(backlog: simulation.calls(6000, seed: 3))
        // The burst is over after half a minute; then a minute is looked at.
        simulation.run(until: simulation.now + .seconds(30))
        let before = simulation.departures.count
        simulation.run(until: simulation.now + .seconds(60))
        let sent = simulation.departures.count - before
        #expect(sent >= 114 && sent <= 121, "\(sent) of 120 allowed in a minute")
        #expect(simulation.refusals("QUERY_LIMIT_EXCEEDED") == 0)
    }

    @Test func oldestFirst() throws {
        let simulation = try SenderSimulation()
        let truth = simulation.calls(600, seed: 4)
        simulation.schedule(backlog: truth.shuffled())
        simulation.run(until: simulation.now + .seconds(600))
        simulation.judge(truth)
        let order = simulation.departures.flatMap(\.parts).filter { $0.step == .register }.map(\.callID)
        // All were there before the first one went, but for those that left one by one.
        #expect(
            order.dropFirst(50) == truth.map(\.call.callID).filter { !order.prefix(50).contains($0) }[...])
    }

    @Test func liveCallsGoBeforeABacklog() throws {
        let simulation = try SenderSimulation()
        let backlog = simulation.calls(4000, seed: 5)
        simulation.schedule(backlog: backlog)
        // The bucket's first burst is spent on the backlog before the live ones begin.
        simulation.run(until: simulation.now + .seconds(40))
        let live = simulation.shifted(simulation.calls(60, seed: 6), apart: .milliseconds(500))
        simulation.schedule(live: live)
        simulation.run(until: simulation.now + .seconds(3600))
        simulation.judge(backlog + live)
        let starts = Dictionary(
            uniqueKeysWithValues: live.map { ($0.call.callID, $0.call.startedAt.microseconds) })
        var latest: Duration = .zero
        for departure in simulation.departures {
            for part in departure.parts where part.step == .register {
                guard let start = starts[part.callID] else { continue }
                latest = max(latest, departure.sentAt - .microseconds(start - simulation.epoch))
            }
        }
        // Two requests a second: at worst one for ended calls goes between.
        #expect(latest <= .milliseconds(1100), "a card came \(latest) after the call's beginning")
    }

    @Test func endedCallsAreNotStarvedByLiveOnes() throws {
        let simulation = try SenderSimulation()
        let backlog = simulation.calls(300, seed: 7)
        simulation.schedule(backlog: backlog)
        let live = simulation.shifted(simulation.calls(1500, seed: 8), apart: .milliseconds(40))
        simulation.schedule(live: live)
        simulation.run(until: simulation.now + .seconds(60))
        #expect(simulation.portal.statistics.count >= 300, "\(simulation.portal.statistics.count)")
        simulation.run(until: simulation.now + .seconds(3600))
        simulation.judge(backlog + live)
    }

    @Test func slowsDownBeforeThePortalBlocksAMethod() throws {
        // 0.8 s for each register and 60 s allowed in ten minutes: 75 calls, then the portal would block.
        let simulation = try SenderSimulation {
            $0.operatingLimit = 60
            $0.runningTime["telephony.externalcall.register"] = 0.8
        } configure: {
            $0.operatingLimit = 60
        }
        let truth = simulation.calls(200, seed: 9)
        simulation.schedule(backlog: truth)
        simulation.run(until: simulation.now + .seconds(4 * 3600))
        simulation.judge(truth)
        #expect(simulation.refusals("OPERATION_TIME_LIMIT") == 0)
    }

    @Test func recoversFromABlockAndLearnsTheLimit() throws {
        // The portal's limit is a quarter of what we think.
        let simulation = try SenderSimulation {
            $0.operatingLimit = 60
            $0.runningTime["telephony.externalcall.finish"] = 0.8
        } configure: {
            $0.operatingLimit = 240
        }
        let truth = simulation.calls(250, seed: 10)
        simulation.schedule(backlog: truth)
        simulation.run(until: simulation.now + .seconds(6 * 3600))
        simulation.judge(truth)
        #expect(simulation.refusals("OPERATION_TIME_LIMIT") > 0, "the test is about the block")
        #expect(simulation.refusals("OPERATION_TIME_LIMIT") < 200)
    }
}

@Suite("Bitrix24 sender: faults, and the ledger as the judge")
struct SenderFaultTests {
    static let seeds: [UInt64] = [1, 2, 3, 4, 5, 6]

    private static func faults(every percent: Int) -> [PortalFaultRule] {
        [
            PortalFaultRule(.cutBeforeEffect, percent: percent),
            PortalFaultRule(.cutAfterEffect, percent: percent),
            PortalFaultRule(.page(status: 502), percent: percent),
            PortalFaultRule(.pageAfterEffect(status: 500), percent: percent),
            PortalFaultRule(.queryLimit, percent: percent),
            PortalFaultRule(.delayAfterEffect(.seconds(100)), percent: percent),
            PortalFaultRule(.diesInBatch(after: 7), method: "batch", percent: 2 * percent),
            PortalFaultRule(.operationTimeLimit, method: "telephony.externalcall.register", percent: 1),
            PortalFaultRule(.operationTimeLimit, method: "telephony.externalcall.finish", percent: 1),
        ]
    }

    @Test("late registrations in pairs", arguments: seeds)
    func backlog(seed: UInt64) throws {
        let simulation = try SenderSimulation(seed: seed)
        let truth = simulation.calls(800, seed: seed)
        simulation.portal.faults = Self.faults(every: 6)
        simulation.schedule(backlog: truth)
        simulation.run(until: simulation.now + .seconds(12 * 3600))
        // What was registered late and lost can never be recognised; it has neither card nor activity.
        simulation.judge(truth, mayLeaveOpen: true)
        #expect(simulation.refusals("QUERY_LIMIT_EXCEEDED") > 0)
    }

    @Test("live calls", arguments: seeds)
    func live(seed: UInt64) throws {
        let simulation = try SenderSimulation(seed: seed)
        simulation.portal.faults = Self.faults(every: 4)
        let truth = simulation.shifted(simulation.calls(400, seed: seed), apart: .milliseconds(900))
        simulation.schedule(live: truth)
        simulation.run(until: simulation.now + .seconds(12 * 3600))
        simulation.judge(truth)
    }

    @Test("and no statistics to look into", arguments: seeds)
    func withoutStatistics(seed: UInt64) throws {
        let simulation = try SenderSimulation(seed: seed) { $0.statisticsReadable = false }
        let truth = simulation.calls(300, seed: seed)
        simulation.portal.faults = Self.faults(every: 4)
        simulation.schedule(backlog: truth)
        simulation.run(until: simulation.now + .seconds(12 * 3600))
        simulation.judge(truth, mayLeaveOpen: true)
    }

    @Test("kill -9 at any step of a call", arguments: [true, false], seeds)
    func killed(statisticsReadable: Bool, seed: UInt64) throws {
        let simulation = try SenderSimulation(seed: seed) { $0.statisticsReadable = statisticsReadable }
        var truth = simulation.shifted(simulation.calls(150, seed: seed), apart: .milliseconds(700))
        // Short calls, so that many of them are between two steps.
        for index in truth.indices { truth[index].shorten(to: 10) }
        simulation.schedule(live: truth)
        var random = SimulationRandom(state: seed)
        for round in 0..<12 {
            simulation.run(until: simulation.now + .milliseconds(Int.random(in: 1...20_000, using: &random)))
            simulation.killAndStart(seed: seed &+ UInt64(round))
        }
        simulation.run(until: simulation.now + .seconds(7200))
        // A register whose answer the crash took away stays open only where it is not recognised: nowhere here.
        simulation.judge(truth)
    }

    @Test func portalDownForAnHourWithCallsGoingOn() throws {
        let simulation = try SenderSimulation()
        let start = simulation.now
        simulation.isDown = { $0 > start + .seconds(60) && $0 < start + .seconds(3660) }
        let truth = simulation.shifted(simulation.calls(2000, seed: 20), apart: .seconds(2))
        simulation.schedule(live: truth)
        simulation.run(until: start + .seconds(3 * 3600))
        simulation.judge(truth)
        let states = simulation.effects.compactMap { effect -> CircuitBreaker.State? in
            if case .circuit(let state) = effect { state } else { nil }
        }
        #expect(states.contains { if case .open = $0 { true } else { false } })
        #expect(states.last == .closed)
        // While it is down one request tries now and then, and nothing else goes out.
        let during = simulation.departures.count {
            $0.sentAt > start + .seconds(120) && $0.sentAt < start + .seconds(3660)
        }
        #expect(during >= 50 && during <= 130, "\(during) requests at a portal that is down")
    }

    @Test func everyAnswerLostAfterItsEffectForAMinute() throws {
        let simulation = try SenderSimulation()
        let truth = simulation.shifted(simulation.calls(120, seed: 21), apart: .seconds(1))
        simulation.schedule(live: truth)
        simulation.run(until: simulation.now + .seconds(20))
        simulation.portal.faults = [PortalFaultRule(.cutAfterEffect)]
        simulation.run(until: simulation.now + .seconds(60))
        simulation.portal.faults = []
        simulation.run(until: simulation.now + .seconds(3600))
        simulation.judge(truth)
    }

    @Test func bucketFullOfAnotherProgramsRequests() throws {
        let simulation = try SenderSimulation()
        let truth = simulation.shifted(simulation.calls(100, seed: 22), apart: .milliseconds(500))
        simulation.schedule(live: truth)
        for _ in 0..<50 {
            simulation.portal.fillBucket(of: "127.0.0.1", at: simulation.wallClock(at: simulation.now))
            simulation.run(until: simulation.now + .seconds(2))
        }
        simulation.run(until: simulation.now + .seconds(3600))
        simulation.judge(truth)
        #expect(simulation.refusals("QUERY_LIMIT_EXCEEDED") > 0)
        #expect(simulation.refusals("QUERY_LIMIT_EXCEEDED") < 60, "hammered")
    }

    @Test func userRemovedInMidCall() throws {
        let simulation = try SenderSimulation()
        var truth = simulation.shifted(simulation.calls(40, seed: 23), apart: .seconds(1))
        simulation.schedule(live: truth)
        simulation.run(until: simulation.now + .seconds(15))
        // Everybody but the administrator leaves; the calls go to the default user.
        let open = Set(simulation.portal.activeCalls.values.compactMap(\.externalCallID))
        #expect(!open.isEmpty)
        for index in simulation.portal.settings.users.indices where index > 0 {
            simulation.portal.settings.users[index].isActive = false
        }
        let done = Set(simulation.portal.statistics.values.compactMap(\.call.externalCallID))
        for index in truth.indices where !done.contains("pbx1-\(truth[index].call.callID)") {
            truth[index].userID = 1
        }
        simulation.run(until: simulation.now + .seconds(3600))
        simulation.judge(truth)
    }

    @Test func portalsClockOffByHours() throws {
        let simulation = try SenderSimulation { $0.recognitionSeconds = 30 * 60 }
        // To the portal every call began five hours ago, so it never recognises a repeat.
        let truth = simulation.shifted(simulation.calls(100, seed: 24), apart: .seconds(1)).map { item in
            var item = item
            item.call.startedAt.microseconds -= 5 * 3_600_000_000
            item.call.answeredAt?.microseconds -= 5 * 3_600_000_000
            item.call.endedAt?.microseconds -= 5 * 3_600_000_000
            return item
        }
        for (index, item) in truth.enumerated() {
            simulation.schedule(
                .register(SenderSimulation.begun(item.call)), at: simulation.now + .seconds(index))
            simulation.schedule(.finish(item.call), at: simulation.now + .seconds(index + 30))
        }
        simulation.portal.faults = [
            PortalFaultRule(.cutAfterEffect, method: "telephony.externalcall.finish", percent: 20)
        ]
        simulation.run(until: simulation.now + .seconds(3600))
        simulation.judge(truth)
    }
}
