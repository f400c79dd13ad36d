import CallEngine
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite("API: what the CRM is to be told, and what was given up")
struct APICRMTests {
    private static let step = CRMStep(
        id: 7, target: "bitrix24", pbx: "main", key: CRMStepKey(callID: "1.7", kind: .finish), state: .failed,
        call: CRMCall(
            callID: "1.7", direction: .inbound, callerNumber: "+7\"1", calleeNumber: nil, startedAt: .test(0)),
        attempts: 3, lastError: "no", crmCallID: "externalCall.1", user: "user 7", createdAt: .test(1),
        updatedAt: .test(2))

    @Test("lists with a cursor", arguments: HTTPDrivers.present)
    func lists(_ mode: IOMode) throws {
        let bench = try APIBench(mode)
        #expect(bench.get("/api/crm/outbox").body == #"{"total":0,"steps":[],"next_cursor":null}"#)
        #expect(bench.environment.reader.queries.last == CRMStepQuery(.open, limit: 50))
        bench.environment.reader.steps = CRMStepList(steps: [Self.step], total: 9, next: 7)
        let answer = bench.get("/api/crm/failed?limit=1&cursor=8")
        #expect(answer.status == 200)
        #expect(bench.environment.reader.queries.last == CRMStepQuery(.failed, limit: 1, after: 8))
        let text = answer.body
        #expect(text.hasPrefix(#"{"total":9,"steps":[{"call_id":"1.7","step":"finish","state":"failed","#))
        #expect(text.contains(#""last_error":"no","crm_call_id":"externalCall.1","crm_user":"user 7""#))
        #expect(text.contains(#""due_in_seconds":null"#) && text.contains(#""caller_number":"+7\"1""#))
        #expect(text.hasSuffix(#"}],"next_cursor":"7"}"#))
    }

    @Test(
        "what is no cursor or limit is refused; a database that is away is 503",
        arguments: HTTPDrivers.present)
    func refusals(_ mode: IOMode) throws {
        let bench = try APIBench(mode)
        for query in ["cursor=0", "cursor=-1", "cursor=x", "cursor=1.5", "limit=0", "limit=1001"] {
            #expect(bench.get("/api/crm/outbox?\(query)").status == 400, "\(query)")
        }
        #expect(bench.environment.reader.queries.isEmpty)
        bench.environment.reader.failure = .unavailable("away")
        #expect(bench.get("/api/crm/failed").status == 503)
    }
}
