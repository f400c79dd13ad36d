/// Makes JSON that RFC 8259 allows but PostgreSQL's jsonb refuses acceptable.
///
/// `\u0000` and escapes of lone surrogates become `\ufffd`. Numbers that `numeric` may not hold (it takes
/// 131,072 digits before the point and 16,383 behind it) become strings of the same characters.
enum PayloadRepair {
    /// Digits of an exponent that `numeric` surely takes: 1e999.
    static let maximumExponentDigits = 3
    /// Characters of a number that `numeric` surely takes.
    static let maximumNumberLength = 1000

    /// - Parameter json: Valid JSON text (so every backslash stands in a string and begins an escape).
    /// - Returns: The acceptable text and how many places were changed.
    static func repaired(_ json: UnsafeRawBufferPointer) -> (json: [UInt8], repairs: Int) {
        var result: [UInt8] = []
        result.reserveCapacity(json.count + 16)
        var repairs = 0
        var index = 0
        var isInString = false
        while index < json.count {
            let byte = json[index]
            if isInString, byte == UInt8(ascii: "\\") {
                index += appendEscape(json, at: index, to: &result, &repairs)
            } else if byte == UInt8(ascii: "\"") {
                isInString.toggle()
                result.append(byte)
                index += 1
            } else if !isInString, byte == UInt8(ascii: "-") || isDigit(byte) {
                index = appendNumber(json, at: index, to: &result, &repairs)
            } else {
                result.append(byte)
                index += 1
            }
        }
        return (result, repairs)
    }

    /// - Returns: Bytes taken.
    private static func appendEscape(
        _ json: UnsafeRawBufferPointer, at index: Int, to result: inout [UInt8], _ repairs: inout Int
    ) -> Int {
        func take(_ count: Int) -> Int {
            result.append(contentsOf: json[index..<min(index + count, json.count)])
            return count
        }
        guard let unit = escapedUnit(json, at: index) else { return take(2) }
        if unit & 0xFC00 == 0xD800, let low = escapedUnit(json, at: index + 6), low & 0xFC00 == 0xDC00 {
            return take(12)
        }
        guard unit == 0 || unit & 0xF800 == 0xD800 else { return take(6) }
        result.append(contentsOf: "\\ufffd".utf8)
        repairs += 1
        return 6
    }

    /// - Returns: The position behind the number.
    private static func appendNumber(
        _ json: UnsafeRawBufferPointer, at start: Int, to result: inout [UInt8], _ repairs: inout Int
    ) -> Int {
        var end = start
        var exponent: Int?
        while end < json.count, isNumberByte(json[end]) {
            if json[end] | 0x20 == UInt8(ascii: "e") { exponent = end + 1 }
            end += 1
        }
        let digits = exponent.map { json[$0..<end].count(where: isDigit) } ?? 0
        let isExtreme = digits > maximumExponentDigits || end - start > maximumNumberLength
        if isExtreme { result.append(UInt8(ascii: "\"")) }
        result.append(contentsOf: json[start..<end])
        if isExtreme {
            result.append(UInt8(ascii: "\""))
            repairs += 1
        }
        return end
    }

    private static func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 }

    private static func isNumberByte(_ byte: UInt8) -> Bool {
        isDigit(byte) || byte | 0x20 == UInt8(ascii: "e") || byte == UInt8(ascii: ".")
            || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "+")
    }

    /// The code unit that `\uXXXX` at `index` stands for.
    private static func escapedUnit(_ json: UnsafeRawBufferPointer, at index: Int) -> UInt16? {
        guard index + 6 <= json.count, json[index] == UInt8(ascii: "\\") else { return nil }
        guard json[index + 1] == UInt8(ascii: "u") else { return nil }
        var unit: UInt16 = 0
        for byte in json[index + 2..<index + 6] {
            switch byte {
            case 0x30...0x39: unit = unit << 4 | UInt16(byte - 0x30)
            case 0x41...0x46: unit = unit << 4 | UInt16(byte - 0x37)
            case 0x61...0x66: unit = unit << 4 | UInt16(byte - 0x57)
            default: return nil
            }
        }
        return unit
    }
}
