/// A short text kept inside its record: no heap, copied with the record.
///
/// Holds up to `capacity` bytes of UTF-8; whoever stores a longer text keeps the whole elsewhere and marks
/// the record (see `CallRecord.Flags.longTexts`). `capacity` is at most 255.
///
/// All of it can be inlined elsewhere: as a generic type it would otherwise be used through run-time type descriptions
/// by the modules that write rows, at a hundred times the cost.
public struct InlineText<let capacity: Int>: Sendable, BitwiseCopyable {
    @usableFromInline var length: UInt8 = 0
    @usableFromInline var storage = InlineArray<capacity, UInt8>(repeating: 0)

    /// An empty text.
    @inlinable
    public init() {}

    /// Takes the first `capacity` bytes of `bytes`, never half of a UTF-8 sequence.
    ///
    /// - Returns: Whether all of it fitted.
    @discardableResult
    @inlinable
    public mutating func assign(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let kept = Self.fittingLength(of: bytes, limit: capacity)
        withUnsafeMutableBytes(of: &storage) { storage in
            storage.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<kept]))
        }
        length = UInt8(truncatingIfNeeded: kept)
        return kept == bytes.count
    }

    /// Bytes used.
    @inlinable public var count: Int { Int(length) }

    /// Whether nothing is stored; an empty text counts as absent everywhere.
    @inlinable public var isEmpty: Bool { length == 0 }

    /// The bytes, borrowed for the call of `body`.
    @inlinable
    @inline(__always)
    public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
        let count = Int(length)
        return Swift.withUnsafeBytes(of: storage) { body(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
    }

    /// The text as a String (bytes that are no UTF-8 become U+FFFD).
    @inlinable public var string: String {
        withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
    }

    /// Whether both hold the same bytes.
    @inlinable
    @inline(__always)
    public static func == (left: Self, right: Self) -> Bool {
        guard left.length == right.length else { return false }
        // Eight bytes at a time: keys are compared once or twice an event, and byte by byte it shows.
        return left.withUnsafeBytes { left in
            right.withUnsafeBytes { right in
                var index = 0
                while index &+ 8 <= left.count {
                    let one = left.loadUnaligned(fromByteOffset: index, as: UInt64.self)
                    let other = right.loadUnaligned(fromByteOffset: index, as: UInt64.self)
                    if one != other { return false }
                    index &+= 8
                }
                while index < left.count {
                    if left[index] != right[index] { return false }
                    index &+= 1
                }
                return true
            }
        }
    }

    /// How many of `bytes` fit in `limit` without cutting a UTF-8 sequence in two.
    @inlinable
    public static func fittingLength(of bytes: UnsafeRawBufferPointer, limit: Int) -> Int {
        guard bytes.count > limit else { return bytes.count }
        var end = limit
        while end > 0, bytes[end] & 0xC0 == 0x80 { end -= 1 }
        return end
    }
}
