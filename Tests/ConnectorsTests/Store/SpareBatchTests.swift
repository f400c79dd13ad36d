import Reactor
import Testing

@testable import Connectors

@Suite("Emptied batches are used again, until their memory is let go")
struct SpareBatchTests {
    @Test(
        "After renewal none of the former comes back, and new ones are used again",
        arguments: StoreKind.available)
    func renewal(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        // Held here, so that no new batch can lie where a former one lay.
        var used: [WriteBatch] = []
        let tell = bench.commit.onDurable
        bench.commit.onDurable = { batch in
            used.append(batch)
            tell?(batch)
        }
        func write(_ count: Int) -> [WriteBatch] {
            used = []
            for number in 0..<count {
                bench.event("call", "type\(number)")
                bench.settle()
            }
            return used
        }
        func kinds(_ batches: [WriteBatch]) -> Set<ObjectIdentifier> {
            Set(batches.map(ObjectIdentifier.init))
        }
        let former = write(10)
        #expect(former.count == 10)
        #expect(kinds(former).count < 5)
        bench.commit.renewBatches()
        // The one that was gathering has its turn still.
        let last = write(1)
        let next = write(10)
        #expect(next.count == 10)
        #expect(kinds(next).isDisjoint(with: kinds(former + last)))
        #expect(kinds(next).count < 5)
        #expect(bench.metrics[.storeEventsWritten] == 21)
        bench.close()
    }
}
