import Glibc

/// The same stream given to the daemon and to programs that do its job otherwise, one after the other, each on a database of its own.
struct Consumers {
    /// A program that reads ARI and writes both tables.
    struct Consumer {
        var name: String
        var command: [String]
    }

    /// What one of them did.
    struct Result {
        var name: String
        var rows = 0
        var sent = 0
        var seconds = 0.0
        var cpuSeconds = 0.0
        var residentBytes = 0

        var rowsPerSecond: Double { Double(rows) / max(0.001, seconds) }
        /// Milliseconds.
        var cpuPerThousand: Double { cpuSeconds * 1e6 / Double(max(1, rows)) }
    }

    /// After so long a program is stopped where it is: its rate is known by then.
    private static let limit = 20.0
    private static let pollMicroseconds: UInt32 = 20_000

    let scenario: Scenario
    let root: String
    let daemon: String

    /// All that can run here; what is left out is said.
    private var consumers: [Consumer] {
        var list = [Consumer(name: "callflow-fast", command: [daemon, "serve"])]
        let python = "\(root)/Benchmarks/.build/peers/python/bin/python3"
        if access(python, X_OK) == 0 {
            let program = "\(root)/Benchmarks/Peers/consumers/consumer.py"
            list.append(
                Consumer(name: "Python, a transaction an event", command: [python, program, "insert"]))
            list.append(Consumer(name: "Python, COPY in batches", command: [python, program, "copy"]))
        } else {
            Progress.note("no Python environment at \(python) (make bench-consumers makes it); LEFT OUT")
        }
        let nio = "\(root)/Benchmarks/Peers/nio-consumer/.build/release/nio-consumer"
        if access(nio, X_OK) == 0 {
            list.append(Consumer(name: "SwiftNIO, Foundation, COPY in batches", command: [nio]))
        } else {
            Progress.note("no \(nio) (make bench-consumers builds it); LEFT OUT")
        }
        return list
    }

    /// Runs all of them.
    ///
    /// - Returns: A Markdown table; ratios are to the first line.
    func measure() throws -> String {
        var lines = [
            "| consumer of \(scenario.name) | rows of events | durable rows/s | ratio | CPU ms per 1,000 | RSS |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        var first: Double?
        for consumer in consumers {
            let result = try measure(consumer)
            let base = first ?? result.rowsPerSecond
            first = base
            let cells = [
                result.name, "\(result.rows) of \(result.sent)", "\(Int(result.rowsPerSecond))",
                LoadReport.fixed(result.rowsPerSecond / base, 3), LoadReport.fixed(result.cpuPerThousand, 1),
                "\(result.residentBytes >> 20) MiB",
            ]
            lines.append("| \(cells.joined(separator: " | ")) |")
        }
        return lines.joined(separator: "\n")
    }

    private func measure(_ consumer: Consumer) throws -> Result {
        Progress.note("\(consumer.name): rendering calls, starting it")
        let folder = "/tmp/callflow-load-\(getpid())"
        guard mkdir(folder, 0o755) == 0 || errno == EEXIST else { throw LoadError("cannot make \(folder)") }
        defer { _ = try? Subprocess.run(["/bin/rm", "-rf", folder]) }
        let database = try Database(.postgres, root: root, folder: folder)
        let generator = try Generator(scenario)
        defer { generator.stop() }
        let environment = [
            "DATABASE_URL": database.url, "PORT": "0", "ARI_USER": "callflow", "ARI_PASSWORD": "secret",
            "ARI_URL": "ws://127.0.0.1:\(generator.pbxs[0].port)/ari/events", "SPOOL_PATH": "\(folder)/spool",
        ]
        let migration = try Subprocess(
            [daemon, "migrate"], environment: environment, log: "\(folder)/migrate.log")
        guard migration.wait(seconds: 30) == 0 else {
            throw LoadError("migrate: \(Files.read("\(folder)/migrate.log") ?? "")")
        }
        let log = "\(folder)/consumer.log"
        let process = try Subprocess(consumer.command, environment: environment, log: log)
        defer { process.signal(SIGKILL) }
        var result = Result(name: consumer.name)
        while result.sent == 0 {
            guard !process.isOver else { throw LoadError("\(consumer.name): \(Files.read(log) ?? "")") }
            try Interrupt.check()
            result.sent = try generator.state().eventsSent
            usleep(2000)
        }
        let start = Clock.seconds
        let cpu = process.cpuSeconds
        while true {
            try Interrupt.check()
            let state = try generator.state()
            result.sent = state.eventsSent
            result.rows = try database.eventCount()
            result.seconds = Clock.seconds - start
            result.residentBytes = max(result.residentBytes, process.residentBytes)
            if result.seconds > Self.limit || state.isOver && result.rows >= result.sent { break }
            guard !process.isOver else { throw LoadError("\(consumer.name): \(Files.read(log) ?? "")") }
            usleep(Self.pollMicroseconds)
        }
        result.cpuSeconds = process.cpuSeconds - cpu
        return result
    }
}
