import FuzzTargets
import Testing

/// What the target says of an input; nil when all held.
func finding(_ target: FuzzTarget, _ input: [UInt8]) -> String? {
    do throws(Finding) {
        try input.span.bytes.withUnsafeBytes { (bytes) throws(Finding) in try target.check(bytes) }
        return nil
    } catch { return error.description }
}

@Suite("What is fuzzed holds for the corpora")
struct ReplayTests {
    static func inputs(_ target: FuzzTarget) throws -> [Corpus.Input] {
        let recorded = target == .json || target == .ari ? try Corpus.recorded() : []
        return try Corpus.written(target) + Corpus.found(target) + recorded
    }

    @Test("as they are", arguments: FuzzTarget.allCases)
    func replayed(target: FuzzTarget) throws {
        let inputs = try Self.inputs(target)
        #expect(inputs.count >= 8)
        for input in inputs { #expect(finding(target, input.bytes) == nil, "\(input.name)") }
    }

    @Test("and with bytes changed, removed, doubled and swapped", arguments: FuzzTarget.allCases)
    func damaged(target: FuzzTarget) throws {
        let seed = SeededNumbers.runSeed
        var random = SeededNumbers(seed: seed)
        let inputs = try Self.inputs(target)
        for turn in 0..<400 {
            guard var bytes = inputs.randomElement(using: &random)?.bytes, !bytes.isEmpty else { continue }
            for _ in 0..<Int.random(in: 1...4, using: &random) where !bytes.isEmpty {
                let place = Int.random(in: 0..<bytes.count, using: &random)
                let other = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<5, using: &random) {
                case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.remove(at: place)
                case 2: bytes.insert(bytes[other], at: place)
                case 3: bytes.swapAt(place, other)
                default:
                    bytes.replaceSubrange(max(place, other)..., with: bytes[min(place, other)...].prefix(64))
                }
            }
            #expect(finding(target, bytes) == nil, "SEED=\(seed) turn \(turn) \(bytes)")
        }
    }
}
