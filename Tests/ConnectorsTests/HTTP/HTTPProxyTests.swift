import Connectors
import Protocols
import Reactor
import Testing

/// A proxy that connects where it is asked to, or refuses.
private final class TestProxy: ConnectionHandler {
    enum Behaviour {
        case connects(to: UInt16)
        case answers(String)
        case silent
    }

    private final class Upstream: ConnectionHandler {
        var peer: Connection?

        func opened(_ connection: Connection) {
            peer?.send(Array("HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n".utf8))
        }

        func received(_ bytes: RawSpan, on connection: Connection) -> Consumed {
            peer?.send(bytes)
            return .all(bytes.byteCount)
        }

        func closed(_ connection: Connection, _ reason: CloseReason) { peer?.close() }
    }

    private let behaviour: Behaviour
    private var head: [UInt8] = []
    private var upstream: Connection?
    private let asked: (String) -> Void

    init(_ behaviour: Behaviour, asked: @escaping (String) -> Void) {
        self.behaviour = behaviour
        self.asked = asked
    }

    func received(_ bytes: RawSpan, on connection: Connection) -> Consumed {
        if let upstream {
            upstream.send(bytes)
            return .all(bytes.byteCount)
        }
        bytes.withUnsafeBytes { head.append(contentsOf: $0) }
        guard head.suffix(4).elementsEqual("\r\n\r\n".utf8) else { return .all(bytes.byteCount) }
        asked(String(decoding: head, as: UTF8.self))
        switch behaviour {
        case .connects(let port):
            let handler = Upstream()
            handler.peer = connection
            upstream = connection.loop.connect(host: "127.0.0.1", port: port, handler: handler)
        case .answers(let text): connection.send(Array(text.utf8))
        case .silent: break
        }
        return .all(bytes.byteCount)
    }

    func closed(_ connection: Connection, _ reason: CloseReason) { upstream?.close() }
}

@Suite("HTTP client through a proxy", .serialized)
struct HTTPProxyTests {
    private static func proxy(
        _ bench: HTTPBench, _ behaviour: TestProxy.Behaviour, asked: @escaping (String) -> Void = { _ in }
    ) throws -> UInt16 {
        try bench.loop.listen(.loopback(port: 0)) { _ in TestProxy(behaviour, asked: asked) }.address.port
    }

    private static func client(
        _ bench: HTTPBench, proxy: String, _ certificate: Certificate, host: String = "127.0.0.1"
    ) throws -> HTTPClient {
        var configuration = HTTPClientConfiguration()
        configuration.proxy = HTTPProxy(proxy)
        configuration.connectTimeout = .seconds(20)
        return HTTPClient(
            loop: bench.loop, origin: HTTPOrigin(isSecure: true, host: host, port: bench.port),
            tls: try TLSClientContext(trustFile: certificate.certificateFile), configuration: configuration)
    }

    @Test("TLS goes through to the origin, over a kept connection", arguments: HTTPDrivers.present)
    func tunnel(_ mode: IOMode) throws {
        guard let certificate = Certificate.shared else {
            print("SKIPPED: proxy with TLS: no openssl program")
            return
        }
        let bench = try HTTPBench(mode)
        try bench.serve(
            ClosureService { request, exchange in
                exchange.respond(status: 200, fields: [], body: Array("got ".utf8) + request.body)
            },
            tls: try TLSServerContext(
                certificateFile: certificate.certificateFile, keyFile: certificate.keyFile))
        var asked: [String] = []
        let port = try Self.proxy(bench, .connects(to: bench.port)) { asked.append($0) }
        let client = try Self.client(bench, proxy: "http://me:s3cret@127.0.0.1:\(port)", certificate)
        let results = HTTPClientTests.Results()
        for index in 0..<3 {
            let body = Array(repeating: UInt8(0x61 + index), count: 100_000)
            client.send(HTTPClientRequest(method: "POST", target: "/p", body: body), completion: results.take)
            bench.run { results.count == index + 1 }
        }
        #expect(results.errors.isEmpty, "\(results.errors)")
        #expect(results.responses.map { $0.body.count } == [100_004, 100_004, 100_004])
        #expect(
            asked == [
                "CONNECT 127.0.0.1:\(bench.port) HTTP/1.1\r\nHost: 127.0.0.1:\(bench.port)\r\n"
                    + "Proxy-Authorization: Basic bWU6czNjcmV0\r\n\r\n"
            ], "once, for all of them")
        client.close()
    }

    @Test("what the proxy leads to is checked like anything else", arguments: HTTPDrivers.present)
    func stranger(_ mode: IOMode) throws {
        guard let certificate = Certificate.shared else { return }
        let bench = try HTTPBench(mode)
        try bench.serve(
            ClosureService { _, exchange in exchange.respond(status: 200, fields: [], body: []) },
            tls: try TLSServerContext(
                certificateFile: certificate.certificateFile, keyFile: certificate.keyFile))
        let port = try Self.proxy(bench, .connects(to: bench.port))
        let client = try Self.client(
            bench, proxy: "127.0.0.1:\(port)", certificate, host: "portal.example")
        let results = HTTPClientTests.Results()
        client.send(HTTPClientRequest(method: "GET", target: "/"), completion: results.take)
        bench.run { results.count == 1 }
        #expect(results.errors.first?.kind == .connectFailed)
        #expect(results.errors.first?.delivery == .notSent)
        #expect(results.errors.first?.description.contains("through http://127.0.0.1:\(port)") == true)
        client.close()
    }

    @Test(
        "a proxy that refuses is told as what it is",
        arguments: [
            ("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 4\r\n\r\nauth", "credentials"),
            ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "502"), ("HTTP/1.0 403 No\r\n\r\n", "403"),
            ("SSH-2.0-OpenSSH\r\n\r\n", "answers 0"),
        ])
    func refused(answer: String, reason: String) throws {
        guard let certificate = Certificate.shared else { return }
        let bench = try HTTPBench(.epoll)
        let port = try Self.proxy(bench, .answers(answer))
        let client = try Self.client(bench, proxy: "http://me:s3cret@127.0.0.1:\(port)", certificate)
        let results = HTTPClientTests.Results()
        client.send(HTTPClientRequest(method: "GET", target: "/"), completion: results.take)
        bench.run { results.count == 1 }
        let error = try #require(results.errors.first)
        #expect(error.delivery == .notSent)
        #expect(error.description.contains(reason), "\(error)")
        #expect(!error.description.contains("s3cret"))
        client.close()
    }

    @Test("which proxy, and for whom none")
    func environment() {
        func proxy(_ host: String, _ values: [String: String], isSecure: Bool = true) -> String? {
            HTTPProxy.forOrigin(HTTPOrigin(isSecure: isSecure, host: host, port: 443)) { values[$0] }.map {
                "\($0)"
            }
        }
        let values = [
            "HTTPS_PROXY": "http://u:p@proxy.lan:3128", "NO_PROXY": "localhost, .internal,exact.example",
        ]
        #expect(proxy("portal.example", values) == "http://proxy.lan:3128")
        #expect(proxy("portal.example", [:]) == nil)
        #expect(proxy("portal.example", values, isSecure: false) == nil)
        #expect(proxy("a.internal", values) == nil && proxy("internal", values) == nil)
        #expect(proxy("exact.example", values) == nil && proxy("inexact.example", values) != nil)
        #expect(proxy("portal.example", ["HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"]) == nil)
        #expect(HTTPProxy("socks5://x:1") == nil && HTTPProxy("") == nil)
        #expect(HTTPProxy("proxy.lan:8080").map { "\($0)" } == "http://proxy.lan:8080")
    }
}

@Suite("HTTP client: a connection grows old")
struct HTTPConnectionAgeTests {
    @Test("and then its successor looks the name up anew", arguments: HTTPDrivers.present)
    func age(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        _ = try bench.serve { _, exchange in exchange.respond(status: 200, fields: [], body: []) }
        let client = HTTPClientTests.client(bench) { $0.maximumAge = .zero }
        let results = HTTPClientTests.Results()
        for index in 0..<3 {
            client.send(HTTPClientRequest(method: "GET", target: "/"), completion: results.take)
            bench.run { results.count == index + 1 }
        }
        #expect(results.errors.isEmpty)
        #expect(bench.loop.counters.connects == 3)
        client.close()
    }
}
