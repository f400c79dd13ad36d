import CScan

/// Writes frames (RFC 6455 §5.2), the mirror of ``FrameParser``.
///
/// All functions append to a buffer that the caller owns.
///
/// A client must give a masking key, a new one from the system's random source for each frame (§5.3, §10.3);
/// a server must give nil.
public enum FrameWriter {
    /// The most bytes a header takes.
    public static let maximumHeaderBytes = 14

    /// Appends one frame.
    ///
    /// - Parameters:
    ///   - opcode: What it is for. Control frames must be whole and have 125 bytes or fewer.
    ///   - payload: The payload, not masked.
    ///   - fin: Whether it is the message's last fragment.
    ///   - maskingKey: The key of a client's frame, nil for a server's.
    ///   - output: Where it is appended.
    public static func append(
        _ opcode: WebSocketOpcode, _ payload: RawSpan, fin: Bool = true, maskingKey: UInt32?,
        to output: inout [UInt8]
    ) {
        appendHeader(opcode, count: payload.byteCount, fin: fin, maskingKey: maskingKey, to: &output)
        let start = output.count
        output.append(contentsOf: payload)
        if let maskingKey { mask(&output, from: start, key: maskingKey) }
    }

    /// Appends a whole text message.
    public static func text(_ text: String, maskingKey: UInt32?, to output: inout [UInt8]) {
        var text = text
        text.withUTF8 { bytes in
            append(.text, bytes.span.bytes, maskingKey: maskingKey, to: &output)
        }
    }

    /// Appends a Close frame; a reason that makes it longer than 125 bytes is cut at a character.
    ///
    /// - Parameters:
    ///   - code: Why; nil sends an empty Close frame, the reason then is dropped.
    ///   - reason: For people who read logs; never secrets.
    ///   - maskingKey: The key of a client's frame, nil for a server's.
    ///   - output: Where it is appended.
    public static func close(
        _ code: WebSocketCloseCode?, reason: String = "", maskingKey: UInt32?, to output: inout [UInt8]
    ) {
        var payload: [UInt8] = []
        if let code {
            payload.append(UInt8(code.rawValue >> 8))
            payload.append(UInt8(code.rawValue & 0xFF))
            for character in reason.unicodeScalars {
                let bytes = UTF8.encode(character)
                guard let bytes, payload.count + bytes.count <= 125 else { break }
                payload.append(contentsOf: bytes)
            }
        }
        append(.close, payload.span.bytes, maskingKey: maskingKey, to: &output)
    }

    /// Appends a header for a payload of `count` bytes, which the caller appends itself (masked, if a key
    /// is given).
    public static func appendHeader(
        _ opcode: WebSocketOpcode, count: Int, fin: Bool, maskingKey: UInt32?, to output: inout [UInt8]
    ) {
        precondition(!opcode.isControl || fin)
        precondition(!opcode.isControl || count <= 125)
        output.append((fin ? 0x80 : 0) | opcode.rawValue)
        let maskBit: UInt8 = maskingKey == nil ? 0 : 0x80
        switch count {
        case ...125: output.append(maskBit | UInt8(count))
        case ...0xFFFF:
            output.append(maskBit | 126)
            output.append(UInt8(count >> 8))
            output.append(UInt8(count & 0xFF))
        default:
            output.append(maskBit | 127)
            for shift in stride(from: 56, through: 0, by: -8) {
                output.append(UInt8(truncatingIfNeeded: count >> shift))
            }
        }
        if let maskingKey {
            for shift in stride(from: UInt32(0), through: 24, by: 8) {
                output.append(UInt8(truncatingIfNeeded: maskingKey >> shift))
            }
        }
    }

    /// Masks or unmasks everything from `start` on in place (§5.3).
    ///
    /// - Parameters:
    ///   - buffer: The bytes.
    ///   - start: The first one to change.
    ///   - key: The masking key, the low byte first.
    ///   - phase: How many payload bytes stand in front of `start`.
    public static func mask(_ buffer: inout [UInt8], from start: Int, key: UInt32, phase: Int = 0) {
        precondition(start >= 0 && start <= buffer.count)
        let turn = UInt32(phase & 3) * 8
        let turned = turn == 0 ? key : key >> turn | key << (32 - turn)
        buffer.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            cscan_xor_key(base + start, base + start, bytes.count - start, turned)
        }
    }

    /// Masks or unmasks a whole payload in place (§5.3).
    static func mask(_ payload: UnsafeMutableRawBufferPointer, key: UInt32) {
        guard let base = payload.baseAddress else { return }
        cscan_xor_key(base, base, payload.count, key)
    }

    /// How many forms of masking this machine can do, the plainest first; the last is used.
    package static var forms: Int { Int(cscan_widest()) + 1 }

    /// The same by one of the forms, for tests of them all.
    package static func masked(_ bytes: [UInt8], key: UInt32, form: Int) -> [UInt8] {
        precondition((0..<forms).contains(form))
        var masked = bytes
        masked.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            cscan_xor_key_by(base, base, bytes.count, key, Int32(form))
        }
        return masked
    }

    /// Appends bytes masked or unmasked (§5.3): copied and changed in one go.
    ///
    /// - Parameters:
    ///   - bytes: The bytes as they came.
    ///   - key: The masking key, the low byte first.
    ///   - phase: How many payload bytes stand in front of them.
    ///   - output: Where they are appended.
    static func appendMasked(_ bytes: RawSpan, key: UInt32, phase: Int, to output: inout [UInt8]) {
        let count = bytes.byteCount
        // Even none would be counted in the memory that all empty arrays of the process share.
        guard count > 0 else { return }
        let turn = UInt32(phase & 3) * 8
        let turned = turn == 0 ? key : key >> turn | key << (32 - turn)
        bytes.withUnsafeBytes { source in
            output.append(addingCapacity: count) { room in
                room.withUnsafeMutableBufferPointer { buffer, used in
                    guard let from = source.baseAddress, let to = buffer.baseAddress else { return }
                    precondition(buffer.count >= count)
                    cscan_xor_key(to, from, count, turned)
                    used = count
                }
            }
        }
    }
}
