/// Event types by their text: a place by its length, first and last bytes, then one comparison by words.
struct EventKindTable: Sendable {
    static let shared = EventKindTable()

    /// The shortest and the longest text that is looked for.
    private static let counts = 4...24
    private static let size = 256

    /// A text of `counts` bytes as words that overlap where it is short.
    private struct Words: Equatable {
        var count: Int
        var first: UInt64
        var middle: UInt64
        var last: UInt64

        /// `nil` for a text that is too short or too long.
        @inline(__always)
        init?(_ text: UnsafeRawBufferPointer) {
            count = text.count
            guard EventKindTable.counts.contains(count) else { return nil }
            guard count >= 8 else {
                first = UInt64(text.loadUnaligned(as: UInt32.self))
                middle = 0
                last = UInt64(text.loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self))
                return
            }
            first = text.loadUnaligned(as: UInt64.self)
            middle = text.loadUnaligned(fromByteOffset: min(8, count &- 8), as: UInt64.self)
            last = text.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
        }

        /// Where to look first.
        var place: Int {
            let mixed = (first ^ middle &+ last &+ UInt64(count)) &* 0x9E37_79B9_7F4A_7C15
            return Int(truncatingIfNeeded: mixed >> 56)
        }
    }

    private struct Entry {
        var words: Words
        var kind: ARIEventKind
    }

    private var entries = [Entry?](repeating: nil, count: size)

    init() {
        for kind in ARIEventKind.allCases where kind != .other {
            // Tests hold that every name has such a length.
            guard let words = Words(kind.typeName.bytes) else { continue }
            var place = words.place
            while entries[place] != nil { place = (place + 1) % Self.size }
            entries[place] = Entry(words: words, kind: kind)
        }
    }

    func kind(_ text: UnsafeRawBufferPointer) -> ARIEventKind {
        guard let words = Words(text) else { return .other }
        var place = words.place
        while let entry = entries[place] {
            if entry.words == words { return entry.kind }
            place = (place &+ 1) % Self.size
        }
        return .other
    }
}

extension StaticString {
    /// The text's bytes; they live as long as the process.
    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: utf8Start, count: utf8CodeUnitCount) }
}
