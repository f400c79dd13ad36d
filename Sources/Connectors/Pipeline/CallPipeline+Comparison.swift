package import CallEngine
import Logging
package import Protocols
import Reactor

/// After a time in which a PBX was not heard: which calls live on, which ended, which began.
extension CallPipeline {
    /// Takes over what an earlier run left open, before the PBX is read.
    ///
    /// - Parameters:
    ///   - calls: Rows that have not ended.
    ///   - sighting: When that run heard the PBX last; `nil` when nobody wrote it down.
    package func adopt(_ calls: [StoredCall], sighting: PBXSighting?, pbx: UInt16) {
        watch(pbx) { watch in
            watch.earlier = sighting
            for call in calls {
                let key = Array(call.callID.utf8).withUnsafeBytes { CallKey($0, shared.hasher) }
                let known = [sighting?.seenAt, call.startedAt, call.answeredAt].compactMap { $0 }.max()
                watch.unseen[key.hash] = PBXWatch.Unseen(key: key, lastSeen: known ?? call.insertedAt)
            }
        }
        takeOver(calls, pbx: pbx)
    }

    /// Plays what an earlier run stored of the calls that were taken over, so that their legs are known again; nothing of it
    /// is written anew but what the calls have come to.
    ///
    /// - Parameter events: In the order of their receipt.
    package func replay(_ events: [StoredEvent], pbx: UInt16, subscription: CallGraph.Subscription) {
        for stored in events {
            guard let payload = stored.payload else { continue }
            var event = ARIEvent()
            // An event that was made up by a person need not be one.
            guard (try? reader.read(payload.span.bytes, into: &event)) != nil else { continue }
            payload.withUnsafeBytes { replay(event, $0, stored.insertedAt, pbx, subscription) }
        }
        graph.endReplay()
    }

    /// The PBX begins to tell what runs.
    package func comparisonBegan(pbx: UInt16) {
        graph.beginReconcile(pbx: pbx)
        watch(pbx) { watch in
            watch.listed = []
            watch.found = 0
            watch.number += 1
        }
    }

    /// One channel that is there, as the text of a `ChannelSnapshot` event.
    package func listed(_ payload: RawSpan, pbx: UInt16, subscription: CallGraph.Subscription) {
        let receivedAt = WallClock.now()
        var event = ARIEvent()
        do throws(JSONError) {
            try reader.read(payload, into: &event)
        } catch {
            return invalid(error, bytes: payload.byteCount)
        }
        event.timestamp = watches[Int(pbx)].clock.pbxTime(of: receivedAt)
        payload.withUnsafeBytes { bytes in
            let wasUnseen = watches[Int(pbx)].unseen.count
            let placement = place(event, bytes, pbx, subscription, receivedAt)
            guard placement.isTracked else { return }
            let isNew = watches[Int(pbx)].listed.insert(placement.key.hash).inserted
            let isAdopted = watches[Int(pbx)].unseen.count < wasUnseen
            if isNew, !isAdopted, placement.isLegNew, placement.openLegs == 1 {
                watches[Int(pbx)].found += 1
            }
        }
    }

    /// All that runs was told: what was not told of is over, or its end is still on its way.
    ///
    /// The answer to a request overtakes events that the PBX has yet to send, so what is missing in the list gets
    /// `comparisonGrace`, and more when the PBX is behind, to end by an event, with its time and cause. Then the rest is
    /// ended and the gap is written down.
    ///
    /// - Parameter name: What the PBX is called.
    package func comparisonEnded(_ facts: ARIComparisonFacts, pbx: UInt16, name: String) {
        var facts = facts
        (facts.channels, facts.bridges) = ([], [])
        watch(pbx) { watch in
            // A first connection with no run before it owes nothing.
            if let owed = watch.owed, owed.lastHeardAt != nil || watch.earlier != nil {
                facts.lastHeardAt = owed.lastHeardAt
                facts.reason = owed.reason
            }
            let known = watch.startedAt ?? watch.earlier?.startedAt
            facts.isRestart = known != nil && facts.startedAt != nil && known != facts.startedAt
            if watch.owed?.isRestart == true { facts.isRestart = true }
            watch.startedAt = facts.startedAt ?? watch.startedAt
            watch.owed = nil
            watch.waiting = facts
        }
        let number = watches[Int(pbx)].number
        let grace = min(comparisonGrace + watches[Int(pbx)].clock.lag * 2, comparisonGrace * 10)
        loop.schedule(after: grace) { [weak self] in
            guard let self, watches[Int(pbx)].number == number else { return }
            finishComparison(facts, pbx: pbx, name: name)
        }
    }

    /// The connection to the PBX is gone; a comparison that has not come to its end proves nothing.
    package func connectionLost(pbx: UInt16) {
        watch(pbx) { watch in
            watch.number += 1
            if let facts = watch.waiting { watch.owed = facts }
            watch.waiting = nil
        }
    }

    private func finishComparison(_ facts: ARIComparisonFacts, pbx: UInt16, name: String) {
        let now = WallClock.now()
        var watch = watches[Int(pbx)]
        let before = facts.lastHeardAt.map { watch.clock.pbxTime(of: $0) } ?? watch.earlier?.seenAt
        let to = watch.clock.pbxTime(of: now)
        let from = min(before ?? to, to)
        var ended = 0
        let ticks = loop.now.nanoseconds
        graph.finishReconcile(pbx: pbx, at: from, updatedAt: now, now: ticks) { _ in ended += 1 }
        for unseen in watch.unseen.values {
            let isEnded = graph.endUnseen(
                unseen.key, pbx: pbx, at: min(unseen.lastSeen, to), updatedAt: now, now: ticks)
            // One whose legs were known was counted above.
            if isEnded { ended += 1 }
        }

        if before != nil {
            graph.notePartial(pbx: pbx)
            let gap = StoredGap(
                id: CallUUID(random: SystemRandomNumberGenerator.bits(), SystemRandomNumberGenerator.bits()),
                pbx: name, from: from, to: to,
                reason: Self.reason(facts).rawValue, detail: Self.detail(facts),
                callsEnded: ended, callsFound: watch.found,
                callsKept: watch.listed.count - watch.found, insertedAt: now)
            commit.append(note: .gap(gap))
            note(gap)
        }
        (watch.earlier, watch.unseen, watch.listed, watch.waiting) = (nil, [:], [], nil)
        watches[Int(pbx)] = watch
        noteSighting(pbx: pbx, name: name, heardAt: now)
    }

    /// Writes down that the PBX is heard, so that a later run knows until when nothing was missed.
    ///
    /// - Parameter heardAt: Our clock at the last sign of life.
    package func noteSighting(pbx: UInt16, name: String, heardAt: Timestamp) {
        watch(pbx) { watch in
            commit.append(
                note: .sighting(
                    PBXSighting(
                        pbx: name, seenAt: watch.clock.pbxTime(of: heardAt), startedAt: watch.startedAt)))
        }
    }

    /// The PBX's clock minus ours, in milliseconds.
    package func clockOffset(ofPBX pbx: UInt16) -> Int {
        Int(pbx) < watches.count ? Int(watches[Int(pbx)].clock.offset.wholeMilliseconds) : 0
    }

    private static func reason(_ facts: ARIComparisonFacts) -> GapReason {
        if facts.isRestart { return .restart }
        return facts.lastHeardAt == nil ? .daemon : .connection
    }

    private static func detail(_ facts: ARIComparisonFacts) -> String {
        let reason = facts.reason ?? "the daemon did not run"
        guard facts.isRestart, let startedAt = facts.startedAt else { return reason }
        return "the PBX started anew at \(startedAt.formatted(.milliseconds)); \(reason)"
    }

    private func note(_ gap: StoredGap) {
        shared.gaps.note(gap)
        shared.metrics.add(.gaps)
        shared.metrics.add(.gapCallsEnded, gap.callsEnded)
        shared.metrics.add(.gapCallsFound, gap.callsFound)
        let length = gap.to - gap.from
        shared.metrics.add(.gapMilliseconds, Int(length.wholeMilliseconds))
        logger.log(
            level: gap.callsEnded > 0 || gap.callsFound > 0 ? .warning : .info,
            "the PBX was not heard for \(length.wholeMilliseconds) ms; its calls were compared",
            metadata: [
                "pbx": "\(gap.pbx)", "from": "\(gap.from.formatted(.milliseconds))",
                "reason": "\(gap.reason)", "ended": "\(gap.callsEnded)", "found": "\(gap.callsFound)",
                "lived_on": "\(gap.callsKept)",
            ])
    }

    private func takeOver(_ calls: [StoredCall], pbx: UInt16) {
        for call in calls {
            let (record, texts) = call.asRecord(pbx: pbx, hasher: shared.hasher)
            let key = Array(call.callID.utf8).withUnsafeBytes { CallKey($0, shared.hasher) }
            let isRegistered = call.bitrixCallID != nil
            _ = graph.adopt(record, key: key, longTexts: texts, isRegistered: isRegistered)
        }
    }

    func watch(_ pbx: UInt16, _ body: (inout PBXWatch) -> Void) {
        while watches.count <= Int(pbx) { watches.append(PBXWatch()) }
        body(&watches[Int(pbx)])
    }
}

extension SystemRandomNumberGenerator {
    fileprivate static func bits() -> UInt64 {
        var generator = SystemRandomNumberGenerator()
        return generator.next()
    }
}

extension StoredCall {
    /// The row as the engine keeps calls, and the texts that are too long for it.
    func asRecord(pbx: UInt16, hasher: TextHash) -> (CallRecord, CallGraph.LongTexts?) {
        var record = CallRecord(id: id, startedAt: startedAt ?? insertedAt, insertedAt: insertedAt)
        record.answeredAt = answeredAt
        record.updatedAt = updatedAt
        record.pbx = pbx
        record.direction = CallDirection.allCases.first { $0.name.description == direction } ?? .unknown
        record.status = CallStatus.allCases.first { $0.name.description == status } ?? .ringing
        record.endedAt = endedAt
        record.outcome = CallOutcome.allCases.first { $0.name.description == outcome ?? "" } ?? .none
        record.hangupCause = UInt16(clamping: hangupCause ?? 0)
        if endedEstimated { record.flags.insert(.estimatedEnd) }
        if facts.isPartial { record.flags.insert(.partial) }
        if facts.mergedInto != nil { record.flags.insert(.merged) }
        var texts = CallGraph.LongTexts()
        var isLong = false
        let key = Array(callID.utf8).withUnsafeBytes { CallKey($0, hasher) }
        record.callID = key.text
        if key.isFolded {
            texts.callID = callID
            isLong = true
        }
        if let number = callerNumber, !record.callerNumber.assign(number) {
            texts.callerNumber = number
            isLong = true
        }
        if let number = calleeNumber, !record.calleeNumber.assign(number) {
            texts.calleeNumber = number
            isLong = true
        }
        if isLong { record.flags.insert(.longTexts) }
        return (record, isLong ? texts : nil)
    }
}

extension InlineText {
    fileprivate mutating func assign(_ text: String) -> Bool {
        var text = text
        return text.withUTF8 { assign(UnsafeRawBufferPointer($0)) }
    }
}
