public import Protocols

/// Why a call has its status and its outcome: leg by leg, part by part, rule by rule.
///
/// Made of what was derived from the legs, so it is the same for a call that goes on, for one read back from the database,
/// and for one of a recorded stream. Times of day are the PBX's, in UTC.
public struct CallExplanation: Sendable {
    /// Why the status is what it is, one step after another.
    public struct StatusStep: Sendable, Hashable {
        /// The status that it led to.
        public var status: CallStatus
        /// PBX time.
        public var at: Timestamp?
        /// What happened then.
        public var words: Words
    }

    /// One rule that was tried.
    public struct RuleStep: Sendable, Hashable {
        /// Which.
        public var rule: OutcomeRule
        /// Whether it held: then it decided, and none behind it was tried.
        public var holds: Bool
        /// What spoke for or against it.
        public var words: Words
    }

    /// The call's key.
    public var callID: String
    /// The call's row.
    public var record: CallRecord
    /// What its legs say.
    public var details: CallDetails
    /// From the begin to the end, as far as it came.
    public private(set) var statusSteps: [StatusStep] = []
    /// What became of each leg and why, beside `details.legs`.
    public private(set) var legs: [Words] = []
    /// The parts in words, beside `details.segments`.
    public private(set) var segments: [Words] = []
    /// Rules in the order in which they were tried, up to the one that decided; empty while the call lives.
    public private(set) var rules: [RuleStep] = []
    /// What is to be kept in mind: estimated, partial, incomplete.
    public private(set) var notes: [Words] = []

    /// Explains a call.
    public init(callID: String, record: CallRecord, details: CallDetails) {
        self.callID = callID
        self.record = record
        self.details = details
        let sight = ExplanationSight(record: record, details: details)
        statusSteps = sight.statusSteps()
        legs = details.legs.map { sight.words(of: $0) }
        segments = details.segments.map { sight.words(of: $0) }
        if record.status == .finished || record.status == .error { rules = sight.ruleSteps() }
        notes = sight.notes()
    }

    /// Who hung up, in words; `nil` while nobody has.
    public var hungUpBy: Words? {
        switch details.facts.hungUpBy {
        case .nobody: nil
        case .caller: Words("the caller hung up", "трубку положил звонящий")
        case .callee: Words("the other party hung up", "трубку положил собеседник")
        case .system:
            Words(
                "the dialplan, an application or an administrator hung up",
                "разговор завершил план набора, приложение или администратор")
        }
    }
}

/// What the sentences are made from.
struct ExplanationSight {
    let record: CallRecord
    let details: CallDetails

    var facts: CallFacts { details.facts }

    // MARK: Words for things

    /// `12:30:05.123`.
    static func clock(_ time: Timestamp) -> String {
        let text = time.formatted(.milliseconds)
        // `2026-02-04T12:30:05.123Z`
        return String(text.dropFirst(11).prefix(12))
    }

    /// Seconds with a tenth.
    static func seconds(_ microseconds: Int64) -> String {
        let tenths = (max(0, microseconds) + 50_000) / 100_000
        return "\(tenths / 10).\(tenths % 10)"
    }

    /// A leg as people know it: `101 (PJSIP/101-00000007)`.
    static func title(_ leg: LegRecord) -> String {
        let name = leg.name.isEmpty ? leg.channelID.string : leg.name.string
        return leg.number.isEmpty ? name : "\(leg.number.string) (\(name))"
    }

    var caller: LegRecord? {
        details.legs.first { !$0.roles.isDisjoint(with: [.caller, .operator_]) } ?? details.legs.first
    }

    // MARK: Status

    func statusSteps() -> [CallExplanation.StatusStep] {
        typealias Step = CallExplanation.StatusStep
        var steps: [Step] = []
        let first = caller.map { Self.title($0) }
        steps.append(
            Step(
                status: .ringing, at: record.startedAt,
                words: first.map { Words("\($0) began the call", "звонок начал \($0)") }
                    ?? Words("the call began", "звонок начался")))
        if let answered = record.answeredAt {
            // The leg whose first Up it was; with a PBX's clock that ran backwards, the nearest.
            let up = details.legs.filter { $0.answeredAt != nil }.min { left, right in
                (left.answeredAt ?? answered) < (right.answeredAt ?? answered)
            }
            let who = up.map { Self.title($0) }
            steps.append(
                Step(
                    status: .answered, at: answered,
                    words: who.map {
                        Words(
                            "\($0) was the first channel that was up; a machine counts here, the outcome says whether a person talked",
                            "\($0) — первый канал, который поднялся; здесь считается и автомат, а говорил ли человек, скажет исход"
                        )
                    } ?? Words("a channel was up", "канал поднялся")))
        }
        guard let ended = record.endedAt else { return steps }
        var words = Words("its last channel was gone", "последний канал закрыт")
        if record.flags.contains(.merged) {
            let into = facts.mergedInto.string
            words = Words("it became part of the call \(into)", "он стал частью звонка \(into)")
        } else if record.flags.contains(.estimatedEnd) {
            words = Words(
                "when the PBX was heard again none of its channels was left; the end is put at the last sign of life",
                "когда АТС снова стала слышна, его каналов уже не было; концом считается последний признак жизни"
            )
        } else if let last = details.legs.filter({ $0.endedAt != nil }).max(by: { left, right in
            (left.endedAt ?? ended) < (right.endedAt ?? ended)
        }) {
            let who = Self.title(last)
            words = Words("the last channel, \(who), was gone", "последний канал, \(who), закрыт")
        }
        steps.append(Step(status: .finished, at: ended, words: words))
        return steps
    }

    func notes() -> [Words] {
        var notes: [Words] = []
        if record.flags.contains(.estimatedEnd) {
            notes.append(Words("the end is an estimate", "время конца — оценка"))
        }
        if record.flags.contains(.partial) {
            notes.append(
                Words(
                    "some of the call was not seen: the PBX was not heard meanwhile",
                    "часть звонка не видна: в это время АТС не была слышна"))
        }
        if facts.isIncomplete {
            notes.append(
                Words(
                    "it had more legs or parts than are kept",
                    "участников или частей было больше, чем хранится"))
        }
        return notes
    }
}
