/// Events that wait, in the order of receipt; their bytes lie one after another.
struct ARIHeldEvents {
    private var bytes: [UInt8] = []
    private var ends: [Int] = []
    private var next = 0

    /// Events that wait.
    var count: Int { ends.count - next }
    /// Bytes kept.
    var byteCount: Int { bytes.count }
    var isEmpty: Bool { count == 0 }

    /// Copies an event.
    mutating func append(_ event: RawSpan) {
        event.withUnsafeBytes { bytes.append(contentsOf: $0) }
        ends.append(bytes.count)
    }

    /// Takes what waits in `other` behind its own.
    mutating func append(_ other: ARIHeldEvents) {
        for place in other.next..<other.ends.count {
            let start = place == 0 ? 0 : other.ends[place - 1]
            bytes.append(contentsOf: other.bytes[start..<other.ends[place]])
            ends.append(bytes.count)
        }
    }

    /// Events taken out: the first begins at `start`, and each ends where the next begins.
    struct Taken {
        var bytes: [UInt8]
        var start: Int
        var ends: ArraySlice<Int>
    }

    /// Takes the first `limit` events out.
    mutating func take(_ limit: Int) -> Taken {
        let start = next == 0 ? 0 : ends[next - 1]
        let last = next + min(ends.count - next, limit)
        let taken = Taken(bytes: bytes, start: start, ends: ends[next..<last])
        next = last
        if next == ends.count {
            // The caller keeps the old buffers as long as it reads them.
            self = ARIHeldEvents()
        }
        return taken
    }
}
