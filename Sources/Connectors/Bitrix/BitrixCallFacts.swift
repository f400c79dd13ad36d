package import CallEngine

/// Whom the portal gives a call to: exactly one of the two is sent, because `USER_ID` wins even when it is wrong.
package enum BitrixUser: Sendable, Hashable, CustomStringConvertible {
    /// The employee with this `UF_PHONE_INNER`.
    case phoneInner(String)
    /// The employee with this id.
    case userID(Int)

    /// For logs.
    package var description: String {
        switch self {
        case .phoneInner(let number): "extension \(number)"
        case .userID(let id): "user \(id)"
        }
    }

    /// Reads ``description``.
    init?(_ text: String) {
        let words = text.split(separator: " ", maxSplits: 1).map { String($0) }
        guard words.count == 2 else { return nil }
        switch words[0] {
        case "extension": self = .phoneInner(words[1])
        case "user":
            guard let id = Int(words[1]) else { return nil }
            self = .userID(id)
        default: return nil
        }
    }
}

/// Why a call is not told to the CRM.
package enum BitrixSkipReason: Sendable, Hashable, CustomStringConvertible {
    /// The customer's side has no number.
    case hiddenNumber
    /// Both sides are extensions.
    case internalCall

    /// For logs.
    package var description: String {
        switch self {
        case .hiddenNumber: "the customer's number is hidden or unknown"
        case .internalCall: "a call between two extensions"
        }
    }
}

/// A call as Bitrix24 sees it.
///
/// A repeat of `register` must have all of these unchanged to be recognised.
package struct BitrixCallFacts: Sendable, Hashable {
    /// `TYPE`.
    package enum CallType: Int, Sendable, Hashable {
        case outgoing = 1
        case incoming = 2
        /// Asked for in a form of the portal's.
        case callBack = 4
    }

    /// Which way.
    package var type: CallType
    /// `PHONE_NUMBER`: the customer's number, whichever way the call goes.
    package var phoneNumber: String
    /// Whose call it is on our side.
    package var user: BitrixUser
    /// Whether `user` is whoever has the extension, and not the default user in their place.
    package var userHasPhone = false
    /// `LINE_NUMBER`: the company's number that was called or that calls.
    package var lineNumber: String?

    /// All fields; see each.
    package init(
        type: CallType, phoneNumber: String, user: BitrixUser, lineNumber: String?, userHasPhone: Bool = false
    ) {
        self.userHasPhone = userHasPhone
        self.type = type
        self.phoneNumber = phoneNumber
        self.user = user
        self.lineNumber = lineNumber
    }
}

/// The outcome of ``BitrixCallFacts/reading(_:configuration:)``.
package enum BitrixReading: Sendable, Hashable {
    /// The call as the portal shall see it.
    case call(BitrixCallFacts)
    /// The call is not told to the portal.
    case skip(BitrixSkipReason)
}

extension BitrixCallFacts {
    /// Finds out which side is the customer's.
    ///
    /// | direction told | customer | our side |
    /// | --- | --- | --- |
    /// | inbound | caller | callee |
    /// | outbound | callee | caller |
    /// | unknown, caller is an extension | callee | caller |
    /// | unknown, else | caller | callee |
    ///
    /// The last line also takes calls where neither side looks like an extension: what leaves the company
    /// nearly always has an extension as its caller, and taking a customer for an employee would be the worse
    /// mistake. Both sides an extension: an internal call, whatever direction was told (dialplans that start
    /// internal calls in `from-internal` call them outbound).
    ///
    /// Our side is named by extension if it looks like one. Otherwise (the company's number was called, or
    /// the trunk's number calls) the call goes to the fallback user, and that number is the line. At the end whoever talked
    /// last comes before whoever was called, and of a missed call whose telephone rang last.
    ///
    /// Who has the extension is said by the settings (`BITRIX_EXTENSION_USERS`), else by the directory, else by the
    /// portal itself. A number of either is an extension however long it is.
    package static func reading(
        _ call: CRMCall, configuration: BitrixConfiguration, directory: BitrixDirectory? = nil
    ) -> BitrixReading {
        let caller = PhoneNumber.usable(call.callerNumber)
        let callee = PhoneNumber.usable(call.calleeNumber)
        func isExtension(_ number: String?) -> Bool {
            guard let number else { return false }
            return configuration.extensionUsers[number] != nil || directory?.userID(extension: number) != nil
                || PhoneNumber.isExtension(number, maximumDigits: configuration.maximumExtensionDigits)
        }
        if isExtension(caller), isExtension(callee), !configuration.registersInternalCalls {
            return .skip(.internalCall)
        }

        var type: CallType =
            switch call.direction {
            case .inbound: .incoming
            case .outbound: .outgoing
            case .unknown: isExtension(caller) ? .outgoing : .incoming
            }
        let (customer, called) = type == .incoming ? (caller, callee) : (callee, caller)
        if call.isCallBack { type = .callBack }
        guard
            let phoneNumber = customer.map({ configuration.numberRules.rewritten($0) })
                ?? configuration.hiddenNumber
        else { return .skip(.hiddenNumber) }

        var facts = BitrixCallFacts(
            type: type, phoneNumber: phoneNumber, user: .userID(configuration.fallbackUserID),
            lineNumber: configuration.lineNumber)
        if let called, !isExtension(called) { facts.lineNumber = called }
        // Once it has ended: the last who talked, else of a call from outside whose telephone rang last.
        let talked = call.talks.filter { isExtension($0.number) && $0.number != customer }
            .max { $0.endedAt < $1.endedAt }?.number
        let answered = type == .incoming ? call.answeredBy : nil
        let rang = type == .incoming && call.talks.isEmpty ? call.lastRung : nil
        let persons = [talked, answered, rang, called].compactMap { $0 }
        if let ours = persons.first(where: { isExtension($0) }) {
            facts.userHasPhone = true
            let userID = configuration.extensionUsers[ours] ?? directory?.userID(extension: ours)
            facts.user = userID.map { .userID($0) } ?? .phoneInner(ours)
        }
        return .call(facts)
    }
}

/// How a call ended, in Bitrix24's terms.
package struct BitrixEnding: Sendable, Hashable {
    /// `STATUS_CODE`.
    package var statusCode: String
    /// `DURATION` in seconds: talk time.
    ///
    /// The portal takes every call with more than 0 for a successful one, so nothing but an answered call
    /// may have it, and an answered one has at least 1.
    package var duration: Int
    /// `FAILED_REASON`; nil for answered calls.
    package var failedReason: String?

    /// Reads the ending off a call.
    package init(of call: CRMCall, type: BitrixCallFacts.CallType) {
        let isIncoming = type == .incoming
        duration = 0
        switch call.outcome {
        case .answered, .ivrOnly:
            // A machine's answer is an answer here: a missed call that nobody need return would be the worse record.
            statusCode = "200"
            duration = max(1, call.talkSeconds)
            return
        case .none:
            // The engine names an outcome with each end; this is for a caller that does not.
            if call.talkSeconds > 0 {
                statusCode = "200"
                duration = call.talkSeconds
                return
            }
            statusCode = isIncoming ? "304" : "480"
            failedReason = "Not answered"
        case .abandoned: (statusCode, failedReason) = ("304", "Missed: caller hung up")
        case .noAnswer: (statusCode, failedReason) = (isIncoming ? "304" : "480", "No answer")
        case .busy: (statusCode, failedReason) = ("486", "Busy")
        case .rejected: (statusCode, failedReason) = ("603", "Declined")
        case .cancelled: (statusCode, failedReason) = ("603-S", "Cancelled by caller")
        case .numberInvalid: (statusCode, failedReason) = ("404", "Wrong number")
        case .unavailable: (statusCode, failedReason) = ("480", "Not reachable")
        case .congestion: (statusCode, failedReason) = ("503", "Network busy or failed")
        case .failed: (statusCode, failedReason) = ("OTHER", "Technical failure")
        case .merged: (statusCode, failedReason) = ("OTHER", "Part of another call")
        case .voicemail: (statusCode, failedReason) = (isIncoming ? "304" : "480", "Voicemail")
        case .lost: (statusCode, failedReason) = ("OTHER", "Record incomplete")
        }
        if call.hangupCause != 0, let reason = failedReason {
            failedReason = "\(reason) (cause \(call.hangupCause))"
        }
    }
}
