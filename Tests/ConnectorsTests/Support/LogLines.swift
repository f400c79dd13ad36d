import Logging
import Reactor

/// Collects log lines, for tests that read what an operator would.
final class LogLines: Sendable {
    private let kept = Locked<[String]>([])

    /// Every line so far: level, message, sorted details.
    var lines: [String] { kept.withLock { $0 } }

    /// How many lines hold this text.
    func count(containing text: String) -> Int { lines.count { $0.contains(text) } }

    func add(_ line: String) { kept.withLock { $0.append(line) } }

    /// A logger that writes here; `debug` and above.
    var logger: Logger { Logger(label: "test") { _ in Handler(lines: self) } }

    private struct Handler: LogHandler {
        let lines: LogLines
        var metadata: Logger.Metadata = [:]
        var logLevel: Logger.Level = .debug

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let details = (event.metadata ?? [:]).map { "\($0)=\($1)" }.sorted().joined(separator: " ")
            lines.add("\(event.level) \(event.message) \(details)")
        }
    }
}
