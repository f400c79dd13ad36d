/// Takes a body out of its framing: counted, chunked (RFC 9112 §7.1) or until the connection ends.
struct HTTPBodyDecoder: Sendable {
    enum Piece {
        case data(Range<Int>)
        case end
        /// Framing was used: a chunk's line or end.
        case framing
    }

    private enum State {
        case counted(left: Int)
        case chunkLine
        case chunkData(left: Int)
        case chunkEnd
        case trailer
        case untilClose
        case ended
    }

    private var state: State
    private var received = 0
    private let limits: HTTPLimits
    private var trailer = HTTPSectionScanner()

    /// - Throws: `.bodyTooLarge` when a counted body announces more than the limit.
    init(_ framing: HTTPBodyFraming, limits: HTTPLimits) throws(HTTPError) {
        self.limits = limits
        switch framing {
        case .none, .length(0): state = .ended
        case .length(let count):
            guard count <= limits.bodyBytes else { throw .bodyTooLarge(limit: limits.bodyBytes) }
            state = .counted(left: count)
        case .chunked: state = .chunkLine
        case .untilClose: state = .untilClose
        }
    }

    /// Whether the end of the connection is the end of the body.
    var endsWithConnection: Bool {
        if case .untilClose = state { return true }
        return false
    }

    mutating func next(_ bytes: UnsafeRawBufferPointer) throws(HTTPError) -> Parsed<Piece> {
        switch state {
        case .ended: return .value(.end, used: 0)
        case .counted(let left):
            guard bytes.count > 0 else { return .incomplete(needed: 1) }
            let count = min(left, bytes.count)
            state = left == count ? .ended : .counted(left: left - count)
            return .value(.data(0..<count), used: count)
        case .untilClose:
            guard bytes.count > 0 else { return .incomplete(needed: 1) }
            // Up to the limit first, so that the same comes out however the bytes were cut.
            let part = max(min(bytes.count, limits.bodyBytes - received), 1)
            try count(part)
            return .value(.data(0..<part), used: part)
        case .chunkLine: return try chunkLine(bytes)
        case .chunkData(let left):
            guard bytes.count > 0 else { return .incomplete(needed: 1) }
            let count = min(left, bytes.count)
            state = left == count ? .chunkEnd : .chunkData(left: left - count)
            return .value(.data(0..<count), used: count)
        case .chunkEnd:
            if bytes.count >= 1, bytes[0] != ASCII.carriageReturn { throw .malformedChunk }
            guard bytes.count >= 2 else { return .incomplete(needed: 2) }
            guard bytes[1] == ASCII.lineFeed else { throw .malformedChunk }
            state = .chunkLine
            return .value(.framing, used: 2)
        case .trailer:
            guard let end = try trailer.end(in: bytes, limits: limits, hasStartLine: false) else {
                return .incomplete(needed: 0)
            }
            // Checked as strictly as a head's fields, then dropped: none of them means anything to us, and
            // a trailer must not change what the head said (§7.1.2).
            _ = try HTTPFieldReader(bytes: bytes).fields(from: 0, to: end)
            state = .ended
            return .value(.framing, used: end)
        }
    }

    private mutating func count(_ bytes: Int) throws(HTTPError) {
        guard bytes <= limits.bodyBytes - received else { throw .bodyTooLarge(limit: limits.bodyBytes) }
        received += bytes
    }

    /// Reads `chunk-size [chunk-ext] CRLF`.
    ///
    /// White space before the extension is not allowed: a reader that skips it and one that does not disagree
    /// on the size.
    private mutating func chunkLine(_ bytes: UnsafeRawBufferPointer) throws(HTTPError) -> Parsed<Piece> {
        var size = 0
        var index = 0
        while index < bytes.count, let digit = ASCII.hexValue(bytes[index]) {
            // 15 digits keep the sum far below overflow; leading zeros beyond that are nobody's honest work.
            guard index < 15 else { throw .malformedChunk }
            size = size << 4 | Int(digit)
            index += 1
        }
        guard index < bytes.count else { return .incomplete(needed: 0) }
        guard index > 0 else { throw .malformedChunk }
        if bytes[index] == 0x3B {
            while index < bytes.count, bytes[index] != ASCII.carriageReturn {
                let byte = bytes[index]
                guard index < HTTPLimits.chunkLineBytes, byte >= ASCII.space || byte == ASCII.tab,
                    byte != 0x7F
                else { throw .malformedChunk }
                index += 1
            }
            guard index < bytes.count else { return .incomplete(needed: 0) }
        }
        guard bytes[index] == ASCII.carriageReturn else { throw .malformedChunk }
        guard index + 1 < bytes.count else { return .incomplete(needed: index + 2) }
        guard bytes[index + 1] == ASCII.lineFeed else { throw .malformedChunk }
        try count(size)
        state = size == 0 ? .trailer : .chunkData(left: size)
        return .value(.framing, used: index + 2)
    }
}

/// Gathers a body of bounded size.
public struct HTTPBodyCollector: Sendable {
    /// The most bytes it takes.
    public let limit: Int
    /// What was gathered.
    public private(set) var bytes: [UInt8] = []

    /// Makes an empty collector.
    public init(limit: Int) { self.limit = limit }

    /// Copies the range of a `.body` event.
    ///
    /// - Throws: `.bodyTooLarge`, and then holds what it held before.
    public mutating func append(_ range: Range<Int>, of input: RawSpan) throws(HTTPError) {
        guard range.count <= limit - bytes.count else { throw .bodyTooLarge(limit: limit) }
        bytes.append(contentsOf: input.extracting(range))
    }

    /// Gives up what was gathered and starts again.
    public mutating func take() -> [UInt8] {
        let taken = bytes
        bytes = []
        return taken
    }
}
