import CallEngine
import Foundation
import Protocols

/// Plays events into a leg graph and its shards, as the pipeline does, and keeps what they say.
final class Playback {
    private static let hasher = TextHash(keyA: 3, keyB: 5)

    let registry: CallRegistry
    private(set) var actions: [CRMAction] = []
    private(set) var rows: [String: CallRecord] = [:]
    private(set) var longTexts: [String: CallGraph.LongTexts] = [:]
    private(set) var saves = 0
    /// How often details were given.
    private(set) var derivations = 0
    private(set) var unplaced = 0
    /// The call of each event that names a channel.
    private(set) var placements: [String] = []
    /// Index of the PBX whose events are played.
    var pbx: UInt16 = 0
    private let subscription: CallGraph.Subscription
    private var reader = ARIEventReader()
    private var graph: CallGraph
    private(set) var details: [String: CallDetails] = [:]
    /// Monotonic nanoseconds; a test moves it.
    var now: UInt64 = 1_000_000_000

    init(
        _ subscription: CallGraph.Subscription = .allChannels, capacity: Int = 4096,
        maximumLegs: Int = 262_144, grouping: CallGrouping = .linkedID, prefixes: [String] = [],
        tellsTelephones: Bool = false
    ) {
        registry = CallRegistry(capacity: capacity, hasher: Self.hasher)
        self.subscription = subscription
        graph = CallGraph(
            registry: registry, hasher: Self.hasher, seed: 1, maximumLegs: maximumLegs, grouping: grouping,
            prefixes: prefixes)
        graph.tellsTelephones = tellsTelephones
    }

    var counters: CallGraph.Counters { graph.counters }
    var channelCount: Int { graph.legCount }
    var bridgeCount: Int { graph.bridgeCount }
    var callCount: Int { graph.callCount }
    /// Turns of the graph's loops.
    var steps: Int { graph.steps }

    /// Plays one event as it came.
    func play(text: String) throws {
        let bytes = Array(text.utf8)
        var event = ARIEvent()
        try reader.read(bytes.span.bytes, into: &event)
        bytes.withUnsafeBytes { place(event, $0) }
        drain()
    }

    /// Plays one event that was read before.
    func play(_ event: ARIEvent, _ payload: UnsafeRawBufferPointer) {
        place(event, payload)
        drain()
    }

    private func place(_ event: ARIEvent, _ payload: UnsafeRawBufferPointer) {
        let received = Timestamp(microseconds: 1_800_000_000_000_000)
        let placement = graph.handle(
            event, payload: payload, pbx: pbx, subscription: subscription, receivedAt: received, now: now,
            actions: &actions)
        guard let placement else {
            unplaced += 1
            return
        }
        graph.withCallID(of: placement, in: payload) {
            placements.append(String(decoding: $0, as: UTF8.self))
        }
    }

    /// A connection to the PBX opened.
    func connect() {
        graph.beginReconcile(pbx: pbx)
    }

    func snapshot(_ list: String) throws {
        try ChannelSnapshot.forEachChannel(in: Array(list.utf8)) { wrapped in
            var event = ARIEvent()
            if (try? reader.read(wrapped.span.bytes, into: &event)) != nil {
                wrapped.withUnsafeBytes { place(event, $0) }
            }
        }
        let time = Timestamp(microseconds: 1_800_000_000_000_000)
        graph.finishReconcile(pbx: pbx, at: time, updatedAt: time, now: now) { _ in }
        drain()
    }

    func sweep() {
        graph.sweep(now: now)
        drain()
    }

    private func drain() {
        graph.drain(actions: &actions) { record, long, made in
            saves += 1
            let id = long?.callID ?? record.callID.string
            rows[id] = record
            longTexts[record.callID.string] = long
            if let made {
                details[id] = made
                derivations += 1
            }
        }
    }

    /// Explains a call as it stands.
    func look(_ callID: String) -> CallExplanation? {
        graph.look(at: callID, pbxs: 0..<UInt16(pbx + 1)) { record, _, details in
            CallExplanation(callID: callID, record: copy record, details: copy details)
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
    static func all() -> [String] {
        ["asterisk-16", "asterisk-22", "office-16", "office-22"].flatMap { version in
            ((try? FileManager.default.contentsOfDirectory(atPath: folder.appending(path: version).path))
                ?? [])
                .filter { $0.hasSuffix(".jsonl") }.sorted()
                .map { "\(version)/\($0.dropLast(6))" }
        }
    }
}
