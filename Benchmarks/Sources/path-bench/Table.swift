/// The measurements as Markdown.
enum Table {
    static func text(_ measurements: [Measurement]) -> String {
        let timed = measurements.contains { !$0.nanoseconds.isEmpty }
        var lines: [String] = []
        var head = ["recording", "stage"]
        if timed { head += ["ns/event, median", "p10 – p90 of rounds", "events/s", "GB/s"] }
        head += ["allocations/event", "allocations/call for the CRM", "input bytes copied/event"]
        lines.append(row(head))
        lines.append(row(head.indices.map { $0 < 2 ? "---" : "---:" }))
        for one in measurements {
            var cells = [one.recording, one.title]
            if timed {
                let median = max(one.quantile(0.5), 0.001)
                let bytesPerEvent = Double(one.bytes) / Double(one.events)
                cells.append(fixed(median, 1))
                cells.append(
                    "\(fixed(one.quantile(0.1), 1)) – \(fixed(one.quantile(0.9), 1))")
                cells.append(grouped(Int(1e9 / median)))
                cells.append(fixed(bytesPerEvent / median, 2))
            }
            cells.append(fixed(one.allocationsPerEvent, 5))
            cells.append(one.allocationsPerCall.map { fixed($0, 5) } ?? "")
            cells.append(fixed(one.copiedPerEvent, 1))
            lines.append(row(cells))
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

    static func grouped(_ value: Int) -> String {
        value < 1000 ? "\(value)" : "\(grouped(value / 1000)),\("\(value % 1000 + 1000)".dropFirst())"
    }

    private static func row(_ cells: [String]) -> String { "| " + cells.joined(separator: " | ") + " |" }
}
