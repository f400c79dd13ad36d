import CallEngine
import Protocols
import Testing

@testable import Connectors

@Suite("A call's row never loses a fact")
struct StoreUpsertTests {
    /// Writes each state in a batch of its own and gives the row.
    private func row(_ kind: StoreKind, _ states: [CallRecord]) throws -> StoredCall {
        let bench = try StoreBench(kind)
        bench.start()
        for state in states {
            bench.commit.appendCall(state)
            bench.settle()
        }
        let found = try #require(try bench.call("u")).call
        #expect(bench.metrics[.storeBatches] == states.count)
        bench.close()
        return found
    }

    private var ringing: CallRecord {
        .test("u") {
            $0.callerNumber.set("100")
            $0.direction = .inbound
            $0.updatedAt = .test(0)
        }
    }

    private var answered: CallRecord {
        .test("u") {
            $0.callerNumber.set("100")
            $0.calleeNumber.set("200")
            $0.direction = .inbound
            $0.status = .answered
            $0.answeredAt = .test(5)
            $0.updatedAt = .test(5)
        }
    }

    private var finished: CallRecord {
        .test("u") {
            $0.callerNumber.set("100")
            $0.calleeNumber.set("200")
            $0.direction = .inbound
            $0.status = .finished
            $0.answeredAt = .test(5)
            $0.endedAt = .test(60)
            $0.outcome = .answered
            $0.hangupCause = 16
            $0.updatedAt = .test(60)
        }
    }

    @Test("the states of a call in any order give the same row", arguments: StoreKind.available)
    func anyOrder(_ kind: StoreKind) throws {
        let (a, b, c) = (ringing, answered, finished)
        for order in [[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]] {
            let call = try row(kind, order)
            #expect(call.status == "finished")
            #expect(call.startedAt == .test(0))
            #expect(call.answeredAt == .test(5))
            #expect(call.endedAt == .test(60))
            #expect(call.callerNumber == "100")
            #expect(call.calleeNumber == "200")
            #expect(call.direction == "inbound")
            #expect(call.outcome == "answered")
            #expect(call.hangupCause == 16)
            #expect(call.updatedAt == .test(60))
            // The row stays the first one's.
            #expect(call.id == order[0].id)
            #expect(call.insertedAt == order[0].insertedAt)
        }
    }

    @Test("a newer state without a value keeps what was known", arguments: StoreKind.available)
    func unknownNeverReplaces(_ kind: StoreKind) throws {
        let call = try row(kind, [finished, .test("u", at: -10) { $0.updatedAt = .test(90) }])
        #expect(call.status == "finished")
        #expect(call.direction == "inbound")
        #expect(call.callerNumber == "100")
        #expect(call.calleeNumber == "200")
        #expect(call.outcome == "answered")
        #expect(call.hangupCause == 16)
        #expect(call.endedAt == .test(60))
        #expect(call.answeredAt == .test(5))
        #expect(call.startedAt == .test(-10), "the earliest start counts")
        #expect(call.updatedAt == .test(90))
    }

    @Test("of two known values the newer state's counts", arguments: StoreKind.available)
    func newerValueCounts(_ kind: StoreKind) throws {
        let newer = CallRecord.test("u") {
            $0.status = .answered
            $0.direction = .outbound
            $0.callerNumber.set("111")
            $0.answeredAt = .test(3)
            $0.updatedAt = .test(7)
        }
        for order in [[answered, newer], [newer, answered]] {
            let call = try row(kind, order)
            #expect(call.direction == "outbound")
            #expect(call.callerNumber == "111")
            #expect(call.calleeNumber == "200")
            #expect(call.answeredAt == .test(3), "the first answer stays")
            #expect(call.updatedAt == .test(7))
        }
    }

    @Test("an estimated end gives way to the true one that comes later", arguments: StoreKind.available)
    func estimatedEnd(_ kind: StoreKind) throws {
        let estimated = CallRecord.test("u") {
            $0.status = .finished
            $0.endedAt = .test(100)
            $0.flags = .estimatedEnd
            $0.outcome = .lost
            $0.updatedAt = .test(100)
        }
        let before = try row(kind, [ringing, estimated])
        #expect(before.endedEstimated)
        #expect(before.endedAt == .test(100))
        let seen = CallRecord.test("u") {
            $0.status = .finished
            $0.endedAt = .test(80)
            $0.outcome = .noAnswer
            $0.updatedAt = .test(120)
        }
        let after = try row(kind, [ringing, estimated, seen])
        #expect(!after.endedEstimated)
        #expect(after.endedAt == .test(80))
        #expect(after.outcome == "no_answer")
    }

    @Test("finished and error do not go back", arguments: StoreKind.available)
    func finalStatus(_ kind: StoreKind) throws {
        let error = CallRecord.test("u") {
            $0.status = .error
            $0.updatedAt = .test(1)
        }
        let late = CallRecord.test("u") {
            $0.status = .answered
            $0.updatedAt = .test(50)
        }
        #expect(try row(kind, [error, late]).status == "error")
        #expect(try row(kind, [late, error]).status == "error")
        #expect(try row(kind, [finished, late]).status == "finished")
    }
}
