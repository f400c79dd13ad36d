/// A status code of a Close frame (RFC 6455 §7.4).
public struct WebSocketCloseCode: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// The number on the wire.
    public var rawValue: UInt16

    /// Makes a code of its number.
    @inlinable
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// 1000: the purpose was fulfilled.
    public static let normal = WebSocketCloseCode(rawValue: 1000)
    /// 1001: the end point goes away (a server that stops).
    public static let goingAway = WebSocketCloseCode(rawValue: 1001)
    /// 1002: the peer broke the protocol.
    public static let protocolError = WebSocketCloseCode(rawValue: 1002)
    /// 1003: a kind of data that is not accepted here.
    public static let unsupportedData = WebSocketCloseCode(rawValue: 1003)
    /// 1007: data that does not fit its kind; text that is not UTF-8.
    public static let invalidPayload = WebSocketCloseCode(rawValue: 1007)
    /// 1008: a rule of ours was broken.
    public static let policyViolation = WebSocketCloseCode(rawValue: 1008)
    /// 1009: too big to be processed.
    public static let messageTooBig = WebSocketCloseCode(rawValue: 1009)
    /// 1011: something unexpected happened here.
    public static let internalError = WebSocketCloseCode(rawValue: 1011)
    /// 1013: come back later (IANA registry).
    public static let tryAgainLater = WebSocketCloseCode(rawValue: 1013)

    /// Whether a Close frame may carry the code: defined in §7.4.1 or in IANA's registry, or of the ranges
    /// for libraries and applications (§7.4.2).
    ///
    /// 1004, 1005, 1006 and 1015 may not.
    public var isAllowedInFrame: Bool {
        switch rawValue {
        case 1000...1003, 1007...1014, 3000...4999: true
        default: false
        }
    }

    /// The number.
    public var description: String { String(rawValue) }
}

/// How a peer broke RFC 6455, or went over a limit of ours.
///
/// The connection is to be failed (§7.1.7): send a Close frame with ``closeCode`` and drop it.
public enum WebSocketError: Error, Equatable, Sendable, CustomStringConvertible {
    /// RSV1, RSV2 or RSV3 is set though no extension was agreed on (§5.2).
    case reservedBitSet
    /// An opcode that is not defined (§5.2).
    case unknownOpcode(UInt8)
    /// A control frame in fragments (§5.5).
    case fragmentedControlFrame
    /// A control frame with more than 125 bytes (§5.5).
    case controlFrameTooLong
    /// A frame from a client that is not masked (§5.1).
    case unmaskedFrame
    /// A frame from a server that is masked (§5.1).
    case maskedFrame
    /// A length in more bytes than it needs, or with its top bit set (§5.2).
    case malformedLength
    /// A frame whose payload is over the limit.
    case frameTooLarge(bytes: UInt64, limit: Int)
    /// A message whose fragments together are over the limit.
    case messageTooLarge(limit: Int)
    /// A continuation frame without a message to continue (§5.4).
    case unexpectedContinuation
    /// A new message before the last one's final fragment (§5.4).
    case expectedContinuation
    /// Text, or a reason of closing, that is not UTF-8 (§8.1).
    case invalidUTF8
    /// A Close frame with a payload of a single byte (§5.5.1).
    case malformedClose
    /// A Close frame with a code that no end point may send (§7.4).
    case invalidCloseCode(UInt16)

    /// The code to close with (§7.4.1).
    public var closeCode: WebSocketCloseCode {
        switch self {
        case .frameTooLarge, .messageTooLarge: .messageTooBig
        case .invalidUTF8: .invalidPayload
        case .reservedBitSet, .unknownOpcode, .fragmentedControlFrame, .controlFrameTooLong, .unmaskedFrame,
            .maskedFrame, .malformedLength, .unexpectedContinuation, .expectedContinuation, .malformedClose,
            .invalidCloseCode:
            .protocolError
        }
    }

    /// A sentence part for logs.
    public var description: String {
        switch self {
        case .reservedBitSet: "a reserved bit is set in a frame"
        case .unknownOpcode(let opcode): "unknown opcode \(opcode)"
        case .fragmentedControlFrame: "a control frame in fragments"
        case .controlFrameTooLong: "a control frame with more than 125 bytes"
        case .unmaskedFrame: "an unmasked frame from a client"
        case .maskedFrame: "a masked frame from a server"
        case .malformedLength: "a malformed payload length"
        case .frameTooLarge(let bytes, let limit): "a frame of \(bytes) bytes, over the limit of \(limit)"
        case .messageTooLarge(let limit): "a message over the limit of \(limit) bytes"
        case .unexpectedContinuation: "a continuation frame without a message"
        case .expectedContinuation: "a new message inside a fragmented one"
        case .invalidUTF8: "text that is not UTF-8"
        case .malformedClose: "a Close frame with one byte"
        case .invalidCloseCode(let code): "close code \(code), which may not be sent"
        }
    }
}
