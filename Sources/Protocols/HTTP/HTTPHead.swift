/// A request's method (RFC 9110 §9); case matters.
public struct HTTPMethod: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// The text on the wire.
    public var rawValue: String

    /// Makes a method of its text.
    public init(rawValue: String) { self.rawValue = rawValue }

    /// `GET`.
    public static let get = HTTPMethod(rawValue: "GET")
    /// `HEAD`.
    public static let head = HTTPMethod(rawValue: "HEAD")
    /// `POST`.
    public static let post = HTTPMethod(rawValue: "POST")
    /// `PUT`.
    public static let put = HTTPMethod(rawValue: "PUT")
    /// `DELETE`.
    public static let delete = HTTPMethod(rawValue: "DELETE")
    /// `OPTIONS`.
    public static let options = HTTPMethod(rawValue: "OPTIONS")
    /// `CONNECT`.
    public static let connect = HTTPMethod(rawValue: "CONNECT")

    /// The text on the wire.
    public var description: String { rawValue }
}

/// How a message's body is delimited (RFC 9112 §6.3).
public enum HTTPBodyFraming: Sendable, Equatable {
    /// There is none.
    case none
    /// So many bytes.
    case length(Int)
    /// In chunks.
    case chunked
    /// All until the connection ends; responses only.
    case untilClose
}

/// A request's line and fields.
public struct HTTPRequestHead: Sendable {
    /// The method.
    public var method: HTTPMethod
    /// The request target as it came: `/path?query`, an absolute URL, `*` or, with CONNECT, `host:port`.
    public var target: String
    /// The 1 of HTTP/1.1.
    ///
    /// Later minor versions are read as 1.
    public var minorVersion: Int
    /// The fields.
    public var fields: HTTPFields
    /// How the body is delimited.
    public var framing: HTTPBodyFraming
    /// Whether the connection may carry another request (§9.3).
    public var keepsAlive: Bool

    /// Whether the client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
    public var expectsContinue: Bool {
        minorVersion >= 1 && framing != .none && fields.hasToken("100-continue", in: "expect")
    }

    /// The path as it came, percent-encoded, without the query.
    ///
    /// Of an absolute target its path.
    public var path: String { String(split.path) }

    /// The query as it came, percent-encoded; nil when there is none.
    public var query: String? { split.query.map { String($0) } }

    private var split: (path: Substring, query: Substring?) {
        var rest = target[...]
        if rest.utf8.first != 0x2F, let scheme = rest.utf8.firstIndex(of: 0x3A) {
            let authority = rest.utf8[scheme...].dropFirst(3)
            let start = authority.firstIndex { $0 == 0x2F || $0 == 0x3F } ?? rest.endIndex
            rest = rest[start...]
        }
        guard let question = rest.utf8.firstIndex(of: 0x3F) else { return (rest.isEmpty ? "/" : rest, nil) }
        let path = rest[..<question]
        return (path.isEmpty ? "/" : path, rest[rest.utf8.index(after: question)...])
    }
}

/// A response's status line and fields.
public struct HTTPResponseHead: Sendable {
    /// The status code, 100 to 599.
    public var statusCode: Int
    /// The reason phrase, which means nothing.
    public var reason: String
    /// The 1 of HTTP/1.1.
    public var minorVersion: Int
    /// The fields.
    public var fields: HTTPFields
    /// How the body is delimited.
    public var framing: HTTPBodyFraming
    /// Whether the connection may carry another request after this response (§9.3).
    public var keepsAlive: Bool
}

/// What both kinds of head have in common: reading lengths and connection options strictly.
enum HTTPFraming {
    /// The framing that the fields tell (RFC 9112 §6.3), or `.untilClose` when they tell none.
    static func framing(_ fields: HTTPFields, minorVersion: Int) throws(HTTPError) -> HTTPBodyFraming {
        let codings = fields.values(of: "transfer-encoding")
        let lengths = fields.values(of: "content-length")
        if !codings.isEmpty {
            // Both together are the classic of request smuggling (§11.2); so is a coding that an HTTP/1.0
            // intermediary passed on without understanding it.
            guard lengths.isEmpty, minorVersion >= 1 else { throw .ambiguousLength }
            if codings.count == 1, codings[0].lowercased() == "chunked" { return .chunked }
            // Another coding that is known to end in chunks is one that we lack (§6.1); of any other list it cannot
            // be told where the body ends (§6.3).
            let list = fields.members(of: "transfer-encoding")
            guard list.last == "chunked", list.dropLast().allSatisfy({ $0 != "chunked" && !$0.isEmpty }),
                list.count > 1
            else { throw .ambiguousTransferCoding }
            throw .unknownTransferCoding
        }
        if lengths.isEmpty { return .untilClose }
        // §6.3 allows to merge equal repeated values; nobody honest sends them.
        guard lengths.count == 1, let length = decimal(lengths[0]) else { throw .invalidContentLength }
        return .length(length)
    }

    static func keepsAlive(_ fields: HTTPFields, minorVersion: Int) -> Bool {
        let options = fields.tokens(of: "connection")
        if options.contains("close") { return false }
        return minorVersion >= 1 || options.contains("keep-alive")
    }

    private static func decimal(_ text: String) -> Int? {
        guard !text.isEmpty, text.utf8.count <= 18, text.utf8.allSatisfy(ASCII.isDigit) else { return nil }
        return Int(text)
    }
}
