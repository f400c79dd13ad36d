import ArgumentParser
import CallEngine
import Connectors
import Glibc
import Protocols

struct ExplainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Tell why the calls of a recorded ARI stream have their status and outcome.",
        discussion: """
            FILE has one ARI event a line, as Asterisk sends them; - is standard input. The same rules as the daemon's, leg by \
            leg and rule by rule; a running daemon tells it of its calls at /api/calls/ID/explain. Exit status: 0 done, 65 no \
            line was an event, 66 the file cannot be read.
            """)

    /// Languages of the sentences.
    enum Language: String, ExpressibleByArgument, CaseIterable {
        case en, ru
    }

    /// What of the PBX the stream has.
    enum Channels: String, ExpressibleByArgument, CaseIterable {
        case calls, app
    }

    @Argument(help: "The stream: one ARI event a line; - for standard input.") var file: String
    @Flag(help: "Print one JSON object a line and call, with both languages.") var json = false
    @Option(help: "Only the call with this id.") var call: String?
    @Option(help: "en or ru.") var language = Language.en
    @Option(
        help: "calls: every channel's events, to its end; app: only those of an application (ARI_SUBSCRIBE).")
    var channels = Channels.calls
    @Option(
        help: "linkedid or channel (CALL_GROUPING).",
        transform: { text in
            guard let grouping = CallGrouping(rawValue: text) else {
                throw ValidationError("--grouping takes linkedid or channel")
            }
            return grouping
        })
    var grouping = CallGrouping.linkedID

    func run() async throws {
        guard let lines = LineFile(path: file) else {
            StandardError.write("callflow-fast: cannot read \(file)")
            throw ExitStatus.noInput
        }
        var replay = CallReplay(
            subscription: channels == .app ? .applicationOnly : .allChannels, grouping: grouping)
        var (number, unreadable) = (0, 0)
        while let line = lines.next() {
            number += 1
            guard !line.isEmpty else { continue }
            do throws(JSONError) {
                try replay.take(line)
            } catch {
                unreadable += 1
                if unreadable <= Self.maximumComplaints {
                    StandardError.write("callflow-fast: \(file), line \(number) is left out: \(error)")
                }
            }
            replay.giveOut { show($0) }
        }
        replay.finish { show($0) }
        if unreadable > Self.maximumComplaints {
            StandardError.write("callflow-fast: \(unreadable) lines were left out")
        }
        if replay.refusedCount > 0 {
            StandardError.write("callflow-fast: \(replay.refusedCount) calls were left out: too many at once")
        }
        if let problem = lines.problem {
            StandardError.write("callflow-fast: \(file): \(problem)")
            throw ExitStatus.noInput
        }
        if replay.eventCount == 0 { throw ExitStatus.data }
    }

    /// Lines that are complained of one by one.
    private static let maximumComplaints = 10

    private func show(_ found: CallReplay.Call) {
        if let call, found.callID != call { return }
        let explanation = CallExplanation(
            callID: found.callID, record: found.record, details: found.details)
        if json {
            var writer = JSONWriter()
            writer.object { $0.explanation(explanation, from: "events") }
            print(String(decoding: writer.output, as: UTF8.self))
        } else {
            let text = ExplanationText(in: language == .ru ? .russian : .english)
            for line in text.lines(explanation) { print(line) }
        }
    }
}

/// Lines of a file or of standard input, one after another.
final class LineFile {
    /// As long as a frame from a PBX may be.
    static let maximumLineBytes = 16 << 20

    private let stream: UnsafeMutablePointer<FILE>
    private var buffer: UnsafeMutablePointer<CChar>?
    private var capacity = 0
    /// Why reading ended before the end.
    private(set) var problem: String?

    /// - Parameter path: `-` for standard input.
    init?(path: String) {
        guard let stream = path == "-" ? fdopen(dup(STDIN_FILENO), "rb") : fopen(path, "rb") else {
            return nil
        }
        self.stream = stream
    }

    deinit {
        free(buffer)
        fclose(stream)
    }

    /// The next line without its end; `nil` when there is none.
    func next() -> [UInt8]? {
        let count = getline(&buffer, &capacity, stream)
        guard count >= 0, let buffer else {
            if ferror(stream) != 0 { problem = String(cString: strerror(errno)) }
            return nil
        }
        guard count <= Self.maximumLineBytes else {
            problem = "a line is longer than \(Self.maximumLineBytes) bytes"
            return nil
        }
        var line = [UInt8](UnsafeRawBufferPointer(start: buffer, count: count))
        while let last = line.last, last == 0x0A || last == 0x0D { line.removeLast() }
        return line
    }
}
