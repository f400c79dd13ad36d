import Protocols
import Testing

@Suite("RFC 9112 requests")
struct RequestTests {
    static let h = "Host: h\r\n"

    @Test("§3 request line")
    func requestLine() throws {
        #expect(
            try readRequests("GET /a?b=c HTTP/1.1\r\n\(Self.h)\r\n")
                == [ReadRequest(line: "GET /a?b=c 1.1", isComplete: true)])
        #expect(try readRequests("OPTIONS * HTTP/1.1\r\n\(Self.h)\r\n").first?.line == "OPTIONS * 1.1")
        #expect(try readRequests("GET http://h/x HTTP/1.1\r\n\(Self.h)\r\n").count == 1)
        #expect(try readRequests("CONNECT h:443 HTTP/1.1\r\n\(Self.h)\r\n").count == 1)
        #expect(try readRequests("M-SEARCH!#$%&'*+.^_`|~1 / HTTP/1.1\r\n\(Self.h)\r\n").count == 1)
    }

    @Test(
        "§3 malformed request lines",
        arguments: [
            "GET  / HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET /\tHTTP/1.1", "GET\t/ HTTP/1.1",
            "GET / HTTP/1.1x", "GET / http/1.1", "GET / HTTP/11", "GET / HTTP/1.", "GET /", "GET", "GET / ",
            "GET  HTTP/1.1", "G@T / HTTP/1.1", "GET /\u{7F} HTTP/1.1", "GET /ж HTTP/1.1", "GET /a b HTTP/1.1",
            "GET a HTTP/1.1", "GET * HTTP/1.1", "GET /#f HTTP/1.1", "GET ftp://h/ HTTP/1.1",
            "GET http:// HTTP/1.1", "GET http:///x HTTP/1.1", "GET http://u@h/ HTTP/1.1",
            "GET http://h:x/ HTTP/1.1",
            "CONNECT / HTTP/1.1", "CONNECT h HTTP/1.1", "CONNECT h: HTTP/1.1", "CONNECT h:x HTTP/1.1",
            "GET / HTTP/1.1\r", "\u{16}\u{3}\u{1}", "{\"a\":1}",
        ])
    func malformedRequestLine(line: String) {
        #expect(throws: HTTPError.malformedStartLine) { try readRequests("\(line)\r\n\(Self.h)\r\n") }
    }

    @Test("§2.3 versions")
    func versions() throws {
        #expect(throws: HTTPError.unsupportedVersion) { try readRequests("GET / HTTP/2.0\r\n\(Self.h)\r\n") }
        #expect(throws: HTTPError.unsupportedVersion) { try readRequests("PRI * HTTP/0.9\r\n\r\n") }
        #expect(try readRequests("GET / HTTP/1.9\r\n\(Self.h)\r\n").first?.line == "GET / 1.1")
        #expect(try readRequests("GET / HTTP/1.0\r\n\r\n").first?.line == "GET / 1.0")
    }

    @Test("§2.2 line ends; one empty line in front is skipped")
    func lineEnds() throws {
        #expect(try readRequests("\r\nGET / HTTP/1.1\r\n\(Self.h)\r\n").count == 1)
        #expect(throws: HTTPError.malformedStartLine) {
            try readRequests("\r\n\r\nGET / HTTP/1.1\r\n\(Self.h)\r\n")
        }
        #expect(throws: HTTPError.malformedStartLine) {
            try readRequests("\nGET / HTTP/1.1\r\n\(Self.h)\r\n")
        }
        #expect(throws: HTTPError.bareLineFeed) { try readRequests("GET / HTTP/1.1\n\(Self.h)\r\n") }
        #expect(throws: HTTPError.bareLineFeed) { try readRequests("GET / HTTP/1.1\r\nHost: h\n\r\n") }
        #expect(throws: HTTPError.bareLineFeed) { try readRequests("GET / HTTP/1.1\r\n\(Self.h)\n") }
        #expect(throws: HTTPError.bareCarriageReturn) {
            try readRequests("GET / HTTP/1.1\r\n\(Self.h)A: b\rC: d\r\n\r\n")
        }
        #expect(throws: HTTPError.bareCarriageReturn) {
            try readRequests("GET / HTTP/1.1\r\n\(Self.h)A: b\r\r\n\r\n")
        }
    }

    @Test(
        "§5 malformed fields",
        arguments: [
            ("A : b", HTTPError.spaceBeforeColon), ("A\t: b", .spaceBeforeColon),
            (" A: b", .obsoleteLineFolding),
            ("\tA: b", .obsoleteLineFolding), ("A", .malformedField), (": b", .malformedField),
            ("A@: b", .malformedField), ("A: \u{0}", .malformedField), ("A: \u{1}b", .malformedField),
            ("A: b\u{7F}", .malformedField), ("ж: b", .malformedField), ("A(: b", .malformedField),
            ("A: b\r\n c", .obsoleteLineFolding),
        ])
    func malformedField(line: String, error: HTTPError) {
        #expect(throws: error) { try readRequests("GET / HTTP/1.1\r\n\(Self.h)\(line)\r\n\r\n") }
        #expect(throws: error) { try readRequests("GET / HTTP/1.1\r\n\(line)\r\n\(Self.h)\r\n") }
    }

    @Test("§5 fields are found without case, trimmed, joined")
    func fields() throws {
        let source = bytes(
            "GET /p?q HTTP/1.1\r\nhOST:h\r\nA:  b \t\r\nEmpty:\r\na: ж\r\nConnection: x , Close\r\n\r\n")
        var parser = HTTPRequestParser()
        guard case .value(.head(let head), source.count) = try parser.next(source.span.bytes) else {
            Issue.record("no head")
            return
        }
        #expect(head.fields["Host"] == "h")
        #expect(head.fields["A"] == "b, ж")
        #expect(head.fields.values(of: "a") == ["b", "ж"])
        #expect(head.fields["EMPTY"] == "")
        #expect(head.fields["none"] == nil)
        #expect(head.fields.count == 5)
        #expect(head.fields.count(of: "a") == 2)
        #expect(head.fields.field(at: 0) == HTTPField("hOST", "h"))
        #expect(head.fields.tokens(of: "connection") == ["x", "close"])
        #expect(!head.keepsAlive)
        #expect(head.path == "/p")
        #expect(head.query == "q")
    }

    @Test("§3.2 Host")
    func host() throws {
        #expect(throws: HTTPError.missingHost) { try readRequests("GET / HTTP/1.1\r\n\r\n") }
        #expect(throws: HTTPError.invalidHost) {
            try readRequests("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n")
        }
        #expect(throws: HTTPError.invalidHost) {
            try readRequests("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n")
        }
        for host in [
            "a b", "a/b", "u@h", "a,b", "a\\b", "a\"b", "ж", ":80", "h:8a", "h:99999", "h:80:90", "[::1",
            "[::1]x",
            "[h]", "::1", "a%2", "a%zz", "h:-1", "[::1]:x",
        ] {
            #expect(throws: HTTPError.invalidHost) {
                try readRequests("GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n")
            }
        }
        for host in ["", "h:80", "[::1]:80", "[::ffff:1.2.3.4]", "a-b.c_d", "h:", "a%2Db", "h:65535"] {
            #expect(try readRequests("GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n").count == 1)
        }
    }

    @Test("§6.2 counted bodies and pipelining")
    func countedBodies() throws {
        let stream =
            "POST /1 HTTP/1.1\r\n\(Self.h)Content-Length: 3\r\n\r\nabc"
            + "GET /2 HTTP/1.1\r\n\(Self.h)\r\nPOST /3 HTTP/1.1\r\n\(Self.h)Content-Length: 0\r\n\r\n"
        #expect(
            try readRequests(stream) == [
                ReadRequest(line: "POST /1 1.1", body: "abc", isComplete: true),
                ReadRequest(line: "GET /2 1.1", isComplete: true),
                ReadRequest(line: "POST /3 1.1", isComplete: true),
            ])
    }

    @Test("§9.3 whether the connection stays open")
    func keepAlive() throws {
        let cases: [(String, Bool)] = [
            ("GET / HTTP/1.1\r\n\(Self.h)\r\n", true), ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
            ("GET / HTTP/1.1\r\n\(Self.h)Connection: keep-alive, close\r\n\r\n", false),
        ]
        for (stream, expected) in cases {
            let source = bytes(stream)
            var parser = HTTPRequestParser()
            guard case .value(.head(let head), _) = try parser.next(source.span.bytes) else {
                Issue.record("no head")
                return
            }
            #expect(head.keepsAlive == expected)
        }
    }

    @Test("RFC 9110 §10.1.1 Expect: 100-continue")
    func expect() throws {
        let source = bytes("PUT / HTTP/1.1\r\n\(Self.h)Content-Length: 1\r\nExpect: 100-Continue\r\n\r\n")
        var parser = HTTPRequestParser()
        guard case .value(.head(let head), _) = try parser.next(source.span.bytes) else {
            Issue.record("no head")
            return
        }
        #expect(head.expectsContinue)
    }
}

@Suite("RFC 9112 §3, RFC 9110 §5.4: limits on HTTP messages")
struct HTTPLimitTests {
    let limits = HTTPLimits(startLineBytes: 40, headBytes: 120, fieldCount: 3, bodyBytes: 5)

    func read(_ stream: String) throws(HTTPError) -> [ReadRequest] {
        try readRequests(stream, limits: limits)
    }

    @Test func startLine() throws {
        let fitting = "GET /" + String(repeating: "a", count: 24) + " HTTP/1.1\r\n"
        #expect(fitting.utf8.count == 40)
        #expect(try read(fitting + "Host: h\r\n\r\n").count == 1)
        #expect(throws: HTTPError.startLineTooLong) {
            try read("GET /a" + fitting.dropFirst(5) + "Host: h\r\n\r\n")
        }
        #expect(throws: HTTPError.startLineTooLong) { try read(String(repeating: "a", count: 41)) }
    }

    @Test func head() throws {
        let start = "GET / HTTP/1.1\r\nHost: h\r\nA: "
        let fitting = start + String(repeating: "a", count: 120 - start.utf8.count - 4) + "\r\n\r\n"
        #expect(try read(fitting).count == 1)
        #expect(throws: HTTPError.fieldsTooLarge) { try read(start + "a" + fitting.dropFirst(start.count)) }
        #expect(throws: HTTPError.fieldsTooLarge) { try read(start + String(repeating: "a", count: 200)) }
        #expect(HTTPError.fieldsTooLarge.statusCode == 431)
    }

    @Test func fieldCount() throws {
        #expect(try read("GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\nB: 2\r\n\r\n").count == 1)
        #expect(throws: HTTPError.tooManyFields) {
            try read("GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n")
        }
    }

    @Test func body() throws {
        let start = "POST / HTTP/1.1\r\nHost: h\r\n"
        #expect(try read(start + "Content-Length: 5\r\n\r\nabcde").first?.body == "abcde")
        #expect(throws: HTTPError.bodyTooLarge(limit: 5)) { try read(start + "Content-Length: 6\r\n\r\n") }
        #expect(throws: HTTPError.bodyTooLarge(limit: 5)) {
            try read(start + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\n")
        }
        var collector = HTTPBodyCollector(limit: 3)
        let input = bytes("abcd")
        #expect(throws: HTTPError.bodyTooLarge(limit: 3)) {
            try collector.append(0..<4, of: input.span.bytes)
        }
        try collector.append(1..<3, of: input.span.bytes)
        #expect(collector.take() == bytes("bc"))
        #expect(collector.bytes.isEmpty)
    }
}
