public import Protocols

/// A call as the CRM is told of it: copied out of the engine, safe to hand to another loop.
public struct CRMCall: Sendable, Hashable {
    /// Which PBX; index into the daemon's list.
    public var pbx: UInt16 = 0
    /// Which loop writes the call's rows; means nothing to a CRM.
    public var writer: UInt8 = 0
    /// The call's key at the PBX; basis of Bitrix24's `EXTERNAL_CALL_ID`.
    public var callID: String
    /// Of a conversation that is told as a call of its own: the key of the call it is part of.
    public var wholeID: String?
    /// Whether the customer asked in a form of the CRM's to be called back.
    public var isCallBack = false
    /// Which way the call goes.
    public var direction: CallDirection
    /// Who called; `nil` when hidden or unknown.
    public var callerNumber: String?
    /// Who was called; `nil` when unknown.
    public var calleeNumber: String?
    /// PBX time of the start.
    public var startedAt: Timestamp
    /// PBX time of the answer.
    public var answeredAt: Timestamp?
    /// PBX time of the end.
    public var endedAt: Timestamp?
    /// How it ended; `.none` while it lives.
    public var outcome: CallOutcome
    /// Q.850 cause of the end; 0 when none was told.
    public var hangupCause: UInt16
    /// The rule that chose the outcome; `.none` while it lives.
    public var outcomeRule = OutcomeRule.none
    /// SIP code of the end; 0 when none was told.
    public var sipCode: UInt16 = 0
    /// Who ended it.
    public var hungUpBy = HungUpBy.nobody
    /// When a person first talked with the caller; `nil` when nobody did, or as long as it is not known.
    public var talkStartedAt: Timestamp?
    /// Talking with persons, hold not counted, in microseconds; `nil` when nobody did.
    public var talkMicroseconds: Int64?
    /// The extension or number that answered.
    public var answeredBy: String?
    /// The extension that a click-to-call began with.
    public var operatorNumber: String?
    /// Who handed the call on last.
    public var transferredBy: String?
    /// To whom.
    public var transferredTo: String?
    /// The last queue the caller waited in.
    public var queue: String?

    /// The telephone that rang last, or was called last, by its number.
    public var lastRung: String?
    /// Who talked with the caller, in the order of their beginnings; known once the call has ended.
    public var talks: [CRMTalk] = []
    /// Telephones at which the call rings or is spoken now, by their numbers; only with ``CRMAction/telephones(_:)``.
    public var telephones: [String] = []

    /// In the ids of channels that are made because the CRM asked for a call, so that such a call is known by its id alone, after
    /// a restart too.
    public static let askedForMark = "crmclick."

    /// Whether there may be a recording of it.
    public var mayHaveRecording: Bool { outcome == .answered && wholeID == nil }

    /// Talk time in whole seconds, never negative, 0 when never answered: with persons where one talked, else, for a
    /// machine's answer, from the answer to the end.
    public var talkSeconds: Int {
        if let talkMicroseconds { return Int(max(0, talkMicroseconds) / 1_000_000) }
        guard let answeredAt, let endedAt else { return 0 }
        return Int(max(0, endedAt.microseconds - answeredAt.microseconds) / 1_000_000)
    }

    /// All fields; see each.
    public init(
        callID: String, direction: CallDirection, callerNumber: String?, calleeNumber: String?,
        startedAt: Timestamp, answeredAt: Timestamp? = nil, endedAt: Timestamp? = nil,
        outcome: CallOutcome = .none, hangupCause: UInt16 = 0
    ) {
        self.callID = callID
        self.direction = direction
        self.callerNumber = callerNumber
        self.calleeNumber = calleeNumber
        self.startedAt = startedAt
        self.answeredAt = answeredAt
        self.endedAt = endedAt
        self.outcome = outcome
        self.hangupCause = hangupCause
    }
}

/// One conversation of a call.
public struct CRMTalk: Sendable, Hashable {
    /// Number or extension of who talked with the caller.
    public var number: String
    /// PBX time of its begin.
    public var startedAt: Timestamp
    /// PBX time of its end.
    public var endedAt: Timestamp

    /// All fields; see each.
    public init(number: String, startedAt: Timestamp, endedAt: Timestamp) {
        self.number = number
        self.startedAt = startedAt
        self.endedAt = endedAt
    }
}

/// What the CRM shall be told; released only when the call's row is durable.
public enum CRMAction: Sendable, Hashable {
    /// The call began.
    case register(CRMCall)
    /// It rings at other telephones than before, or is spoken at others; `register` of the same call was given before.
    case telephones(CRMCall)
    /// The call ended; `register` of the same call was given before.
    case finish(CRMCall)

    /// The call.
    public var call: CRMCall {
        switch self {
        case .register(let call), .telephones(let call), .finish(let call): call
        }
    }
}
