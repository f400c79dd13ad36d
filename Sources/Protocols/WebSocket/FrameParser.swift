/// Which end of the connection we are; it decides which frames are masked (RFC 6455 §5.1).
public enum WebSocketRole: Sendable, CaseIterable {
    /// We opened the connection: what we receive is not masked, what we send is.
    case client
    /// We accepted it: what we receive is masked, what we send is not.
    case server
}

/// What a frame is for (RFC 6455 §5.2).
public enum WebSocketOpcode: UInt8, Sendable, CaseIterable {
    /// A further fragment of the message under way.
    case continuation = 0
    /// Text, or its first fragment.
    case text = 1
    /// Bytes, or their first fragment.
    case binary = 2
    /// The end of one direction.
    case close = 8
    /// To be answered with a pong of the same payload.
    case ping = 9
    /// The answer to a ping, or sent unasked.
    case pong = 10

    /// Whether it may come between the fragments of a message (§5.5).
    @inlinable
    public var isControl: Bool { rawValue >= 8 }
}

/// A frame's header, and where its payload lies.
///
/// ```
/// 0               1               2 …
/// |F|R|R|R|opcode |M|  length 7   | length 16 or 64 | masking key 32 | payload
/// ```
public struct WebSocketFrame: Equatable, Sendable {
    /// Whether it is the message's last fragment.
    public var fin: Bool
    /// What it is for.
    public var opcode: WebSocketOpcode
    /// The payload in the parsed bytes, still masked when there is a masking key.
    public var payload: Range<Int>
    /// The masking key as it lies in memory, the low byte first; nil when the frame is not masked.
    public var maskingKey: UInt32?
}

/// Takes frames off the front of a byte stream (RFC 6455 §5.2).
///
/// It knows single frames only: what frames mean together is ``WebSocketSession``'s.
public struct FrameParser: Sendable {
    /// Whose frames are received: a client's parser refuses masked frames, a server's refuses others.
    public let role: WebSocketRole
    /// The largest payload of one frame in bytes; a larger one is refused when its length is read.
    public let maximumPayload: Int

    /// Makes a parser for what `role` receives.
    public init(role: WebSocketRole, maximumPayload: Int = 16 << 20) {
        precondition(maximumPayload >= 125)
        self.role = role
        self.maximumPayload = maximumPayload
    }

    /// Parses the next frame in `bytes`.
    ///
    /// Nothing is copied: the payload is a range of `bytes`.
    ///
    /// - Parameter bytes: Received bytes, starting at a frame boundary.
    /// - Returns: The frame and the bytes it used, or how many are needed for the whole frame (for its
    ///   header, as long as that is not there).
    /// - Throws: When the peer broke the protocol; close with the error's `closeCode`.
    public func next(_ bytes: RawSpan) throws(WebSocketError) -> Parsed<WebSocketFrame> {
        switch try header(bytes) {
        case .incomplete(let needed): return .incomplete(needed: needed)
        case .value(let frame, _):
            let end = frame.payload.upperBound
            return bytes.byteCount >= end ? .value(frame, used: end) : .incomplete(needed: end)
        }
    }

    /// Parses a header without waiting for its payload, which may reach beyond `bytes`.
    ///
    /// - Returns: The frame and the header's size, or how many bytes the header needs.
    func header(_ bytes: RawSpan) throws(WebSocketError) -> Parsed<WebSocketFrame> {
        let count = bytes.byteCount
        guard count >= 1 else { return .incomplete(needed: 2) }
        let first = bytes.unsafeLoad(fromByteOffset: 0, as: UInt8.self)
        guard first & 0x70 == 0 else { throw .reservedBitSet }
        guard let opcode = WebSocketOpcode(rawValue: first & 0x0F) else { throw .unknownOpcode(first & 0x0F) }
        let fin = first & 0x80 != 0
        if opcode.isControl, !fin { throw .fragmentedControlFrame }
        guard count >= 2 else { return .incomplete(needed: 2) }

        let second = bytes.unsafeLoad(fromByteOffset: 1, as: UInt8.self)
        let isMasked = second & 0x80 != 0
        if isMasked, role == .client { throw .maskedFrame }
        if !isMasked, role == .server { throw .unmaskedFrame }
        var length = UInt64(second & 0x7F)
        if opcode.isControl, length > 125 { throw .controlFrameTooLong }
        var position = 2
        switch length {
        case 126:
            position = 4
            guard count >= 4 else { return .incomplete(needed: 4) }
            length = UInt64(UInt16(bigEndian: bytes.unsafeLoadUnaligned(fromByteOffset: 2, as: UInt16.self)))
            // The minimal number of bytes must be used (§5.2).
            guard length > 125 else { throw .malformedLength }
        case 127:
            position = 10
            guard count >= 10 else { return .incomplete(needed: 10) }
            length = UInt64(bigEndian: bytes.unsafeLoadUnaligned(fromByteOffset: 2, as: UInt64.self))
            guard length > 0xFFFF, length >> 63 == 0 else { throw .malformedLength }
        default: break
        }
        guard length <= UInt64(maximumPayload) else {
            throw .frameTooLarge(bytes: length, limit: maximumPayload)
        }
        var maskingKey: UInt32?
        if isMasked {
            guard count >= position + 4 else { return .incomplete(needed: position + 4) }
            maskingKey = UInt32(
                littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: position, as: UInt32.self))
            position += 4
        }
        let frame = WebSocketFrame(
            fin: fin, opcode: opcode, payload: position..<(position + Int(length)), maskingKey: maskingKey)
        return .value(frame, used: position)
    }
}
