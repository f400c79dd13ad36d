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
    // Latencies in microseconds; bounds of buckets at most 6 % wide, of lateness a millisecond.

    /// From when the schedule says that an event is sent until it was received: nobody's slowness makes it look better.
    var lateness = Quantiles()
    var state = Quantiles()
    var durable = Quantiles()
    var api: (p50: Int, p99: Int, answered: Int, failed: Int)?
    var cpuPerThousand = 0.0
    var generatorCPUPerThousand = 0.0
    var idleBytes = 0
    var loadedBytes = 0
    var bytesPerCall = 0.0
    /// From the daemon's first answer until all PBXs are connected.
    var connectedMilliseconds = 0
    /// Memory each second, for the plot.
    var residentSeries: [Int] = []
    var eventsSeries: [Double] = []
    var wakeUpsPerEvent = 0.0
    var rowsPerBatch = 0.0
    var commitsPerEvent: Double?
    var statementsPerEvent: Double?
    /// By perf(1); `nil` where there is none.
    var systemCallsPerEvent: Double?
    /// Events a second that the generator gives to a reader that throws them away; `nil` for those on a schedule.
    var generatorCeiling: Double?
    var reconnects = 0
    var drainMilliseconds = 0
    var exitStatus: Int32 = 0
    /// Warnings and errors of the daemon's log.
    var warnings: [String] = []

    /// Whether the run shows what it should: nothing lost, nothing wrong, and memory flat where it has to be.
    var isGood: Bool {
        stored == sent && callsWithLostEvents == 0 && callsWithWrongOutcome == 0 && reconnects == 0
            && exitStatus == 0 && !isGrowing
    }

    /// By how many bytes memory grows over the measured time, when it goes on as it does in the middle.
    ///
    /// The first quarter is left out, in which memory becomes what the load needs. `nil` when there is too little of the rest.
    var growthBytes: Double? {
        let rest = residentSeries.dropFirst(residentSeries.count / 4).map(Double.init)
        guard rest.count >= 20 else { return nil }
        return Trend.slope(of: rest) * Double(residentSeries.count)
    }

    /// Whether memory grows beyond the scenario's bound.
    var isGrowing: Bool {
        guard let most = scenario.mostGrowthBytes else { return false }
        // A soak too short to judge has not shown what it is for.
        guard let growth = growthBytes else { return true }
        return growth > Double(most)
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

/// Which way a row of values goes.
enum Trend {
    /// Values looked at, evenly taken, of a longer row.
    private static let mostValues = 600

    /// The median of the slopes between any two values, for each step (Theil and Sen): a stretch of odd values, or one step up, does not
    /// make a trend, what goes on growing does.
    static func slope(of values: [Double]) -> Double {
        let stride = max(1, (values.count + mostValues - 1) / mostValues)
        let places = Array(Swift.stride(from: 0, to: values.count, by: stride))
        var slopes: [Double] = []
        for (index, first) in places.enumerated() {
            for second in places[(index + 1)...] {
                slopes.append((values[second] - values[first]) / Double(second - first))
            }
        }
        guard !slopes.isEmpty else { return 0 }
        slopes.sort()
        return slopes[slopes.count / 2]
    }
}
