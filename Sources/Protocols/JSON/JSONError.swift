/// Why a text is not JSON (RFC 8259), or more than a limit of ours, and where.
public struct JSONError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What is wrong.
    public enum Kind: UInt8, Sendable {
        /// The text ends inside a value, or holds none.
        case unexpectedEnd
        /// A byte that cannot stand there.
        case unexpectedByte
        /// A control character inside a string, which must be escaped.
        case controlCharacter
        /// A backslash with something behind it that is no escape.
        case invalidEscape
        /// Bytes inside a string that are not UTF-8.
        case invalidUTF8
        /// A number that breaks the grammar (`01`, `1.`, `+1`, `1e`).
        case invalidNumber
        /// Something that starts like `true`, `false` or `null` but is not.
        case invalidLiteral
        /// Nested deeper than the limit.
        case tooDeep
        /// More bytes than the limit.
        case tooLong
        /// More values than the limit; when a whole tree is made only.
        case tooManyValues
        /// A number that a `Double` cannot come near to; when a whole tree is made only.
        case numberOutOfRange
        /// Something behind the value.
        case trailingBytes
    }

    /// What is wrong.
    public var kind: Kind
    /// Where: the offset of the byte at which it was seen, from the start of the text.
    public var offset: Int

    /// Makes an error.
    @inlinable
    public init(_ kind: Kind, at offset: Int) {
        self.kind = kind
        self.offset = offset
    }

    /// A sentence part for logs; holds nothing of the text.
    public var description: String {
        let what =
            switch kind {
            case .unexpectedEnd: "the text ends too early"
            case .unexpectedByte: "an unexpected byte"
            case .controlCharacter: "a control character in a string"
            case .invalidEscape: "an invalid escape"
            case .invalidUTF8: "bytes that are not UTF-8"
            case .invalidNumber: "a malformed number"
            case .invalidLiteral: "a malformed literal"
            case .tooDeep: "nested too deeply"
            case .tooLong: "too long"
            case .tooManyValues: "too many values"
            case .numberOutOfRange: "a number out of range"
            case .trailingBytes: "something behind the value"
            }
        return "\(what) at byte \(offset)"
    }
}

/// What a valid text holds that not every reader takes.
///
/// PostgreSQL's `jsonb` refuses all three though RFC 8259 allows them.
public struct JSONFeatures: OptionSet, Sendable, Hashable {
    /// One bit per feature.
    public var rawValue: UInt8

    /// Makes a set of its bits.
    @inlinable
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The escape `\u0000` stands in a string or key.
    public static let nulEscape = JSONFeatures(rawValue: 1)
    /// An escaped surrogate stands in a string or key without its other half.
    public static let loneSurrogate = JSONFeatures(rawValue: 2)
    /// A number has an exponent of four or more digits, or over 1000 characters.
    public static let extremeNumber = JSONFeatures(rawValue: 4)
}
