/// An identifier from the PBX as a fixed-size table key.
///
/// Usual identifiers (`1795344287.12`, with a system name in front) are kept as they are. A longer one is folded:
/// its first bytes, then `~` and 32 hexadecimal digits of two keyed hashes, so that keys stay distinct without heap.
public struct FoldedKey<let capacity: Int>: Sendable, BitwiseCopyable, Equatable {
    /// Hash of the whole identifier.
    public private(set) var hash: UInt64
    /// The identifier, or its folded form.
    public private(set) var text = InlineText<capacity>()
    /// Whether `text` is a folded form.
    public private(set) var isFolded = false

    /// Makes the key of `bytes`.
    @inline(__always)
    public init(_ bytes: UnsafeRawBufferPointer, _ hasher: TextHash) {
        hash = hasher(bytes)
        if bytes.count <= capacity {
            text.assign(bytes)
        } else {
            isFolded = true
            Self.folded(bytes, hash, hasher).withUnsafeBytes { _ = text.assign($0) }
        }
    }

    /// Puts the parts of a key together again.
    init(text: InlineText<capacity>, hash: UInt64, isFolded: Bool) {
        self.text = text
        self.hash = hash
        self.isFolded = isFolded
    }

    private static func folded(_ bytes: UnsafeRawBufferPointer, _ hash: UInt64, _ hasher: TextHash) -> [UInt8]
    {
        let kept = InlineText<capacity>.fittingLength(of: bytes, limit: capacity - 33)
        let rest = hasher(UnsafeRawBufferPointer(rebasing: bytes[kept...]))
        var folded: [UInt8] = Array(bytes[..<kept])
        folded.append(0x7E)
        for word in [hash, rest] {
            for nibble in 0..<16 {
                let digit = UInt8(truncatingIfNeeded: (word >> UInt64(60 - nibble * 4)) & 15)
                folded.append(digit < 10 ? 0x30 + digit : 0x57 + digit)
            }
        }
        return folded
    }

    /// Whether both stand for the same identifier.
    @inline(__always)
    public static func == (left: Self, right: Self) -> Bool {
        left.hash == right.hash && left.text == right.text
    }
}

/// Key of a call: its linkedid, or the best the PBX gave.
public typealias CallKey = FoldedKey<76>
/// Key of a channel: its unique id.
public typealias ChannelKey = FoldedKey<48>
