import CallEngine
import Connectors
import Foundation
import Protocols
import Reactor
import Testing

@Suite("GET /api/stream: a snapshot, then what changed", .serialized)
struct LiveStreamTests {
    /// One event as a browser would read it, from a chunked body (HTML standard §9.2).
    struct Event {
        var name = ""
        var data: [String: Any] = [:]

        func strings(_ key: String) -> [String] { data[key] as? [String] ?? [] }
        func calls(_ key: String) -> [[String: Any]] { data[key] as? [[String: Any]] ?? [] }
        func callIDs(_ key: String) -> [String] { calls(key).compactMap { $0["call_id"] as? String } }
        func counter(_ key: String) -> Int? { (data["counters"] as? [String: Any])?[key] as? Int }
    }

    /// Takes the chunks apart and then the events; everything must be well-formed.
    static func events(_ answer: String) throws -> [Event] {
        var body: [UInt8] = []
        var rest = Array(answer.httpBody.utf8)[...]
        while let line = rest.firstIndex(of: 0x0D) {
            let size = try #require(Int(String(decoding: rest[..<line], as: UTF8.self), radix: 16))
            let start = line + 2
            guard rest.endIndex >= start + size + 2 else { break }
            body += rest[start..<(start + size)]
            rest = rest[(start + size + 2)...]
        }
        let text = String(decoding: body, as: UTF8.self)
        #expect(text.hasPrefix("retry: 2000\nevent: snapshot\n"))
        #expect(text.hasSuffix("\n\n"))
        var events: [Event] = []
        for block in text.components(separatedBy: "\n\n") where !block.isEmpty {
            var event = Event()
            for line in block.split(separator: "\n") {
                if line.hasPrefix("event: ") { event.name = String(line.dropFirst(7)) }
                if line.hasPrefix("data: ") {
                    let json = try JSONSerialization.jsonObject(with: Data(line.dropFirst(6).utf8))
                    event.data = try #require(json as? [String: Any])
                }
            }
            if !event.name.isEmpty { events.append(event) }
        }
        return events
    }

    static let request = "GET /api/stream HTTP/1.1\r\nHost: h\r\n\r\n"

    @Test("a new client gets everything, exactly so", arguments: HTTPDrivers.present)
    func snapshot(_ mode: IOMode) throws {
        let bench = try APIBench(mode)
        bench.environment.totalEvents = 5
        bench.http.metrics.add(.callsFinished, 3)
        bench.environment.live = [
            APIBench.record(
                "1.1", started: "2026-02-04T19:29:00.123Z", caller: "<b>\"\u{2028}", callee: "101", pbx: 1),
            APIBench.record(
                "1.2", number: 2, status: .answered, started: "2026-02-04T19:29:10Z",
                answered: "2026-02-04T19:29:15Z", direction: .outbound, legs: 2, pbx: 9),
            APIBench.record(
                "1.3", number: 3, status: .finished, started: "2026-02-04T19:29:20Z",
                ended: "2026-02-04T19:29:25Z"),
        ]
        let peer = bench.http.connect(Self.request)
        bench.http.run { peer.text.hasSuffix("\n\n\r\n") }
        #expect(peer.text.statusLine == "HTTP/1.1 200 OK")
        #expect(peer.text.contains("\r\nContent-Type: text/event-stream; charset=utf-8\r\n"))
        #expect(peer.text.contains("\r\nCache-Control: no-store\r\n"))
        let expected =
            #"{"now":"2026-02-04T19:30:00.250Z","calls":["#
            + #"{"call_id":"1.2","direction":"outbound","caller_number":null,"callee_number":null,"#
            + #""status":"answered","started_at":"2026-02-04T19:29:10.000Z","#
            + #""answered_at":"2026-02-04T19:29:15.000Z","legs":2,"pbx":null},"#
            + #"{"call_id":"1.1","direction":"inbound","caller_number":"<b>\" ","callee_number":"101","#
            + #""status":"ringing","started_at":"2026-02-04T19:29:00.123Z","answered_at":null,"legs":1,"#
            + #""pbx":"two"}],"counters":{"active":2,"ringing":1,"answered":1,"events":5,"ended":3},"#
            + #""links":[{"kind":"pbx","name":"PBX one","state":"ok","text":"connected"},"#
            + #"{"kind":"database","name":"Database","state":"ok","text":"SQLite, writing"},"#
            + #"{"kind":"crm","name":"Bitrix24","state":"off","text":"not set up"}],"rates":[]}"#
        #expect(peer.text.contains("retry: 2000\nevent: snapshot\ndata: \(expected)\n\n\r\n"))
        #expect(bench.http.metrics[.streamClients] == 1)
        peer.connection?.close()
        bench.http.run { bench.http.metrics[.streamClients] == 0 }
        #expect(bench.service.stream.clientCount == 0)
    }

    @Test("deltas tell changes, ends, links and events per second", arguments: HTTPDrivers.present)
    func deltas(_ mode: IOMode) throws {
        let bench = try APIBench(mode)
        bench.service.start()
        bench.environment.live = [APIBench.record("1.1", started: "2026-02-04T19:29:00Z")]
        let peer = bench.http.connect(Self.request)
        func deltas() throws -> [Event] { try Self.events(peer.text).filter { $0.name == "delta" } }
        bench.http.run { peer.text.hasSuffix("\n\n\r\n") }
        #expect(try Self.events(peer.text).map(\.name) == ["snapshot"])

        // A call is answered, one begins, a link breaks, events come.
        bench.environment.totalEvents = 40
        bench.environment.live = [
            APIBench.record(
                "1.1", status: .answered, started: "2026-02-04T19:29:00Z", answered: "2026-02-04T19:30:01Z"),
            APIBench.record("1.2", number: 2, started: "2026-02-04T19:30:00Z"),
        ]
        bench.environment.health.database = LinkStatus(name: "Database", state: .error, text: "away")
        bench.http.run { peer.text.contains("event: delta") }
        let first = try #require(try deltas().first)
        #expect(first.callIDs("changed") == ["1.2", "1.1"])
        #expect(first.calls("changed").last?["status"] as? String == "answered")
        #expect(first.calls("ended").isEmpty)
        #expect(first.counter("active") == 2)
        #expect(first.calls("links").map { $0["state"] as? String } == ["ok", "error", "off"])

        // One ends with a record, the other's record is given up already.
        bench.environment.live = [
            APIBench.record(
                "1.1", status: .finished, started: "2026-02-04T19:29:00Z", ended: "2026-02-04T19:30:05Z")
        ]
        bench.http.run { (try? deltas().contains { !$0.calls("ended").isEmpty }) == true }
        let last = try #require(try deltas().first { !$0.calls("ended").isEmpty })
        #expect(last.callIDs("ended") == ["1.2", "1.1"])
        #expect(last.calls("ended").last?["ended_at"] as? String == "2026-02-04T19:30:05.000Z")
        #expect(last.calls("ended").first?["status"] as? String == "finished")
        #expect(last.counter("active") == 0)
        #expect(last.data["links"] == nil, "told only when they change")

        bench.http.run { (try? deltas().contains { $0.data["rates"] != nil }) == true }
        let rates = try deltas().flatMap { $0.data["rates"] as? [Int] ?? [] }
        #expect(rates.reduce(0, +) == 40)
        // A second client gets the rates so far in its snapshot.
        let second = bench.http.connect(Self.request)
        bench.http.run { second.text.hasSuffix("\n\n\r\n") }
        let snapshot = try #require(try Self.events(second.text).first)
        #expect((snapshot.data["rates"] as? [Int])?.reduce(0, +) == 40)
        #expect(bench.http.metrics[.streamClients] == 2)
        bench.service.stop()
        bench.http.run { peer.isOver && second.isOver }
        #expect(peer.text.hasSuffix("0\r\n\r\n"))
        #expect(bench.http.metrics[.streamClients] == 0)
    }

    @Test("only the newest calls are shown; those pushed out are told so", arguments: HTTPDrivers.present)
    func window(_ mode: IOMode) throws {
        let bench = try APIBench(mode)
        bench.service.start()
        let base = APIBench.time("2026-02-04T19:00:00Z")
        func records(_ count: Int) -> [CallRecord] {
            (0..<count).map { index in
                var record = APIBench.record(
                    "c\(index)", number: UInt64(index), started: "2026-02-04T19:00:00Z")
                record.startedAt = base + .seconds(index)
                return record
            }
        }
        // Far more than twice the window; both orders are hard for one that keeps the newest.
        let calls = records(1000)
        bench.environment.live = Array(calls[500...].reversed()) + calls[..<500]
        let peer = bench.http.connect(Self.request)
        bench.http.run { peer.text.hasSuffix("\n\n\r\n") }
        let snapshot = try #require(try Self.events(peer.text).first)
        #expect(snapshot.callIDs("calls") == (800..<1000).reversed().map { "c\($0)" })
        #expect(snapshot.counter("active") == 1000)

        bench.environment.live = records(1003)
        bench.http.run { peer.text.contains("c1002") }
        let delta = try #require(try Self.events(peer.text).first { !$0.strings("left").isEmpty })
        #expect(Set(delta.strings("left")) == ["c800", "c801", "c802"])
        #expect(delta.callIDs("changed") == ["c1002", "c1001", "c1000"])
        #expect(delta.calls("ended").isEmpty)
        #expect(delta.counter("active") == 1003)
    }

    @Test("clients are bounded; HEAD takes no place", arguments: HTTPDrivers.present)
    func bounded(_ mode: IOMode) throws {
        let bench = try APIBench(mode)
        #expect(bench.ask("HEAD", "/api/stream").status == 200)
        #expect(bench.service.stream.clientCount == 0)
        let peers = (0..<LiveStream.maximumClients).map { _ in bench.http.connect(Self.request) }
        bench.http.run { bench.service.stream.clientCount == LiveStream.maximumClients }
        let answer = bench.get("/api/stream")
        #expect(answer.status == 503)
        #expect(answer.body == #"{"error":"Too many live stream clients"}"#)
        #expect(answer.field("retry-after") == "10")
        peers[0].connection?.close()
        bench.http.run { bench.service.stream.clientCount == LiveStream.maximumClients - 1 }
        let late = bench.http.connect(Self.request)
        bench.http.run { late.text.contains("event: snapshot") }
    }
}
