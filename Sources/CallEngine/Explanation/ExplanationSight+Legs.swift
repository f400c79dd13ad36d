import Protocols

/// Legs and parts in words.
extension ExplanationSight {
    func words(of leg: LegRecord) -> Words {
        var words = role(of: leg)
        if let dialed = leg.dialedAt {
            words = words + Words(", dialled at \(Self.clock(dialed))", ", вызван в \(Self.clock(dialed))")
        }
        if leg.ringMicroseconds > 0 {
            let ring = Self.seconds(leg.ringMicroseconds)
            words = words + Words(", rang \(ring) s", ", звонил \(ring) с")
        }
        if let up = leg.answeredAt {
            words = words + Words(", up at \(Self.clock(up))", ", поднялся в \(Self.clock(up))")
        }
        if leg.talkMicroseconds > 0 {
            let talk = Self.seconds(leg.talkMicroseconds - leg.holdMicroseconds)
            words = words + Words(", talked \(talk) s", ", говорил \(talk) с")
        }
        if leg.holdMicroseconds > 0 {
            let hold = Self.seconds(leg.holdMicroseconds)
            words = words + Words(", \(hold) s on hold", ", на удержании \(hold) с")
        }
        if leg.result != .none, leg.result != .answered || leg.evidence != .up {
            let result = Self.words(of: leg.result)
            let evidence = Self.evidence(leg)
            words = words + Words(": \(result.english)", ": \(result.russian)")
            words = words + Words(" (\(evidence.english))", " (\(evidence.russian))")
        } else if leg.endedAt != nil, leg.cause != 0 {
            let cause = CauseWords.cause(leg.cause)
            words = words + Words("; ended: \(cause.english)", "; конец: \(cause.russian)")
        }
        if leg.isEndEstimated {
            words = words + Words("; its end was not seen", "; его конец не виден")
        }
        if !leg.cameFrom.isEmpty {
            let call = leg.cameFrom.string
            words = words + Words("; came with the call \(call)", "; пришёл со звонком \(call)")
        }
        return words
    }

    private func role(of leg: LegRecord) -> Words {
        let roles: [(LegRoles, Words)] = [
            (.caller, Words("began the call", "начал звонок")),
            (
                .operator_,
                Words("was called by us first, for click-to-call", "вызван первым, для звонка по щелчку")
            ),
            (.callee, Words("the first person that talked with the caller", "первым говорил со звонящим")),
            (.transferer, Words("handed the call on", "перевёл звонок")),
            (.target, Words("the call was handed on to it", "звонок перевели на него")),
            (.pickup, Words("took the call from a ringing neighbour", "перехватил звонок у соседа")),
            (.attempt, Words("was called and did not talk", "был вызван и не говорил")),
            (
                .technical,
                Words("a link between channels, nobody speaks there", "связка каналов, там никто не говорит")
            ),
            (.other, Words("was in the call", "участвовал в звонке")),
        ]
        let told = roles.filter { leg.roles.contains($0.0) }.map(\.1)
        return Words(
            told.map(\.english).joined(separator: ", "), told.map(\.russian).joined(separator: ", "))
    }

    static func words(of result: LegResult) -> Words {
        switch result {
        case .none: Words("", "")
        case .answered: Words("answered", "ответил")
        case .noAnswer: Words("no answer", "нет ответа")
        case .rejected: Words("declined", "отклонил")
        case .busy: Words("busy", "занято")
        case .numberInvalid: Words("wrong number", "неверный номер")
        case .congestion: Words("network busy or failed", "сеть перегружена или неисправна")
        case .unavailable: Words("not reachable", "недоступен")
        case .failed: Words("failed", "сбой")
        case .cancelled: Words("the caller left", "звонящий не дождался")
        case .answeredElsewhere: Words("another telephone answered", "ответили на другом телефоне")
        case .forwarded: Words("sent on to another number", "переадресован на другой номер")
        }
    }

    static func evidence(_ leg: LegRecord) -> Words {
        switch leg.evidence {
        case .none: Words("nothing was told", "ничего не сообщено")
        case .up: Words("it was up", "канал поднялся")
        case .forwarded: Words("Dial named another channel", "Dial назвал другой канал")
        case .dialStatus: Words("as Asterisk's dial status says", "так сказал Asterisk (DIALSTATUS)")
        case .sipCode: CauseWords.sip(leg.sipCode)
        case .cause: CauseWords.cause(leg.cause)
        case .time: Words("no cause was told; from the times", "причина не сообщена; по времени")
        }
    }

    // MARK: Parts

    func words(of segment: CallSegment) -> Words {
        let name = segment.name.string
        let length = Self.seconds(segment.endedAt.microseconds - segment.startedAt.microseconds)
        var words: Words
        switch segment.kind {
        case .ivr: words = Words("a machine talked: \(name)", "говорил автомат: \(name)")
        case .queue: words = Words("waited in the queue \(name)", "ждал в очереди \(name)")
        case .ring:
            words =
                name.isEmpty
                ? Words("telephones rang", "звонили телефоны") : Words("\(name) rang", "звонил \(name)")
        case .talk: words = Words("talked with \(name)", "говорил с \(name)")
        case .transfer: return transfer(segment)
        case .voicemail: words = Words("message box \(name)", "голосовая почта \(name)")
        case .conference: words = Words("conference room \(name)", "конференция \(name)")
        case .parking: words = Words("was parked", "был на парковке")
        }
        words = words + Words(", \(length) s", ", \(length) с")
        let attempts = segment.attempts.count
        if attempts > 0 {
            words = words + Words(", telephones called: \(attempts)", ", вызвано телефонов: \(attempts)")
        }
        guard segment.result != .none else { return words }
        let result = Self.words(of: segment.result)
        words = words + Words(": \(result.english)", ": \(result.russian)")
        guard !segment.by.isEmpty else { return words }
        return words + Words(" by \(segment.by.string)", ", кто: \(segment.by.string)")
    }

    private func transfer(_ segment: CallSegment) -> Words {
        let (by, to) = (segment.by.string, segment.name.string)
        guard segment.result == .answered else {
            return Words(
                "\(by) tried to hand the call on to \(to) and failed",
                "\(by) не смог перевести звонок на \(to)")
        }
        let how =
            switch segment.transfer {
            case .none: Words("", "")
            case .blind: Words(" without asking", " без консультации")
            case .attended: Words(" after talking with them", " после консультации")
            case .refer: Words(" by SIP REFER", " через SIP REFER")
            }
        return Words(
            "\(by) handed the call on to \(to)\(how.english)", "\(by) перевёл звонок на \(to)\(how.russian)")
    }
}
