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

    /// What `cscan_index` promises, byte by byte.
    private func plainIndex(_ text: [UInt8], from start: Int, most: Int) -> [UInt64] {
        var words: [UInt64] = []
        var isCut = start > 0 && (0xC2...0xDF).contains(text[start - 1])
        for block in stride(from: start, to: text.count, by: 64).prefix(most) {
            var word: UInt64 = 0
            var isPairs = true
            var wasLead = isCut
            for k in 0..<64 {
                let byte = block + k < text.count ? text[block + k] : 0
                let isTrail = byte & 0xC0 == 0x80
                let isLead = (0xC2...0xDF).contains(byte)
                if isTrail != wasLead || (byte >= 0x80 && !isTrail && !isLead) { isPairs = false }
                if byte < 0x20 || byte == 0x22 || byte == 0x5C { word |= 1 << UInt64(k) }
                wasLead = isLead
            }
            if isPairs == false {
                for k in 0..<64 where block + k < text.count && text[block + k] >= 0x80 {
                    word |= 1 << UInt64(k)
                }
                if isCut, let last = words.indices.last { words[last] |= 1 << 63 }
            }
            isCut = wasLead
            words.append(word)
        }
        return words + [.max]
    }

    @Test("every form marks where strings end, and what may not be UTF-8")
    func index() {
        var state: UInt64 = 0x9876_5432_10FE_DCBB
        func random(_ bound: Int) -> Int {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return Int(state >> 33) % bound
        }
        let pieces: [[UInt8]] = [
            Array("a".utf8), Array("word ".utf8), Array("ж".utf8), Array("й".utf8), Array("€".utf8),
            Array("😀".utf8), [0x22], [0x5C], [0x1F], [0x7F], [0xC3], [0xA9], [0xC1], [0xE2], [0xFF],
        ]
        for turn in 0..<3000 {
            // Mostly whole characters of one and two bytes, so that blocks without a fault come too.
            let kinds = turn % 3 == 0 ? pieces.count : 4
            var text: [UInt8] = []
            while text.count < 1 + turn % 400 { text += pieces[random(kinds)] }
            for start in stride(from: 0, to: text.count, by: 64) {
                let most = 1 + random(8)
                let expected = plainIndex(text, from: start, most: most)
                for form in 0..<JSONFieldScanner.forms {
                    let found = WideSteps.index(text, from: start, most: most, form: form)
                    #expect(found == expected, "turn \(turn), from \(start), form \(form)")
                }
            }
        }
    }
}
