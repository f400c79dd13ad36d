import CallEngine
import Protocols

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

    /// What the row says that was derived from the legs, as far as it stands without them.
    var derivedFacts: CallFacts {
        var told = CallFacts()
        told.rule = OutcomeRule.allCases.first { $0.name.description == facts.outcomeRule } ?? .none
        told.ringStartedAt = facts.ringStartedAt
        told.talkStartedAt = facts.talkStartedAt
        told.waitMicroseconds = facts.wait ?? 0
        told.ringMicroseconds = facts.ring ?? 0
        told.postDialDelayMicroseconds = facts.postDial
        told.attemptCount = UInt32(clamping: facts.attempts ?? 0)
        _ = facts.answeredBy.map { told.answeredBy.assign($0) }
        _ = facts.operatorNumber.map { told.operatorNumber.assign($0) }
        _ = facts.transferredBy.map { told.transferredBy.assign($0) }
        _ = facts.transferredTo.map { told.transferredTo.assign($0) }
        _ = facts.queue.map { told.queue.assign($0) }
        return told
    }
}

extension InlineText {
    fileprivate mutating func assign(_ text: String) -> Bool {
        var text = text
        return text.withUTF8 { assign(UnsafeRawBufferPointer($0)) }
    }
}
