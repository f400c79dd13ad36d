import CallEngine
import Foundation
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite("Paging through the API")
struct APIPagingTests {
    private struct Page: Decodable {
        struct Call: Decodable { var call_id: String }
        struct Event: Decodable { var id: Int64 }
        var calls: [Call]?
        var events: [Event]?
        var next_cursor: String?
    }

    private func page(_ answer: APIBench.Answer) throws -> Page {
        #expect(answer.status == 200)
        return try JSONDecoder().decode(Page.self, from: Data(answer.body.utf8))
    }

    private func bench(_ mode: IOMode) throws -> APIBench {
        let bench = try APIBench(mode)
        bench.environment.reader.rows = (0..<10).map {
            APIBench.row("c\($0)", number: UInt64($0), started: "2026-02-04T19:29:0\($0 / 2)Z")
        }
        return bench
    }

    @Test("with a cursor: pages until null, each call once", arguments: HTTPDrivers.present)
    func cursor(_ mode: IOMode) throws {
        let bench = try bench(mode)
        var seen: [String] = []
        var cursor = ""
        for _ in 0..<20 {
            let page = try page(bench.get("/api/calls?limit=3&cursor=\(cursor)"))
            seen += (page.calls ?? []).map(\.call_id)
            guard let next = page.next_cursor else { break }
            cursor = next
        }
        #expect(seen == (0..<10).reversed().map { "c\($0)" })
        #expect(try page(bench.get("/api/calls?cursor=")).next_cursor == nil)
        #expect(bench.get("/api/calls?cursor=").body.hasSuffix(#""next_cursor":null}"#))
    }

    @Test("without one: the bare array of old, the next page in Link", arguments: HTTPDrivers.present)
    func link(_ mode: IOMode) throws {
        let bench = try bench(mode)
        let first = bench.get("/api/calls?limit=4&direction=inbound&status=finished")
        #expect(first.body.hasPrefix(#"[{"id":"#))
        let link = try #require(first.field("Link"))
        #expect(link.hasSuffix(#">; rel="next""#))
        let target = String(link.dropFirst().prefix { $0 != ">" })
        #expect(target.hasSuffix("&status=finished&direction=inbound"))
        #expect(try page(bench.get(target)).calls?.map(\.call_id) == ["c5", "c4", "c3", "c2"])
        #expect(bench.get("/api/calls?limit=11").field("Link") == nil)
    }

    @Test("live calls stand on the page where they belong, and on no other", arguments: HTTPDrivers.present)
    func live(_ mode: IOMode) throws {
        let bench = try bench(mode)
        bench.environment.live = [
            APIBench.record("new", number: 90, started: "2026-02-04T19:29:50.5Z"),
            // The engine knows its start more exactly than its row.
            APIBench.record("c7", number: 7, started: "2026-02-04T19:29:03.7Z"),
            APIBench.record("late", number: 91, started: "2026-02-04T19:29:02.2Z"),
        ]
        var seen: [String] = []
        var cursor = ""
        for _ in 0..<20 {
            let page = try page(bench.get("/api/calls?limit=3&cursor=\(cursor)"))
            seen += (page.calls ?? []).map(\.call_id)
            guard let next = page.next_cursor else { break }
            cursor = next
        }
        #expect(seen.sorted() == ((0..<10).map { "c\($0)" } + ["new", "late"]).sorted())
        #expect(seen.first == "new")
    }

    @Test("events of a call, in pages and all at once", arguments: HTTPDrivers.present)
    func events(_ mode: IOMode) throws {
        let bench = try bench(mode)
        let time = APIBench.time("2026-02-04T19:29:00Z")
        bench.environment.reader.events["SIP/1"] = (1...7).map {
            StoredEvent(
                id: $0, callID: "SIP/1", eventType: "e", payload: nil, occurredAt: time, insertedAt: time,
                updatedAt: time)
        }
        bench.environment.reader.rows.append(
            APIBench.row("SIP/1", number: 77, started: "2026-02-04T19:29:00Z"))
        for path in ["/api/calls/SIP/1/events", "/api/calls/SIP%2F1/events", "/api/calls/SIP%2F1"] {
            var seen: [Int64] = []
            var cursor = ""
            for _ in 0..<10 {
                let page = try page(bench.get("\(path)?limit=3&cursor=\(cursor)"))
                seen += (page.events ?? []).map(\.id)
                guard let next = page.next_cursor else { break }
                cursor = next
            }
            #expect(seen == Array(1...7), "\(path)")
        }
        let whole = bench.get("/api/calls/SIP%2F1")
        #expect(!whole.body.contains("next_cursor"), "the contract's answer where everything fits")
        #expect(bench.get("/api/calls/nobody/events").status == 404)
        #expect(bench.environment.reader.askedIDs.last == "nobody")
        #expect(bench.environment.reader.pages.last?.limit == APIService.defaultEventLimit)
        for target in [
            "/api/calls?cursor=x", "/api/calls/SIP%2F1?cursor=x", "/api/calls/SIP%2F1/events?limit=0",
        ] {
            #expect(bench.get(target).status == 400, "\(target)")
        }
    }
}
