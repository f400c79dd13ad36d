extension Timestamp {
    /// Reads a date and time as ISO 8601, RFC 3339 and ARI write them.
    ///
    /// `2026-11-22T10:40:32.014+0000`: the date, `T` (or `t` or a space), hours, minutes and seconds; then
    /// perhaps a fraction after `.` or `,` of one to nine digits, cut to microseconds; then perhaps a zone,
    /// `Z`, `±hh`, `±hhmm` or `±hh:mm`. Without a zone it is UTC. Second 60, a leap second, is the next
    /// minute's first. Nothing may come before or after.
    ///
    /// - Returns: nil when the text is anything else, or names a date that does not exist.
    public init?(_ text: RawSpan) {
        let read = text.withUnsafeBytes { bytes -> Int64? in
            var reader = TimestampReader(bytes: bytes)
            return reader.read()
        }
        guard let read else { return nil }
        self.init(microseconds: read)
    }

    /// Reads a date and time; see ``init(_:)-(RawSpan)``.
    public init?(_ text: some StringProtocol) {
        var text = String(text)
        let read = text.withUTF8 { bytes -> Int64? in
            var reader = TimestampReader(bytes: UnsafeRawBufferPointer(bytes))
            return reader.read()
        }
        guard let read else { return nil }
        self.init(microseconds: read)
    }
}

/// Walks the text once; every load is checked against its end.
private struct TimestampReader {
    let bytes: UnsafeRawBufferPointer
    var index = 0

    init(bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// Reads any text; the one layout that Asterisk writes by words first.
    mutating func read() -> Int64? { usual() ?? general() }

    /// `2026-11-22T10:40:32.014+0000`, eight bytes at a time; nil for every other text, valid or not.
    ///
    /// A third of the general way's cost, on every event.
    private func usual() -> Int64? {
        guard bytes.count == 28 else { return nil }
        // XOR with what must stand there leaves a digit's value in its lane, and 0 in the others'.
        let date = word(0) ^ 0x2D30_302D_3030_3030
        let time = word(8) ^ 0x3030_3A30_3054_3030
        let fraction = word(16) ^ 0x2B30_3030_2E30_303A
        let zone = UInt64(bytes.loadUnaligned(fromByteOffset: 24, as: UInt32.self).littleEndian) ^ 0x3030_3030
        // Adding 0x76 to a digit's lane and 0x7F to another's sets its top bit unless it is what it must be.
        var wrong = (date &+ 0x7F76_767F_7676_7676) | date
        wrong |= (time &+ 0x7676_7F76_767F_7676) | time
        wrong |= (fraction &+ 0x7F76_7676_7F76_767F) | fraction
        wrong |= (zone &+ 0x7676_7676) | zone
        guard wrong & 0x8080_8080_8080_8080 == 0 else { return nil }
        let year = Self.pair(date, 0) * 100 + Self.pair(date, 2)
        let month = Self.pair(date, 5)
        let day = Self.pair(time, 0)
        let hour = Self.pair(time, 3)
        let minute = Self.pair(time, 6)
        let second = Self.pair(fraction, 1)
        let millisecond = Self.pair(fraction, 4) * 10 + Int(fraction >> 48 & 15)
        let zoneHours = Self.pair(zone, 0)
        let zoneMinutes = Self.pair(zone, 2)
        guard year > 0, month &- 1 < 12, month > 0, day > 0,
            day <= 28 || day <= CivilTime.daysInMonth(month, of: year), hour < 24, minute < 60, second <= 60,
            zoneHours < 24, zoneMinutes < 60
        else { return nil }
        let days = CivilTime.days(year: year, month: month, day: day)
        let inDay = (hour - zoneHours) * 3600 + (minute - zoneMinutes) * 60 + second
        return (days * 86_400 + Int64(inDay)) * 1_000_000 + Int64(millisecond * 1000)
    }

    @inline(__always)
    private func word(_ offset: Int) -> UInt64 {
        bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self).littleEndian
    }

    /// The number of two digits in the lanes from `lane` on.
    @inline(__always)
    private static func pair(_ word: UInt64, _ lane: UInt64) -> Int {
        let tens = word >> (lane &* 8) & 15
        let ones = word >> (lane &* 8 &+ 8) & 15
        return Int(truncatingIfNeeded: tens &* 10 &+ ones)
    }

    private mutating func general() -> Int64? {
        guard let year = digits(4), year > 0, take(0x2D), let month = digits(2), take(0x2D),
            let day = digits(2), (1...12).contains(month),
            day >= 1, day <= CivilTime.daysInMonth(month, of: year)
        else { return nil }
        guard take(0x54) || take(0x74) || take(ASCII.space) else { return nil }
        guard let hour = digits(2), hour < 24, take(0x3A), let minute = digits(2), minute < 60,
            take(0x3A), let second = digits(2), second <= 60
        else { return nil }
        guard let microsecond = fraction(), let zoneSeconds = zone(), index == bytes.count else { return nil }
        let days = CivilTime.days(year: year, month: month, day: day)
        let seconds = days * 86_400 + Int64(hour * 3600 + minute * 60 + second - zoneSeconds)
        return seconds * 1_000_000 + Int64(microsecond)
    }

    private mutating func digits(_ count: Int) -> Int? {
        guard bytes.count - index >= count else { return nil }
        var value = 0
        for _ in 0..<count {
            guard ASCII.isDigit(bytes[index]) else { return nil }
            value = value * 10 + Int(bytes[index] - 0x30)
            index += 1
        }
        return value
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard index < bytes.count, bytes[index] == byte else { return false }
        index += 1
        return true
    }

    /// Microseconds, 0 when there is no fraction, nil when it is malformed.
    private mutating func fraction() -> Int? {
        guard take(0x2E) || take(0x2C) else { return 0 }
        var value = 0
        var count = 0
        while index < bytes.count, ASCII.isDigit(bytes[index]) {
            guard count < 9 else { return nil }
            if count < 6 { value = value * 10 + Int(bytes[index] - 0x30) }
            count += 1
            index += 1
        }
        guard count > 0 else { return nil }
        for _ in count..<max(count, 6) { value *= 10 }
        return value
    }

    /// Seconds east of UTC, 0 when there is no zone, nil when it is malformed.
    private mutating func zone() -> Int? {
        if index == bytes.count || take(0x5A) || take(0x7A) { return 0 }
        let sign: Int
        if take(0x2B) { sign = 1 } else if take(0x2D) { sign = -1 } else { return nil }
        guard let hours = digits(2), hours < 24 else { return nil }
        var minutes = 0
        if index < bytes.count {
            _ = take(0x3A)
            guard let read = digits(2), read < 60 else { return nil }
            minutes = read
        }
        return sign * (hours * 3600 + minutes * 60)
    }
}
