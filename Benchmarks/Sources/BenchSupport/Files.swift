import Glibc

/// What ends the program: a text for people.
public struct BenchError: Error {
    /// What was wrong.
    public var text: String
    /// With what was wrong.
    public init(_ text: String) { self.text = text }
}

/// Files and lines of a benchmark.
public enum Files {
    /// The checkout that this program was compiled from.
    public static let root = String(
        #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(4).joined(separator: "/"))

    /// All bytes of a file.
    public static func read(_ path: String) throws(BenchError) -> [UInt8] {
        guard let file = fopen(path, "rb") else {
            throw BenchError("\(path): \(String(cString: strerror(errno)))")
        }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&part, 1, part.count, file)
            bytes.append(contentsOf: part[..<count])
            if count < part.count { break }
        }
        guard ferror(file) == 0 else { throw BenchError("\(path): cannot be read") }
        return bytes
    }

    /// Names of what is in a folder, in order; none when there is no such folder.
    public static func names(in folder: String) -> [String] {
        guard let opened = opendir(folder) else { return [] }
        defer { closedir(opened) }
        var names: [String] = []
        while let entry = readdir(opened) {
            names.append(
                withUnsafeBytes(of: &entry.pointee.d_name) {
                    String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
                })
        }
        return names.sorted()
    }

    /// A line to standard error.
    public static func note(_ line: String) {
        let bytes = Array("\(line)\n".utf8)
        _ = write(STDERR_FILENO, bytes, bytes.count)
    }
}

/// What the calling thread has used of a core: other programs on the machine do not count.
public enum ThreadTime {
    /// Nanoseconds since the thread began.
    public static var now: Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
    }
}
