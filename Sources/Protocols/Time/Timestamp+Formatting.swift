extension Timestamp: CustomStringConvertible {
    /// How much of the second is written.
    public enum Precision: Int, Sendable, CaseIterable {
        /// `2026-02-04T19:30:00Z`; what lies below the second is cut off.
        case seconds = 0
        /// `2026-02-04T19:30:00.123Z`; cut off below.
        case milliseconds = 3
        /// `2026-02-04T19:30:00.123456Z`.
        case microseconds = 6
    }

    /// Appends RFC 3339 text in UTC.
    ///
    /// Years outside 1…9999, which nothing that is read can have, are written with the digits they need.
    public func append(to output: inout [UInt8], precision: Precision = .seconds) {
        appendParts(to: &output, fractionDigits: precision.rawValue)
        output.append(0x5A)
    }

    /// RFC 3339 text in UTC.
    public func formatted(_ precision: Precision = .seconds) -> String {
        var output: [UInt8] = []
        output.reserveCapacity(27)
        append(to: &output, precision: precision)
        return String(decoding: output, as: UTF8.self)
    }

    /// Appends the text as Asterisk writes it: `2026-02-04T19:30:00.123+0000`.
    public func appendARI(to output: inout [UInt8]) {
        appendParts(to: &output, fractionDigits: 3)
        output.append(ascii: "+0000")
    }

    /// RFC 3339 text in UTC, with microseconds.
    public var description: String { formatted(.microseconds) }

    private func appendParts(to output: inout [UInt8], fractionDigits: Int) {
        let time = civil
        if (0...9999).contains(time.year) {
            output.append(padded: time.year, digits: 4)
        } else {
            output.append(decimal: time.year)
        }
        output.append(0x2D)
        output.append(padded: time.month, digits: 2)
        output.append(0x2D)
        output.append(padded: time.day, digits: 2)
        output.append(0x54)
        output.append(padded: time.hour, digits: 2)
        output.append(0x3A)
        output.append(padded: time.minute, digits: 2)
        output.append(0x3A)
        output.append(padded: time.second, digits: 2)
        guard fractionDigits > 0 else { return }
        output.append(0x2E)
        output.append(
            padded: fractionDigits == 3 ? time.microsecond / 1000 : time.microsecond, digits: fractionDigits)
    }
}

extension Array<UInt8> {
    /// Appends a number that is not negative in decimal with leading zeros; it must have room in `digits`.
    mutating func append(padded value: Int, digits: Int) {
        var divisor = 1
        for _ in 1..<digits { divisor *= 10 }
        while divisor > 0 {
            append(0x30 + UInt8(truncatingIfNeeded: value / divisor % 10))
            divisor /= 10
        }
    }
}
