import Protocols

/// The rules of the outcome, in the order in which they are tried, each with what spoke for or against it.
extension ExplanationSight {
    private typealias Step = CallExplanation.RuleStep

    /// Rules before the one that decided did not hold; that one did; none was tried behind it.
    func ruleSteps() -> [CallExplanation.RuleStep] {
        guard facts.rule != .none else { return [] }
        var steps: [CallExplanation.RuleStep] = []
        for rule in order() {
            let holds = rule == facts.rule
            steps.append(
                Step(rule: rule, holds: holds, words: holds ? reason(for: rule) : reason(against: rule)))
            if holds { break }
        }
        return steps
    }

    /// The order of `CallGraph.decide`.
    private func order() -> [OutcomeRule] {
        let first: [OutcomeRule] = [
            .merged, .talk, .conference, .unseenEnd, .voicemail, .leftQueue, .queueEnded, .callerLeft,
            .attempts,
        ]
        // Where the telephones called tell no more than that nobody answered, the caller's own cause may.
        if facts.rule == .cause, hasAttempts { return first + [.cause] }
        var last: [OutcomeRule] = [.noDial]
        switch facts.rule {
        case .whoHungUp where facts.hungUpBy == .caller: last += [.whoHungUp]
        case .whoHungUp: last += [.cause, .sipCode, .whoHungUp]
        default: last += [.whoHungUp, .cause, .sipCode, .systemEnded, .nothingTold]
        }
        return first + last
    }

    private var hasAttempts: Bool { details.segments.contains { !$0.attempts.isEmpty } }

    private var lastAttempts: [LegRecord] {
        guard let group = details.segments.last(where: { !$0.attempts.isEmpty }) else { return [] }
        return group.attempts.map { details.legs[Int(details.attempts[Int($0)])] }
    }

    private var queue: CallSegment? { details.segments.last { $0.kind == .queue } }

    // MARK: For

    private func reason(for rule: OutcomeRule) -> Words {
        switch rule {
        case .merged:
            let call = facts.mergedInto.string
            return Words(
                "it became part of the older call \(call)", "он стал частью более раннего звонка \(call)")
        case .talk:
            let who = facts.answeredBy.isEmpty ? "?" : facts.answeredBy.string
            let since = facts.talkStartedAt.map { Self.clock($0) } ?? "?"
            return Words(
                "the caller talked with \(who) from \(since) on", "звонящий говорил с \(who) с \(since)")
        case .conference:
            return Words(
                "the caller was in a conference room with others", "звонящий был в конференции с другими")
        case .unseenEnd:
            return record.answeredAt == nil
                ? Words(
                    "the end was not seen and nothing proves an answer",
                    "конец не виден, и ничто не доказывает ответа")
                : Words(
                    "the end was not seen; the call had been answered",
                    "конец не виден; на звонок ответили раньше")
        case .voicemail:
            let box = details.segments.last { $0.kind == .voicemail }?.name.string ?? ""
            return Words(
                "the message box \(box) answered and nobody talked with the caller",
                "ответила голосовая почта \(box), и никто не говорил со звонящим")
        case .leftQueue:
            let wait = queue.map { Self.seconds($0.endedAt.microseconds - $0.startedAt.microseconds) } ?? "?"
            return Words(
                "the caller hung up in the queue \(facts.queue.string) after \(wait) s",
                "звонящий положил трубку в очереди \(facts.queue.string) через \(wait) с")
        case .queueEnded:
            return Words(
                "the queue \(facts.queue.string) gave up and nobody had answered",
                "очередь \(facts.queue.string) закончилась, никто не ответил")
        case .callerLeft:
            let rang = list(lastAttempts.filter { $0.result == .cancelled })
            return Words(
                "the caller hung up while it was calling \(rang.english)",
                "звонящий положил трубку, пока вызывались: \(rang.russian)")
        case .attempts:
            guard !lastAttempts.isEmpty else {
                let only = list(details.legs.filter { $0.result != .none })
                return Words(
                    "an application called one telephone: \(only.english)",
                    "приложение вызывало один телефон: \(only.russian)")
            }
            let told = list(lastAttempts)
            return Words(
                "the best result among the telephones called last: \(told.english)",
                "лучший результат среди вызванных последними: \(told.russian)")
        case .noDial:
            return Words(
                "a machine answered and no telephone was called",
                "ответил автомат, и ни один телефон не вызывался")
        case .sipCode:
            let code = CauseWords.sip(facts.sipCode)
            return Words("the end's SIP code: \(code.english)", "SIP-код завершения: \(code.russian)")
        case .cause:
            let cause = CauseWords.cause(facts.cause)
            return Words("the end's cause: \(cause.english)", "причина завершения: \(cause.russian)")
        case .systemEnded:
            return Words(
                "the dialplan, an application or an administrator ended the unanswered call",
                "неотвеченный звонок завершил план набора, приложение или администратор")
        case .whoHungUp:
            return facts.hungUpBy == .caller
                ? Words(
                    "the caller hung up, and no cause says otherwise",
                    "звонящий положил трубку, причина не говорит иного")
                : Words(
                    "it ended as a caller's hang-up does", "завершён так, как когда трубку кладёт звонящий")
        case .nothingTold:
            return Words("nothing tells why", "ничто не говорит почему")
        case .none:
            return Words("", "")
        }
    }

    private func list(_ legs: [LegRecord]) -> Words {
        func name(_ leg: LegRecord) -> String { leg.number.isEmpty ? leg.name.string : leg.number.string }
        let told = legs.map { leg in
            let (result, evidence) = (Self.words(of: leg.result), Self.evidence(leg))
            return Words(
                "\(name(leg)): \(result.english), \(evidence.english)",
                "\(name(leg)): \(result.russian), \(evidence.russian)")
        }
        return Words(
            told.map(\.english).joined(separator: "; "), told.map(\.russian).joined(separator: "; "))
    }

    // MARK: Against

    private func reason(against rule: OutcomeRule) -> Words {
        switch rule {
        case .merged: Words("it is a call of its own", "это самостоятельный звонок")
        case .talk:
            Words("no person was bridged with the caller", "ни один человек не был соединён со звонящим")
        case .conference:
            Words("the caller met nobody in a conference room", "звонящий ни с кем не был в конференции")
        case .unseenEnd: Words("the end was seen", "конец звонка виден")
        case .voicemail: Words("no message box answered", "голосовая почта не отвечала")
        case .leftQueue:
            queue == nil
                ? Words("the caller was in no queue", "звонящий не был в очереди")
                : Words(
                    "the caller did not leave the queue by hanging up", "звонящий не бросал трубку в очереди")
        case .queueEnded:
            queue == nil
                ? Words("the caller was in no queue", "звонящий не был в очереди")
                : Words(
                    "other telephones were called after the queue", "после очереди вызывались другие телефоны"
                )
        case .callerLeft:
            hasAttempts
                ? Words(
                    "no telephone was given up because the caller left",
                    "ни один вызов не прекращён из-за ухода звонящего")
                : Words("no telephone was called", "ни один телефон не вызывался")
        case .attempts:
            hasAttempts
                ? Words(
                    "what became of the telephones called tells no more than that nobody answered",
                    "результаты вызовов говорят лишь, что никто не ответил")
                : Words("no telephone was called", "ни один телефон не вызывался")
        case .noDial: Words("no machine answered the caller", "автомат звонящему не отвечал")
        case .sipCode:
            facts.sipCode == 0
                ? Words("no SIP code was told", "SIP-код не сообщён")
                : CauseWords.sip(facts.sipCode)
                    + Words(" says nothing of the outcome", " ничего не говорит об исходе")
        case .cause:
            facts.cause == 0
                ? Words("no cause was told", "причина не сообщена")
                : CauseWords.cause(facts.cause)
                    + Words(" says nothing of the outcome", " ничего не говорит об исходе")
        case .systemEnded:
            Words("no dialplan or application asked for the end", "план набора и приложения конца не просили")
        case .whoHungUp:
            facts.hungUpBy == .caller
                ? Words(
                    "the caller hung up, but the cause says more",
                    "звонящий положил трубку, но причина говорит больше")
                : Words("it was not the caller who hung up", "трубку положил не звонящий")
        case .nothingTold, .none: Words("", "")
        }
    }
}
