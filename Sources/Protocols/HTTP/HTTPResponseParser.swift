/// What ``HTTPResponseParser`` found.
public enum HTTPResponseEvent: Sendable {
    /// An interim response, 1xx but 101: the final one is still to come.
    case informational(HTTPResponseHead)
    /// The final response's status line and fields. `.body` and `.end` follow, `.end` always, except after
    /// 101 or a successful CONNECT: what follows those belongs to the new protocol.
    case head(HTTPResponseHead)
    /// The next bytes of the body: a range of the bytes that `next` was given. Empty when only framing was
    /// used.
    case body(Range<Int>)
    /// The response is complete; what follows is the next one.
    case end
}

/// Takes HTTP/1.1 responses off the front of a byte stream (RFC 9112), strictly.
///
/// What a response's body is depends on the request, so each request that is sent is told to the parser.
/// After an error the parser stays failed and throws the same again.
public struct HTTPResponseParser: Sendable {
    private enum State {
        case head
        case body
        case switched
        case failed(HTTPError)
    }

    /// The most requests that may wait for their response at once.
    public static let maximumPipelined = 64

    private let limits: HTTPLimits
    private var state = State.head
    private var section = HTTPSectionScanner()
    private var body: HTTPBodyDecoder?
    private var pending: [HTTPMethod] = []

    /// Makes a parser at the start of a connection.
    public init(limits: HTTPLimits = HTTPLimits()) { self.limits = limits }

    /// Tells that a request was sent; responses come in the same order.
    public mutating func sent(_ method: HTTPMethod) {
        precondition(pending.count < HTTPResponseParser.maximumPipelined)
        pending.append(method)
    }

    /// How many requests wait for the end of their response.
    public var pendingCount: Int { pending.count }

    /// Whether another protocol has begun: after 101, or a successful CONNECT.
    public var hasSwitchedProtocols: Bool {
        if case .switched = state { return true }
        return false
    }

    /// Takes the next event off the front of `bytes`.
    ///
    /// - Parameter bytes: Received bytes, starting where the last event's bytes ended. After `.incomplete`
    ///   the same bytes in front of what follows.
    /// - Returns: The event and the bytes it used, which may be 0 for `.end`.
    /// - Throws: When the response is malformed or over a limit; drop the connection.
    public mutating func next(_ bytes: RawSpan) throws(HTTPError) -> Parsed<HTTPResponseEvent> {
        do {
            return try bytes.withUnsafeBytes { (bytes) throws(HTTPError) in try parse(bytes) }
        } catch {
            state = .failed(error)
            throw error
        }
    }

    /// Tells that the peer closed its direction.
    ///
    /// - Returns: `.end` when that is how the body ends; nil when no response was under way.
    /// - Throws: `.truncated` when a response is cut or still owed.
    public mutating func inputEnded() throws(HTTPError) -> HTTPResponseEvent? {
        switch state {
        case .failed(let error): throw error
        case .switched: return nil
        case .head:
            if pending.isEmpty { return nil }
        case .body:
            if let body, body.endsWithConnection {
                finish()
                return .end
            }
        }
        state = .failed(.truncated)
        throw .truncated
    }

    private mutating func finish() {
        state = .head
        body = nil
        if !pending.isEmpty { pending.removeFirst() }
    }

    private mutating func parse(
        _ bytes: UnsafeRawBufferPointer
    ) throws(HTTPError) -> Parsed<HTTPResponseEvent> {
        switch state {
        case .failed(let error): throw error
        case .switched: return .incomplete(needed: 0)
        case .head: return try head(bytes)
        case .body: break
        }
        guard var body else { return .incomplete(needed: 0) }
        var position = 0
        while true {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[position...])
            switch try body.next(rest) {
            case .incomplete(let needed):
                self.body = body
                return position == 0 ? .incomplete(needed: needed) : .value(.body(0..<0), used: position)
            case .value(.framing, let used): position += used
            case .value(.data(let range), let used):
                self.body = body
                let shifted = (range.lowerBound + position)..<(range.upperBound + position)
                return .value(.body(shifted), used: position + used)
            case .value(.end, let used):
                finish()
                return .value(.end, used: position + used)
            }
        }
    }

    private mutating func head(_ bytes: UnsafeRawBufferPointer) throws(HTTPError) -> Parsed<HTTPResponseEvent>
    {
        guard let first = bytes.first else { return .incomplete(needed: 0) }
        guard let method = pending.first else { throw .unexpectedResponse }
        guard first == 0x48 else { throw .malformedStartLine }
        guard let end = try section.end(in: bytes, limits: limits, hasStartLine: true) else {
            return .incomplete(needed: 0)
        }
        var head = try HTTPStartLine(bytes: bytes).response(end: end)
        section = HTTPSectionScanner()
        let code = head.statusCode
        if code == 101 || method == .connect && (200...299).contains(code) {
            head.framing = .none
            state = .switched
            pending.removeFirst()
            return .value(.head(head), used: end)
        }
        // Whatever the fields say, these have no body (§6.3).
        if method == .head || code < 200 || code == 204 || code == 304 { head.framing = .none }
        if code < 200 { return .value(.informational(head), used: end) }
        if head.framing == .untilClose { head.keepsAlive = false }
        body = try HTTPBodyDecoder(head.framing, limits: limits)
        state = .body
        return .value(.head(head), used: end)
    }
}
