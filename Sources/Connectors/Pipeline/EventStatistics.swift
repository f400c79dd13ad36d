package import CallEngine
import Reactor
import Synchronization

/// Events received since the start, per type: what `/api/stats` tells.
///
/// Any thread may count or read.
package final class EventStatistics: Sendable {
    /// Unknown types remembered by name; more are counted together, since names come from outside.
    package static let maximumUnknownTypes = 256

    private final class Counter: Sendable {
        let value = Atomic<Int>(0)
    }

    private let known: [Counter] = ARIEventKind.allCases.map { _ in Counter() }
    private let unknown = Locked<[String: Int]>([:])

    package init() {}

    /// Counts an event of a known type.
    package func count(_ kind: ARIEventKind) {
        known[Int(kind.rawValue)].value.wrappingAdd(1, ordering: .relaxed)
    }

    /// Counts an event of a type this version does not know, by its stored name.
    package func count(unknown name: UnsafeRawBufferPointer) {
        count(.other)
        unknown.withLock { types in
            var text = String(decoding: name.prefix(255), as: UTF8.self)
            if types[text] == nil, types.count >= Self.maximumUnknownTypes { text = "other" }
            types[text, default: 0] += 1
        }
    }

    /// All events.
    package var total: Int {
        known.reduce(0) { $0 + $1.value.load(ordering: .relaxed) }
    }

    /// Events by stored type name, types never seen left out.
    package var perType: [(name: String, count: Int)] {
        var result: [(String, Int)] = []
        for kind in ARIEventKind.allCases where kind != .other && kind != .bridgeEnter {
            var count = known[Int(kind.rawValue)].value.load(ordering: .relaxed)
            // Two types share the stored name `bridge_enter`.
            if kind == .channelEnteredBridge {
                count += known[Int(ARIEventKind.bridgeEnter.rawValue)].value.load(ordering: .relaxed)
            }
            if count > 0 { result.append((kind.storedName.description, count)) }
        }
        return result + unknown.withLock { $0.sorted { $0.key < $1.key } }.map { ($0.key, $0.value) }
    }
}
