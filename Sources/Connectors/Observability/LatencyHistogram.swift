import Synchronization

/// How long something took, counted in buckets; any thread may record, none waits, nothing is allocated.
///
/// Log-linear: 16 buckets to each doubling, so a bucket is at most 1/16 of its value wide (6 %), from 1 µs to 134 s in 3 kB. Longer times
/// are counted in the last bucket.
package final class LatencyHistogram: Sendable {
    private static let bitsPerDoubling = 4
    private static let bucketsPerDoubling = 1 << bitsPerDoubling
    private static let doublings = 24
    /// Number of buckets.
    package static let bucketCount = bucketsPerDoubling * doublings

    /// The counts; freed with the histogram.
    private struct Cells: @unchecked Sendable {
        let first: UnsafeMutablePointer<Atomic<Int>>
    }

    private let cells: Cells
    private let total = Atomic<Int>(0)
    private let most = Atomic<Int>(0)

    package init() {
        cells = Cells(first: .allocate(capacity: Self.bucketCount))
        for bucket in 0..<Self.bucketCount { (cells.first + bucket).initialize(to: Atomic(0)) }
    }

    deinit {
        cells.first.deinitialize(count: Self.bucketCount)
        cells.first.deallocate()
    }

    /// Counts `count` times of `microseconds` each; a negative time counts as 0.
    package func record(microseconds: Int, count: Int = 1) {
        let time = max(0, microseconds)
        cells.first[Self.bucket(of: time)].wrappingAdd(count, ordering: .relaxed)
        total.wrappingAdd(time &* count, ordering: .relaxed)
        _ = most.max(time, ordering: .relaxed)
    }

    /// The bucket that a time is counted in.
    package static func bucket(of microseconds: Int) -> Int {
        guard microseconds >= bucketsPerDoubling else { return max(0, microseconds) }
        let exponent = Int.bitWidth - 1 - microseconds.leadingZeroBitCount
        let within = (microseconds >> (exponent - bitsPerDoubling)) & (bucketsPerDoubling - 1)
        return min(bucketCount - 1, (exponent - bitsPerDoubling + 1) * bucketsPerDoubling + within)
    }

    /// The first time, in microseconds, that is above the bucket.
    package static func upperBound(ofBucket bucket: Int) -> Int {
        guard bucket >= bucketsPerDoubling else { return bucket + 1 }
        let shift = bucket / bucketsPerDoubling - 1
        return (bucketsPerDoubling + bucket % bucketsPerDoubling + 1) << shift
    }

    /// What was counted up to now; counts of different buckets are not from one moment.
    package var snapshot: Snapshot {
        Snapshot(
            counts: (0..<Self.bucketCount).map { cells.first[$0].load(ordering: .relaxed) },
            totalMicroseconds: total.load(ordering: .relaxed),
            mostMicroseconds: most.load(ordering: .relaxed))
    }

    /// Counts at one moment.
    package struct Snapshot: Sendable {
        /// By bucket.
        package var counts: [Int]
        /// Sum of all times.
        package var totalMicroseconds: Int
        /// The longest time.
        package var mostMicroseconds: Int

        /// Times counted.
        package var count: Int { counts.reduce(0, +) }

        /// The time below which `quantile` (0…1) of all times lie, in microseconds: the upper bound of its bucket, at most the longest time;
        /// 0 when nothing was counted.
        package func microseconds(at quantile: Double) -> Int {
            let wanted = quantile * Double(count)
            var seen = 0
            for (bucket, count) in counts.enumerated() where count > 0 {
                seen += count
                if Double(seen) >= wanted {
                    return min(LatencyHistogram.upperBound(ofBucket: bucket), mostMicroseconds)
                }
            }
            return mostMicroseconds
        }
    }
}

extension LatencyHistogram.Snapshot {
    /// Appends a histogram in the Prometheus text format (without HELP and TYPE lines): a line for each doubling, in seconds.
    ///
    /// - Parameters:
    ///   - name: The metric's name.
    ///   - label: Such as `stage="durable"`.
    package func appendPrometheus(name: String, label: String, to output: inout [UInt8]) {
        var (seen, bucket) = (0, 0)
        for exponent in 6...26 {
            let bound = 1 << exponent
            while bucket < counts.count, LatencyHistogram.upperBound(ofBucket: bucket) <= bound {
                seen += counts[bucket]
                bucket += 1
            }
            let line = "\(name)_bucket{\(label),le=\"\(Double(bound) / 1e6)\"} \(seen)\n"
            output.append(contentsOf: line.utf8)
        }
        let end = """
            \(name)_bucket{\(label),le="+Inf"} \(count)
            \(name)_sum{\(label)} \(Double(totalMicroseconds) / 1e6)
            \(name)_count{\(label)} \(count)

            """
        output.append(contentsOf: end.utf8)
    }
}
