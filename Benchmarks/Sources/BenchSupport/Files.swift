import Glibc

/// What ends the program: a text for people.
struct BenchError: Error {
    var text: String
    init(_ text: String) { self.text = text }
}

enum Files {
    /// The checkout that this program was compiled from.
    static let root = String(
        #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(4).joined(separator: "/"))

    /// All bytes of a file.
    static func read(_ path: String) throws(BenchError) -> [UInt8] {
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

    /// A line to standard error.
    static func note(_ line: String) {
        let bytes = Array("\(line)\n".utf8)
        _ = write(STDERR_FILENO, bytes, bytes.count)
    }
}
