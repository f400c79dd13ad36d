import BenchSupport
import CAllocations
import CCopies

/// What a stage cost on a recording.
struct Measurement {
    var recording: String
    var stage: String
    var title: String
    var events: Int
    var bytes: Int
    /// Nanoseconds an event, one value a round, ascending; empty when only allocations were counted.
    var nanoseconds: [Double] = []
    /// In steady state, without those made for CRM actions.
    var allocationsPerEvent = 0.0
    /// Those made for CRM actions; `nil` where no calls are moved.
    var allocationsPerCall: Double?
    /// Bytes of the input copied an event, by memcpy and memmove.
    var copiedPerEvent = 0.0

    /// The round below which this share of the rounds lies; 0 without rounds.
    func quantile(_ share: Double) -> Double {
        nanoseconds.isEmpty ? 0 : nanoseconds[Int(share * Double(nanoseconds.count - 1))]
    }
}

enum Measuring {
    /// Events played before anything is measured: tables and lists have their size, key order is learned.
    static let warmUpEvents = 100_000
    /// Events over which allocations are counted.
    static let countedEvents = 100_000
    /// Events of one timed round, at least.
    static let roundEvents = 4_000

    /// Counts the stage's allocations and copies, after warming it up.
    static func counts(_ stage: any Stage, _ recording: Recording) throws -> Measurement {
        var result = Measurement(
            recording: recording.name, stage: stage.name, title: stage.title, events: recording.events.count,
            bytes: stage.input(of: recording).count)
        for _ in 0..<plays(recording, warmUpEvents) { try stage.play(recording) }
        let counted = plays(recording, countedEvents)
        let path = stage as? PathStage
        path?.attributesAllocations = true
        let actionsBefore = path?.actionAllocations ?? 0
        let callsBefore = path?.callCount ?? 0
        let before = callocations_count()
        for _ in 0..<counted { try stage.play(recording) }
        let all = callocations_count() - before
        path?.attributesAllocations = false
        let forActions = (path?.actionAllocations ?? 0) - actionsBefore
        result.allocationsPerEvent = Double(all - forActions) / Double(counted * recording.events.count)
        if let path {
            let calls = path.callCount - callsBefore
            guard calls > 0, path.isComplete else {
                throw BenchError("\(recording.name): calls were lost on the way")
            }
            result.allocationsPerCall = Double(forActions) / Double(calls)
        }
        try stage.input(of: recording).withUnsafeBytes { input in
            ccopies_begin(input.baseAddress, UInt64(input.count))
            for _ in 0..<counted { try stage.play(recording) }
        }
        result.copiedPerEvent = Double(ccopies_end()) / Double(counted * recording.events.count)
        return result
    }

    /// Plays one round; returns nanoseconds of the thread's time an event.
    static func round(_ stage: any Stage, _ recording: Recording) throws -> Double {
        let count = plays(recording, roundEvents)
        let start = ThreadTime.now
        for _ in 0..<count { try stage.play(recording) }
        return (ThreadTime.now - start) / Double(count * recording.events.count)
    }

    /// Fails when `malloc` or `memcpy` is not the counting one: every figure would be 0.
    static func proveThatIsCounted() throws(BenchError) {
        let before = callocations_count()
        var kept: [[UInt8]] = []
        for size in 1...100 { kept.append([UInt8](repeating: 1, count: size * 100)) }
        let counted = callocations_count() - before
        guard kept.count == 100, counted >= 100 else {
            throw BenchError("100 arrays were made and \(counted) allocations counted: malloc is not ours")
        }
        var copy: [UInt8] = []
        kept[99].withUnsafeBytes { bytes in
            ccopies_begin(bytes.baseAddress, UInt64(bytes.count))
            copy += bytes
        }
        let copied = ccopies_end()
        guard copied == copy.count else {
            throw BenchError("\(copy.count) bytes were copied and \(copied) counted: memcpy is not ours")
        }
    }

    private static func plays(_ recording: Recording, _ events: Int) -> Int {
        (events + recording.events.count - 1) / recording.events.count
    }
}
