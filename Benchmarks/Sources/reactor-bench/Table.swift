/// The results as Markdown.
enum Table {
    static func drained(_ results: [(subject: Subject, load: Load, result: DrainResult)]) -> String {
        var lines = [
            row([
                "connections × events waiting", "driver", "CPU ns/event, median", "p10 – p90 of rounds",
                "system calls/event", "allocations/event", "bytes carried/event",
            ]),
            row(["---", "---", "---:", "---:", "---:", "---:", "---:"]),
        ]
        for (subject, load, result) in results {
            lines.append(
                row([
                    "\(load.connections) × \(load.events)", subject.name, fixed(result.quantile(0.5), 0),
                    "\(fixed(result.quantile(0.1), 0)) – \(fixed(result.quantile(0.9), 0))",
                    fixed(result.systemCallsPerEvent, 4), fixed(result.allocationsPerEvent, 4),
                    fixed(result.carriedPerEvent, 1),
                ]))
        }
        return lines.joined(separator: "\n")
    }

    static func paced(_ results: [(subject: Subject, gathering: Duration?, result: PacedResult)]) -> String {
        var lines = [
            row(["driver", "gathering", "events", "CPU µs/event", "ticks/event", "system calls/event"]),
            row(["---", "---:", "---:", "---:", "---:", "---:"]),
        ]
        for (subject, gathering, result) in results {
            let events = Double(max(result.events, 1))
            lines.append(
                row([
                    subject.name, gathering.map { "\($0)" } ?? "none", "\(result.events)",
                    fixed(Double(result.nanoseconds) / events / 1000, 2),
                    fixed(Double(result.ticks) / events, 3), fixed(Double(result.systemCalls) / events, 3),
                ]))
        }
        return lines.joined(separator: "\n")
    }

    /// A number that is not negative, with so many decimals.
    static func fixed(_ value: Double, _ decimals: Int) -> String {
        var scale = 1
        for _ in 0..<decimals { scale *= 10 }
        let scaled = Int((value * Double(scale)).rounded())
        guard decimals > 0 else { return "\(scaled)" }
        let fraction = "\(scaled % scale)"
        return "\(scaled / scale)." + String(repeating: "0", count: decimals - fraction.count) + fraction
    }

    private static func row(_ cells: [String]) -> String { "| " + cells.joined(separator: " | ") + " |" }
}
