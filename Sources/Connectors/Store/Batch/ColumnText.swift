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
        var index = 0
        while index &+ 8 <= text.count {
            let word = text.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            // A byte of 0 borrows from its high bit; one of 0x80 or more has it.
            let marks = (word &- 0x0101_0101_0101_0101 | word) & 0x8080_8080_8080_8080
            if marks != 0 { return isValidUTF8(text) }
            index &+= 8
        }
        while index < text.count {
            if text[index] == 0 || text[index] >= 0x80 { return isValidUTF8(text) }
            index &+= 1
        }
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
