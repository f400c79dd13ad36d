import CScan

/// Checks UTF-8 as it arrives (RFC 3629; Unicode table 3-7), failing at the first byte that no valid text
/// could continue with.
///
/// The bytes may be cut anywhere, inside a character too: nine bytes of state carry over. Runs of ASCII are
/// skipped 16 bytes at a time.
public struct UTF8Validator: Sendable {
    /// Continuation bytes that the current character still lacks.
    private var pending: UInt8 = 0
    /// What the next continuation byte may be: narrower than 80…BF right after E0, ED, F0 and F4, which
    /// keeps out overlong forms, surrogates and what lies above U+10FFFF.
    private var lowest: UInt8 = 0x80
    private var highest: UInt8 = 0xBF
    private var failed = false

    /// Makes a validator at the start of a text.
    public init() {}

    /// Whether the text may end here: nothing was wrong and no character is open.
    public var isComplete: Bool { pending == 0 && !failed }

    /// Takes the next bytes of the text.
    ///
    /// - Returns: false as soon as the text cannot be UTF-8; then for ever.
    public mutating func append(_ bytes: RawSpan) -> Bool {
        bytes.withUnsafeBytes { append($0) }
    }

    /// Whether the bytes are UTF-8 as a whole.
    public static func isValid(_ bytes: RawSpan) -> Bool {
        var validator = UTF8Validator()
        return validator.append(bytes) && validator.isComplete
    }

    mutating func append(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard !failed else { return false }
        guard let base = bytes.baseAddress else { return true }
        let count = bytes.count
        var index = 0
        while index < count {
            if pending == 0 {
                while count &- index >= 16 {
                    let mask = cscan_non_ascii16(base + index)
                    if mask != 0 {
                        index &+= mask.trailingZeroBitCount
                        break
                    }
                    index &+= 16
                }
                guard index < count else { return true }
            }
            let byte = base.load(fromByteOffset: index, as: UInt8.self)
            index &+= 1
            if !step(byte) {
                failed = true
                return false
            }
        }
        return true
    }

    @inline(__always)
    private mutating func step(_ byte: UInt8) -> Bool {
        if pending > 0 {
            guard byte >= lowest, byte <= highest else { return false }
            pending &-= 1
            lowest = 0x80
            highest = 0xBF
            return true
        }
        if byte < 0x80 { return true }
        switch byte {
        case 0xC2...0xDF: pending = 1
        case 0xE0: (pending, lowest) = (2, 0xA0)
        case 0xED: (pending, highest) = (2, 0x9F)
        case 0xE1...0xEF: pending = 2
        case 0xF0: (pending, lowest) = (3, 0x90)
        case 0xF4: (pending, highest) = (3, 0x8F)
        case 0xF1...0xF3: pending = 3
        default: return false
        }
        return true
    }
}
