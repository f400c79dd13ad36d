import Glibc

/// A file of every event that was given to a reader, one a line: the reader's number, a tab, the event's JSON.
///
/// What a test compares the stored events with. Lines stand in the order of sending; they are in the file at the end of
/// the tick that sent them, whatever becomes of the reader.
final class SentLog {
    private let descriptor: Int32
    private var buffer: [UInt8] = []
    /// Why lines are missing; `nil` while none are.
    private(set) var problem: String?

    /// Opens the file anew.
    ///
    /// - Throws: A text for the operator.
    init(path: String) throws {
        descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw Failure(path: path, reason: String(cString: strerror(errno))) }
    }

    deinit {
        flush()
        close(descriptor)
    }

    struct Failure: Error, CustomStringConvertible {
        let path: String
        let reason: String
        var description: String { "\(path): \(reason)" }
    }

    /// Adds a line; the event may be given in two parts.
    func append(reader: Int, _ body: some Collection<UInt8>, _ tail: [UInt8] = []) {
        buffer.append(contentsOf: "\(reader)\t".utf8)
        buffer.append(contentsOf: body)
        buffer.append(contentsOf: tail)
        buffer.append(UInt8(ascii: "\n"))
    }

    /// Writes out what was added.
    func flush() {
        var written = 0
        while written < buffer.count, problem == nil {
            let count = buffer.withUnsafeBytes {
                write(descriptor, $0.baseAddress?.advanced(by: written), $0.count - written)
            }
            if count > 0 {
                written += count
            } else if errno != EINTR {
                problem = String(cString: strerror(errno))
            }
        }
        buffer.removeAll(keepingCapacity: true)
    }
}
