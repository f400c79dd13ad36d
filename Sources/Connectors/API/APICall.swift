import CallEngine
import Protocols

/// A call as the API shows it: the stored row with what the engine knows newer laid over it.
struct APICall: Equatable {
    /// Its place in the list, as its row says where there is one: pages begin and end between rows.
    var cursor: CallCursor
    var id: CallUUID
    var callID: String
    var direction: String?
    var callerNumber: String?
    var calleeNumber: String?
    var status: String
    var startedAt: Timestamp?
    var answeredAt: Timestamp?
    var endedAt: Timestamp?
    var insertedAt: Timestamp
    var updatedAt: Timestamp
    var outcome: CallOutcome
    var hangupCause: Int?
    var pbx: String?
    var bitrixCallID: String?
    var endedEstimated: Bool
    /// What was derived from the legs, as it is stored; a call that the database does not have yet shows none.
    var facts: StoredFacts

    init(_ stored: StoredCall) {
        cursor = stored.cursor
        id = stored.id
        callID = stored.callID
        direction = stored.direction
        callerNumber = stored.callerNumber
        calleeNumber = stored.calleeNumber
        status = stored.status
        startedAt = stored.startedAt
        answeredAt = stored.answeredAt
        endedAt = stored.endedAt
        insertedAt = stored.insertedAt
        updatedAt = stored.updatedAt
        outcome = CallOutcome.allCases.first { $0.name.description == stored.outcome ?? "" } ?? .none
        hangupCause = stored.hangupCause
        pbx = stored.pbx
        bitrixCallID = stored.bitrixCallID
        endedEstimated = stored.endedEstimated
        facts = stored.facts
    }

    init(_ record: CallRecord, pbxNames: [String]) {
        cursor = CallCursor(startedAt: record.startedAt, id: record.id)
        id = record.id
        callID = record.callID.string
        direction = record.direction.name.description
        callerNumber = record.callerNumber.isEmpty ? nil : record.callerNumber.string
        calleeNumber = record.calleeNumber.isEmpty ? nil : record.calleeNumber.string
        status = record.status.name.description
        startedAt = record.startedAt
        answeredAt = record.answeredAt
        endedAt = record.endedAt
        insertedAt = record.insertedAt
        updatedAt = record.updatedAt
        outcome = record.outcome
        hangupCause = record.hangupCause == 0 ? nil : Int(record.hangupCause)
        pbx = Int(record.pbx) < pbxNames.count ? pbxNames[Int(record.pbx)] : nil
        endedEstimated = record.flags.contains(.estimatedEnd)
        facts = StoredFacts()
        facts.isPartial = record.flags.contains(.partial)
    }

    /// Lays a live record over a stored row, unless the row is newer (another node wrote it).
    ///
    /// Rows have whole seconds, so a row counts as newer from the next second on. Texts of the row are kept
    /// where it has them: the record's may be cut.
    mutating func overlay(_ record: CallRecord) {
        guard record.updatedAt.seconds >= updatedAt.seconds else { return }
        status = record.status.name.description
        if record.direction != .unknown || direction == nil { direction = record.direction.name.description }
        if callerNumber == nil, !record.callerNumber.isEmpty { callerNumber = record.callerNumber.string }
        if calleeNumber == nil, !record.calleeNumber.isEmpty { calleeNumber = record.calleeNumber.string }
        startedAt = record.startedAt
        answeredAt = record.answeredAt
        endedAt = record.endedAt
        updatedAt = record.updatedAt
        outcome = record.outcome
        if record.hangupCause != 0 { hangupCause = Int(record.hangupCause) }
        endedEstimated = record.flags.contains(.estimatedEnd)
        if record.flags.contains(.partial) { facts.isPartial = true }
    }

    /// Takes what the engine derived just now from the legs of a call that it has.
    mutating func take(_ live: LookedCall) {
        overlay(live.record)
        facts = StoredFacts(live.details.facts, of: live.record)
        if live.details.facts.outcome != .none { outcome = live.details.facts.outcome }
    }

    func matches(_ filter: CallFilter) -> Bool {
        if let wanted = filter.status, wanted != status { return false }
        if let wanted = filter.direction, wanted != direction { return false }
        return true
    }
}

extension APICall {
    /// The row that it was made from, for what is read with it.
    var stored: StoredCall {
        var stored = StoredCall(
            id: id, callID: callID, direction: direction, callerNumber: callerNumber,
            calleeNumber: calleeNumber,
            status: status, startedAt: startedAt, answeredAt: answeredAt, endedAt: endedAt,
            insertedAt: insertedAt, updatedAt: updatedAt, bitrixCallID: bitrixCallID,
            outcome: outcome == .none ? nil : outcome.name.description, hangupCause: hangupCause, pbx: pbx,
            endedEstimated: endedEstimated)
        stored.facts = facts
        return stored
    }
}

extension StoredFacts {
    /// What the engine derived, as it would be stored.
    init(_ facts: CallFacts, of record: CallRecord) {
        func text<let size: Int>(_ text: InlineText<size>) -> String? { text.isEmpty ? nil : text.string }
        self.init()
        let durations = StoredDurations(facts, isOver: record.status == .finished)
        isPartial = record.flags.contains(.partial)
        derivedAt = record.updatedAt
        outcomeRule = facts.rule == .none ? nil : facts.rule.name.description
        hungUpBy = facts.hungUpBy == .nobody ? nil : facts.hungUpBy.name.description
        sipCode = facts.sipCode == 0 ? nil : Int(facts.sipCode)
        ringStartedAt = facts.ringStartedAt
        talkStartedAt = facts.talkStartedAt
        (wait, ring, talk, hold) = (durations.wait, durations.ring, durations.talk, durations.hold)
        postDial = facts.postDialDelayMicroseconds
        answeredBy = text(facts.answeredBy)
        operatorNumber = text(facts.operatorNumber)
        transferredBy = text(facts.transferredBy)
        transferredTo = text(facts.transferredTo)
        queue = text(facts.queue)
        attempts = Int(facts.attemptCount)
        mergedInto = text(facts.mergedInto)
        isIncomplete = facts.isIncomplete
    }
}
