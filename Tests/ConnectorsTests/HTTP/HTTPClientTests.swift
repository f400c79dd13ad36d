import Connectors
import Protocols
import Reactor
import Testing

@Suite("HTTP client: bounded, in time, and honest about what the peer may have seen", .serialized)
struct HTTPClientTests {
    /// Collects what completions bring.
    final class Results {
        var responses: [HTTPClientResponse] = []
        var errors: [HTTPClientError] = []
        var count: Int { responses.count + errors.count }

        func take(_ result: Result<HTTPClientResponse, HTTPClientError>) {
            switch result {
            case .success(let response): responses.append(response)
            case .failure(let error): errors.append(error)
            }
        }
    }

    static func client(
        _ bench: HTTPBench, port: UInt16? = nil, _ change: (inout HTTPClientConfiguration) -> Void = { _ in }
    ) -> HTTPClient {
        var configuration = HTTPClientConfiguration()
        change(&configuration)
        return HTTPClient(
            loop: bench.loop,
            origin: HTTPOrigin(isSecure: false, host: "127.0.0.1", port: port ?? bench.port), tls: nil,
            configuration: configuration)
    }

    @Test("requests and responses go over one kept connection", arguments: HTTPDrivers.present)
    func keepAlive(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        let service = try bench.serve { request, exchange in
            exchange.respond(
                status: 201, fields: [("X-Answer", "42")], body: Array("got ".utf8) + request.body)
        }
        let client = Self.client(bench)
        let results = Results()
        for index in 0..<3 {
            client.send(
                HTTPClientRequest(
                    method: "POST", target: "/p?\(index)", fields: [("X-Secret", "s")],
                    body: Array("body\(index)".utf8)), completion: results.take)
            #expect(results.count == index, "never before send returns")
            bench.run { results.count == index + 1 }
        }
        #expect(results.errors.isEmpty)
        #expect(results.responses.map(\.status) == [201, 201, 201])
        #expect(
            results.responses.map { String(decoding: $0.body, as: UTF8.self) } == [
                "got body0", "got body1", "got body2",
            ])
        #expect(results.responses[0].fields["x-answer"] == "42")
        #expect(service.requests.map(\.target) == ["/p?0", "/p?1", "/p?2"])
        #expect(service.requests[0].fields["host"] == "127.0.0.1:\(bench.port)")
        #expect(service.requests[0].fields["x-secret"] == "s")
        #expect(bench.loop.counters.connects == 1)
        client.close()
    }

    @Test(
        "no more connections than allowed; the rest waits; beyond the queue is refused",
        arguments: HTTPDrivers.present)
    func bounds(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        var held: [HTTPExchange] = []
        _ = try bench.serve { _, exchange in held.append(exchange) }
        let client = Self.client(bench) {
            $0.maximumConnections = 2
            $0.maximumQueued = 4
        }
        let results = Results()
        for _ in 0..<2 {
            client.send(HTTPClientRequest(method: "GET", target: "/"), completion: results.take)
        }
        bench.run { held.count == 2 }
        for _ in 0..<5 {
            client.send(HTTPClientRequest(method: "GET", target: "/"), completion: results.take)
        }
        bench.run { results.errors.count == 1 }
        #expect(results.errors[0].kind == .queueFull)
        #expect(results.errors[0].delivery == .notSent)
        #expect(client.queuedCount == 4)
        #expect(client.connectionCount == 2)
        bench.run {
            for exchange in held { exchange.respond(status: 200) }
            return results.responses.count == 6
        }
        #expect(held.count == 6)
        #expect(bench.loop.counters.connects == 2)
        client.close()
    }

    @Test("nobody listens: not sent, in clear words", arguments: HTTPDrivers.present)
    func refused(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        let gone = try bench.loop.listen(.loopback(port: 0), options: ListenOptions()) { _ in RawPeer() }
        let port = gone.address.port
        gone.close()
        let client = Self.client(bench, port: port)
        let results = Results()
        for _ in 0..<3 {
            client.send(
                HTTPClientRequest(method: "POST", target: "/token-secret", body: [1]),
                completion: results.take)
        }
        bench.run { results.errors.count == 3 }
        for error in results.errors {
            #expect(error.kind == .connectFailed)
            #expect(error.delivery == .notSent)
            #expect(error.description.contains("refused"))
            #expect(!error.description.contains("secret"))
        }
        #expect(client.connectionCount == 0)
        client.close()
    }

    @Test(
        "no answer in time: the outcome is unknown; one that waited was not sent",
        arguments: HTTPDrivers.present)
    func timeouts(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        var held: [HTTPExchange] = []
        _ = try bench.serve { _, exchange in held.append(exchange) }
        let client = Self.client(bench) { $0.maximumConnections = 1 }
        let sent = Results()
        let waiting = Results()
        client.send(
            HTTPClientRequest(method: "POST", target: "/", timeout: .milliseconds(150)), completion: sent.take
        )
        client.send(
            HTTPClientRequest(method: "POST", target: "/", timeout: .milliseconds(60)),
            completion: waiting.take)
        bench.run { waiting.count == 1 && sent.count == 1 }
        #expect(waiting.errors.first?.kind == .timeout)
        #expect(waiting.errors.first?.delivery == .notSent)
        #expect(sent.errors.first?.kind == .timeout)
        #expect(sent.errors.first?.delivery == .outcomeUnknown)
        #expect(held.count == 1)
        bench.settle()
        #expect(client.connectionCount == 0, "a connection with an answer still owed is of no use")
        client.close()
    }

    @Test(
        "a stale kept connection: GET goes again, POST is left to the caller", arguments: HTTPDrivers.present)
    func stale(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        // The server resets the second request of each connection.
        var seen: [String: Int] = [:]
        let service = try bench.serve { request, exchange in
            let peer = request.peer?.description ?? ""
            seen[peer, default: 0] += 1
            if seen[peer] == 2 { exchange.abort() } else { exchange.respond(status: 200) }
        }
        let client = Self.client(bench)
        let results = Results()
        client.send(HTTPClientRequest(method: "GET", target: "/1"), completion: results.take)
        bench.run { results.count == 1 }
        client.send(HTTPClientRequest(method: "GET", target: "/2"), completion: results.take)
        bench.run { results.count == 2 }
        #expect(results.errors.isEmpty)
        #expect(service.requests.map(\.target) == ["/1", "/2", "/2"])
        client.send(HTTPClientRequest(method: "POST", target: "/3"), completion: results.take)
        bench.run { results.count == 3 }
        #expect(results.errors.first?.kind == .connectionLost)
        #expect(results.errors.first?.delivery == .outcomeUnknown)
        #expect(service.requests.map(\.target) == ["/1", "/2", "/2", "/3"])
        client.close()
    }

    @Test("a request that kills every connection is not tried for ever", arguments: HTTPDrivers.present)
    func deadly(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        let service = try bench.serve { request, exchange in
            if request.path == "/die" { exchange.abort() } else { exchange.respond(status: 200) }
        }
        let client = Self.client(bench)
        let results = Results()
        client.send(HTTPClientRequest(method: "GET", target: "/ok"), completion: results.take)
        bench.run { results.count == 1 }
        client.send(HTTPClientRequest(method: "GET", target: "/die"), completion: results.take)
        bench.run { results.count == 2 }
        #expect(results.errors.first?.kind == .connectionLost)
        #expect(service.requests.map(\.path) == ["/ok", "/die", "/die"])
        client.close()
    }

    @Test("answers of a misbehaving server", arguments: HTTPDrivers.present)
    func misbehaving(_ mode: IOMode) throws {
        let cases: [(answer: String, kind: HTTPClientError.Kind?, body: String)] = [
            ("SSH-2.0-OpenSSH\r\n", .invalidResponse, ""),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab", .invalidResponse, ""),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", .responseTooLarge, ""),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n\(String(repeating: "x", count: 4095))",
                .responseTooLarge, ""
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", .connectionLost, ""),
            ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", .invalidResponse, ""),
            ("HTTP/1.1 200 OK\r\n\r\nuntil the end", nil, "until the end"),
            (
                "HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", nil,
                "ok"
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nch\r\n3;x=y\r\nunk\r\n0\r\nT: r\r\n\r\n",
                nil, "chunk"
            ),
        ]
        for (answer, kind, body) in cases {
            let bench = try HTTPBench(mode)
            let listener = try bench.loop.listen(.loopback(port: 0), options: ListenOptions()) { _ in
                OneAnswer(answer)
            }
            let client = Self.client(bench, port: listener.address.port) { $0.maximumBody = 1000 }
            let results = Results()
            client.send(HTTPClientRequest(method: "GET", target: "/"), completion: results.take)
            bench.run { results.count == 1 }
            #expect(results.errors.first?.kind == kind, "\(answer.prefix(40))")
            if kind != nil { #expect(results.errors.first?.delivery == .outcomeUnknown) }
            #expect(results.responses.first.map { String(decoding: $0.body, as: UTF8.self) } ?? "" == body)
            bench.settle(.milliseconds(10))
            #expect(results.count == 1, "exactly once")
            client.close()
        }
    }

    @Test("closing fails what waits and what is under way", arguments: HTTPDrivers.present)
    func closing(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        var held: [HTTPExchange] = []
        _ = try bench.serve { _, exchange in held.append(exchange) }
        let client = Self.client(bench) { $0.maximumConnections = 1 }
        let results = Results()
        client.send(HTTPClientRequest(method: "GET", target: "/"), completion: results.take)
        bench.run { held.count == 1 }
        client.send(HTTPClientRequest(method: "GET", target: "/"), completion: results.take)
        client.close()
        bench.run { results.count == 2 }
        client.send(HTTPClientRequest(method: "GET", target: "/"), completion: results.take)
        bench.run { results.count == 3 }
        #expect(results.errors.map(\.kind) == [.clientClosed, .clientClosed, .clientClosed])
        #expect(results.errors.map(\.delivery) == [.notSent, .outcomeUnknown, .notSent])
        bench.run { client.connectionCount == 0 }
    }

    @Test("an unused connection is closed after a while", arguments: HTTPDrivers.present)
    func idle(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        _ = try bench.serve { _, exchange in exchange.respond(status: 200) }
        let client = Self.client(bench) { $0.idleTimeout = .milliseconds(50) }
        let results = Results()
        client.send(HTTPClientRequest(method: "GET", target: "/"), completion: results.take)
        bench.run { results.count == 1 }
        #expect(client.connectionCount == 1)
        bench.run { client.connectionCount == 0 && bench.metrics[.httpConnections] == 0 }
        client.send(HTTPClientRequest(method: "GET", target: "/"), completion: results.take)
        bench.run { results.responses.count == 2 }
        client.close()
    }
}

/// Answers the first bytes with a fixed text and closes.
private final class OneAnswer: ConnectionHandler {
    private let answer: String

    init(_ answer: String) { self.answer = answer }

    func received(_ bytes: RawSpan, on connection: Connection) -> Consumed {
        connection.send(Array(answer.utf8))
        connection.close()
        return .all(bytes.byteCount)
    }

    func closed(_ connection: Connection, _ reason: CloseReason) {}
}
