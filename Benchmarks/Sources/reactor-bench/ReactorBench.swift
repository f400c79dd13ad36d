import Glibc
import Reactor

/// Measures what input costs a loop; see `usage`.
@main
struct ReactorBench {
    static let usage = """
        usage: reactor-bench [--rounds N] [--check FILE]
               reactor-bench --paced [--events-per-second N] [--seconds N]

        Fills loopback sockets with events and counts what a loop needs to take them, on one thread; prints a
        Markdown table.

          --rounds N     rounds of each line (60)
          --check FILE   count system calls and allocations only, compare them with the limits in FILE, exit 1
                         when one is above
          --paced        one connection, one event a write, at a steady rate, for several times to gather
          --features     the lines for each set of io_uring features as well
        """

    var rounds = 60
    var limits: String?
    var isPaced = false
    var eventsPerSecond = 5000
    var seconds = 2
    var comparesFeatures = false

    static func main() {
        do {
            var bench = ReactorBench()
            guard try bench.parse(CommandLine.arguments.dropFirst()) else { return print(usage) }
            DescriptorLimit.raise(to: 1 << 20)
            if bench.isPaced { try bench.runPaced() } else { try bench.run() }
        } catch let error as BenchError {
            note("reactor-bench: \(error.text)")
            exit(2)
        } catch {
            note("reactor-bench: \(error)")
            exit(2)
        }
    }

    /// - Returns: Whether to go on.
    private mutating func parse(_ arguments: ArraySlice<String>) throws(BenchError) -> Bool {
        var arguments = arguments
        func number(_ option: String) throws(BenchError) -> Int {
            guard let text = arguments.popFirst(), let value = Int(text), (1...1_000_000).contains(value)
            else {
                throw BenchError("\(option) wants a number from 1 to 1000000")
            }
            return value
        }
        while let option = arguments.popFirst() {
            switch option {
            case "--rounds": rounds = try number(option)
            case "--check":
                guard let file = arguments.popFirst() else { throw BenchError("--check wants a file") }
                limits = file
            case "--paced": isPaced = true
            case "--events-per-second": eventsPerSecond = try number(option)
            case "--seconds": seconds = try number(option)
            case "--features": comparesFeatures = true
            case "--help": return false
            default: throw BenchError("unknown option \(option)\n\(Self.usage)")
            }
        }
        return true
    }

    private func run() throws {
        let limits = try limits.map { path throws(BenchError) in try Limits(path: path) }
        let subjects = Subject.all(comparesFeatures: comparesFeatures && limits == nil)
        var results: [(subject: Subject, load: Load, result: DrainResult)] = []
        let rounds = limits == nil ? rounds : Drain.checkedRounds
        for load in Load.all where load.fits {
            // One round of each in turn, so that what else the machine does hits all of them alike; as far as there
            // are descriptors for all of them at once.
            let atOnce = max(1, (DescriptorLimit.current - 100) / (2 * load.connections + 10))
            for first in stride(from: 0, to: subjects.count, by: atOnce) {
                let subjects = subjects[first..<min(first + atOnce, subjects.count)]
                let drains = try subjects.map { try Drain($0, load) }
                for drain in drains { try drain.warmUp() }
                for _ in 0..<rounds {
                    for drain in drains { try drain.round() }
                }
                for (subject, drain) in zip(subjects, drains) {
                    results.append((subject, load, drain.result))
                }
            }
        }
        print(Table.drained(results))
        guard let limits else { return }
        let exceeded = try limits.exceeded(by: results)
        for line in exceeded { note("above the limit: \(line)") }
        if exceeded.isEmpty == false { exit(1) }
    }

    private func runPaced() throws {
        var lines: [(subject: Subject, gathering: Duration?, result: PacedResult)] = []
        for subject in Subject.all(comparesFeatures: false) {
            for microseconds in [0, 500, 1000, 2000, 4000] {
                let gathering: Duration? = microseconds == 0 ? nil : .microseconds(microseconds)
                let paced = try Paced(subject, gathering: gathering, eventsPerSecond: eventsPerSecond)
                lines.append((subject, gathering, try paced.run(seconds: seconds)))
            }
        }
        print(Table.paced(lines))
    }
}

struct BenchError: Error {
    let text: String
    init(_ text: String) { self.text = text }
}

/// A line to standard error.
func note(_ text: String) {
    let bytes = Array("\(text)\n".utf8)
    _ = write(STDERR_FILENO, bytes, bytes.count)
}

/// CPU time of the calling thread, in nanoseconds.
func threadTime() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
