import CallEngine
import Foundation
import Protocols
import Testing

@testable import Connectors

@Suite("What is derived from a call's legs is stored with the call")
struct CallPartsTests {
    private static func inline<let size: Int>(_ text: String) -> InlineText<size> {
        var inline = InlineText<size>()
        inline.set(text)
        return inline
    }

    private static func leg(_ id: String, _ roles: LegRoles, change: (inout LegRecord) -> Void) -> LegRecord {
        var leg = LegRecord(channelID: inline(id), startedAt: .test(0))
        leg.roles = roles
        change(&leg)
        return leg
    }

    /// A call that rang at two telephones in a queue and was answered by the second.
    static func details(legs: Int = 3, repeated: Bool = false) -> CallDetails {
        var facts = CallFacts()
        facts.outcome = .answered
        facts.rule = .talk
        facts.hungUpBy = .callee
        facts.cause = 16
        facts.sipCode = 486
        facts.ringStartedAt = .test(2)
        facts.talkStartedAt = .test(5)
        (facts.waitMicroseconds, facts.ringMicroseconds) = (5_000_001, 3_000_002)
        (facts.talkMicroseconds, facts.holdMicroseconds) = (50_000_003, 4_000_004)
        facts.postDialDelayMicroseconds = 700_005
        facts.answeredBy = inline("102")
        facts.operatorNumber = inline("100")
        facts.transferredBy = inline("102")
        facts.transferredTo = inline("Зал")
        facts.queue = inline("sales")
        facts.attemptCount = 2
        facts.isIncomplete = true
        let caller = leg("1.1", [.caller]) {
            $0.name = inline("PJSIP/trunk-00000001")
            $0.number = inline("+7495")
            $0.pbx = 1
            $0.answeredAt = .test(1)
            $0.endedAt = .test(60)
            $0.isEndEstimated = true
        }
        let first = leg("1.2", [.attempt]) {
            $0.number = inline("101")
            $0.result = .busy
            $0.dialedBy = inline("1.1")
            $0.dialedAt = .test(2)
            $0.endedAt = .test(3)
            (($0).cause, $0.sipCode) = (17, 486)
        }
        let second = leg("1.3", [.callee, .transferer]) {
            $0.number = inline("102")
            $0.result = .answered
            $0.evidence = .up
            $0.dialedBy = inline("1.1")
            $0.cameFrom = inline("1.0")
            $0.dialedAt = .test(2)
            $0.ringingAt = .test(3)
            $0.answeredAt = .test(5)
            $0.talkStartedAt = .test(5)
            $0.endedAt = .test(60)
            ($0.talkMicroseconds, $0.holdMicroseconds) = (55_000_000, 4_000_000)
        }
        var queue = CallSegment(.queue, name: inline("sales"), from: Timestamp.test(1), to: Timestamp.test(5))
        queue.result = .answered
        queue.by = inline("102")
        queue.attempts = 0..<2
        var transfer = CallSegment(
            .transfer, name: inline("Зал"), from: Timestamp.test(40), to: Timestamp.test(40))
        transfer.transfer = .attended
        transfer.result = .answered
        return CallDetails(
            facts: facts, legs: [LegRecord]([caller, first, second].prefix(legs)),
            segments: legs > 2 ? [queue, transfer] : [transfer], attempts: legs > 2 ? [1, 2] : [],
            isRepeated: repeated)
    }

    static func finished(_ seconds: Int64, change: (inout CallRecord) -> Void = { _ in }) -> CallRecord {
        .test("1.1") {
            $0.status = .finished
            $0.answeredAt = .test(1)
            $0.endedAt = .test(60)
            $0.outcome = .answered
            $0.hangupCause = 16
            $0.updatedAt = .test(seconds)
            change(&$0)
        }
    }

    @Test("facts, legs and parts come back as they were", arguments: StoreKind.available)
    func roundTrip(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        bench.commit.appendCall(Self.finished(60) { $0.flags = .partial }, details: Self.details())
        bench.settle()
        let call = try #require(try bench.call("1.1")).call
        var facts = StoredFacts()
        facts.isPartial = true
        facts.derivedAt = .test(60)
        facts.outcomeRule = "talk"
        facts.hungUpBy = "callee"
        facts.sipCode = 486
        facts.ringStartedAt = .test(2)
        facts.talkStartedAt = .test(5)
        (facts.wait, facts.ring, facts.talk, facts.hold) = (5_000_001, 3_000_002, 50_000_003, 4_000_004)
        facts.postDial = 700_005
        facts.answeredBy = "102"
        facts.operatorNumber = "100"
        (facts.transferredBy, facts.transferredTo, facts.queue) = ("102", "Зал", "sales")
        facts.attempts = 2
        facts.isIncomplete = true
        #expect(call.facts == facts)
        #expect(call.outcome == "answered")
        let parts = try bench.parts("1.1")
        #expect(parts.legs.map(\.channelID) == ["1.1", "1.2", "1.3"])
        #expect(parts.legs.map(\.role) == ["caller", "attempt", "callee+transferer"])
        #expect(parts.legs.map(\.segment) == [nil, 0, 0], "both telephones were called by the queue")
        let second = try #require(parts.legs.last)
        #expect(
            second
                == StoredLeg(
                    number: 2, channelID: "1.3", name: nil, endNumber: "102", role: "callee+transferer",
                    result: "answered", evidence: "up", pbx: "main", dialedBy: "1.1", cameFrom: "1.0",
                    segment: 0,
                    startedAt: .test(0), dialedAt: .test(2), ringingAt: .test(3), answeredAt: .test(5),
                    talkStartedAt: .test(5), endedAt: .test(60), ring: 2_000_000, talk: 55_000_000,
                    hold: 4_000_000, cause: nil, sipCode: nil, endedEstimated: false))
        #expect(parts.legs[0].pbx == "branch")
        #expect(parts.legs[0].endedEstimated)
        #expect(parts.legs[1].cause == 17 && parts.legs[1].sipCode == 486 && parts.legs[1].result == "busy")
        #expect(
            parts.segments == [
                StoredSegment(
                    number: 0, kind: "queue", name: "sales", result: "answered", by: "102", transfer: nil,
                    startedAt: .test(1), endedAt: .test(5)),
                StoredSegment(
                    number: 1, kind: "transfer", name: "Зал", result: "answered", by: nil,
                    transfer: "attended",
                    startedAt: .test(40), endedAt: .test(40)),
            ])
        bench.close()
    }

    @Test("while a call lives its row has what is known, and no legs", arguments: StoreKind.available)
    func whileTalking(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        bench.commit.appendCall(
            .test("1.1") {
                $0.status = .answered
                $0.updatedAt = .test(5)
            }, details: Self.details())
        // A later change of the same batch, about which nothing is derived, takes nothing back.
        bench.commit.appendCall(
            .test("1.1") {
                $0.status = .answered
                $0.updatedAt = .test(6)
            })
        bench.settle()
        let call = try #require(try bench.call("1.1")).call
        #expect(call.facts.talkStartedAt == .test(5))
        #expect(call.facts.answeredBy == "102")
        #expect(call.facts.wait == 5_000_001)
        #expect(call.facts.talk == nil, "it goes on")
        #expect(try bench.parts("1.1") == StoredParts())
        bench.commit.appendCall(Self.finished(60), details: Self.details())
        bench.settle()
        #expect(try bench.call("1.1")?.call.facts.talk == 50_000_003)
        #expect(try bench.parts("1.1").legs.count == 3)
        bench.close()
    }

    @Test("a call that ends again has its legs replaced, never by older ones", arguments: StoreKind.available)
    func endsAgain(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        bench.commit.appendCall(Self.finished(60), details: Self.details())
        bench.settle()
        for _ in 0..<2 {
            bench.commit.appendCall(Self.finished(70), details: Self.details(legs: 2, repeated: true))
            bench.settle()
            let parts = try bench.parts("1.1")
            #expect(parts.legs.map(\.number) == [0, 1])
            #expect(parts.segments.map(\.kind) == ["transfer"])
            #expect(try bench.rows("call_legs") == 2)
            #expect(try bench.rows("call_segments") == 1)
        }
        // What another daemon knew before comes late.
        bench.commit.appendCall(Self.finished(65) { $0.outcome = .lost }, details: Self.details())
        bench.settle()
        #expect(try bench.parts("1.1").legs.map(\.number) == [0, 1])
        #expect(try bench.call("1.1")?.call.facts.derivedAt == .test(70))
        #expect(try bench.call("1.1")?.call.outcome == "answered")
        bench.close()
    }

    @Test("states of one batch are one call, with the newest one's legs", arguments: StoreKind.available)
    func oneBatch(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.commit.appendCall(Self.finished(60), details: Self.details())
        bench.commit.appendCall(Self.finished(61), details: Self.details(legs: 1, repeated: true))
        bench.commit.appendCall(.test("other"))
        bench.start()
        bench.settle()
        #expect(try bench.parts("1.1").legs.map(\.channelID) == ["1.1"])
        #expect(try bench.rows("call_legs") == 1)
        #expect(try bench.call("other")?.call.facts == StoredFacts())
        bench.close()
    }

    @Test("a call that became part of another, and stands for itself again", arguments: StoreKind.available)
    func mergedAndSplit(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        var facts = CallFacts()
        facts.outcome = .merged
        facts.rule = .merged
        facts.mergedInto = Self.inline("0.9")
        bench.commit.appendCall(
            Self.finished(60) { $0.outcome = .merged }, details: CallDetails(facts: facts))
        bench.settle()
        let merged = try #require(try bench.call("1.1")).call
        #expect(merged.facts.mergedInto == "0.9")
        #expect(merged.outcome == "merged")
        #expect(try bench.calls().isEmpty, "lists leave it out")
        bench.commit.appendCall(
            .test("1.1") {
                $0.status = .answered
                $0.updatedAt = .test(61)
            }, details: CallDetails(facts: CallFacts(), isRepeated: true))
        bench.settle()
        let split = try #require(try bench.calls().first)
        #expect(split.status == "answered")
        #expect(split.endedAt == nil)
        #expect(split.outcome == nil)
        #expect(split.facts.mergedInto == nil)
        bench.commit.appendCall(Self.finished(90), details: Self.details())
        bench.settle()
        #expect(try bench.calls().first?.outcome == "answered")
        bench.close()
    }

    @Test("a call with a leg that the database refuses is one dead letter", arguments: StoreKind.available)
    func refused(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        // The years of PostgreSQL end before ours do; of SQLite's integers none is refused, so a rule is put there.
        if kind == .sqlite {
            let database = try SQLiteDatabase(
                path: String(bench.url.dropFirst("sqlite:".count)), forWriting: true)
            try database.execute(
                """
                CREATE TRIGGER l BEFORE INSERT ON call_legs WHEN NEW.started_at < -9000000000000000000
                    BEGIN SELECT RAISE(ABORT, 'bad leg'); END
                """)
        }
        for number in 0..<20 {
            var details = Self.details()
            if number == 7 { details = CallDetails(facts: details.facts, legs: details.legs + [Self.badLeg]) }
            bench.commit.appendCall(
                Self.finished(60) { $0.callID.set("c\(number)") }, details: details)
        }
        bench.settle()
        #expect(try bench.calls().count == 19)
        #expect(try bench.call("c7") == nil)
        #expect(try bench.parts("c6").legs.count == 3)
        #expect(try bench.rows("call_legs") == 57)
        #expect(bench.metrics[.storeRowsRejected] == 1)
        #expect(try bench.rows("dead_letters") == 1)
        bench.close()
    }

    private static var badLeg: LegRecord {
        leg("bad", [.other]) { $0.startedAt = Timestamp(microseconds: .min) }
    }

    @Test("outcomes stand in the database in the words of the program", arguments: StoreKind.available)
    func words(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        for outcome in CallOutcome.allCases where outcome != .none {
            let condition = """
                callflow_outcomes WHERE outcome = '\(outcome.name)' AND text_en = '\(outcome.text(in: .english))'
                AND text_ru = '\(outcome.text(in: .russian))'
                """
            #expect(try bench.rows(condition) == 1, "\(outcome)")
        }
        #expect(try bench.rows("callflow_outcomes") == CallOutcome.allCases.count - 1)
        bench.close()
    }
}

extension StoreBench {
    func parts(_ callID: String) throws -> StoredParts {
        var answer: Result<StoredParts, StoreError>?
        reader.parts(of: callID) { answer = $0 }
        wait(for: "a call's legs") { answer != nil }
        return try #require(answer).get()
    }

    /// Counts rows of a table, asked past the store.
    func rows(_ table: String) throws -> Int {
        let sql = "SELECT count(*) FROM \(table)"
        if url.hasPrefix("sqlite:") {
            let database = try SQLiteDatabase(path: String(url.dropFirst("sqlite:".count)), forWriting: false)
            return try #require(try database.text(sql).flatMap { Int($0) })
        }
        return try #require(Int(try PostgresCluster.shared().execute(sql, database: database)))
    }
}
