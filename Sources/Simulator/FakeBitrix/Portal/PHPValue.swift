/// A value as PHP has it, since the portal is written in PHP and its arrays decide the shape of its JSON.
package indirect enum PHPValue: Hashable, Sendable {
    case null
    case bool(Bool)
    case int(Int)
    case double(Double)
    case string(String)
    /// List and map in one.
    case array(PHPArray)
    /// An object without public properties, such as a date: `{}` in JSON.
    case object

    /// PHP's `(string)`; an array has none.
    package var text: String? {
        switch self {
        case .null: ""
        case .bool(let value): value ? "1" : ""
        case .int(let value): String(value)
        case .double(let value): String(value)
        case .string(let value): value
        case .array, .object: nil
        }
    }

    /// PHP's `(int)`: the number that a text begins with, else 0.
    package var integer: Int {
        switch self {
        case .null, .object: 0
        case .bool(let value): value ? 1 : 0
        case .int(let value): value
        case .double(let value): Int(exactly: value.rounded(.towardZero)) ?? 0
        case .string(let value): Self.leadingInteger(value)
        case .array(let array): array.isEmpty ? 0 : 1
        }
    }

    /// PHP's `(bool)`: `"0"` is false, `"false"` is true.
    package var isTruthy: Bool {
        switch self {
        case .null: false
        case .bool(let value): value
        case .int(let value): value != 0
        case .double(let value): value != 0
        case .string(let value): !value.isEmpty && value != "0"
        case .array(let array): !array.isEmpty
        case .object: true
        }
    }

    /// The array, if it is one.
    package var array: PHPArray? {
        if case .array(let array) = self { return array }
        return nil
    }

    /// The element of a map; null when there is none.
    package subscript(key: String) -> PHPValue {
        array?[PHPArray.Key(key)] ?? .null
    }

    /// A map; the order of the pairs is kept.
    package static func map(_ pairs: KeyValuePairs<String, PHPValue>) -> PHPValue {
        var array = PHPArray()
        for (key, value) in pairs { array[PHPArray.Key(key)] = value }
        return .array(array)
    }

    /// A list.
    package static func list(_ values: some Sequence<PHPValue>) -> PHPValue {
        var array = PHPArray()
        for value in values { array.append(value) }
        return .array(array)
    }

    private static func leadingInteger(_ text: String) -> Int {
        var digits = text.utf8.drop { $0 == 0x20 || $0 == 0x09 || $0 == 0x0A }[...]
        let isNegative = digits.first == 0x2D
        if isNegative || digits.first == 0x2B { digits = digits.dropFirst() }
        var value = 0
        for digit in digits.prefix(18).prefix(while: { $0 >= 0x30 && $0 <= 0x39 }) {
            value = value * 10 + Int(digit - 0x30)
        }
        return isNegative ? -value : value
    }
}

/// PHP's array: keys are integers or texts, a text that reads as an integer is that integer, order is kept.
package struct PHPArray: Hashable, Sendable {
    /// A key.
    package enum Key: Hashable, Sendable {
        case index(Int)
        case name(String)

        /// `"7"` is 7; `"07"`, `"-0"` and `"7a"` stay texts.
        package init(_ text: String) {
            if let index = Int(text), String(index) == text {
                self = .index(index)
            } else {
                self = .name(text)
            }
        }

        /// The key as a text.
        package var text: String {
            switch self {
            case .index(let index): String(index)
            case .name(let name): name
            }
        }
    }

    private var positions: [Key: Int] = [:]
    /// The elements, in order.
    package private(set) var entries: [(key: Key, value: PHPValue)] = []
    private var nextIndex = 0

    /// An empty array.
    package init() {}

    /// Whether there are no elements.
    package var isEmpty: Bool { entries.isEmpty }
    /// How many elements there are.
    package var count: Int { entries.count }
    /// The values, in order.
    package var values: [PHPValue] { entries.map(\.value) }
    /// Whether the keys are 0, 1, 2, … in this order: then it is a list in JSON.
    package var isList: Bool {
        for (position, entry) in entries.enumerated() where entry.key != .index(position) { return false }
        return true
    }

    /// The element with a key; setting nil is not possible, PHP's `unset` is never needed here.
    package subscript(key: Key) -> PHPValue? {
        get { positions[key].map { entries[$0].value } }
        set {
            guard let newValue else { return }
            if let position = positions[key] {
                entries[position].value = newValue
                return
            }
            positions[key] = entries.count
            entries.append((key, newValue))
            if case .index(let index) = key, index >= nextIndex { nextIndex = index + 1 }
        }
    }

    /// Puts an element at the next free index, as `[]=` does.
    package mutating func append(_ value: PHPValue) {
        self[.index(nextIndex)] = value
    }

    package static func == (left: PHPArray, right: PHPArray) -> Bool {
        left.entries.count == right.entries.count
            && zip(left.entries, right.entries).allSatisfy { $0.key == $1.key && $0.value == $1.value }
    }

    package func hash(into hasher: inout Hasher) {
        for entry in entries {
            hasher.combine(entry.key)
            hasher.combine(entry.value)
        }
    }
}

extension PHPValue {
    /// Appends the value as PHP's `json_encode` writes it: `[]` for an empty array, a list for keys 0…n-1, and
    /// a whole number without a fraction even if it was a float.
    package func encodeJSON(into output: inout [UInt8]) {
        switch self {
        case .null: output.append(contentsOf: "null".utf8)
        case .bool(let value): output.append(contentsOf: (value ? "true" : "false").utf8)
        case .int(let value): output.append(contentsOf: String(value).utf8)
        case .double(let value):
            if let whole = Int(exactly: value) {
                output.append(contentsOf: String(whole).utf8)
            } else {
                output.append(contentsOf: (value.isFinite ? "\(value)" : "0").utf8)
            }
        case .string(let value): Self.encodeJSON(value, into: &output)
        case .object: output.append(contentsOf: "{}".utf8)
        case .array(let array) where array.isList:
            output.append(0x5B)
            for (position, value) in array.values.enumerated() {
                if position > 0 { output.append(0x2C) }
                value.encodeJSON(into: &output)
            }
            output.append(0x5D)
        case .array(let array):
            output.append(0x7B)
            for (position, entry) in array.entries.enumerated() {
                if position > 0 { output.append(0x2C) }
                Self.encodeJSON(entry.key.text, into: &output)
                output.append(0x3A)
                entry.value.encodeJSON(into: &output)
            }
            output.append(0x7D)
        }
    }

    /// As PHP does by default: `/` escaped, everything that is not ASCII as `\u`.
    private static func encodeJSON(_ text: String, into output: inout [UInt8]) {
        output.append(0x22)
        for unit in text.utf16 {
            switch unit {
            case 0x22, 0x2F, 0x5C:
                output.append(0x5C)
                output.append(UInt8(unit))
            case 0x0A: output.append(contentsOf: #"\n"#.utf8)
            case 0x0D: output.append(contentsOf: #"\r"#.utf8)
            case 0x09: output.append(contentsOf: #"\t"#.utf8)
            case 0x20..<0x7F: output.append(UInt8(unit))
            default:
                output.append(contentsOf: #"\u"#.utf8)
                for shift in [12, 8, 4, 0] as [UInt16] {
                    let digit = UInt8((unit >> shift) & 15)
                    output.append(digit < 10 ? 0x30 + digit : 0x57 + digit)
                }
            }
        }
        output.append(0x22)
    }
}
