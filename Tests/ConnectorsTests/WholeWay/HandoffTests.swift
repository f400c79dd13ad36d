import CallEngine
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite("Events for another loop's shard")
struct HandoffTests {
    @Test("A loop that does not take its mail for long loses no event of what waits within the bound")
    func slowLoop() throws {
        let one = try StoreBench(.sqlite)
        let shared = CallPipeline.Shared(count: 2, maximumCalls: 64, metrics: one.metrics)
        let pipeline = CallPipeline(
            loop: one.loop, index: 0, shared: shared, commit: one.commit, logger: one.log.logger)
        // An id of the second shard, whose loop is not there yet.
        let id = try #require(
            (0..<100).map { "9.\($0)" }.first { id in
                var id = id
                return shared.shard(of: id.withUTF8 { shared.hasher(UnsafeRawBufferPointer($0)) }) == 1
            })
        let event = Array(
            #"{"type":"ChannelHold","channel":{"id":"\#(id)","name":"PJSIP/a","linkedid":"\#(id)"}}"#.utf8)
        // One block a tick, and more ticks than the mailbox holds messages.
        let count = CallPipeline.Shared.mailboxCapacity + 500
        for _ in 0..<count {
            _ = pipeline.received(event.span.bytes, pbx: 0, subscription: .allChannels)
            one.loop.runOnce(maximumWait: .zero)
        }
        #expect(one.metrics[.handoffDropped] == 0)
        let two = try StoreBench(.sqlite)
        let second = CallPipeline(
            loop: two.loop, index: 1, shared: shared, commit: two.commit, logger: two.log.logger)
        two.wait(for: "all events to be stored") {
            one.loop.runOnce(maximumWait: .zero)
            return two.metrics[.storeEventsWritten] == count
        }
        #expect(one.metrics[.handoffDropped] == 0)
        #expect(one.metrics[.handoffEvents] == count)
        _ = withExtendedLifetime(second) { two.close() }
        _ = withExtendedLifetime(pipeline) { one.close() }
    }
}
