import Protocols

extension CRMCall {
    /// The most calls that one is split into; the last has the rest.
    public static let maximumConversations = 16

    /// The call as one call for each person of ours that talked, one after the other: for a CRM in which each of them shall
    /// have a record.
    ///
    /// The first keeps the id, under which the call was registered; the others get one of their own made of it. A call with
    /// one person, or none, stays as it is.
    public var conversations: [CRMCall] {
        var parts: [CRMTalk] = []
        for talk in talks {
            // Towards the customer it is the caller who talks.
            let person = direction == .outbound && talk.number == calleeNumber ? callerNumber : talk.number
            guard let person else { continue }
            if let last = parts.last, last.number == person || parts.count == Self.maximumConversations {
                parts[parts.count - 1].endedAt = max(last.endedAt, talk.endedAt)
            } else {
                parts.append(CRMTalk(number: person, startedAt: talk.startedAt, endedAt: talk.endedAt))
            }
        }
        guard parts.count > 1 else { return [self] }
        return parts.enumerated().map { index, part in
            var call = self
            if index > 0 {
                call.callID = "\(callID)#\(index + 1)"
                call.wholeID = callID
                call.startedAt = part.startedAt
                call.answeredAt = part.startedAt
                if direction == .outbound {
                    call.callerNumber = part.number
                } else {
                    call.calleeNumber = part.number
                }
            }
            call.outcome = .answered
            call.answeredBy = part.number
            call.talks = [part]
            call.talkStartedAt = part.startedAt
            call.talkMicroseconds = max(0, part.endedAt.microseconds - part.startedAt.microseconds)
            call.endedAt = part.endedAt
            return call
        }
    }
}

extension CRMAction {
    /// The same with a call for each conversation; see ``CRMCall/conversations``.
    public var byConversation: [CRMAction] {
        guard case .finish(let call) = self else { return [self] }
        let parts = call.conversations
        return [.finish(parts[0])] + parts.dropFirst().flatMap { [.register($0), .finish($0)] }
    }
}
