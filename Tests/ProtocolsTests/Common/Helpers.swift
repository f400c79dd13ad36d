import Protocols

/// Bytes of text.
func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// Text of bytes, for readable comparisons.
func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

/// Bytes written as hexadecimal digits; anything else between them is skipped.
func hex(_ text: String) -> [UInt8] {
    let digits = text.compactMap(\.hexDigitValue)
    return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
}

// A span cannot be named inside `#expect`, whose macro stores its operands.

extension UTF8Validator {
    static func isValid(_ bytes: [UInt8]) -> Bool { isValid(bytes.span.bytes) }
}

extension String {
    init?(validating bytes: [UInt8]) { self.init(validating: bytes.span.bytes) }
}

extension Timestamp {
    init?(_ bytes: [UInt8]) { self.init(bytes.span.bytes) }
}

extension SHA1 {
    static func digest(_ bytes: [UInt8]) -> [UInt8] { digest(bytes.span.bytes) }
}

extension FrameParser {
    func next(_ bytes: [UInt8]) throws -> Parsed<WebSocketFrame> { try next(bytes.span.bytes) }
}

extension WebSocketSession {
    mutating func next(_ bytes: [UInt8]) throws -> Parsed<WebSocketEvent> { try next(bytes.span.bytes) }
}

extension JSONField {
    func string(in bytes: [UInt8]) -> String? { string(in: bytes.span.bytes) }
    func int64(in bytes: [UInt8]) -> Int64? { int64(in: bytes.span.bytes) }
    func double(in bytes: [UInt8]) -> Double? { double(in: bytes.span.bytes) }
    func equals(_ text: StaticString, in bytes: [UInt8]) -> Bool { equals(text, in: bytes.span.bytes) }
}
