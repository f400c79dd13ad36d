import ArgumentParser
import CallEngine
import Connectors
import Protocols
import Reactor

struct RebuildCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rebuild",
        abstract: "Derive stored calls again from their stored events, and put right what differs.",
        discussion: """
            Of calls whose rows were made from FROM on and before TO (UTC). Events of before FROM are read too, from the begin \
            of the oldest call that was open then, a day at most; and behind TO up to the last change of these calls, a day at \
            most. The daemon may run meanwhile: a row that changes is left alone, and so are calls of which events do not tell \
            all, since they lived while the PBX was not heard. A call is written with its legs and parts at once; Bitrix24 is \
            told nothing. Exit status: 0 done, 64 no such time, 69 the database is away, 75 somebody is in the way, 77 the user \
            may not, 78 a setting cannot be used.
            """)

    @Option(help: "2026-11-22 or 2026-11-22T10:00:00Z.") var from: String
    @Option(help: "The same; now, if it is left out.") var to: String?
    @Flag(help: "Print the differences and change nothing.") var dryRun = false
    @Flag(help: "Print a JSON object a line for each call that differs, and one for the whole.") var json =
        false
    @OptionGroup var flags: SettingFlags

    /// Between two lines of progress.
    private static let pause: Duration = .seconds(2)

    func run() async throws {
        let settings = try await flags.load()
        let end = try to.map { try Self.time($0, "--to") } ?? WallClock.now()
        let begin = try Self.time(from, "--from")
        guard begin < end else {
            StandardError.write("callflow-fast: --from must be before --to")
            throw ExitStatus.usage
        }
        let pbxs = settings.pbxs.configurations
        let replay = ReplaySettings(
            subscriptions: pbxs.map(\.graphSubscription), grouping: settings.grouping,
            prefixes: settings.pbxs.prefixes)
        var next = MonotonicInstant.now() + Self.pause
        let report: CallRebuild.Report
        do throws(StoreError) {
            var rebuild = try CallRebuild(
                location: settings.store, settings: settings.storeSettings, replay: replay,
                range: begin..<end,
                isDry: dryRun)
            report = try rebuild.run {
                print(json ? Self.json($0) : Self.lines($0).joined(separator: "\n"))
            } progress: { report, at in
                guard MonotonicInstant.now() >= next else { return }
                next = MonotonicInstant.now() + Self.pause
                StandardError.write(
                    "\(at.formatted()): \(report.events) events, \(report.compared) calls, \(report.different) differ"
                )
            }
        } catch {
            StandardError.write("callflow-fast: \(error)")
            throw ExitStatus.of(error)
        }
        if json {
            print(Self.json(report))
        } else {
            for line in Self.lines(report, isDry: dryRun) { print(line) }
        }
    }

    private static func time(_ text: String, _ option: String) throws -> Timestamp {
        if let time = Timestamp(text) ?? Timestamp(text + "T00:00:00Z") { return time }
        StandardError.write("callflow-fast: \(option): no time: \(text)")
        throw ExitStatus.usage
    }

    // MARK: Output

    private static func lines(_ difference: CallDifference) -> [String] {
        var title = "\(difference.callID)  \(difference.startedAt.formatted(.milliseconds))"
        if difference.isMissing { title += "  has no row" }
        if difference.isFirst { title += "  derived for the first time" }
        if let kept = difference.kept { title += "  (left as it is: \(kept.rawValue))" }
        return [title]
            + difference.fields.map { "    \($0.name): \($0.stored ?? "-") -> \($0.derived ?? "-")" }
    }

    private static func lines(_ report: CallRebuild.Report, isDry: Bool) -> [String] {
        var lines = [
            "events read: \(report.events), from \(report.readFrom.formatted()) to \(report.readTo.formatted())",
            "calls: \(report.rows) rows, \(report.compared) told of by events, \(report.same) the same, "
                + "\(report.different) different",
        ]
        if report.first > 0 { lines.append("derived for the first time: \(report.first)") }
        if report.missing > 0 { lines.append("without a row: \(report.missing)") }
        for (reason, count) in report.kept.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            lines.append("left as they are (\(reason.rawValue)): \(count)")
        }
        if report.refused > 0 { lines.append("not followed, too many at once: \(report.refused)") }
        lines.append(isDry ? "nothing was changed" : "written: \(report.written)")
        return lines
    }

    private static func json(_ difference: CallDifference) -> String {
        var writer = JSONWriter()
        writer.object { json in
            json.member("call_id", difference.callID)
            json.member("started_at", difference.startedAt, precision: .microseconds)
            json.member("missing", difference.isMissing)
            json.member("first", difference.isFirst)
            json.member("kept", difference.kept?.rawValue)
            json.key("fields")
            json.object { fields in
                for field in difference.fields {
                    fields.key(field.name)
                    fields.object {
                        $0.member("stored", field.stored)
                        $0.member("derived", field.derived)
                    }
                }
            }
        }
        return String(decoding: writer.output, as: UTF8.self)
    }

    private static func json(_ report: CallRebuild.Report) -> String {
        var writer = JSONWriter()
        writer.object { json in
            json.member("read_from", report.readFrom, precision: .microseconds)
            json.member("read_to", report.readTo, precision: .microseconds)
            json.member("events", report.events)
            json.member("rows", report.rows)
            json.member("compared", report.compared)
            json.member("same", report.same)
            json.member("different", report.different)
            json.member("first", report.first)
            json.member("missing", report.missing)
            json.member("written", report.written)
            json.member("kept", report.kept.values.reduce(0, +))
        }
        return String(decoding: writer.output, as: UTF8.self)
    }
}
