import Testing

@testable import Protocols

/// Scans a text held in an array of its own.
@discardableResult
func scan(_ scanner: JSONFieldScanner, _ text: [UInt8]) throws(JSONError) -> JSONScan {
    try scanner.scan(text.span.bytes)
}

@Suite("The field scanner notes what its plan asks for")
struct FieldScannerTests {
    static let paths: [[String]] = [
        ["type"], ["channel", "id"], ["channel", "caller", "number"], ["channel"],
        ["channel", "channelvars", "CHANNEL(linkedid)"], ["value"], ["a", "b", "c", "d"],
        ["a key of more than thirty-two bytes, all of them"], ["quote\"d"], ["ж"],
    ]

    /// The values that the scanner notes, as text.
    func values(_ scanner: JSONFieldScanner, _ source: String) throws -> [String?] {
        let source = bytes(source)
        try scan(scanner, source)
        return Self.paths.indices.map { path in
            let field = scanner[path]
            if !field.isPresent { return nil }
            return field.string(in: source) ?? text(Array(source[field.bounds]))
        }
    }

    @Test("by context, whatever the order, however often")
    func contexts() throws {
        let scanner = JSONFieldScanner(JSONFieldPlan(Self.paths))
        let texts = [
            #"{"type":"T","channel":{"id":"1","caller":{"name":"x","number":"7"},"channelvars":{"CHANNEL(linkedid)":"L"}}}"#,
            #"{"channel":{"channelvars":{"CHANNEL(linkedid)":"L"},"id":"1","caller":{"number":"7"}},"type":"T"}"#,
            " {\r\n\t\"type\" : \"T\" ,\n\"channel\" : { \"id\": \"1\", \"caller\" : {\"number\":\"7\"} , \"channelvars\":{\"CHANNEL(linkedid)\" : \"L\"} } }\n",
        ]
        for _ in 0..<3 {
            for source in texts {
                let found = try values(scanner, source)
                #expect(found[0] == "T")
                #expect(found[1] == "1")
                #expect(found[2] == "7")
                #expect(found[3]?.first == "{" && found[3]?.last == "}")
                #expect(found[4] == "L")
                #expect(found[5] == nil)
            }
        }
    }

    @Test("the same name elsewhere is another value")
    func otherContexts() throws {
        let scanner = JSONFieldScanner(JSONFieldPlan(Self.paths))
        for _ in 0..<3 {
            let found = try values(
                scanner,
                #"{"id":"0","bridge":{"id":"2","type":"no"},"x":[{"type":"no","id":"3"},["type"]],"channel":{"type":"no","connected":{"number":"9"}}}"#
            )
            #expect(found[0] == nil)
            #expect(found[1] == nil)
            #expect(found[2] == nil)
            #expect(found[3] != nil)
        }
    }

    @Test("every kind of value")
    func kinds() throws {
        let scanner = JSONFieldScanner(JSONFieldPlan(Self.paths))
        let cases: [(String, JSONField.Kind, String)] = [
            (#""s""#, .string, "s"), (#""""#, .string, ""), ("-1.5e3", .number, "-1.5e3"),
            ("0", .number, "0"),
            ("true", .true, "true"), ("false", .false, "false"), ("null", .null, "null"),
            ("{}", .object, "{}"), ("[]", .array, "[]"), ("{ }", .object, "{ }"), ("[ ]", .array, "[ ]"),
            (#"{"type":1}"#, .object, #"{"type":1}"#), ("[1,[2]]", .array, "[1,[2]]"),
        ]
        for (value, kind, expected) in cases {
            for source in ["{\"value\":\(value)}", "{ \"x\" : 1 , \"value\" : \(value) , \"y\" : 2 }"] {
                let source = bytes(source)
                let result = try scan(scanner, source)
                #expect(result.root == .object)
                #expect(scanner[5].kind == kind)
                #expect(text(Array(source[scanner[5].bounds])) == expected)
                #expect(scanner[0].kind == .absent)
            }
            let alone = bytes(value)
            #expect(try scan(scanner, alone).root == kind)
            #expect(scanner[5].kind == .absent)
        }
    }

    @Test("keys with escapes, long keys, keys in other scripts, the empty key")
    func unusualKeys() throws {
        let scanner = JSONFieldScanner(JSONFieldPlan(Self.paths))
        for _ in 0..<3 {
            #expect(try values(scanner, #"{"t\u0079pe":"T"}"#)[0] == "T")
            #expect(try values(scanner, #"{"\u0063hannel":{"i\u0064":"1"}}"#)[1] == "1")
            #expect(try values(scanner, #"{"a key of more than thirty-two bytes, all of them":5}"#)[7] == "5")
            #expect(try values(scanner, #"{"a key of more than thirty-two bytes, all of then":5}"#)[7] == nil)
            #expect(try values(scanner, #"{"quote\"d":true}"#)[8] == "true")
            #expect(try values(scanner, #"{"ж":1,"":2}"#)[9] == "1")
            #expect(try values(scanner, #"{"\u0436":1}"#)[9] == "1")
            #expect(try values(scanner, #"{"types":"T","typ":"T","Type":"T"}"#)[0] == nil)
        }
    }

    @Test("a plan for the empty key")
    func emptyKey() throws {
        let scanner = JSONFieldScanner(JSONFieldPlan([["", ""]]))
        for _ in 0..<3 {
            let source = bytes(#"{"":{"":7}}"#)
            try scan(scanner, source)
            #expect(scanner[0].int64(in: source) == 7)
        }
    }

    @Test("of repeated keys the last wins, and they are counted")
    func duplicates() throws {
        let scanner = JSONFieldScanner(JSONFieldPlan(Self.paths))
        let cases: [(String, Int, [Int: String])] = [
            (#"{"type":"1","type":"2"}"#, 1, [0: "2"]),
            (#"{"type":"1","x":0,"t\u0079pe":"2","type":"3"}"#, 2, [0: "3"]),
            (#"{"channel":{"id":"1"},"channel":{"id":"2"}}"#, 1, [1: "2", 3: #"{"id":"2"}"#]),
            (#"{"channel":{"id":"1"},"channel":{}}"#, 1, [3: "{}"]),
            (#"{"channel":{"id":"1","caller":{"number":"7"}},"channel":5}"#, 1, [3: "5"]),
            (#"{"a":{"b":{"c":{"d":1}}},"a":{"b":{}}}"#, 1, [:]),
            (#"{"a":{"b":{"c":{"d":1}},"b":{"c":{"d":2}}}}"#, 1, [6: "2"]),
            (#"{"type":"1","channel":{"type":"2"}}"#, 0, [0: "1", 3: #"{"type":"2"}"#]),
        ]
        for _ in 0..<2 {
            for (source, count, expected) in cases {
                let array = bytes(source)
                #expect(try scan(scanner, array).duplicateKeys == count)
                let found = try values(scanner, source)
                for path in found.indices { #expect(found[path] == expected[path]) }
            }
        }
    }

    @Test("one scan's values do not show in the next")
    func forgetting() throws {
        let scanner = JSONFieldScanner(JSONFieldPlan(Self.paths))
        try scan(scanner, bytes(#"{"type":"1"}"#))
        #expect(scanner[0].isPresent)
        try scan(scanner, bytes(#"{}"#))
        #expect(!scanner[0].isPresent)
        #expect(throws: JSONError(.trailingBytes, at: 13)) { try scan(scanner, bytes(#"{"type":"1"} x"#)) }
        #expect(!scanner[0].isPresent)
    }

    @Test("what jsonb would refuse is told")
    func features() throws {
        let scanner = JSONFieldScanner(JSONFieldPlan(Self.paths))
        let cases: [(String, JSONFeatures)] = [
            (#"{"a":"plain"}"#, []), (#"{"a":"\u0000"}"#, .nulEscape), (#"{"\u0000":1}"#, .nulEscape),
            (#"["\uD800"]"#, .loneSurrogate), (#"["\uDC00x"]"#, .loneSurrogate),
            (#"["\uD83D\uDE00"]"#, []), (#"["\uD83D\uD83D\uDE00"]"#, .loneSurrogate),
            (#"["\uD83Dx\uDE00"]"#, .loneSurrogate), (#"["\uDE00\uD83D"]"#, .loneSurrogate),
            (#"["\uD800\u0000"]"#, [.nulEscape, .loneSurrogate]), (#"["\u0001\uD7FF\uE000"]"#, []),
            (#"["\\u0000"]"#, []), ("[1e999]", []), ("[1e1000]", .extremeNumber),
            ("[1e-1000]", .extremeNumber),
        ]
        for (source, expected) in cases {
            #expect(try scan(scanner, bytes(source)).features == expected)
        }
        let long = "[" + String(repeating: "1", count: 1001) + "]"
        #expect(try scan(scanner, bytes(long)).features == .extremeNumber)
    }

    @Test("nesting is bounded, and costs no stack")
    func depth() throws {
        let scanner = JSONFieldScanner(JSONFieldPlan(Self.paths))
        func nested(_ depth: Int, _ open: String, _ close: String) -> [UInt8] {
            bytes(String(repeating: open, count: depth) + "1" + String(repeating: close, count: depth))
        }
        try scan(scanner, nested(128, "[", "]"))
        try scan(scanner, nested(128, #"{"channel":"#, "}"))
        try scan(scanner, nested(64, #"[{"x":"#, "}]"))
        #expect(throws: JSONError(.tooDeep, at: 128)) { try scan(scanner, nested(129, "[", "]")) }
        #expect(throws: JSONError(.tooDeep, at: 128 * 5)) {
            try scan(scanner, nested(1_000_000, #"{"x":"#, "}"))
        }
    }

    @Test("names beyond what is remembered stay right, and do not stop the learning for ever")
    func fullTable() throws {
        let scanner = JSONFieldScanner(JSONFieldPlan(Self.paths))
        for round in 0..<3 {
            for turn in 0..<400 {
                let members = (0..<100).map { "\"k\(round)-\(turn)-\($0)\":{\"x\($0)\":\($0)}" }
                let source = bytes(
                    "{\"type\":\"\(turn)\",\(members.joined(separator: ",")),\"channel\":{\"id\":\"c\"}}")
                try scan(scanner, source)
                #expect(scanner[0].string(in: source) == "\(turn)")
                #expect(scanner[1].string(in: source) == "c")
            }
        }
        let source = bytes(#"{"type":"T","some":1,"other":{"inner":2},"channel":{"id":"1"}}"#)
        for _ in 0..<3 { try scan(scanner, source) }
        let before = scanner.misses
        try scan(scanner, source)
        // Not learned where the table is full: some misses stay, but the plan's keys are found.
        #expect(scanner.misses - before <= 5)
    }

    @Test("the same text scanned again needs no general way")
    func learning() throws {
        let scanner = JSONFieldScanner(JSONFieldPlan(Self.paths))
        let source = bytes(
            #"{"type":"T","x":[1,2],"channel":{"id":"1","caller":{"number":"7","unknown":{"deep":1}}},"z":null}"#
        )
        try scan(scanner, source)
        let first = scanner.misses
        #expect(first > 0)
        try scan(scanner, source)
        #expect(scanner.misses == first)
    }

    @Test("values are decoded when asked for")
    func decoding() throws {
        let scanner = JSONFieldScanner(JSONFieldPlan([["v"]]))
        func field(_ value: String) throws -> (JSONField, [UInt8]) {
            let source = bytes("{\"v\":\(value)}")
            try scan(scanner, source)
            return (scanner[0], source)
        }
        for (value, expected) in [
            ("\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "a\"\\/\u{8}\u{C}\n\r\t"), (#""\u0436\uD83D\uDE00ж""#, "ж😀ж"),
            (#""\uD800x\uDC00""#, "\u{FFFD}x\u{FFFD}"), (#""\uD800\u0041""#, "\u{FFFD}A"),
            (#""\u0000""#, "\u{0}"),
        ] {
            let (field, source) = try field(value)
            #expect(field.hasEscapes)
            #expect(field.string(in: source) == expected)
            var output: [UInt8] = []
            field.append(to: &output, from: source.span.bytes)
            #expect(output == bytes(expected))
        }
        let integers: [(String, Int64?)] = [
            ("0", 0), ("-0", 0), ("42", 42), ("-9223372036854775808", .min), ("9223372036854775807", .max),
            ("9223372036854775808", nil), ("-9223372036854775809", nil), ("1.0", nil), ("1e2", nil),
            ("\"1\"", nil), ("99999999999999999999999", nil),
        ]
        for (value, expected) in integers {
            let (field, source) = try field(value)
            #expect(field.int64(in: source) == expected)
        }
        let doubles: [(String, Double?)] = [
            ("0.1", 0.1), ("-1.5e3", -1500), ("1E-2", 0.01), ("1e400", nil), ("12", 12), ("true", nil),
        ]
        for (value, expected) in doubles {
            let (field, source) = try field(value)
            #expect(field.double(in: source) == expected)
        }
        let (yes, _) = try field("true")
        #expect(yes.bool == true)
        let (null, _) = try field("null")
        #expect(null.bool == nil)
        let (word, source) = try field(#""St\u0061sis""#)
        #expect(word.equals("Stasis", in: source))
        #expect(!word.equals("Stasi", in: source))
        let (plain, other) = try field(#""Stasis""#)
        #expect(plain.equals("Stasis", in: other))
        #expect(!plain.equals("Stasiz", in: other))
    }
}
