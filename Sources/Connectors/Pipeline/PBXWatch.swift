import CallEngine
import Protocols

/// What a pipeline knows of a PBX beside its calls, and what follows from not having heard it for a time.
///
/// A value without socket, timer or clock, so that a simulation runs the very code that the daemon runs.
struct PBXWatch {
    /// A call of an earlier run, and when it was last known to live.
    struct Unseen {
        var key: CallKey
        var lastSeen: Timestamp
    }

    /// What a comparison came to.
    struct Finding {
        /// PBX time of the last sign of life before; `nil`: nobody had read the PBX before, so that nothing was missed.
        var from: Timestamp?
        /// PBX time of the comparison.
        var to: Timestamp
        /// Calls that were open before and were gone after.
        var ended = 0
        /// Calls that nobody knew before.
        var found = 0
        /// Calls that lived through it.
        var kept = 0
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
    /// What its events told of its clock until the connection was lost; `nil` once that gap is closed.
    var clockAtLoss: PBXClock?
    /// A comparison that never came to its end; its gap is part of the next one.
    var owed: ARIComparisonFacts?

    // MARK: An earlier run

    /// Takes over what an earlier run left open, before the PBX is read.
    ///
    /// - Parameters:
    ///   - calls: Rows that have not ended.
    ///   - events: What was stored of them.
    ///   - sighting: When that run heard the PBX last; `nil` when nobody wrote it down.
    mutating func adopt(
        _ calls: [StoredCall], events: [StoredEvent] = [], sighting: PBXSighting?, hasher: TextHash
    ) {
        earlier = sighting ?? Self.guess(calls, events)
        for call in calls {
            let key = Array(call.callID.utf8).withUnsafeBytes { CallKey($0, hasher) }
            let known = [earlier?.seenAt, call.startedAt, call.answeredAt].compactMap { $0 }.max()
            unseen[key.hash] = Unseen(key: key, lastSeen: known ?? call.insertedAt)
        }
    }

    /// When a run that was killed before it wrote that down had heard the PBX: what it stored proves that it did.
    ///
    /// - Returns: `nil` without rows that name a PBX; the daemon before this one, which heals no gaps, named none.
    private static func guess(_ calls: [StoredCall], _ events: [StoredEvent]) -> PBXSighting? {
        let named = calls.filter { $0.pbx?.isEmpty == false }
        guard let pbx = named.first?.pbx else { return nil }
        let moments = named.flatMap { [$0.startedAt, $0.answeredAt] } + events.map { $0.occurredAt }
        guard let newest = moments.compactMap({ $0 }).max() else { return nil }
        return PBXSighting(pbx: pbx, seenAt: newest - margin, startedAt: nil)
    }

    /// A call of an earlier run lives on, or its end was seen.
    mutating func noteSeen(_ placement: Placement) {
        if placement.openLegs > 0 || placement.hasEnded { unseen[placement.key.hash] = nil }
        if let merged = placement.mergedCall { unseen[merged.hash] = nil }
    }

    /// What a later run may rely on: that nothing was missed until now.
    ///
    /// - Parameter heardAt: Our clock at the last sign of life.
    /// - Returns: `nil` while a comparison is owed, or waits for its end: what it will find is not known yet.
    func sighting(of name: String, heardAt: Timestamp) -> PBXSighting? {
        guard waiting == nil, owed == nil else { return nil }
        return PBXSighting(pbx: name, seenAt: seen(heardAt, clock), startedAt: startedAt)
    }

    /// The PBX's time up to which everything was told of that had happened when it was last heard.
    ///
    /// What had happened by the newest event is told. Behind that only pings prove that the PBX is there, and it answers
    /// those at once however far it is behind with its events, so that much is taken off.
    private func seen(_ heardAt: Timestamp, _ events: PBXClock) -> Timestamp {
        let pinged = clock.pbxTime(of: heardAt) - Self.margin - events.lag * 2
        return max(pinged, (events.newest ?? pinged) - Self.disorder)
    }

    /// How far a PBX may be behind with its events when the newest one showed nothing of it.
    static let margin: Duration = .seconds(1)
    /// How far stamps run backwards (measured: 58 ms).
    static let disorder: Duration = .milliseconds(100)

    // MARK: A comparison

    /// The PBX begins to tell what runs.
    ///
    /// - Returns: PBX time until which nothing was missed; `nil` when nobody had read the PBX before.
    mutating func comparisonBegan(_ facts: ARIComparisonFacts) -> Timestamp? {
        if let stamp = facts.clock, let readAt = facts.clockReadAt {
            clock.noteAnswer(stamp, receivedAt: readAt)
        }
        defer {
            listed = []
            found = 0
            number += 1
        }
        return lastSeen(before: owed?.lastHeardAt == nil ? facts : owed ?? facts)
    }

    private func lastSeen(before facts: ARIComparisonFacts) -> Timestamp? {
        facts.lastHeardAt.map { seen($0, clockAtLoss ?? clock) } ?? earlier?.seenAt
            ?? clockAtLoss?.newest.map { $0 - Self.disorder }
    }

    /// A channel of the list was placed.
    ///
    /// - Parameter wasUnseen: Calls that nothing had told of before it.
    mutating func noteListed(_ placement: Placement, wasUnseen: Int) {
        guard placement.isTracked else { return }
        let isNew = listed.insert(placement.key.hash).inserted
        let isAdopted = unseen.count < wasUnseen
        if isNew, !isAdopted, placement.isLegNew, placement.openLegs == 1 { found += 1 }
    }

    /// All that runs was told; what it lacks may still end by an event that is on its way.
    ///
    /// - Parameters:
    ///   - facts: As the PBX answered; its lists are not looked at.
    ///   - patience: How long ends are waited for when the PBX keeps up.
    /// - Returns: What the gap is written down with, and how long to wait before `finish`; more when the PBX is behind.
    mutating func comparisonEnded(
        _ told: ARIComparisonFacts, patience: Duration
    ) -> (facts: ARIComparisonFacts, grace: Duration) {
        var facts = told
        (facts.channels, facts.bridges) = ([], [])
        // A first connection with no run before it owes nothing.
        if let owed, owed.lastHeardAt != nil || earlier != nil {
            facts.lastHeardAt = owed.lastHeardAt
            facts.reason = owed.reason
        }
        let known = startedAt ?? earlier?.startedAt
        facts.isRestart = known != nil && facts.startedAt != nil && known != facts.startedAt
        if owed?.isRestart == true { facts.isRestart = true }
        startedAt = facts.startedAt ?? startedAt
        owed = nil
        waiting = facts
        return (facts, grace(patience))
    }

    /// How long an event that is on its way is waited for, when the PBX keeps up for `patience`.
    func grace(_ patience: Duration) -> Duration { min(patience + clock.lag * 2, patience * 10) }

    /// The connection is gone; a comparison that has not come to its end proves nothing.
    mutating func connectionLost() {
        number += 1
        if clockAtLoss == nil { clockAtLoss = clock }
        if let waiting { owed = waiting }
        waiting = nil
    }

    /// Ends what the list did not have and no event told of, and says what the gap came to.
    ///
    /// - Parameters:
    ///   - now: Our time.
    ///   - ticks: Monotonic nanoseconds.
    mutating func finish(
        _ facts: ARIComparisonFacts, of pbx: UInt16, in graph: inout CallGraph, now: Timestamp, ticks: UInt64
    ) -> Finding {
        let before = lastSeen(before: facts)
        let to = clock.pbxTime(of: now)
        let from = min(before ?? to, to)
        var finding = Finding(from: before == nil ? nil : from, to: to)
        graph.finishReconcile(pbx: pbx, at: from, updatedAt: now, now: ticks) { _ in finding.ended += 1 }
        for unseen in unseen.values {
            let isEnded = graph.endUnseen(
                unseen.key, pbx: pbx, at: min(unseen.lastSeen, to), updatedAt: now, now: ticks)
            // One whose legs were known was counted above.
            if isEnded { finding.ended += 1 }
        }
        (finding.found, finding.kept) = (found, listed.count - found)
        (earlier, unseen, listed, waiting, clockAtLoss) = (nil, [:], [], nil, nil)
        return finding
    }
}
