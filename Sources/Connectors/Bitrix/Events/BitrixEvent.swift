import Protocols

/// What the portal asks for by an event: a form with bracket keys, every value a text.
package enum BitrixEvent: Sendable, Hashable {
    /// An employee clicked a number; the portal has registered the call already.
    case click(Click)
    /// Somebody wants to be called back.
    case callBack(CallBack)
    /// Nothing that we act on.
    case other(String)

    /// See ``click(_:)``.
    package struct Click: Sendable, Hashable {
        /// The portal's `CALL_ID`, to be finished when the call is over.
        package var bitrixCallID: String
        /// Who is to be called, as it was written.
        package var number: String
        /// Whose telephone is to ring first; empty when the portal does not say.
        package var `extension`: String
        package var userID: Int
        /// The company's line; empty when none was chosen.
        package var line: String
    }

    /// See ``callBack(_:)``.
    package struct CallBack: Sendable, Hashable {
        package var number: String
        package var line: String
    }

    /// Longest body that is read.
    package static let maximumBytes = 64 * 1024

    /// Why a request is not believed.
    package enum Refusal: Error, Hashable {
        /// No form, or one without what its event must have.
        case malformed
        /// The application token is missing or another.
        case stranger
    }

    /// Reads a request's body.
    ///
    /// - Parameter token: What the portal proves itself with.
    package init(_ body: [UInt8], token: String) throws(Refusal) {
        guard body.count <= Self.maximumBytes,
            let form = Query(parsing: String(decoding: body, as: UTF8.self))
        else {
            throw .malformed
        }
        guard SharedSecret.isSame(form["auth[application_token]"] ?? "", as: token) else { throw .stranger }
        func data(_ key: String) -> String { form["data[\(key)]"] ?? "" }
        let name = form["event"]?.uppercased() ?? ""
        switch name {
        case "ONEXTERNALCALLSTART":
            let international = data("PHONE_NUMBER_INTERNATIONAL")
            let number = international.isEmpty ? data("PHONE_NUMBER") : international
            guard !data("CALL_ID").isEmpty, !PhoneNumber.strippedIsEmpty(number),
                let user = Int(data("USER_ID")),
                user > 0
            else { throw .malformed }
            self = .click(
                Click(
                    bitrixCallID: data("CALL_ID"), number: PhoneNumber.stripped(number),
                    extension: PhoneNumber.digits(data("EXTENSION")), userID: user, line: data("LINE_NUMBER"))
            )
        case "ONEXTERNALCALLBACKSTART":
            let number = data("PHONE_NUMBER")
            guard !PhoneNumber.strippedIsEmpty(number) else { throw .malformed }
            self = .callBack(CallBack(number: PhoneNumber.stripped(number), line: data("LINE_NUMBER")))
        default: self = .other(name)
        }
    }
}

/// The same click comes twice at times: from two handlers, or from an impatient finger.
struct BitrixClickFilter {
    /// A `CALL_ID` is taken once in so long.
    static let callTime: Duration = .seconds(30)
    /// The same user and number once in so long.
    static let pairTime: Duration = .seconds(5)
    /// Clicks remembered.
    static let maximumEntries = 1_000

    private var until: [String: Duration] = [:]

    /// Whether an event is new; it is remembered.
    mutating func isNew(_ event: BitrixEvent, at now: Duration) -> Bool {
        if until.count >= Self.maximumEntries { until = until.filter { $0.value > now } }
        guard until.count < Self.maximumEntries else { return false }
        switch event {
        case .click(let click):
            let keys = ["c \(click.bitrixCallID)", "u \(click.userID) \(click.number)"]
            guard keys.allSatisfy({ until[$0].map { $0 <= now } ?? true }) else { return false }
            until[keys[0]] = now + Self.callTime
            until[keys[1]] = now + Self.pairTime
        case .callBack(let callBack):
            let key = "b \(callBack.number)"
            guard until[key].map({ $0 <= now }) ?? true else { return false }
            until[key] = now + Self.callTime
        case .other: break
        }
        return true
    }
}
