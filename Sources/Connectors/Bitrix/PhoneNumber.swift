/// What the portal does with numbers, and what we read off them.
package enum PhoneNumber {
    /// The characters that the portal keeps of a number: digits and `# * + , ;`.
    package static func stripped(_ text: String) -> String {
        String(decoding: text.utf8.filter(isKept), as: UTF8.self)
    }

    /// The digits of a text.
    package static func digits(_ text: String) -> String {
        String(decoding: text.utf8.filter { $0 >= 0x30 && $0 <= 0x39 }, as: UTF8.self)
    }

    /// Whether the portal would refuse the number: nothing, or only `0`, is left of it.
    ///
    /// So it is with hidden callers (`anonymous`, `unknown`, empty) and with the dialplan's `s`.
    package static func strippedIsEmpty(_ text: String) -> Bool {
        let left = stripped(text)
        return left.isEmpty || left == "0"
    }

    /// Whether the text looks like an extension: one to `maximumDigits` digits and nothing else.
    package static func isExtension(_ text: String, maximumDigits: Int) -> Bool {
        let bytes = text.utf8
        return !bytes.isEmpty && bytes.count <= maximumDigits && bytes.allSatisfy { $0 >= 0x30 && $0 <= 0x39 }
    }

    /// The number without the spaces around it, or nil when there is none.
    static func usable(_ text: String?) -> String? {
        guard let text else { return nil }
        let bytes = text.utf8.drop { $0 == 0x20 || $0 == 0x09 }
        let trimmed = bytes.reversed().drop { $0 == 0x20 || $0 == 0x09 }.reversed()
        let number = String(decoding: Array(trimmed), as: UTF8.self)
        return strippedIsEmpty(number) ? nil : number
    }

    private static func isKept(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x23, 0x2A, 0x2B, 0x2C, 0x3B: true
        default: false
        }
    }
}
