import Protocols

/// Writes JSON objects and arrays into one buffer, field by field, with commas and escapes in their places.
///
/// ```swift
/// JSONText.object(to: &json) {
///     $0.field("status", "ok")
///     $0.array("events") { list in list.object { $0.field("id", 1) } }
/// }
/// ```
enum JSONText {
    /// An object under way.
    ///
    /// The buffer is moved in and out of it, never copied.
    struct Object {
        fileprivate var output: [UInt8] = []
        fileprivate var isFirst = true

        mutating func field(_ name: String, _ value: String?) {
            key(name)
            if let value { JSONText.append(value, to: &output) } else { output.append(ascii: "null") }
        }

        mutating func field(_ name: String, _ value: Int) {
            key(name)
            output.append(decimal: value)
        }

        /// A point in time in UTC, ISO 8601 (`2026-02-04T19:30:00Z`).
        mutating func field(
            _ name: String, _ value: Timestamp?, precision: Timestamp.Precision = .seconds
        ) {
            key(name)
            guard let value else { return output.append(ascii: "null") }
            output.append(0x22)
            value.append(to: &output, precision: precision)
            output.append(0x22)
        }

        /// A value that is JSON already.
        mutating func raw(_ name: String, _ json: [UInt8]) {
            key(name)
            output.append(contentsOf: json)
        }

        mutating func object(_ name: String, _ body: (inout Object) -> Void) {
            key(name)
            JSONText.object(to: &output, body)
        }

        mutating func array(_ name: String, _ body: (inout List) -> Void) {
            key(name)
            JSONText.array(to: &output, body)
        }

        private mutating func key(_ name: String) {
            if !isFirst { output.append(0x2C) }
            isFirst = false
            JSONText.append(name, to: &output)
            output.append(0x3A)
        }
    }

    /// An array under way.
    struct List {
        fileprivate var output: [UInt8] = []
        fileprivate var isFirst = true

        mutating func object(_ body: (inout Object) -> Void) {
            comma()
            JSONText.object(to: &output, body)
        }

        mutating func value(_ text: String) {
            comma()
            JSONText.append(text, to: &output)
        }

        mutating func value(_ number: Int) {
            comma()
            output.append(decimal: number)
        }

        private mutating func comma() {
            if !isFirst { output.append(0x2C) }
            isFirst = false
        }
    }

    /// Appends an object.
    static func object(to output: inout [UInt8], _ body: (inout Object) -> Void) {
        var object = Object()
        swap(&object.output, &output)
        object.output.append(0x7B)
        body(&object)
        object.output.append(0x7D)
        swap(&object.output, &output)
    }

    /// Appends an array.
    static func array(to output: inout [UInt8], _ body: (inout List) -> Void) {
        var list = List()
        swap(&list.output, &output)
        list.output.append(0x5B)
        body(&list)
        list.output.append(0x5D)
        swap(&list.output, &output)
    }

    /// Appends a string with what RFC 8259 §7 wants escaped.
    ///
    /// U+2028 and U+2029 too, which older readers of JavaScript take for line ends.
    static func append(_ text: String, to output: inout [UInt8]) {
        let digits = Array("0123456789abcdef".utf8)
        output.append(0x22)
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x22: output.append(ascii: "\\\"")
            case 0x5C: output.append(ascii: "\\\\")
            case 0x0A: output.append(ascii: "\\n")
            case 0x0D: output.append(ascii: "\\r")
            case 0x09: output.append(ascii: "\\t")
            case 0x08: output.append(ascii: "\\b")
            case 0x0C: output.append(ascii: "\\f")
            case 0..<0x20, 0x7F, 0x2028, 0x2029:
                output.append(ascii: "\\u")
                for shift in stride(from: UInt32(12), through: 0, by: -4) {
                    output.append(digits[Int(scalar.value >> shift & 15)])
                }
            case 0x20..<0x80: output.append(UInt8(truncatingIfNeeded: scalar.value))
            default: if let encoded = UTF8.encode(scalar) { output.append(contentsOf: encoded) }
            }
        }
        output.append(0x22)
    }
}
