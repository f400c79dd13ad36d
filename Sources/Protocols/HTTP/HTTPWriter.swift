/// Writes HTTP/1.1 messages (RFC 9112), the mirror of the parsers.
///
/// All functions append to a buffer that the caller owns.
///
/// Control characters in values become spaces, so that no value can add a line. Names are the program's own
/// and must be tokens.
public enum HTTPWriter {
    /// Appends a request's line and fields; the body is the caller's to append.
    ///
    /// - Parameters:
    ///   - method: The method.
    ///   - target: The request target, percent-encoded already (``URL/requestTarget``).
    ///   - host: The `Host` field (``URL/hostField``).
    ///   - fields: Further fields; not `Host`, `Content-Length` or `Transfer-Encoding`.
    ///   - body: How the body will be delimited.
    ///   - output: Where it is appended.
    public static func requestHead(
        _ method: HTTPMethod, target: String, host: String, fields: [HTTPField] = [],
        body: HTTPBodyFraming = .none, to output: inout [UInt8]
    ) {
        precondition(body != .untilClose)
        output.append(contentsOf: method.rawValue.utf8)
        output.append(ASCII.space)
        for byte in target.utf8 { output.append(byte > ASCII.space && byte < 0x7F ? byte : 0x5F) }
        output.append(ascii: " HTTP/1.1\r\n")
        field("Host", host, to: &output)
        for item in fields { field(item.name, item.value, to: &output) }
        framing(body, to: &output)
        output.append(ascii: "\r\n")
    }

    /// Appends a response's status line and fields; the body is the caller's to append, unless the request
    /// was HEAD.
    ///
    /// - Parameters:
    ///   - statusCode: 100 to 599.
    ///   - fields: Further fields; not `Content-Length` or `Transfer-Encoding`.
    ///   - body: How the body will be delimited. `.none` writes `Content-Length: 0`, except for 1xx, 204 and
    ///     304, which have no body by definition.
    ///   - output: Where it is appended.
    public static func responseHead(
        _ statusCode: Int, fields: [HTTPField] = [], body: HTTPBodyFraming, to output: inout [UInt8]
    ) {
        precondition((100...599).contains(statusCode))
        output.append(ascii: "HTTP/1.1 ")
        output.append(decimal: statusCode)
        output.append(ASCII.space)
        output.append(contentsOf: reason(for: statusCode).utf8)
        output.append(ascii: "\r\n")
        for item in fields { field(item.name, item.value, to: &output) }
        let hasNoBody = statusCode < 200 || statusCode == 204 || statusCode == 304
        if !hasNoBody { framing(body == .none ? .length(0) : body, to: &output) }
        output.append(ascii: "\r\n")
    }

    /// Appends a whole response with a body of known size.
    ///
    /// - Parameters:
    ///   - statusCode: 200 to 599.
    ///   - fields: Further fields.
    ///   - body: The body.
    ///   - answersHead: Whether the request was HEAD: then the length is told but the body is left out.
    ///   - keepsAlive: false adds `Connection: close`.
    ///   - output: Where it is appended.
    public static func response(
        _ statusCode: Int, fields: [HTTPField] = [], body: RawSpan, answersHead: Bool = false,
        keepsAlive: Bool = true, to output: inout [UInt8]
    ) {
        let all = keepsAlive ? fields : fields + [HTTPField("Connection", "close")]
        responseHead(statusCode, fields: all, body: .length(body.byteCount), to: &output)
        if !answersHead, statusCode != 204, statusCode != 304 { output.append(contentsOf: body) }
    }

    /// Appends one chunk (§7.1); nothing for no bytes, since an empty chunk would end the body.
    public static func chunk(_ bytes: RawSpan, to output: inout [UInt8]) {
        guard bytes.byteCount > 0 else { return }
        output.append(contentsOf: String(bytes.byteCount, radix: 16).utf8)
        output.append(ascii: "\r\n")
        output.append(contentsOf: bytes)
        output.append(ascii: "\r\n")
    }

    /// Appends the last chunk, which ends a chunked body.
    public static func lastChunk(to output: inout [UInt8]) {
        output.append(ascii: "0\r\n\r\n")
    }

    /// The usual reason phrase of a status code.
    public static func reason(for statusCode: Int) -> String {
        switch statusCode {
        case 100: "Continue"
        case 101: "Switching Protocols"
        case 200: "OK"
        case 201: "Created"
        case 202: "Accepted"
        case 204: "No Content"
        case 301: "Moved Permanently"
        case 302: "Found"
        case 304: "Not Modified"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 408: "Request Timeout"
        case 409: "Conflict"
        case 413: "Content Too Large"
        case 414: "URI Too Long"
        case 415: "Unsupported Media Type"
        case 417: "Expectation Failed"
        case 422: "Unprocessable Content"
        case 426: "Upgrade Required"
        case 429: "Too Many Requests"
        case 431: "Request Header Fields Too Large"
        case 500: "Internal Server Error"
        case 501: "Not Implemented"
        case 502: "Bad Gateway"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        case 505: "HTTP Version Not Supported"
        default: "Status"
        }
    }

    private static func framing(_ body: HTTPBodyFraming, to output: inout [UInt8]) {
        switch body {
        case .none, .untilClose: break
        case .length(let count):
            output.append(ascii: "Content-Length: ")
            output.append(decimal: count)
            output.append(ascii: "\r\n")
        case .chunked: output.append(ascii: "Transfer-Encoding: chunked\r\n")
        }
    }

    private static func field(_ name: String, _ value: String, to output: inout [UInt8]) {
        precondition(!name.isEmpty && name.utf8.allSatisfy(ASCII.isTokenByte))
        output.append(contentsOf: name.utf8)
        output.append(ascii: ": ")
        for byte in value.utf8 {
            let isControl = byte < ASCII.space && byte != ASCII.tab || byte == 0x7F
            output.append(isControl ? ASCII.space : byte)
        }
        output.append(ascii: "\r\n")
    }
}
