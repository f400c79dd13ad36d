import CallEngine
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite("REST API: legs, parts, and why a call has its outcome", .serialized)
struct APIExplanationTests {
    private static let mode = HTTPDrivers.present[0]

    private static func bench() throws -> APIBench {
        let bench = try APIBench(mode)
        bench.environment.reader.rows = [
            APIBench.row(
                "1.1", started: "2026-02-04T19:29:55Z", answered: "2026-02-04T19:29:58Z",
                ended: "2026-02-04T19:30:10Z")
        ]
        return bench
    }

    private static func value(_ answer: APIBench.Answer) throws -> JSONValue {
        #expect(answer.status == 200)
        return try JSONValue.parse(answer.body)
    }

    @Test("a stored call shows its facts, legs and parts")
    func stored() throws {
        let bench = try Self.bench()
        let details = CallPartsTests.details()
        bench.environment.reader.rows[0].outcome = "answered"
        bench.environment.reader.rows[0].facts = StoredFacts(
            details.facts, of: APIBench.record("1.1", status: .finished, started: "2026-02-04T19:29:55Z"))
        bench.environment.reader.parts["1.1"] = Self.parts(details)
        let call = try Self.value(bench.get("/api/calls/1.1"))
        #expect(call["call"]?["outcome_text"]?["ru"]?.string == "Отвечен")
        #expect(call["call"]?["outcome_rule"]?.string == "talk")
        #expect(call["call"]?["hung_up_by"]?.string == "callee")
        #expect(call["call"]?["talk_us"]?.int == 50_000_003)
        #expect(call["call"]?["queue"]?.string == "sales")
        #expect(
            call["legs"]?.array?.compactMap { $0["role"]?.string } == [
                "caller", "attempt", "callee+transferer",
            ])
        #expect(call["legs"]?.array?[1]["result"]?.string == "busy")
        #expect(call["legs"]?.array?[1]["sip_code"]?.int == 486)
        #expect(call["legs"]?.array?[2]["ringing_at"]?.string == "2026-02-04T19:30:03.123456Z")
        #expect(call["segments"]?.array?.compactMap { $0["kind"]?.string } == ["queue", "transfer"])
        #expect(call["segments"]?.array?[0]["attempts"]?.array?.compactMap(\.int) == [1, 2])

        let list = try Self.value(bench.get("/api/calls"))
        #expect(list.array?.first?["talk_us"]?.int == 50_000_003)

        let explanation = try Self.value(bench.get("/api/calls/1.1/explain"))
        #expect(explanation["source"]?.string == "database")
        #expect(explanation["outcome_rule"]?.string == "talk")
        #expect(explanation["rules"]?.array?.compactMap { $0["rule"]?.string } == ["merged", "talk"])
        #expect(explanation["rules"]?.array?.last?["holds"]?.bool == true)
        #expect(
            explanation["rules"]?.array?.last?["text"]?["ru"]?.string
                == "звонящий говорил с 102 с 19:30:05.123")
        #expect(explanation["legs"]?.array?.count == 3)
        #expect(explanation["legs"]?.array?[0]["text"]?["en"]?.string?.hasPrefix("began the call") == true)
        #expect(explanation["sip_text"]?["en"]?.string == "busy here (SIP 486)")
    }

    @Test("a call that goes on is shown as the engine has it")
    func live() throws {
        let bench = try Self.bench()
        var record = APIBench.record("1.1", status: .answered, started: "2026-02-04T19:29:55Z")
        record.updatedAt = APIBench.time("2026-02-04T20:00:00Z")
        bench.environment.live = [record]
        bench.environment.looked["1.1"] = LookedCall(record: record, details: CallPartsTests.details())
        let call = try Self.value(bench.get("/api/calls/1.1"))
        #expect(call["call"]?["status"]?.string == "answered")
        #expect(call["call"]?["answered_by"]?.string == "102")
        #expect(call["call"]?["talk_us"] == .null, "it goes on")
        #expect(call["legs"]?.array?.count == 3)
        let explanation = try Self.value(bench.get("/api/calls/1.1/explain"))
        #expect(explanation["source"]?.string == "engine")
        #expect(explanation["status"]?.string == "answered")
        #expect(explanation["rules"]?.array?.isEmpty == true)
    }

    @Test("a call whose row is older than legs is derived again from its events")
    func fromEvents() throws {
        let bench = try Self.bench()
        let texts = [
            #"{"type":"StasisStart","timestamp":"2026-02-04T19:29:55.000+0000","channel":{"id":"1.1","name":"PJSIP/t-1","#
                + #""state":"Ring","caller":{"number":"100"},"dialplan":{"exten":"200","context":"from-trunk"}}}"#,
            "[]",
            #"{"type":"ChannelHangupRequest","timestamp":"2026-02-04T19:30:10.000+0000","channel":{"id":"1.1"}}"#,
            #"{"type":"ChannelDestroyed","timestamp":"2026-02-04T19:30:10.000+0000","cause":16,"channel":{"id":"1.1"}}"#,
        ]
        bench.environment.reader.events["1.1"] = texts.enumerated().map { index, text in
            StoredEvent(
                id: Int64(index), callID: "1.1", eventType: "x", payload: Array(text.utf8),
                occurredAt: .test(0), insertedAt: .test(Int64(index)), updatedAt: .test(0))
        }
        let explanation = try Self.value(bench.get("/api/calls/1.1/explain"))
        #expect(explanation["source"]?.string == "events")
        #expect(explanation["outcome"]?.string == "abandoned")
        #expect(explanation["outcome_rule"]?.string == "who_hung_up")
        #expect(
            explanation["rules"]?.array?.last?["text"]?["en"]?.string?.hasPrefix("the caller hung up") == true
        )
        bench.environment.reader.events = [:]
        #expect(try Self.value(bench.get("/api/calls/1.1/explain"))["source"]?.string == "row")
        #expect(bench.get("/api/calls/other/explain").status == 404)
        #expect(bench.ask("POST", "/api/calls/1.1/explain").status == 405)
        bench.environment.reader.failure = .unavailable("away")
        #expect(bench.get("/api/calls/1.1/explain").status == 503)
    }

    @Test("a call that became part of another names it and links to it")
    func merged() throws {
        let bench = try Self.bench()
        var facts = StoredFacts()
        facts.mergedInto = "PJSIP/0.9"
        facts.derivedAt = .test(1)
        bench.environment.reader.rows[0].facts = facts
        bench.environment.reader.rows[0].outcome = "merged"
        let answer = bench.get("/api/calls/1.1")
        #expect(try Self.value(answer)["call"]?["merged_into"]?.string == "PJSIP/0.9")
        #expect(answer.field("link") == "</api/calls/PJSIP%2F0.9>; rel=\"canonical\"")
    }

    /// As the database would give them back.
    private static func parts(_ details: CallDetails) -> StoredParts {
        var parts = StoredParts()
        parts.legs = details.legs.enumerated().map { index, leg in
            StoredLeg(
                number: index, channelID: leg.channelID.string, name: leg.name.string,
                endNumber: leg.number.string, role: leg.roles.name, result: leg.result.name.description,
                evidence: leg.evidence.name.description, pbx: nil, dialedBy: nil, cameFrom: nil,
                segment: index == 0 ? nil : 0, startedAt: leg.startedAt, dialedAt: leg.dialedAt,
                ringingAt: leg.ringingAt, answeredAt: leg.answeredAt, talkStartedAt: leg.talkStartedAt,
                endedAt: leg.endedAt, ring: leg.ringMicroseconds, talk: leg.talkMicroseconds,
                hold: leg.holdMicroseconds, cause: Int(leg.cause), sipCode: Int(leg.sipCode),
                endedEstimated: leg.isEndEstimated)
        }
        parts.segments = details.segments.enumerated().map { index, segment in
            StoredSegment(
                number: index, kind: segment.kind.name.description, name: segment.name.string,
                result: segment.result.name.description, by: segment.by.string,
                transfer: segment.transfer.name.description, startedAt: segment.startedAt,
                endedAt: segment.endedAt)
        }
        return parts
    }
}
