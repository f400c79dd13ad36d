internal import CReactor

/// Bytes from the system's own random source, getrandom(2): for masking keys, WebSocket keys, identifiers.
public enum SystemRandom {
    /// Fills the whole buffer.
    public static func fill(_ buffer: UnsafeMutableRawBufferPointer) {
        guard let base = buffer.baseAddress, buffer.count > 0 else { return }
        let result = creactor_random(base, buffer.count)
        // getrandom without flags fails only for a bad address or a kernel without it: nothing to go on with.
        precondition(result == 0, "getrandom failed")
    }

    /// Four random bytes, as a WebSocket masking key wants them (RFC 6455 §5.3).
    public static func uint32() -> UInt32 {
        var value: UInt32 = 0
        withUnsafeMutableBytes(of: &value) { fill($0) }
        return value
    }

    /// Eight random bytes.
    public static func uint64() -> UInt64 {
        var value: UInt64 = 0
        withUnsafeMutableBytes(of: &value) { fill($0) }
        return value
    }
}
