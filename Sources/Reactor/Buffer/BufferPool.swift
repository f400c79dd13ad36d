/// Blocks for carried-over input and queued output, kept for reuse so that steady traffic allocates nothing.
///
/// Three sizes are kept, a bounded number each; anything larger comes from malloc and goes back to it.
final class BufferPool {
    /// Sizes kept, in bytes, ascending.
    static let classBytes = [4096, 16384, 65536]
    /// How many free blocks of each size are kept: at most 5.25 MiB per loop.
    static let maximumFreeBlocks = 64

    private var free: [[UnsafeMutableRawPointer]] = [[], [], []]

    init() {
        for index in free.indices { free[index].reserveCapacity(BufferPool.maximumFreeBlocks) }
    }

    deinit {
        for blocks in free {
            for block in blocks { block.deallocate() }
        }
    }

    /// A block of at least `wanted` bytes, uninitialised.
    ///
    /// - Parameter roundUp: False for "exactly this" above the largest kept size.
    func take(_ wanted: Int) -> UnsafeMutableRawBufferPointer {
        for index in BufferPool.classBytes.indices where wanted <= BufferPool.classBytes[index] {
            let bytes = BufferPool.classBytes[index]
            let block = free[index].popLast() ?? .allocate(byteCount: bytes, alignment: 16)
            return UnsafeMutableRawBufferPointer(start: block, count: bytes)
        }
        return .allocate(byteCount: (wanted + 4095) & ~4095, alignment: 16)
    }

    /// Gives back what `take` gave.
    func give(_ base: UnsafeMutableRawPointer, capacity: Int) {
        if let index = BufferPool.classBytes.firstIndex(of: capacity),
            free[index].count < BufferPool.maximumFreeBlocks
        {
            free[index].append(base)
        } else {
            base.deallocate()
        }
    }
}
