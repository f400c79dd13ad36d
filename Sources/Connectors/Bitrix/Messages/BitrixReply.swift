/// What came of one request, read as far as the client needs it.
package enum BitrixReply: Sendable, Hashable {
    /// The method ran.
    case success(BitrixSuccess)
    /// The portal answered with an error.
    case refusal(BitrixRefusal)
    /// No answer of the portal's: no connection, a cut one, a time-out, or a body that is no JSON (a proxy's
    /// page). `mayHaveRun`: whether the method may have had its effect.
    case noAnswer(mayHaveRun: Bool, reason: String)
}

/// The answer of a method that ran.
package struct BitrixSuccess: Sendable, Hashable {
    /// `CALL_ID`, if the result has one.
    package var callID: String?
    /// Warnings that travel with a success: `LEAD_CREATION_ERROR`, `ERRORS`.
    package var warnings: [String] = []
    /// From `time`: in how long the oldest minute of running time drops out of the portal's sum for this
    /// method.
    ///
    /// A difference of two of the portal's own times, so its clock need not agree with ours.
    package var operatingResetsAfter: Duration?
    /// From `time`: the portal's sum of running time for this method, in seconds.
    package var operating: Double?
    /// From `time`: how long it ran, in seconds.
    package var duration: Double?
    /// From `time`: the portal's time of day when it had finished, in seconds since 1970.
    package var finishedAt: Double?
    /// Rows of a list; 0 when the result is none.
    package var rows = 0
    /// `ASSIGNED_BY_ID` of a list's first row.
    package var responsibleID: Int?

    /// All fields; see each.
    package init(
        callID: String? = nil, warnings: [String] = [], operatingResetsAfter: Duration? = nil,
        operating: Double? = nil, duration: Double? = nil, finishedAt: Double? = nil, rows: Int = 0,
        responsibleID: Int? = nil
    ) {
        self.responsibleID = responsibleID
        self.callID = callID
        self.warnings = warnings
        self.operatingResetsAfter = operatingResetsAfter
        self.operating = operating
        self.duration = duration
        self.finishedAt = finishedAt
        self.rows = rows
    }
}

/// An error of the portal's.
package struct BitrixRefusal: Sendable, Hashable {
    /// HTTP status.
    package var status: Int
    /// `error`; may be empty with the telephony methods.
    package var code: String
    /// `error_description`, cut to ``maximumTextBytes``.
    package var text: String

    /// The longest description that is kept.
    package static let maximumTextBytes = 300

    /// All fields; see each.
    package init(status: Int, code: String, text: String) {
        self.status = status
        self.code = code
        self.text = text
    }

    /// What an error means for us.
    ///
    /// The code decides; the status only where there is no code, since revisions of the documentation
    /// disagree on the status.
    package enum Meaning: Sendable, Hashable {
        /// The request bucket is full: wait, all methods.
        case tooManyRequests
        /// The method's running time is used up: wait, this method only. It did not run.
        case methodBlocked
        /// The portal failed; whether the method ran is not known.
        case serverFailure
        /// Nothing will work until a person changes something; the text says what.
        case configuration(String)
        /// Nobody has the extension, or the user does not exist or is not active.
        case userUnknown
        /// `finish` of a call that is not active: never registered, or finished already.
        case callNotFound
        /// Wrong in itself; a repeat would be refused again.
        case refused
    }

    /// See ``Meaning-swift.enum``.
    package var meaning: Meaning {
        switch code.uppercased() {
        case "QUERY_LIMIT_EXCEEDED": return .tooManyRequests
        case "OPERATION_TIME_LIMIT": return .methodBlocked
        case "INTERNAL_SERVER_ERROR", "ERROR_UNEXPECTED_ANSWER": return .serverFailure
        case "WRONG_AUTH_TYPE":
            return .configuration(
                "this portal does not let a webhook register calls (WRONG_AUTH_TYPE): it wants an application"
            )
        case "INVALID_CREDENTIALS":
            return .configuration(
                "the portal does not know the webhook (INVALID_CREDENTIALS): check BITRIX_WEBHOOK_URL")
        case "INSUFFICIENT_SCOPE":
            return .configuration(
                "the webhook lacks a permission (insufficient_scope): it needs telephony and crm")
        case "AUTHORIZATION_ERROR", "USER_ACCESS_ERROR":
            return .configuration(
                "the employee that made the webhook has no access any more (\(code.lowercased()))")
        case "INVALID_GRANT", "INVALID_CLIENT":
            return .configuration(
                "the application's tokens are void (\(code.lowercased())): a person must authorise it again, see BITRIX_OAUTH_FILE"
            )
        case "NO_AUTH_FOUND", "EXPIRED_TOKEN", "INVALID_TOKEN":
            return .configuration("the portal refuses the credentials (\(code)): check BITRIX_WEBHOOK_URL")
        case "ACCESS_DENIED":
            return .configuration("the portal denies access (ACCESS_DENIED): the plan or the user's rights")
        case "OVERLOAD_LIMIT":
            return .configuration("the portal's vendor has blocked REST by hand (OVERLOAD_LIMIT)")
        case "PORTAL_DELETED": return .configuration("the portal is deleted (PORTAL_DELETED)")
        case "ERROR_METHOD_NOT_FOUND":
            return .configuration("the portal has no telephony methods (ERROR_METHOD_NOT_FOUND)")
        case "INVALID_REQUEST" where status == 401 || text.lowercased().contains("https"):
            return .configuration("the portal wants https (INVALID_REQUEST): check BITRIX_WEBHOOK_URL")
        default: break
        }
        // Telephony errors come without a code or with a general one; the text decides. Older releases lack
        // the closing bracket of "Call is not found (…)", so only the beginning is compared.
        if text.hasPrefix("Call is not found") { return .callNotFound }
        if text.hasPrefix("USER_ID or USER_PHONE_INNER should be set") { return .userUnknown }
        if text.hasPrefix("User is not found or is not active") { return .userUnknown }
        switch status {
        case 429: return .methodBlocked
        case 500...: return .serverFailure
        case 300..<400:
            return .configuration(
                "the portal answers with a redirect (HTTP \(status)): check BITRIX_WEBHOOK_URL")
        case 401 where code.isEmpty, 403 where code.isEmpty:
            return .configuration("the portal refuses the webhook (HTTP \(status)): check BITRIX_WEBHOOK_URL")
        default: return .refused
        }
    }

    /// Whether it is this method that is closed to us, and not the portal.
    package var isOfMethod: Bool {
        switch code.uppercased() {
        case "ACCESS_DENIED", "INSUFFICIENT_SCOPE", "ERROR_METHOD_NOT_FOUND", "WRONG_AUTH_TYPE": true
        default: false
        }
    }

    /// For logs: status, code, text.
    package var summary: String {
        "HTTP \(status)\(code.isEmpty ? "" : " " + code)\(text.isEmpty ? "" : ": " + text)"
    }
}
