import Reactor
import Testing

@testable import Connectors

@Suite("Small batches leave at a pace, nothing else waits for it")
struct PaceTests {
    /// So long that only a rule of the pace, and never time passing, sends a batch.
    private static var settings: StoreSettings {
        var settings = StoreBench.quick
        settings.pace = .seconds(3600)
        return settings
    }

    @Test("After a silence at once, then together, then at 64 rows at once", arguments: StoreKind.available)
    func pace(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind, settings: Self.settings)
        bench.start()
        bench.event("first")
        bench.settle()
        let batches = bench.metrics[.storeBatches]
        for number in 1..<GroupCommit.minimumRowsToPipeline {
            bench.event("next", "type\(number)")
            bench.loop.runOnce(maximumWait: .milliseconds(1))
        }
        #expect(bench.commit.inFlightCount == 0)
        #expect(bench.commit.waitingBytes > 0)
        #expect(bench.metrics[.storeBatches] == batches)
        bench.event("next", "last")
        bench.settle()
        #expect(bench.metrics[.storeBatches] == batches + 1)
        bench.close()
    }

    @Test("A stop does not wait for the pace", arguments: StoreKind.available)
    func stopping(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind, settings: Self.settings)
        bench.start()
        bench.event("first")
        bench.settle()
        bench.event("second")
        bench.loop.runOnce(maximumWait: .milliseconds(1))
        #expect(bench.close())
        #expect(bench.metrics[.storeEventsWritten] == 2)
    }
}
