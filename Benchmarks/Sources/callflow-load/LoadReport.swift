import Glibc

/// A run's figures as a table for people and as JSON for scripts.
struct LoadReport {
    var runs: [Measurement]
    /// Commit, machine, kernel: what the figures hold for.
    var context: [(String, String)]

    var markdown: String {
        let columns = runs.map(Self.lines)
        var lines = ["| what | \(runs.map(\.scenario.name).joined(separator: " | ")) |"]
        lines.append("| --- |" + String(repeating: " ---: |", count: runs.count))
        for row in columns.first?.indices ?? 0..<0 {
            lines.append("| \(columns[0][row].0) | \(columns.map { $0[row].1 }.joined(separator: " | ")) |")
        }
        lines.append("")
        lines.append(context.map { "\($0.0): \($0.1)" }.joined(separator: "; ") + ".")
        for run in runs {
            if run.isGrowing {
                lines.append("\n`\(run.scenario.name)`: memory grows, or was not watched for long enough")
            }
            for line in run.warnings.prefix(5) { lines.append("\n`\(run.scenario.name)`: \(line)") }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func lines(_ run: Measurement) -> [(String, String)] {
        [
            ("load", run.scenario.summary),
            ("driver, store", "\(run.driver), \(run.scenario.store.rawValue)"),
            (
                "calls at once, by the daemon; left at the end, by the PBXs",
                "\(grouped(run.callsAtOnce)); \(grouped(run.callsLeft))"
            ),
            ("events durable per second", grouped(Int(run.eventsPerSecond.rounded()))),
            ("events sent, stored", "\(grouped(run.sent)), \(grouped(run.stored))"),
            (
                "calls compared, with lost events, with a wrong outcome",
                "\(grouped(run.callsCompared)), \(run.callsWithLostEvents), \(run.callsWithWrongOutcome)"
            ),
            (
                "due by the schedule → receipt, p50 / p99 / p99.9 / max",
                run.scenario.pace == .blast ? "–" : milliseconds(run.lateness)
            ),
            ("receipt → state, p50 / p99 / p99.9 / max", milliseconds(run.state)),
            ("receipt → durable, p50 / p99 / p99.9 / max", milliseconds(run.durable)),
            (
                "last event sent → last row durable",
                run.scenario.pace == .blast ? "–" : "\(run.drainMilliseconds) ms"
            ),
            ("daemon CPU per 1,000 events", "\(fixed(run.cpuPerThousand, 2)) ms"),
            ("generator CPU per 1,000 events", "\(fixed(run.generatorCPUPerThousand, 2)) ms"),
            (
                "events per second of the generator alone",
                run.generatorCeiling.map { grouped(Int($0.rounded())) } ?? "–"
            ),
            ("RSS idle, at load", "\(megabytes(run.idleBytes)), \(megabytes(run.loadedBytes))"),
            ("RSS growth per call", "\(grouped(Int(run.bytesPerCall))) bytes"),
            (
                "memory over the time measured, by its trend",
                run.growthBytes.map { "\($0 < 0 ? "−" : "+")\(fixed(abs($0) / 1_048_576, 2)) MiB" } ?? "–"
            ),
            ("all PBXs connected after", "\(run.connectedMilliseconds) ms"),
            ("times a thread waited, per event", fixed(run.wakeUpsPerEvent, 3)),
            ("system calls per event", run.systemCallsPerEvent.map { fixed($0, 3) } ?? "–"),
            ("rows per batch", fixed(run.rowsPerBatch, 1)),
            (
                "transactions, statements per event",
                "\(run.commitsPerEvent.map { fixed($0, 4) } ?? "–"), \(run.statementsPerEvent.map { fixed($0, 4) } ?? "–")"
            ),
            (
                "API requests: p50 / p99, answered, failed",
                run.api.map {
                    "\(fixed(Double($0.p50) / 1000, 1)) / \(fixed(Double($0.p99) / 1000, 1)) ms, \($0.answered), \($0.failed)"
                } ?? "–"
            ),
            ("connections to the PBX lost, exit status", "\(run.reconnects), \(run.exitStatus)"),
        ]
    }

    var json: String {
        let all = runs.map { run in
            """
            {"scenario":"\(run.scenario.name)","calls":\(run.scenario.calls),"events_per_second_asked":\(fixed(run.scenario.eventsPerSecond)),\
            "pbxs":\(run.scenario.pbxs),"store":"\(run.scenario.store.rawValue)","driver":"\(run.driver)","portal":"\(run.scenario.portal.rawValue)",\
            "seconds":\(fixed(run.seconds)),"events_per_second":\(fixed(run.eventsPerSecond)),"calls_at_once":\(run.callsAtOnce),\
            "sent":\(run.sent),"stored":\(run.stored),"calls_compared":\(run.callsCompared),\
            "calls_with_lost_events":\(run.callsWithLostEvents),"calls_with_wrong_outcome":\(run.callsWithWrongOutcome),\
            "lateness_us":\(quantiles(run.lateness)),"state_us":\(quantiles(run.state)),"durable_us":\(quantiles(run.durable)),"drain_ms":\(run.drainMilliseconds),\
            "cpu_ms_per_1000":\(fixed(run.cpuPerThousand)),"generator_cpu_ms_per_1000":\(fixed(run.generatorCPUPerThousand)),\
            "rss_idle":\(run.idleBytes),"rss_loaded":\(run.loadedBytes),"rss_per_call":\(fixed(run.bytesPerCall)),\
            "rss_growth":\(run.growthBytes.map(fixed) ?? "null"),"connected_ms":\(run.connectedMilliseconds),\
            "io":"\(run.scenario.io)","loops":\(run.scenario.loops),\
            "waits_per_event":\(fixed(run.wakeUpsPerEvent)),"rows_per_batch":\(fixed(run.rowsPerBatch)),\
            "commits_per_event":\(run.commitsPerEvent.map(fixed) ?? "null"),\
            "statements_per_event":\(run.statementsPerEvent.map(fixed) ?? "null"),\
            "system_calls_per_event":\(run.systemCallsPerEvent.map(fixed) ?? "null"),\
            "generator_ceiling":\(run.generatorCeiling.map(fixed) ?? "null"),"reconnects":\(run.reconnects),\
            "exit_status":\(run.exitStatus),"good":\(run.isGood),\
            "rss_series":[\(run.residentSeries.map(String.init).joined(separator: ","))],\
            "events_series":[\(run.eventsSeries.map { fixed($0) }.joined(separator: ","))]}
            """
        }
        let facts = context.map { "\"\($0.0)\":\"\($0.1.replacing("\"", with: "'"))\"" }.joined(
            separator: ",")
        return "{\(facts),\n\"runs\":[\(all.joined(separator: ",\n"))]}\n"
    }

    // MARK: Numbers

    private static func milliseconds(_ times: Measurement.Quantiles) -> String {
        let parts = [times.p50, times.p99, times.p999, times.most].map { fixed(Double($0) / 1000, 1) }
        return parts.joined(separator: " / ") + " ms"
    }

    private func quantiles(_ times: Measurement.Quantiles) -> String {
        "{\"p50\":\(times.p50),\"p99\":\(times.p99),\"p99.9\":\(times.p999),\"max\":\(times.most),\"count\":\(times.count)}"
    }

    private func fixed(_ value: Double) -> String { Self.fixed(value, 4) }

    static func fixed(_ value: Double, _ decimals: Int) -> String {
        var scale = 1.0
        for _ in 0..<decimals { scale *= 10 }
        let scaled = Int((abs(value) * scale).rounded())
        let whole = "\(value < 0 ? "-" : "")\(scaled / Int(scale))"
        guard decimals > 0 else { return whole }
        let fraction = "\(scaled % Int(scale))"
        return "\(whole)." + String(repeating: "0", count: decimals - fraction.count) + fraction
    }

    private static func megabytes(_ bytes: Int) -> String { "\(fixed(Double(bytes) / 1_048_576, 1)) MiB" }

    static func grouped(_ value: Int) -> String {
        guard value >= 1000 else { return "\(value)" }
        return "\(grouped(value / 1000)),\("\(value % 1000 + 1000)".dropFirst())"
    }
}
