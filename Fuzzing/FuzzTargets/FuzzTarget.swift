/// What held no longer for an input: a fault of a parser, or of what checks it.
public struct Finding: Error, CustomStringConvertible {
    /// What, in a sentence.
    public var description: String

    init(_ description: String) { self.description = description }
}

/// Fails with `message` when `condition` does not hold.
func hold(_ condition: Bool, _ message: @autoclosure () -> String) throws(Finding) {
    if !condition { throw Finding(message()) }
}

/// What is fuzzed, each by a function that takes any bytes and holds them against a second opinion.
///
/// The same functions replay the corpora in `make test`. Nothing is kept from one input to the next, so that every finding
/// repeats.
public enum FuzzTarget: String, CaseIterable, Sendable {
    /// Field scanner, tree and a plain reader of the grammar must agree, on what is valid and on every value.
    case json
    /// A session, fed at once, in pieces and byte by byte, against a plain reader of whole streams.
    case websocket
    /// Requests, at once and in pieces; what is accepted must be free of all that is used for smuggling.
    case httpRequest = "http-request"
    /// Responses, at once and in pieces.
    case httpResponse = "http-response"
    /// URLs, queries, percent-encoding and Base64: what is read can be written and read again.
    case url
    /// Times of day, against a plain reader.
    case timestamp
    /// ARI events, against the tree; lists of channels.
    case ari

    /// Inputs beyond are not looked at.
    public static let maximumBytes = 64 << 10

    /// Checks one input, borrowed until return.
    public func check(_ input: UnsafeRawBufferPointer) throws(Finding) {
        guard input.count <= FuzzTarget.maximumBytes else { return }
        switch self {
        case .json: try JSONTarget.check(input)
        case .websocket: try WebSocketTarget.check(input)
        case .httpRequest: try HTTPRequestTarget.check(input)
        case .httpResponse: try HTTPResponseTarget.check(input)
        case .url: try URLTarget.check(input)
        case .timestamp: try TimestampTarget.check(input)
        case .ari: try ARITarget.check(input)
        }
    }
}

/// Takes what steers a check off the front of an input.
struct InputReader {
    private(set) var rest: Slice<UnsafeRawBufferPointer>

    init(_ input: UnsafeRawBufferPointer) { rest = input[...] }

    /// The next byte; 0 behind the end.
    mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }

    /// Distances between cuts: a count, then so many bytes.
    mutating func cuts() -> [Int] {
        let count = Int(byte() & 15)
        return (0..<count).map { _ in Int(byte()) }
    }

    /// What is left, as memory that ends where it ends.
    var bytes: [UInt8] { Array(rest) }
}

/// Cuts `stream` at the distances given, the rest in one piece.
func pieces(_ stream: [UInt8], _ distances: [Int]) -> [[UInt8]] {
    var pieces: [[UInt8]] = []
    var start = 0
    for distance in distances {
        let end = min(start + distance, stream.count)
        pieces.append(Array(stream[start..<end]))
        start = end
    }
    pieces.append(Array(stream[start...]))
    return pieces
}

/// Feeds pieces as the reactor does: what was not used comes again in front of what follows.
///
/// - Parameter read: Takes what there is and tells how much it used; nil to stop.
func feed(_ pieces: [[UInt8]], _ read: ([UInt8]) throws(Finding) -> Int?) throws(Finding) {
    var carry: [UInt8] = []
    for piece in pieces {
        // A new array each time, so that a sanitizer sees where the bytes end.
        let bytes = carry + piece
        guard let used = try read(bytes) else { return }
        try hold(used >= 0 && used <= bytes.count, "\(used) of \(bytes.count) bytes used")
        carry = Array(bytes[used...])
    }
}
