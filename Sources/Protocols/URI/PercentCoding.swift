/// Percent-encoding (RFC 3986 §2.1) and the form variant in which `+` is a space.
///
/// Decoding happens once: `%2541` is `%41`, never `A`.
public enum PercentCoding {
    /// What `+` stands for.
    public enum Plus: Sendable {
        /// Itself, as in a path.
        case literal
        /// A space, as in a query and in `application/x-www-form-urlencoded`.
        case space
    }

    /// Decodes bytes.
    ///
    /// - Returns: nil when a `%` is not followed by two hexadecimal digits.
    public static func decoded(_ text: RawSpan, plus: Plus) -> [UInt8]? {
        text.withUnsafeBytes { text -> [UInt8]? in
            var output: [UInt8] = []
            output.reserveCapacity(text.count)
            var index = 0
            while index < text.count {
                switch text[index] {
                case 0x25:
                    guard text.count - index >= 3, let high = ASCII.hexValue(text[index + 1]),
                        let low = ASCII.hexValue(text[index + 2])
                    else { return nil }
                    output.append(high << 4 | low)
                    index += 3
                case 0x2B where plus == .space:
                    output.append(ASCII.space)
                    index += 1
                case let byte:
                    output.append(byte)
                    index += 1
                }
            }
            return output
        }
    }

    /// Decodes text.
    ///
    /// - Returns: nil when a `%` is malformed or the result is not UTF-8.
    public static func decoded(_ text: some StringProtocol, plus: Plus) -> String? {
        let bytes = Array(text.utf8)
        guard let output = decoded(bytes.span.bytes, plus: plus) else { return nil }
        return String(validating: output.span.bytes)
    }

    /// Appends `text` with everything but the unreserved characters encoded; a space becomes `%20`, or `+`
    /// when `plus` is `.space`.
    public static func encode(_ text: some StringProtocol, plus: Plus = .literal, into output: inout [UInt8])
    {
        for byte in text.utf8 {
            if ASCII.isUnreserved(byte) {
                output.append(byte)
            } else if byte == ASCII.space, plus == .space {
                output.append(0x2B)
            } else {
                output.append(0x25)
                output.append(ASCII.upperHexDigit(byte >> 4))
                output.append(ASCII.upperHexDigit(byte & 15))
            }
        }
    }

    /// `text` with everything but the unreserved characters encoded; most names need nothing.
    public static func encoded(_ text: String, plus: Plus = .literal) -> String {
        if text.utf8.allSatisfy(ASCII.isUnreserved) { return text }
        return encoded(text[...], plus: plus)
    }

    /// `text` with everything but the unreserved characters encoded.
    public static func encoded(_ text: Substring, plus: Plus = .literal) -> String {
        var output: [UInt8] = []
        encode(text, plus: plus, into: &output)
        return String(decoding: output, as: UTF8.self)
    }
}
