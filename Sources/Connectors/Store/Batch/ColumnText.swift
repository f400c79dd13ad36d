/// Makes texts of the world fit a `varchar(255)`: U+0000 (which PostgreSQL refuses) and bytes that are no
/// UTF-8 become U+FFFD, and what is longer is cut after 255 characters (code points, as PostgreSQL counts).
enum ColumnText {
    /// Characters a text column takes.
    static let maximumCharacters = 255

    /// Whether `text` fits as it is.
    ///
    /// Costs one pass over at most 255 bytes for the usual plain ASCII.
    @inline(__always)
    static func isClean(_ text: UnsafeRawBufferPointer) -> Bool {
        guard text.count <= maximumCharacters else { return false }
        for byte in text where byte == 0 || byte >= 0x80 { return isValidUTF8(text) }
        return true
    }

    private static func isValidUTF8(_ text: UnsafeRawBufferPointer) -> Bool {
        !text.contains(0) && String(validating: text.bindMemory(to: UInt8.self), as: UTF8.self) != nil
    }

    /// The text as the column takes it, and whether anything had to be changed.
    static func cleaned(_ text: UnsafeRawBufferPointer) -> (bytes: [UInt8], changed: Bool) {
        // 255 characters are at most 1,020 bytes; the rest need not be decoded.
        let bounded = UnsafeRawBufferPointer(rebasing: text.prefix(maximumCharacters * 4 + 4))
        var result: [UInt8] = []
        result.reserveCapacity(min(bounded.count, maximumCharacters * 4))
        var characters = 0
        for scalar in String(decoding: bounded, as: UTF8.self).unicodeScalars {
            guard characters < maximumCharacters else { break }
            result.append(
                contentsOf: UTF8.encode(scalar.value == 0 ? "\u{FFFD}" : scalar)
                    ?? .encodedReplacementCharacter)
            characters += 1
        }
        return (result, !result.elementsEqual(text))
    }
}

extension UTF8.EncodedScalar {
    /// U+FFFD.
    fileprivate static var encodedReplacementCharacter: UTF8.EncodedScalar {
        UTF8.encodedReplacementCharacter
    }
}

/// Makes JSON that RFC 8259 allows but PostgreSQL's jsonb refuses acceptable, in place.
enum PayloadRepair {
    /// Replaces `\u0000` and escapes of lone surrogates by `\ufffd`; the length does not change.
    ///
    /// - Parameter json: Valid JSON text (so every backslash stands in a string and begins an escape).
    /// - Returns: How many escapes were replaced.
    @discardableResult
    static func repair(_ json: UnsafeMutableRawBufferPointer) -> Int {
        var replaced = 0
        var index = 0
        while index + 1 < json.count {
            guard json[index] == UInt8(ascii: "\\") else {
                index += 1
                continue
            }
            guard let unit = escapedUnit(json, at: index) else {
                index += 2
                continue
            }
            if unit & 0xFC00 == 0xD800, let low = escapedUnit(json, at: index + 6), low & 0xFC00 == 0xDC00 {
                index += 12
                continue
            }
            if unit == 0 || unit & 0xF800 == 0xD800 {
                for (offset, byte) in "fffd".utf8.enumerated() { json[index + 2 + offset] = byte }
                replaced += 1
            }
            index += 6
        }
        return replaced
    }

    /// The code unit that `\uXXXX` at `index` stands for.
    private static func escapedUnit(_ json: UnsafeMutableRawBufferPointer, at index: Int) -> UInt16? {
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
