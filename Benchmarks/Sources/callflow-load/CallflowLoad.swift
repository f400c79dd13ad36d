import ArgumentParser
import Glibc
import Reactor

/// Puts a load on a daemon and says how it bore it.
@main
struct CallflowLoad: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "callflow-load",
        abstract: "Put a load on callflow-fast and measure how it bears it.",
        discussion: """
            Starts a private database, simulated PBXs whose calls are rendered in advance, a fake Bitrix24 where the scenario \
            has one, and the daemon; then compares every stored call with what was sent. Prints a table; exit status 1 when \
            an event is missing or a call is wrong.
            """)

    @Argument(help: "Scenarios by name, run one after the other; --list tells them.") var names: [String] = []
    @Flag(help: "Give the stream of `blast` to the daemon and to other programs of the same job.")
    var consumers = false
    @Flag(help: "List the scenarios.") var list = false
    @Option(help: "Calls at once, instead of the scenario's.") var calls: Int?
    @Option(help: "Events per second, instead of the scenario's.") var eventsPerSecond: Double?
    @Option(help: "Seconds measured, instead of the scenario's.") var seconds: Double?
    @Option(help: "PBXs, instead of the scenario's.") var pbxs: Int?
    @Option(help: "IO of the daemon: auto, io_uring, epoll.") var io: String?
    @Option(help: "LOOPS of the daemon.") var loops: Int?
    @Option(help: "The daemon's executable.") var daemon: String?
    @Option(help: "Have perf(1) sample the daemon while it is measured, into this file.") var profile: String?
    @Option(help: "Write all figures to this file as JSON.") var json: String?

    /// The checkout that this program was compiled from.
    private static let root = String(
        #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(4).joined(separator: "/"))

    func run() throws {
        if list {
            for scenario in Scenario.all {
                print(scenario.name.padded(to: 14) + scenario.summary)
            }
            return
        }
        Interrupt.watch()
        if consumers {
            let daemon = daemon ?? "\(Self.root)/.build/release/callflow-fast"
            let run = Consumers(scenario: try scenario("blast"), root: Self.root, daemon: daemon)
            return print(try run.measure())
        }
        let scenarios = try (names.isEmpty ? ["calls-5000"] : names).map(scenario)
        let binary = daemon ?? "\(Self.root)/.build/release/callflow-fast"
        guard access(binary, X_OK) == 0 else {
            throw ValidationError("\(binary) is missing; run make release")
        }
        var report = LoadReport(runs: [], context: Self.context())
        for scenario in scenarios {
            // What was measured is kept when a later one fails.
            if let json { try Files.write(report.json, to: json) }
            report.runs.append(
                try Run(scenario: scenario, root: Self.root, binary: binary, profilePath: profile).measure())
        }
        print(report.markdown)
        if let json { try Files.write(report.json, to: json) }
        if !report.runs.allSatisfy(\.isGood) { throw ExitCode(1) }
    }

    private func scenario(_ name: String) throws -> Scenario {
        guard var scenario = Scenario.named(name) else {
            throw ValidationError("no scenario \(name); --list tells them")
        }
        scenario.calls = calls ?? scenario.calls
        scenario.eventsPerSecond = eventsPerSecond ?? scenario.eventsPerSecond
        scenario.seconds = seconds ?? scenario.seconds
        scenario.pbxs = pbxs ?? scenario.pbxs
        scenario.io = io ?? scenario.io
        scenario.loops = loops ?? scenario.loops
        guard (1...1_000_000).contains(scenario.calls), (1...10_000_000).contains(scenario.eventsPerSecond),
            (0.1...86_400).contains(scenario.seconds), (1...8000).contains(scenario.pbxs)
        else { throw ValidationError("calls, events, seconds or PBXs out of range") }
        return scenario
    }

    private static func context() -> [(String, String)] {
        func line(_ command: [String]) -> String {
            let path = "/tmp/callflow-load-context-\(getpid())"
            defer { unlink(path) }
            guard (try? Subprocess.run(command, log: path, seconds: 10)) == 0, let text = Files.read(path)
            else { return "?" }
            return String(text.prefix { $0 != "\n" })
        }
        let processor =
            (Files.read("/proc/cpuinfo") ?? "").split(separator: "\n").first { $0.hasPrefix("model name") }
            .map { String($0.drop { $0 != ":" }.dropFirst(2)) } ?? "?"
        return [
            ("commit", line(["/usr/bin/env", "git", "-C", root, "describe", "--always", "--dirty"])),
            ("machine", "\(sysconf(Int32(_SC_NPROCESSORS_ONLN))) cores, \(processor)"),
            ("kernel", line(["/usr/bin/env", "uname", "-r"])),
        ]
    }
}

extension String {
    fileprivate func padded(to width: Int) -> String {
        count >= width ? self + " " : self + String(repeating: " ", count: width - count)
    }
}
