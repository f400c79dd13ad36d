/// JSON read the plain way: the grammar of RFC 8259 written down, byte by byte, without any of the product's code.
public struct JSONReference {
    /// What a value is; of strings their UTF-8 with lone surrogates as U+FFFD.
    public indirect enum Value {
        case null
        case bool(Bool)
        case number(String)
        case string([UInt8])
        case array([Value])
        case object([(key: [UInt8], value: Value)])
    }

    private struct Wrong: Error {}

    private let text: [UInt8]
    private var i = 0

    /// The value of a text; nil when it is not JSON or nests deeper than `depth`.
    public static func value(_ text: [UInt8], depth: Int) -> Value? {
        var reader = JSONReference(text)
        guard let value = try? reader.value(depth) else { return nil }
        reader.space()
        return reader.i == text.count ? value : nil
    }

    private init(_ text: [UInt8]) { self.text = text }

    private var next: UInt8? { i < text.count ? text[i] : nil }

    private mutating func space() {
        while let byte = next, [0x20, 0x09, 0x0A, 0x0D].contains(byte) { i += 1 }
    }

    private mutating func take(_ word: String) throws(Wrong) {
        for byte in word.utf8 {
            guard next == byte else { throw Wrong() }
            i += 1
        }
    }

    private mutating func value(_ depth: Int) throws(Wrong) -> Value {
        space()
        switch next {
        case UInt8(ascii: "n"):
            try take("null")
            return .null
        case UInt8(ascii: "t"):
            try take("true")
            return .bool(true)
        case UInt8(ascii: "f"):
            try take("false")
            return .bool(false)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "["): return .array(try array(depth - 1))
        case UInt8(ascii: "{"): return .object(try object(depth - 1))
        default: return .number(try number())
        }
    }

    private mutating func array(_ depth: Int) throws(Wrong) -> [Value] {
        guard depth >= 0 else { throw Wrong() }
        try take("[")
        space()
        if next == UInt8(ascii: "]") {
            i += 1
            return []
        }
        var elements: [Value] = []
        while true {
            elements.append(try value(depth))
            space()
            if next == UInt8(ascii: "]") { break }
            try take(",")
        }
        i += 1
        return elements
    }

    private mutating func object(_ depth: Int) throws(Wrong) -> [(key: [UInt8], value: Value)] {
        guard depth >= 0 else { throw Wrong() }
        try take("{")
        space()
        if next == UInt8(ascii: "}") {
            i += 1
            return []
        }
        var members: [(key: [UInt8], value: Value)] = []
        while true {
            space()
            let key = try string()
            space()
            try take(":")
            members.append((key, try value(depth)))
            space()
            if next == UInt8(ascii: "}") { break }
            try take(",")
        }
        i += 1
        return members
    }

    private mutating func digits() throws(Wrong) {
        let start = i
        while let byte = next, (0x30...0x39).contains(byte) { i += 1 }
        guard i > start else { throw Wrong() }
    }

    private mutating func number() throws(Wrong) -> String {
        let start = i
        if next == UInt8(ascii: "-") { i += 1 }
        if next == UInt8(ascii: "0") { i += 1 } else { try digits() }
        if next == UInt8(ascii: ".") {
            i += 1
            try digits()
        }
        if next == UInt8(ascii: "e") || next == UInt8(ascii: "E") {
            i += 1
            if next == UInt8(ascii: "+") || next == UInt8(ascii: "-") { i += 1 }
            try digits()
        }
        return String(decoding: text[start..<i], as: UTF8.self)
    }

    private mutating func string() throws(Wrong) -> [UInt8] {
        try take("\"")
        var output: [UInt8] = []
        var plainStart = i
        // Escaped code units in a row, since a surrogate pair is two of them.
        var units: [UInt16] = []
        func flush() {
            output += Array(String(decoding: units, as: UTF16.self).utf8)
            units = []
        }
        while true {
            guard let byte = next, byte >= 0x20 else { throw Wrong() }
            if byte != UInt8(ascii: "\\") {
                flush()
                if byte == UInt8(ascii: "\"") { break }
                i += 1
                continue
            }
            guard let plain = String(validating: text[plainStart..<i], as: UTF8.self) else { throw Wrong() }
            if !plain.isEmpty { output += Array(plain.utf8) }
            guard i + 1 < text.count else { throw Wrong() }
            let letter = text[i + 1]
            i += 2
            switch letter {
            case UInt8(ascii: "u"):
                guard i + 4 <= text.count else { throw Wrong() }
                let digits = text[i..<(i + 4)]
                guard digits.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit && $0 < 0x80 }),
                    let unit = UInt16(String(decoding: digits, as: UTF8.self), radix: 16)
                else { throw Wrong() }
                units.append(unit)
                i += 4
            default:
                let plain: [UInt8: UInt8] = [
                    0x22: 0x22, 0x5C: 0x5C, 0x2F: 0x2F, 0x62: 8, 0x66: 12, 0x6E: 10, 0x72: 13, 0x74: 9,
                ]
                guard let character = plain[letter] else { throw Wrong() }
                flush()
                output.append(character)
            }
            plainStart = i
        }
        guard let plain = String(validating: text[plainStart..<i], as: UTF8.self) else { throw Wrong() }
        output += Array(plain.utf8)
        i += 1
        return output
    }
}
