import Protocols

/// A text is a time or is none.
enum TimestampTarget {
    static func check(_ input: UnsafeRawBufferPointer) throws(Finding) {
        let read = Timestamp(input.bytes)
        let expected = reference(Array(input))
        try hold(read?.microseconds == expected, "\(read?.microseconds ?? -1), not \(expected ?? -1)")
        guard let read else { return }
        try hold(Timestamp(read.civil) == read, "another time of day")
        // The year 0 and 10000, which a zone can lead to, cannot be read.
        guard (1...9999).contains(read.civil.year) else { return }
        try hold(Timestamp(read.formatted(.microseconds)) == read, "written otherwise: \(read)")
        var output: [UInt8] = []
        read.appendARI(to: &output)
        try hold(Timestamp(output.span.bytes)?.seconds == read.seconds, "written otherwise: \(read)")
    }

    /// Read the plain way: the shape as a pattern, the day by counting.
    private static func reference(_ text: [UInt8]) -> Int64? {
        guard text.allSatisfy({ $0 < 0x80 }) else { return nil }
        var rest = text[...]
        func number(_ count: Int) -> Int? {
            let digits = rest.prefix(count)
            guard digits.count == count, digits.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
            rest = rest.dropFirst(count)
            return Int(String(decoding: digits, as: UTF8.self))
        }
        func take(_ characters: String) -> Bool {
            guard let byte = rest.first, Array(characters.utf8).contains(byte) else { return false }
            rest = rest.dropFirst()
            return true
        }
        guard let year = number(4), take("-"), let month = number(2), take("-"), let day = number(2),
            take("Tt "), let hour = number(2), take(":"), let minute = number(2), take(":"),
            let second = number(2)
        else { return nil }
        let isLeap = year % 4 == 0 && year % 100 != 0 || year % 400 == 0
        let lengths = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        guard year >= 1, (1...12).contains(month), day >= 1, day <= lengths[month - 1], hour <= 23,
            minute <= 59,
            second <= 60
        else { return nil }
        var micro = 0
        if take(".,") {
            let digits = Array(rest.prefix { (0x30...0x39).contains($0) })
            guard (1...9).contains(digits.count) else { return nil }
            rest = rest.dropFirst(digits.count)
            let six = (digits + Array("000000".utf8)).prefix(6)
            micro = Int(String(decoding: six, as: UTF8.self)) ?? 0
        }
        var zone = 0
        if !rest.isEmpty, !take("Zz") {
            let isEast = rest.first == UInt8(ascii: "+")
            guard take("+-"), let hours = number(2), hours <= 23 else { return nil }
            var minutes = 0
            if !rest.isEmpty {
                _ = take(":")
                guard let more = number(2), more <= 59 else { return nil }
                minutes = more
            }
            zone = (hours * 60 + minutes) * (isEast ? 60 : -60)
        }
        guard rest.isEmpty else { return nil }
        let yearsBefore = year - 1
        let leapDays = yearsBefore / 4 - yearsBefore / 100 + yearsBefore / 400
        // 719,162 days from 0001-01-01 to 1970-01-01.
        let days = yearsBefore * 365 + leapDays + lengths[..<(month - 1)].reduce(0, +) + day - 1 - 719_162
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - zone
        return Int64(seconds) * 1_000_000 + Int64(micro)
    }
}
