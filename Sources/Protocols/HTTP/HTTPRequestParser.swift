/// What ``HTTPRequestParser`` found.
public enum HTTPRequestEvent: Sendable {
    /// A request's line and fields. `.body` and `.end` follow, `.end` always.
    case head(HTTPRequestHead)
    /// The next bytes of the body: a range of the bytes that `next` was given. Empty when only framing was
    /// used.
    case body(Range<Int>)
    /// The request is complete; what follows is the next one.
    case end
}

/// Takes HTTP/1.1 requests off the front of a byte stream (RFC 9112), strictly.
///
/// - Requests may be pipelined: after `.end` the next head is parsed. A server that takes its answers out of
///   order must keep them apart itself.
/// - Everything that has been used for smuggling requests is refused: see ``HTTPError``. One empty line in
///   front of a request is skipped (§2.2).
/// - After an upgrade (a WebSocket, say) stop calling: what was not used belongs to the new protocol.
/// - After an error the parser stays failed and throws the same again.
public struct HTTPRequestParser: Sendable {
    private enum State {
        case head
        case body
        case failed(HTTPError)
    }

    private let limits: HTTPLimits
    private var state = State.head
    private var section = HTTPSectionScanner()
    private var body: HTTPBodyDecoder?

    /// Makes a parser at the start of a connection.
    public init(limits: HTTPLimits = HTTPLimits()) { self.limits = limits }

    /// Whether the stream may end here without cutting a request.
    public var isBetweenRequests: Bool {
        if case .head = state { return true }
        return false
    }

    /// Takes the next event off the front of `bytes`.
    ///
    /// - Parameter bytes: Received bytes, starting where the last event's bytes ended. After `.incomplete`
    ///   the same bytes in front of what follows.
    /// - Returns: The event and the bytes it used, which may be 0 for `.end`.
    /// - Throws: When the request is malformed or over a limit; answer with the error's `statusCode`, close.
    public mutating func next(_ bytes: RawSpan) throws(HTTPError) -> Parsed<HTTPRequestEvent> {
        do {
            return try bytes.withUnsafeBytes { (bytes) throws(HTTPError) in try parse(bytes) }
        } catch {
            state = .failed(error)
            throw error
        }
    }

    private mutating func parse(_ bytes: UnsafeRawBufferPointer) throws(HTTPError) -> Parsed<HTTPRequestEvent>
    {
        switch state {
        case .failed(let error): throw error
        case .head: return try head(bytes)
        case .body: break
        }
        guard var body else { return .incomplete(needed: 0) }
        defer { self.body = body }
        // Framing that gives nothing is used up in the same call, so that `used` is counted from the front.
        var position = 0
        while true {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[position...])
            switch try body.next(rest) {
            case .incomplete(let needed):
                return position == 0 ? .incomplete(needed: needed) : .value(.body(0..<0), used: position)
            case .value(.framing, let used): position += used
            case .value(.data(let range), let used):
                let shifted = (range.lowerBound + position)..<(range.upperBound + position)
                return .value(.body(shifted), used: position + used)
            case .value(.end, let used):
                state = .head
                return .value(.end, used: position + used)
            }
        }
    }

    private mutating func head(_ all: UnsafeRawBufferPointer) throws(HTTPError) -> Parsed<HTTPRequestEvent> {
        guard let first = all.first else { return .incomplete(needed: 0) }
        var skipped = 0
        if first == ASCII.carriageReturn {
            guard all.count >= 2 else { return .incomplete(needed: 2) }
            guard all[1] == ASCII.lineFeed else { throw .malformedStartLine }
            guard all.count >= 3 else { return .incomplete(needed: 0) }
            skipped = 2
        }
        let bytes = UnsafeRawBufferPointer(rebasing: all[skipped...])
        // Whatever does not start like a method (a TLS hello, say) is refused at its first byte.
        guard ASCII.isTokenByte(bytes[0]) else { throw .malformedStartLine }
        guard let end = try section.end(in: bytes, limits: limits, hasStartLine: true) else {
            return .incomplete(needed: 0)
        }
        let head = try HTTPStartLine(bytes: bytes).request(end: end)
        section = HTTPSectionScanner()
        body = try HTTPBodyDecoder(head.framing, limits: limits)
        state = .body
        return .value(.head(head), used: skipped + end)
    }
}

/// Reads a request line or a status line and the fields behind it.
struct HTTPStartLine {
    let bytes: UnsafeRawBufferPointer

    /// `method SP request-target SP HTTP-version CRLF` (RFC 9112 §3).
    func request(end: Int) throws(HTTPError) -> HTTPRequestHead {
        let lineEnd = endOfLine()
        var index = 0
        while index < lineEnd, ASCII.isTokenByte(bytes[index]) { index += 1 }
        guard index > 0, index < lineEnd, bytes[index] == ASCII.space else { throw .malformedStartLine }
        let method = HTTPMethod(rawValue: text(0..<index))
        let targetStart = index + 1
        index = targetStart
        while index < lineEnd, bytes[index] > ASCII.space, bytes[index] < 0x7F { index += 1 }
        guard index > targetStart, index < lineEnd, bytes[index] == ASCII.space else {
            throw .malformedStartLine
        }
        let target = text(targetStart..<index)
        let minorVersion = try version(from: index + 1, to: lineEnd)
        guard isTarget(target, for: method) else { throw .malformedStartLine }

        let fields = try HTTPFieldReader(bytes: bytes).fields(from: lineEnd + 2, to: end)
        let hosts = fields.values(of: "host")
        guard hosts.count <= 1, hosts.allSatisfy({ HTTPAuthority.isValid($0, mayBeEmpty: true) }) else {
            throw .invalidHost
        }
        if minorVersion >= 1, hosts.isEmpty { throw .missingHost }
        var framing = try HTTPFraming.framing(fields, minorVersion: minorVersion)
        // A request without a length has no body (§6.3).
        if framing == .untilClose { framing = .none }
        return HTTPRequestHead(
            method: method, target: target, minorVersion: minorVersion, fields: fields, framing: framing,
            keepsAlive: HTTPFraming.keepsAlive(fields, minorVersion: minorVersion))
    }

    /// `HTTP-version SP status-code SP [reason-phrase] CRLF` (RFC 9112 §4).
    ///
    /// The space behind the code may be missing when there is no reason, as some servers do.
    func response(end: Int) throws(HTTPError) -> HTTPResponseHead {
        let lineEnd = endOfLine()
        guard lineEnd >= 12, bytes[8] == ASCII.space else { throw .malformedStartLine }
        let minorVersion = try version(from: 0, to: 8)
        var code = 0
        for index in 9..<12 {
            guard ASCII.isDigit(bytes[index]) else { throw .malformedStartLine }
            code = code * 10 + Int(bytes[index] - 0x30)
        }
        guard (100...599).contains(code) else { throw .malformedStartLine }
        guard lineEnd == 12 || bytes[12] == ASCII.space else { throw .malformedStartLine }
        let reason = min(13, lineEnd)..<lineEnd
        for index in reason {
            let byte = bytes[index]
            if byte == ASCII.carriageReturn { throw .bareCarriageReturn }
            guard byte >= ASCII.space || byte == ASCII.tab, byte != 0x7F else { throw .malformedStartLine }
        }
        let fields = try HTTPFieldReader(bytes: bytes).fields(from: lineEnd + 2, to: end)
        let framing = try HTTPFraming.framing(fields, minorVersion: minorVersion)
        return HTTPResponseHead(
            statusCode: code, reason: text(reason), minorVersion: minorVersion, fields: fields,
            framing: framing, keepsAlive: HTTPFraming.keepsAlive(fields, minorVersion: minorVersion))
    }

    /// Where the first line ends, before its CR LF, which the section scanner has seen.
    private func endOfLine() -> Int {
        var index = 0
        while bytes[index] != ASCII.lineFeed { index += 1 }
        return index - 1
    }

    private func version(from start: Int, to end: Int) throws(HTTPError) -> Int {
        let name: StaticString = "HTTP/"
        guard end - start == 8 else { throw .malformedStartLine }
        let isHTTP = name.withUTF8Buffer { $0.elementsEqual(bytes[start..<(start + 5)]) }
        guard isHTTP, ASCII.isDigit(bytes[start + 5]), bytes[start + 6] == 0x2E,
            ASCII.isDigit(bytes[start + 7])
        else { throw .malformedStartLine }
        guard bytes[start + 5] == 0x31 else { throw .unsupportedVersion }
        return min(Int(bytes[start + 7] - 0x30), 1)
    }

    /// origin-form, absolute-form, asterisk-form with OPTIONS, authority-form with CONNECT (§3.2).
    private func isTarget(_ target: String, for method: HTTPMethod) -> Bool {
        if method == .connect { return HTTPAuthority.isValid(target, needsPort: true) }
        if target == "*" { return method == .options }
        guard !target.utf8.contains(0x23) else { return false }
        if target.utf8.first == 0x2F { return true }
        let lowered = target.lowercased()
        guard let scheme = ["http://", "https://"].first(where: { lowered.hasPrefix($0) }) else {
            return false
        }
        let authority = target.utf8.dropFirst(scheme.utf8.count).prefix { $0 != 0x2F && $0 != 0x3F }
        return HTTPAuthority.isValid(String(decoding: Array(authority), as: UTF8.self))
    }

    private func text(_ range: Range<Int>) -> String {
        String(decoding: UnsafeRawBufferPointer(rebasing: bytes[range]), as: UTF8.self)
    }
}
