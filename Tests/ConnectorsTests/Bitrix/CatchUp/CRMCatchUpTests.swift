import CallEngine
import Protocols
import Reactor
import Simulator
import Testing

@testable import Connectors

/// A database with calls in it, newest first; the first reads may fail.
private final class ListedCalls: StoreReader {
    var calls: [StoredCall] = []
    var failures = 0
    private(set) var filters: [CallFilter] = []
    private let loop: Loop

    init(loop: Loop) { self.loop = loop }

    var state: StoreState { .connecting }
    func start() {}
    func stop() {}

    func parts(of callID: String, completion: @escaping (Result<StoredParts, StoreError>) -> Void) {
        loop.schedule(after: .zero) { completion(.success(StoredParts())) }
    }

    func gaps(limit: Int, completion: @escaping (Result<[StoredGap], StoreError>) -> Void) {
        loop.schedule(after: .zero) { completion(.success([])) }
    }

    func sightings(completion: @escaping (Result<[PBXSighting], StoreError>) -> Void) {
        loop.schedule(after: .zero) { completion(.success([])) }
    }

    func calls(
        _ filter: CallFilter, completion: @escaping (Result<[StoredCall], StoreError>) -> Void
    ) {
        filters.append(filter)
        let fails = failures > 0
        failures -= 1
        let found = calls.filter { call in
            if let time = filter.openBefore { return call.status != "finished" && call.insertedAt < time }
            guard call.status == filter.status else { return false }
            guard let after = filter.after, let last = after.startedAt else { return true }
            return (call.startedAt ?? last) < last
        }
        loop.schedule(after: .zero) {
            completion(fails ? .failure(.unavailable("away")) : .success(Array(found.prefix(filter.limit))))
        }
    }

    func call(
        id callID: String, events page: EventPage,
        completion: @escaping (Result<StoredCallWithEvents?, StoreError>) -> Void
    ) {
        loop.schedule(after: .zero) { completion(.success(nil)) }
    }
}

@Suite("Bitrix24 catch-up: what an earlier run left undone")
struct CRMCatchUpTests {
    private static func stored(
        _ call: CRMCall, id bitrixCallID: String? = nil, isOpen: Bool = false, pbx: String = "pbx1"
    ) -> StoredCall {
        StoredCall(
            id: CallUUID(high: 1, low: UInt64(call.startedAt.microseconds)), callID: call.callID,
            direction: "\(call.direction.name)", callerNumber: call.callerNumber,
            calleeNumber: call.calleeNumber, status: isOpen ? "answered" : "finished",
            startedAt: call.startedAt, answeredAt: call.answeredAt, endedAt: isOpen ? nil : call.endedAt,
            insertedAt: call.startedAt, updatedAt: call.startedAt, bitrixCallID: bitrixCallID,
            outcome: isOpen ? nil : "\(call.outcome.name)", hangupCause: 16, pbx: pbx, endedEstimated: false)
    }

    private static func call(_ id: String, ago seconds: Int64) -> CRMCall {
        var call = BitrixBench.call(id, to: "101", talk: 9)
        let delta = seconds * 1_000_000
        call.startedAt.microseconds -= delta
        call.answeredAt?.microseconds -= delta
        call.endedAt?.microseconds -= delta
        return call
    }

    @Test func aRowBecomesTheCallItWas() throws {
        let call = Self.call("a", ago: 5)
        #expect(CRMCall(stored: Self.stored(call)) == call)
        var lacking = Self.stored(call)
        lacking.startedAt = nil
        #expect(CRMCall(stored: lacking) == nil)
    }

    @Test(arguments: [true, false])
    func eachCallOnceWhateverTheEarlierRunHadDone(statisticsReadable: Bool) throws {
        let bench = try BitrixBench { $0.statisticsReadable = statisticsReadable }
        // The earlier run: "done" is finished, "half" is registered, "never" is unknown to the portal.
        bench.play([Self.call("done", ago: 60)])
        bench.client.submit(.register(Self.call("half", ago: 50)))
        bench.client.submit(.register(Self.call("open", ago: 40)))
        bench.settle()
        let ids = bench.registered
        let next = BitrixBench.client(of: bench)
        let reader = ListedCalls(loop: bench.http.loop)
        reader.failures = 0
        reader.calls = [
            Self.stored(Self.call("mine", ago: -10_000)),
            Self.stored(Self.call("open", ago: 40), id: ids["open"], isOpen: true),
            Self.stored(Self.call("half", ago: 50), id: ids["half"]),
            Self.stored(Self.call("done", ago: 60), id: ids["done"]),
            Self.stored(Self.call("never", ago: 70)),
            Self.stored(Self.call("another", ago: 80), pbx: "elsewhere"),
            Self.stored(Self.call("old", ago: 90_000)),
        ]
        let before = BitrixBench.now
        let catchUp = CRMCatchUp(
            loop: bench.http.loop, reader: reader, client: next, pbxNames: ["pbx1"],
            since: before - .seconds(3600), before: before, logger: bench.http.log.logger)
        catchUp.start()
        bench.http.run { bench.rows.count == 3 && next.pendingSteps == 0 }
        next.submit(.finish(Self.call("open", ago: 40)))
        bench.http.run { bench.rows.count == 4 && next.pendingSteps == 0 }
        bench.http.settle()
        #expect(
            Set(bench.rows.compactMap(\.call.externalCallID)) == [
                "pbx1-done", "pbx1-half", "pbx1-never", "pbx1-open",
            ])
        #expect(bench.rows.count == 4, "each once")
        #expect(bench.portal.portal.activeCalls.isEmpty)
        #expect(reader.filters.first?.openBefore != nil, "open calls first")
        next.stop()
    }
}
