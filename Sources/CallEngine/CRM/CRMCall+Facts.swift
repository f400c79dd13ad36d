import Protocols

extension CRMCall {
    /// Takes what the legs told of the call.
    mutating func take(_ facts: borrowing CallFacts) {
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

extension CRMCall {
    /// Takes who was called and who talked.
    mutating func take(_ details: borrowing CallDetails) {
        // In one piece of memory, whose size is known.
        let count = details.segments.count { $0.kind == .talk && !$0.name.isEmpty }
        if count > 0 { talks.reserveCapacity(count) }
        for segment in details.segments where segment.kind == .talk && !segment.name.isEmpty {
            talks.append(
                CRMTalk(
                    number: segment.name.string, startedAt: segment.startedAt, endedAt: segment.endedAt))
        }
        var last: Timestamp?
        for index in details.attempts {
            let leg = details.legs[Int(index)]
            let time = leg.ringingAt ?? leg.dialedAt ?? leg.startedAt
            guard !leg.number.isEmpty, last.map({ time >= $0 }) ?? true else { continue }
            last = time
            lastRung = leg.number.string
        }
    }
}
