/// Writes times as ARI does: `2026-11-22T10:45:26.633+0000`, local time, milliseconds, offset without colon.
struct ARITimeText: Sendable {
    /// Minutes east of Greenwich.
    let offsetMinutes: Int
    /// Bytes of one text.
    static let byteCount = 28

    /// Writes `milliseconds` (since 1970, UTC; from the years 0 to 9999) to `output`, which has room for
    /// `byteCount`.
    func write(_ milliseconds: Int64, to output: UnsafeMutablePointer<UInt8>) {
        let local = milliseconds + Int64(offsetMinutes) * 60_000
        let days = Int((local >= 0 ? local : local - 86_399_999) / 86_400_000)
        let rest = Int(local - Int64(days) * 86_400_000)
        let (year, month, day) = Self.civil(days: days)
        Self.digits(year, 4, output)
        output[4] = 0x2D
        Self.digits(month, 2, output + 5)
        output[7] = 0x2D
        Self.digits(day, 2, output + 8)
        output[10] = 0x54
        Self.digits(rest / 3_600_000, 2, output + 11)
        output[13] = 0x3A
        Self.digits(rest / 60_000 % 60, 2, output + 14)
        output[16] = 0x3A
        Self.digits(rest / 1000 % 60, 2, output + 17)
        output[19] = 0x2E
        Self.digits(rest % 1000, 3, output + 20)
        output[23] = offsetMinutes < 0 ? 0x2D : 0x2B
        Self.digits(abs(offsetMinutes) / 60, 2, output + 24)
        Self.digits(abs(offsetMinutes) % 60, 2, output + 26)
    }

    /// The text as a String.
    func string(_ milliseconds: Int64) -> String {
        String(unsafeUninitializedCapacity: Self.byteCount) { buffer in
            if let base = buffer.baseAddress { write(milliseconds, to: base) }
            return Self.byteCount
        }
    }

    /// Date of a day counted from 1970-01-01, in the Gregorian calendar carried back and forth: years are
    /// taken to begin in March, so that the leap day is the last one.
    private static func civil(days: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let marchMonth = (5 * dayOfYear + 2) / 153
        let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * marchMonth + 2) / 5 + 1)
    }

    @inline(__always)
    private static func digits(_ number: Int, _ count: Int, _ output: UnsafeMutablePointer<UInt8>) {
        var rest = UInt32(truncatingIfNeeded: number)
        var position = count
        while position > 0 {
            position -= 1
            output[position] = UInt8(truncatingIfNeeded: 0x30 + rest % 10)
            rest /= 10
        }
    }
}
