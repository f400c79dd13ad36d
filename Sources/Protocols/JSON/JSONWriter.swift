import CScan

/// Writes JSON text (RFC 8259) without white space, commas where they belong.
///
/// ```swift
/// var writer = JSONWriter(appendingTo: buffer)
/// writer.object { call in
///     call.member("id", id)
///     call.key("times")
///     call.array { $0.integer(1) }
/// }
/// buffer = writer.output
/// ```
///
/// It keeps no stack: that brackets match is the caller's to see to, and `object` and `array` see to it.
public struct JSONWriter: Sendable {
    /// What was written so far.
    public var output: [UInt8]
    private var needsComma = false

    /// Makes a writer.
    ///
    /// - Parameter buffer: What stands in front, given up to the writer. Hand it over without keeping a copy,
    ///   and it is not copied.
    public init(appendingTo buffer: consuming [UInt8] = []) { output = buffer }

    // MARK: - Structure

    /// Writes an object whose members `body` writes.
    @inlinable
    public mutating func object<E: Error>(_ body: (inout JSONWriter) throws(E) -> Void) throws(E) {
        beginObject()
        try body(&self)
        endObject()
    }

    /// Writes an array whose elements `body` writes.
    @inlinable
    public mutating func array<E: Error>(_ body: (inout JSONWriter) throws(E) -> Void) throws(E) {
        beginArray()
        try body(&self)
        endArray()
    }

    /// Opens an object.
    public mutating func beginObject() {
        comma()
        output.append(0x7B)
        needsComma = false
    }

    /// Closes an object.
    public mutating func endObject() {
        output.append(0x7D)
        needsComma = true
    }

    /// Opens an array.
    public mutating func beginArray() {
        comma()
        output.append(0x5B)
        needsComma = false
    }

    /// Closes an array.
    public mutating func endArray() {
        output.append(0x5D)
        needsComma = true
    }

    /// Writes a member's key; its value must follow.
    public mutating func key(_ key: String) {
        comma()
        JSONWriter.append(key, to: &output)
        output.append(0x3A)
        needsComma = false
    }

    // MARK: - Values

    /// Writes a string.
    public mutating func string(_ value: String) {
        comma()
        JSONWriter.append(value, to: &output)
        needsComma = true
    }

    /// Writes a string from its UTF-8 bytes; what is not UTF-8 becomes U+FFFD.
    public mutating func string(utf8 bytes: RawSpan) {
        comma()
        JSONWriter.append(utf8: bytes, to: &output)
        needsComma = true
    }

    /// Writes an integer.
    public mutating func integer(_ value: some FixedWidthInteger) {
        comma()
        output.append(decimal: value)
        needsComma = true
    }

    /// Writes a number that reads back as the same; `null` for those that JSON cannot write.
    public mutating func double(_ value: Double) {
        comma()
        if value.isFinite {
            output.append(contentsOf: value.description.utf8)
        } else {
            output.append(ascii: "null")
        }
        needsComma = true
    }

    /// Writes `true` or `false`.
    public mutating func bool(_ value: Bool) {
        comma()
        output.append(ascii: value ? "true" : "false")
        needsComma = true
    }

    /// Writes `null`.
    public mutating func null() {
        comma()
        output.append(ascii: "null")
        needsComma = true
    }

    /// Writes text that is one valid JSON value already, as it is.
    public mutating func raw(_ text: RawSpan) {
        comma()
        output.append(contentsOf: text)
        needsComma = true
    }

    /// Writes a timestamp as a string: `"2026-02-04T19:30:00Z"`.
    public mutating func timestamp(_ value: Timestamp, precision: Timestamp.Precision = .seconds) {
        comma()
        output.append(0x22)
        value.append(to: &output, precision: precision)
        output.append(0x22)
        needsComma = true
    }

    /// Writes a tree.
    public mutating func value(_ value: JSONValue) {
        switch value {
        case .null: null()
        case .bool(let value): bool(value)
        case .int(let value): integer(value)
        case .double(let value): double(value)
        case .string(let value): string(value)
        case .array(let elements): array { writer in for element in elements { writer.value(element) } }
        case .object(let members):
            object { writer in for member in members { writer.member(member.key, member.value) } }
        }
    }

    // MARK: - Members

    /// Writes a member that is a string, or `null`.
    public mutating func member(_ key: String, _ value: String?) {
        self.key(key)
        if let value { string(value) } else { null() }
    }

    /// Writes a member that is an integer, or `null`.
    public mutating func member(_ key: String, _ value: (some FixedWidthInteger)?) {
        self.key(key)
        if let value { integer(value) } else { null() }
    }

    /// Writes a member that is a truth value.
    public mutating func member(_ key: String, _ value: Bool) {
        self.key(key)
        bool(value)
    }

    /// Writes a member that is a number.
    public mutating func member(_ key: String, _ value: Double) {
        self.key(key)
        double(value)
    }

    /// Writes a member that is a timestamp, or `null`.
    public mutating func member(_ key: String, _ value: Timestamp?, precision: Timestamp.Precision = .seconds)
    {
        self.key(key)
        if let value { timestamp(value, precision: precision) } else { null() }
    }

    /// Writes a member that is a tree.
    public mutating func member(_ key: String, _ value: JSONValue) {
        self.key(key)
        self.value(value)
    }

    // MARK: - Strings

    /// Appends a string with its quotes, escaped where JSON asks for it and nowhere else.
    public static func append(_ text: String, to output: inout [UInt8]) {
        var text = text
        text.withUTF8 { appendQuoted(UnsafeRawBufferPointer($0), to: &output) }
    }

    /// Appends a string with its quotes from its UTF-8 bytes; what is not UTF-8 becomes U+FFFD.
    public static func append(utf8 bytes: RawSpan, to output: inout [UInt8]) {
        if UTF8Validator.isValid(bytes) {
            bytes.withUnsafeBytes { appendQuoted($0, to: &output) }
        } else {
            append(String(decoding: bytes), to: &output)
        }
    }

    private mutating func comma() {
        if needsComma { output.append(0x2C) }
    }

    private static func appendQuoted(_ text: UnsafeRawBufferPointer, to output: inout [UInt8]) {
        output.append(0x22)
        var start = 0
        var index = 0
        while index < text.count {
            if text.count - index >= 16, let base = text.baseAddress {
                let mask = cscan_string_stops16(base + index)
                if mask == 0 {
                    index += 16
                    continue
                }
                index += mask.trailingZeroBitCount
            }
            let byte = text[index]
            if byte >= 0x20, byte != 0x22, byte != 0x5C {
                index += 1
                continue
            }
            output.append(contentsOf: UnsafeRawBufferPointer(rebasing: text[start..<index]))
            appendEscape(byte, to: &output)
            index += 1
            start = index
        }
        output.append(contentsOf: UnsafeRawBufferPointer(rebasing: text[start...]))
        output.append(0x22)
    }

    private static func appendEscape(_ byte: UInt8, to output: inout [UInt8]) {
        output.append(0x5C)
        switch byte {
        case 0x22, 0x5C: output.append(byte)
        case 0x08: output.append(0x62)
        case 0x09: output.append(0x74)
        case 0x0A: output.append(0x6E)
        case 0x0C: output.append(0x66)
        case 0x0D: output.append(0x72)
        default:
            output.append(ascii: "u00")
            output.append(ASCII.lowerHexDigit(byte >> 4))
            output.append(ASCII.lowerHexDigit(byte & 15))
        }
    }
}
