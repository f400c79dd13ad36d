import CScan

extension RawSpan {
    /// The byte at `offset`; traps outside the span.
    @inlinable
    public func byte(at offset: Int) -> UInt8 {
        precondition(offset >= 0 && offset < byteCount)
        return unsafeLoad(fromByteOffset: offset, as: UInt8.self)
    }

    /// Whether the span holds exactly the UTF-8 bytes of `text`.
    public func equals(_ text: StaticString) -> Bool {
        guard byteCount == text.utf8CodeUnitCount else { return false }
        return text.withUTF8Buffer { other in
            withUnsafeBytes { mine in RawSpan.areSame(mine, UnsafeRawBufferPointer(other)) }
        }
    }

    /// Whether the two spans hold the same bytes.
    public func equals(_ other: RawSpan) -> Bool {
        guard byteCount == other.byteCount else { return false }
        return withUnsafeBytes { mine in
            other.withUnsafeBytes { theirs in RawSpan.areSame(mine, theirs) }
        }
    }

    /// Whether bytes of the same count are the same, by `memcmp`.
    @inline(__always)
    private static func areSame(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Bool {
        guard let mine = left.baseAddress, let theirs = right.baseAddress else { return true }
        return cscan_equal(mine, theirs, left.count) != 0
    }

    /// Whether the span holds `text` when ASCII letters are compared without case.
    public func equalsIgnoringCase(_ text: StaticString) -> Bool {
        guard byteCount == text.utf8CodeUnitCount else { return false }
        return text.withUTF8Buffer { other in
            withUnsafeBytes { mine in
                for index in 0..<mine.count
                where ASCII.lowercased(mine[index]) != ASCII.lowercased(other[index]) {
                    return false
                }
                return true
            }
        }
    }

    /// A copy of the bytes.
    public var copied: [UInt8] { withUnsafeBytes { [UInt8]($0) } }
}

extension String {
    /// Copies bytes as text; what is not UTF-8 becomes U+FFFD.
    public init(decoding bytes: RawSpan) {
        self = bytes.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
    }

    /// Copies a range of bytes as text; what is not UTF-8 becomes U+FFFD.
    ///
    /// Traps outside the span.
    public init(decoding bytes: RawSpan, in range: Range<Int>) {
        self = bytes.extracting(range).withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
    }

    /// Copies a range of bytes as text; what is not UTF-8 becomes U+FFFD.
    ///
    /// Traps outside the span.
    public init(decoding bytes: RawSpan, in range: ByteRange) {
        self.init(decoding: bytes, in: range.bounds)
    }

    /// Copies bytes as text, or gives nil when they are not UTF-8.
    public init?(validating bytes: RawSpan) {
        guard UTF8Validator.isValid(bytes) else { return nil }
        self.init(decoding: bytes)
    }
}

extension Array<UInt8> {
    /// Appends the bytes of a span.
    @inlinable
    public mutating func append(contentsOf bytes: RawSpan) {
        bytes.withUnsafeBytes { append(contentsOf: $0) }
    }

    /// Appends the UTF-8 bytes of a literal.
    @inlinable
    public mutating func append(ascii text: StaticString) {
        text.withUTF8Buffer { append(contentsOf: $0) }
    }

    /// Appends an integer in decimal.
    public mutating func append(decimal value: some FixedWidthInteger) {
        var magnitude = UInt64(value.magnitude)
        if value < 0 { append(0x2D) }
        // 20 digits hold any 64-bit magnitude.
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
            var first = 20
            repeat {
                first -= 1
                digits[first] = 0x30 + UInt8(truncatingIfNeeded: magnitude % 10)
                magnitude /= 10
            } while magnitude > 0
            append(contentsOf: digits[first...])
        }
    }
}
