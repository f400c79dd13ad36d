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
        // Another loop, which is not there yet, writes the rows of the call that begins.
        pipeline.graph.writerOfNewCalls = 1
        let id = "9.1"
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
        let ids = (0..<20).map { "9.\($0)" }
        // Kept for good with each call that begins.
        pipeline.graph.writerOfNewCalls = 1
        for (type, second) in [("StasisStart", 0), ("ChannelDestroyed", 5)] {
            for id in ids {
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
        for id in ids {
            let call = try #require(try two.call(id))
            #expect(call.call.status == "finished")
            #expect(call.call.facts.outcomeRule != nil)
            #expect(try two.parts(id).legs.map(\.channelID) == [id])
        }
        _ = withExtendedLifetime(second) { two.close() }
        _ = withExtendedLifetime(pipeline) { one.close() }
    }

    @Test(
        "A call's rows are written where they are read; while that loop is behind, calls that begin go to another"
    )
    func choice() throws {
        // Nobody answers there, so that rows wait.
        let one = try StoreBench(url: "postgres://nobody@127.0.0.1:1/none")
        let shared = CallPipeline.Shared(count: 2, maximumCalls: 64, metrics: one.metrics)
        let pipeline = CallPipeline(
            loop: one.loop, index: 0, shared: shared, commit: one.commit, logger: one.log.logger)
        func take(_ id: String, times: Int) {
            let filling = String(repeating: "x", count: 1000)
            let event = Array(
                #"{"type":"ChannelHold","note":"\#(filling)","channel":{"id":"\#(id)","name":"PJSIP/a"}}"#
                    .utf8)
            for _ in 0..<times {
                _ = pipeline.received(event.span.bytes, pbx: 0, subscription: .allChannels)
            }
            one.loop.runOnce(maximumWait: .zero)
        }
        take("9.1", times: 100)
        take("9.2", times: 1)
        #expect(one.metrics[.handoffEvents] == 0)
        take("9.2", times: WriterLoads.behindBytes / 1000)
        #expect(shared.writerLoads[0] > WriterLoads.behindBytes)
        take("9.3", times: 2)
        #expect(one.metrics[.handoffEvents] == 2)
        // Behind what it has on its way already.
        take("9.1", times: 1)
        #expect(one.metrics[.handoffEvents] == 2)
        // The other one has as much to do now.
        shared.writerLoads.set(WriterLoads.behindBytes, of: 1)
        one.loop.runOnce(maximumWait: .zero)
        take("9.4", times: 1)
        #expect(one.metrics[.handoffEvents] == 2)
        take("9.3", times: 1)
        #expect(one.metrics[.handoffEvents] == 3)
        _ = withExtendedLifetime(pipeline) { one.close() }
    }
}
