internal import CReactor
internal import Glibc

/// What this process has resident, and what of it nobody uses.
public enum ProcessMemory {
    /// Bytes resident now (proc(5), `statm`); `nil` when the system does not say.
    public static var residentBytes: Int? {
        guard let file = fopen("/proc/self/statm", "re") else { return nil }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 128)
        guard fgets(&line, Int32(line.count), file) != nil else { return nil }
        let text = String(decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        let fields = text.split(separator: " ")
        guard fields.count > 1, let pages = Int(fields[1]) else { return nil }
        return pages * sysconf(Int32(_SC_PAGESIZE))
    }

    /// Gives pages back to the system that the allocator keeps for later, when it counts at least `least` bytes as free.
    ///
    /// Holds the allocator of each thread up in turn, some milliseconds for tens of MiB.
    ///
    /// - Returns: Whether some went.
    public static func releaseFree(atLeast least: Int) -> Bool {
        creactor_release_free_memory(UInt64(clamping: least)) != 0
    }
}
