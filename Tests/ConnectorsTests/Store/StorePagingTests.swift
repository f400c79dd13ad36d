import CallEngine
import Protocols
import Testing

@testable import Connectors

@Suite("Pages of calls and events, by where the last one ended")
struct StorePagingTests {
    private func pages(_ bench: StoreBench, _ filter: CallFilter) throws -> [[StoredCall]] {
        var filter = filter
        var pages: [[StoredCall]] = []
        repeat {
            let page = try bench.calls(filter)
            pages.append(page)
            filter.after = page.last?.cursor
            #expect(page.last.map { CallCursor($0.cursor.text) == $0.cursor } ?? true)
        } while pages.last?.count == filter.limit && pages.count < 100
        return pages
    }

    @Test(
        "every call stands on one page, in the order of the list, ties and missing starts too",
        arguments: StoreKind.available)
    func calls(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        for number in 0..<100 {
            // Ten calls in each second: the id decides.
            bench.commit.appendCall(
                .test("p\(number)", at: Int64(number / 10)) {
                    $0.status = number % 3 == 0 ? .finished : .ringing
                    $0.direction = number % 2 == 0 ? .inbound : .outbound
                })
        }
        bench.settle()
        try bench.run("UPDATE calls SET started_at = NULL WHERE call_id IN ('p3', 'p4', 'p5', 'p6', 'p7')")
        let all = try bench.calls(CallFilter(limit: 1000))
        #expect(all.count == 100)
        for (left, right) in zip(all, all.dropFirst()) { #expect(left.cursor.isBefore(right.cursor)) }
        #expect(all.suffix(5).allSatisfy { $0.startedAt == nil })
        for limit in [1, 7, 50, 99, 100] {
            #expect(try pages(bench, CallFilter(limit: limit)).flatMap(\.self) == all, "\(limit) a page")
        }
        let ringing = try pages(bench, CallFilter(status: "ringing", direction: "inbound", limit: 4))
        #expect(ringing.flatMap(\.self) == all.filter { $0.status == "ringing" && $0.direction == "inbound" })
        bench.close()
    }

    @Test(
        "calls that begin while somebody turns pages neither shift nor repeat any",
        arguments: StoreKind.available)
    func growing(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        for number in 0..<60 { bench.commit.appendCall(.test("g\(number)", at: Int64(number))) }
        bench.settle()
        var seen: [String] = []
        var filter = CallFilter(limit: 9)
        for round in 0..<7 {
            let page = try bench.calls(filter)
            seen += page.map(\.callID)
            filter.after = page.last?.cursor
            for number in 0..<5 {
                bench.commit.appendCall(.test("new\(round)-\(number)", at: Int64(1000 + round * 5 + number)))
            }
            bench.settle()
        }
        #expect(seen == (0..<60).reversed().map { "g\($0)" })
        bench.close()
    }

    @Test("a call's events come page by page, those of one moment too", arguments: StoreKind.available)
    func events(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        bench.commit.appendCall(.test("e"))
        for number in 0..<250 { bench.event("e", "\(number)", at: Int64(number / 20)) }
        bench.event("other", "x", at: 3)
        bench.settle()
        for limit in [1, 64, 250, 300] {
            var seen: [String] = []
            var page = EventPage(limit: limit)
            for _ in 0..<300 {
                let events = try #require(try bench.call("e", page)).events
                seen += events.map(\.eventType)
                guard events.count == limit, let last = events.last else { break }
                #expect(EventCursor(last.cursor.text) == last.cursor)
                page.after = last.cursor
            }
            #expect(seen == (0..<250).map { "\($0)" }, "\(limit) a page")
        }
        #expect(try bench.call("e", EventPage(limit: 0))?.events.isEmpty == true)
        #expect(try bench.call("nobody", EventPage(limit: 5)) == nil)
        bench.close()
    }

    @Test(
        "what is no cursor is none",
        arguments: [
            "", "_", "x", "1_2", "1_0123456789abcdef0123456789abcde", "1_0123456789abcdef0123456789abcdeg",
            "+1_0123456789abcdef0123456789abcdef", "1_+123456789abcdef0123456789abcdef",
            "99999999999999999999_0123456789abcdef0123456789abcdef",
            "9223372036854775807_0123456789abcdef0123456789abcdef",
            "1_0123456789abcdef0123456789abcdef_", " 1_0123456789abcdef0123456789abcdef",
        ])
    func malformed(_ text: String) {
        #expect(CallCursor(text) == nil)
        if text != "1_2" { #expect(EventCursor(text) == nil) }
    }
}

extension StoreBench {
    func call(_ callID: String, _ page: EventPage) throws -> StoredCallWithEvents? {
        var answer: Result<StoredCallWithEvents?, StoreError>?
        reader.call(id: callID, events: page) { answer = $0 }
        wait(for: "a call") { answer != nil }
        return try #require(answer).get()
    }

    /// Runs a statement beside the store.
    func run(_ sql: String) throws {
        switch try StoreLocation(databaseURL: url) {
        case .sqlite(let path): try SQLiteDatabase(path: path, forWriting: true).execute(sql)
        case .postgres: try PostgresCluster.shared().execute(sql, database: database)
        }
    }
}
