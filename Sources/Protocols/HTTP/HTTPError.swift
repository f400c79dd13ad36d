/// How a peer broke HTTP/1.1, or went over a limit of ours.
///
/// After any of these the position in the stream is lost: a server answers with ``statusCode`` and closes, a
/// client drops the connection.
public enum HTTPError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The request line or status line is not as RFC 9112 §3 or §4 wants it.
    case malformedStartLine
    /// The start line is over the limit.
    case startLineTooLong
    /// A major version that is not 1.
    case unsupportedVersion
    /// The head, or the trailer section, is over the limit in bytes.
    case fieldsTooLarge
    /// More fields than the limit.
    case tooManyFields
    /// A field line without colon, with a name that is no token, or a value with control characters.
    case malformedField
    /// White space between a field's name and the colon (§5.1).
    case spaceBeforeColon
    /// A field value that goes on in the next line (§5.2).
    case obsoleteLineFolding
    /// A line feed without a carriage return before it (§2.2).
    case bareLineFeed
    /// A carriage return without a line feed after it (§2.2).
    case bareCarriageReturn
    /// HTTP/1.1 without `Host` (§3.2).
    case missingHost
    /// Several `Host` fields, or one that is no host and port (§3.2).
    case invalidHost
    /// `Content-Length` that is no number, or is repeated (§6.3).
    case invalidContentLength
    /// `Content-Length` with `Transfer-Encoding`, or the latter in HTTP/1.0 (§6.1).
    case ambiguousLength
    /// A transfer coding besides `chunked`, which stands last (§6.1).
    case unknownTransferCoding
    /// `chunked` is not the last transfer coding, or is applied twice: where the body ends cannot be told (§6.3).
    case ambiguousTransferCoding
    /// A chunk whose size, extension or end is malformed (§7.1).
    case malformedChunk
    /// A body over the limit.
    case bodyTooLarge(limit: Int)
    /// A response that no request asked for.
    case unexpectedResponse
    /// The connection ended inside a message (§8).
    case truncated

    /// The status to answer a request with.
    public var statusCode: Int {
        switch self {
        case .startLineTooLong: 414
        case .unsupportedVersion: 505
        case .fieldsTooLarge, .tooManyFields: 431
        case .unknownTransferCoding: 501
        case .bodyTooLarge: 413
        case .malformedStartLine, .malformedField, .spaceBeforeColon, .obsoleteLineFolding, .bareLineFeed,
            .bareCarriageReturn, .missingHost, .invalidHost, .invalidContentLength, .ambiguousLength,
            .ambiguousTransferCoding, .malformedChunk, .unexpectedResponse, .truncated:
            400
        }
    }

    /// A sentence part for logs.
    public var description: String {
        switch self {
        case .malformedStartLine: "a malformed request or status line"
        case .startLineTooLong: "a start line over the limit"
        case .unsupportedVersion: "an HTTP version that is not 1.x"
        case .fieldsTooLarge: "header fields over the limit in bytes"
        case .tooManyFields: "more header fields than the limit"
        case .malformedField: "a malformed header field"
        case .spaceBeforeColon: "white space before the colon of a header field"
        case .obsoleteLineFolding: "a folded header field"
        case .bareLineFeed: "a line feed without carriage return"
        case .bareCarriageReturn: "a carriage return without line feed"
        case .missingHost: "no Host field"
        case .invalidHost: "several Host fields or a malformed one"
        case .invalidContentLength: "a malformed or repeated Content-Length"
        case .ambiguousLength: "both Content-Length and Transfer-Encoding, or the latter in HTTP/1.0"
        case .unknownTransferCoding: "a transfer coding besides chunked"
        case .ambiguousTransferCoding: "transfer codings of which chunked is not the last, or not once"
        case .malformedChunk: "a malformed chunk"
        case .bodyTooLarge(let limit): "a body over the limit of \(limit) bytes"
        case .unexpectedResponse: "a response without a request"
        case .truncated: "the connection ended inside a message"
        }
    }
}

/// Limits of what is received, in bytes where nothing else is said.
public struct HTTPLimits: Sendable, Equatable {
    /// The request line or status line.
    public var startLineBytes: Int
    /// The whole head: start line and fields.
    ///
    /// The same for a trailer section.
    public var headBytes: Int
    /// How many fields.
    public var fieldCount: Int
    /// The body without its framing.
    public var bodyBytes: Int
    /// One chunk's line: size and extensions.
    ///
    /// A chunk's extensions mean nothing to us.
    public static let chunkLineBytes = 256

    /// Makes limits; those left out are generous for an API and small for memory.
    public init(
        startLineBytes: Int = 8 << 10, headBytes: Int = 32 << 10, fieldCount: Int = 100,
        bodyBytes: Int = 16 << 20
    ) {
        self.startLineBytes = startLineBytes
        self.headBytes = headBytes
        self.fieldCount = fieldCount
        self.bodyBytes = bodyBytes
    }
}
