import Connectors
import Glibc
import Histogram
import Reactor

/// Measures how fast and how soon rows become durable; see `usage`.
@main
struct StoreBench {
    static let usage = """
        usage: store-bench [--rounds N] [--rows N] [--seconds N] [--spooled N] [--json FILE] [--only PART]

        Starts a private PostgreSQL and, in one run and by turns, writes the same rows (events of simulated calls, 700 to 800
        bytes of jsonb) by binary COPY, by the daemon's writer and by one INSERT an event; then measures the time from
        receipt to commit. Prints Markdown tables.

          --rounds N     rounds of each way (5)
          --rows N       rows of a round (60000)
          --seconds N    length of the paced measurements (10)
          --json FILE    the same as JSON
          --spooled N    rows that lie in the spool when its drain is measured (1000000)
          --only PART    rates, latency or drain
          --pace MS      StoreSettings.pace in milliseconds, to find out what it does
        """

    /// Rows of a round that are written one by one.
    private static let singleRows = 1500
    /// Loops of the daemon, one connection each.
    private static let loops = 2

    private var rounds = 5
    private var rows = 60_000
    private var seconds = 10
    private var spooled = 1_000_000
    private var pace = StoreSettings().pace
    private var json: String?
    private var only: String?

    static func main() {
        do throws(BenchError) {
            var bench = StoreBench()
            guard try bench.parse(CommandLine.arguments.dropFirst()) else { return print(usage) }
            try bench.run()
        } catch {
            Progress.note(error.text)
            exit(2)
        }
    }

    /// - Returns: Whether to go on.
    private mutating func parse(_ arguments: ArraySlice<String>) throws(BenchError) -> Bool {
        var arguments = arguments
        func number(_ option: String, _ range: ClosedRange<Int>) throws(BenchError) -> Int {
            guard let text = arguments.popFirst(), let number = Int(text), range.contains(number) else {
                throw BenchError("\(option) wants a number from \(range.lowerBound) to \(range.upperBound)")
            }
            return number
        }
        while let option = arguments.popFirst() {
            switch option {
            case "--rounds": rounds = try number(option, 1...1000)
            case "--rows": rows = try number(option, 1000...1_000_000)
            case "--spooled": spooled = try number(option, 1000...10_000_000)
            case "--pace": pace = .milliseconds(try number(option, 0...1000))
            case "--seconds": seconds = try number(option, 1...3600)
            case "--json", "--only":
                guard let text = arguments.popFirst() else { throw BenchError("\(option) wants a value") }
                if option == "--json" { json = text } else { only = text }
            case "--help": return false
            default: throw BenchError("unknown option \(option)\n\(Self.usage)")
            }
        }
        return true
    }

    private func run() throws(BenchError) {
        let corpus = try EventCorpus(rows: rows)
        let cluster = try Cluster()
        let administrator = try PlainClient(cluster.url("postgres"))
        try administrator.execute("CREATE DATABASE contract")
        try administrator.execute("CREATE DATABASE own")
        try PlainClient(cluster.url("contract")).execute(ContractTables.sql)
        var report = Report()
        for isSynchronous in [true, false] {
            if only == nil || only == "rates" {
                report.commits.append((isSynchronous, try rates(cluster, corpus, isSynchronous)))
            }
            if only == nil || only == "latency" {
                report.latencies += try latencies(cluster, corpus, isSynchronous)
            }
        }
        if only == nil || only == "drain" { report.drain = try drain(cluster, corpus) }
        report.notes.append(
            "\(rounds) rounds of \(rows) rows, by turns, into emptied tables; payloads of \(corpus.meanPayload) bytes on average; "
                + "\(try administrator.text("SHOW server_version").prefix(5)) on the same machine.")
        print(report.markdown)
        if let json { try Report.write(report.json, to: json) }
    }

    // MARK: Rows a second

    private func rates(
        _ cluster: borrowing Cluster, _ corpus: EventCorpus, _ isSynchronous: Bool
    ) throws(BenchError) -> [Series] {
        let (contractURL, ownURL) = (
            cluster.url("contract", isSynchronous: isSynchronous),
            cluster.url("own", isSynchronous: isSynchronous)
        )
        let contract = try PlainClient(contractURL)
        let streams = PlainClient.copyStreams(corpus, rowsEach: corpus.rows.count)
        let smallStreams = PlainClient.copyStreams(corpus, rowsEach: WriteBatch.maximumEvents)
        let one = try OurWriter(Self.location(contractURL), loops: 1, corpus: corpus, pace: pace)
        let all = try OurWriter(Self.location(contractURL), loops: Self.loops, corpus: corpus, pace: pace)
        let ownOne = try OurWriter(Self.location(ownURL), loops: 1, corpus: corpus, pace: pace)
        let ownAll = try OurWriter(Self.location(ownURL), loops: Self.loops, corpus: corpus, pace: pace)
        let own = try PlainClient(ownURL)
        let path = "\(cluster.folder)/store.sqlite3"
        let sqlite = try OurWriter(.sqlite(path: path), loops: 1, corpus: corpus, pace: pace)
        try contract.prepareSingle()
        var series = [
            Series(key: "copy", title: "binary COPY, one transaction, contract's tables"),
            Series(key: "one", title: "our writer, one connection, contract's tables"),
            Series(key: "all", title: "our writer, \(Self.loops) connections, contract's tables"),
            Series(key: "own_one", title: "our writer, one connection, our tables"),
            Series(key: "own_all", title: "our writer, \(Self.loops) connections, our tables"),
            Series(
                key: "copy_batches",
                title: "binary COPY, a transaction every \(WriteBatch.maximumEvents) rows, contract's tables"),
            Series(key: "single", title: "one INSERT and one transaction an event, contract's tables"),
            Series(key: "sqlite", title: "our writer, SQLite (WAL, NORMAL)"),
        ]
        for round in 0..<rounds {
            Progress.note(
                "synchronous_commit \(isSynchronous ? "on" : "off"), round \(round + 1) of \(rounds)")
            var copied = 0.0
            /// Empties the tables, does one way's work and notes its rate; the first way is what others are compared with.
            func measure(
                _ index: Int, in database: PlainClient?, rows: Int, writer: OurWriter? = nil,
                _ work: () throws(BenchError) -> Void = {}
            ) throws(BenchError) {
                try database?.empty()
                let before = try database?.serverTime(ofWriter: writer != nil) ?? 0
                let start = MonotonicInstant.now()
                try work()
                var rate =
                    Double(rows) / (Double(MonotonicInstant.now().nanoseconds - start.nanoseconds) / 1e9)
                if let writer {
                    let outcomes = try writer.blast(rows: rows)
                    rate = OurWriter.rate(outcomes)
                    let cpu = outcomes.reduce(0) { $0 + $1.cpu }
                    series[index].cpu.append(Double(cpu) / 1e3 / Double(rows))
                }
                if let database {
                    let used = try database.serverTime(ofWriter: writer != nil) - before
                    series[index].serverCPU.append(used / Double(rows))
                    try database.expect(rows)
                }
                if index == 0 { copied = rate }
                series[index].rates.append(rate)
                series[index].baseline.append(copied)
            }
            let rows = rows / Self.loops * Self.loops
            try measure(0, in: contract, rows: corpus.rows.count) { () throws(BenchError) in
                for stream in streams { try contract.copy(stream) }
            }
            try measure(1, in: contract, rows: rows, writer: one)
            try measure(2, in: contract, rows: rows, writer: all)
            try measure(3, in: own, rows: rows, writer: ownOne)
            try measure(4, in: own, rows: rows, writer: ownAll)
            try measure(5, in: contract, rows: corpus.rows.count) { () throws(BenchError) in
                for stream in smallStreams { try contract.copy(stream) }
            }
            let singles = min(rows, Self.singleRows)
            try measure(6, in: contract, rows: singles) { () throws(BenchError) in
                try contract.insertSingly(corpus, count: singles)
            }
            if isSynchronous { try measure(7, in: nil, rows: rows, writer: sqlite) }
        }
        for writer in [one, all, ownOne, ownAll, sqlite] { try writer.close() }
        return series.filter { !$0.rates.isEmpty }
    }

    private static func location(_ url: String) throws(BenchError) -> StoreLocation {
        do throws(StoreError) {
            return try StoreLocation(databaseURL: url)
        } catch {
            throw BenchError(error.description)
        }
    }

    // MARK: Receipt to commit

    private func latencies(
        _ cluster: borrowing Cluster, _ corpus: EventCorpus, _ isSynchronous: Bool
    ) throws(BenchError) -> [LatencyLine] {
        var lines: [LatencyLine] = []
        let url = cluster.url("own", isSynchronous: isSynchronous)
        for rate in [500, 5000] {
            Progress.note("\(rate) events/s for \(seconds) s")
            let writer = try OurWriter(Self.location(url), loops: Self.loops, corpus: corpus, pace: pace)
            try PlainClient(url).empty()
            let part = rate * seconds / Self.loops
            let outcomes = try writer.run {
                .paced(
                    rows: $0 * part..<($0 + 1) * part, rate: Double(rate) / Double(Self.loops),
                    withCalls: true)
            }
            try writer.close()
            var latency = outcomes[0].latency
            for other in outcomes.dropFirst() { latency.add(other.latency) }
            let batches = outcomes.reduce(0) { $0 + $1.batches }
            let rows = outcomes.reduce(0) { $0 + $1.rows }
            let cpu = outcomes.reduce(0) { $0 + $1.cpu }
            lines.append(
                LatencyLine(
                    title: "\(Self.loops) loops, our tables, calls too", isSynchronous: isSynchronous,
                    rate: rate,
                    p50: Double(latency.valueAtPercentile(50)) / 1000,
                    p99: Double(latency.valueAtPercentile(99)) / 1000,
                    p999: Double(latency.valueAtPercentile(99.9)) / 1000,
                    most: Double(latency.maxRecorded) / 1000,
                    rowsPerBatch: Double(rows) / Double(max(1, batches)),
                    cpu: Double(cpu) / 1e6 / (Double(rows) / 1000),
                    // Each loop counted those of the whole process.
                    allocationsPerBatch: Double(outcomes.map(\.allocations).max() ?? 0)
                        / Double(max(1, batches))))
        }
        return lines
    }
}

// MARK: Out of the spool

extension StoreBench {
    /// Events a second that arrive while the spool is drained.
    private static let besideRate = 2000

    /// Fills a spool while there is no database, then measures its way into the database beside live events.
    private func drain(_ cluster: borrowing Cluster, _ corpus: EventCorpus) throws(BenchError) -> DrainLine {
        let url = cluster.url("own")
        let database = try PlainClient(url)
        let path = "\(cluster.folder)/bench.spool"
        let location = try Self.location(url)
        var line = DrainLine(spooled: spooled, besideRate: Self.besideRate)

        Progress.note("\(spooled / 5) events straight into the database")
        let direct = try OurWriter(location, loops: Self.loops, corpus: corpus, pace: pace)
        try database.empty()
        line.directRate = OurWriter.rate(try direct.blast(rows: spooled / 5))
        try direct.close()
        try database.empty()

        Progress.note("\(spooled) events into the spool")
        let away = try OurWriter(
            Self.location("postgres://postgres@127.0.0.1:1/none"), loops: Self.loops, corpus: corpus,
            pace: pace, spool: path, isAway: true)
        let part = spooled / Self.loops
        line.fillRate = OurWriter.rate(try away.run { .fill(rows: $0 * part..<($0 + 1) * part) })
        try away.close()

        Progress.note("out of the spool, \(Self.besideRate) events/s beside it")
        let start = MonotonicInstant.now()
        let writer = try OurWriter(location, loops: Self.loops, corpus: corpus, pace: pace, spool: path)
        let connected = MonotonicInstant.now()
        writer.start { _ in .beside(rate: Double(Self.besideRate) / Double(Self.loops)) }
        try writer.waitUntilDrained()
        let end = MonotonicInstant.now()
        let outcomes = try writer.close()
        line.openSeconds = Double(connected.nanoseconds - start.nanoseconds) / 1e9
        line.drainRate = Double(part * Self.loops) / (Double(end.nanoseconds - connected.nanoseconds) / 1e9)
        var latency = outcomes[0].latency
        for other in outcomes.dropFirst() { latency.add(other.latency) }
        line.p50 = Double(latency.valueAtPercentile(50)) / 1000
        line.p99 = Double(latency.valueAtPercentile(99)) / 1000
        line.most = Double(latency.maxRecorded) / 1000
        line.live = outcomes.reduce(0) { $0 + $1.rows }
        try database.expect(line.live + outcomes.reduce(0) { $0 + $1.drained })
        return line
    }
}

extension PlainClient {
    /// Empties the tables and lets the server finish what it put off.
    func empty() throws(BenchError) {
        try execute("TRUNCATE call_events, calls")
        try execute("CHECKPOINT")
    }

    /// Fails unless the table has exactly so many rows.
    func expect(_ rows: Int) throws(BenchError) {
        let found = try text("SELECT count(*) FROM call_events")
        guard Int(found) == rows else { throw BenchError("\(found) rows were stored, not \(rows)") }
    }
}

/// The tables as the contract's migrations make them.
enum ContractTables {
    static let sql = """
        CREATE TABLE calls (
            id uuid PRIMARY KEY, call_id varchar(255) NOT NULL, direction varchar(255),
            caller_number varchar(255), callee_number varchar(255), status varchar(255) NOT NULL,
            started_at timestamp(0), answered_at timestamp(0), ended_at timestamp(0),
            inserted_at timestamp(0) NOT NULL, updated_at timestamp(0) NOT NULL);
        CREATE UNIQUE INDEX calls_call_id_index ON calls (call_id);
        CREATE INDEX calls_status_index ON calls (status);
        CREATE INDEX calls_direction_index ON calls (direction);
        CREATE INDEX calls_started_at_index ON calls (started_at);
        CREATE TABLE call_events (
            id bigserial PRIMARY KEY, call_id varchar(255) NOT NULL, event_type varchar(255) NOT NULL,
            payload jsonb, occurred_at timestamp(0) NOT NULL, inserted_at timestamp(0) NOT NULL,
            updated_at timestamp(0) NOT NULL);
        CREATE INDEX call_events_call_id_index ON call_events (call_id);
        CREATE INDEX call_events_event_type_index ON call_events (event_type);
        CREATE INDEX call_events_occurred_at_index ON call_events (occurred_at);
        """
}
