package import CallEngine
import Protocols

/// Rows read back, as the engine has them.
extension CallDetails {
    /// What was derived from the legs of a call, as it was stored; words that this version does not know are left out.
    package init(_ call: StoredCall, _ parts: StoredParts) {
        var facts = CallFacts()
        facts.outcome = CallOutcome.allCases.first { $0.name.description == call.outcome ?? "" } ?? .none
        facts.rule = OutcomeRule.allCases.first { $0.name.description == call.facts.outcomeRule } ?? .none
        facts.hungUpBy =
            HungUpBy.allCases.first { $0.name.description == call.facts.hungUpBy ?? "" } ?? .nobody
        facts.cause = UInt16(clamping: call.hangupCause ?? 0)
        facts.sipCode = UInt16(clamping: call.facts.sipCode ?? 0)
        facts.ringStartedAt = call.facts.ringStartedAt
        facts.talkStartedAt = call.facts.talkStartedAt
        facts.waitMicroseconds = call.facts.wait ?? 0
        facts.ringMicroseconds = call.facts.ring ?? 0
        facts.talkMicroseconds = call.facts.talk ?? 0
        facts.holdMicroseconds = call.facts.hold ?? 0
        facts.postDialDelayMicroseconds = call.facts.postDial
        facts.answeredBy = InlineText(call.facts.answeredBy)
        facts.operatorNumber = InlineText(call.facts.operatorNumber)
        facts.transferredBy = InlineText(call.facts.transferredBy)
        facts.transferredTo = InlineText(call.facts.transferredTo)
        facts.queue = InlineText(call.facts.queue)
        facts.attemptCount = UInt32(clamping: call.facts.attempts ?? 0)
        facts.mergedInto = InlineText(call.facts.mergedInto)
        facts.isIncomplete = call.facts.isIncomplete
        var attempts: [Int32] = []
        let segments = parts.segments.map { stored in
            var segment = CallSegment(stored)
            let first = Int32(attempts.count)
            for (index, leg) in parts.legs.enumerated() where leg.segment == stored.number {
                attempts.append(Int32(index))
            }
            segment.attempts = first..<Int32(attempts.count)
            return segment
        }
        self.init(
            facts: facts, legs: parts.legs.map { LegRecord($0) }, segments: segments, attempts: attempts)
    }
}

extension LegRecord {
    fileprivate init(_ leg: StoredLeg) {
        self.init(channelID: InlineText(leg.channelID), startedAt: leg.startedAt)
        name = InlineText(leg.name)
        number = InlineText(leg.endNumber)
        roles = LegRoles(name: leg.role)
        result = LegResult.allCases.first { $0.name.description == leg.result ?? "" } ?? .none
        evidence = LegEvidence.allCases.first { $0.name.description == leg.evidence ?? "" } ?? .none
        dialedBy = InlineText(leg.dialedBy)
        cameFrom = InlineText(leg.cameFrom)
        dialedAt = leg.dialedAt
        ringingAt = leg.ringingAt
        answeredAt = leg.answeredAt
        talkStartedAt = leg.talkStartedAt
        endedAt = leg.endedAt
        talkMicroseconds = leg.talk
        holdMicroseconds = leg.hold
        cause = UInt16(clamping: leg.cause ?? 0)
        sipCode = UInt16(clamping: leg.sipCode ?? 0)
        isEndEstimated = leg.endedEstimated
    }
}

extension CallSegment {
    fileprivate init(_ stored: StoredSegment) {
        let kind = SegmentKind.allCases.first { $0.name.description == stored.kind } ?? .talk
        self.init(kind, name: InlineText(stored.name), from: stored.startedAt, to: stored.endedAt)
        result = LegResult.allCases.first { $0.name.description == stored.result ?? "" } ?? .none
        by = InlineText(stored.by)
        transfer = TransferKind.allCases.first { $0.name.description == stored.transfer ?? "" } ?? .none
    }
}

extension InlineText {
    /// The text, cut if it is longer than the room; `nil` is empty.
    init(_ text: String?) {
        self.init()
        guard var text else { return }
        _ = text.withUTF8 { assign(UnsafeRawBufferPointer($0)) }
    }
}
