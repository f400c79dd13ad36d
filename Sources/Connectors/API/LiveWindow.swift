import CallEngine
import Protocols

/// The newest active calls, and how they differ from those of the last look.
struct LiveWindow {
    /// A call that is over.
    struct Ended: Equatable {
        var callID: String
        var status: String
        var endedAt: Timestamp?
    }

    /// The difference between two looks.
    struct Change {
        /// New in the window, or changed there; newest first.
        var changed: [CallRecord] = []
        var ended: [Ended] = []
        /// Ids of calls that live on, pushed out of the window by newer ones.
        var left: [String] = []
        var countersMoved = false

        var isEmpty: Bool { changed.isEmpty && ended.isEmpty && left.isEmpty && !countersMoved }
    }

    /// The newest active calls, newest first.
    private(set) var calls: [CallRecord] = []
    /// All active calls, in the window or not.
    private(set) var active = 0
    private(set) var ringing = 0
    private(set) var answered = 0

    /// Looks at the calls again.
    ///
    /// O(live calls), and no more than twice `limit` records are kept meanwhile.
    mutating func refresh(_ environment: any APIEnvironment, limit: Int) -> Change {
        var newest: [CallRecord] = []
        newest.reserveCapacity(limit * 2)
        var ringing = 0
        var answered = 0
        // Below this start nothing can be among the newest any more.
        var horizon = Timestamp(microseconds: .min)
        environment.forEachLiveCall { record in
            switch record.status {
            case .ringing: ringing += 1
            case .answered: answered += 1
            case .finished, .error: return true
            }
            guard record.startedAt >= horizon else { return true }
            newest.append(record)
            if newest.count == limit * 2 {
                newest.sort(by: Self.isBefore)
                newest.removeLast(limit)
                horizon = newest[limit - 1].startedAt
            }
            return true
        }
        newest.sort(by: Self.isBefore)
        if newest.count > limit { newest.removeLast(newest.count - limit) }

        var change = difference(to: newest, environment)
        let active = ringing + answered
        change.countersMoved = (active, ringing, answered) != (self.active, self.ringing, self.answered)
        calls = newest
        self.active = active
        self.ringing = ringing
        self.answered = answered
        return change
    }

    private func difference(to newest: [CallRecord], _ environment: any APIEnvironment) -> Change {
        var change = Change()
        var before: [CallUUID: CallRecord] = [:]
        before.reserveCapacity(calls.count)
        for record in calls { before[record.id] = record }
        for record in newest {
            if let old = before.removeValue(forKey: record.id), Self.looksSame(old, record) { continue }
            change.changed.append(record)
        }
        for old in calls where before[old.id] != nil {
            let callID = old.callID.string
            let now = environment.liveCall(callID: callID).flatMap { $0.id == old.id ? $0 : nil }
            if let now, now.isActive {
                change.left.append(callID)
            } else {
                // Not found any more: finished, its record already given up.
                let status = now?.status.name.description ?? CallStatus.finished.name.description
                change.ended.append(Ended(callID: callID, status: status, endedAt: now?.endedAt))
            }
        }
        return change
    }

    private static func looksSame(_ left: CallRecord, _ right: CallRecord) -> Bool {
        left.updatedAt == right.updatedAt && left.status == right.status && left.openLegs == right.openLegs
            && left.direction == right.direction && left.answeredAt == right.answeredAt
            && left.callerNumber.count == right.callerNumber.count
            && left.calleeNumber.count == right.calleeNumber.count
    }

    private static func isBefore(_ left: CallRecord, _ right: CallRecord) -> Bool {
        if left.startedAt != right.startedAt { return left.startedAt > right.startedAt }
        return (left.id.high, left.id.low) > (right.id.high, right.id.low)
    }
}
