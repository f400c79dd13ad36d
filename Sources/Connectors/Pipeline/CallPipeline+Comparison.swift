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
    ///   - events: What was stored of them; played by `replay`.
    ///   - sighting: When that run heard the PBX last; `nil` when nobody wrote it down.
    package func adopt(
        _ calls: [StoredCall], events: [StoredEvent] = [], sighting: PBXSighting?, pbx: UInt16
    ) {
        watch(pbx) { $0.adopt(calls, events: events, sighting: sighting, hasher: shared.hasher) }
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
    package func comparisonBegan(_ facts: ARIComparisonFacts, pbx: UInt16) {
        var lastSeen: Timestamp?
        watch(pbx) { lastSeen = $0.comparisonBegan(facts) }
        graph.beginReconcile(pbx: pbx, lastSeen: lastSeen)
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
            watches[Int(pbx)].noteListed(placement, wasUnseen: wasUnseen)
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
        let (facts, grace) = watches[Int(pbx)].comparisonEnded(facts, patience: comparisonGrace)
        let number = watches[Int(pbx)].number
        loop.schedule(after: grace) { [weak self] in
            guard let self, watches[Int(pbx)].number == number else { return }
            finishComparison(facts, pbx: pbx, name: name)
        }
    }

    /// Whether the PBX is to be asked once more which channels are there: of some only its list told.
    package func needsConfirmation(pbx: UInt16) -> Bool { graph.hasUnconfirmed(pbx: pbx) }

    /// Which channels are there, some time after a comparison; see ``CallGraph/unconfirmed(pbx:without:)``.
    package func confirmed(channels: [[UInt8]], pbx: UInt16, name: String) {
        let gone = graph.unconfirmed(pbx: pbx, without: channels)
        let number = watches[Int(pbx)].number
        loop.schedule(after: watches[Int(pbx)].grace(comparisonGrace)) { [weak self] in
            guard let self, watches[Int(pbx)].number == number else { return }
            endUnconfirmed(gone, pbx: pbx, name: name)
        }
    }

    private func endUnconfirmed(_ gone: [ChannelKey], pbx: UInt16, name: String) {
        let now = WallClock.now()
        var ended = 0
        graph.endUnconfirmed(
            gone, pbx: pbx, at: watches[Int(pbx)].clock.pbxTime(of: now), updatedAt: now,
            now: loop.now.nanoseconds
        ) { _ in ended += 1 }
        guard ended > 0 else { return }
        shared.metrics.add(.gapCallsEnded, ended)
        logger.warning(
            "the PBX listed channels that were gone; their calls ended while it was not heard",
            metadata: ["pbx": "\(name)", "ended": "\(ended)"])
    }

    /// The connection to the PBX is gone; a comparison that has not come to its end proves nothing.
    package func connectionLost(pbx: UInt16) {
        watch(pbx) { $0.connectionLost() }
        graph.noteGap(pbx: pbx)
    }

    private func finishComparison(_ facts: ARIComparisonFacts, pbx: UInt16, name: String) {
        let now = WallClock.now()
        let found = watches[Int(pbx)].finish(
            facts, of: pbx, in: &graph, now: now, ticks: loop.now.nanoseconds)
        if let from = found.from {
            let gap = StoredGap(
                id: CallUUID(random: SystemRandomNumberGenerator.bits(), SystemRandomNumberGenerator.bits()),
                pbx: name, from: from, to: found.to, reason: Self.reason(facts).rawValue,
                detail: Self.detail(facts), callsEnded: found.ended, callsFound: found.found,
                callsKept: found.kept, insertedAt: now)
            commit.append(note: .gap(gap))
            note(gap)
        }
        noteSighting(pbx: pbx, name: name, heardAt: now)
    }

    /// Writes down that the PBX is heard, so that a later run knows until when nothing was missed.
    ///
    /// - Parameter heardAt: Our clock at the last sign of life.
    package func noteSighting(pbx: UInt16, name: String, heardAt: Timestamp) {
        // While only a list told of a channel, it is not known whether its end was missed before.
        guard let sighting = watches[Int(pbx)].sighting(of: name, heardAt: heardAt),
            !graph.hasUnconfirmed(pbx: pbx)
        else { return }
        commit.append(note: .sighting(sighting))
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
            _ = graph.adopt(
                record, key: key, longTexts: texts, facts: call.derivedFacts, isRegistered: isRegistered)
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
