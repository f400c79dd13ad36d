package import CallEngine
package import Protocols

/// Explanations in JSON, for the API and the command.
extension JSONWriter {
    /// A sentence in both languages.
    mutating func words(_ key: String, _ words: Words) {
        object(key) {
            $0.member("en", words.english)
            $0.member("ru", words.russian)
        }
    }

    /// The members of an explanation.
    ///
    /// - Parameter source: Where it comes from: `engine`, `database`, `events`, or only the call's `row`.
    package mutating func explanation(_ explanation: CallExplanation, from source: String) {
        let (record, facts) = (explanation.record, explanation.details.facts)
        member("call_id", explanation.callID)
        member("source", source)
        member("status", record.status.name.description)
        array("status_steps") { list in
            for step in explanation.statusSteps {
                list.object {
                    $0.member("status", step.status.name.description)
                    $0.member("at", step.at, precision: .microseconds)
                    $0.words("text", step.words)
                }
            }
        }
        let outcome = facts.outcome == .none ? record.outcome : facts.outcome
        member("outcome", outcome == .none ? nil : outcome.name.description)
        if outcome != .none {
            words(
                "outcome_text",
                Words(outcome.text(in: .english).description, outcome.text(in: .russian).description))
        }
        member("outcome_rule", facts.rule == .none ? nil : facts.rule.name.description)
        array("rules") { list in
            for step in explanation.rules {
                list.object {
                    $0.member("rule", step.rule.name.description)
                    $0.member("holds", step.holds)
                    $0.words("text", step.words)
                }
            }
        }
        member("hung_up_by", facts.hungUpBy == .nobody ? nil : facts.hungUpBy.name.description)
        if let text = explanation.hungUpBy { words("hung_up_text", text) }
        member("cause", facts.cause == 0 ? nil : Int(facts.cause))
        if facts.cause != 0 { words("cause_text", CauseWords.cause(facts.cause)) }
        member("sip_code", facts.sipCode == 0 ? nil : Int(facts.sipCode))
        if facts.sipCode != 0 { words("sip_text", CauseWords.sip(facts.sipCode)) }
        array("notes") { list in
            for note in explanation.notes {
                list.object {
                    $0.member("en", note.english)
                    $0.member("ru", note.russian)
                }
            }
        }
        parts(explanation.details, words: explanation)
    }

    /// Legs and parts, `legs` and `segments`; with a sentence each where they are explained.
    mutating func parts(_ details: CallDetails, words explanation: CallExplanation?) {
        array("legs") { list in
            for (index, leg) in details.legs.enumerated() {
                list.object {
                    $0.leg(leg)
                    if let explanation { $0.words("text", explanation.legs[index]) }
                }
            }
        }
        array("segments") { list in
            for (index, segment) in details.segments.enumerated() {
                list.object {
                    $0.segment(segment, details)
                    if let explanation { $0.words("text", explanation.segments[index]) }
                }
            }
        }
    }

    private mutating func leg(_ leg: LegRecord) {
        func word(_ name: StaticString) -> String? {
            name.utf8CodeUnitCount == 0 ? nil : name.description
        }
        func text<let size: Int>(_ text: InlineText<size>) -> String? { text.isEmpty ? nil : text.string }
        member("channel_id", leg.channelID.string)
        member("channel_name", text(leg.name))
        member("number", text(leg.number))
        member("role", leg.roles.name)
        member("result", word(leg.result.name))
        member("result_rule", word(leg.evidence.name))
        member("dialed_by", text(leg.dialedBy))
        member("came_from", text(leg.cameFrom))
        member("started_at", leg.startedAt, precision: .microseconds)
        member("dialed_at", leg.dialedAt, precision: .microseconds)
        member("ringing_at", leg.ringingAt, precision: .microseconds)
        member("answered_at", leg.answeredAt, precision: .microseconds)
        member("talk_started_at", leg.talkStartedAt, precision: .microseconds)
        member("ended_at", leg.endedAt, precision: .microseconds)
        member("ring_us", leg.ringMicroseconds)
        member("talk_us", leg.talkMicroseconds)
        member("hold_us", leg.holdMicroseconds)
        member("cause", leg.cause == 0 ? nil : Int(leg.cause))
        member("sip_code", leg.sipCode == 0 ? nil : Int(leg.sipCode))
        member("ended_estimated", leg.isEndEstimated)
    }

    private mutating func segment(_ segment: CallSegment, _ details: CallDetails) {
        member("kind", segment.kind.name.description)
        member("name", segment.name.isEmpty ? nil : segment.name.string)
        member("result", segment.result == .none ? nil : segment.result.name.description)
        member("by_number", segment.by.isEmpty ? nil : segment.by.string)
        member("transfer", segment.transfer == .none ? nil : segment.transfer.name.description)
        member("started_at", segment.startedAt, precision: .microseconds)
        member("ended_at", segment.endedAt, precision: .microseconds)
        array("attempts") { list in
            for index in segment.attempts { list.integer(details.attempts[Int(index)]) }
        }
    }
}
