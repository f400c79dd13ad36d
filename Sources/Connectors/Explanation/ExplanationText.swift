package import CallEngine
import Protocols

/// An explanation for people at a terminal.
package struct ExplanationText {
    package var language: CallOutcome.Language

    package init(in language: CallOutcome.Language) { self.language = language }

    /// The lines, the last one empty.
    package func lines(_ explanation: CallExplanation) -> [String] {
        let (record, facts) = (explanation.record, explanation.details.facts)
        var lines = [title(explanation)]
        lines.append("  " + verdict(record, facts))
        for note in explanation.notes { lines.append("  ! " + text(note)) }
        lines.append("  " + text(Words("status", "статус")))
        for step in explanation.statusSteps {
            let time = step.at.map { Self.clock($0) } ?? ""
            lines.append("    \(time)  \(padded(step.status.name.description, 9)) \(text(step.words))")
        }
        if !explanation.details.legs.isEmpty {
            lines.append("  " + text(Words("legs", "участники")))
            lines += legs(explanation)
        }
        if !explanation.details.segments.isEmpty {
            lines.append("  " + text(Words("parts", "части")))
            for (index, segment) in explanation.details.segments.enumerated() {
                lines.append(
                    "    \(Self.clock(segment.startedAt))  \(padded(segment.kind.name.description, 10)) "
                        + text(explanation.segments[index]))
            }
        }
        if !explanation.rules.isEmpty {
            lines.append(
                "  "
                    + text(
                        Words("rules, in the order in which they are tried", "правила, по порядку проверки")))
            for step in explanation.rules {
                let mark = step.holds ? "=>" : " -"
                lines.append("   \(mark) \(padded(step.rule.name.description, 13)) \(text(step.words))")
            }
        }
        return lines + [""]
    }

    private func text(_ words: Words) -> String { words.text(in: language) }

    private func title(_ explanation: CallExplanation) -> String {
        let record = explanation.record
        let (caller, callee) = (record.callerNumber.string, record.calleeNumber.string)
        return """
            \(explanation.callID)  \(record.startedAt.formatted(.milliseconds))  \(record.direction.name)  \
            \(caller.isEmpty ? "?" : caller) -> \(callee.isEmpty ? "?" : callee)
            """
    }

    private func verdict(_ record: CallRecord, _ facts: CallFacts) -> String {
        let outcome = facts.outcome == .none ? record.outcome : facts.outcome
        guard outcome != .none else { return record.status.name.description }
        var parts = ["\(outcome.name): \(outcome.text(in: language))"]
        if facts.cause != 0 { parts.append(text(CauseWords.cause(facts.cause))) }
        if facts.sipCode != 0 { parts.append(text(CauseWords.sip(facts.sipCode))) }
        for (name, time) in [
            (Words("rang", "звонил"), facts.ringMicroseconds),
            (Words("waited", "ждал"), facts.waitMicroseconds),
            (Words("talked", "говорил"), facts.talkMicroseconds),
            (Words("held", "на удержании"), facts.holdMicroseconds),
        ] where time > 0 {
            parts.append(text(name) + " " + Self.seconds(time) + text(Words(" s", " с")))
        }
        return parts.joined(separator: "; ")
    }

    private func legs(_ explanation: CallExplanation) -> [String] {
        let names = explanation.details.legs.map { leg in
            let name = leg.name.isEmpty ? leg.channelID.string : leg.name.string
            return leg.number.isEmpty ? name : "\(leg.number.string) (\(name))"
        }
        let width = min(48, names.map(\.count).max() ?? 0)
        return explanation.details.legs.indices.map { index in
            "    \(padded(String(index), 2)) \(padded(names[index], width)) \(text(explanation.legs[index]))"
        }
    }

    private func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    private static func clock(_ time: Timestamp) -> String {
        String(time.formatted(.milliseconds).dropFirst(11).prefix(12))
    }

    private static func seconds(_ microseconds: Int64) -> String {
        let tenths = (microseconds + 50_000) / 100_000
        return "\(tenths / 10).\(tenths % 10)"
    }
}
