/// A point in time: whole microseconds since 1970-01-01T00:00:00 UTC, leap seconds not counted.
///
/// That is what an ARI event's `timestamp` and a database column can hold; nothing in the product needs
/// finer. Reading and writing of text stand in the extensions beside this file.
public struct Timestamp: Hashable, Comparable, Sendable, BitwiseCopyable {
    /// Microseconds since 1970-01-01T00:00:00 UTC; negative before.
    public var microseconds: Int64

    /// Makes a timestamp from microseconds since 1970.
    @inlinable
    public init(microseconds: Int64) { self.microseconds = microseconds }

    /// Makes a timestamp from whole seconds since 1970, which must lie within 292,000 years of it.
    @inlinable
    public init(seconds: Int64) { microseconds = seconds * 1_000_000 }

    /// Whole seconds since 1970, rounded down.
    @inlinable
    public var seconds: Int64 {
        let (quotient, remainder) = microseconds.quotientAndRemainder(dividingBy: 1_000_000)
        return remainder < 0 ? quotient - 1 : quotient
    }

    /// Microseconds since 2000-01-01T00:00:00 UTC: PostgreSQL's binary `timestamp`.
    @inlinable
    public var microsecondsSince2000: Int64 { microseconds - 946_684_800_000_000 }

    /// The start of the second it lies in.
    @inlinable
    public var truncatedToSecond: Timestamp { Timestamp(seconds: seconds) }

    /// Whether `left` is earlier.
    @inlinable
    public static func < (left: Timestamp, right: Timestamp) -> Bool {
        left.microseconds < right.microseconds
    }

    /// The timestamp `duration` later; below a microsecond is cut off.
    public static func + (time: Timestamp, duration: Duration) -> Timestamp {
        let (seconds, attoseconds) = duration.components
        return Timestamp(
            microseconds: time.microseconds + seconds * 1_000_000 + attoseconds / 1_000_000_000_000)
    }

    /// The timestamp `duration` earlier; below a microsecond is cut off.
    public static func - (time: Timestamp, duration: Duration) -> Timestamp {
        time + (.zero - duration)
    }

    /// How long after `right` this is; negative when before.
    public static func - (left: Timestamp, right: Timestamp) -> Duration {
        .microseconds(left.microseconds - right.microseconds)
    }
}

/// A date and time of day in UTC, in the proleptic Gregorian calendar.
public struct CivilTime: Hashable, Sendable {
    /// The year, 1 and up in what is read.
    public var year: Int
    /// 1 to 12.
    public var month: Int
    /// 1 to 31.
    public var day: Int
    /// 0 to 23.
    public var hour: Int
    /// 0 to 59.
    public var minute: Int
    /// 0 to 59.
    public var second: Int
    /// 0 to 999,999.
    public var microsecond: Int

    /// Makes a civil time; the values are not checked.
    public init(
        year: Int, month: Int, day: Int, hour: Int = 0, minute: Int = 0, second: Int = 0, microsecond: Int = 0
    ) {
        self.year = year
        self.month = month
        self.day = day
        self.hour = hour
        self.minute = minute
        self.second = second
        self.microsecond = microsecond
    }

    static func daysInMonth(_ month: Int, of year: Int) -> Int {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    /// Days since 1970-01-01.
    ///
    /// Years are counted from March, so that the leap day is the year's last and months have the repeating
    /// lengths of 153 days in five.
    static func days(year: Int, month: Int, day: Int) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return Int64(era) * 146_097 + Int64(dayOfEra) - 719_468
    }
}

extension Timestamp {
    /// The timestamp of a civil time in UTC.
    public init(_ time: CivilTime) {
        let days = CivilTime.days(year: time.year, month: time.month, day: time.day)
        let seconds = days * 86_400 + Int64(time.hour * 3600 + time.minute * 60 + time.second)
        self.init(microseconds: seconds * 1_000_000 + Int64(time.microsecond))
    }

    /// The date and time of day in UTC.
    public var civil: CivilTime {
        let seconds = self.seconds
        var (days, inDay) = seconds.quotientAndRemainder(dividingBy: 86_400)
        if inDay < 0 {
            inDay += 86_400
            days -= 1
        }
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        return CivilTime(
            year: Int(yearOfEra + era * 400 + (month <= 2 ? 1 : 0)), month: Int(month),
            day: Int(dayOfYear - (153 * monthFromMarch + 2) / 5 + 1),
            hour: Int(inDay / 3600), minute: Int(inDay / 60 % 60), second: Int(inDay % 60),
            microsecond: Int(microseconds - seconds * 1_000_000))
    }
}
