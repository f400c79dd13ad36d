package import Protocols

/// The address of a portal's REST interface under an incoming webhook, taken apart.
///
/// The path holds the webhook's secret: nothing but the request target of a request may show it. What logs and
/// error texts get is ``description``, which names the portal and the user only.
package struct BitrixWebhook: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    /// `https`, or `http` for a stand-in on this machine.
    package let scheme: URL.Scheme
    /// The portal's host name.
    package let host: String
    /// The port.
    package let port: UInt16
    /// The employee that the webhook acts as.
    package let userID: Int
    /// `/rest/USER/TOKEN/`, with exactly one `/` at the end.
    ///
    /// A secret.
    private let base: String

    /// Takes `https://DOMAIN/rest/USER/TOKEN/` apart; the last slash may be missing.
    ///
    /// - Parameters:
    ///   - text: The webhook's URL as the portal shows it.
    ///   - allowsPlainHTTP: Whether `http` is accepted for hosts other than this machine.
    /// - Throws: ``BitrixConfigurationError``, whose text never holds the secret.
    package init(_ text: some StringProtocol, allowsPlainHTTP: Bool = false) throws(BitrixConfigurationError)
    {
        func refused(_ problem: String) -> BitrixConfigurationError {
            BitrixConfigurationError(variable: "BITRIX_WEBHOOK_URL", problem: problem)
        }
        let url: URL
        do { url = try URL(text) } catch { throw refused("\(error)") }
        switch url.scheme {
        case .https: break
        case .http:
            guard allowsPlainHTTP || Self.isThisMachine(url.host) else {
                throw refused("http would send the secret in clear; use https (or set BITRIX_ALLOW_HTTP=1)")
            }
        case .ws, .wss: throw refused("the scheme must be https")
        }
        guard url.user == nil, url.password == nil else {
            throw refused("user information before @ is not used")
        }
        guard url.query == nil else { throw refused("a query (?…) does not belong there") }

        var path = url.path[...]
        if path.hasSuffix("/") { path = path.dropLast() }
        let segments = path.split(separator: "/", omittingEmptySubsequences: false)
        let shape = "the path must be /rest/USER/TOKEN/"
        guard segments.count == 4, segments[0].isEmpty, segments[1] == "rest" else { throw refused(shape) }
        guard let userID = Int(segments[2]), userID > 0 else {
            throw refused(shape + " with a number as USER")
        }
        guard !segments[3].isEmpty, segments[3].utf8.allSatisfy(Self.isTokenByte) else {
            throw refused(shape + " with letters and digits as TOKEN")
        }
        self.scheme = url.scheme
        self.host = url.host
        self.port = url.port
        self.userID = userID
        base = path + "/"
    }

    /// A portal whose requests bear an application's token instead.
    init(portal: URL) {
        scheme = portal.scheme
        host = portal.host
        port = portal.port
        userID = 0
        base = "/rest/"
    }

    /// The portal.
    package var origin: HTTPOrigin { HTTPOrigin(isSecure: scheme.isSecure, host: host, port: port) }

    /// The request target of a method: the webhook's path, one slash, the method's name.
    ///
    /// A secret.
    package func target(of method: BitrixMethod) -> String { base + method.rawValue }

    /// The same for a method that the client itself does not call.
    package func target(named method: String) -> String { base + method }

    /// Portal and user, without the secret.
    package var description: String {
        let plainPort = port == scheme.defaultPort ? "" : ":\(port)"
        let user = userID == 0 ? "" : "\(userID)/…/"
        return "\(scheme.rawValue)://\(host)\(plainPort)/rest/\(user)"
    }

    /// Same as ``description``: a debugger or a `\(reflecting:)` shows no secret either.
    package var debugDescription: String { description }

    /// Hides the stored path from `dump` and from descriptions of types that hold a webhook.
    package var customMirror: Mirror { Mirror(self, children: ["portal": description]) }

    private static func isThisMachine(_ host: String) -> Bool {
        host == "localhost" || host == "::1"
            || (host.hasPrefix("127.") && host.utf8.allSatisfy { $0 != 0x2D })
    }

    private static func isTokenByte(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E: true
        default: false
        }
    }
}

/// A setting of the CRM link that cannot be used; stops the start with exit status 78.
package struct BitrixConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The environment variable.
    package let variable: String
    /// What is wrong with it, without secrets.
    package let problem: String

    /// Both; `problem` must hold no secret.
    package init(variable: String, problem: String) {
        self.variable = variable
        self.problem = problem
    }

    /// One line naming the variable.
    package var description: String { "\(variable): \(problem)" }
}
