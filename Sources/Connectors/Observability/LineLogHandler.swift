import Glibc
package import Logging
import Protocols
import Reactor
import Synchronization

/// Where log lines go, and how much: shared by all handlers, changed by signals while the daemon runs.
///
/// Writes whole lines with one `write` each, so that lines of several threads never mix. A line that cannot be written
/// (full disk, closed pipe) is lost and counted, never waited for longer than the write itself.
package final class LogOutput: Sendable {
    private let level: Locked<Logger.Level>
    private let descriptor: Locked<Int32>
    private let path: String?
    private let lost = Atomic<Int>(0)
    private let openProblem = Locked<String?>(nil)

    /// Writes to `path`, or to standard error when `nil`; falls back to standard error when it cannot be opened.
    package init(level: Logger.Level, path: String? = nil) {
        self.level = Locked(level)
        self.path = path
        descriptor = Locked(STDERR_FILENO)
        reopen()
    }

    /// Why the file could not be opened the last time; `nil` when it could.
    package var problem: String? { openProblem.withLock { $0 } }

    /// The least level that is written.
    package var minimumLevel: Logger.Level {
        get { level.withLock { $0 } }
        set { level.withLock { $0 = newValue } }
    }

    /// Opens the file anew, after a log rotation (SIGHUP); nothing for standard error.
    ///
    /// When that fails the log goes on where it went, and `problem` says why.
    package func reopen() {
        guard let path else { return }
        descriptor.withLock { current in
            let fresh = Glibc.open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o640)
            let reason = fresh < 0 ? String(cString: strerror(errno)) : nil
            openProblem.withLock { $0 = reason.map { "cannot open \(path): \($0)" } }
            guard fresh >= 0 else { return }
            if current > STDERR_FILENO { close(current) }
            current = fresh
        }
    }

    func write(_ line: [UInt8]) {
        let written = descriptor.withLock { Glibc.write($0, line, line.count) }
        if written < line.count { lost.wrappingAdd(1, ordering: .relaxed) }
    }
}

/// One line a message: time, level, message, `key=value` pairs.
///
///     2026-11-22T10:44:47.689Z info  connected to the PBX pbx=main url=ws://10.0.0.5:8088/ari/events
package struct LineLogHandler: LogHandler {
    package var metadata: Logger.Metadata = [:]
    private let output: LogOutput

    package init(output: LogOutput) {
        self.output = output
    }

    package var logLevel: Logger.Level {
        get { output.minimumLevel }
        set { output.minimumLevel = newValue }
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var line: [UInt8] = []
        line.reserveCapacity(160)
        WallClock.now().append(to: &line, precision: .milliseconds)
        let name = event.level.rawValue
        line.append(0x20)
        line.append(contentsOf: name.utf8)
        line.append(contentsOf: repeatElement(0x20, count: max(1, 8 - name.utf8.count)))
        Self.append(event.message.description, to: &line, quoting: false)
        let pairs = metadata.merging(event.metadata ?? [:]) { $1 }
        for (key, value) in pairs.sorted(by: { $0.key < $1.key }) {
            line.append(0x20)
            line.append(contentsOf: key.utf8)
            line.append(0x3D)
            Self.append(value.description, to: &line, quoting: true)
        }
        line.append(0x0A)
        output.write(line)
    }

    /// Control characters become `?`, so that nothing from outside can forge a line or move the terminal's cursor.
    private static func append(_ text: String, to line: inout [UInt8], quoting: Bool) {
        let quoted =
            quoting && (text.isEmpty || text.utf8.contains { $0 == 0x20 || $0 == 0x22 || $0 == 0x3D })
        if quoted { line.append(0x22) }
        for byte in text.utf8 {
            switch byte {
            case 0..<0x20, 0x7F: line.append(0x3F)
            case 0x22 where quoted: line.append(contentsOf: [0x5C, 0x22])
            default: line.append(byte)
            }
        }
        if quoted { line.append(0x22) }
    }
}
