/// One value that a ``JSONFieldScanner`` noted: where it stands in the scanned text and what it is.
///
/// It borrows nothing. The functions that decode it take the same bytes that were scanned.
public struct JSONField: Sendable, Equatable {
    /// What kind of value it is.
    public enum Kind: UInt8, Sendable {
        /// The text has no such value.
        case absent
        /// The range is what stands between the quotes.
        case string
        /// The range is the number.
        case number
        /// `true`.
        case `true`
        /// `false`.
        case `false`
        /// `null`.
        case null
        /// The range goes from brace to brace.
        case object
        /// The range goes from bracket to bracket.
        case array
    }

    /// The first byte, from the start of the text.
    public var offset: UInt32
    /// How many bytes.
    public var count: UInt32
    /// What kind of value it is.
    public var kind: Kind
    /// Whether a string holds escapes, so that its bytes are not its characters.
    public var hasEscapes: Bool
    /// The scan that noted it.
    @usableFromInline
    var generation: UInt32

    @inlinable
    init(offset: UInt32, count: UInt32, kind: Kind, hasEscapes: Bool, generation: UInt32) {
        self.offset = offset
        self.count = count
        self.kind = kind
        self.hasEscapes = hasEscapes
        self.generation = generation
    }

    /// A value that is not there.
    @inlinable
    public static var absent: JSONField {
        JSONField(offset: 0, count: 0, kind: .absent, hasEscapes: false, generation: 0)
    }

    /// Whether the text has the value; `null` counts as there.
    @inlinable
    public var isPresent: Bool { kind != .absent }

    /// The range of bytes as bounds.
    @inlinable
    public var bounds: Range<Int> { Int(offset)..<(Int(offset) + Int(count)) }

    /// The range of bytes.
    @inlinable
    public var range: ByteRange { ByteRange(offset: offset, count: count) }

    /// Equal in what it is and where it stands.
    public static func == (left: JSONField, right: JSONField) -> Bool {
        left.kind == right.kind && left.offset == right.offset && left.count == right.count
            && left.hasEscapes == right.hasEscapes
    }
}

extension JSONField {
    /// The string, escapes resolved (a lone surrogate becomes U+FFFD); nil when it is no string.
    public func string(in bytes: RawSpan) -> String? {
        guard kind == .string else { return nil }
        guard hasEscapes else { return String(decoding: bytes, in: bounds) }
        var output: [UInt8] = []
        append(to: &output, from: bytes)
        return String(decoding: output, as: UTF8.self)
    }

    /// Appends a string's characters as UTF-8, escapes resolved; of other kinds their text, of `.absent`
    /// nothing.
    public func append(to output: inout [UInt8], from bytes: RawSpan) {
        let text = bytes.extracting(bounds)
        guard hasEscapes else { return output.append(contentsOf: text) }
        text.withUnsafeBytes { JSONLexer.unescape($0, into: &output) }
    }

    /// Whether it is that string.
    ///
    /// Allocates nothing unless the text holds escapes.
    public func equals(_ text: StaticString, in bytes: RawSpan) -> Bool {
        guard kind == .string else { return false }
        if hasEscapes { return string(in: bytes) == text.description }
        guard Int(count) == text.utf8CodeUnitCount else { return false }
        return bytes.extracting(bounds).equals(text)
    }

    /// Whether it is the string of those UTF-8 bytes.
    public func equals(_ text: RawSpan, in bytes: RawSpan) -> Bool {
        guard kind == .string else { return false }
        if hasEscapes {
            var output: [UInt8] = []
            append(to: &output, from: bytes)
            return output.span.bytes.equals(text)
        }
        return bytes.extracting(bounds).equals(text)
    }

    /// The number, when it is written as an integer (no fraction, no exponent) and fits.
    public func int64(in bytes: RawSpan) -> Int64? {
        guard kind == .number else { return nil }
        return bytes.extracting(bounds).withUnsafeBytes { JSONNumber.integer($0) }
    }

    /// The number; nil when it is none or beyond what a `Double` can hold.
    public func double(in bytes: RawSpan) -> Double? {
        guard kind == .number else { return nil }
        return bytes.extracting(bounds).withUnsafeBytes { JSONNumber.double($0) }
    }

    /// The truth value; nil when it is none.
    @inlinable
    public var bool: Bool? {
        switch kind {
        case .true: true
        case .false: false
        case .absent, .string, .number, .null, .object, .array: nil
        }
    }
}

/// Numbers of texts whose grammar was checked.
enum JSONNumber {
    static func integer(_ text: UnsafeRawBufferPointer) -> Int64? {
        let isNegative = text.first == 0x2D
        var value: Int64 = 0
        for byte in text.dropFirst(isNegative ? 1 : 0) {
            guard ASCII.isDigit(byte) else { return nil }
            let (product, first) = value.multipliedReportingOverflow(by: 10)
            let digit = Int64(byte - 0x30)
            // Downwards, since Int64.min has no positive twin.
            let (sum, second) = product.subtractingReportingOverflow(digit)
            guard !first, !second else { return nil }
            value = sum
        }
        if isNegative { return value }
        return value == .min ? nil : -value
    }

    static func double(_ text: UnsafeRawBufferPointer) -> Double? {
        guard let value = Double(String(decoding: text, as: UTF8.self)), value.isFinite else { return nil }
        return value
    }
}
