import Testing

@testable import CallEngine

@Suite("Events are known by their type's text")
struct EventKindTests {
    private func kind(_ text: String) -> ARIEventKind {
        Array(text.utf8).withUnsafeBytes { EventKindTable.shared.kind($0) }
    }

    @Test("each name gives its kind")
    func names() {
        for kind in ARIEventKind.allCases where kind != .other {
            #expect(self.kind(kind.typeName.description) == kind)
        }
    }

    @Test("a name with any byte changed, cut off or added gives none")
    func nearly() {
        let names = Set(ARIEventKind.allCases.map(\.typeName.description))
        for kind in ARIEventKind.allCases where kind != .other {
            let name = kind.typeName.description
            for place in 0..<name.utf8.count {
                var bytes = Array(name.utf8)
                bytes[place] ^= 0x20
                let changed = String(decoding: bytes, as: UTF8.self)
                if !names.contains(changed) { #expect(self.kind(changed) == .other, "\(changed)") }
                let cut = String(name.dropLast(place + 1))
                if !names.contains(cut) { #expect(self.kind(cut) == .other, "\(cut)") }
            }
            #expect(self.kind(name + "x") == .other)
            #expect(self.kind(name + "\0") == .other)
        }
        #expect(kind("") == .other)
        #expect(kind(String(repeating: "x", count: 100_000)) == .other)
    }
}
