import Glibc
import Histogram
import Simulator

/// One scenario from an empty database to a table.
struct Run {
    let scenario: Scenario
    let root: String
    let binary: String
    /// File for the samples of perf(1); `nil`: it is not asked.
    var profilePath: String?

    /// Waits for rows to become durable after the last event, at most so long.
    private static let drainSeconds = 60.0

    /// Wrong calls that are named.
    private static let examples = 5

    /// Below the ports that the system gives to connections, of which there may be thousands.
    private static func freePort() -> UInt16 { .random(in: 20_000..<32_000) }

    /// Plays the scenario.
    func measure() throws -> Measurement {
        let folder = "/tmp/callflow-load-\(getpid())"
        guard mkdir(folder, 0o755) == 0 || errno == EEXIST else { throw LoadError("cannot make \(folder)") }
        defer { _ = try? Subprocess.run(["/bin/rm", "-rf", folder]) }
        let database = try Database(scenario.store, root: root, folder: folder)
        var result = Measurement(scenario: scenario)
        result.idleBytes = try idleBytes(database, folder: folder)

        if scenario.pace == .blast {
            Progress.note("\(scenario.name): the generator by itself")
            result.generatorCeiling = try Ceiling.measure(scenario)
        }
        Progress.note("\(scenario.name): rendering calls, starting the daemon")
        let generator = try Generator(scenario)
        defer { generator.stop() }
        let port = Self.freePort()
        let log = "\(folder)/daemon.log"
        let daemon = try Subprocess(
            [binary, "serve"], environment: try environment(database, generator, port: port, folder: folder),
            log: log)
        let start = Clock.seconds
        try wait(for: "the daemon to answer", seconds: 20) {
            HTTPProbe.get("/health", port: port) != nil || daemon.isOver
        }
        if daemon.isOver { throw LoadError("the daemon ended:\n\(Files.read(log) ?? "")") }
        try wait(for: "all PBXs to be read", seconds: 60) {
            Int(HTTPProbe.metrics(port: port)["ari_connected"] ?? 0) == scenario.pbxs || daemon.isOver
        }
        result.connectedMilliseconds = Int((Clock.seconds - start) * 1000)
        switch scenario.pace {
        case .schedule: try measureSchedule(&result, daemon, generator, database, port, folder: folder)
        case .blast: try measureBlast(&result, daemon, generator, database, port)
        }
        result.driver = Self.driver(of: log)
        let state = try generator.state()
        (result.sent, result.reconnects) = (state.eventsSent, state.reconnects)
        let truths = try generator.truths()
        daemon.signal(SIGTERM)
        result.exitStatus = daemon.wait(seconds: 30) ?? 137
        try compare(&result, truths, database)
        result.warnings += (Files.read(log) ?? "").split(separator: "\n").filter {
            // Time, level, text.
            let level = $0.split(separator: " ", maxSplits: 2).dropFirst().first
            return ["warning", "error", "critical"].contains(level ?? "")
        }.map(String.init)
        return result
    }

    private func environment(
        _ database: Database, _ generator: Generator?, port: UInt16, folder: String
    ) throws(LoadError) -> [String: String] {
        var environment = scenario.environment
        environment["DATABASE_URL"] = database.url
        environment["PORT"] = "\(port)"
        environment["IO"] = scenario.io
        environment["LOOPS"] = scenario.loops > 0 ? "\(scenario.loops)" : ""
        environment["BITRIX_WEBHOOK_URL"] = generator?.webhook ?? ""
        environment["ARI_URL"] = ""
        environment["SPOOL_PATH"] = "\(folder)/spool"
        guard let generator else { return environment }
        environment["ARI_USER"] = "callflow"
        environment["ARI_PASSWORD"] = "secret"
        if generator.pbxs.count == 1 {
            environment["ARI_URL"] = "ws://127.0.0.1:\(generator.pbxs[0].port)/ari/events"
        } else {
            let entries = generator.pbxs.enumerated().map { index, pbx in
                """
                {"name":"pbx\(index + 1)","url":"ws://127.0.0.1:\(pbx.port)/ari/events","prefix":""}
                """
            }
            try Files.write("[\(entries.joined(separator: ",\n"))]", to: "\(folder)/pbxs.json")
            environment["PBX_FILE"] = "\(folder)/pbxs.json"
        }
        return environment
    }

    /// What a daemon takes that has nothing to do.
    private func idleBytes(_ database: Database, folder: String) throws(LoadError) -> Int {
        let port = Self.freePort()
        let daemon = try Subprocess(
            [binary, "serve"], environment: try environment(database, nil, port: port, folder: folder),
            log: "\(folder)/idle.log")
        try wait(for: "the daemon to answer", seconds: 20) {
            HTTPProbe.get("/health", port: port) != nil || daemon.isOver
        }
        // It lets go of what only its start needed.
        sleep(5)
        let bytes = daemon.residentBytes
        daemon.signal(SIGTERM)
        guard daemon.wait(seconds: 20) == 0 else {
            throw LoadError("the daemon does not run here:\n\(Files.read("\(folder)/idle.log") ?? "")")
        }
        return bytes
    }

    private func wait(
        for what: String, seconds: Double, _ condition: () throws(LoadError) -> Bool
    ) throws(LoadError) {
        let end = Clock.seconds + seconds
        while try !condition() {
            try Interrupt.check()
            guard Clock.seconds < end else { throw LoadError("waited \(Int(seconds)) s for \(what)") }
            // Each of many PBXs has its lines in /metrics.
            usleep(scenario.pbxs > 100 ? 100_000 : 5000)
        }
    }

    // MARK: Open loop

    private func measureSchedule(
        _ result: inout Measurement, _ daemon: Subprocess, _ generator: Generator, _ database: Database,
        _ port: UInt16, folder: String
    ) throws {
        try wait(for: "the first event", seconds: 60) {
            (HTTPProbe.metrics(port: port)["ari_events_total"] ?? 0) > 0
        }
        sleep(scenario.ramp + 1)
        let readers =
            scenario.apiRequestsPerSecond > 0
            ? APIReaders(requestsPerSecond: scenario.apiRequestsPerSecond, port: port) : nil
        let first = try Mark(daemon, database, port)
        let profiler = try profile(daemon)
        let calls = try countSystemCalls(of: daemon, folder: folder)
        var last = first.events
        for second in 1...max(1, Int(scenario.seconds)) {
            sleep(max(0, first.time + Double(second) - Clock.seconds))
            try Interrupt.check()
            let now = HTTPProbe.metrics(port: port)
            result.residentSeries.append(daemon.residentBytes)
            let events = now["store_events_written_total"] ?? 0
            result.eventsSeries.append(events - last)
            last = events
            if second % 10 == 0 {
                Progress.note(
                    "\(second) of \(Int(scenario.seconds)) s: \(Int(now["calls_active"] ?? 0)) calls, \(Int(events)) events durable, "
                        + "\(daemon.residentBytes >> 20) MiB")
            }
            result.callsAtOnce = max(result.callsAtOnce, Int(now["calls_active"] ?? 0))
        }
        let end = try Mark(daemon, database, port)
        result.loadedBytes = daemon.residentBytes
        fill(&result, from: first, to: end)
        _ = profiler?.wait(seconds: 30)
        if let count = Self.counted(calls) {
            result.systemCallsPerEvent = count / (result.eventsPerSecond * scenario.seconds)
        }
        if let outcome = readers?.stop() {
            result.api = (
                Int(outcome.latency.valueAtPercentile(50)), Int(outcome.latency.valueAtPercentile(99)),
                outcome.answered, outcome.failed
            )
        }
        // The stream goes on for a little; then from its last word on the clock runs until the last row is durable.
        if !scenario.isRenderedAhead { try generator.fallSilent() }
        try wait(for: "the end of the calls", seconds: 30) { () throws(LoadError) in
            try generator.state().isOver
        }
        try drain(&result, generator, port)
    }

    /// Has perf(1) look at the daemon for as long as it is measured.
    private func profile(_ daemon: Subprocess) throws(LoadError) -> Subprocess? {
        guard let profilePath else { return nil }
        // Of a virtual machine the processor's own counters are not to be had, the clock is.
        return try Subprocess([
            "/usr/bin/env", "perf", "record", "-q", "-e", "cpu-clock", "-F", "997", "-g", "-o", profilePath,
            "-p", "\(daemon.pid)", "--", "sleep", "\(Int(scenario.seconds))",
        ])
    }

    /// Has perf(1) count the daemon's system calls for as long as it is measured; that costs a counter each.
    ///
    /// - Returns: Who counts, and the file with the result.
    private func countSystemCalls(
        of daemon: Subprocess, folder: String
    ) throws(LoadError) -> (counter: Subprocess, file: String) {
        let file = "\(folder)/calls.csv"
        let counter = try Subprocess([
            "/usr/bin/env", "perf", "stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-o", file,
            "-p", "\(daemon.pid)", "--", "sleep", "\(scenario.seconds)",
        ])
        return (counter, file)
    }

    private static func counted(_ calls: (counter: Subprocess, file: String)) -> Double? {
        guard calls.counter.wait(seconds: 5) == 0, let text = Files.read(calls.file) else { return nil }
        return text.split(separator: "\n").first { $0.contains("sys_enter") }
            .flatMap { Double($0.prefix { $0 != "," }) }
    }

    /// Waits until all that was sent is durable; from the moment of the call the clock runs.
    private func drain(_ result: inout Measurement, _ generator: Generator, _ port: UInt16) throws {
        let start = Clock.seconds
        let sent = Double(try generator.state().eventsSent)
        while (HTTPProbe.metrics(port: port)["store_events_written_total"] ?? 0) < sent,
            Clock.seconds < start + Self.drainSeconds
        {
            try Interrupt.check()
            usleep(2000)
        }
        result.drainMilliseconds = Int((Clock.seconds - start) * 1000)
    }

    // MARK: As fast as taken

    private func measureBlast(
        _ result: inout Measurement, _ daemon: Subprocess, _ generator: Generator, _ database: Database,
        _ port: UInt16
    ) throws {
        let first = try Mark(daemon, database, port)
        try wait(for: "the first event", seconds: 60) {
            (HTTPProbe.metrics(port: port)["ari_events_total"] ?? 0) > 0 || daemon.isOver
        }
        let start = Clock.seconds
        var sent = 0
        try wait(for: "the last event", seconds: 300) { () throws(LoadError) in
            let state = try generator.state()
            sent = state.eventsSent
            return state.isOver
        }
        try wait(for: "the last row", seconds: 300) {
            Int(HTTPProbe.metrics(port: port)["store_events_written_total"] ?? 0) >= sent || daemon.isOver
        }
        let end = try Mark(daemon, database, port)
        result.loadedBytes = daemon.residentBytes
        fill(&result, from: first, to: end)
        result.seconds = end.time - start
        result.eventsPerSecond = (end.events - first.events) / result.seconds
        result.callsAtOnce = scenario.calls
    }

    // MARK: Marks

    /// The daemon at one moment.
    private struct Mark {
        var time = Clock.seconds
        var events: Double
        var received: Double
        var batches: Double
        var statements: Double
        var cpu: Double
        var generatorCPU: Double
        var switches: Int
        var commits: Double?
        var state: [Int: Int]
        var durable: [Int: Int]

        /// RUSAGE_SELF, whose type differs between C and Swift.
        private static let itself: Int32 = 0

        init(_ daemon: Subprocess, _ database: Database, _ port: UInt16) throws(LoadError) {
            let metrics = HTTPProbe.metrics(port: port)
            events = metrics["store_events_written_total"] ?? 0
            received = metrics["ari_events_total"] ?? 0
            batches = metrics["store_batches_total"] ?? 0
            statements = metrics["store_statements_total"] ?? 0
            cpu = daemon.cpuSeconds
            var usage = rusage()
            getrusage(Self.itself, &usage)
            generatorCPU =
                Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
                + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
            switches = daemon.voluntarySwitches
            commits = try database.commits()
            state = HTTPProbe.latency("state", port: port)
            durable = HTTPProbe.latency("durable", port: port)
        }
    }

    private func fill(_ result: inout Measurement, from first: Mark, to last: Mark) {
        let events = max(1, last.events - first.events)
        result.seconds = last.time - first.time
        result.eventsPerSecond = events / result.seconds
        result.cpuPerThousand = (last.cpu - first.cpu) * 1e6 / events
        result.generatorCPUPerThousand = (last.generatorCPU - first.generatorCPU) * 1e6 / events
        result.wakeUpsPerEvent = Double(last.switches - first.switches) / events
        result.rowsPerBatch = events / max(1, last.batches - first.batches)
        if let after = last.commits, let before = first.commits {
            result.commitsPerEvent = (after - before) / events
        }
        if scenario.store == .postgres {
            result.statementsPerEvent = (last.statements - first.statements) / events
        }
        result.bytesPerCall =
            Double(result.loadedBytes - result.idleBytes) / Double(max(1, result.callsAtOnce))
        result.state = .init(last.state, since: first.state)
        result.durable = .init(last.durable, since: first.durable)
    }

    // MARK: The truth

    /// Compares the rows with what the PBXs sent, call by call.
    private func compare(
        _ result: inout Measurement, _ truths: [CallTruth], _ database: Database
    ) throws(LoadError) {
        if scenario.pace == .schedule {
            let late = try database.lateness(after: scenario.ramp + 1)
            result.lateness = .init(late.reduce(into: [:]) { $0[$1.key * 1000] = $1.value }, since: [:])
        }
        let (events, outcomes) = try database.stored()
        result.stored = events.values.reduce(0, +)
        for truth in truths {
            result.callsCompared += 1
            if truth.endedAt == 0 { result.callsLeft += 1 }
            if events[truth.callID] ?? 0 != truth.delivered { result.callsWithLostEvents += 1 }
            if truth.endedAt != 0, outcomes[truth.callID] != truth.outcome {
                result.callsWithWrongOutcome += 1
                if result.callsWithWrongOutcome <= Self.examples {
                    let stored = outcomes[truth.callID] ?? "no row"
                    result.warnings.append(
                        "call \(truth.callID) was \(truth.outcome), its row says \(stored)")
                }
            }
        }
    }

    private static func driver(of log: String) -> String {
        for line in (Files.read(log) ?? "").split(separator: "\n") {
            if let range = line.firstRange(of: "loops run on ") {
                return String(line[range.upperBound...].prefix { $0 != ":" })
            }
        }
        return "?"
    }

    private func sleep(_ seconds: Double) {
        if seconds > 0 { usleep(UInt32(seconds * 1e6)) }
    }
}
