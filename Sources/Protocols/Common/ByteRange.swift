/// A range of bytes in eight bytes of memory, relative to the bytes that were parsed.
///
/// It borrows nothing: whoever keeps one must know which bytes it is about and that they still live.
public struct ByteRange: Hashable, Sendable {
    /// The first byte, counted from the front of the parsed bytes.
    public var offset: UInt32
    /// How many bytes.
    public var count: UInt32

    /// Makes a range from an offset and a byte count.
    @inlinable
    public init(offset: UInt32, count: UInt32) {
        self.offset = offset
        self.count = count
    }

    /// Makes a range from bounds, both of which must fit in 32 bits.
    @inlinable
    public init(_ bounds: Range<Int>) {
        offset = UInt32(bounds.lowerBound)
        count = UInt32(bounds.count)
    }

    /// The range as bounds.
    @inlinable
    public var bounds: Range<Int> { Int(offset)..<(Int(offset) + Int(count)) }

    /// Whether the range holds no byte.
    @inlinable
    public var isEmpty: Bool { count == 0 }
}
