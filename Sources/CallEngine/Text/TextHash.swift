/// Keyed 64-bit hash of short texts that come from outside.
///
/// Multiply-fold over eight bytes at a time with secret starting words, so that nobody who chooses channel ids
/// can choose collisions without knowing the key. Never an identity: tables compare the text as well.
public struct TextHash: Sendable {
    private let keyA: UInt64
    private let keyB: UInt64

    /// Takes 128 random bits; every shard and every reader of one process needs the same.
    public init(keyA: UInt64, keyB: UInt64) {
        self.keyA = keyA | 1
        self.keyB = keyB | 1
    }

    /// The hash; never 0 or 1, which tables use as marks.
    @inline(__always)
    public func callAsFunction(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        let count = bytes.count
        var state = keyA ^ UInt64(truncatingIfNeeded: count)
        var index = 0
        while index &+ 8 <= count {
            state = Self.fold(state ^ bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self), keyB)
            index &+= 8
        }
        var tail: UInt64 = 0
        while index < count {
            tail = tail << 8 | UInt64(bytes[index])
            index &+= 1
        }
        state = Self.fold(state ^ tail, keyB)
        state = Self.fold(state ^ keyB, keyA)
        return state < 2 ? state &+ 2 : state
    }

    @inline(__always)
    private static func fold(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let product = left.multipliedFullWidth(by: right)
        return product.high ^ product.low
    }
}
