import CallEngine
import Foundation
import Protocols

/// Calls, legs and segments as rows of the tables in Tests/Fixtures/ari.
///
/// Each row is what a person reads off the recording; columns as told in the README beside the recordings.
enum ExpectedRows {
    /// Rows of a file by recording.
    static func read(_ file: String) throws -> [String: [String]] {
        let text = try String(contentsOf: Recordings.folder.appending(path: file), encoding: .utf8)
        let rows = text.components(separatedBy: "\n").filter { !$0.isEmpty && !$0.hasPrefix("#") }
        return Dictionary(grouping: rows) { $0.components(separatedBy: "\t").first ?? "" }
    }

    /// Without the date, which the recordings share.
    static func time(_ time: Timestamp?) -> String {
        time.map { String($0.formatted(.milliseconds).dropFirst(11).dropLast()) } ?? "-"
    }

    private static func text(_ text: String) -> String { text.isEmpty ? "-" : text }

    private static func milliseconds(_ microseconds: Int64) -> String { "\(microseconds / 1000)" }

    static func call(
        _ recording: String, _ id: String, _ record: CallRecord, _ long: CallGraph.LongTexts?,
        _ facts: CallFacts
    ) -> String {
        [
            recording, id, "\(record.direction.name)", long?.callerNumber ?? record.callerNumber.string,
            long?.calleeNumber ?? record.calleeNumber.string, "\(record.status.name)",
            time(record.startedAt), time(record.answeredAt), time(record.endedAt), "\(record.outcome.name)",
            record.flags.contains(.merged) ? "merged" : "-", text("\(facts.rule.name)"),
            text(facts.answeredBy.string), time(facts.talkStartedAt), milliseconds(facts.waitMicroseconds),
            milliseconds(facts.ringMicroseconds), milliseconds(facts.talkMicroseconds),
            milliseconds(facts.holdMicroseconds), text("\(facts.hungUpBy.name)"), "\(facts.cause)",
            "\(facts.sipCode)", text(facts.queue.string), text(facts.transferredBy.string),
            text(facts.transferredTo.string), text(facts.operatorNumber.string),
            text(facts.mergedInto.string),
        ].joined(separator: "\t")
    }

    static func legs(_ recording: String, _ id: String, _ details: CallDetails) -> [String] {
        details.legs.map { leg in
            [
                recording, id, leg.channelID.string, leg.roles.name, text(leg.number.string),
                text(leg.dialedBy.string), text("\(leg.result.name)"), time(leg.startedAt),
                time(leg.dialedAt), time(leg.ringingAt), time(leg.answeredAt), time(leg.talkStartedAt),
                time(leg.endedAt), milliseconds(leg.talkMicroseconds), milliseconds(leg.holdMicroseconds),
                "\(leg.cause)", "\(leg.sipCode)",
            ].joined(separator: "\t")
        }
    }

    static func segments(_ recording: String, _ id: String, _ details: CallDetails) -> [String] {
        details.segments.enumerated().map { index, segment in
            let attempts = segment.attempts.map {
                details.legs[Int(details.attempts[Int($0)])].channelID.string
            }
            return [
                recording, id, "\(index + 1)", "\(segment.kind.name)", text(segment.name.string),
                time(segment.startedAt), time(segment.endedAt), text("\(segment.result.name)"),
                text(segment.by.string), text("\(segment.transfer.name)"),
                text(attempts.joined(separator: ",")),
            ].joined(separator: "\t")
        }
    }
}
