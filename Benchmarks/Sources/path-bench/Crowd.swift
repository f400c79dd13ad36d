import BenchSupport
import CAllocations
import CallEngine
import Glibc
import Protocols

/// Many calls at once: what a leg costs in memory, and how long the slowest events take while the office goes on calling.
///
/// The time of the thread is measured, since other programs on the machine are none of the engine's business; an event is
/// read, moves its call, and the tick is drained behind it. The clock of the calls goes on by itself: 10,000 events a second.
struct Crowd {
    /// Calls at once.
    let calls: Int
    /// Events measured once they are there.
    let events: Int

    // Keys as random as the daemon's: of small ones the hash is none.
    private static let hasher = TextHash(keyA: 0x9AE1_6A3B_2F90_404F, keyB: 0xC3A5_C85C_97CB_3127)
    private static let receivedAt = Timestamp(microseconds: 1_800_000_000_000_000)
    private static let microsecondsPerEvent = 100
    private static let lingering = 16_384

    /// What was found.
    struct Result {
        var legs = 0
        var bytesPerLeg = 0.0
        var bytesPerCall = 0.0
        var nanoseconds: [Double] = []
        var slowestSweep = 0.0
        var eventsPerSecond = 0.0
        var allocations: UInt64 = 0

        func quantile(_ share: Double) -> Double {
            nanoseconds[min(nanoseconds.count - 1, Int(share * Double(nanoseconds.count)))]
        }
    }

    func run() throws -> Result {
        var result = Result()
        result.nanoseconds.reserveCapacity(events + 1024)
        result.nanoseconds.append(contentsOf: repeatElement(0, count: events + 1024))
        result.nanoseconds.removeAll(keepingCapacity: true)
        var reader = ARIEventReader()
        var texts = CrowdEvents()
        var event = ARIEvent()
        var actions: [CRMAction] = []
        actions.reserveCapacity(1024)
        var time = 0
        var nextSweep: UInt64 = 0
        // With those that ended within the last ten seconds.
        let registry = CallRegistry(capacity: calls + Self.lingering, hasher: Self.hasher)
        var graph = CallGraph(
            registry: registry, hasher: Self.hasher, seed: 1, maximumLegs: 4 * (calls + Self.lingering))

        func play(_ step: CrowdEvents.Step, _ call: Int, isMeasured: Bool) throws {
            time += Self.microsecondsPerEvent
            let now = UInt64(time) * 1000
            try texts.with(step, call: call, milliseconds: time / 1000) { payload in
                let before = isMeasured ? callocations_count() : 0
                let start = isMeasured ? ThreadTime.now : 0
                try reader.read(payload.bytes, into: &event)
                _ = graph.handle(
                    event, payload: payload, pbx: 0, subscription: .allChannels, receivedAt: Self.receivedAt,
                    now: now, actions: &actions)
                graph.drain(actions: &actions) { _, _, _ in }
                guard isMeasured else { return }
                result.nanoseconds.append(ThreadTime.now - start)
                // Copies of the call's texts for the CRM, where they are longer than a String holds inline.
                if actions.isEmpty { result.allocations += callocations_count() - before }
            }
            actions.removeAll(keepingCapacity: true)
            guard now >= nextSweep else { return }
            nextSweep = now + 1_000_000_000
            let start = ThreadTime.now
            graph.sweep(now: now)
            if isMeasured { result.slowestSweep = max(result.slowestSweep, ThreadTime.now - start) }
        }
        func steps(_ all: [CrowdEvents.Step], of call: Int) -> [CrowdEvents.Step] {
            // Two legs and three in turn.
            call % 2 == 0 ? all.filter { !$0.isSecond } : all
        }

        // What the parts cost that do not depend on the number of calls.
        for call in 0..<100 {
            for step in CrowdEvents.begin + CrowdEvents.end where call % 2 == 1 || !step.isSecond {
                try play(step, call, isMeasured: false)
            }
        }
        time += 20_000_000
        graph.sweep(now: UInt64(time) * 1000)
        let before = Self.residentBytes()
        for call in 100..<(100 + calls) {
            for step in CrowdEvents.begin where call % 2 == 1 || !step.isSecond {
                try play(step, call, isMeasured: false)
            }
        }
        guard graph.counters.active == calls, graph.counters.refused == 0 else {
            throw BenchError("\(graph.counters.active) calls live, not \(calls)")
        }
        result.legs = graph.legCount
        let grown = Double(Self.residentBytes() - before)
        result.bytesPerLeg = grown / Double(graph.legCount)
        result.bytesPerCall = grown / Double(calls)

        // The office goes on: the oldest call ends, another begins, some are put on hold.
        var (oldest, next) = (100, 100 + calls)
        let ending = [steps(CrowdEvents.end, of: 0), steps(CrowdEvents.end, of: 1)]
        let beginning = [steps(CrowdEvents.begin, of: 0), steps(CrowdEvents.begin, of: 1)]
        func goOn(until count: Int, isMeasured: Bool) throws {
            var played = 0
            while played < count {
                for step in ending[oldest % 2] { try play(step, oldest, isMeasured: isMeasured) }
                for step in beginning[next % 2] { try play(step, next, isMeasured: isMeasured) }
                let held = oldest + 1 + (next &* 7919) % (calls - 1)
                for step in CrowdEvents.talk { try play(step, held, isMeasured: isMeasured) }
                played += ending[oldest % 2].count + beginning[next % 2].count + 2
                oldest += 1
                next += 1
            }
        }
        // Until as much is forgotten as ends.
        try goOn(until: 200_000, isMeasured: false)
        // Once without looking at the clock behind each event, with the making of the texts.
        let start = ThreadTime.now
        try goOn(until: events, isMeasured: false)
        result.eventsPerSecond = Double(events) / (ThreadTime.now - start) * 1e9
        try goOn(until: events, isMeasured: true)
        guard graph.counters.active == calls else {
            throw BenchError("\(graph.counters.active) calls live, not \(calls)")
        }
        result.nanoseconds.sort()
        return result
    }

    /// The process's resident memory.
    private static func residentBytes() -> Int {
        guard let bytes = try? Files.read("/proc/self/statm") else { return 0 }
        let fields = String(decoding: bytes, as: UTF8.self).split(separator: " ")
        return fields.count > 1 ? (Int(fields[1]) ?? 0) * Int(sysconf(Int32(_SC_PAGESIZE))) : 0
    }

    /// The result as Markdown.
    func table(_ result: Result) -> String {
        func microseconds(_ nanoseconds: Double) -> String { Table.fixed(nanoseconds / 1000, 1) }
        return """
            | calls at once | legs | bytes a leg | bytes a call | events/s | p50, µs | p99, µs | p99.9, µs | slowest, µs | slowest sweep, µs | allocations/event |
            | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
            | \(calls) | \(result.legs) | \(Table.fixed(result.bytesPerLeg, 0)) | \(Table.fixed(result.bytesPerCall, 0)) \
            | \(Table.grouped(Int(result.eventsPerSecond))) | \(microseconds(result.quantile(0.5))) | \(microseconds(result.quantile(0.99))) \
            | \(microseconds(result.quantile(0.999))) | \(microseconds(result.quantile(1))) \
            | \(microseconds(result.slowestSweep)) \
            | \(Table.fixed(Double(result.allocations) / Double(result.nanoseconds.count), 5)) |
            """
    }
}
