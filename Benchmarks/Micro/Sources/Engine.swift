import Benchmark
import CallEngine
import Protocols

private let hasher = TextHash(keyA: 0x9E37_79B9_7F4A_7C15, keyB: 0xD1B5_4A32_D192_ED03)
/// Calls that live beside the one that is looked at.
private let crowd = 50_000

/// Calls as the registry publishes them.
private func records(_ count: Int) -> [(record: CallRecord, key: CallKey)] {
    (0..<count).map { number in
        let at = Timestamp(microseconds: 1_800_000_000_000_000)
        var record = CallRecord(id: CallUUID(high: UInt64(number), low: 1), startedAt: at, insertedAt: at)
        let key = Array("pbx-1772442000.\(number)".utf8).withUnsafeBytes { CallKey($0, hasher) }
        record.callID = key.text
        return (record, key)
    }
}

func engineBenchmarks() {
    Benchmark("Registry: publish a change, \(crowd) calls live") { benchmark in
        let registry = CallRegistry(capacity: crowd, hasher: hasher)
        let calls = records(crowd)
        for (slot, call) in calls.enumerated() {
            registry.publish(call.record, slot: slot, hash: call.key.hash, isNew: true)
        }
        var slot = 0
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations {
            registry.publish(calls[slot].record, slot: slot, hash: calls[slot].key.hash, isNew: false)
            slot = (slot + 7919) % crowd
        }
    }

    Benchmark("Registry: find a call, \(crowd) calls live") { benchmark in
        let registry = CallRegistry(capacity: crowd, hasher: hasher)
        for (slot, call) in records(crowd).enumerated() {
            registry.publish(call.record, slot: slot, hash: call.key.hash, isNew: true)
        }
        let names = (0..<1000).map { "pbx-1772442000.\($0 * 49)" }
        var number = 0
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations {
            guard registry.find(callID: names[number]) != nil else {
                return benchmark.error("a call is not found")
            }
            number = (number + 1) % names.count
        }
    }

    Benchmark("Registry: a call comes and goes, \(crowd) calls live") { benchmark in
        let registry = CallRegistry(capacity: crowd + 1, hasher: hasher)
        let calls = records(crowd + 1000)
        for (slot, call) in calls.prefix(crowd).enumerated() {
            registry.publish(call.record, slot: slot, hash: call.key.hash, isNew: true)
        }
        var number = crowd
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations {
            registry.publish(calls[number].record, slot: crowd, hash: calls[number].key.hash, isNew: true)
            registry.retire(slot: crowd, hash: calls[number].key.hash)
            number = number + 1 < calls.count ? number + 1 : crowd
        }
    }

    Benchmark("TextHash: a channel's id") { benchmark in
        let text = Array("pbx-1772442000.17".utf8)
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations { blackHole(text.withUnsafeBytes { hasher($0) }) }
    }
}
