import Glibc

/// Memory that ends right before a page that cannot be read, and begins right behind one, so that a read
/// outside of what is put there ends the test with a signal.
final class GuardPage {
    let capacity: Int
    private let mapping: UnsafeMutableRawPointer
    private let page = Int(sysconf(Int32(_SC_PAGESIZE)))

    /// nil when the system gives no memory.
    init?(capacity wanted: Int) {
        capacity = (wanted + page - 1) / page * page
        guard
            let memory = mmap(
                nil, capacity + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            memory != MAP_FAILED
        else { return nil }
        mapping = memory
        guard mprotect(memory, page, PROT_NONE) == 0, mprotect(memory + page + capacity, page, PROT_NONE) == 0
        else { return nil }
    }

    deinit { munmap(mapping, capacity + 2 * page) }

    /// Puts `bytes` right before the unreadable page and lets `body` read them.
    func atEnd<Result>(_ bytes: [UInt8], _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        precondition(bytes.count <= capacity)
        let place = mapping + page + capacity - bytes.count
        return put(bytes, at: place, body)
    }

    /// Puts `bytes` right behind the unreadable page and lets `body` read them.
    func atStart<Result>(_ bytes: [UInt8], _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        precondition(bytes.count <= capacity)
        return put(bytes, at: mapping + page, body)
    }

    private func put<Result>(
        _ bytes: [UInt8], at place: UnsafeMutableRawPointer, _ body: (UnsafeRawBufferPointer) -> Result
    ) -> Result {
        bytes.withUnsafeBytes { source in
            if let base = source.baseAddress { place.copyMemory(from: base, byteCount: bytes.count) }
        }
        return body(UnsafeRawBufferPointer(start: place, count: bytes.count))
    }
}
