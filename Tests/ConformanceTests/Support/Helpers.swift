import Protocols

/// Bytes of text.
func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// Text of bytes.
func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

/// Bytes written as hexadecimal digits; anything else between them is skipped.
func hex(_ text: String) -> [UInt8] {
    let digits = text.compactMap(\.hexDigitValue)
    return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
}

// A span cannot be named inside `#expect`, whose macro stores its operands.

extension WebSocketSession {
    mutating func next(_ bytes: [UInt8]) throws -> Parsed<WebSocketEvent> { try next(bytes.span.bytes) }
}

extension String {
    init?(validating bytes: [UInt8]) { self.init(validating: bytes.span.bytes) }
}

/// A request as it was understood.
struct ReadRequest: Equatable {
    var line: String
    var body = ""
    var isComplete = false
}

/// Reads all requests of a stream, all bytes at once.
func readRequests(_ stream: String, limits: HTTPLimits = HTTPLimits()) throws(HTTPError) -> [ReadRequest] {
    let source = bytes(stream)
    var parser = HTTPRequestParser(limits: limits)
    var requests: [ReadRequest] = []
    var position = 0
    while true {
        let rest = source.span.extracting(position..<source.count).bytes
        switch try parser.next(rest) {
        case .incomplete: return requests
        case .value(.head(let head), let used):
            requests.append(ReadRequest(line: "\(head.method) \(head.target) 1.\(head.minorVersion)"))
            position += used
        case .value(.body(let range), let used):
            requests[requests.count - 1].body += String(decoding: rest, in: range)
            position += used
        case .value(.end, let used):
            requests[requests.count - 1].isComplete = true
            position += used
        }
    }
}

/// A response as it was understood.
struct ReadResponse: Equatable {
    var code: Int
    var body = ""
    var isComplete = false
}

/// Reads all responses of a stream, all bytes at once, then the end of the connection if asked to.
func readResponses(
    _ stream: String, to methods: [HTTPMethod] = [.get], ends: Bool = false, limits: HTTPLimits = HTTPLimits()
) throws(HTTPError) -> [ReadResponse] {
    let source = bytes(stream)
    var parser = HTTPResponseParser(limits: limits)
    for method in methods { parser.sent(method) }
    var responses: [ReadResponse] = []
    var position = 0
    while true {
        let rest = source.span.extracting(position..<source.count).bytes
        switch try parser.next(rest) {
        case .incomplete:
            if ends, case .end = try parser.inputEnded() { responses[responses.count - 1].isComplete = true }
            return responses
        case .value(.head(let head), let used):
            responses.append(ReadResponse(code: head.statusCode))
            position += used
        case .value(.informational(let head), let used):
            responses.append(ReadResponse(code: head.statusCode, isComplete: true))
            position += used
        case .value(.body(let range), let used):
            responses[responses.count - 1].body += String(decoding: rest, in: range)
            position += used
        case .value(.end, let used):
            responses[responses.count - 1].isComplete = true
            position += used
        }
    }
}
