import Protocols

/// Gathers whole responses of bounded size, one after another.
struct HTTPResponseReader {
    private var parser: HTTPResponseParser
    private var body: HTTPBodyCollector
    private var head: HTTPResponseHead?

    init(configuration: HTTPClientConfiguration) {
        parser = HTTPResponseParser(
            limits: HTTPLimits(
                startLineBytes: configuration.maximumHead, headBytes: configuration.maximumHead,
                bodyBytes: configuration.maximumBody))
        body = HTTPBodyCollector(limit: configuration.maximumBody)
    }

    /// Whether the connection may carry another request after the response read last.
    private(set) var keepsAlive = false

    /// A request goes out; its response comes next.
    mutating func begin(method: String) {
        head = nil
        parser.sent(HTTPMethod(rawValue: method))
    }

    /// Reads from the front of `bytes`; interim responses are skipped.
    ///
    /// - Returns: The bytes used, and the response once it is complete.
    mutating func read(_ bytes: RawSpan) throws(HTTPError) -> (used: Int, response: HTTPClientResponse?) {
        var position = 0
        while true {
            let rest = bytes.extracting(position..<bytes.byteCount)
            switch try parser.next(rest) {
            case .incomplete: return (position, nil)
            case .value(.informational, let used): position += used
            case .value(.head(let head), let used):
                position += used
                self.head = head
                // Nobody asked for another protocol.
                if parser.hasSwitchedProtocols { throw .unexpectedResponse }
            case .value(.body(let range), let used):
                try body.append(range, of: rest)
                position += used
            case .value(.end, let used):
                return (position + used, complete())
            }
        }
    }

    /// The peer ended the stream.
    ///
    /// - Returns: The response, when that is how its body ends.
    mutating func endOfInput() -> HTTPClientResponse? {
        guard case .end? = try? parser.inputEnded() else { return nil }
        return complete()
    }

    private mutating func complete() -> HTTPClientResponse? {
        guard let head else { return nil }
        self.head = nil
        keepsAlive = head.keepsAlive
        return HTTPClientResponse(status: head.statusCode, fields: head.fields, body: body.take())
    }
}

extension HTTPError {
    /// Whether a bound of ours was passed, rather than a rule of HTTP.
    var isTooLarge: Bool {
        switch self {
        case .bodyTooLarge, .fieldsTooLarge, .tooManyFields, .startLineTooLong: true
        default: false
        }
    }
}
