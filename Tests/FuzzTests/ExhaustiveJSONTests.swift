import FuzzTargets
import Protocols
import Testing

/// Texts that are all tried out: the scanner's verdict, fresh or learned, is that of the plain reader.
@Suite("JSON: every short text, and every byte in every place")
struct ExhaustiveJSONTests {
    let scanner = JSONFieldScanner(JSONFieldPlan([["a"], ["b", "c"]]))

    func isValid(_ text: [UInt8]) -> Bool {
        do throws(JSONError) {
            _ = try scanner.scan(text.span.bytes)
            return true
        } catch { return false }
    }

    /// An `#expect` for each of so many texts would take longer than reading them.
    func compare(_ text: [UInt8]) {
        if isValid(text) != (JSONReference.value(text, depth: 128) != nil) { Issue.record("\(text)") }
    }

    @Test("all texts of up to four of the characters that mean something")
    func short() {
        let alphabet = Array(#"{}[],:"\-01.e "#.utf8) + Array("a".utf8)
        var valid = 0
        var tried = 0
        func extend(_ text: [UInt8]) {
            let isReallyValid = JSONReference.value(text, depth: 128) != nil
            if isValid(text) != isReallyValid { Issue.record("\(String(decoding: text, as: UTF8.self))") }
            tried += 1
            valid += isReallyValid ? 1 : 0
            guard text.count < 4 else { return }
            for byte in alphabet { extend(text + [byte]) }
        }
        extend([])
        #expect(tried == 1 + 15 + 225 + 3375 + 50_625)
        #expect(valid > 300)
    }

    @Test(
        "every byte, and every pair of bytes, within strings, behind escapes, between tokens and round the text"
    )
    func bytes() {
        let places: [(String, String)] = [
            ("", ""), ("1", ""), ("", "1"), ("\"", "\""), ("\"\\", "\""), ("\"\\u00", "0\""), ("[1", "2]"),
            ("[", "]"),
            ("{\"a\"", "1}"), ("{", ":1}"), ("-", ""), ("1e", "1"), ("1.", "0"), ("\"0123456789abcde", "\""),
            ("\"0123456789abcdef", "0123456789abcdef\""), ("{\"a\":1", "\"b\":2}"), ("tru", ""),
        ]
        for (before, after) in places {
            for byte in UInt8.min ... .max {
                let text = Array(before.utf8) + [byte] + Array(after.utf8)
                compare(text)
            }
        }
        for first in UInt8.min ... .max {
            for second in UInt8(0x7F)...0xC2 {
                let text = [0x22, first, second, 0x22]
                compare(text)
            }
        }
    }

    @Test("every first and second byte of characters of three and four bytes")
    func characters() {
        for first in UInt8(0xE0)...0xFF {
            for second in UInt8.min ... .max {
                for rest in [[0x80], [0xBF, 0xBF], [0x80, 0x80], [0x80, 0x7F], [0xC0, 0x80], []] as [[UInt8]]
                {
                    let text = [0x22, first, second] + rest + [0x22]
                    compare(text)
                }
            }
        }
    }
}
