/// How the last dialled leg of a call ended (Asterisk `DIALSTATUS`).
enum DialStatus: UInt8, BitwiseCopyable {
    case none, answer, busy, noAnswer, cancel, congestion, unavailable, declined

    init?(_ text: UnsafeRawBufferPointer) {
        switch String(decoding: text, as: UTF8.self) {
        case "ANSWER": self = .answer
        case "BUSY": self = .busy
        case "NOANSWER": self = .noAnswer
        case "CANCEL": self = .cancel
        case "CONGESTION": self = .congestion
        case "CHANUNAVAIL": self = .unavailable
        case "DONTCALL", "TORTURE": self = .declined
        default: return nil
        }
    }
}

/// Who ended a call, as far as the first sign of the end tells.
enum EndedBy: UInt8, BitwiseCopyable {
    case nobody
    /// The root channel hung up, or went without a word.
    case root
    /// Another leg hung up.
    case otherLeg
    /// A soft hang-up of the root: the dialplan or an application ended it.
    case system
}

/// A call as its shard keeps it: the public record and what only the shard needs.
///
///     ringing    any leg Up, or a leg that is Up enters a talking bridge → answered; last leg gone → finished
///     answered   last leg gone → finished
///     finished   nothing leaves it; the record goes `LegGraph.linger` after the end
///     error      never set by events; rows of the old daemon may have it
struct CallState: BitwiseCopyable {
    var record: CallRecord
    var key: CallKey
    var dialStatus = DialStatus.none
    /// The Q.850 cause came from the root channel's own end: nothing better can come.
    var causeIsFinal = false
    /// `StasisStart` or another authoritative event set the numbers.
    var numbersAreFinal = false
    var isRegistered = false
    var endedBy = EndedBy.nobody
    /// The root channel was dialled and nothing else was seen: a leg that an application originated, as yet no
    /// customer's call.
    var isOnlyDialed = false
    /// Changed since it was last given to the store.
    var needsSave = false
    /// On the list of touched slots.
    var isTouched = false
    var isPublished = false
    /// When to forget it; monotonic nanoseconds, 0 while the call lives.
    var forgetAt: UInt64 = 0

    /// Decides how the call ended (call model, "Outcome": bridge, dial status, Q.850 cause, who hung up).
    func outcome() -> CallOutcome {
        if record.flags.contains(.merged) { return .merged }
        if record.answeredAt != nil { return .answered }
        // Nobody saw how it went on; an answer may have come and gone.
        if record.flags.contains(.estimatedEnd) { return .lost }
        let early: CallOutcome = record.direction == .outbound ? .cancelled : .abandoned
        switch dialStatus {
        case .busy: return .busy
        case .declined: return .rejected
        case .cancel: return early
        case .noAnswer, .congestion, .unavailable, .answer, .none: break
        }
        // The caller left: 19 is then only what Asterisk 22 makes of it, no telephone's answer.
        if endedBy == .root, dialStatus == .none, [0, 16, 18, 19].contains(record.hangupCause) {
            return early
        }
        // Asterisk folds almost every cause into NOANSWER, so the cause refines it.
        switch record.hangupCause {
        case 17: return .busy
        case 21: return .rejected
        case 1, 22, 28: return .numberInvalid
        case 3, 20, 27: return dialStatus == .noAnswer ? .noAnswer : .unavailable
        case 34, 38, 41, 42: return .congestion
        case 18, 19: return .noAnswer
        case 58, 88, 102: return .failed
        default: break
        }
        switch dialStatus {
        case .noAnswer: return .noAnswer
        case .congestion: return .congestion
        case .unavailable: return .unavailable
        case .answer, .none, .busy, .declined, .cancel: break
        }
        switch endedBy {
        case .root: return early
        case .system: return record.direction == .outbound ? .failed : .noAnswer
        case .otherLeg, .nobody: return record.hangupCause == 16 || record.hangupCause == 26 ? early : .failed
        }
    }
}
