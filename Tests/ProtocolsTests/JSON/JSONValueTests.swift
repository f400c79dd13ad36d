import Testing

@testable import Protocols

@Suite("JSON as a small tree")
struct JSONValueTests {
    @Test func reading() throws {
        let value = try JSONValue.parse(
            #" {"a": [1, -2.5, "x\u0436\n", true, false, null, {}, []], "b": {"c": 9223372036854775807}, "a2": 1e2} "#
        )
        #expect(
            value == [
                "a": [1, -2.5, "xж\n", true, false, nil, [:], []], "b": ["c": .int(.max)], "a2": .double(100),
            ])
        #expect(value["a"]?[2]?.string == "xж\n")
        #expect(value["b"]?["c"]?.int == .max)
        #expect(value["a"]?[0]?.double == 1)
        #expect(value["a"]?[3]?.bool == true)
        #expect(value["a"]?[5]?.isNull == true)
        #expect(value["a"]?[8] == nil)
        #expect(value["x"] == nil)
        #expect(value["a"]?.array?.count == 8)
        #expect(value.members?.map(\.key) == ["a", "b", "a2"])
        #expect(value["a"]?["b"] == nil)
        #expect(value[0] == nil)
    }

    @Test("of repeated keys the last is found, all are kept")
    func duplicates() throws {
        let value = try JSONValue.parse(#"{"a":1,"a":2}"#)
        #expect(value["a"]?.int == 2)
        #expect(value.members?.count == 2)
    }

    @Test func limits() throws {
        let deep = String(repeating: "[", count: 128) + String(repeating: "]", count: 128)
        #expect(try JSONValue.parse(deep).array?.count == 1)
        #expect(throws: JSONError(.tooDeep, at: 128)) { try JSONValue.parse("[" + deep + "]") }
        #expect(throws: JSONError(.tooManyValues, at: 5)) {
            try JSONValue.parse("[1,2,3]", limits: .init(values: 3))
        }
        #expect(throws: JSONError(.tooLong, at: 3)) { try JSONValue.parse("1234", limits: .init(bytes: 3)) }
        #expect(throws: JSONError(.numberOutOfRange, at: 1)) { try JSONValue.parse("[1e400]") }
        #expect(try JSONValue.parse("[1e-400,18446744073709551615]") == [0.0, 18446744073709551615.0])
    }

    @Test(
        "errors say where",
        arguments: [
            ("", JSONError(.unexpectedEnd, at: 0)), (" ", JSONError(.unexpectedEnd, at: 1)),
            ("[1,]", JSONError(.unexpectedByte, at: 3)), ("{\"a\" 1}", JSONError(.unexpectedByte, at: 5)),
            ("{\"a\":1,}", JSONError(.unexpectedByte, at: 7)), ("[1 2]", JSONError(.unexpectedByte, at: 3)),
            ("[\"a", JSONError(.unexpectedEnd, at: 3)), ("[\"\u{1}\"]", JSONError(.controlCharacter, at: 2)),
            ("[\"\\x\"]", JSONError(.invalidEscape, at: 2)), ("[01]", JSONError(.invalidNumber, at: 1)),
            ("[tru]", JSONError(.invalidLiteral, at: 1)), ("1 1", JSONError(.trailingBytes, at: 2)),
        ])
    func errors(source: String, error: JSONError) {
        #expect(throws: error) { try JSONValue.parse(source) }
        let scanner = JSONFieldScanner(JSONFieldPlan([["a"]]))
        #expect(throws: error) { try scan(scanner, bytes(source)) }
    }
}

@Suite("JSON is written as it should be read")
struct JSONWriterTests {
    @Test func structure() {
        var writer = JSONWriter(appendingTo: bytes("data: "))
        writer.object { writer in
            writer.member("s", "a\"b\\c\u{8}\t\n\u{C}\r\u{1}\u{1F}/ж😀\u{7F}")
            writer.member("none", String?.none)
            writer.member("i", -5)
            writer.member("n", Int?.none)
            writer.member("t", true)
            writer.member("d", 0.1)
            writer.member("at", Timestamp(seconds: 0))
            writer.member("never", Timestamp?.none)
            writer.member("v", ["x": [1, nil]] as JSONValue)
            writer.key("raw")
            writer.raw(bytes("{\"r\": 1}").span.bytes)
            writer.key("empty")
            writer.array { _ in }
            writer.key("list")
            writer.array { writer in
                writer.object { _ in }
                writer.integer(UInt64.max)
                writer.double(.infinity)
                writer.double(1e300)
                writer.string("")
            }
        }
        #expect(
            text(writer.output)
                == #"data: {"s":"a\"b\\c\b\t\n\f\r\u0001\u001f/ж😀\#u{7F}","none":null,"i":-5,"n":null,"t":true,"d":0.1,"#
                + #""at":"1970-01-01T00:00:00Z","never":null,"v":{"x":[1,null]},"raw":{"r": 1},"empty":[],"#
                + #""list":[{},18446744073709551615,null,1e+300,""]}"#)
    }

    @Test("bytes that are not UTF-8 become U+FFFD")
    func invalidUTF8() {
        var output: [UInt8] = []
        JSONWriter.append(utf8: ([0x61, 0xC0, 0x62] as [UInt8]).span.bytes, to: &output)
        #expect(text(output) == "\"a\u{FFFD}b\"")
    }

    @Test("every character comes back, round the wide step")
    func characters() throws {
        for length in [0, 1, 14, 15, 16, 17, 31, 32, 33] {
            for byte in (0 as UInt8)...0x7F {
                let plain = String(repeating: "x", count: length) + String(UnicodeScalar(byte)) + "ж"
                var output: [UInt8] = []
                JSONWriter.append(plain, to: &output)
                #expect(try JSONValue.parse(text(output)) == .string(plain))
            }
        }
    }
}
