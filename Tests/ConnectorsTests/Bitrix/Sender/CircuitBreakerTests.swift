import Connectors
import Testing

@Suite("Bitrix24 circuit breaker: closed, open, half-open")
struct CircuitBreakerTests {
    private static func breaker() -> CircuitBreaker {
        CircuitBreaker(threshold: 3, firstDelay: .seconds(1), maximumDelay: .seconds(8))
    }

    @Test func opensAfterFailuresInARowOnly() {
        var breaker = Self.breaker()
        for _ in 0..<10 {
            breaker.failed(at: .seconds(1), jitter: 0)
            breaker.failed(at: .seconds(1), jitter: 0)
            breaker.succeeded()
        }
        #expect(breaker.state == .closed)
        for _ in 0..<3 { breaker.failed(at: .seconds(1), jitter: 0) }
        #expect(breaker.state == .open(until: .milliseconds(1500)))
        #expect(breaker.nextChance(at: .seconds(1)) == .milliseconds(1500))
    }

    @Test func oneRequestTriesAndWhatComesBackLateChangesNothing() {
        var breaker = Self.breaker()
        for _ in 0..<3 { breaker.failed(at: .seconds(1), jitter: 0) }
        // Others that were under way fail too: it does not open for longer.
        for _ in 0..<5 { breaker.failed(at: .seconds(1), jitter: 0.9) }
        #expect(breaker.state == .open(until: .milliseconds(1500)))
        breaker.sent()
        #expect(breaker.state == .halfOpen)
        #expect(breaker.nextChance(at: .seconds(2)) == nil, "one at a time")
        breaker.succeeded()
        #expect(breaker.state == .closed)
    }

    @Test func eachTrialThatFailsDoublesTheTimeUpToABound() {
        var breaker = Self.breaker()
        for _ in 0..<3 { breaker.failed(at: .zero, jitter: 0) }
        var times: [Duration] = []
        for _ in 0..<6 {
            guard case .open(let until) = breaker.state else { break }
            times.append(until)
            breaker.sent()
            breaker.failed(at: .zero, jitter: 0)
        }
        #expect(
            times == [.milliseconds(500), .seconds(1), .seconds(2), .seconds(4), .seconds(4), .seconds(4)])
    }

    @Test func whatAPersonMustMendOpensAtOnce() {
        var breaker = Self.breaker()
        breaker.failed(at: .zero, isLasting: true, jitter: 0.5)
        #expect(breaker.state == .open(until: .seconds(6)))
    }
}

@Suite("Bitrix24 batches: what is sent and how answers are read")
struct BitrixBatchTests {
    private static func departure() throws -> BitrixOutbox.Departure {
        let configuration = try BitrixFixtures.configuration()
        let call = BitrixFixtures.ended(BitrixFixtures.call("c&1"))
        guard case .call(let facts) = BitrixCallFacts.reading(call, configuration: configuration) else {
            throw BitrixConfigurationError(variable: "", problem: "no facts")
        }
        let register = BitrixCommand.register(
            call, as: facts, showsCard: false, configuration: configuration)
        let finish = BitrixCommand.finish(
            call, bitrixCallID: BitrixCommand.callIDReference(to: "r0"), as: facts,
            configuration: configuration)
        return BitrixOutbox.Departure(
            parts: [
                .init(callID: "c&1", step: .register, command: register, key: "r0"),
                .init(callID: "c&1", step: .finish, command: finish, key: "f0"),
            ], lane: .ended, sentAt: .zero)
    }

    private static func decode(_ body: String) throws -> BitrixAnswer {
        BitrixReplyDecoder().decode(try departure(), status: 200, body: Array(body.utf8))
    }

    @Test func commandsAreEncodedOnceMoreInsideTheBody() throws {
        let text = String(decoding: try Self.departure().formBody, as: UTF8.self)
        #expect(text.hasPrefix("halt=0&cmd%5Br0%5D=telephony.externalcall.register%3F"))
        #expect(text.contains("EXTERNAL_CALL_ID%3Dpbx1-c%25261"))
        #expect(text.contains("CALL_ID%3D%2524result%255Br0%255D%255BCALL_ID%255D"))
    }

    @Test func eachCommandHasItsOwnAnswer() throws {
        let answer = try Self.decode(
            #"""
            {"result":{"result":{"r0":{"CALL_ID":"externalCall.a.1","LEAD_CREATION_ERROR":"no"}},
            "result_error":{"f0":{"error":"","error_description":"User is not found or is not active"}},
            "result_total":[],"result_next":[],"result_time":{"r0":{"finish":1790000000,"duration":0.2,
            "operating_reset_at":1790000600,"operating":7.5}}},"time":{"start":1}}
            """#)
        #expect(
            answer
                == .parts([
                    .success(
                        BitrixSuccess(
                            callID: "externalCall.a.1", warnings: ["no"], operatingResetsAfter: .seconds(600),
                            operating: 7.5, duration: 0.2)),
                    .refusal(
                        BitrixRefusal(status: 400, code: "", text: "User is not found or is not active")),
                ]))
    }

    @Test func emptyMapsAreListsAndWhatIsLeftOutIsUnknown() throws {
        let answer = try Self.decode(#"{"result":{"result":[],"result_error":[],"result_time":[]}}"#)
        #expect(answer == .parts([nil, nil]))
        let odd = try Self.decode(#"{"result":[]}"#)
        guard case .whole(.noAnswer(mayHaveRun: true, _)) = odd else {
            Issue.record("\(odd)")
            return
        }
    }

    @Test func errorsOfTheWholeAreThose() throws {
        let answer = try Self.decode(#"{"error":"QUERY_LIMIT_EXCEEDED","error_description":"Too many"}"#)
        guard case .whole(.refusal(let refusal)) = answer else {
            Issue.record("\(answer)")
            return
        }
        #expect(refusal.meaning == .tooManyRequests)
    }
}
