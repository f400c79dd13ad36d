import CallEngine
import Connectors
import Protocols
import Testing

/// An outbox with a clock, and the effects it had.
private final class OutboxDriver {
    var outbox: BitrixOutbox
    var now: Duration = .seconds(1000)
    var wallClock = BitrixFixtures.start
    var effects: [BitrixOutbox.Effect] = []

    init(_ change: (inout BitrixConfiguration) -> Void = { _ in }) throws {
        outbox = BitrixOutbox(configuration: try BitrixFixtures.configuration(change), seed: 1)
    }

    func submit(_ action: CRMAction) {
        outbox.submit(action, at: now, wallClock: wallClock, effects: &effects)
    }

    func next() -> BitrixOutbox.Departure? { outbox.next(at: now) }

    func reply(_ departure: BitrixOutbox.Departure, _ reply: BitrixReply) {
        outbox.replied(to: departure, reply, at: now, effects: &effects)
    }

    /// Goes forward to when the outbox wants to be asked.
    func wait() throws {
        now = max(now, try #require(outbox.nextWake(at: now)))
    }

    func takeEffects() -> [BitrixOutbox.Effect] {
        defer { effects = [] }
        return effects
    }

    static func registered(_ id: String = "externalCall.a.1") -> BitrixReply {
        .success(BitrixSuccess(callID: id))
    }
    static func refusal(_ status: Int, _ code: String, _ text: String = "") -> BitrixReply {
        .refusal(BitrixRefusal(status: status, code: code, text: text))
    }
    static let notFound = refusal(
        400, "ERROR_CORE", "Call is not found (call should be registered prior to finishing")
    static let noUser = refusal(400, "", "USER_ID or USER_PHONE_INNER should be set")
}

@Suite("Bitrix24 outbox: order, once each")
struct BitrixOutboxOrderTests {
    @Test func finishWaitsForThePortalsID() throws {
        let driver = try OutboxDriver()
        let call = BitrixFixtures.call("c1")
        driver.submit(.register(call))
        let register = try #require(driver.next())
        #expect(register.command.method == .register)
        driver.submit(.finish(BitrixFixtures.ended(call)))
        #expect(driver.next() == nil, "finish must not overtake")
        driver.reply(register, OutboxDriver.registered("externalCall.ab.9"))
        let finish = try #require(driver.next())
        #expect(finish.command.method == .finish)
        #expect(finish.command["CALL_ID"] == "externalCall.ab.9")
        #expect(finish.command["USER_PHONE_INNER"] == register.command["USER_PHONE_INNER"])
        driver.reply(finish, .success(BitrixSuccess()))
        #expect(
            driver.effects == [
                .registered(callID: "c1", bitrixCallID: "externalCall.ab.9", warnings: []),
                .finished(callID: "c1", confirmed: true, warnings: []),
            ])
        #expect(driver.outbox.callCount == 0)
        #expect(driver.outbox.waitingSteps == 0)
        #expect(driver.outbox.underWay == 0)
    }

    @Test func secondRegisterAndSecondFinishAreIgnored() throws {
        let driver = try OutboxDriver()
        let call = BitrixFixtures.call("c1")
        driver.submit(.register(call))
        driver.submit(.register(call))
        let register = try #require(driver.next())
        #expect(driver.next() == nil)
        driver.reply(register, OutboxDriver.registered())
        driver.submit(.finish(BitrixFixtures.ended(call)))
        driver.submit(.finish(BitrixFixtures.ended(call)))
        let finish = try #require(driver.next())
        #expect(driver.next() == nil)
        driver.reply(finish, .success(BitrixSuccess()))
        // Long after, as when StasisEnd and ChannelDestroyed both end a call.
        driver.submit(.finish(BitrixFixtures.ended(call)))
        driver.submit(.register(call))
        #expect(driver.next() == nil)
        let ignored = driver.effects.filter { if case .ignored = $0 { true } else { false } }
        #expect(ignored.count == 4)
    }

    @Test func callThatEndedBeforeItWasSentIsToldAsItEnded() throws {
        let driver = try OutboxDriver()
        driver.submit(.register(BitrixFixtures.call("c1", .unknown, from: "+79995550101", to: "s")))
        driver.submit(
            .finish(
                BitrixFixtures.ended(BitrixFixtures.call("c1", .inbound, from: "+79995550101", to: "102"))))
        let register = try #require(driver.next())
        #expect(register.command["USER_PHONE_INNER"] == "102")
        #expect(register.command["SHOW"] == "0", "no card for a call of the past")
    }

    @Test func repeatIsIdentical() throws {
        let driver = try OutboxDriver()
        driver.submit(.register(BitrixFixtures.call("c1", .unknown, from: "+79995550101", to: "s")))
        let first = try #require(driver.next())
        driver.reply(first, .noAnswer(mayHaveRun: true, reason: "time-out"))
        driver.submit(
            .finish(
                BitrixFixtures.ended(BitrixFixtures.call("c1", .inbound, from: "+79995550101", to: "102"))))
        try driver.wait()
        let second = try #require(driver.next())
        for name in [
            "USER_ID", "USER_PHONE_INNER", "PHONE_NUMBER", "TYPE", "LINE_NUMBER", "EXTERNAL_CALL_ID",
        ] {
            #expect(first.command[name] == second.command[name], "\(name)")
        }
        #expect(first.command["CALL_START_DATE"] == second.command["CALL_START_DATE"])
    }

    @Test func cardIsForAnExtensionThatRingsNow() throws {
        let driver = try OutboxDriver()
        driver.submit(.register(BitrixFixtures.call("a", to: "101")))
        driver.submit(.register(BitrixFixtures.call("b", to: "74950000001")))
        #expect(driver.next()?.command["SHOW"] == "1")
        #expect(driver.next()?.command["SHOW"] == "0", "not for the fallback user")
    }

    @Test func skippedCallsAreDecidedAndTheirFinishIgnored() throws {
        let driver = try OutboxDriver()
        let call = BitrixFixtures.call("c1", from: "anonymous")
        driver.submit(.register(call))
        driver.submit(.finish(BitrixFixtures.ended(call)))
        #expect(driver.next() == nil)
        #expect(driver.effects.first == .skipped(callID: "c1", reason: .hiddenNumber))
        #expect(driver.effects.count == 2)
        #expect(driver.outbox.callCount == 0)
    }

    @Test func firstComeFirstSent() throws {
        let driver = try OutboxDriver { $0.maximumConnections = 100 }
        for index in 0..<40 { driver.submit(.register(BitrixFixtures.call("c\(index)"))) }
        var sent: [String] = []
        var requests = 0
        while let departure = driver.next() {
            sent.append(contentsOf: departure.parts.map(\.callID))
            requests += 1
        }
        #expect(sent == (0..<40).map { "c\($0)" })
        #expect(requests < 40, "one by one while there is room, together when it becomes less")
    }

    @Test func finishOfAnEarlierRunRegistersAgainWhileThePortalRecognisesIt() throws {
        let driver = try OutboxDriver()
        driver.wallClock.microseconds += 20 * 60 * 1_000_000
        let call = BitrixFixtures.call("c1")
        driver.submit(.finish(BitrixFixtures.ended(call)))
        let register = try #require(driver.next())
        #expect(register.command.method == .register)
        driver.reply(register, OutboxDriver.registered())
        #expect(driver.next()?.command.method == .finish)

        let late = try OutboxDriver()
        late.wallClock.microseconds += 26 * 60 * 1_000_000
        late.submit(.finish(BitrixFixtures.ended(call)))
        #expect(late.next() == nil, "the portal would make a second call of it")
        guard case .dropped(callID: "c1", step: .finish, _)? = late.effects.first else {
            Issue.record("\(late.effects)")
            return
        }
    }
}

@Suite("Bitrix24 outbox: what is repeated and what is not")
struct BitrixOutboxRetryTests {
    private func registering() throws -> (OutboxDriver, BitrixOutbox.Departure) {
        let driver = try OutboxDriver()
        driver.submit(.register(BitrixFixtures.call("c1")))
        return (driver, try #require(driver.next()))
    }

    private func finishing() throws -> (OutboxDriver, BitrixOutbox.Departure) {
        let (driver, register) = try registering()
        driver.reply(register, OutboxDriver.registered())
        driver.submit(.finish(BitrixFixtures.ended(BitrixFixtures.call("c1"))))
        let finish = try #require(driver.next())
        driver.effects = []
        return (driver, finish)
    }

    @Test(arguments: [
        BitrixReply.noAnswer(mayHaveRun: false, reason: "refused"),
        .noAnswer(mayHaveRun: true, reason: "cut"),
        OutboxDriver.refusal(500, "INTERNAL_SERVER_ERROR"),
        OutboxDriver.refusal(500, "ERROR_UNEXPECTED_ANSWER"),
        OutboxDriver.refusal(502, ""), OutboxDriver.refusal(503, "QUERY_LIMIT_EXCEEDED", "Too many requests"),
        OutboxDriver.refusal(429, "OPERATION_TIME_LIMIT"), OutboxDriver.refusal(429, ""),
        .success(BitrixSuccess(callID: nil)),
    ])
    func passingTroubleIsRepeated(reply: BitrixReply) throws {
        let (driver, register) = try registering()
        driver.reply(register, reply)
        #expect(driver.next() == nil, "not at once")
        try driver.wait()
        let again = try #require(driver.next())
        #expect(again.command == register.command)
        driver.reply(again, OutboxDriver.registered())
        #expect(driver.outbox.state == .ok)
    }

    @Test(arguments: [
        OutboxDriver.refusal(400, "ERROR_CORE", "Unsupported phone number format"),
        OutboxDriver.refusal(400, "", "Unknown TYPE"),
        OutboxDriver.refusal(400, "INVALID_ARGUMENT", "CALL_ID must be a string"),
    ])
    func lastingTroubleIsNot(reply: BitrixReply) throws {
        let (driver, register) = try registering()
        driver.reply(register, reply)
        #expect(driver.outbox.nextWake(at: driver.now) == nil)
        driver.effects = []
        driver.submit(.finish(BitrixFixtures.ended(BitrixFixtures.call("c1"))))
        #expect(
            driver.takeEffects() == [
                .dropped(callID: "c1", step: .finish, reason: "the call could not be registered")
            ])
        #expect(driver.next() == nil)
        #expect(driver.outbox.callCount == 0)
    }

    @Test(arguments: [
        OutboxDriver.refusal(401, "INVALID_CREDENTIALS"), OutboxDriver.refusal(403, "WRONG_AUTH_TYPE"),
        OutboxDriver.refusal(404, "ERROR_METHOD_NOT_FOUND"), OutboxDriver.refusal(401, "insufficient_scope"),
        OutboxDriver.refusal(401, "OVERLOAD_LIMIT"), OutboxDriver.refusal(503, "OVERLOAD_LIMIT"),
        OutboxDriver.refusal(500, "PORTAL_DELETED"), OutboxDriver.refusal(403, ""),
    ])
    func troubleThatAPersonMendsLosesNothing(reply: BitrixReply) throws {
        let (driver, register) = try registering()
        driver.reply(register, reply)
        guard case .failing = driver.outbox.state, case .open = driver.outbox.circuit else {
            Issue.record("\(driver.outbox.state), \(driver.outbox.circuit)")
            return
        }
        driver.submit(.register(BitrixFixtures.call("c2")))
        #expect(driver.next() == nil, "nothing goes out before the next trial")
        try driver.wait()
        let trial = try #require(driver.next())
        #expect(driver.next() == nil, "one at a time")
        driver.reply(trial, OutboxDriver.registered())
        #expect(driver.outbox.state == .ok)
        #expect(driver.outbox.circuit == .closed)
        if driver.outbox.waitingSteps > 0 { try driver.wait() }
        #expect(driver.next() != nil, "the other one follows")
    }

    @Test func registerGivenUpTakesAWaitingFinishAlong() throws {
        let (driver, register) = try registering()
        driver.submit(.finish(BitrixFixtures.ended(BitrixFixtures.call("c1"))))
        driver.reply(register, OutboxDriver.refusal(400, "", "Unknown TYPE"))
        let dropped = driver.effects.compactMap { effect -> BitrixOutbox.Step? in
            if case .dropped(_, let step, _) = effect { step } else { nil }
        }
        #expect(dropped == [.register, .finish])
        #expect(driver.outbox.callCount == 0)
    }

    @Test func attemptsAreBoundedAndDelaysGrow() throws {
        var (driver, departure) = try registering()
        var delays: [Duration] = []
        var attempts = 1
        while true {
            driver.reply(departure, .noAnswer(mayHaveRun: false, reason: "refused"))
            guard case .retrying(_, _, _, let delay)? = driver.effects.last else { break }
            delays.append(delay)
            // Meanwhile the portal does what others ask: the fault is this step's own.
            driver.now += .milliseconds(1)
            driver.submit(.register(BitrixFixtures.call("other-\(attempts)")))
            let other = try #require(driver.next())
            driver.reply(other, OutboxDriver.registered())
            try driver.wait()
            departure = try #require(driver.next())
            attempts += 1
        }
        #expect(attempts == BitrixConfiguration.RetryPolicy().maximumAttempts)
        for (index, delay) in delays.enumerated() {
            let full = min(.seconds(60), Duration.seconds(1 << index))
            #expect(delay >= full * 0.5 && delay <= full, "delay \(index) is \(delay)")
        }
        #expect(delays.count == attempts - 1)
        guard case .dropped(callID: "c1", step: .register, _)? = driver.effects.last else {
            Issue.record("\(driver.effects)")
            return
        }
    }

    @Test func aPortalThatAnswersNobodyIsWaitedFor() throws {
        var (driver, departure) = try registering()
        for _ in 0..<100 {
            driver.reply(departure, .noAnswer(mayHaveRun: true, reason: "time-out"))
            try driver.wait()
            departure = try #require(driver.next())
        }
        driver.reply(departure, OutboxDriver.registered())
        #expect(driver.outbox.callCount == 1)
        #expect(!driver.effects.contains { if case .dropped = $0 { true } else { false } })
    }

    @Test func jitterSpreadsCallsThatFailedTogether() throws {
        let driver = try OutboxDriver()
        for index in 0..<8 { driver.submit(.register(BitrixFixtures.call("c\(index)"))) }
        var departures: [BitrixOutbox.Departure] = []
        while let departure = driver.next() { departures.append(departure) }
        for departure in departures {
            driver.reply(departure, .noAnswer(mayHaveRun: false, reason: "refused"))
        }
        let delays = Set(
            driver.effects.compactMap { effect -> Duration? in
                if case .retrying(_, _, _, let after) = effect { after } else { nil }
            })
        #expect(departures.count == 8)
        #expect(delays.count == 8)
    }

    @Test func finishNotFoundAfterALostAnswerIsDone() throws {
        let (driver, finish) = try finishing()
        driver.reply(finish, .noAnswer(mayHaveRun: true, reason: "time-out"))
        try driver.wait()
        let again = try #require(driver.next())
        driver.reply(again, OutboxDriver.notFound)
        #expect(driver.effects.contains(.finished(callID: "c1", confirmed: false, warnings: [])))
        #expect(driver.outbox.callCount == 0)
    }

    @Test func finishNotFoundOtherwiseIsAFailure() throws {
        for first in [nil, BitrixReply.noAnswer(mayHaveRun: false, reason: "refused")] {
            let (driver, finish) = try finishing()
            var last = finish
            if let first {
                driver.reply(finish, first)
                try driver.wait()
                last = try #require(driver.next())
            }
            driver.reply(last, OutboxDriver.notFound)
            guard
                case .dropped(callID: "c1", step: .finish, _)? = driver.effects.last(where: {
                    $0 != .state(.ok)
                })
            else {
                Issue.record("\(driver.effects)")
                continue
            }
        }
    }

    @Test func unknownExtensionGoesToTheFallbackUserOnceAndForBothSteps() throws {
        let (driver, register) = try registering()
        #expect(register.command["USER_PHONE_INNER"] == "101")
        driver.reply(register, OutboxDriver.noUser)
        let again = try #require(driver.next())
        #expect(again.command["USER_PHONE_INNER"] == nil)
        #expect(again.command["USER_ID"] == "1")
        #expect(again.command["SHOW"] == "0")
        driver.reply(again, OutboxDriver.registered())
        driver.submit(.finish(BitrixFixtures.ended(BitrixFixtures.call("c1"))))
        let finish = try #require(driver.next())
        #expect(finish.command["USER_ID"] == "1")
        #expect(
            driver.effects.contains(.userReplaced(callID: "c1", from: .phoneInner("101"), to: .userID(1))))

        let (other, first) = try registering()
        other.reply(first, OutboxDriver.noUser)
        let second = try #require(other.next())
        other.reply(second, OutboxDriver.refusal(400, "ERROR_CORE", "User is not found or is not active"))
        #expect(other.next() == nil)
        #expect(other.outbox.nextWake(at: other.now) == nil, "no third attempt")
    }
}

@Suite("Bitrix24 outbox: limits and state")
struct BitrixOutboxLimitTests {
    @Test func neverFasterThanThePortalAllows() throws {
        let driver = try OutboxDriver { $0.maximumConnections = 1000 }
        for index in 0..<300 { driver.submit(.register(BitrixFixtures.call("c\(index)"))) }
        // The portal's own bucket, with its own numbers, refuses none of it.
        var portalLevel = 0.0
        var last = driver.now
        var sent = 0
        while sent < 300 {
            while let departure = driver.next() {
                portalLevel = max(0, portalLevel - (driver.now - last) / .seconds(1) * 2) + 1
                last = driver.now
                #expect(portalLevel <= 50)
                sent += departure.parts.count
            }
            if sent < 300 { try driver.wait() }
        }
    }

    @Test func fullBucketStopsEverything() throws {
        let driver = try OutboxDriver()
        driver.submit(.register(BitrixFixtures.call("a")))
        driver.submit(.register(BitrixFixtures.call("b")))
        let first = try #require(driver.next())
        driver.reply(first, OutboxDriver.refusal(503, "QUERY_LIMIT_EXCEEDED"))
        #expect(driver.next() == nil)
        let wake = try #require(driver.outbox.nextWake(at: driver.now))
        #expect(wake - driver.now >= .milliseconds(500))
        #expect(driver.outbox.state == .ok, "a limit is no failure")
        driver.now = wake
        #expect(driver.next()?.callID == "b")
    }

    @Test func blockedMethodWaitsAndTheOtherGoesOn() throws {
        let driver = try OutboxDriver()
        driver.submit(.register(BitrixFixtures.call("a")))
        let first = try #require(driver.next())
        driver.reply(
            first, .success(BitrixSuccess(callID: "externalCall.a.1", operatingResetsAfter: .seconds(300))))
        driver.submit(.register(BitrixFixtures.call("b")))
        let second = try #require(driver.next())
        driver.reply(second, OutboxDriver.refusal(429, "OPERATION_TIME_LIMIT"))
        driver.submit(.register(BitrixFixtures.call("c")))
        driver.submit(.finish(BitrixFixtures.ended(BitrixFixtures.call("a"))))
        let third = try #require(driver.next())
        #expect(third.command.method == .finish, "another method is not held")
        #expect(driver.next() == nil)
        driver.now += .seconds(299)
        #expect(driver.next() == nil, "until operating_reset_at")
        driver.now += .seconds(2)
        #expect(driver.next()?.command.method == .register)
    }

    @Test func requestsUnderWayAreBounded() throws {
        let driver = try OutboxDriver { $0.maximumConnections = 3 }
        for index in 0..<10 { driver.submit(.register(BitrixFixtures.call("c\(index)"))) }
        let sent = (0..<10).compactMap { _ in driver.next() }
        #expect(sent.count == 3)
        #expect(driver.outbox.nextWake(at: driver.now) == nil)
        driver.reply(sent[0], OutboxDriver.registered())
        #expect(driver.next() != nil)
        #expect(driver.next() == nil)
    }

    @Test func callsHeldAreBounded() throws {
        let driver = try OutboxDriver { $0.maximumCalls = 2 }
        for id in ["a", "b", "c"] { driver.submit(.register(BitrixFixtures.call(id))) }
        #expect(driver.outbox.callCount == 2)
        guard case .dropped(callID: "c", step: .register, let reason)? = driver.effects.last else {
            Issue.record("\(driver.effects)")
            return
        }
        #expect(reason.contains("BITRIX_MAX_CALLS"))
    }

    @Test func callsWhoseEndNeverCameMakeRoomAfterADay() throws {
        let driver = try OutboxDriver { $0.maximumCalls = 2 }
        for id in ["a", "b"] { driver.submit(.register(BitrixFixtures.call(id))) }
        while let departure = driver.next() { driver.reply(departure, OutboxDriver.registered()) }
        driver.wallClock.microseconds += 25 * 3_600_000_000
        driver.submit(.register(BitrixFixtures.call("c")))
        #expect(driver.outbox.callCount == 1)
        #expect(driver.next()?.callID == "c")
    }

    @Test func configurationErrorIsSaidOnceAndGoesAway() throws {
        let driver = try OutboxDriver()
        for id in ["a", "b"] { driver.submit(.register(BitrixFixtures.call(id))) }
        for _ in 0..<3 {
            driver.reply(try #require(driver.next()), OutboxDriver.refusal(401, "INVALID_CREDENTIALS"))
            try driver.wait()
        }
        let states = driver.effects.compactMap { effect -> CRMState? in
            if case .state(let state) = effect { state } else { nil }
        }
        #expect(states.count == 1)
        guard case .failing(let reason)? = states.first else {
            Issue.record("\(states)")
            return
        }
        #expect(reason.contains("BITRIX_WEBHOOK_URL"))
        driver.reply(try #require(driver.next()), OutboxDriver.registered())
        #expect(driver.outbox.state == .ok)
        #expect(driver.effects.contains(.state(.ok)))
    }

    @Test func wrongAuthTypeSaysWhatToDo() throws {
        let refusal = BitrixRefusal(
            status: 403, code: "WRONG_AUTH_TYPE", text: "Current authorization type is denied for this method"
        )
        guard case .configuration(let text) = refusal.meaning else {
            Issue.record("\(refusal.meaning)")
            return
        }
        #expect(text.contains("application"))
    }

    @Test(arguments: [
        (
            400, "", "Call is not found (call should be registered prior to finishing)",
            BitrixRefusal.Meaning.callNotFound
        ),
        (400, "ERROR_CORE", "Call is not found (call should be registered prior to finishing", .callNotFound),
        (400, "", "User is not found or is not active", .userUnknown),
        (400, "ERROR_CORE", "USER_ID or USER_PHONE_INNER should be set", .userUnknown),
        (503, "QUERY_LIMIT_EXCEEDED", "", .tooManyRequests),
        (400, "query_limit_exceeded", "", .tooManyRequests),
        (200, "OPERATION_TIME_LIMIT", "", .methodBlocked), (504, "", "", .serverFailure),
        (400, "ERROR_CORE", "Unknown TYPE", .refused), (409, "", "", .refused),
    ])
    func codeDecidesBeforeStatus(status: Int, code: String, text: String, meaning: BitrixRefusal.Meaning) {
        #expect(BitrixRefusal(status: status, code: code, text: text).meaning == meaning)
    }
}

@Suite("Bitrix24 request pacer")
struct RequestPacerTests {
    @Test func burstThenRate() {
        var pacer = RequestPacer(perSecond: 2, burst: 5)
        func take(_ now: Duration) -> Bool { pacer.take(at: now) }
        var now: Duration = .seconds(7)
        for _ in 0..<5 { #expect(take(now)) }
        #expect(!take(now))
        let room = pacer.nextRoom(at: now)
        #expect(room > now + .milliseconds(499) && room < now + .milliseconds(501))
        now = room
        #expect(take(now))
        #expect(!take(now))
        now += .seconds(100)
        #expect((0..<9).filter { _ in take(now) }.count == 5, "no more than the burst after a rest")
    }

    @Test func refusalHoldsAndFills() {
        var pacer = RequestPacer(perSecond: 2, burst: 5)
        func take(_ now: Duration) -> Bool { pacer.take(at: now) }
        pacer.refused(at: .seconds(1), holdUntil: .seconds(4))
        #expect(!take(.seconds(3)))
        #expect(pacer.nextRoom(at: .seconds(3)) == .seconds(4))
        #expect(take(.seconds(4)), "six have drained by then")
    }
}
