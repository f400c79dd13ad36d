import Testing

@testable import Protocols

@Suite("Base64, RFC 4648 §4")
struct Base64Tests {
    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy"),
    ])
    func vectors(plain: String, coded: String) {
        #expect(Base64.encoded(bytes(plain)) == coded)
        #expect(Base64.decoded(coded) == bytes(plain))
    }

    @Test("every byte comes back")
    func inverse() {
        for count in 0..<70 {
            let source = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 89 &+ count) }
            #expect(Base64.decoded(Base64.encoded(source)) == source)
        }
    }

    @Test(
        "what is not exactly Base64 is refused",
        arguments: ["Z", "Zg", "Zg=", "Zh==", "Zm9=", "Zm 9", "Zm-_", "====", "Zg==Zg==", "Z===", "Zm8=\n"])
    func refused(text: String) {
        #expect(Base64.decoded(text) == nil)
    }
}

@Suite("SHA-1, RFC 3174")
struct SHA1Tests {
    @Test(arguments: [
        ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1"
        ),
        (String(repeating: "a", count: 1_000_0), "a080cbda64850abb7b7f67ee875ba068074ff6fe"),
    ])
    func vectors(message: String, digest: String) {
        #expect(SHA1.digest(bytes(message)) == hex(digest))
    }
}

@Suite("UTF-8 is checked as it arrives")
struct UTF8ValidatorTests {
    static let accepted: [String] = [
        "", "00", "7F", "C280", "DFBF", "E0A080", "ED9FBF", "EE8080", "EFBFBF", "F0908080", "F48FBFBF",
        "E28282E282AC",
    ]
    /// Each with the number of bytes after which nothing valid can follow; nil when only the end is missing.
    static let refused: [(String, Int?)] = [
        ("80", 1), ("BF", 1), ("C0", 1), ("C1", 1), ("C080", 1), ("C2", nil), ("C241", 2), ("E0", nil),
        ("E08080", 2), ("E09F", 2), ("EDA080", 2), ("EDBFBF", 2), ("E282", nil), ("E28241", 3),
        ("F0808080", 2), ("F08F", 2), ("F4908080", 2), ("F5", 1), ("FF", 1), ("F09080", nil), ("F0908041", 4),
    ]

    @Test(arguments: accepted)
    func valid(digits: String) {
        let source = hex(digits)
        #expect(UTF8Validator.isValid(source))
        #expect(String(validating: source) != nil)
    }

    @Test(arguments: refused)
    func invalid(digits: String, failsAfter: Int?) {
        // Behind runs of ASCII of every length round the wide step.
        for prefix in [0, 1, 15, 16, 17, 31, 32, 33] {
            let source = [UInt8](repeating: 0x61, count: prefix) + hex(digits)
            #expect(!UTF8Validator.isValid(source))
            var validator = UTF8Validator()
            var failed: Int?
            for index in source.indices
            where !validator.append(source.span.extracting(index..<(index + 1)).bytes) {
                failed = failed ?? index + 1
            }
            #expect(failed == failsAfter.map { $0 + prefix })
            #expect(!validator.isComplete)
        }
    }

    @Test("a cut anywhere changes nothing")
    func cuts() {
        let source = bytes("plain ASCII first, then ж, 漢 and 😀, and plain ASCII again to the end")
        for cut in 0...source.count {
            var validator = UTF8Validator()
            let first = validator.append(source.span.extracting(0..<cut).bytes)
            let second = validator.append(source.span.extracting(cut..<source.count).bytes)
            #expect(first)
            #expect(second)
            #expect(validator.isComplete)
        }
    }
}

@Suite("Numbers are written in decimal")
struct DecimalTests {
    @Test(arguments: [
        (Int64.min, "-9223372036854775808"), (-1, "-1"), (0, "0"), (7, "7"), (10, "10"),
        (Int64.max, "9223372036854775807"),
    ])
    func decimal(value: Int64, expected: String) {
        var output: [UInt8] = []
        output.append(decimal: value)
        #expect(text(output) == expected)
    }

    @Test func unsigned() {
        var output: [UInt8] = []
        output.append(decimal: UInt64.max)
        #expect(text(output) == "18446744073709551615")
    }
}
