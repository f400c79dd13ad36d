import BenchSupport
import CAllocations
import CallEngine
import Protocols

/// The whole way within one loop: bytes of a socket → frames → events → calls → rows and CRM actions.
///
/// Put together as the daemon's pipeline is, without sockets and store: each read is a tick, at its end the changed calls
/// are drained. A play ends with a sweep that forgets its calls, so that the next play begins them anew; both
/// are part of what is measured.
final class PathStage: Stage {
    let name = "path"
    let title = "frame, read, place, move the call"

    private static let hasher = TextHash(keyA: 3, keyB: 5)
    private static let receivedAt = Timestamp(microseconds: 1_800_000_000_000_000)

    // As the daemon does: the scan checks UTF-8 anyway.
    private var session = WebSocketSession(role: .client, textValidation: .reader)
    private var reader = ARIEventReader()
    private var graph: CallGraph
    private var event = ARIEvent()
    private var actions: [CRMAction] = []
    private var now: UInt64 = 1_000_000_000
    /// The front of a message that a read cut in two, as the reactor keeps it.
    private let carry = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 64)
    private var carried = 0
    private var needed = 0

    /// Whether allocations are attributed; costs time.
    var attributesAllocations = false
    /// Allocations made by events, and ends of ticks, that gave CRM actions: copies of the call's texts, twice a call.
    private(set) var actionAllocations: UInt64 = 0
    /// Rows handed to the store since the start.
    private var rowCount = 0
    /// CRM actions since the start.
    private var actionCount = 0

    /// Calls begun since the start.
    var callCount: Int { graph.counters.started }
    /// Whether every call has ended and was handed to the store and the CRM.
    var isComplete: Bool {
        callCount > 0 && graph.counters.active == 0 && graph.registry.count == 0
            && rowCount >= callCount && actionCount >= callCount
    }

    init() {
        let registry = CallRegistry(capacity: 65_536, hasher: Self.hasher)
        graph = CallGraph(registry: registry, hasher: Self.hasher, seed: 1)
    }

    deinit { carry.deallocate() }

    func input(of recording: Recording) -> [UInt8] { recording.stream }

    func play(_ recording: Recording) throws {
        try recording.stream.withUnsafeBytes { stream in
            for range in recording.reads {
                try take(UnsafeRawBufferPointer(rebasing: stream[range]), recording.subscription)
                endTick()
            }
        }
        guard carried == 0 else { throw BenchError("\(recording.name): the stream ends within a frame") }
        now += CallGraph.linger + 1_000_000_000
        graph.sweep(now: now)
    }

    /// Hands a read out behind what is carried; the carry is completed only up to what its frame needs.
    private func take(_ read: UnsafeRawBufferPointer, _ subscription: CallGraph.Subscription) throws {
        var rest = read[...]
        while carried > 0 {
            let part = rest.prefix(needed - carried)
            rest = rest.dropFirst(part.count)
            guard carried + part.count <= carry.count else { throw BenchError("a frame is too long") }
            UnsafeMutableRawBufferPointer(rebasing: carry[carried...])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: part))
            carried += part.count
            guard carried >= needed else { return }
            let front = UnsafeRawBufferPointer(rebasing: carry[..<carried])
            if try parse(front, subscription) == carried { carried = 0 }
        }
        let bytes = UnsafeRawBufferPointer(rebasing: rest)
        let used = try parse(bytes, subscription)
        carried = bytes.count - used
        carry.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[used...]))
    }

    /// Plays all whole frames of `bytes`; returns how many bytes they were.
    private func parse(
        _ bytes: UnsafeRawBufferPointer, _ subscription: CallGraph.Subscription
    ) throws -> Int {
        var position = 0
        while position < bytes.count {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[position...])
            switch try session.next(rest.bytes) {
            case .incomplete(let needed):
                self.needed = needed
                return position
            case .value(.text(.input(let range)), let used):
                try move(UnsafeRawBufferPointer(rebasing: rest[range]), subscription)
                position += used
            case .value:
                throw BenchError("the stream has a frame that is no whole text")
            }
        }
        return position
    }

    private func move(_ payload: UnsafeRawBufferPointer, _ subscription: CallGraph.Subscription) throws {
        let allocationsBefore = attributesAllocations ? callocations_count() : 0
        let actionsBefore = actions.count
        try reader.read(payload.bytes, into: &event)
        _ = graph.handle(
            event, payload: payload, pbx: 0, subscription: subscription, receivedAt: Self.receivedAt,
            now: now,
            actions: &actions)
        if attributesAllocations, actions.count > actionsBefore {
            actionAllocations += callocations_count() - allocationsBefore
        }
    }

    private func endTick() {
        var rows = 0
        let before = attributesAllocations ? callocations_count() : 0
        let actionsBefore = actions.count
        graph.drain(actions: &actions) { _, _, _ in rows += 1 }
        // Nothing in it allocates but the list of who talked, which goes to the CRM with the call.
        if attributesAllocations, actions.count > actionsBefore {
            actionAllocations += callocations_count() - before
        }
        rowCount += rows
        actionCount += actions.count
        actions.removeAll(keepingCapacity: true)
    }
}
