import Connectors
import Reactor

/// How the daemon's links stand, written by the loops, read by whoever answers `/health`, the page or `/metrics`.
final class LinkStates: Sendable {
    /// One PBX.
    struct PBX: Sendable {
        var name: String
        var isConnected: Bool
        /// What is wrong, in words; `nil` when nothing is.
        var problem: String?
        /// Its clock minus ours, in milliseconds; `nil` before it was measured.
        var clockOffset: Int?
    }

    private let pbxs: Locked<[PBX]>
    private let writers: Locked<[StoreState]>
    /// Writers whose batches have waited for an answer longer than `Self.slowAfter`.
    private let slowWriters = Locked<Set<Int>>([])

    /// A healthy database answers a batch in milliseconds; a frozen or unreachable one keeps its connection for long.
    static let slowAfter: Duration = .seconds(5)

    /// - Parameter pbxNames: Those that are read, in the order of their indices; none in mock mode.
    init(pbxNames: [String], writers count: Int) {
        pbxs = Locked(pbxNames.map { PBX(name: $0, isConnected: false, problem: "not connected yet") })
        writers = Locked(Array(repeating: .connecting, count: count))
    }

    /// All that are read, in order.
    var pbxStates: [PBX] { pbxs.withLock { $0 } }

    func set(pbx index: Int, isConnected: Bool, problem: String?) {
        pbxs.withLock {
            $0[index].isConnected = isConnected
            $0[index].problem = problem
        }
    }

    func set(pbx index: Int, clockOffset: Int) {
        pbxs.withLock { $0[index].clockOffset = clockOffset }
    }

    func set(writer index: Int, isSlow: Bool) {
        slowWriters.withLock { slow in
            if isSlow { slow.insert(index) } else { slow.remove(index) }
        }
    }

    func set(writer index: Int, _ state: StoreState) {
        writers.withLock { $0[index] = state }
    }

    /// `nil` when rows can be written and read; else the first thing that is wrong.
    ///
    /// - Parameter reader: A reader that has not been asked anything yet may still be connecting.
    func storeProblem(reader: StoreState) -> String? {
        for state in writers.withLock({ $0 }) {
            switch state {
            case .connected: continue
            case .connecting: return "not connected yet"
            case .failing(let reason): return reason
            }
        }
        if !slowWriters.withLock({ $0.isEmpty }) {
            return "no answer for more than \(Self.slowAfter.components.seconds) seconds; rows wait"
        }
        if case .failing(let reason) = reader { return reason }
        return nil
    }
}
