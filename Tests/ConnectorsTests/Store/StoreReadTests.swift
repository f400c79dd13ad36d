import CallEngine
import Protocols
import Testing

@testable import Connectors

@Suite("Reads of the API")
struct StoreReadTests {
    @Test("calls come newest start first, filtered and limited", arguments: StoreKind.available)
    func listing(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        #expect(try bench.calls().isEmpty)
        for number in 0..<120 {
            // 7919 is prime to 120: the starts come in no order.
            let start = Int64(number * 7919 % 120)
            bench.commit.appendCall(
                .test("l\(start)", at: start) {
                    $0.status = [.ringing, .answered, .finished][Int(start % 3)]
                    $0.direction = start % 2 == 0 ? .inbound : .outbound
                })
        }
        bench.settle()
        let all = try bench.calls(CallFilter(limit: 1000))
        #expect(all.map(\.callID) == (0..<120).reversed().map { "l\($0)" })
        #expect(try bench.calls().count == 50)
        #expect(try bench.calls(CallFilter(limit: 1)).map(\.callID) == ["l119"])
        #expect(try bench.calls(CallFilter(limit: 0)).isEmpty)
        let answered = try bench.calls(CallFilter(status: "answered", limit: 1000))
        #expect(answered.count == 40)
        #expect(answered.allSatisfy { $0.status == "answered" })
        let both = try bench.calls(CallFilter(status: "finished", direction: "inbound", limit: 5))
        #expect(both.map(\.callID) == ["l116", "l110", "l104", "l98", "l92"])
        #expect(try bench.calls(CallFilter(direction: "outbound", limit: 1000)).count == 60)
        #expect(try bench.calls(CallFilter(status: "no such status")).isEmpty)
        #expect(try bench.calls(CallFilter(status: "'; DROP TABLE calls; --")).isEmpty)
        bench.close()
    }

    @Test(
        "a leg's call that became part of another is found by its id and left out of lists",
        arguments: StoreKind.available)
    func merged(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        bench.commit.appendCall(
            .test("whole") {
                $0.status = .finished; $0.outcome = .answered
            })
        bench.commit.appendCall(.test("ringing"))
        bench.commit.appendCall(
            .test("leg") {
                $0.status = .finished; $0.outcome = .merged
            })
        bench.settle()
        #expect(Set(try bench.calls().map(\.callID)) == ["whole", "ringing"])
        #expect(try bench.calls(CallFilter(status: "finished")).map(\.callID) == ["whole"])
        #expect(try bench.call("leg")?.call.outcome == "merged")
        bench.close()
    }

    @Test(
        "open calls of an earlier run: not ended, made before the time given", arguments: StoreKind.available)
    func openBefore(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        bench.commit.appendCall(.test("ringing", at: 1))
        bench.commit.appendCall(.test("answered", at: 2) { $0.status = .answered })
        bench.commit.appendCall(.test("over", at: 3) { $0.status = .finished })
        bench.commit.appendCall(.test("later", at: 100))
        bench.settle()
        let open = try bench.calls(CallFilter(limit: 50_000, openBefore: .test(50)))
        #expect(Set(open.map(\.callID)) == ["ringing", "answered"])
        #expect(try bench.calls(CallFilter(limit: 1, openBefore: .test(50))).count == 1)
        #expect(try bench.calls(CallFilter(openBefore: .test(0))).isEmpty)
        bench.close()
    }

    @Test("an unknown call is not found", arguments: StoreKind.available)
    func notFound(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        bench.event("orphan")
        bench.settle()
        #expect(try bench.call("nobody") == nil)
        #expect(try bench.call("") == nil)
        #expect(try bench.call("nul\u{0}byte") == nil)
        #expect(try bench.call("orphan") == nil, "events alone are no call")
        bench.close()
    }

    @Test(
        "events come oldest first, those of one moment as they were written", arguments: StoreKind.available)
    func eventOrder(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        bench.commit.appendCall(.test("o"))
        for (type, seconds) in [("c", 3), ("a1", 1), ("b", 2), ("a2", 1), ("a3", 1)] as [(String, Int64)] {
            bench.event("o", type, at: seconds)
        }
        bench.event("other", "x", at: 1)
        bench.settle()
        #expect(try bench.call("o")?.events.map(\.eventType) == ["a1", "a2", "a3", "b", "c"])
        bench.close()
    }

    @Test("a call with more events than the bound gives the first of them", arguments: StoreKind.available)
    func eventBound(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        bench.commit.appendCall(.test("many"))
        for number in 0..<StoreReads.maximumEvents + 25 {
            bench.event("many", "e\(number)", at: Int64(number))
        }
        bench.settle()
        let events = try #require(try bench.call("many")).events
        #expect(events.count == StoreReads.maximumEvents)
        #expect(events.first?.eventType == "e0")
        #expect(events.last?.eventType == "e\(StoreReads.maximumEvents - 1)")
        bench.close()
    }

    @Test("many reads at once are all answered, beyond the bound at once", arguments: StoreKind.available)
    func manyReads(_ kind: StoreKind) throws {
        var settings = StoreBench.quick
        settings.readTimeout = .seconds(60)
        let bench = try StoreBench(kind, settings: settings)
        bench.start()
        bench.commit.appendCall(.test("r"))
        bench.settle()
        _ = try bench.calls()
        var (answered, refused) = (0, 0)
        let asked = StoreReads.maximumWaiting + 40
        for _ in 0..<asked {
            bench.reader.call(id: "r") { result in
                switch result {
                case .success(let found):
                    #expect(found?.call.callID == "r")
                    answered += 1
                case .failure(let error):
                    #expect(error == .unavailable("too many reads are waiting"))
                    refused += 1
                }
            }
        }
        #expect(answered + refused == 0, "no completion before the call returned")
        bench.wait(for: "all answers") { answered + refused == asked }
        #expect(answered >= StoreReads.maximumWaiting)
        #expect(refused >= 38)
        bench.close()
    }
}
