import CallEngine
import Foundation
import Protocols

/// Plays events into a leg graph and its shards, as the pipeline does, and keeps what they say.
final class Playback {
    private static let hasher = TextHash(keyA: 3, keyB: 5)

    let registry: CallRegistry
    private(set) var actions: [CRMAction] = []
    private(set) var rows: [String: CallRecord] = [:]
    private(set) var longTexts: [String: CallShard.LongTexts] = [:]
    private(set) var saves = 0
    private(set) var unplaced = 0
    private let subscription: LegGraph.Subscription
    private var reader = ARIEventReader()
    private var graph: LegGraph
    private var shard: CallShard
    /// Monotonic nanoseconds; a test moves it.
    var now: UInt64 = 1_000_000_000

    init(
        _ subscription: LegGraph.Subscription = .allChannels, capacity: Int = 4096,
        maximumChannels: Int = 262_144
    ) {
        registry = CallRegistry(capacity: capacity, hasher: Self.hasher)
        self.subscription = subscription
        graph = LegGraph(hasher: Self.hasher, maximumChannels: maximumChannels)
        shard = CallShard(registry: registry, hasher: Self.hasher, seed: 1)
    }

    var counters: CallShard.Counters { shard.counters }
    var channelCount: Int { graph.channelCount }
    var callCount: Int { graph.callCount }

    /// Plays one event as it came.
    func play(text: String) throws {
        let bytes = Array(text.utf8)
        var event = ARIEvent()
        try reader.read(bytes.span.bytes, into: &event)
        bytes.withUnsafeBytes { place(event, $0) }
        drain()
    }

    private func place(_ event: ARIEvent, _ payload: UnsafeRawBufferPointer) {
        let received = Timestamp(microseconds: 1_800_000_000_000_000)
        guard
            let placement = graph.place(event, payload: payload, pbx: 0, subscription: subscription, now: now)
        else {
            unplaced += 1
            return
        }
        if let merged = placement.mergedCall {
            shard.becamePart(merged, at: event.timestamp ?? received, now: now, actions: &actions)
        }
        shard.handle(
            event, payload: payload, placement: placement, pbx: 0, receivedAt: received, now: now,
            actions: &actions)
    }

    /// A connection to the PBX opened.
    func connect() {
        graph.beginReconcile(pbx: 0)
    }

    func snapshot(_ list: String) throws {
        try ChannelSnapshot.forEachChannel(in: Array(list.utf8)) { wrapped in
            var event = ARIEvent()
            if (try? reader.read(wrapped.span.bytes, into: &event)) != nil {
                wrapped.withUnsafeBytes { place(event, $0) }
            }
        }
        var ended: [CallKey] = []
        graph.finishReconcile(pbx: 0, now: now) { ended.append($0) }
        for key in ended {
            shard.endUnseen(
                key, at: Timestamp(microseconds: 1_800_000_000_000_000),
                updatedAt: Timestamp(microseconds: 1_800_000_000_000_000), now: now, actions: &actions)
        }
        drain()
    }

    func sweep() {
        graph.sweep(now: now)
        shard.sweep(now: now)
    }

    private func drain() {
        shard.drain { record, long in
            saves += 1
            rows[long?.callID ?? record.callID.string] = record
            longTexts[record.callID.string] = long
        }
    }

    /// Calls that did not become part of another, by id.
    var calls: [(id: String, record: CallRecord)] {
        rows.filter { !$0.value.flags.contains(.merged) }.sorted { $0.key < $1.key }.map {
            ($0.key, $0.value)
        }
    }

    var merged: [String] {
        rows.filter { $0.value.flags.contains(.merged) }.keys.sorted()
    }
}

/// The recorded streams in Tests/Fixtures/ari.
enum Recordings {
    static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Fixtures/ari")

    /// The events of a recording such as `asterisk-22/inbound-answered`, one a line.
    static func events(_ name: String) throws -> [String] {
        let text = try String(contentsOf: folder.appending(path: "\(name).jsonl"), encoding: .utf8)
        return text.components(separatedBy: "\n").filter { !$0.isEmpty }
    }

    /// All recordings, as `asterisk-22/inbound-answered`.
    static func all() throws -> [String] {
        try ["asterisk-16", "asterisk-22"].flatMap { version in
            try FileManager.default.contentsOfDirectory(atPath: folder.appending(path: version).path)
                .filter { $0.hasSuffix(".jsonl") }.sorted()
                .map { "\(version)/\($0.dropLast(6))" }
        }
    }
}
