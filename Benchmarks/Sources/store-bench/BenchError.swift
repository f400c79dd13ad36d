import Glibc

/// What ends the program: a text for people.
struct BenchError: Error {
    var text: String
    init(_ text: String) { self.text = text }
}

enum Progress {
    /// A line to standard error.
    static func note(_ line: String) {
        let bytes = Array("store-bench: \(line)\n".utf8)
        _ = write(STDERR_FILENO, bytes, bytes.count)
    }
}
