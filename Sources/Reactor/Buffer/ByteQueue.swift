/// Bytes in one block: appended at the end, used from the front.
///
/// Holds no block while empty.
///
/// ```
/// base        start            end            capacity
/// │ used up   │ waiting bytes  │ free space   │
/// ```
struct ByteQueue {
    private var base: UnsafeMutableRawPointer?
    private var start: UInt32 = 0
    private var end: UInt32 = 0
    private var capacity: UInt32 = 0

    /// Bytes waiting.
    var count: Int { Int(end &- start) }
    var isEmpty: Bool { end == start }

    /// The waiting bytes; valid until the next change.
    var bytes: UnsafeRawBufferPointer {
        guard let base else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        return UnsafeRawBufferPointer(start: base + Int(start), count: count)
    }

    /// The same, to be changed where they wait.
    var mutableBytes: UnsafeMutableRawBufferPointer {
        guard let base else { return UnsafeMutableRawBufferPointer(start: nil, count: 0) }
        return UnsafeMutableRawBufferPointer(start: base + Int(start), count: count)
    }

    /// Appends a copy of `more`.
    ///
    /// - Parameter expected: The total that will be needed in the end, when known: growth stops there.
    mutating func append(_ more: UnsafeRawBufferPointer, expected: Int = 0, pool: BufferPool) {
        guard let source = more.baseAddress, more.count > 0 else { return }
        let target = reserve(more.count, expected: expected, pool: pool)
        target.copyMemory(from: source, byteCount: more.count)
        end += UInt32(more.count)
    }

    /// Makes room for `extra` bytes and gives the place where they go; `commit` then counts them.
    mutating func reserve(_ extra: Int, expected: Int = 0, pool: BufferPool) -> UnsafeMutableRawPointer {
        if let base, Int(end) + extra <= Int(capacity) { return base + Int(end) }
        let required = count + extra
        if let base, required <= Int(capacity) / 2 || required <= Int(capacity) && start > capacity / 2 {
            base.copyMemory(from: base + Int(start), byteCount: count)
            end -= start
            start = 0
            return base + Int(end)
        }
        // Geometric growth, so that a large message costs O(n) copying in all; not beyond what is expected.
        var wanted = max(required, 2 * Int(capacity))
        if expected >= required { wanted = min(wanted, expected) }
        let block = pool.take(wanted)
        // A block that take() gave is never empty.
        guard let fresh = block.baseAddress else { preconditionFailure("empty block") }
        let held = count
        if let base {
            fresh.copyMemory(from: base + Int(start), byteCount: held)
            pool.give(base, capacity: Int(capacity))
        }
        base = fresh
        start = 0
        end = UInt32(held)
        capacity = UInt32(block.count)
        return fresh + held
    }

    /// Counts `more` bytes that were written where `reserve` said.
    mutating func commit(_ more: Int) {
        precondition(Int(end) + more <= Int(capacity))
        end += UInt32(more)
    }

    /// Uses up `used` bytes from the front; gives the block back when nothing is left.
    mutating func consume(_ used: Int, pool: BufferPool) {
        precondition(used >= 0 && used <= count)
        start += UInt32(used)
        if start == end { removeAll(pool: pool) }
    }

    /// Drops all bytes and gives the block back.
    mutating func removeAll(pool: BufferPool) {
        if let base { pool.give(base, capacity: Int(capacity)) }
        base = nil
        start = 0
        end = 0
        capacity = 0
    }
}
