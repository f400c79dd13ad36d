import Testing

@testable import CallEngine

@Suite("Slot table")
struct SlotTableTests {
    struct Entry: BitwiseCopyable, Equatable {
        var key: UInt64
        var value: Int
    }

    @Test(
        "Agrees with a dictionary over random inserts, look-ups and removals",
        arguments: SeededGenerator.seeds(8))
    func agreesWithDictionary(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var table = SlotTable<Entry>(minimumCapacity: 4)
        var model: [UInt64: (slot: Int, value: Int)] = [:]
        for step in 0..<4000 {
            // Few distinct hashes, so that chains, collisions and wrap-around are common.
            let key = UInt64.random(in: 2..<400, using: &random)
            let hash = key % 61 &* 0x9E37 &+ 2
            let found = table.find(hash) { $0.pointee.key == key }
            #expect(found == model[key]?.slot, "seed \(seed), step \(step)")
            if let known = model[key] {
                #expect(
                    table[known.slot] == Entry(key: key, value: known.value), "seed \(seed), step \(step)")
                if Bool.random(using: &random) {
                    table.remove(hash, slot: known.slot)
                    model[key] = nil
                }
            } else {
                model[key] = (table.insert(hash, Entry(key: key, value: step)), step)
            }
            #expect(table.count == model.count)
        }
        for (key, known) in model {
            let hash = key % 61 &* 0x9E37 &+ 2
            #expect(table.find(hash) { $0.pointee.key == key } == known.slot, "seed \(seed)")
        }
        var visited: [Int] = []
        table.forEachSlot { visited.append($0) }
        #expect(visited.sorted() == model.values.map(\.slot).sorted())
    }

    @Test("Slots keep their number while the table grows")
    func slotsAreStable() {
        var table = SlotTable<Entry>(minimumCapacity: 2)
        let slots = (2..<5002).map { table.insert(UInt64($0), Entry(key: UInt64($0), value: $0)) }
        for (index, slot) in slots.enumerated() { #expect(table[slot].value == index + 2) }
    }
}

@Suite("Keys and inline texts")
struct KeyTests {
    let hasher = TextHash(keyA: 0x1234_5678_9ABC_DEF1, keyB: 0x0FED_CBA9_8765_4321)

    private func key(_ text: String) -> CallKey {
        Array(text.utf8).withUnsafeBytes { CallKey($0, hasher) }
    }

    @Test("A usual id is kept as it is")
    func usualID() {
        let made = key("pbx1-1795344287.12")
        #expect(made.text.string == "pbx1-1795344287.12")
        #expect(!made.isFolded)
    }

    @Test("Long ids that differ only at the end stay distinct")
    func longIDs() {
        let stem = String(repeating: "a", count: 200)
        let first = key(stem + "1")
        let second = key(stem + "2")
        #expect(first.isFolded)
        #expect(first.text.count <= 76)
        #expect(!(first == second))
        #expect(first == key(stem + "1"))
    }

    @Test("A text is never cut inside a UTF-8 sequence", arguments: 0...12)
    func cutsWhole(limit: Int) {
        let bytes = Array("aЖ😀б".utf8)
        let kept = bytes.withUnsafeBytes { InlineText<8>.fittingLength(of: $0, limit: limit) }
        #expect(kept <= max(limit, 0))
        #expect(String(validating: bytes[..<kept], as: UTF8.self) != nil)
    }

    @Test("A text that is too long says so")
    func tooLong() {
        var text = InlineText<4>()
        let fits = Array("abcd".utf8).withUnsafeBytes { text.assign($0) }
        #expect(fits)
        let fitsNot = Array("abcde".utf8).withUnsafeBytes { text.assign($0) }
        #expect(!fitsNot)
        #expect(text.string == "abcd")
    }

    @Test("Hashes are never the table's marks and depend on the key")
    func hashes() {
        let other = TextHash(keyA: 99, keyB: 77)
        var equal = 0
        for number in 0..<10_000 {
            let (first, second) = Array("\(number)".utf8).withUnsafeBytes { (hasher($0), other($0)) }
            #expect(first > 1)
            if first == second { equal += 1 }
        }
        #expect(equal == 0)
    }
}
