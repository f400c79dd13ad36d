import CallEngine
package import Protocols

/// How a call as its events tell it differs from its row.
package struct CallDifference: Sendable, Hashable {
    /// One column, or `legs` and `segments` as a whole.
    package struct Field: Sendable, Hashable {
        package var name: String
        /// As stored; `nil`: nothing.
        package var stored: String?
        /// As derived; `nil`: nothing.
        package var derived: String?
    }

    /// Why a difference is not written.
    package enum Kept: String, Sendable {
        /// Some of the call was not seen by events: its row knows more.
        case partial
        /// Its events have no end, the row has.
        case noEnd = "no end"
        /// The call goes on, or its row was changed meanwhile.
        case changing
    }

    package var callID: String
    package var startedAt: Timestamp
    /// There is no row.
    package var isMissing = false
    /// The row was made before legs were kept: what was never derived is not told field by field.
    package var isFirst = false
    package var fields: [Field] = []
    /// Set when the row is left as it is.
    package var kept: Kept?

    /// Compares; `nil` when they are the same.
    ///
    /// - Parameter inSeconds: The row's times are whole seconds.
    init?(_ derived: CallReplay.Call, _ stored: StoredCallWithEvents?, inSeconds: Bool) {
        callID = derived.callID
        startedAt = derived.record.startedAt
        guard let stored else {
            isMissing = true
            return
        }
        let (record, call) = (derived.record, stored.call)
        func time(_ time: Timestamp?) -> String? {
            guard let time else { return nil }
            return inSeconds ? time.formatted(.seconds) : time.formatted(.microseconds)
        }
        func number<let size: Int>(_ inline: InlineText<size>, _ whole: String?) -> String? {
            inline.isEmpty ? nil : RebuildSQL.key(whole ?? inline.string)
        }
        compare("direction", call.direction ?? "unknown", record.direction.name.description)
        compare(
            "caller_number", call.callerNumber, number(record.callerNumber, derived.longTexts?.callerNumber))
        compare(
            "callee_number", call.calleeNumber, number(record.calleeNumber, derived.longTexts?.calleeNumber))
        compare("status", call.status, record.status.name.description)
        compare("started_at", time(call.startedAt), time(record.startedAt))
        compare("answered_at", time(call.answeredAt), time(record.answeredAt))
        compare("ended_at", time(call.endedAt), time(record.endedAt))
        let outcome = record.outcome == .none ? derived.details.facts.outcome : record.outcome
        compare("outcome", call.outcome, outcome == .none ? nil : outcome.name.description)
        isFirst = call.facts.derivedAt == nil
        if !isFirst { compare(call.facts, StoredFacts(derived.details.facts, of: record), time) }
        if !isFirst, record.status == .finished {
            let (old, new) = (CallDetails(call, stored.parts), derived.details)
            compare("legs", old.legs.map(Self.line), new.legs.map(Self.line))
            compare("segments", old.segments.map(Self.line), new.segments.map(Self.line))
        }
        if fields.isEmpty, !isFirst { return nil }
    }

    private mutating func compare(_ name: String, _ stored: String?, _ derived: String?) {
        if stored != derived { fields.append(Field(name: name, stored: stored, derived: derived)) }
    }

    private mutating func compare(
        _ stored: StoredFacts, _ derived: StoredFacts, _ time: (Timestamp?) -> String?
    ) {
        func text(_ number: (some BinaryInteger)?) -> String? { number.map { "\($0)" } }
        compare("outcome_rule", stored.outcomeRule, derived.outcomeRule)
        compare("hung_up_by", stored.hungUpBy, derived.hungUpBy)
        compare("sip_code", text(stored.sipCode), text(derived.sipCode))
        compare("ring_started_at", time(stored.ringStartedAt), time(derived.ringStartedAt))
        compare("talk_started_at", time(stored.talkStartedAt), time(derived.talkStartedAt))
        compare("wait_us", text(stored.wait), text(derived.wait))
        compare("ring_us", text(stored.ring), text(derived.ring))
        compare("talk_us", text(stored.talk), text(derived.talk))
        compare("hold_us", text(stored.hold), text(derived.hold))
        compare("post_dial_us", text(stored.postDial), text(derived.postDial))
        compare("answered_by", stored.answeredBy, derived.answeredBy)
        compare("operator_number", stored.operatorNumber, derived.operatorNumber)
        compare("transferred_by", stored.transferredBy, derived.transferredBy)
        compare("transferred_to", stored.transferredTo, derived.transferredTo)
        compare("queue", stored.queue, derived.queue)
        compare("attempts", text(stored.attempts), text(derived.attempts))
        compare("merged_into", stored.mergedInto, derived.mergedInto)
    }

    /// Lists, told by their lines that differ.
    private mutating func compare(_ name: String, _ stored: [String], _ derived: [String]) {
        guard stored != derived else { return }
        let (old, new) = (Set(stored), Set(derived))
        let gone = stored.filter { !new.contains($0) }.joined(separator: "; ")
        let come = derived.filter { !old.contains($0) }.joined(separator: "; ")
        fields.append(Field(name: name, stored: gone, derived: come))
    }

    private static func line(_ leg: LegRecord) -> String {
        let times = [
            leg.startedAt, leg.dialedAt, leg.ringingAt, leg.answeredAt, leg.talkStartedAt, leg.endedAt,
        ]
        return """
            \(leg.channelID.string) \(leg.roles.name) \(leg.result.name) \(leg.number.string) \
            \(times.map { $0.map { "\($0.microseconds)" } ?? "-" }.joined(separator: " ")) \
            \(leg.talkMicroseconds) \(leg.holdMicroseconds) \(leg.cause) \(leg.sipCode)
            """
    }

    private static func line(_ segment: CallSegment) -> String {
        """
        \(segment.kind.name) \(segment.name.string) \(segment.result.name) \(segment.by.string) \(segment.transfer.name) \
        \(segment.startedAt.microseconds) \(segment.endedAt.microseconds)
        """
    }
}
