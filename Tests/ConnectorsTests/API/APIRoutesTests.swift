import CallEngine
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite("REST API: the contract's answers, byte for byte", .serialized)
struct APIRoutesTests {
    @Test("GET /health tells the truth about the database and the PBX", arguments: HTTPDrivers.present)
    func health(_ mode: IOMode) throws {
        let bench = try APIBench(mode)
        let good = bench.get("/health")
        #expect(good.status == 200)
        #expect(
            good.body
                == #"{"status":"ok","db":"ok","ari_connection":"connected","timestamp":"2026-02-04T19:30:00Z"}"#
        )
        #expect(good.field("content-type") == "application/json; charset=utf-8")
        #expect(good.field("cache-control") == "no-store")
        #expect(good.field("x-content-type-options") == "nosniff")

        bench.environment.health.database = LinkStatus(name: "Database", state: .error, text: "refused")
        bench.environment.health.pbxs.append(LinkStatus(name: "PBX two", state: .error, text: "refused"))
        let bad = bench.get("/health/")
        #expect(bad.status == 200)
        let expected =
            #"{"status":"ok","db":"error","ari_connection":"disconnected","#
            + #""timestamp":"2026-02-04T19:30:00Z","pbxs":[{"name":"PBX one","state":"ok","text":"connected"},"#
            + #"{"name":"PBX two","state":"error","text":"refused"}]}"#
        #expect(bad.body == expected)
        var gaps = GapLog.Summary()
        bench.environment.health.gaps = gaps
        #expect(bench.get("/health").body.hasSuffix(#","gaps":{"count":0}}"#))
        gaps.count = 2
        gaps.last = StoredGap(
            id: CallUUID(high: 1, low: 2), pbx: "two", from: APIBench.time("2026-02-04T19:00:00Z"),
            to: APIBench.time("2026-02-04T19:00:07Z"), reason: "connection", detail: "reset", callsEnded: 1,
            callsFound: 2, callsKept: 3, insertedAt: APIBench.time("2026-02-04T19:00:07Z"))
        bench.environment.health.gaps = gaps
        let told = bench.get("/health").body
        #expect(told.contains(#""gaps":{"count":2,"last":{"id":"#))
        #expect(
            told.contains(
                #""pbx":"two","started_at":"2026-02-04T19:00:00Z","ended_at":"2026-02-04T19:00:07Z""#))
        bench.environment.health.pbxs = []
        #expect(bench.get("/health").body.contains(#""ari_connection":"disconnected""#), "mock mode")
    }

    @Test("GET /api/latency gives quantiles and buckets of both stretches", arguments: HTTPDrivers.present)
    func latency(_ mode: IOMode) throws {
        let bench = try APIBench(mode)
        bench.http.metrics.latency(.durable).record(microseconds: 1000, count: 99)
        bench.http.metrics.latency(.durable).record(microseconds: 80_000)
        let expected =
            #"{"unit":"microseconds","state":{"count":0,"p50":0,"p99":0,"p99.9":0,"max":0,"buckets":{}},"#
            + #""durable":{"count":100,"p50":1024,"p99":1024,"p99.9":80000,"max":80000,"buckets":{"1024":99,"81920":1}}}"#
        #expect(bench.get("/api/latency").body == expected)
        let metrics = bench.get("/metrics").body
        #expect(metrics.contains(#"callflow_event_latency_seconds_bucket{stage="durable",le="0.001024"} 99"#))
        #expect(metrics.contains(#"callflow_event_latency_seconds_count{stage="durable"} 100"#))
    }

    @Test("GET /api/stats counts types, and events of active calls only", arguments: HTTPDrivers.present)
    func stats(_ mode: IOMode) throws {
        let bench = try APIBench(mode)
        #expect(
            bench.get("/api/stats").body == #"{"total_events":0,"events_per_type":{},"events_per_call":{}}"#)
        bench.environment.totalEvents = 12
        bench.environment.eventsPerType = [("stasis_start", 5), ("odd\"type", 7)]
        bench.environment.live = [
            APIBench.record("1.1", started: "2026-02-04T19:00:00Z", events: 3),
            APIBench.record(
                "1.2", number: 2, status: .finished, started: "2026-02-04T19:00:00Z",
                ended: "2026-02-04T19:10:00Z", events: 9),
            APIBench.record("1.3", number: 3, status: .answered, started: "2026-02-04T19:00:00Z", events: 4),
        ]
        let expected =
            #"{"total_events":12,"events_per_type":{"stasis_start":5,"odd\"type":7},"#
            + #""events_per_call":{"1.1":3,"1.3":4}}"#
        #expect(bench.get("/api/stats").body == expected)
    }

    @Test("GET /api/calls lists calls, newest start first", arguments: HTTPDrivers.present)
    func list(_ mode: IOMode) throws {
        let bench = try APIBench(mode)
        #expect(bench.get("/api/calls").body == "[]")
        #expect(bench.environment.reader.filters.last == CallFilter(limit: 50))
        bench.environment.reader.rows = [
            APIBench.row(
                "1770233395.1", number: 1, started: "2026-02-04T19:29:55Z", answered: "2026-02-04T19:29:58Z",
                ended: "2026-02-04T19:30:10Z", caller: "+7 \"495\"\n", callee: "101"),
            APIBench.row(
                "1770233399.2", number: 2, status: "ringing", started: "2026-02-04T19:29:59Z", direction: nil),
        ]
        let answer = bench.get("/api/calls")
        #expect(answer.status == 200)
        let second =
            #"{"id":"01234567-89ab-4def-8000-000000000002","call_id":"1770233399.2","direction":null,"#
            + #""caller_number":null,"callee_number":null,"status":"ringing","#
            + #""started_at":"2026-02-04T19:29:59Z","answered_at":null,"ended_at":null,"#
            + #""inserted_at":"2026-02-04T19:29:59Z","updated_at":"2026-02-04T19:29:59Z"\#(APIBench.withoutFacts)}"#
        let first =
            #"{"id":"01234567-89ab-4def-8000-000000000001","call_id":"1770233395.1","direction":"inbound","#
            + #""caller_number":"+7 \"495\"\n","callee_number":"101","status":"finished","#
            + #""started_at":"2026-02-04T19:29:55Z","answered_at":"2026-02-04T19:29:58Z","#
            + #""ended_at":"2026-02-04T19:30:10Z","inserted_at":"2026-02-04T19:29:55Z","#
            + #""updated_at":"2026-02-04T19:30:10Z"\#(APIBench.withoutFacts)}"#
        #expect(answer.body == "[\(second),\(first)]")
    }

    @Test("filters and limit reach the store; what is no limit is refused", arguments: HTTPDrivers.present)
    func filters(_ mode: IOMode) throws {
        let bench = try APIBench(mode)
        let good: [(String, CallFilter)] = [
            ("?status=ringing", CallFilter(status: "ringing", limit: 50)),
            ("?direction=inbound&limit=1", CallFilter(direction: "inbound", limit: 1)),
            ("?status=&direction=&limit=1000", CallFilter(limit: 1000)),
            ("?status=a%20b%2Bc&other=1", CallFilter(status: "a b+c", limit: 50)),
        ]
        for (query, filter) in good {
            #expect(bench.get("/api/calls\(query)").status == 200, "\(query)")
            #expect(bench.environment.reader.filters.last == filter, "\(query)")
        }
        let asked = bench.environment.reader.filters.count
        for limit in [
            "0", "1001", "-1", "abc", "", "1e2", "5.0", "+5", "%205", "99999999999999999999", "%D9%A3",
        ] {
            let answer = bench.get("/api/calls?limit=\(limit)")
            #expect(answer.status == 400, "\(limit)")
            #expect(answer.body == #"{"error":"limit must be a number from 1 to 1000"}"#, "\(limit)")
        }
        #expect(bench.get("/api/calls?status=%00").body == "[]")
        #expect(bench.environment.reader.filters.count == asked, "refused before the database is asked")
    }

    @Test(
        "live calls lie over the stored ones and fill in those on their way", arguments: HTTPDrivers.present)
    func overlay(_ mode: IOMode) throws {
        let bench = try APIBench(mode)
        let longName = "a name that is much too long for the room inside a live record"
        bench.environment.reader.rows = [
            // Stored as ringing; answered since.
            APIBench.row(
                "a", number: 1, status: "ringing", started: "2026-02-04T19:29:50Z", caller: longName,
                direction: "unknown"),
            // Stored later than the record that the engine has (another node wrote it).
            APIBench.row("b", number: 2, started: "2026-02-04T19:29:40Z", ended: "2026-02-04T19:29:59Z"),
            APIBench.row("c", number: 3, started: "2026-02-04T19:29:30Z"),
        ]
        bench.environment.live = [
            APIBench.record(
                "a", number: 9, status: .answered, started: "2026-02-04T19:29:50.400Z",
                answered: "2026-02-04T19:29:55.900Z", caller: "a name that is much too long", callee: "101"),
            APIBench.record("b", number: 2, started: "2026-02-04T19:29:40Z"),
            APIBench.record("d", number: 4, started: "2026-02-04T19:29:58Z"),
        ]
        func ids(_ query: String) -> [String] {
            let body = bench.get("/api/calls\(query)").body
            return ["a", "b", "c", "d"].compactMap { id in
                body.firstRange(of: #""call_id":"\#(id)""#).map { (id, $0.lowerBound) }
            }.sorted { $0.1 < $1.1 }.map(\.0)
        }
        #expect(ids("") == ["d", "a", "b", "c"])
        // The row of a says ringing, the engine knows better. The newer row of b is none that the filter
        // lets through, so the engine's word stands.
        #expect(ids("?status=ringing") == ["d", "b"])
        #expect(ids("?status=answered") == ["a"], "not among the rows of that status, yet it is so")
        #expect(ids("?limit=2") == ["d", "a"])
        #expect(ids("?status=finished") == ["b", "c"])

        let expected =
            #"{"call":{"id":"01234567-89ab-4def-8000-000000000001","call_id":"a","direction":"inbound","#
            + #""caller_number":"\#(longName)","callee_number":"101","status":"answered","#
            + #""started_at":"2026-02-04T19:29:50Z","answered_at":"2026-02-04T19:29:55Z","ended_at":null,"#
            + #""inserted_at":"2026-02-04T19:29:50Z","updated_at":"2026-02-04T19:29:55Z"\#(APIBench.withoutFacts)},"events":[],"legs":[],"segments":[]}"#
        #expect(bench.get("/api/calls/a").body == expected)
        #expect(bench.get("/api/calls/b").body.contains(#""status":"finished""#))
        #expect(bench.get("/api/calls/d").body.contains(#""status":"ringing""#))
    }

    @Test(
        "GET /api/calls/:call_id gives the call and its events, raw payloads and all",
        arguments: HTTPDrivers.present)
    func show(_ mode: IOMode) throws {
        let bench = try APIBench(mode)
        bench.environment.reader.rows = [APIBench.row("1770.5", started: "2026-02-04T19:29:55Z")]
        let time = APIBench.time("2026-02-04T19:29:55Z")
        bench.environment.reader.events["1770.5"] = [
            StoredEvent(
                id: 41, callID: "1770.5", eventType: "stasis_start",
                payload: Array(#"{"type": "StasisStart", "n": [1, 2.50]}"#.utf8), occurredAt: time,
                insertedAt: time, updatedAt: time),
            StoredEvent(
                id: 42, callID: "1770.5", eventType: "odd", payload: nil, occurredAt: time, insertedAt: time,
                updatedAt: time),
        ]
        let answer = bench.get("/api/calls/1770.5")
        #expect(answer.status == 200)
        let times =
            #""occurred_at":"2026-02-04T19:29:55Z","inserted_at":"2026-02-04T19:29:55Z","#
            + #""updated_at":"2026-02-04T19:29:55Z""#
        let expected =
            #"{"call":{"id":"01234567-89ab-4def-8000-000000000001","call_id":"1770.5","direction":"inbound","#
            + #""caller_number":null,"callee_number":null,"status":"finished","#
            + #""started_at":"2026-02-04T19:29:55Z","answered_at":null,"ended_at":null,"#
            + #""inserted_at":"2026-02-04T19:29:55Z","updated_at":"2026-02-04T19:29:55Z"\#(APIBench.withoutFacts)},"events":["#
            + #"{"id":41,"call_id":"1770.5","event_type":"stasis_start","#
            + #""payload":{"type": "StasisStart", "n": [1, 2.50]},\#(times)},"#
            + #"{"id":42,"call_id":"1770.5","event_type":"odd","payload":null,\#(times)}],"legs":[],"segments":[]}"#
        #expect(answer.body == expected)
    }

    @Test(
        "call ids are decoded once, may hold slashes, and unknown ones are 404",
        arguments: HTTPDrivers.present)
    func callIDs(_ mode: IOMode) throws {
        let bench = try APIBench(mode)
        for (target, callID) in [
            ("/api/calls/PJSIP%2F101-1", "PJSIP/101-1"), ("/api/calls/PJSIP/101-1", "PJSIP/101-1"),
            ("/api/calls/a%2541", "a%41"), ("/api/calls/a+b", "a+b"), ("/api/calls/%D0%B6", "ж"),
            ("/api/calls/x%22%3E", "x\">"),
        ] {
            let answer = bench.get(target)
            #expect(answer.status == 404, "\(target)")
            #expect(answer.body == #"{"error":"Call not found"}"#, "\(target)")
            #expect(bench.environment.reader.askedIDs.last == callID, "\(target)")
        }
        let asked = bench.environment.reader.askedIDs.count
        #expect(bench.get("/api/calls/a%00b").status == 404)
        #expect(bench.get("/api/calls/" + String(repeating: "a", count: 256)).status == 404)
        #expect(bench.environment.reader.askedIDs.count == asked)
    }

    @Test("the database away: 503 in clear JSON, while the rest answers", arguments: HTTPDrivers.present)
    func storeAway(_ mode: IOMode) throws {
        let bench = try APIBench(mode)
        bench.environment.reader.failure = .unavailable("connection refused")
        for target in ["/api/calls", "/api/calls/1"] {
            let answer = bench.get(target)
            #expect(answer.status == 503, "\(target)")
            #expect(answer.body == #"{"error":"Database unavailable"}"#, "\(target)")
        }
        bench.environment.reader.failure = .data(code: "22021", "invalid byte sequence")
        #expect(bench.get("/api/calls").status == 500)
        #expect(bench.http.log.lines.contains { $0.contains("22021") })
        #expect(bench.get("/health").status == 200)
        #expect(bench.get("/api/stats").status == 200)
    }

    @Test("POST /api/test/events hands the event in", arguments: HTTPDrivers.present)
    func testEvents(_ mode: IOMode) throws {
        let bench = try APIBench(mode)
        let payload = #"{"direction":"inbound","caller":"1é"}"#
        let body = #"{"call_id":"t.1","event_type":"stasis_start","payload":\#(payload)}"#
        let answer = bench.ask("POST", "/api/test/events", body: body)
        #expect(answer.status == 202)
        #expect(answer.body == #"{"status":"accepted","call_id":"t.1","event_type":"stasis_start"}"#)
        let expected = TestEvent(callID: "t.1", eventType: "stasis_start", payload: Array(payload.utf8))
        #expect(bench.environment.injected == [expected])
        let bare = bench.ask("POST", "/api/test/events", body: #" {"event_type":"x","call_id":"a\"\u0042"} "#)
        #expect(bare.status == 202)
        #expect(bare.body == #"{"status":"accepted","call_id":"a\"B","event_type":"x"}"#)
        #expect(bench.environment.injected.last?.payload == Array("{}".utf8))

        bench.environment.outcome = .refused("the engine is stopping")
        let refused = bench.ask("POST", "/api/test/events", body: body)
        #expect(refused.status == 503)
        #expect(refused.body == #"{"error":"the engine is stopping"}"#)
    }

    @Test("bad test events are refused in clear words", arguments: HTTPDrivers.present)
    func badTestEvents(_ mode: IOMode) throws {
        let missing = #"{"error":"Missing required fields: call_id, event_type"}"#
        let invalid = #"{"error":"The body is not valid JSON"}"#
        let tooLong = "must have at most 255 characters, none of them control characters"
        let long = String(repeating: "é", count: 256)
        let deep = String(repeating: "[", count: 200) + String(repeating: "]", count: 200)
        let cases: [(body: String, answer: String)] = [
            ("", invalid), ("nonsense", invalid), ("{", invalid),
            (#"{"call_id":"a","event_type":"b"}x"#, invalid),
            (#"{"call_id":"a","event_type":"b","payload":\#(deep)}"#, invalid),
            ("{}", missing), ("[]", missing), ("null", missing), (#"{"call_id":"a"}"#, missing),
            (#"{"event_type":"a"}"#, missing), (#"{"call_id":"","event_type":"a"}"#, missing),
            (#"{"call_id":5,"event_type":"a"}"#, missing),
            (#"{"call_id":"a","event_type":null}"#, missing),
            (#"{"call_id":"a","event_type":"b","payload":[1]}"#, #"{"error":"payload must be an object"}"#),
            (#"{"call_id":"\#(long)","event_type":"b"}"#, #"{"error":"call_id \#(tooLong)"}"#),
            (#"{"call_id":"a","event_type":"b\u0000"}"#, #"{"error":"event_type \#(tooLong)"}"#),
        ]
        let bench = try APIBench(mode)
        for (body, expected) in cases {
            let answer = bench.ask("POST", "/api/test/events", body: body)
            #expect(answer.status == 400, "\(body.prefix(60))")
            #expect(answer.body == expected, "\(body.prefix(60))")
        }
        let huge = bench.ask(
            "POST", "/api/test/events", body: "{\"a\":\"" + String(repeating: "x", count: 1024 * 1024) + "\"}"
        )
        #expect(huge.status == 413)
        #expect(bench.environment.injected.isEmpty)
    }

    @Test("unknown paths are 404, wrong methods 405 with Allow", arguments: HTTPDrivers.present)
    func routing(_ mode: IOMode) throws {
        let bench = try APIBench(mode)
        for target in ["/nope", "/api", "/api/", "/api/callsx", "/Health", "/api/test", "/index.html"] {
            let answer = bench.get(target)
            #expect(answer.status == 404, "\(target)")
            #expect(answer.body == #"{"errors":{"detail":"Not Found"}}"#, "\(target)")
        }
        #expect(bench.ask("POST", "/nope", body: "x").status == 404)
        for (method, target, allow) in [
            ("POST", "/health", "GET, HEAD"), ("DELETE", "/api/calls", "GET, HEAD"),
            ("PUT", "/api/calls/1", "GET, HEAD"), ("POST", "/", "GET, HEAD"),
            ("POST", "/api/stream", "GET, HEAD"), ("POST", "/metrics", "GET, HEAD"),
            ("GET", "/api/test/events", "POST"), ("OPTIONS", "/api/stats", "GET, HEAD"),
            ("BREW", "/health", "GET, HEAD"),
        ] {
            let answer = bench.ask(method, target)
            #expect(answer.status == 405, "\(method) \(target)")
            #expect(answer.field("allow") == allow, "\(method) \(target)")
            #expect(answer.body == #"{"errors":{"detail":"Method Not Allowed"}}"#)
        }
        let head = bench.ask("HEAD", "/health")
        #expect(head.status == 200)
        #expect(head.body.isEmpty)
        #expect(head.field("content-length") == String(bench.get("/health").body.utf8.count))
        #expect(bench.environment.reader.filters.isEmpty)
    }
}
