/// How a call ended, for people and the CRM; `none` while it lives.
public enum CallOutcome: UInt8, Sendable, CaseIterable, BitwiseCopyable {
    case none, answered, abandoned, noAnswer, busy, rejected, cancelled, numberInvalid, unavailable,
        congestion, failed, lost
    /// It became part of an older call; lists leave it out.
    case merged
    /// The caller left a message, or could have, and nobody talked with them.
    case voicemail
    /// A machine answered and nobody was called: self-service.
    case ivrOnly

    /// The word stored in the `outcome` column; empty while the call lives.
    public var name: StaticString {
        switch self {
        case .none: ""
        case .answered: "answered"
        case .abandoned: "abandoned"
        case .noAnswer: "no_answer"
        case .busy: "busy"
        case .rejected: "rejected"
        case .cancelled: "cancelled"
        case .numberInvalid: "number_invalid"
        case .unavailable: "unavailable"
        case .congestion: "congestion"
        case .failed: "failed"
        case .lost: "lost"
        case .merged: "merged"
        case .voicemail: "voicemail"
        case .ivrOnly: "ivr_only"
        }
    }

    /// Languages in which an outcome can be told to people.
    public enum Language: Sendable, CaseIterable {
        case english, russian
    }

    /// What a person reads; empty while the call lives.
    public func text(in language: Language) -> StaticString {
        switch language {
        case .english: englishText
        case .russian: russianText
        }
    }

    private var englishText: StaticString {
        switch self {
        case .none: ""
        case .answered: "Answered"
        case .abandoned: "Missed: caller hung up"
        case .noAnswer: "No answer"
        case .busy: "Busy"
        case .rejected: "Declined"
        case .cancelled: "Cancelled by caller"
        case .numberInvalid: "Wrong number"
        case .unavailable: "Not reachable"
        case .congestion: "Network busy or failed"
        case .failed: "Technical failure"
        case .lost: "Record incomplete"
        case .merged: "Part of another call"
        case .voicemail: "Voicemail"
        case .ivrOnly: "Self-service"
        }
    }

    private var russianText: StaticString {
        switch self {
        case .none: ""
        case .answered: "Отвечен"
        case .abandoned: "Пропущен: звонящий положил трубку"
        case .noAnswer: "Нет ответа"
        case .busy: "Занято"
        case .rejected: "Отклонён"
        case .cancelled: "Отменён звонящим"
        case .numberInvalid: "Неверный номер"
        case .unavailable: "Абонент недоступен"
        case .congestion: "Сеть перегружена или неисправна"
        case .failed: "Технический сбой"
        case .lost: "Запись неполная"
        case .merged: "Часть другого звонка"
        case .voicemail: "Голосовая почта"
        case .ivrOnly: "Самообслуживание"
        }
    }
}

/// The rule that chose a call's outcome; column `outcome_rule`.
///
/// In the order in which they are tried: the first that holds decides.
public enum OutcomeRule: UInt8, Sendable, CaseIterable, BitwiseCopyable {
    case none
    /// The call became part of an older one.
    case merged
    /// A person talked with the caller on a bridge.
    case talk
    /// The caller met others in a conference room.
    case conference
    /// The PBX restarted or the end was not seen, and nothing proves an answer.
    case unseenEnd
    /// A message box answered, nobody talked.
    case voicemail
    /// The caller hung up while waiting in a queue.
    case leftQueue
    /// The queue gave the caller up, nobody had answered.
    case queueEnded
    /// The caller hung up while telephones rang.
    case callerLeft
    /// The best result among the telephones that were called last.
    case attempts
    /// A machine answered and nobody was called.
    case noDial
    /// The SIP code of the end.
    case sipCode
    /// The Q.850 cause of the end.
    case cause
    /// No cause was told: the dialplan or an application ended the unanswered call.
    case systemEnded
    /// No cause was told: inferred from who hung up.
    case whoHungUp
    /// Nothing tells why.
    case nothingTold

    /// The word stored.
    public var name: StaticString {
        switch self {
        case .none: ""
        case .merged: "merged"
        case .talk: "talk"
        case .conference: "conference"
        case .unseenEnd: "unseen_end"
        case .voicemail: "voicemail"
        case .leftQueue: "left_queue"
        case .queueEnded: "queue_ended"
        case .callerLeft: "caller_left"
        case .attempts: "attempts"
        case .noDial: "no_dial"
        case .sipCode: "sip_code"
        case .cause: "cause"
        case .systemEnded: "system_ended"
        case .whoHungUp: "who_hung_up"
        case .nothingTold: "nothing_told"
        }
    }

    /// Why, in a sentence for people.
    public var explanation: StaticString {
        switch self {
        case .none: "the call goes on"
        case .merged: "the call became part of an older one"
        case .talk: "a person was bridged with the caller"
        case .conference: "the caller was in a conference room with others"
        case .unseenEnd: "the end was not seen and nothing proves an answer"
        case .voicemail: "a message box answered and nobody talked with the caller"
        case .leftQueue: "the caller hung up while waiting in the queue"
        case .queueEnded: "the queue gave up and nobody had answered"
        case .callerLeft: "the caller hung up before anybody answered"
        case .attempts: "the best result among the telephones called last"
        case .noDial: "a machine answered and nobody was called"
        case .sipCode: "the SIP code of the end"
        case .cause: "the Q.850 cause of the end"
        case .systemEnded: "the dialplan or an application ended the call unanswered"
        case .whoHungUp: "no cause was told; inferred from who hung up"
        case .nothingTold: "nothing tells why the call failed"
        }
    }
}

/// Who ended a call; column `hung_up_by`.
public enum HungUpBy: UInt8, Sendable, CaseIterable, BitwiseCopyable {
    case nobody, caller, callee
    /// The dialplan, an application or an administrator.
    case system

    /// The word stored; empty while nobody has.
    public var name: StaticString {
        switch self {
        case .nobody: ""
        case .caller: "caller"
        case .callee: "callee"
        case .system: "system"
        }
    }
}
