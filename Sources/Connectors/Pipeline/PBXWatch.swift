import CallEngine
import Protocols

/// What a pipeline knows of a PBX beside its calls.
struct PBXWatch {
    /// A call of an earlier run, and when it was last known to live.
    struct Unseen {
        var key: CallKey
        var lastSeen: Timestamp
    }

    var clock = PBXClock()
    /// Calls that an earlier run left open and that nothing has told of in this run, by the hash of their key.
    var unseen: [UInt64: Unseen] = [:]
    /// When an earlier run heard the PBX last; `nil` when there was none, or once that gap is closed.
    var earlier: PBXSighting?
    /// When the PBX started, as it said last.
    var startedAt: Timestamp?
    /// Calls that the running comparison listed, by the hash of their key.
    var listed: Set<UInt64> = []
    /// Of them the ones that nobody knew before.
    var found = 0
    /// Grows with each comparison and each loss, so that an earlier one's end is known as stale.
    var number = 0
    /// The comparison whose end waits for events that are on their way.
    var waiting: ARIComparisonFacts?
    /// A comparison that never came to its end; its gap is part of the next one.
    var owed: ARIComparisonFacts?
}
