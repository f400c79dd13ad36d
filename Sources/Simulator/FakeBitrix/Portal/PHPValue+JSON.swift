extension PHPValue {
    /// Reads JSON as PHP's `json_decode` does, objects as arrays.
    ///
    /// The stand-in reads by itself, so that a mistake in the daemon's own JSON cannot hide on both sides.
    ///
    /// - Returns: nil when the text is no JSON, or is nested deeper than `PortalParameters.maximumDepth`.
    package init?(json: [UInt8]) {
        var reader = PHPJSONReader(bytes: json)
        guard let value = reader.document() else { return nil }
        self = value
    }
}

/// A small recursive reader; speed does not matter here.
private struct PHPJSONReader {
    let bytes: [UInt8]
    var index = 0

    init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    mutating func document() -> PHPValue? {
        let value = value(depth: 0)
        skipSpace()
        return index == bytes.count ? value : nil
    }

    private var byte: UInt8? { index < bytes.count ? bytes[index] : nil }

    private mutating func skipSpace() {
        while let byte, [0x20, 0x09, 0x0A, 0x0D].contains(byte) { index += 1 }
    }

    private mutating func take(_ expected: UInt8) -> Bool {
        skipSpace()
        guard byte == expected else { return false }
        index += 1
        return true
    }

    private mutating func take(_ word: StaticString, as value: PHPValue) -> PHPValue? {
        let end = index + word.utf8CodeUnitCount
        let matches = end <= bytes.count && word.withUTF8Buffer { bytes[index..<end].elementsEqual($0) }
        guard matches else { return nil }
        index = end
        return value
    }

    private mutating func value(depth: Int) -> PHPValue? {
        guard depth < PortalParameters.maximumDepth else { return nil }
        skipSpace()
        switch byte {
        case 0x7B?: return object(depth: depth)
        case 0x5B?: return array(depth: depth)
        case 0x22?: return string().map { .string($0) }
        case 0x74?: return take("true", as: .bool(true))
        case 0x66?: return take("false", as: .bool(false))
        case 0x6E?: return take("null", as: .null)
        default: return number()
        }
    }

    private mutating func object(depth: Int) -> PHPValue? {
        index += 1
        var result = PHPArray()
        if take(0x7D) { return .array(result) }
        repeat {
            skipSpace()
            guard byte == 0x22, let key = string(), take(0x3A), let element = value(depth: depth + 1) else {
                return nil
            }
            result[PHPArray.Key(key)] = element
        } while take(0x2C)
        return take(0x7D) ? .array(result) : nil
    }

    private mutating func array(depth: Int) -> PHPValue? {
        index += 1
        var result = PHPArray()
        if take(0x5D) { return .array(result) }
        repeat {
            guard let element = value(depth: depth + 1) else { return nil }
            result.append(element)
        } while take(0x2C)
        return take(0x5D) ? .array(result) : nil
    }

    private mutating func number() -> PHPValue? {
        let start = index
        while let byte,
            byte == 0x2B || byte == 0x2D || byte == 0x2E || byte | 0x20 == 0x65
                || (0x30...0x39).contains(byte)
        {
            index += 1
        }
        let text = String(decoding: bytes[start..<index], as: UTF8.self)
        if let whole = Int(text) { return .int(whole) }
        return Double(text).map { .double($0) }
    }

    private mutating func string() -> String? {
        index += 1
        var output: [UInt8] = []
        while let byte {
            index += 1
            switch byte {
            case 0x22: return String(validating: output, as: UTF8.self)
            case 0x5C: guard escape(into: &output) else { return nil }
            case 0..<0x20: return nil
            default: output.append(byte)
            }
        }
        return nil
    }

    private mutating func escape(into output: inout [UInt8]) -> Bool {
        guard let byte else { return false }
        index += 1
        switch byte {
        case 0x22, 0x2F, 0x5C: output.append(byte)
        case 0x62: output.append(0x08)
        case 0x66: output.append(0x0C)
        case 0x6E: output.append(0x0A)
        case 0x72: output.append(0x0D)
        case 0x74: output.append(0x09)
        case 0x75:
            guard let unit = codeUnit() else { return false }
            var units = [unit]
            if unit & 0xFC00 == 0xD800 {
                guard index + 1 < bytes.count, bytes[index] == 0x5C, bytes[index + 1] == 0x75 else {
                    return false
                }
                index += 2
                guard let low = codeUnit() else { return false }
                units.append(low)
            }
            guard let text = String(validating: units, as: UTF16.self) else { return false }
            output.append(contentsOf: text.utf8)
        default: return false
        }
        return true
    }

    private mutating func codeUnit() -> UInt16? {
        guard index + 4 <= bytes.count else { return nil }
        let text = String(decoding: bytes[index..<(index + 4)], as: UTF8.self)
        index += 4
        return UInt16(text, radix: 16)
    }
}
