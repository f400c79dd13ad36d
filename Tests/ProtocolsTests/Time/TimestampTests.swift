import Testing

@testable import Protocols

@Suite("Timestamps are read as ISO 8601 and ARI write them")
struct TimestampTests {
    @Test(
        arguments: [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.000001Z", 1),
            ("1969-12-31T23:59:59.999999Z", -1),
            ("2026-11-22T10:40:32.014+0000", 1_795_344_032_014_000),
            ("2026-11-22T13:40:32.014+0300", 1_795_344_032_014_000),
            ("2026-11-22T13:40:32.014+03:00", 1_795_344_032_014_000),
            ("2026-11-22T13:40:32.014+03", 1_795_344_032_014_000),
            ("2026-11-22T05:10:32.014-0530", 1_795_344_032_014_000),
            ("2026-11-22T10:40:32.014", 1_795_344_032_014_000),
            ("2026-11-22 10:40:32.014", 1_795_344_032_014_000),
            ("2026-11-22t10:40:32,014z", 1_795_344_032_014_000),
            (
                "2026-11-22T10:40:32.0149999999"[..<"2026-11-22T10:40:32.014999999".endIndex].description,
                1_795_344_032_014_999
            ),
            ("2000-02-29T12:00:00Z", 951_825_600_000_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000_000),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
            ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
        ] as [(String, Int64)])
    func read(text: String, microseconds: Int64) {
        #expect(Timestamp(text)?.microseconds == microseconds)
        #expect(Timestamp(bytes(text))?.microseconds == microseconds)
    }

    @Test(
        "anything else is refused",
        arguments: [
            "", "2026", "2026-11-22", "2026-11-22T", "2026-11-22T10:40", "2026-11-22T10:40:3",
            "2026-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2026-04-31T00:00:00Z", "2026-00-01T00:00:00Z",
            "2026-13-01T00:00:00Z", "2026-01-00T00:00:00Z", "0000-01-01T00:00:00Z", "2026-11-22T24:00:00Z",
            "2026-11-22T10:60:00Z", "2026-11-22T10:40:61Z", "2026-11-22T10:40:32.Z",
            "2026-11-22T10:40:32.0123456789Z", "2026-11-22T10:40:32ZZ", "2026-11-22T10:40:32+",
            "2026-11-22T10:40:32+1", "2026-11-22T10:40:32+24:00", "2026-11-22T10:40:32+03:60",
            "2026-11-22T10:40:32+03:", "2026-11-22T10:40:32+030", "2026-11-22X10:40:32Z",
            " 2026-11-22T10:40:32Z", "2026-11-22T10:40:32Z ", "2026-11-22T1O:40:32Z", "+026-11-22T10:40:32Z",
        ])
    func refused(text: String) {
        #expect(Timestamp(text) == nil)
    }

    @Test("written and read back")
    func inverse() {
        var time = Timestamp(microseconds: -5_000_000_000_000_001)
        for _ in 0..<2000 {
            #expect(Timestamp(time.formatted(.microseconds)) == time)
            #expect(Timestamp(time.formatted(.seconds)) == time.truncatedToSecond)
            var ari: [UInt8] = []
            time.appendARI(to: &ari)
            #expect(Timestamp(ari)?.seconds == time.seconds)
            time = time + .microseconds(9_876_543_210_123)
        }
    }

    @Test func formats() throws {
        let time = try #require(Timestamp("2026-02-04T22:30:00.123456+0300"))
        #expect(time.formatted() == "2026-02-04T19:30:00Z")
        #expect(time.formatted(.milliseconds) == "2026-02-04T19:30:00.123Z")
        #expect(time.description == "2026-02-04T19:30:00.123456Z")
        #expect(time.microsecondsSince2000 == time.microseconds - 946_684_800_000_000)
        var ari: [UInt8] = []
        time.appendARI(to: &ari)
        #expect(text(ari) == "2026-02-04T19:30:00.123+0000")
        #expect(Timestamp(microseconds: -1).formatted() == "1969-12-31T23:59:59Z")
    }

    @Test("differences and sums are durations")
    func arithmetic() {
        let early = Timestamp(seconds: 100)
        let late = early + .milliseconds(1500)
        #expect(late - early == .milliseconds(1500))
        #expect(late - .milliseconds(1500) == early)
        #expect(early < late)
        #expect(late.truncatedToSecond == Timestamp(seconds: 101))
    }
}
