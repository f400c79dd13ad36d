/// What really happened in one call, to compare with what was stored.
package struct CallTruth: Sendable, Equatable {
    /// Unique id of the first channel: the call's linkedid.
    package var callID: String
    /// Position in the schedule, from 0.
    package var sequence: UInt64
    /// What happened.
    package var kind: CallKind
    /// `inbound` or `outbound`.
    package var direction: String
    /// Who called, as the PBX shows the number.
    package var caller: String
    /// The number that was dialled first.
    package var callee: String
    /// `ringing`, `answered` or `finished`: what a reader that saw every event played so far should say.
    package var status: String
    /// The outcome in the words of the `outcome` column; empty while the call lives.
    package var outcome: String
    /// PBX times in milliseconds since 1970; 0 for "not yet" and "never".
    package var startedAt: Int64
    package var answeredAt: Int64
    package var endedAt: Int64
    /// Events played.
    package var events: Int
    /// Of those, how many at least one application got.
    package var delivered: Int

    /// Appends one JSON object; `time` writes a time.
    func appendJSON(to output: inout [UInt8], time: (Int64) -> String) {
        func quoted(_ milliseconds: Int64) -> String {
            milliseconds == 0 ? "null" : "\"\(time(milliseconds))\""
        }
        output.append(
            contentsOf: """
                {"call_id":"\(callID)","sequence":\(sequence),"kind":"\(kind.name)","direction":"\(direction)",\
                "caller":"\(caller)","callee":"\(callee)","status":"\(status)","outcome":"\(outcome)",\
                "answered":\(answeredAt != 0),"started_at":\(quoted(startedAt)),\
                "answered_at":\(quoted(answeredAt)),"ended_at":\(quoted(endedAt)),"events":\(events),\
                "delivered":\(delivered)}
                """.utf8)
    }
}

/// A call that is over, in few bytes: what the plan says is worked out again from the seed when asked for.
struct FinishedCall: Sendable {
    var sequence: UInt64
    var startedAt: Int64
    var answeredAt: Int64
    var endedAt: Int64
    var number: UInt32
    var events: UInt16
    var delivered: UInt16
}
