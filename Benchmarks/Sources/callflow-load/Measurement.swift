import Glibc

/// What one run gave; every field is a line of the table and a member of the JSON.
struct Measurement {
    var scenario: Scenario
    var driver = ""
    var seconds = 0.0
    var eventsPerSecond = 0.0
    var callsAtOnce = 0
    /// Sent by the PBXs, and rows stored.
    var sent = 0
    var stored = 0
    /// Calls whose stored events are not as many as were sent, and calls that ended with another outcome than they had.
    var callsWithLostEvents = 0
    var callsWithWrongOutcome = 0
    var callsCompared = 0
    /// Calls that had not ended when the PBXs fell silent.
    var callsLeft = 0
    /// Latencies in microseconds; bounds of buckets at most 6 % wide.
    var state = Quantiles()
    var durable = Quantiles()
    var api: (p50: Int, p99: Int, answered: Int, failed: Int)?
    var cpuPerThousand = 0.0
    var generatorCPUPerThousand = 0.0
    var idleBytes = 0
    var loadedBytes = 0
    var bytesPerCall = 0.0
    /// Memory each second, for the plot.
    var residentSeries: [Int] = []
    var eventsSeries: [Double] = []
    var wakeUpsPerEvent = 0.0
    var rowsPerBatch = 0.0
    var commitsPerEvent: Double?
    var reconnects = 0
    var drainMilliseconds = 0
    var exitStatus: Int32 = 0
    /// Warnings and errors of the daemon's log.
    var warnings: [String] = []

    /// Whether the run shows what it should: nothing lost, nothing wrong.
    var isGood: Bool {
        stored == sent && callsWithLostEvents == 0 && callsWithWrongOutcome == 0 && reconnects == 0
            && exitStatus == 0
    }

    struct Quantiles {
        var p50 = 0
        var p99 = 0
        var p999 = 0
        var most = 0
        var count = 0

        init() {}

        /// From counts by upper bound, of which those of an earlier moment are taken off.
        init(_ after: [Int: Int], since before: [Int: Int]) {
            let counts = after.map { ($0.key, $0.value - (before[$0.key] ?? 0)) }.filter { $0.1 > 0 }.sorted {
                $0.0 < $1.0
            }
            count = counts.reduce(0) { $0 + $1.1 }
            func at(_ quantile: Double) -> Int {
                var seen = 0
                for (bound, number) in counts {
                    seen += number
                    if Double(seen) >= quantile * Double(count) { return bound }
                }
                return counts.last?.0 ?? 0
            }
            (p50, p99, p999, most) = (at(0.5), at(0.99), at(0.999), counts.last?.0 ?? 0)
        }
    }
}
