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

    @Test(
        "Calls that another loop writes come with their legs, the newest state of each",
        arguments: StoreKind.available)
    func callsWithLegs(_ kind: StoreKind) throws {
        let one = try StoreBench(.sqlite)
        let shared = CallPipeline.Shared(count: 2, maximumCalls: 64, metrics: one.metrics)
        let pipeline = CallPipeline(
            loop: one.loop, index: 0, shared: shared, commit: one.commit, logger: one.log.logger)
        let ids = (0..<200).map { "9.\($0)" }.filter { id in
            var id = id
            return shared.shard(of: id.withUTF8 { shared.hasher(UnsafeRawBufferPointer($0)) }) == 1
        }
        #expect(ids.count > 20)
        for (type, second) in [("StasisStart", 0), ("ChannelDestroyed", 5)] {
            for id in ids.prefix(20) {
                let event =
                    Array(
                        #"{"type":"\#(type)","timestamp":"2026-11-22T10:00:0\#(second).000+0000","cause":16,"#
                            .utf8)
                    + Array(
                        #""channel":{"id":"\#(id)","name":"PJSIP/a-\#(id)","state":"Ring","caller":{"number":"5"}}}"#
                            .utf8)
                _ = pipeline.received(event.span.bytes, pbx: 0, subscription: .allChannels)
            }
            one.loop.runOnce(maximumWait: .zero)
        }
        let two = try StoreBench(kind)
        let second = CallPipeline(
            loop: two.loop, index: 1, shared: shared, commit: two.commit, logger: two.log.logger)
        two.reader.start()
        two.wait(for: "all events to be stored") {
            one.loop.runOnce(maximumWait: .zero)
            return two.metrics[.storeEventsWritten] == 40 && two.commit.isIdle
        }
        for id in ids.prefix(20) {
            let call = try #require(try two.call(id))
            #expect(call.call.status == "finished")
            #expect(call.call.facts.outcomeRule != nil)
            #expect(try two.parts(id).legs.map(\.channelID) == [id])
        }
        _ = withExtendedLifetime(second) { two.close() }
        _ = withExtendedLifetime(pipeline) { one.close() }
    }
}
