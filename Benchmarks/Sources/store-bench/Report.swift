import Glibc

/// One line of the table: a way to write, with the value of each round.
struct Series {
    var key: String
    var title: String
    /// Rows a second, one a round.
    var rates: [Double] = []
    /// The rate of the COPY of the same round, for the ratio.
    var baseline: [Double] = []
    /// Microseconds of our threads a row, one a round.
    var cpu: [Double] = []
    /// Microseconds of the server's sessions a row, one a round.
    var serverCPU: [Double] = []

    var median: Double { Self.median(rates) }
    /// Median of the rounds' ratios, so that what the machine does in one round hits both sides.
    var ratio: Double? {
        guard baseline.count == rates.count, !rates.isEmpty else { return nil }
        return Self.median(zip(rates, baseline).map { $0 / $1 })
    }

    static func median(_ values: [Double]) -> Double {
        guard !values.isEmpty else { return 0 }
        let sorted = values.sorted()
        let middle = sorted.count / 2
        return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }
}

/// Latency of paced work.
struct LatencyLine {
    var title: String
    var isSynchronous: Bool
    var rate: Int
    var p50: Double
    var p99: Double
    var p999: Double
    var most: Double
    var rowsPerBatch: Double
    var cpu: Double
    /// In the whole process, the histogram's own left out.
    var allocationsPerBatch: Double
}

/// The way out of a full spool.
struct DrainLine {
    var spooled: Int
    var besideRate: Int
    /// Rows a second straight into the database, in the same run.
    var directRate = 0.0
    /// Rows a second into the spool.
    var fillRate = 0.0
    /// Rows a second out of the spool.
    var drainRate = 0.0
    /// To open and check the spool's file and to connect.
    var openSeconds = 0.0
    /// Live events meanwhile, and what they waited, in milliseconds.
    var live = 0
    var p50 = 0.0
    var p99 = 0.0
    var most = 0.0
}

/// All that was measured, as Markdown and as JSON.
struct Report {
    var commits: [(isSynchronous: Bool, series: [Series])] = []
    var latencies: [LatencyLine] = []
    var drain: DrainLine?
    var notes: [String] = []

    var markdown: String {
        var lines = [
            "| way | synchronous_commit | rows/s, median | least – most | × COPY | our CPU µs/row | session's CPU µs/row |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        for (isSynchronous, series) in commits {
            for one in series {
                let spread =
                    "\(Self.grouped(one.rates.min() ?? 0)) – \(Self.grouped(one.rates.max() ?? 0))"
                lines.append(
                    "| \(one.title) | \(isSynchronous ? "on" : "off") | \(Self.grouped(one.median)) | \(spread) | "
                        + "\(one.ratio.map { Self.fixed($0, 2) } ?? "") | "
                        + "\(one.cpu.isEmpty ? "" : Self.fixed(Series.median(one.cpu), 2)) | "
                        + "\(one.serverCPU.isEmpty ? "" : Self.fixed(Series.median(one.serverCPU), 1)) |")
            }
        }
        if !latencies.isEmpty {
            lines += [
                "",
                "| receipt → commit | synchronous_commit | events/s | p50 ms | p99 ms | p99.9 ms | most ms | rows/batch | our CPU ms/1,000 | allocations/batch |",
                "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            ]
            for one in latencies {
                lines.append(
                    "| \(one.title) | \(one.isSynchronous ? "on" : "off") | \(one.rate) | \(Self.fixed(one.p50, 2)) | "
                        + "\(Self.fixed(one.p99, 2)) | \(Self.fixed(one.p999, 2)) | \(Self.fixed(one.most, 2)) | "
                        + "\(Self.fixed(one.rowsPerBatch, 1)) | \(Self.fixed(one.cpu, 2)) | "
                        + "\(Self.fixed(one.allocationsPerBatch, 1)) |")
            }
        }
        if let drain {
            lines += [
                "",
                "| spool | rows/s into it | rows/s out of it | straight into the database | out : straight | opened in s | live events/s beside | live p50 ms | p99 ms | most ms |",
                "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
                "| \(Self.grouped(Double(drain.spooled))) events, 2 loops, our tables | \(Self.grouped(drain.fillRate)) | "
                    + "\(Self.grouped(drain.drainRate)) | \(Self.grouped(drain.directRate)) | "
                    + "\(Self.fixed(drain.drainRate / max(1, drain.directRate), 2)) | \(Self.fixed(drain.openSeconds, 1)) | "
                    + "\(drain.besideRate) | \(Self.fixed(drain.p50, 1)) | \(Self.fixed(drain.p99, 1)) | \(Self.fixed(drain.most, 1)) |",
            ]
        }
        return (lines + (notes.isEmpty ? [] : [""]) + notes).joined(separator: "\n")
    }

    var json: String {
        func list(_ values: [Double]) -> String {
            "[\(values.map { Self.fixed($0, 1) }.joined(separator: ","))]"
        }
        let throughput = commits.flatMap { group in
            group.series.map { one in
                """
                {"way":"\(one.key)","synchronous_commit":\(group.isSynchronous),"rows_per_second":\(list(one.rates)),\
                "median":\(Self.fixed(one.median, 1)),"times_copy":\(one.ratio.map { Self.fixed($0, 3) } ?? "null"),\
                "cpu_us_per_row":\(list(one.cpu)),"server_cpu_us_per_row":\(list(one.serverCPU))}
                """
            }
        }
        let latency = latencies.map { one in
            """
            {"way":"\(one.title)","synchronous_commit":\(one.isSynchronous),"events_per_second":\(one.rate),\
            "p50_ms":\(Self.fixed(one.p50, 3)),"p99_ms":\(Self.fixed(one.p99, 3)),"p999_ms":\(Self.fixed(one.p999, 3)),\
            "max_ms":\(Self.fixed(one.most, 3)),"rows_per_batch":\(Self.fixed(one.rowsPerBatch, 2)),\
            "cpu_ms_per_1000":\(Self.fixed(one.cpu, 3)),\
            "allocations_per_batch":\(Self.fixed(one.allocationsPerBatch, 2))}
            """
        }
        let spool = drain.map { one in
            """
            {"spooled":\(one.spooled),"direct_rows_per_second":\(Self.fixed(one.directRate, 1)),\
            "fill_rows_per_second":\(Self.fixed(one.fillRate, 1)),"drain_rows_per_second":\(Self.fixed(one.drainRate, 1)),\
            "open_seconds":\(Self.fixed(one.openSeconds, 2)),"beside_per_second":\(one.besideRate),\
            "live_p50_ms":\(Self.fixed(one.p50, 2)),"live_p99_ms":\(Self.fixed(one.p99, 2)),\
            "live_max_ms":\(Self.fixed(one.most, 2))}
            """
        }
        return """
            {"throughput":[\(throughput.joined(separator: ",\n"))],
            "latency":[\(latency.joined(separator: ",\n"))],
            "drain":\(spool ?? "null")}

            """
    }

    /// A number with so many decimals.
    static func fixed(_ value: Double, _ decimals: Int) -> String {
        var scale = 1.0
        for _ in 0..<decimals { scale *= 10 }
        let scaled = Int((abs(value) * scale).rounded())
        let whole = "\(value < 0 ? "-" : "")\(scaled / Int(scale))"
        guard decimals > 0 else { return whole }
        let fraction = "\(scaled % Int(scale))"
        return "\(whole)." + String(repeating: "0", count: decimals - fraction.count) + fraction
    }

    /// A whole number with commas.
    static func grouped(_ value: Double) -> String {
        let value = Int(value.rounded())
        return value < 1000
            ? "\(value)" : "\(grouped(Double(value / 1000))),\("\(value % 1000 + 1000)".dropFirst())"
    }

    /// Writes a file, whole.
    static func write(_ text: String, to path: String) throws(BenchError) {
        guard let file = fopen(path, "wb") else {
            throw BenchError("\(path): \(String(cString: strerror(errno)))")
        }
        defer { fclose(file) }
        guard fputs(text, file) >= 0 else { throw BenchError("\(path): cannot be written") }
    }
}
