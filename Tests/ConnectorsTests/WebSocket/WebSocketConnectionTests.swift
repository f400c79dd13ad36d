import Connectors
import Protocols
import Reactor
import Testing

/// Keeps what a socket tells.
final class SocketNotes: WebSocketDelegate {
    private(set) var opens = 0
    private(set) var texts: [String] = []
    private(set) var binaries: [[UInt8]] = []
    private(set) var pongs = 0
    private(set) var close: WebSocketClose?
    private(set) var closes = 0
    var socket: WebSocketConnection?
    var onMessage: ((WebSocketConnection, [UInt8]) -> Void)?

    func opened(_ socket: WebSocketConnection) {
        opens += 1
        self.socket = socket
    }

    func message(_ kind: WebSocketMessageKind, _ payload: RawSpan, on socket: WebSocketConnection) {
        let bytes = payload.withUnsafeBytes { [UInt8]($0) }
        switch kind {
        case .text: texts.append(String(decoding: bytes, as: UTF8.self))
        case .binary: binaries.append(bytes)
        }
        onMessage?(socket, bytes)
    }

    func pong(on socket: WebSocketConnection) { pongs += 1 }

    func closed(_ socket: WebSocketConnection, _ close: WebSocketClose) {
        closes += 1
        self.close = close
        self.socket = nil
    }
}

@Suite("WebSocket connections, client against server", .serialized)
struct WebSocketConnectionTests {
    /// A server that accepts, and a client that is connecting to it.
    static func pair(
        _ bench: HTTPBench, client: SocketNotes, server: SocketNotes,
        limits: WebSocketLimits = WebSocketLimits(),
        path: String = "/ws", subprotocols: [String] = [], fields: [(String, String)] = []
    ) throws -> ClosureService {
        let service = try bench.serve { request, exchange in
            if request.path == "/refuse" { return exchange.respond(status: 401) }
            exchange.acceptWebSocket(subprotocols: ["ari"], limits: limits, delegate: server)
        }
        let url = try URL("ws://127.0.0.1:\(bench.port)\(path)")
        client.socket = WebSocketConnection.connect(
            loop: bench.loop, url: url, fields: fields, subprotocols: subprotocols, limits: limits,
            delegate: client)
        return service
    }

    @Test("messages of all sizes travel both ways", arguments: HTTPDrivers.present)
    func messages(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        let client = SocketNotes()
        let server = SocketNotes()
        let service = try Self.pair(
            bench, client: client, server: server, path: "/ws?app=x", subprotocols: ["ari", "b"],
            fields: [("Authorization", "Basic abc")])
        #expect(client.socket?.isOpen == false)
        #expect(client.socket?.send(text: [0x61]) == .closed)
        bench.run { client.opens == 1 && server.opens == 1 }
        #expect(service.requests.first?.fields["authorization"] == "Basic abc")
        #expect(service.requests.first?.query(named: "app") == "x")
        #expect(client.socket?.subprotocol == "ari")
        #expect(server.socket?.subprotocol == "ari")
        #expect(client.socket?.isOpen == true)

        let sizes = [0, 1, 125, 126, 127, 65_535, 65_536, 1_000_000]
        for size in sizes {
            let text = [UInt8](repeating: 0x78, count: size)
            #expect(client.socket?.send(text: text) == .queued)
            #expect(server.socket?.send(text: text) == .queued)
            let binary = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            #expect(client.socket?.send(binary: binary) == .queued)
            bench.run { server.binaries.last?.count == size && client.texts.last?.utf8.count == size }
            #expect(server.binaries.last == binary)
        }
        #expect(server.texts.map(\.utf8.count) == sizes)
        #expect(client.texts.map(\.utf8.count) == sizes)
        #expect(bench.metrics[.httpRequests] == 1)
    }

    @Test("many small messages in one go keep their order", arguments: HTTPDrivers.present)
    func order(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        let client = SocketNotes()
        let server = SocketNotes()
        _ = try Self.pair(bench, client: client, server: server)
        bench.run { client.opens == 1 && server.opens == 1 }
        for index in 0..<5000 {
            server.socket?.send(text: Array("s\(index)".utf8))
            client.socket?.send(text: Array("c\(index)".utf8))
        }
        bench.run { client.texts.count == 5000 && server.texts.count == 5000 }
        #expect(client.texts == (0..<5000).map { "s\($0)" })
        #expect(server.texts == (0..<5000).map { "c\($0)" })
    }

    @Test("a ping is answered", arguments: HTTPDrivers.present)
    func ping(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        let client = SocketNotes()
        let server = SocketNotes()
        _ = try Self.pair(bench, client: client, server: server)
        bench.run { client.opens == 1 && server.opens == 1 }
        client.socket?.ping()
        server.socket?.ping()
        server.socket?.ping()
        bench.run { client.pongs == 1 && server.pongs == 2 }
        #expect(client.closes == 0)
    }

    @Test(
        "closing from either side is clean and told once to both", arguments: HTTPDrivers.present,
        [true, false])
    func closing(_ mode: IOMode, fromClient: Bool) throws {
        let bench = try HTTPBench(mode)
        let client = SocketNotes()
        let server = SocketNotes()
        _ = try Self.pair(bench, client: client, server: server)
        bench.run { client.opens == 1 && server.opens == 1 }
        let closer = fromClient ? client : server
        let other = fromClient ? server : client
        closer.socket?.send(text: Array("last".utf8))
        closer.socket?.close(code: 1001, reason: "going")
        #expect(closer.socket?.send(text: [0x61]) == .closed)
        bench.run { client.closes == 1 && server.closes == 1 }
        #expect(other.texts == ["last"])
        #expect(other.close?.code == 1001)
        #expect(other.close?.reason == "going")
        #expect(other.close?.clean == true)
        #expect(closer.close?.code == 1001)
        #expect(closer.close?.clean == true)
        bench.settle()
        #expect(client.closes == 1)
        #expect(server.closes == 1)
        #expect(bench.metrics[.httpConnections] == 0)
    }

    @Test("a delegate may close inside a message", arguments: HTTPDrivers.present)
    func closeInside(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        let client = SocketNotes()
        let server = SocketNotes()
        client.onMessage = { socket, _ in socket.close(code: 1000, reason: "") }
        server.onMessage = { socket, bytes in if bytes == Array("now".utf8) { socket.abort() } }
        _ = try Self.pair(bench, client: client, server: server)
        bench.run { client.opens == 1 && server.opens == 1 }
        for _ in 0..<3 { server.socket?.send(text: Array("x".utf8)) }
        bench.run { client.closes == 1 && server.closes == 1 }
        #expect(client.close?.clean == true)

        let second = SocketNotes()
        let url = try URL("ws://127.0.0.1:\(bench.port)/")
        second.socket = .connect(loop: bench.loop, url: url, delegate: second)
        bench.run { second.opens == 1 }
        second.socket?.send(text: Array("now".utf8))
        bench.run { second.closes == 1 }
        #expect(second.close?.clean == false)
        #expect(second.close?.code == nil)
    }

    @Test(
        "a refused handshake tells the status; a server that is not there tells why",
        arguments: HTTPDrivers.present)
    func refused(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        let client = SocketNotes()
        _ = try Self.pair(bench, client: client, server: SocketNotes(), path: "/refuse")
        bench.run { client.closes == 1 }
        #expect(client.opens == 0)
        #expect(client.close?.httpStatus == 401)
        #expect(client.close?.clean == false)
        #expect(client.close?.reason == "the server answered 401 Unauthorized")

        let gone = try bench.loop.listen(.loopback(port: 0), options: ListenOptions()) { _ in RawPeer() }
        gone.close()
        let lost = SocketNotes()
        let url = try URL("ws://127.0.0.1:\(gone.address.port)/")
        lost.socket = .connect(loop: bench.loop, url: url, delegate: lost)
        bench.run { lost.closes == 1 }
        #expect(lost.close?.httpStatus == nil)
        #expect(lost.close?.reason.contains("refused") == true)
    }

    @Test("a server that never answers the handshake is given up", arguments: HTTPDrivers.present)
    func silent(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        var peers: [RawPeer] = []
        let listener = try bench.loop.listen(.loopback(port: 0), options: ListenOptions()) { _ in
            peers.append(RawPeer())
            return peers[peers.count - 1]
        }
        let client = SocketNotes()
        let url = try URL("ws://127.0.0.1:\(listener.address.port)/")
        client.socket = .connect(loop: bench.loop, url: url, timeout: .milliseconds(80), delegate: client)
        bench.run { client.closes == 1 }
        #expect(client.opens == 0)
        #expect(client.close?.reason.contains("handshake") == true)
        #expect(peers.first?.text.contains("Sec-WebSocket-Version: 13\r\n") == true)
    }

    @Test("a request that is no handshake is answered with what is wanted", arguments: HTTPDrivers.present)
    func notAHandshake(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        let server = SocketNotes()
        _ = try bench.serve { _, exchange in
            #expect(exchange.acceptWebSocket(delegate: server) == nil)
        }
        let plain = bench.connect("GET /ws HTTP/1.1\r\nHost: h\r\n\r\n")
        bench.run { plain.text.contains("\n") && plain.text.hasSuffix("websocket\n") }
        #expect(plain.text.statusLine == "HTTP/1.1 426 Upgrade Required")
        #expect(plain.text.contains("Upgrade: websocket\r\n"))
        #expect(plain.text.contains("Sec-WebSocket-Version: 13\r\n"))
        #expect(server.opens == 0)
        #expect(server.closes == 0)
    }
}

@Suite("WebSocket connections: a peer that breaks RFC 6455", .serialized)
struct WebSocketBadPeerTests {
    static let handshake =
        "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

    @Test("bad frames fail the connection with the right code", arguments: HTTPDrivers.present)
    func badFrames(_ mode: IOMode) throws {
        let cases: [(name: String, bytes: [UInt8], code: UInt16)] = [
            ("unmasked", [0x81, 0x01, 0x61], 1002),
            ("reserved bit", [0xC1, 0x80, 0, 0, 0, 0], 1002),
            ("unknown opcode", [0x83, 0x80, 0, 0, 0, 0], 1002),
            ("fragmented ping", [0x09, 0x80, 0, 0, 0, 0], 1002),
            ("continuation of nothing", [0x80, 0x80, 0, 0, 0, 0], 1002),
            ("bad UTF-8", [0x81, 0x81, 0, 0, 0, 0, 0xFF], 1007),
            ("too large", [0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], 1009),
            ("close with one byte", [0x88, 0x81, 0, 0, 0, 0, 0x03], 1002),
            ("close with code 1005", [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xED], 1002),
        ]
        for (name, bytes, code) in cases {
            let bench = try HTTPBench(mode)
            let server = SocketNotes()
            _ = try bench.serve { _, exchange in
                exchange.acceptWebSocket(
                    limits: WebSocketLimits(frameBytes: 1000, messageBytes: 1000), delegate: server)
            }
            // The good message and the bad frame come together with the handshake.
            let peer = bench.connect()
            peer.connection?.send(Array(Self.handshake.utf8) + [0x81, 0x82, 0, 0, 0, 0, 0x6F, 0x6B] + bytes)
            bench.run { server.closes == 1 && peer.isOver }
            #expect(peer.text.hasPrefix("HTTP/1.1 101 Switching Protocols\r\n"), "\(name)")
            #expect(peer.text.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "\(name)")
            #expect(server.texts == ["ok"], "\(name)")
            #expect(server.close?.code == code, "\(name)")
            #expect(server.close?.protocolError != nil, "\(name)")
            #expect(server.close?.clean == false, "\(name)")
            let end = try #require(peer.bytes.lastRange(of: [0x0D, 0x0A, 0x0D, 0x0A]), "\(name)").upperBound
            let frame = Array(peer.bytes[end...])
            #expect(frame.prefix(1) == [0x88], "\(name)")
            #expect(frame.dropFirst(2).prefix(2) == [UInt8(code >> 8), UInt8(code & 255)], "\(name)")
        }
    }

    @Test("frames cut at every byte are read the same", arguments: HTTPDrivers.present)
    func cutAnywhere(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        let server = SocketNotes()
        _ = try bench.serve { _, exchange in exchange.acceptWebSocket(delegate: server) }
        let peer = bench.connect(Self.handshake)
        bench.run { server.opens == 1 }
        var frames: [UInt8] = []
        FrameWriter.append(
            .text, Array("hé".utf8).span.bytes, fin: false, maskingKey: 0x0102_0304, to: &frames)
        FrameWriter.append(.ping, Array("p".utf8).span.bytes, maskingKey: 7, to: &frames)
        FrameWriter.append(
            .continuation, Array("llo €".utf8).span.bytes, maskingKey: 0xFFFF_0000, to: &frames)
        FrameWriter.append(.binary, [UInt8](repeating: 9, count: 200).span.bytes, maskingKey: 99, to: &frames)
        for cut in 1..<frames.count {
            peer.connection?.send(Array(frames[..<cut]))
            bench.loop.runOnce(maximumWait: .milliseconds(1))
            bench.loop.runOnce(maximumWait: .zero)
            peer.connection?.send(Array(frames[cut...]))
            bench.run { server.binaries.count == cut }
        }
        #expect(server.texts == Array(repeating: "héllo €", count: frames.count - 1))
        #expect(server.binaries.allSatisfy { $0 == [UInt8](repeating: 9, count: 200) })
        #expect(server.closes == 0)
    }

    @Test("a peer that ends the stream, or resets, without Close", arguments: HTTPDrivers.present)
    func abruptEnd(_ mode: IOMode) throws {
        for resets in [false, true] {
            let bench = try HTTPBench(mode)
            let server = SocketNotes()
            _ = try bench.serve { _, exchange in exchange.acceptWebSocket(delegate: server) }
            let peer = bench.connect(Self.handshake)
            bench.run { server.opens == 1 }
            if resets { peer.connection?.reset() } else { peer.connection?.close() }
            bench.run { server.closes == 1 }
            #expect(server.close?.clean == false)
            #expect(server.close?.code == nil)
            #expect(server.close?.reason.isEmpty == false)
        }
    }

    @Test("a peer that never answers Close is dropped in time", arguments: HTTPDrivers.present)
    func silentClose(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        let server = SocketNotes()
        _ = try bench.serve { _, exchange in exchange.acceptWebSocket(delegate: server) }
        let peer = bench.connect(Self.handshake)
        bench.run { server.opens == 1 }
        server.socket?.closeTimeout = .milliseconds(60)
        server.socket?.close(code: 1001, reason: "enough")
        bench.run { server.closes == 1 && peer.isOver }
        #expect(server.close?.clean == false)
        #expect(server.close?.reason.hasPrefix("no answer to Close") == true)
        #expect(Array(peer.bytes.suffix(10)) == [0x88, 8, 0x03, 0xE9] + Array("enough".utf8))
    }

    @Test("a client's frames are masked with keys that differ", arguments: HTTPDrivers.present)
    func masking(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        var seen: [UInt8] = []
        let listener = try bench.loop.listen(.loopback(port: 0), options: ListenOptions()) { _ in
            FixedAnswer(accept: nil) { seen += $0 }
        }
        let client = SocketNotes()
        let url = try URL("ws://127.0.0.1:\(listener.address.port)/")
        client.socket = .connect(loop: bench.loop, url: url, delegate: client)
        bench.run { client.opens == 1 }
        for _ in 0..<20 { client.socket?.send(text: Array("same".utf8)) }
        bench.run { seen.count == 20 * 10 }
        var keys: Set<[UInt8]> = []
        for start in stride(from: 0, to: seen.count, by: 10) {
            let frame = Array(seen[start..<(start + 10)])
            #expect(frame[0] == 0x81)
            #expect(frame[1] == 0x84)
            keys.insert(Array(frame[2..<6]))
            let text = (0..<4).map { frame[6 + $0] ^ frame[2 + $0] }
            #expect(text == Array("same".utf8))
        }
        #expect(keys.count == 20)
        client.socket?.abort()
        bench.run { client.closes == 1 }
    }

    @Test("a client refuses a wrong accept key and masked frames", arguments: HTTPDrivers.present)
    func badServer(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        let listener = try bench.loop.listen(.loopback(port: 0), options: ListenOptions()) { _ in
            FixedAnswer(accept: "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")
        }
        let client = SocketNotes()
        let url = try URL("ws://127.0.0.1:\(listener.address.port)/")
        client.socket = .connect(loop: bench.loop, url: url, delegate: client)
        bench.run { client.closes == 1 }
        #expect(client.opens == 0)
        #expect(client.close?.httpStatus == nil)
        #expect(client.close?.reason.contains("Accept") == true)

        let second = try bench.loop.listen(.loopback(port: 0), options: ListenOptions()) { _ in
            FixedAnswer(accept: nil, then: [0x81, 0x01, 0x61, 0x81, 0x81, 0, 0, 0, 0, 0x62])
        }
        let other = SocketNotes()
        let secondURL = try URL("ws://127.0.0.1:\(second.address.port)/")
        other.socket = .connect(loop: bench.loop, url: secondURL, delegate: other)
        bench.run { other.closes == 1 }
        #expect(other.texts == ["a"], "the frame behind the handshake in the same packet counts")
        #expect(other.close?.protocolError == .maskedFrame)
        #expect(other.close?.code == 1002)
    }
}

/// Answers a handshake with a given accept value (nil: the right one) and some bytes.
private final class FixedAnswer: ConnectionHandler {
    private let accept: String?
    private let then: [UInt8]
    private let after: ([UInt8]) -> Void
    private var isAnswered = false

    init(accept: String?, then: [UInt8] = [], after: @escaping ([UInt8]) -> Void = { _ in }) {
        self.accept = accept
        self.then = then
        self.after = after
    }

    func received(_ bytes: RawSpan, on connection: Connection) -> Consumed {
        if isAnswered {
            after(bytes.withUnsafeBytes { [UInt8]($0) })
            return .all(bytes.byteCount)
        }
        isAnswered = true
        let text = bytes.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
        let key = text.split(separator: "\r\n").first { $0.lowercased().hasPrefix("sec-websocket-key: ") }
        guard let key else { return .all(bytes.byteCount) }
        let value = accept ?? WebSocketHandshake.accept(for: String(key.dropFirst(19)))
        let head =
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + "Sec-WebSocket-Accept: \(value)\r\n\r\n"
        connection.send(Array(head.utf8) + then)
        return .all(bytes.byteCount)
    }

    func closed(_ connection: Connection, _ reason: CloseReason) {}
}

extension [UInt8] {
    /// Where `pattern` stands last.
    func lastRange(of pattern: [UInt8]) -> Range<Int>? {
        guard count >= pattern.count else { return nil }
        for start in stride(from: count - pattern.count, through: 0, by: -1)
        where self[start..<(start + pattern.count)].elementsEqual(pattern) {
            return start..<(start + pattern.count)
        }
        return nil
    }
}
