import BenchSupport
import CallEngine
import Glibc
import Protocols
import Reactor

/// Measures intake over loopback; see `usage`.
@main
struct IntakeBench {
    static let usage = """
        usage: intake-bench [--seconds N] [--warm-up N] [--copies N] [--bar EVENTS]

        One thread reads one WebSocket as the daemon does, as a client on a loop of its own, and throws the rows away; another
        thread sends recorded calls as fast as they are taken. Prints a Markdown table; exit status 1 when something was left out
        or the bar was missed.

          --seconds N    measured, of each line (5)
          --warm-up N    seconds before, in which memory of ended calls, kept for ten seconds, becomes as large as it will be (11)
          --copies N     offices at once, each with some thirty calls (100)
          --bar EVENTS   events a second of a core that each line has to reach (0: none)
          --only DRIVER  epoll or io_uring
        """

    var seconds = 5.0
    var warmUp = 11.0
    var copies = 100
    var bar = 0.0
    var modes: [IOMode] = [.epoll, .ioURing]

    static func main() {
        do {
            var bench = IntakeBench()
            guard try bench.parse(CommandLine.arguments.dropFirst()) else { return print(usage) }
            exit(try bench.run() ? 0 : 1)
        } catch let error as BenchError {
            Files.note("intake-bench: \(error.text)")
            exit(2)
        } catch {
            Files.note("intake-bench: \(error)")
            exit(2)
        }
    }

    /// - Returns: Whether to go on.
    private mutating func parse(_ arguments: ArraySlice<String>) throws(BenchError) -> Bool {
        var arguments = arguments
        func number(_ option: String, _ range: ClosedRange<Double>) throws(BenchError) -> Double {
            guard let value = arguments.popFirst().flatMap({ Double($0) }), range.contains(value) else {
                throw BenchError("\(option) wants a number from \(range.lowerBound) to \(range.upperBound)")
            }
            return value
        }
        while let option = arguments.popFirst() {
            switch option {
            case "--seconds": seconds = try number(option, 0.1...3600)
            case "--warm-up": warmUp = try number(option, 0.1...3600)
            case "--copies": copies = Int(try number(option, 1...1000))
            case "--bar": bar = try number(option, 0...100_000_000)
            case "--only":
                guard let mode = arguments.popFirst().flatMap({ IOMode(rawValue: $0) }) else {
                    throw BenchError("--only wants epoll or io_uring")
                }
                modes = [mode]
            case "--help": return false
            default: throw BenchError("unknown option \(option)\n\(Self.usage)")
            }
        }
        return true
    }

    /// - Returns: Whether every line has reached the bar.
    private func run() throws -> Bool {
        let recording = try Recording("office-22", .allChannels)
        let stream = try OfficeStream(recording, copies: copies)
        let calls = try Self.calls(in: recording)
        let ceiling = try Sink.measure(stream, seconds: 2)
        var results: [IntakeResult] = []
        for mode in modes {
            if mode == .ioURing, !Self.isIOURingAllowed {
                Files.note("no io_uring here: its lines are left out")
                continue
            }
            let run = IntakeRun(
                mode: mode, stream: stream, callsPerCopy: calls, warmUpSeconds: warmUp, seconds: seconds)
            results.append(try run.measure(ModelIntake.self))
            results.append(try run.measure(PipelineIntake.self))
        }
        print(table(results))
        print(
            """

            \(stream.payloadBytes / stream.eventCount) bytes an event; \(calls) calls of \(stream.eventCount / copies) events in one \
            recording, \(copies) of them at once. The sender alone, into a reader that throws away: \
            \(grouped(ceiling)) events/s.
            """)
        return results.allSatisfy { $0.eventsPerCoreSecond >= bar }
    }

    private static let isIOURingAllowed: Bool = {
        guard let loop = try? Loop(configuration: LoopConfiguration(ioMode: .ioURing, maximumConnections: 4))
        else { return false }
        loop.stop()
        return true
    }()

    /// Calls that end when the recording is played once.
    private static func calls(in recording: Recording) throws -> Int {
        let hasher = TextHash(keyA: 3, keyB: 5)
        var graph = CallGraph(registry: CallRegistry(capacity: 4096, hasher: hasher), hasher: hasher, seed: 1)
        var reader = ARIEventReader()
        var event = ARIEvent()
        var actions: [CRMAction] = []
        try recording.payloads.withUnsafeBytes { payloads in
            for range in recording.events {
                let payload = UnsafeRawBufferPointer(rebasing: payloads[range])
                try reader.read(payload.bytes, into: &event)
                _ = graph.handle(
                    event, payload: payload, pbx: 0, subscription: recording.subscription,
                    receivedAt: Timestamp(microseconds: 0), now: 1_000_000_000, actions: &actions)
            }
        }
        guard graph.counters.finished > 0 else { throw BenchError("no call of the recording ends") }
        return graph.counters.finished
    }

    private func table(_ results: [IntakeResult]) -> String {
        var lines = [
            row([
                "intake over loopback", "driver", "events/s of a core", "CPU ns/event",
                "events/s by the wall",
                "system calls/event", "allocations/event", "bytes carried/event", "calls at once", "RSS",
                "sender's CPU ns/event",
            ]),
            row(["---", "---"] + Array(repeating: "---:", count: 9)),
        ]
        for result in results {
            let events = Double(result.events)
            lines.append(
                row([
                    result.title, result.driver, grouped(result.eventsPerCoreSecond),
                    fixed(result.cpuNanoseconds / events, 0), grouped(result.eventsPerSecond),
                    fixed(Double(result.systemCalls) / events, 4),
                    fixed(Double(result.allocations) / events, 3),
                    fixed(Double(result.carriedBytes) / events, 1), grouped(Double(result.callsAtOnce)),
                    "\(result.residentBytes >> 20) MiB", fixed(result.senderNanoseconds, 0),
                ]))
        }
        return lines.joined(separator: "\n")
    }

    private func row(_ cells: [String]) -> String { "| " + cells.joined(separator: " | ") + " |" }

    private func grouped(_ value: Double) -> String {
        let whole = Int(value.rounded())
        return whole < 1000
            ? "\(whole)" : "\(grouped(Double(whole / 1000))),\("\(whole % 1000 + 1000)".dropFirst())"
    }

    private func fixed(_ value: Double, _ decimals: Int) -> String {
        var scale = 1.0
        for _ in 0..<decimals { scale *= 10 }
        let scaled = Int((value * scale).rounded())
        guard decimals > 0 else { return "\(scaled)" }
        let fraction = "\(scaled % Int(scale))"
        return "\(scaled / Int(scale))." + String(repeating: "0", count: decimals - fraction.count) + fraction
    }
}
