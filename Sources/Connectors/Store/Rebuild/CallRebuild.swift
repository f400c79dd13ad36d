import CallEngine
package import Protocols
import Reactor

/// Derives stored calls again from their stored events, and puts right what differs; blocking.
///
/// Calls are those whose rows were made within the range. Events of before are read too, since a call that was open at its
/// begin may be part of one of these: from the begin of the oldest such call on, `maximumMargin` at most. Events behind
/// the range are read to the last change of its calls, as far at most.
///
/// What the events do not tell is left alone: of a call that lived through a time in which its PBX was not heard the row
/// knows more, from the PBX's lists. Bitrix24 is told nothing.
package struct CallRebuild {
    /// How far outside the range events are read.
    package static let maximumMargin: Duration = .seconds(86_400)
    /// Calls compared, and put right, in one go; one transaction.
    static let chunk = 500

    /// What was found and done.
    package struct Report: Sendable, Hashable {
        /// Where events were read from and to.
        package var readFrom = Timestamp(microseconds: 0)
        package var readTo = Timestamp(microseconds: 0)
        package var events = 0
        /// Events that are none, such as those that a person made up.
        package var unreadableEvents = 0
        /// Rows made within the range.
        package var rows = 0
        /// Of these the ones that events tell of.
        package var compared = 0
        package var same = 0
        package var different = 0
        /// Rows that had nothing derived before.
        package var first = 0
        /// Calls without a row.
        package var missing = 0
        package var written = 0
        /// Differences that were left, by reason.
        package var kept: [CallDifference.Kept: Int] = [:]
        /// Calls that were not followed for want of room.
        package var refused = 0
    }

    private let store: any RebuildStore
    private let settings: ReplaySettings
    private var pbxNames: [String]
    private let range: Range<Timestamp>
    private let isDry: Bool
    private var gaps: [StoredGap] = []
    private var report = Report()

    /// - Throws: The database is away, or its tables are of an older version.
    package init(
        location: StoreLocation, settings: StoreSettings, replay: ReplaySettings, range: Range<Timestamp>,
        isDry: Bool
    ) throws(StoreError) {
        switch location {
        case .sqlite(let path): store = try SQLiteRebuildStore(path: path, settings: settings)
        case .postgres(let location): store = try PostgresRebuildStore(location, settings: settings)
        }
        self.settings = replay
        pbxNames = settings.pbxNames
        self.range = range
        self.isDry = isDry
    }

    /// Compares, and writes unless it is dry.
    ///
    /// - Parameters:
    ///   - difference: Told of each call that differs, once what is to be written of it is.
    ///   - progress: Told now and then how far it is.
    package mutating func run(
        difference: (CallDifference) -> Void, progress: (Report, Timestamp) -> Void
    ) throws(StoreError) -> Report {
        try chooseEvents()
        gaps = try store.gaps(notedFrom: report.readFrom)
        var replay = CallReplay(
            subscription: settings.subscriptions.first ?? .allChannels, grouping: settings.grouping,
            prefixes: settings.prefixes)
        var ready: [CallReplay.Call] = []
        var failure: StoreError?
        try store.events(in: report.readFrom..<report.readTo) { event in
            guard failure == nil else { return }
            report.events += 1
            do throws(JSONError) {
                try replay.take(event.payload, pbx: index(of: event.pbx), receivedAt: event.insertedAt)
            } catch {
                report.unreadableEvents += 1
            }
            replay.giveOut { ready.append($0) }
            if ready.count >= Self.chunk {
                do throws(StoreError) {
                    try compare(ready, difference)
                } catch {
                    failure = error
                }
                ready.removeAll()
                progress(report, event.insertedAt)
            }
        }
        if let failure { throw failure }
        try endInferred(&replay)
        replay.finish { ready.append($0) }
        while !ready.isEmpty {
            try compare(Array(ready.prefix(Self.chunk)), difference)
            ready.removeFirst(min(Self.chunk, ready.count))
        }
        report.refused = replay.refusedCount
        return report
    }

    private mutating func chooseEvents() throws(StoreError) {
        let linger = Duration.nanoseconds(Int64(CallGraph.linger))
        let before = (range.lowerBound - Self.maximumMargin)..<range.lowerBound
        let first = try store.earliestOpen(in: before) ?? range.lowerBound
        let last = try store.latestChange(in: range) ?? range.upperBound
        // Rows of whole seconds were cut, and clocks may have been set back a little.
        report.readFrom = first - linger
        report.readTo = max(range.upperBound, min(last, range.upperBound + Self.maximumMargin) + linger)
        report.rows = try store.callCount(in: range)
    }

    private mutating func index(of pbx: String?) -> UInt16 {
        guard let pbx else { return 0 }
        if let known = pbxNames.firstIndex(of: pbx) { return UInt16(clamping: known) }
        pbxNames.append(pbx)
        return UInt16(clamping: pbxNames.count - 1)
    }

    /// Calls that are still open by their events, and whose end was inferred when it happened.
    private func endInferred(_ replay: inout CallReplay) throws(StoreError) {
        var open: [(id: String, pbx: UInt16)] = []
        replay.forEachOpenCall { open.append(($0.callID, $0.record.pbx)) }
        var start = 0
        while start < open.count {
            let part = open[start..<min(start + Self.chunk, open.count)]
            let rows = Dictionary(
                try store.calls(part.map(\.id)).map { ($0.call.callID, $0.call) }, uniquingKeysWith: { $1 })
            for call in part {
                guard let row = rows[RebuildSQL.key(call.id)], row.endedEstimated, let ended = row.endedAt
                else {
                    continue
                }
                replay.endEstimated(call.id, pbx: call.pbx, at: ended)
            }
            start += Self.chunk
        }
    }

    // MARK: Comparing

    private mutating func compare(
        _ calls: [CallReplay.Call], _ tell: (CallDifference) -> Void
    ) throws(StoreError) {
        let rows = Dictionary(
            try store.calls(calls.map(\.callID)).map { ($0.call.callID, $0) }, uniquingKeysWith: { $1 })
        var differences: [CallDifference] = []
        var corrections: [RebuildCorrection] = []
        let now = WallClock.now()
        for call in calls {
            let row = rows[RebuildSQL.key(call.callID)]
            guard range.contains(row?.call.insertedAt ?? call.record.insertedAt) else { continue }
            report.compared += row == nil ? 0 : 1
            guard var difference = CallDifference(call, row, inSeconds: store.callsInSeconds) else {
                report.same += 1
                continue
            }
            difference.kept = reasonToKeep(call, row?.call, now)
            differences.append(difference)
            if difference.kept == nil {
                var call = call
                // What only the row can know.
                if let row = row?.call {
                    if row.endedEstimated { call.record.flags.insert(.estimatedEnd) }
                    if row.facts.isPartial { call.record.flags.insert(.partial) }
                }
                corrections.append(
                    RebuildCorrection(
                        call: call, seen: row?.call.updatedAt, at: max(now, row?.call.updatedAt ?? now)))
            }
        }
        if !isDry, !corrections.isEmpty {
            let written = try store.write(corrections)
            report.written += written.count
            for index in differences.indices where differences[index].kept == nil {
                if !written.contains(differences[index].callID) { differences[index].kept = .changing }
            }
        }
        for difference in differences {
            report.different += 1
            if difference.isMissing { report.missing += 1 }
            if difference.isFirst { report.first += 1 }
            if let kept = difference.kept { report.kept[kept, default: 0] += 1 }
            tell(difference)
        }
    }

    private func reasonToKeep(
        _ call: CallReplay.Call, _ row: StoredCall?, _ now: Timestamp
    ) -> CallDifference.Kept? {
        let isOver = call.record.status == .finished
        if !isOver { return row?.endedAt == nil ? .changing : .noEnd }
        if row?.facts.isPartial == true { return .partial }
        let end = call.record.endedAt ?? now
        let pbx = row?.pbx ?? pbxNames.first
        let isInGap = gaps.contains { gap in
            gap.pbx == pbx && gap.from <= end && gap.to >= call.record.startedAt
        }
        return isInGap ? .partial : nil
    }
}
