import Testing

@testable import Connectors

@Suite("Latency histogram: every time has a bucket at most 1/16 wide, and quantiles name it")
struct LatencyHistogramTests {
    @Test func bucketsFollowEachOtherWithoutGaps() {
        var bucket = 0
        for time in 0..<200_000 {
            let now = LatencyHistogram.bucket(of: time)
            #expect(now == bucket || now == bucket + 1, "\(time)")
            bucket = now
            let upper = LatencyHistogram.upperBound(ofBucket: now)
            #expect(time < upper, "\(time)")
            #expect(upper - time <= max(1, time / 16 + 1), "\(time)")
        }
    }

    @Test func timesBeyondTheLastBucketAreCountedInIt() {
        let histogram = LatencyHistogram()
        histogram.record(microseconds: .max / 4)
        histogram.record(microseconds: -5)
        let times = histogram.snapshot
        #expect(times.counts[LatencyHistogram.bucketCount - 1] == 1)
        #expect(times.counts[0] == 1)
        #expect(times.count == 2)
        #expect(times.mostMicroseconds == .max / 4)
    }

    @Test func quantilesOfAKnownSet() {
        let histogram = LatencyHistogram()
        for time in 1...1000 { histogram.record(microseconds: time * 10) }
        let times = histogram.snapshot
        for (quantile, exact) in [(0.5, 5000), (0.99, 9900), (0.999, 9990)] {
            let found = times.microseconds(at: quantile)
            #expect(found >= exact && found <= exact + exact / 16 + 1, "\(quantile): \(found)")
        }
        #expect(times.microseconds(at: 1) == 10_000)
        #expect(times.totalMicroseconds == 5_005_000)
        #expect(LatencyHistogram().snapshot.microseconds(at: 0.99) == 0)
    }

    @Test func prometheusLinesAreCumulativeAndEndWithAll() {
        let histogram = LatencyHistogram()
        histogram.record(microseconds: 50, count: 3)
        histogram.record(microseconds: 1_000_000, count: 2)
        histogram.record(microseconds: 200_000_000)
        var output: [UInt8] = []
        histogram.snapshot.appendPrometheus(name: "t", label: "stage=\"x\"", to: &output)
        let lines = String(decoding: output, as: UTF8.self).split(separator: "\n").map(String.init)
        #expect(lines.first == "t_bucket{stage=\"x\",le=\"6.4e-05\"} 3")
        #expect(lines.contains("t_bucket{stage=\"x\",le=\"0.524288\"} 3"))
        #expect(lines.contains("t_bucket{stage=\"x\",le=\"1.048576\"} 5"))
        #expect(lines.contains("t_bucket{stage=\"x\",le=\"+Inf\"} 6"))
        #expect(lines.last == "t_count{stage=\"x\"} 6")
        var before = 0
        for line in lines where line.contains("_bucket") {
            let count = Int(line.split(separator: " ")[1]) ?? -1
            #expect(count >= before)
            before = count
        }
    }
}
