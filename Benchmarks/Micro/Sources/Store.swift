import Benchmark
import CallEngine
import Connectors
import Protocols

func storeBenchmarks() {
    Benchmark("Batch: append an event") { benchmark in
        let batch = WriteBatch()
        let at = Timestamp(microseconds: 1_800_000_000_000_000)
        let callID = Array("pbx-1772442000.17".utf8)
        let type = Array("ChannelCreated".utf8)
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations {
            callID.withUnsafeBytes { callID in
                type.withUnsafeBytes { type in
                    sampleEvent.withUnsafeBytes { payload in
                        batch.appendEvent(
                            callID: callID, type: type, payload: payload, occurredAt: at, insertedAt: at,
                            payloadNeedsRepair: false)
                    }
                }
            }
            if batch.isFull { batch.reset() }
        }
    }

    Benchmark("Batch: append a call, each ten times") { benchmark in
        let batch = WriteBatch()
        let at = Timestamp(microseconds: 1_800_000_000_000_000)
        let calls = (0..<100).map { number in
            var record = CallRecord(id: CallUUID(high: UInt64(number), low: 1), startedAt: at, insertedAt: at)
            Array("pbx-1772442000.\(number)".utf8).withUnsafeBytes { _ = record.callID.assign($0) }
            return record
        }
        benchmark.startMeasurement()
        for number in benchmark.scaledIterations {
            batch.appendCall(calls[number % calls.count])
            if number % 1000 == 999 { batch.reset() }
        }
    }
}
