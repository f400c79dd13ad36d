/// Base64 with padding (RFC 4648 §4): for Basic credentials and the WebSocket handshake.
public enum Base64 {
    private static let alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    /// Appends the text of `bytes` to `output`.
    public static func encode(_ bytes: RawSpan, into output: inout [UInt8]) {
        bytes.withUnsafeBytes { bytes in
            var index = 0
            while index < bytes.count {
                let left = min(3, bytes.count - index)
                let group =
                    UInt32(bytes[index]) << 16
                    | (left > 1 ? UInt32(bytes[index + 1]) << 8 : 0)
                    | (left > 2 ? UInt32(bytes[index + 2]) : 0)
                output.append(alphabet[Int(group >> 18)])
                output.append(alphabet[Int(group >> 12 & 63)])
                output.append(left > 1 ? alphabet[Int(group >> 6 & 63)] : 0x3D)
                output.append(left > 2 ? alphabet[Int(group & 63)] : 0x3D)
                index += left
            }
        }
    }

    /// The text of `bytes`.
    public static func encoded(_ bytes: RawSpan) -> String {
        var output: [UInt8] = []
        output.reserveCapacity((bytes.byteCount + 2) / 3 * 4)
        encode(bytes, into: &output)
        return String(decoding: output, as: UTF8.self)
    }

    /// The text of `bytes`.
    public static func encoded(_ bytes: [UInt8]) -> String { encoded(bytes.span.bytes) }

    /// Decodes strictly: padded to four, no white space, no stray bits in the last group.
    ///
    /// - Returns: nil when the text is anything else.
    public static func decoded(_ text: RawSpan) -> [UInt8]? {
        guard text.byteCount % 4 == 0 else { return nil }
        return text.withUnsafeBytes { text -> [UInt8]? in
            var output: [UInt8] = []
            output.reserveCapacity(text.count / 4 * 3)
            for start in stride(from: 0, to: text.count, by: 4) {
                let isLast = start + 4 == text.count
                var padding = 0
                if isLast, text[start + 3] == 0x3D { padding = text[start + 2] == 0x3D ? 2 : 1 }
                var group: UInt32 = 0
                for index in 0..<(4 - padding) {
                    guard let value = value(of: text[start + index]) else { return nil }
                    group |= UInt32(value) << UInt32(18 - 6 * index)
                }
                if padding == 2, group & 0xFFFF != 0 { return nil }
                if padding == 1, group & 0xFF != 0 { return nil }
                output.append(UInt8(group >> 16))
                if padding < 2 { output.append(UInt8(group >> 8 & 0xFF)) }
                if padding < 1 { output.append(UInt8(group & 0xFF)) }
            }
            return output
        }
    }

    /// Decodes strictly; see ``decoded(_:)-(RawSpan)``.
    public static func decoded(_ text: String) -> [UInt8]? {
        let bytes = Array(text.utf8)
        return decoded(bytes.span.bytes)
    }

    private static func value(of byte: UInt8) -> UInt8? {
        switch byte {
        case 0x41...0x5A: byte - 0x41
        case 0x61...0x7A: byte - 0x61 + 26
        case 0x30...0x39: byte - 0x30 + 52
        case 0x2B: 62
        case 0x2F: 63
        default: nil
        }
    }
}
