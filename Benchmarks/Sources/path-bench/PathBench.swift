import BenchSupport
import CallEngine
import Glibc

/// Measures what one event costs within a loop, from recorded streams; see `usage`.
@main
struct PathBench {
    static let usage = """
        usage: path-bench [--rounds N] [--check FILE]

        Plays recorded ARI streams through the engine on one thread and prints a Markdown table.

          --rounds N     timed rounds of each stage (100)
          --check FILE   count allocations and copies only, compare them with the limits in FILE, exit 1 when one is above
          --crowd CALLS  open so many calls of two and three legs, and measure memory and the slowest events while
                         the office goes on calling; exit 1 when a leg costs more than 1 KiB or one event in a thousand
                         takes longer than a millisecond
          --play RECORDING STAGE N
                         play it N times and measure nothing: for tools that count instructions from outside; prints
                         how many events one play has
        """

    var rounds = 100
    var thresholds: String?
    var crowd: Int?
    var played: (recording: String, stage: String, count: Int)?

    /// How each recording's reader was subscribed.
    static let recordings: [(name: String, subscription: CallGraph.Subscription)] = [
        ("burst-1000", .applicationOnly), ("attended-transfer-suball", .allChannels),
        ("office-22", .allChannels),
    ]

    static func main() {
        do {
            var bench = PathBench()
            guard try bench.parse(CommandLine.arguments.dropFirst()) else { return print(usage) }
            try bench.run()
        } catch let error as BenchError {
            Files.note("path-bench: \(error.text)")
            exit(2)
        } catch {
            Files.note("path-bench: \(error)")
            exit(2)
        }
    }

    /// - Returns: Whether to go on.
    private mutating func parse(_ arguments: ArraySlice<String>) throws(BenchError) -> Bool {
        var arguments = arguments
        while let option = arguments.popFirst() {
            switch option {
            case "--rounds":
                guard let text = arguments.popFirst(), let number = Int(text), (1...100_000).contains(number)
                else {
                    throw BenchError("--rounds wants a number from 1 to 100000")
                }
                rounds = number
            case "--check":
                guard let file = arguments.popFirst() else { throw BenchError("--check wants a file") }
                thresholds = file
            case "--crowd":
                guard let text = arguments.popFirst(), let number = Int(text),
                    (100...1_000_000).contains(number)
                else {
                    throw BenchError("--crowd wants a number from 100 to 1000000")
                }
                crowd = number
            case "--play":
                guard let recording = arguments.popFirst(), let stage = arguments.popFirst(),
                    let count = arguments.popFirst().flatMap({ Int($0) }), (1...100_000).contains(count)
                else { throw BenchError("--play wants a recording, a stage and a number") }
                played = (recording, stage, count)
            case "--help": return false
            default: throw BenchError("unknown option \(option)\n\(Self.usage)")
            }
        }
        return true
    }

    private func run() throws {
        if let played { return try play(played.recording, played.stage, played.count) }
        try Measuring.proveThatIsCounted()
        if let crowd { return try measure(crowd: crowd) }
        let limits = try thresholds.map { path throws(BenchError) in try Thresholds(path: path) }
        let recordings = try Self.recordings.map { try Recording($0.name, $0.subscription) }
        var measurements: [Measurement] = []
        for recording in recordings {
            let stages = Self.stages()
            var results: [Measurement] = []
            for stage in stages { results.append(try Measuring.counts(stage, recording)) }
            if limits == nil {
                // Stage by stage within a round: what else the machine does hits all of them alike.
                for _ in 0..<rounds {
                    for (index, stage) in stages.enumerated() {
                        results[index].nanoseconds.append(try Measuring.round(stage, recording))
                    }
                }
            }
            for index in results.indices { results[index].nanoseconds.sort() }
            measurements += results
        }
        print(Table.text(measurements))
        guard let limits else { return }
        let exceeded = try limits.exceeded(by: measurements)
        for line in exceeded { Files.note("above the limit: \(line)") }
        if !exceeded.isEmpty { exit(1) }
    }

    private func measure(crowd calls: Int) throws {
        let crowd = Crowd(calls: calls, events: 1_000_000)
        let result = try crowd.run()
        print(crowd.table(result))
        if result.bytesPerLeg > 1024 || result.quantile(0.999) > 1_000_000 { exit(1) }
    }

    private static func stages() -> [any Stage] { [ScanStage(), ReadStage(), PathStage()] }

    private func play(_ name: String, _ stage: String, _ count: Int) throws {
        guard let known = Self.recordings.first(where: { $0.name == name }) else {
            throw BenchError("no recording \(name)")
        }
        guard let stage = Self.stages().first(where: { $0.name == stage }) else {
            throw BenchError("no stage \(stage)")
        }
        let recording = try Recording(known.name, known.subscription)
        for _ in 0..<count { try stage.play(recording) }
        print(recording.events.count)
    }
}
