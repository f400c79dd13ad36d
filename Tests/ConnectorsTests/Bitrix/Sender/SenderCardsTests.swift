import CallEngine
import Connectors
import Protocols
import Simulator
import Testing

@Suite("Bitrix24 sender: cards for everyone whose telephone rings, and for nobody else")
struct SenderCardsTests {
    private static func simulation(
        seed: UInt64 = 1, arrange: (inout PortalSettings) -> Void = { _ in }
    ) throws -> SenderSimulation {
        let simulation = try SenderSimulation(seed: seed, arrange: arrange)
        simulation.knowsDirectory()
        return simulation
    }

    @Test func shownToAllHiddenForTheRestMergedInTime() throws {
        let simulation = try Self.simulation()
        let start = simulation.now
        let item = simulation.groupCall("g1", rings: [0, 1, 2], answeredBy: 1, at: start, after: 5, talk: 20)
        simulation.schedule(group: item)
        simulation.run(until: start + .seconds(2))
        #expect(simulation.cardHolders == [10, 11, 12])
        simulation.run(until: start + .seconds(8))
        #expect(simulation.cardHolders == [11])
        simulation.run(until: start + .seconds(60))
        simulation.judge([item.truth])
        // Three telephones within half a second, and one answer: two requests, not four.
        #expect(simulation.requests("telephony.externalcall.show") == 1)
        #expect(simulation.requests("telephony.externalcall.hide") == 1)
        #expect(simulation.steps["g1", .cards]?.state == .done)
    }

    @Test func theRegisteredUsersCardIsHiddenWhenAnotherAnswers() throws {
        let simulation = try Self.simulation()
        let start = simulation.now
        // It rang at one telephone, and another one took it.
        var item = simulation.groupCall("g1", rings: [0], answeredBy: 3, at: start, after: 5, talk: 20)
        item.truth.call.calleeNumber = "200"
        simulation.schedule(group: item)
        simulation.run(until: start + .seconds(3))
        #expect(simulation.cardHolders == [10])
        simulation.run(until: start + .seconds(8))
        #expect(simulation.cardHolders == [13])
        simulation.run(until: start + .seconds(60))
        simulation.judge([item.truth])
    }

    @Test func aCardThatComesTooLateIsNotShown() throws {
        let simulation = try Self.simulation()
        let start = simulation.now
        simulation.isDown = { $0 > start - .seconds(1) && $0 < start + .seconds(90) }
        let item = simulation.groupCall("g1", rings: [0, 1], answeredBy: 1, at: start, after: 80, talk: 200)
        simulation.schedule(group: item)
        simulation.run(until: start + .seconds(120))
        #expect(simulation.requests("telephony.externalcall.register") == 1)
        // What rang is long over; who talks is of now.
        #expect(simulation.cardHolders == [11])
        simulation.run(until: start + .seconds(600))
        simulation.judge([item.truth])
    }

    @Test func nobodyIsShownWhatRangBeforeTheLastMinute() throws {
        let simulation = try Self.simulation()
        let start = simulation.now
        simulation.isDown = { $0 > start - .seconds(1) && $0 < start + .seconds(90) }
        let item = simulation.groupCall("g1", rings: [0, 1], answeredBy: nil, at: start, after: 200, talk: 0)
        simulation.schedule(group: item)
        simulation.run(until: start + .seconds(150))
        #expect(simulation.cardHolders.isEmpty)
        simulation.run(until: start + .seconds(600))
        simulation.judge([item.truth])
        #expect(simulation.requests("telephony.externalcall.show") == 0)
    }

    @Test("faults and kills: no card is left on a screen", arguments: [1, 2, 3, 4] as [UInt64])
    func faults(seed: UInt64) throws {
        let simulation = try Self.simulation(seed: seed)
        simulation.portal.faults = [
            PortalFaultRule(.cutBeforeEffect, percent: 4), PortalFaultRule(.cutAfterEffect, percent: 4),
            PortalFaultRule(.page(status: 502), percent: 3), PortalFaultRule(.queryLimit, percent: 3),
            PortalFaultRule(.diesInBatch(after: 1), method: "batch", percent: 5),
            PortalFaultRule(.operationTimeLimit, method: "telephony.externalcall.hide", percent: 3),
        ]
        var random = SimulationRandom(state: seed)
        var truth: [SenderSimulation.Truth] = []
        for index in 0..<80 {
            let rings = [0, 1, 2, 3, 4].shuffled(using: &random).prefix(Int.random(in: 1...4, using: &random))
            let isAnswered = Int.random(in: 0...3, using: &random) > 0
            let item = simulation.groupCall(
                "g\(index)", rings: Array(rings), answeredBy: isAnswered ? rings.first : nil,
                at: simulation.now + .milliseconds(1_500 * index),
                after: Int64.random(in: 1...15, using: &random),
                talk: Int64.random(in: 1...30, using: &random))
            simulation.schedule(group: item)
            truth.append(item.truth)
        }
        for round in 0..<8 {
            simulation.run(until: simulation.now + .milliseconds(Int.random(in: 1...20_000, using: &random)))
            simulation.killAndStart(seed: seed &+ UInt64(round))
            simulation.knowsDirectory()
        }
        simulation.run(until: simulation.now + .seconds(7_200))
        simulation.judge(truth)
    }
}

extension SenderSimulation {
    /// A call to the company's number at which several telephones ring, and what the portal must hold of it.
    struct GroupCall {
        var truth: Truth
        /// Extensions that ring, one after the other.
        var rings: [String]
        var answer: (by: String, at: Duration)?
        var start: Duration
    }

    /// - Parameters:
    ///   - rings: Places of users in the list, whose telephones ring a tenth of a second apart.
    ///   - after: Seconds from the start to the answer, or to the end of one that nobody answers.
    func groupCall(
        _ id: String, rings: [Int], answeredBy: Int?, at start: Duration, after: Int64, talk: Int64
    ) -> GroupCall {
        let begin = wallClock(at: start)
        func time(_ seconds: Int64) -> Timestamp {
            Timestamp(microseconds: begin.microseconds + seconds * 1_000_000)
        }
        var call = CRMCall(
            callID: id, direction: .inbound,
            callerNumber: "+7999\(id.utf8.reduce(1000) { $0 * 31 % 999_983 + Int($1) })",
            calleeNumber: "74950000001", startedAt: begin)
        call.lastRung = rings.last.map { "\(200 + $0)" }
        call.endedAt = time(after + (answeredBy == nil ? 0 : talk))
        call.outcome = answeredBy == nil ? .noAnswer : .answered
        if let answeredBy {
            call.answeredAt = time(after)
            call.answeredBy = "\(200 + answeredBy)"
            call.talkStartedAt = time(after)
            call.talkMicroseconds = talk * 1_000_000
            call.talks = [
                CRMTalk(number: "\(200 + answeredBy)", startedAt: time(after), endedAt: time(after + talk))
            ]
        }
        let truth = Truth(
            call: call, type: 2, number: call.callerNumber ?? "",
            userID: 10 + (answeredBy ?? rings.last ?? 0),
            status: answeredBy == nil ? "304" : "200", duration: answeredBy == nil ? 0 : Int(talk))
        return GroupCall(
            truth: truth, rings: rings.map { "\(200 + $0)" },
            answer: answeredBy.map { ("\(200 + $0)", start + .seconds(after)) }, start: start)
    }

    func schedule(group item: GroupCall) {
        let end = Duration.microseconds(
            (item.truth.call.endedAt ?? item.truth.call.startedAt).microseconds - epoch)
        var begun = Self.begun(item.truth.call)
        begun.talks = []
        begun.answeredBy = nil
        begun.talkStartedAt = nil
        begun.talkMicroseconds = nil
        begun.lastRung = nil
        schedule(.register(begun), at: item.start)
        for index in item.rings.indices {
            var call = begun
            call.telephones = item.rings[...index].sorted()
            schedule(.telephones(call), at: item.start + .milliseconds(100 * (index + 1)))
        }
        if let answer = item.answer {
            var call = begun
            call.telephones = [answer.by]
            schedule(.telephones(call), at: answer.at)
        }
        schedule(.finish(item.truth.call), at: end)
    }

    /// Users who see a card.
    var cardHolders: [Int] { portal.cards.filter { !$0.value.isEmpty }.keys.sorted() }

    /// The employees are read, as the client does it at the start.
    func knowsDirectory() {
        let rows = Self.users.map { user in
            "{\"ID\":\"\(user.id)\",\"ACTIVE\":true,\"UF_PHONE_INNER\":\"\(user.extensionNumber ?? "")\"}"
        }
        var reading = BitrixDirectoryReading()
        let body = Array("{\"result\":[\(rows.joined(separator: ","))]}".utf8)
        if case .complete(let directory) = reading.take(status: 200, body: body) {
            outbox.directory = directory
        }
    }
}
