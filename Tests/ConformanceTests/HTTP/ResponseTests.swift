import Protocols
import Testing

@Suite("RFC 9112 responses")
struct ResponseTests {
    @Test("§4 status line")
    func statusLine() throws {
        for line in ["HTTP/1.1 200 OK", "HTTP/1.1 200 ", "HTTP/1.1 200", "HTTP/1.0 200 Très bien"] {
            #expect(
                try readResponses("\(line)\r\nContent-Length: 2\r\n\r\nhi")
                    == [ReadResponse(code: 200, body: "hi", isComplete: true)])
        }
        for line in [
            "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 099 x", "HTTP/1.1 600 x", "HTTP/1.1  200 OK",
            "HTTP/1.1200 OK", "HTTP/1.1 2O0 OK", "HTTP/1.1", "http/1.1 200 OK", "ICY 200 OK",
            "HTTP/1.1 200\tOK",
            "HTTP/1.1 200 O\u{0}K",
        ] {
            #expect(throws: HTTPError.malformedStartLine) { try readResponses("\(line)\r\n\r\n") }
        }
        #expect(throws: HTTPError.unsupportedVersion) { try readResponses("HTTP/2.0 200 OK\r\n\r\n") }
    }

    @Test("§6.3 responses that have no body, whatever their fields say")
    func noBody() throws {
        let length = "Content-Length: 5\r\n\r\n"
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
        let last = ReadResponse(code: 200, body: "x", isComplete: true)
        for code in [204, 304] {
            #expect(
                try readResponses("HTTP/1.1 \(code) x\r\n\(length)\(ok)", to: [.get, .get])
                    == [ReadResponse(code: code, isComplete: true), last])
        }
        #expect(
            try readResponses("HTTP/1.1 200 OK\r\n\(length)\(ok)", to: [.head, .get])
                == [ReadResponse(code: 200, isComplete: true), last])
        #expect(
            try readResponses(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\(ok)", to: [.head, .get])
                == [ReadResponse(code: 200, isComplete: true), last])
        #expect(
            try readResponses("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nA: b\r\n\r\n\(ok)", to: [.post])
                == [
                    ReadResponse(code: 100, isComplete: true), ReadResponse(code: 103, isComplete: true),
                    last,
                ])
    }

    @Test("§6.3 a body until the connection ends")
    func untilClose() throws {
        let stream = "HTTP/1.1 200 OK\r\n\r\nhello"
        #expect(try readResponses(stream) == [ReadResponse(code: 200, body: "hello")])
        #expect(
            try readResponses(stream, ends: true) == [
                ReadResponse(code: 200, body: "hello", isComplete: true)
            ])
        #expect(throws: HTTPError.bodyTooLarge(limit: 4)) {
            try readResponses(stream, limits: HTTPLimits(bodyBytes: 4))
        }
    }

    @Test("§8 a response that is cut")
    func cut() {
        for stream in [
            "", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
        ] {
            #expect(throws: HTTPError.truncated) { try readResponses(stream, ends: true) }
        }
    }

    @Test("§9.2 what nobody asked for")
    func unexpected() throws {
        #expect(throws: HTTPError.unexpectedResponse) { try readResponses("HTTP/1.1 200 OK\r\n\r\n", to: []) }
        #expect(throws: HTTPError.unexpectedResponse) {
            try readResponses("HTTP/1.1 204 x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
        }
        #expect(try readResponses("", to: [], ends: true).isEmpty)
    }

    @Test("§6.1 ambiguous lengths are refused from servers too")
    func ambiguous() {
        #expect(throws: HTTPError.ambiguousLength) {
            try readResponses("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
        }
        #expect(throws: HTTPError.invalidContentLength) {
            try readResponses("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")
        }
    }

    @Test("RFC 9110 §7.8 after 101 the stream is another protocol's")
    func upgrade() throws {
        let source = bytes("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n\u{1}rest")
        var parser = HTTPResponseParser()
        parser.sent(.get)
        guard case .value(.head(let head), let used) = try parser.next(source.span.bytes) else {
            Issue.record("no head")
            return
        }
        #expect(head.statusCode == 101)
        #expect(used == source.count - 5)
        #expect(parser.hasSwitchedProtocols)
        guard case .incomplete = try parser.next(source.span.extracting(used..<source.count).bytes) else {
            Issue.record("read on after 101")
            return
        }
    }

    @Test("§9.3 whether the connection stays open")
    func keepAlive() throws {
        let cases: [(String, Bool)] = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\n\r\n", false), ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        ]
        for (stream, expected) in cases {
            let source = bytes(stream)
            var parser = HTTPResponseParser()
            parser.sent(.get)
            guard case .value(.head(let head), _) = try parser.next(source.span.bytes) else {
                Issue.record("no head")
                return
            }
            #expect(head.keepsAlive == expected)
        }
    }
}

@Suite("RFC 9112 §2.1: what is written can be read")
struct WriterTests {
    @Test func requests() throws {
        var output: [UInt8] = []
        HTTPWriter.requestHead(
            .post, target: "/rest/1?a=b", host: "h:8080", fields: [HTTPField("X", "a\r\nEvil: 1")],
            body: .length(2), to: &output)
        output += bytes("{}")
        HTTPWriter.requestHead(.put, target: "/2", host: "h", body: .chunked, to: &output)
        HTTPWriter.chunk(bytes("first, ").span.bytes, to: &output)
        HTTPWriter.chunk([UInt8]().span.bytes, to: &output)
        HTTPWriter.chunk(bytes(String(repeating: "x", count: 300)).span.bytes, to: &output)
        HTTPWriter.lastChunk(to: &output)
        #expect(
            try readRequests(text(output)) == [
                ReadRequest(line: "POST /rest/1?a=b 1.1", body: "{}", isComplete: true),
                ReadRequest(
                    line: "PUT /2 1.1", body: "first, " + String(repeating: "x", count: 300), isComplete: true
                ),
            ])
        #expect(text(output).contains("X: a  Evil: 1\r\n"))
    }

    @Test func responses() throws {
        var output: [UInt8] = []
        HTTPWriter.responseHead(100, body: .none, to: &output)
        HTTPWriter.response(200, body: bytes("hello").span.bytes, to: &output)
        HTTPWriter.response(404, body: bytes("hello").span.bytes, answersHead: true, to: &output)
        HTTPWriter.responseHead(204, body: .none, to: &output)
        HTTPWriter.responseHead(202, body: .none, to: &output)
        HTTPWriter.response(503, body: bytes("no").span.bytes, keepsAlive: false, to: &output)
        #expect(
            try readResponses(text(output), to: [.get, .head, .get, .get, .get]) == [
                ReadResponse(code: 100, isComplete: true),
                ReadResponse(code: 200, body: "hello", isComplete: true),
                ReadResponse(code: 404, isComplete: true), ReadResponse(code: 204, isComplete: true),
                ReadResponse(code: 202, isComplete: true),
                ReadResponse(code: 503, body: "no", isComplete: true),
            ])
        #expect(text(output).hasSuffix("Connection: close\r\nContent-Length: 2\r\n\r\nno"))
    }
}
