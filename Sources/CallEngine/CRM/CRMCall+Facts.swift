extension CRMCall {
    /// Takes what the legs told of the call.
    mutating func take(_ facts: CallFacts) {
        outcomeRule = facts.rule
        sipCode = facts.sipCode
        hungUpBy = facts.hungUpBy
        talkStartedAt = facts.talkStartedAt
        talkMicroseconds = facts.talkStartedAt == nil ? nil : facts.talkMicroseconds
        answeredBy = facts.answeredBy.isEmpty ? nil : facts.answeredBy.string
        operatorNumber = facts.operatorNumber.isEmpty ? nil : facts.operatorNumber.string
        transferredBy = facts.transferredBy.isEmpty ? nil : facts.transferredBy.string
        transferredTo = facts.transferredTo.isEmpty ? nil : facts.transferredTo.string
        queue = facts.queue.isEmpty ? nil : facts.queue.string
    }
}
