import Testing

@testable import Protocols

@Suite("Wide steps do what the word form does")
struct WideStepTests {
    @Test("masks are the same for every byte at every place")
    func masks() {
        var block = [UInt8](repeating: 0x61, count: 16)
        for place in 0..<16 {
            for byte in UInt8.min...UInt8.max {
                block[place] = byte
                let isStop = byte == 0x22 || byte == 0x5C || byte < 0x20 || byte >= 0x80
                let expected: UInt32 = isStop ? 1 << UInt32(place) : 0
                #expect(WideSteps.stops(block) == (wide: expected, words: expected))
                let nonASCII: UInt32 = byte >= 0x80 ? 1 << UInt32(place) : 0
                #expect(WideSteps.nonASCII(block) == (wide: nonASCII, words: nonASCII))
                let same = [UInt8](repeating: 0x61, count: 16)
                let equal: UInt32 = byte == 0x61 ? 0xFFFF : 0xFFFF ^ 1 << UInt32(place)
                #expect(WideSteps.equal(block, same) == (wide: equal, words: equal))
            }
            block[place] = 0x61
        }
    }

    @Test("masks are the same for many bytes together")
    func mixed() {
        var state: UInt64 = 0x1234_5678_9ABC_DEF1
        for _ in 0..<2000 {
            let block = (0..<16).map { _ -> UInt8 in
                state ^= state << 13
                state ^= state >> 7
                state ^= state << 17
                return UInt8(truncatingIfNeeded: state >> 24)
            }
            let stops = WideSteps.stops(block)
            #expect(stops.wide == stops.words)
            let nonASCII = WideSteps.nonASCII(block)
            #expect(nonASCII.wide == nonASCII.words)
        }
    }
}
