import Protocols
import Testing

@Suite("RFC 6455 §4 opening handshake")
struct HandshakeTests {
    static let key = "dGhlIHNhbXBsZSBub25jZQ=="

    func requestHead(_ text: String) throws -> HTTPRequestHead {
        let source = bytes(text)
        var parser = HTTPRequestParser()
        guard case .value(.head(let head), _) = try parser.next(source.span.bytes) else {
            throw HTTPError.truncated
        }
        return head
    }

    func responseHead(_ text: String) throws -> HTTPResponseHead {
        let source = bytes(text)
        var parser = HTTPResponseParser()
        parser.sent(.get)
        guard case .value(.head(let head), _) = try parser.next(source.span.bytes) else {
            throw HTTPError.truncated
        }
        return head
    }

    @Test("§1.3 the example's key and answer")
    func example() {
        #expect(WebSocketHandshake.accept(for: Self.key) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        #expect(WebSocketHandshake.key(random: bytes("the sample nonce")) == Self.key)
    }

    @Test("§4.1, §4.2.2 a client's request is accepted by a server, whose answer is accepted by the client")
    func bothEnds() throws {
        var output: [UInt8] = []
        WebSocketHandshake.request(
            try URL("ws://user:pass@h:8088/ari/events?app=x"), key: Self.key, subprotocols: ["ari", "b"],
            fields: [HTTPField("Origin", "http://h")], to: &output)
        let request = try requestHead(text(output))
        #expect(request.target == "/ari/events?app=x")
        #expect(request.fields["host"] == "h:8088")
        #expect(request.fields["authorization"] == "Basic dXNlcjpwYXNz")
        #expect(request.fields["sec-websocket-extensions"] == nil)
        #expect(WebSocketHandshake.isUpgrade(request))
        let acceptance = try WebSocketHandshake.check(request, subprotocols: ["b", "c"])
        #expect(acceptance.subprotocol == "b")
        output = []
        WebSocketHandshake.response(acceptance, to: &output)
        let response = try responseHead(text(output))
        #expect(try WebSocketHandshake.check(response, key: Self.key, subprotocols: ["ari", "b"]) == "b")
        #expect(throws: WebSocketHandshakeError.unexpectedSubprotocol) {
            try WebSocketHandshake.check(response, key: Self.key, subprotocols: ["ari"])
        }
        #expect(throws: WebSocketHandshakeError.wrongAccept) {
            try WebSocketHandshake.check(response, key: "AAAAAAAAAAAAAAAAAAAAAA==", subprotocols: ["b"])
        }
    }

    @Test("§4.1 what a client refuses")
    func clientRefuses() throws {
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        let cases: [(String, WebSocketHandshakeError?)] = [
            ("101 x\r\nupgrade: WebSocket\r\nconnection: a, UPGRADE\r\nSec-WebSocket-Accept: \(accept)", nil),
            ("200 x\r\nUpgrade: websocket", .status(200)), ("401 x\r\nWWW-Authenticate: Basic", .status(401)),
            ("101 x\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: \(accept)", .missingUpgrade),
            (
                "101 x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: \(accept)",
                .missingUpgrade
            ),
            ("101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: \(accept)", .missingConnection),
            ("101 x\r\nUpgrade: websocket\r\nConnection: Upgrade", .wrongAccept),
            (
                "101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: \(accept)\r\n"
                    + "Sec-WebSocket-Extensions: permessage-deflate", .unexpectedExtension
            ),
            (
                "101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: \(accept)\r\n"
                    + "Sec-WebSocket-Protocol: x", .unexpectedSubprotocol
            ),
        ]
        for (text, error) in cases {
            let head = try responseHead("HTTP/1.1 \(text)\r\n\r\n")
            if let error {
                #expect(throws: error) { try WebSocketHandshake.check(head, key: Self.key) }
            } else {
                #expect(try WebSocketHandshake.check(head, key: Self.key) == nil)
            }
        }
    }

    static let good = [
        "Host: h", "Upgrade: foo, WebSocket", "Connection: keep-alive, upgrade", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: \(key)", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    ]

    @Test("§4.2.1 what a server refuses; offered extensions are ignored")
    func serverRefuses() throws {
        func check(
            _ line: String = "GET / HTTP/1.1", replacing index: Int? = nil, by field: String = "X: y"
        ) throws {
            var fields = Self.good
            if let index { fields[index] = field }
            let head = try requestHead(line + "\r\n" + fields.joined(separator: "\r\n") + "\r\n\r\n")
            let acceptance = try WebSocketHandshake.check(head)
            var output: [UInt8] = []
            WebSocketHandshake.response(acceptance, to: &output)
            #expect(!text(output).lowercased().contains("extensions"))
        }
        try check()
        #expect(throws: WebSocketHandshakeError.notAnUpgradeRequest) { try check("POST / HTTP/1.1") }
        #expect(throws: WebSocketHandshakeError.notAnUpgradeRequest) { try check("GET / HTTP/1.0") }
        #expect(throws: WebSocketHandshakeError.notAnUpgradeRequest) {
            try check(replacing: 5, by: "Content-Length: 1")
        }
        #expect(throws: WebSocketHandshakeError.missingUpgrade) { try check(replacing: 1) }
        #expect(throws: WebSocketHandshakeError.missingConnection) { try check(replacing: 2) }
        #expect(throws: WebSocketHandshakeError.unsupportedVersion) { try check(replacing: 3) }
        #expect(throws: WebSocketHandshakeError.unsupportedVersion) {
            try check(replacing: 3, by: "Sec-WebSocket-Version: 8")
        }
        #expect(throws: WebSocketHandshakeError.invalidKey) { try check(replacing: 4) }
        #expect(throws: WebSocketHandshakeError.invalidKey) {
            try check(replacing: 4, by: "Sec-WebSocket-Key: abc")
        }
        #expect(throws: WebSocketHandshakeError.invalidKey) {
            try check(replacing: 4, by: "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA=")
        }
        #expect(throws: WebSocketHandshakeError.invalidKey) {
            try check(replacing: 5, by: "Sec-WebSocket-Key: \(Self.key)")
        }
    }

    @Test("§4.4 a refusal names the version that is spoken")
    func refusal() {
        var output: [UInt8] = []
        WebSocketHandshake.refusal(.unsupportedVersion, to: &output)
        #expect(text(output).hasPrefix("HTTP/1.1 426 Upgrade Required\r\n"))
        #expect(text(output).contains("Sec-WebSocket-Version: 13\r\n"))
    }
}
