/// Why a text is no URL that we can connect to.
public enum URLError: Error, Equatable, CustomStringConvertible {
    /// No `scheme://`.
    case missingScheme
    /// A scheme other than the ones of ``URL/Scheme``.
    case unknownScheme
    /// No host, or one with bytes that no host name or address has.
    case invalidHost
    /// A port that is no number from 1 to 65535.
    case invalidPort
    /// A malformed `%`, or user information that is not UTF-8.
    case invalidEncoding
    /// White space, control characters, or non-ASCII in the path or query.
    case invalidCharacter
    /// Longer than ``URL/maximumBytes``.
    case tooLong

    /// A sentence part for logs; never holds the text itself, which may carry a password.
    public var description: String {
        switch self {
        case .missingScheme: "no scheme:// in front"
        case .unknownScheme: "the scheme is none of http, https, ws, wss"
        case .invalidHost: "the host is missing or malformed"
        case .invalidPort: "the port is no number from 1 to 65535"
        case .invalidEncoding: "a % is not followed by two hexadecimal digits"
        case .invalidCharacter: "white space, control or non-ASCII characters must be percent-encoded"
        case .tooLong: "longer than \(URL.maximumBytes) bytes"
        }
    }
}

/// An absolute `http`, `https`, `ws` or `wss` URL, taken apart (RFC 3986 §3, RFC 6455 §3).
///
/// User and password are kept apart and never come back in ``description``.
public struct URL: Hashable, Sendable, CustomStringConvertible {
    /// The schemes that we speak.
    public enum Scheme: String, Sendable, CaseIterable {
        /// HTTP over TCP.
        case http
        /// HTTP over TLS.
        case https
        /// WebSocket over TCP.
        case ws
        /// WebSocket over TLS.
        case wss

        /// Whether TLS is spoken.
        public var isSecure: Bool { self == .https || self == .wss }
        /// 80, or 443 with TLS.
        public var defaultPort: UInt16 { isSecure ? 443 : 80 }
    }

    /// The longest text that is read, in bytes.
    public static let maximumBytes = 16384

    /// The scheme.
    public var scheme: Scheme
    /// The decoded user name, when there is one.
    public var user: String?
    /// The decoded password, when there is one.
    ///
    /// A secret.
    public var password: String?
    /// The host in lower case; an IPv6 address without its brackets.
    public var host: String
    /// The port, the scheme's own when the text has none.
    public var port: UInt16
    /// The path as written, percent-encoded, starting with `/`.
    public var path: String
    /// The query as written, percent-encoded, without `?`; nil when there is none.
    public var query: String?

    /// Makes a URL of its parts; `path` and `query` are percent-encoded already.
    public init(
        scheme: Scheme, user: String? = nil, password: String? = nil, host: String, port: UInt16? = nil,
        path: String = "/", query: String? = nil
    ) {
        self.scheme = scheme
        self.user = user
        self.password = password
        self.host = host
        self.port = port ?? scheme.defaultPort
        self.path = path
        self.query = query
    }

    /// Whether TLS is spoken.
    public var isSecure: Bool { scheme.isSecure }

    /// Path and query: what a request line names (RFC 9112 §3.2.1).
    public var requestTarget: String {
        guard let query else { return path }
        return path + "?" + query
    }

    /// Host and, where it is not the scheme's own, port, as the `Host` field wants them (RFC 9110 §7.2).
    public var hostField: String {
        let name = host.utf8.contains(0x3A) ? "[\(host)]" : host
        return port == scheme.defaultPort ? name : "\(name):\(port)"
    }

    /// The value of an `Authorization` field with Basic credentials (RFC 7617), when there is a user name.
    ///
    /// A secret.
    public var basicAuthorization: String? {
        guard let user else { return nil }
        return "Basic " + Base64.encoded(Array("\(user):\(password ?? "")".utf8))
    }

    /// The same URL with the given items added at the end of its query.
    public func appending(_ items: Query) -> URL {
        var copy = self
        let added = items.encoded
        if let query, !query.isEmpty { copy.query = query + "&" + added } else { copy.query = added }
        return copy
    }

    /// The text without user and password; fit for logs unless the query holds secrets.
    public var description: String { "\(scheme.rawValue)://\(hostField)\(requestTarget)" }
}

extension URL {
    /// Takes a text apart.
    ///
    /// A fragment (`#…`) is dropped, since it is never sent. White space around is not cut off.
    public init(_ text: some StringProtocol) throws(URLError) {
        guard text.utf8.count <= URL.maximumBytes else { throw .tooLong }
        let bytes = Array(text.utf8)
        guard let colon = bytes.firstIndex(of: 0x3A), bytes.count >= colon + 3, bytes[colon + 1] == 0x2F,
            bytes[colon + 2] == 0x2F
        else { throw .missingScheme }
        let schemeName = String(decoding: bytes[..<colon].map(ASCII.lowercased), as: UTF8.self)
        guard let scheme = Scheme(rawValue: schemeName) else { throw .unknownScheme }

        var rest = bytes[(colon + 3)...]
        if let hash = rest.firstIndex(of: 0x23) { rest = rest[..<hash] }
        let authorityEnd = rest.firstIndex { $0 == 0x2F || $0 == 0x3F } ?? rest.endIndex
        let target = rest[authorityEnd...]
        guard target.allSatisfy({ $0 > ASCII.space && $0 < 0x7F }) else { throw .invalidCharacter }
        let question = target.firstIndex(of: 0x3F)
        let path = target[..<(question ?? target.endIndex)]

        var authority = rest[..<authorityEnd]
        var user: String?
        var password: String?
        // The last @ ends the user information: a stray one in a password is taken as the writer meant it.
        if let at = authority.lastIndex(of: 0x40) {
            let parts = authority[..<at].split(
                separator: 0x3A, maxSplits: 1, omittingEmptySubsequences: false)
            user = try URL.decodedPart(parts[0])
            if parts.count > 1 { password = try URL.decodedPart(parts[1]) }
            authority = authority[(at + 1)...]
        }
        let (host, port) = try URL.hostAndPort(authority)
        self.init(
            scheme: scheme, user: user, password: password, host: host, port: port,
            path: path.isEmpty ? "/" : String(decoding: path, as: UTF8.self),
            query: question.map { String(decoding: target[($0 + 1)...], as: UTF8.self) })
    }

    private static func decodedPart(_ bytes: ArraySlice<UInt8>) throws(URLError) -> String {
        let text = String(decoding: bytes, as: UTF8.self)
        guard let decoded = PercentCoding.decoded(text, plus: .literal) else { throw .invalidEncoding }
        return decoded
    }

    private static func hostAndPort(_ authority: ArraySlice<UInt8>) throws(URLError) -> (String, UInt16?) {
        let host: ArraySlice<UInt8>
        let after: ArraySlice<UInt8>
        if authority.first == 0x5B {
            guard let close = authority.firstIndex(of: 0x5D) else { throw .invalidHost }
            host = authority[(authority.startIndex + 1)..<close]
            after = authority[(close + 1)...]
            // Hexadecimal groups, perhaps an embedded IPv4 address; zones (`%eth0`) mean nothing to a peer.
            guard host.contains(0x3A),
                host.allSatisfy({ ASCII.hexValue($0) != nil || $0 == 0x3A || $0 == 0x2E })
            else { throw .invalidHost }
            guard after.isEmpty || after.first == 0x3A else { throw .invalidHost }
        } else {
            let colon = authority.firstIndex(of: 0x3A) ?? authority.endIndex
            host = authority[..<colon]
            after = authority[colon...]
            guard host.allSatisfy({ ASCII.isUnreserved($0) }) else { throw .invalidHost }
        }
        guard !host.isEmpty, host.count <= 255 else { throw .invalidHost }
        let name = String(decoding: host.map(ASCII.lowercased), as: UTF8.self)
        let digits = after.dropFirst()
        if digits.isEmpty { return (name, nil) }
        guard digits.count <= 5, digits.allSatisfy(ASCII.isDigit),
            let port = UInt16(String(decoding: digits, as: UTF8.self)), port > 0
        else { throw .invalidPort }
        return (name, port)
    }
}
