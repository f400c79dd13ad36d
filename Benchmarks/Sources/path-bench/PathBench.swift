import CallEngine
import Glibc

/// Measures what one event costs within a loop, from recorded streams; see `usage`.
@main
struct PathBench {
    static let usage = """
        usage: path-bench [--rounds N] [--check FILE]

        Plays recorded ARI streams through the engine on one thread and prints a Markdown table.

          --rounds N     timed rounds of each stage (100)
          --check FILE   count allocations only, compare them with the limits in FILE, exit 1 when one is above
        """

    var rounds = 100
    var thresholds: String?

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
            case "--help": return false
            default: throw BenchError("unknown option \(option)\n\(Self.usage)")
            }
        }
        return true
    }

    private func run() throws {
        try Measuring.proveThatAllocationsAreCounted()
        let limits = try thresholds.map { path throws(BenchError) in try Thresholds(path: path) }
        let recordings = [
            try Recording("burst-1000", .applicationOnly),
            try Recording("attended-transfer-suball", .allChannels),
        ]
        var measurements: [Measurement] = []
        for recording in recordings {
            let stages: [any Stage] = [ScanStage(), ReadStage(), PathStage()]
            var results: [Measurement] = []
            for stage in stages { results.append(try Measuring.allocations(stage, recording)) }
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
}
