import Protocols
import Testing

/// What both readers make of a text: nil when it is valid, else the error.
func verdict(_ source: [UInt8]) -> (scanner: JSONError?, tree: JSONError?) {
    let scanner = JSONFieldScanner(JSONFieldPlan([["a"], ["b", "c"]]))
    var found: (scanner: JSONError?, tree: JSONError?) = (nil, nil)
    do throws(JSONError) { _ = try scanner.scan(source.span.bytes) } catch { found.scanner = error }
    do throws(JSONError) { _ = try JSONValue.parse(source.span.bytes) } catch { found.tree = error }
    return found
}

@Suite("RFC 8259 JSON")
struct RFC8259Tests {
    @Test(
        "§2 to §7 must be accepted",
        arguments: [
            // §2 any value, white space round every token.
            "null", "true", "false", "0", "\"\"", "[]", "{}", " \t\r\n1\n\r\t ", "[ ]", "{ }", "[ 1 , 2 ]",
            "{ \"a\" : 1 , \"b\" : 2 }", "\n{\n\"a\"\n:\n[\n]\n}\n",
            // §4 objects.
            "{\"\":0}", "{\"a\":{\"a\":{\"a\":[]}}}", "{\"a\":1,\"a\":2}", "{\"a\\u0000b\":1}",
            // §5 arrays.
            "[[[]]]", "[1,\"a\",null,{}]", "[[],[],[[]]]",
            // §6 numbers.
            "-0", "-1", "10", "1.0", "-0.0", "0e0", "0E+0", "1e5", "1E-5", "1.25e+10",
            "123456789012345678901234567890",
            "0.000000000000000000000000000000000001", "-1.5E-3",
            // §7 strings.
            "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\u0041\\uABCD\\uabcd\"", "\"\\uD834\\uDD1E\"", "\"\u{7F}\"",
            "\"ж漢😀\u{10FFFF}\"", "\"\u{2028}\u{FEFF}\"", "\"'\"", "\"/*x*/\"", "\"\\u0000\"", "\"\\uD800\"",
            "\"a long enough string to go through the wide steps more than once, with nothing special\"",
        ])
    func accepted(source: String) {
        let found = verdict(bytes(source))
        #expect(found.scanner == nil)
        #expect(found.tree == nil)
    }

    @Test(
        "§2 to §7 must be rejected",
        arguments: [
            "", " ", "\n", "[", "]", "{", "}", ",", ":", "\"", "[1", "[1,", "[,1]", "[1,,2]", "[1,]", "[,]",
            "[1}",
            "{\"a\"}", "{\"a\":}", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{,\"a\":1}", "{\"a\",1}",
            "{\"a\"::1}",
            "{\"a\":1]", "{1:1}", "{a:1}", "{'a':1}", "{null:1}", "{\"a\" \"b\"}", "{\"a\":1 \"b\":2}",
            "{\"a\":1;}",
            "{[]:1}", "{\"a\":1}}", "[]]", "[] []", "1 2", "nulls", "nul", "Null", "TRUE", "tru", "falsy",
            "nullx",
            "undefined", "NaN", "Infinity", "-Infinity", "inf", "+1", "01", "-01", "00", "1.", ".1", "-.1",
            "1.e1", "-",
            "--1", "1e", "1e+", "1E-", "1ee1", "1e1.5", "0x1", "1_000", "1,000", "٣", "1a", "0b1", "- 1",
            "1 .0",
            "\"a", "\"\\", "\"\\\"", "\"\\a\"", "\"\\'\"", "\"\\0\"", "\"\\x41\"", "\"\\u\"", "\"\\u12\"",
            "\"\\u123g\"",
            "\"\\U0041\"", "\"\\u+123\"", "\"\\ u0041\"", "\"\\uD800\\u\"", "\"\\uD800\\u12\"", "'a'",
            "\"a\"\"b\"",
            "\"a\nb\"", "\"a\tb\"", "\"\u{0}\"", "\"\u{1F}\"", "// x\n1", "/* x */1", "1 // x", "[1 /* x */]",
            "#1",
            "\u{FEFF}1", "\u{A0}1", "\u{B}1", "\u{C}1", "\u{0}", "1\u{0}", "[\u{2028}1]", "{\"a\":1}\u{1E}",
            "[\"a\",\n4\n,1,", "{\"a\":tru}", "[fals]", "{\"a\":\"b}", "\\u0031", "<json>",
        ])
    func rejected(source: String) {
        let found = verdict(bytes(source))
        #expect(found.scanner != nil)
        #expect(found.scanner == found.tree)
    }

    /// Hexadecimal of bytes that stand inside a string.
    static let brokenUTF8 = [
        "80", "BF", "C0AF", "C1BF", "E08080", "E09FBF", "EDA080", "EDBFBF", "F0808080", "F08FBFBF",
        "F4908080", "F5808080",
        "F8888080", "FE", "FF", "C2", "E282", "F09F98", "C220", "E28220", "F09F9820", "E2C2A9", "61C3",
    ]

    @Test("§8.1 strings are UTF-8", arguments: brokenUTF8)
    func refusesBrokenUTF8(digits: String) {
        let wrong = stride(from: 0, to: digits.count, by: 2).map { place -> UInt8 in
            let start = digits.index(digits.startIndex, offsetBy: place)
            return UInt8(digits[start..<digits.index(start, offsetBy: 2)], radix: 16) ?? 0
        }
        for prefix in [0, 1, 13, 14, 15, 16, 17, 31, 40] {
            for suffix in [0, 1, 20] {
                let source =
                    [0x5B, 0x22] + [UInt8](repeating: 0x61, count: prefix) + wrong
                    + [UInt8](repeating: 0x62, count: suffix) + [0x22, 0x5D]
                let found = verdict(source)
                #expect(found.scanner?.kind == .invalidUTF8)
                #expect(found.scanner == found.tree)
                let inKey = [0x7B] + source[1..<(source.count - 1)] + [0x3A, 0x31, 0x7D]
                #expect(verdict(inKey).scanner?.kind == .invalidUTF8)
            }
        }
    }

    @Test("§4, §6, §9 where the text leaves it open: our answers")
    func open() {
        // §4: repeated keys are accepted, the last wins. §9: nesting to 128; no byte order mark (§8.1); lone
        // surrogates and U+0000 by escape are accepted and told (§8.2); numbers of any size are accepted by
        // the scanner, and by the tree when a Double comes near to them.
        #expect(verdict(bytes("1e400")).scanner == nil)
        #expect(verdict(bytes("1e400")).tree == JSONError(.numberOutOfRange, at: 0))
        #expect(verdict(bytes("\"\\uDFFF\"")).scanner == nil)
        let deep = String(repeating: "[", count: 129) + String(repeating: "]", count: 129)
        #expect(verdict(bytes(deep)).scanner == JSONError(.tooDeep, at: 128))
        #expect(verdict(bytes(deep)).tree == JSONError(.tooDeep, at: 128))
    }
}
