import CallEngine
import Foundation
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite("A run of the daemon that follows another knows what its calls did before", .serialized)
struct RestartTests {
    private static func events(_ recording: String) throws -> [String] {
        let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Fixtures/ari/office-22")
        return try String(contentsOf: folder.appending(path: "\(recording).jsonl"), encoding: .utf8)
            .components(separatedBy: "\n").filter { !$0.isEmpty }
    }

    private static func receive(_ events: some Sequence<String>, _ bench: WholeWayBench) throws {
        for event in events {
            let bytes = Array(event.utf8)
            _ = bench.pipeline.received(bytes.span.bytes, pbx: 0, subscription: .allChannels)
        }
        try bench.wait(for: "all rows to be durable") { bench.isSettled }
        // What was called durable was gathered before; the end of this tick gathers the calls.
        bench.loop.runOnce(maximumWait: .zero)
        try bench.wait(for: "all rows to be durable") { bench.isSettled }
    }

    /// Takes over what an earlier run left open, as the daemon does at its start.
    private static func takeOver(_ bench: WholeWayBench) throws -> Int {
        var calls: Result<[StoredCall], StoreError>?
        bench.reader.calls(CallFilter(limit: 100, openBefore: WallClock.now() + .seconds(60))) { calls = $0 }
        try bench.wait(for: "the open calls") { calls != nil }
        let open = try #require(calls).get()
        var events: Result<[StoredEvent], StoreError>?
        let since = open.map(\.insertedAt).min() ?? WallClock.now()
        bench.reader.events(ofCalls: open.map(\.callID), since: since) { events = $0 }
        try bench.wait(for: "their events") { events != nil }
        bench.pipeline.adopt(open, sighting: nil, pbx: 0)
        bench.pipeline.replay(try #require(events).get(), pbx: 0, subscription: .allChannels)
        return open.count
    }

    /// What `GET /channels` and `GET /bridges` would have told behind these events, as the daemon hands it on.
    private static func list(behind events: some Sequence<String>) throws -> [[UInt8]] {
        var channels: [String: [String: Any]] = [:]
        var bridges: [String: [String: Any]] = [:]
        var order: [String] = []
        for text in events {
            let event = try #require(
                try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
            let type = event["type"] as? String
            for name in ["channel", "caller", "peer", "transferer", "transferee", "replace_channel"] {
                guard let channel = event[name] as? [String: Any], let id = channel["id"] as? String else {
                    continue
                }
                if type == "ChannelDestroyed" {
                    channels[id] = nil
                } else {
                    if channels[id] == nil { order.append(id) }
                    channels[id] = channel
                }
                guard name == "channel" else { continue }
                if type == "ChannelEnteredBridge" { bridges[id] = event["bridge"] as? [String: Any] }
                if type == "ChannelLeftBridge" || type == "ChannelDestroyed" { bridges[id] = nil }
            }
        }
        return try order.compactMap { id in
            guard let channel = channels[id] else { return nil }
            var event: [String: Any] = ["type": "ChannelSnapshot", "channel": channel]
            event["bridge"] = bridges[id]
            return Array(try JSONSerialization.data(withJSONObject: event))
        }
    }

    /// Compares with a PBX that has told these events, as the daemon does when it is connected.
    private static func compare(_ bench: WholeWayBench, behind events: some Collection<String>) throws {
        var facts = ARIComparisonFacts(isRestart: false, channels: [], bridges: [])
        var newest: Timestamp?
        var reader = ARIEventReader()
        for text in events {
            var event = ARIEvent()
            try reader.read(Array(text.utf8).span.bytes, into: &event)
            newest = max(newest ?? .test(0), event.timestamp ?? .test(0))
        }
        (facts.clock, facts.clockReadAt) = (newest, WallClock.now())
        bench.pipeline.comparisonBegan(facts, pbx: 0)
        for channel in try list(behind: events) {
            bench.pipeline.listed(channel.span.bytes, pbx: 0, subscription: .allChannels)
        }
        bench.pipeline.comparisonGrace = .zero
        bench.pipeline.comparisonEnded(facts, pbx: 0, name: "pbx0")
        try bench.wait(for: "the comparison") { bench.pipeline.watches[0].waiting == nil }
    }

    /// All calls with legs and parts, without what two runs cannot have in common.
    private static func calls(_ bench: WholeWayBench) throws -> [String: StoredCallWithEvents] {
        var found: [String: StoredCallWithEvents] = [:]
        for row in try bench.calls(CallFilter(limit: 100)) {
            var call = StoredCallWithEvents(call: row, events: [])
            var answer: Result<StoredParts, StoreError>?
            bench.reader.parts(of: row.callID) { answer = $0 }
            try bench.wait(for: "a call's legs") { answer != nil }
            call.parts = try #require(answer).get()
            call.call.id = CallUUID(high: 0, low: 0)
            (call.call.insertedAt, call.call.updatedAt) = (.test(0), .test(0))
            call.call.facts.derivedAt = nil
            call.call.facts.isPartial = false
            found[row.callID] = call
        }
        return found
    }

    private static let recordings = [
        "queue-second-member-answers", "ring-group-answered", "attended-transfer-keys",
        "blind-transfer-refer",
        "direct-busy", "parking-retrieved", "voicemail", "click-to-call", "forward-302",
    ]

    @Test("cut anywhere, the calls are what an unbroken run makes of them", arguments: recordings)
    func cutAnywhere(recording: String) throws {
        let events = try Self.events(recording)
        let whole = try WholeWayBench(.epoll, .sqlite)
        try Self.receive(events, whole)
        let expected = try Self.calls(whole)
        #expect(!expected.isEmpty)
        for cut in stride(from: 1, to: events.count, by: max(1, events.count / 7)) {
            let first = try WholeWayBench(.epoll, .sqlite)
            try Self.receive(events[..<cut], first)
            let second = try WholeWayBench(.epoll, .sqlite, database: first.url)
            let open = try Self.takeOver(second)
            try Self.compare(second, behind: events[..<cut])
            try Self.receive(events[cut...], second)
            let found = try Self.calls(second)
            #expect(found == expected, "cut behind event \(cut) of \(events.count), \(open) calls open")
            #expect(try second.calls(CallFilter(limit: 100)).contains { $0.facts.isPartial } == (open > 0))
            try second.close()
            try first.close()
        }
        try whole.close()
    }

    @Test(
        "both databases give the events of several calls in the order of receipt",
        arguments: StoreKind.available)
    func sharedEvents(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        for number in 0..<50 { bench.event("c\(number % 3)", "\(number)", at: Int64(number)) }
        bench.event("other", "x", at: 3)
        bench.settle()
        var answer: Result<[StoredEvent], StoreError>?
        bench.reader.events(ofCalls: ["c0", "c2", "none\"}"], since: .received(0)) { answer = $0 }
        bench.wait(for: "events") { answer != nil }
        let events = try #require(answer).get()
        #expect(events.map(\.eventType) == (0..<50).filter { $0 % 3 != 1 }.map { "\($0)" })
        #expect(Set(events.map(\.callID)) == ["c0", "c2"])
        bench.close()
    }
}
