/// Walks over the elements of a JSON array, one at a time, without reading what is in them.
///
/// For lists too large to be read in one go: each element is then read, and so checked, by itself. Holds no memory of
/// the text; give every call the same bytes.
public struct JSONElements: Sendable {
    private enum Place { case start, afterElement, end }

    private var place = Place.start
    private var index = 0

    /// A walk that has not begun.
    public init() {}

    /// Where the next element lies.
    ///
    /// - Parameter bytes: The whole text of the array; borrowed until return.
    /// - Returns: The element's bytes, of which nothing is checked but that braces, brackets and quotes match; `nil`
    ///   behind the last one.
    /// - Throws: `JSONError` where the text is no array, ends early, or goes on behind the array.
    public mutating func next(in bytes: RawSpan) throws(JSONError) -> Range<Int>? {
        guard bytes.byteCount > 0 else { throw JSONError(.unexpectedEnd, at: 0) }
        let found = bytes.withUnsafeBytes { step($0) }
        switch found {
        case .element(let range): return range
        case .end: return nil
        case .wrong(let error): throw error
        }
    }

    private enum Step {
        case element(Range<Int>)
        case end
        case wrong(JSONError)
    }

    private mutating func step(_ text: UnsafeRawBufferPointer) -> Step {
        switch place {
        case .end: return .end
        case .start:
            skipSpace(text)
            guard index < text.count else { return .wrong(JSONError(.unexpectedEnd, at: index)) }
            guard text[index] == 0x5B else { return .wrong(JSONError(.unexpectedByte, at: index)) }
            index += 1
            skipSpace(text)
            if index < text.count, text[index] == 0x5D { return finish(text) }
        case .afterElement:
            skipSpace(text)
            guard index < text.count else { return .wrong(JSONError(.unexpectedEnd, at: index)) }
            if text[index] == 0x5D { return finish(text) }
            guard text[index] == 0x2C else { return .wrong(JSONError(.unexpectedByte, at: index)) }
            index += 1
            skipSpace(text)
        }
        return element(text)
    }

    private mutating func finish(_ text: UnsafeRawBufferPointer) -> Step {
        index += 1
        skipSpace(text)
        guard index == text.count else { return .wrong(JSONError(.trailingBytes, at: index)) }
        place = .end
        return .end
    }

    private mutating func element(_ text: UnsafeRawBufferPointer) -> Step {
        let start = index
        var depth = 0
        while index < text.count {
            switch text[index] {
            case 0x22:
                guard skipString(text) else { return .wrong(JSONError(.unexpectedEnd, at: text.count)) }
                continue
            case 0x7B, 0x5B: depth += 1
            case 0x7D where depth > 0, 0x5D where depth > 0: depth -= 1
            case 0x2C where depth == 0, 0x5D: return found(start, text)
            case 0x7D: return .wrong(JSONError(.unexpectedByte, at: index))
            default: break
            }
            index += 1
        }
        return .wrong(JSONError(.unexpectedEnd, at: text.count))
    }

    private mutating func found(_ start: Int, _ text: UnsafeRawBufferPointer) -> Step {
        var end = index
        while end > start, Self.isSpace(text[end - 1]) { end -= 1 }
        guard end > start else { return .wrong(JSONError(.unexpectedByte, at: index)) }
        place = .afterElement
        return .element(start..<end)
    }

    /// Moves behind the string that begins here; `false` when it does not end.
    private mutating func skipString(_ text: UnsafeRawBufferPointer) -> Bool {
        index += 1
        while index < text.count {
            switch text[index] {
            case 0x5C: index += 2
            case 0x22:
                index += 1
                return true
            default: index += 1
            }
        }
        return false
    }

    private mutating func skipSpace(_ text: UnsafeRawBufferPointer) {
        while index < text.count, Self.isSpace(text[index]) { index += 1 }
    }

    private static func isSpace(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09
    }
}
