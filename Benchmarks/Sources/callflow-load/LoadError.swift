import Glibc

/// What ends the program: a text for people.
struct LoadError: Error, CustomStringConvertible {
    var description: String
    init(_ text: String) { description = text }
}

/// Lines to standard error, for whoever waits.
enum Progress {
    static func note(_ line: String) {
        let bytes = Array("callflow-load: \(line)\n".utf8)
        _ = write(STDERR_FILENO, bytes, bytes.count)
    }
}
