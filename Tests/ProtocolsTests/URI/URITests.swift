import Testing

@testable import Protocols

@Suite("URLs are taken apart, RFC 3986 §3")
struct URLTests {
    @Test func wholeURL() throws {
        let url = try Protocols.URL("WSS://Us%65r:p%40s:s@PBX.Example:8089/ari/events?app=a%20b&x#frag")
        #expect(url.scheme == .wss)
        #expect(url.isSecure)
        #expect(url.user == "User")
        #expect(url.password == "p@s:s")
        #expect(url.host == "pbx.example")
        #expect(url.port == 8089)
        #expect(url.path == "/ari/events")
        #expect(url.query == "app=a%20b&x")
        #expect(url.requestTarget == "/ari/events?app=a%20b&x")
        #expect(url.hostField == "pbx.example:8089")
        #expect(url.basicAuthorization == "Basic VXNlcjpwQHM6cw==")
        #expect(url.description == "wss://pbx.example:8089/ari/events?app=a%20b&x")
    }

    @Test(
        arguments: [
            ("http://h", "http://h/", 80), ("https://h", "https://h/", 443),
            ("ws://h:80/", "ws://h/", 80),
            ("wss://h:80", "wss://h:80/", 80), ("http://h:", "http://h/", 80),
            ("http://h?q", "http://h/?q", 80),
            ("http://[::1]:8088/x", "http://[::1]:8088/x", 8088),
            ("http://[FE80::1]", "http://[fe80::1]/", 80),
            ("http://127.0.0.1:65535", "http://127.0.0.1:65535/", 65535), ("http://u@h", "http://h/", 80),
            ("http://u:p@with:colon@h/", "http://h/", 80),
        ] as [(String, String, UInt16)])
    func forms(text: String, description: String, port: UInt16) throws {
        let url = try Protocols.URL(text)
        #expect(url.description == description)
        #expect(url.port == port)
    }

    @Test(arguments: [
        ("", URLError.missingScheme), ("host:80", .missingScheme), ("http:/h", .missingScheme),
        ("ftp://h", .unknownScheme), ("http://", .invalidHost), ("http:///x", .invalidHost),
        ("http://a b/", .invalidHost), ("http://[::1", .invalidHost), ("http://[::1]x", .invalidHost),
        ("http://[abcd]/", .invalidHost), ("http://h\r\nX: y/", .invalidHost),
        ("http://пример/", .invalidHost),
        ("http://h:0", .invalidPort), ("http://h:65536", .invalidPort), ("http://h:8a", .invalidPort),
        ("http://h:-1", .invalidPort), ("http://h:080000", .invalidPort), ("http://u%zz@h", .invalidEncoding),
        ("http://u%FF@h", .invalidEncoding), ("http://h/a b", .invalidCharacter),
        ("http://h/\r\n", .invalidCharacter), ("http://h/ж", .invalidCharacter),
    ])
    func refused(text: String, error: URLError) {
        #expect(throws: error) { try Protocols.URL(text) }
    }

    @Test func tooLong() {
        let text = "http://h/" + String(repeating: "a", count: URL.maximumBytes)
        #expect(throws: URLError.tooLong) { try Protocols.URL(text) }
    }

    @Test func queryItemsAreAdded() throws {
        let url = try Protocols.URL("http://h/ari/events?app=x")
        #expect(url.appending(Query(["subscribe all": "a&b"])).query == "app=x&subscribe+all=a%26b")
        #expect(try Protocols.URL("http://h").appending(Query(["a": "1"])).requestTarget == "/?a=1")
    }
}

@Suite("Percent-encoding is decoded once, RFC 3986 §2.1")
struct PercentCodingTests {
    @Test(arguments: [
        ("", ""), ("a+b", "a+b"), ("%41", "A"), ("%2541", "%41"), ("%d0%B6", "ж"), ("%00", "\u{0}"),
    ])
    func decoded(text: String, expected: String) {
        #expect(PercentCoding.decoded(text, plus: .literal) == expected)
    }

    @Test(arguments: ["%", "%4", "%4g", "%g4", "abc%", "%+1", "%FF", "%D0"])
    func refused(text: String) {
        #expect(PercentCoding.decoded(text, plus: .space) == nil)
    }

    @Test func plus() {
        #expect(PercentCoding.decoded("a+b%2B", plus: .space) == "a b+")
        #expect(PercentCoding.encoded("a b+ж~", plus: .space) == "a+b%2B%D0%B6~")
        #expect(PercentCoding.encoded("a b/", plus: .literal) == "a%20b%2F")
    }
}

@Suite("Queries and forms")
struct QueryTests {
    @Test func reading() throws {
        let query = try #require(Query(parsing: "a=1&b=%20+&&c&a=2=3&=x"))
        #expect(query.items.map(\.name) == ["a", "b", "c", "a", ""])
        #expect(query.items.map(\.value) == ["1", "  ", "", "2=3", "x"])
        #expect(query["a"] == "2=3")
        #expect(query["c"] == "")
        #expect(query["d"] == nil)
        #expect(query.values(of: "a") == ["1", "2=3"])
        #expect(Query(parsing: "")?.items.isEmpty == true)
        #expect(Query(parsing: "a=%zz") == nil)
        #expect(Query(parsing: "%=1") == nil)
        #expect(Query(parsing: String(repeating: "a&", count: Query.maximumItems + 1)) == nil)
    }

    @Test func writtenAndReadBack() {
        var query = Query(["a b": "&=+%ж", "": "", "x": "1"])
        query.append("FIELDS[PHONE]", "+7 (999)")
        #expect(Query(parsing: query.encoded) == query)
        #expect(query.encoded.hasSuffix("&FIELDS%5BPHONE%5D=%2B7+%28999%29"))
    }
}
