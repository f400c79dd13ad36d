import Protocols

/// Makes random JSON texts, and damages them.
struct JSONGenerator {
    var random: SeededRandom

    static let keys = [
        "type", "id", "channel", "caller", "number", "name", "channelvars", "CHANNEL(linkedid)", "timestamp",
        "",
        "a key of more than thirty-two bytes, all of them", "ж", "q\"", "state",
    ]
    static let strings = [
        "", "x", "StasisStart", "1795344287.1", "Local/74950000001@from-external-00000000;2", "Иван Петров",
        "漢字",
        "😀 and more", "tab\tnewline\nquote\"backslash\\", "exactly sixteen.", "fifteen bytes..",
        "\u{0}\u{1}\u{1F}",
    ]

    mutating func chance(_ one: Int) -> Bool { Int.random(in: 0..<one, using: &random) == 0 }

    mutating func value(depth: Int) -> JSONValue {
        switch Int.random(in: 0..<(depth > 0 ? 10 : 7), using: &random) {
        case 0: return .null
        case 1: return .bool(Bool.random(using: &random))
        case 2:
            return .int(
                Int64.random(in: .min ... .max, using: &random) >> Int64.random(in: 0..<64, using: &random))
        case 3: return .double(Double.random(in: -1e6...1e6, using: &random))
        case 4, 5: return .string(JSONGenerator.strings.randomElement(using: &random) ?? "")
        case 6:
            let scalars = (0..<Int.random(in: 0..<20, using: &random)).map { _ in
                Unicode.Scalar(UInt32.random(in: 0..<0x1_0FFFF, using: &random)) ?? "?"
            }
            return .string(String(String.UnicodeScalarView(scalars)))
        case 7:
            return .array((0..<Int.random(in: 0..<5, using: &random)).map { _ in value(depth: depth - 1) })
        default:
            return .object(
                (0..<Int.random(in: 0..<6, using: &random)).map { _ in
                    .init(
                        key: JSONGenerator.keys.randomElement(using: &random) ?? "",
                        value: value(depth: depth - 1))
                })
        }
    }

    /// A text of the value with white space and escapes where they may stand.
    mutating func text(_ value: JSONValue) -> [UInt8] {
        var output = space()
        switch value {
        case .array(let elements):
            output.append(0x5B)
            for (index, element) in elements.enumerated() {
                if index > 0 { output.append(0x2C) }
                output += text(element)
            }
            if elements.isEmpty { output += space() }
            output.append(0x5D)
        case .object(let members):
            output.append(0x7B)
            for (index, member) in members.enumerated() {
                if index > 0 { output.append(0x2C) }
                output += space() + string(member.key) + space()
                output.append(0x3A)
                output += text(member.value)
            }
            if members.isEmpty { output += space() }
            output.append(0x7D)
        case .string(let plain): output += string(plain)
        case .null, .bool, .int, .double: output += bytes(value.description)
        }
        return output + space()
    }

    private mutating func space() -> [UInt8] {
        guard chance(8) else { return [] }
        return (0..<Int.random(in: 1..<4, using: &random)).map { _ in
            [0x20, 0x09, 0x0A, 0x0D].randomElement(using: &random) ?? 0x20
        }
    }

    private mutating func string(_ plain: String) -> [UInt8] {
        var output: [UInt8] = []
        if chance(6) {
            output.append(0x22)
            for unit in plain.utf16 {
                output += bytes("\\u")
                for shift in [12, 8, 4, 0] as [UInt16] {
                    output += bytes(
                        String(unit >> shift & 15, radix: 16, uppercase: Bool.random(using: &random)))
                }
            }
            output.append(0x22)
        } else {
            JSONWriter.append(plain, to: &output)
        }
        return output
    }

    /// Changes a few bytes: deletes, doubles, replaces, cuts.
    mutating func damaged(_ text: [UInt8]) -> [UInt8] {
        var text = text
        for _ in 0..<Int.random(in: 1..<4, using: &random) where !text.isEmpty {
            let place = Int.random(in: 0..<text.count, using: &random)
            switch Int.random(in: 0..<6, using: &random) {
            case 0: text.remove(at: place)
            case 1: text.insert(text[place], at: place)
            case 2: text[place] = UInt8.random(in: 0...255, using: &random)
            case 3:
                text[place] = Array(#"{}[],:"\/0123456789-+.eEtfnu "#.utf8).randomElement(using: &random) ?? 0
            case 4: text.insert(UInt8.random(in: 0x20...0x7E, using: &random), at: place)
            default: text.removeSubrange(place...)
            }
        }
        return text
    }
}
