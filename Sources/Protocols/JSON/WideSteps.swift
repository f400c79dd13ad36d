import CScan

/// Both forms of the wide steps side by side, for the tests that hold them equal.
enum WideSteps {
    static func stops(_ block: [UInt8]) -> (wide: UInt32, words: UInt32) {
        precondition(block.count >= 16)
        return block.withUnsafeBufferPointer {
            (cscan_string_stops16($0.baseAddress), cscan_string_stops16_words($0.baseAddress))
        }
    }

    static func nonASCII(_ block: [UInt8]) -> (wide: UInt32, words: UInt32) {
        precondition(block.count >= 16)
        return block.withUnsafeBufferPointer {
            (cscan_non_ascii16($0.baseAddress), cscan_non_ascii16_words($0.baseAddress))
        }
    }

    static func equal(_ left: [UInt8], _ right: [UInt8]) -> (wide: UInt32, words: UInt32) {
        precondition(left.count >= 16)
        precondition(right.count >= 16)
        return left.withUnsafeBufferPointer { left in
            right.withUnsafeBufferPointer { right in
                (
                    cscan_equal16(left.baseAddress, right.baseAddress),
                    cscan_equal16_words(left.baseAddress, right.baseAddress)
                )
            }
        }
    }

    /// The index of a text from `start` on, which is a multiple of 64, `most` words of it, by one form.
    static func index(_ text: [UInt8], from start: Int, most: Int, form: Int) -> [UInt64] {
        var words = [UInt64](repeating: 0x5A5A, count: most + 1)
        let count = text.withUnsafeBufferPointer { text in
            words.withUnsafeMutableBufferPointer { words in
                cscan_index(text.baseAddress, text.count, start, words.baseAddress, most, Int32(form))
            }
        }
        return Array(words[...count])
    }
}
