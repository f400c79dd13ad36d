import Connectors
import Protocols
import Reactor
import Testing

@Suite("HTTP server: bad input is answered, counted, logged once, and hurts nobody else", .serialized)
struct HTTPServerBadInputTests {
    static let cases: [(name: String, bytes: String, status: String)] = [
        ("garbage", "\u{16}\u{3}\u{1}\u{2}\u{0}garbage\r\n\r\n", "400 Bad Request"),
        ("no version", "GET /\r\n\r\n", "400 Bad Request"),
        ("no host", "GET / HTTP/1.1\r\n\r\n", "400 Bad Request"),
        ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400 Bad Request"),
        ("bare line feeds", "GET / HTTP/1.1\nHost: h\n\n", "400 Bad Request"),
        ("folded field", "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", "400 Bad Request"),
        ("space before colon", "GET / HTTP/1.1\r\nHost : h\r\n\r\n", "400 Bad Request"),
        ("bad length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", "400 Bad Request"),
        (
            "two lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "400 Bad Request"
        ),
        (
            "length and chunked",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "400 Bad Request"
        ),
        (
            "bad chunk", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "400 Bad Request"
        ),
        ("bad percent in path", "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", "400 Bad Request"),
        ("path that is no UTF-8", "GET /%ff HTTP/1.1\r\nHost: h\r\n\r\n", "400 Bad Request"),
        ("bad percent in query", "GET /?a=%4 HTTP/1.1\r\nHost: h\r\n\r\n", "400 Bad Request"),
        (
            "announced body too large", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n",
            "413 Content Too Large"
        ),
        (
            "chunked body too large",
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n", "413 Content Too Large"
        ),
        (
            "long target", "GET /\(String(repeating: "a", count: 600)) HTTP/1.1\r\nHost: h\r\n\r\n",
            "414 URI Too Long"
        ),
        (
            "many field bytes",
            "GET / HTTP/1.1\r\nHost: h\r\nA: \(String(repeating: "a", count: 3000))\r\n\r\n",
            "431 Request Header Fields Too Large"
        ),
        (
            "coding without an end", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n",
            "400 Bad Request"
        ),
        (
            "unknown coding", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "501 Not Implemented"
        ),
        ("CONNECT", "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", "501 Not Implemented"),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 HTTP Version Not Supported"),
    ]

    static var limits: HTTPServerLimits {
        var limits = HTTPServerLimits()
        limits.maximumRequestLineBytes = 512
        limits.maximumHeadBytes = 2048
        limits.maximumBodyBytes = 1024
        limits.lingerTimeout = .milliseconds(300)
        return limits
    }

    @Test("each kind of garbage has its status", arguments: HTTPDrivers.present)
    func garbage(_ mode: IOMode) throws {
        for (name, bytes, status) in Self.cases {
            let bench = try HTTPBench(mode)
            let service = try bench.serve(limits: Self.limits, HTTPServerTests.echo)
            let other = bench.connect("GET /other HTTP/1.1\r\nHost: h\r\n\r\n")
            bench.run { other.text.contains("/other?|") }

            let answer = bench.answer(to: bytes)
            #expect(answer.statusLine == "HTTP/1.1 \(status)", "\(name)")
            #expect(answer.contains("\r\nConnection: close\r\n"), "\(name)")
            let detail = status.drop { $0 != " " }.dropFirst()
            #expect(answer.httpBody == #"{"errors":{"detail":"\#(detail)"}}"#, "\(name)")
            #expect(bench.metrics[.httpRejected] == 1, "\(name)")
            #expect(bench.log.lines.count == 1, "\(name): \(bench.log.lines)")
            let code = status.prefix(3)
            #expect(bench.log.lines.first?.contains("status=\(code)") == true, "\(name)")
            #expect(bench.log.lines.first?.contains("peer=127.0.0.1") == true, "\(name)")
            #expect(service.requests.count == 1, "\(name) must not reach the service")

            other.send("GET /again HTTP/1.1\r\nHost: h\r\n\r\n")
            bench.run { other.text.contains("/again?|") }
        }
    }

    @Test("what is good before the garbage is answered first", arguments: HTTPDrivers.present)
    func goodThenBad(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        _ = try bench.serve(limits: Self.limits, HTTPServerTests.echo)
        let answer = bench.answer(to: "GET /good HTTP/1.1\r\nHost: h\r\n\r\nnonsense\r\n\r\n")
        #expect(answer.contains("GET /good?|"))
        #expect(answer.contains("HTTP/1.1 400 Bad Request"))
    }

    @Test("slow headers, a slow body and an idle connection end in time", arguments: HTTPDrivers.present)
    func slow(_ mode: IOMode) throws {
        var limits = Self.limits
        limits.headTimeout = .milliseconds(80)
        limits.bodyTimeout = .milliseconds(80)
        limits.idleTimeout = .milliseconds(150)
        let bench = try HTTPBench(mode)
        let service = try bench.serve(limits: limits, HTTPServerTests.echo)

        let head = bench.answer(to: "GET / HTTP/1.1\r\nHo")
        #expect(head.statusLine == "HTTP/1.1 408 Request Timeout")
        let body = bench.answer(to: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
        #expect(body.statusLine == "HTTP/1.1 408 Request Timeout")
        #expect(bench.metrics[.httpRejected] == 2)
        #expect(bench.log.lines.count == 2)

        let idle = bench.answer(to: "GET /one HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(idle.httpBody == "GET /one?|")
        let silent = bench.answer(to: "")
        #expect(silent.isEmpty)
        #expect(bench.metrics[.httpRejected] == 2, "idling is no fault")
        #expect(service.requests.count == 1)
    }

    @Test("a client that drips its header bytes does not stretch the time", arguments: HTTPDrivers.present)
    func drip(_ mode: IOMode) throws {
        var limits = Self.limits
        limits.headTimeout = .milliseconds(100)
        let bench = try HTTPBench(mode)
        _ = try bench.serve(limits: limits, HTTPServerTests.echo)
        let peer = bench.connect("GET / HTTP/1.1\r\nHost: h\r\n")
        var sent = 0
        while !peer.isOver, sent < 400 {
            peer.send("A: b\r\n")
            sent += 1
            bench.settle(.milliseconds(10))
        }
        #expect(peer.text.statusLine == "HTTP/1.1 408 Request Timeout")
        #expect(sent < 400)
    }

    @Test("connections beyond the bound are told so", arguments: HTTPDrivers.present)
    func tooMany(_ mode: IOMode) throws {
        var limits = Self.limits
        limits.maximumConnections = 2
        let bench = try HTTPBench(mode)
        _ = try bench.serve(limits: limits, HTTPServerTests.echo)
        let first = bench.connect()
        let second = bench.connect()
        bench.run { bench.metrics[.httpConnections] == 2 }
        let third = bench.answer(to: "")
        #expect(third.statusLine == "HTTP/1.1 503 Service Unavailable")
        #expect(third.contains("Retry-After: 5\r\n"))
        #expect(bench.metrics[.httpRejected] == 1)
        first.connection?.close()
        bench.run { bench.metrics[.httpConnections] == 1 }
        let fourth = bench.connect("GET /4 HTTP/1.1\r\nHost: h\r\n\r\n")
        bench.run { fourth.text.contains("/4?|") }
        #expect(!second.isOver)
    }

    @Test("a flood of pipelined requests is held back, not stored", arguments: HTTPDrivers.present)
    func flood(_ mode: IOMode) throws {
        var limits = Self.limits
        limits.maximumPipelinedBytes = 4096
        let bench = try HTTPBench(mode)
        var held: [HTTPExchange] = []
        let service = try bench.serve(limits: limits) { request, exchange in
            if held.isEmpty { held.append(exchange) } else { HTTPServerTests.echo(request, exchange) }
        }
        let request = "GET /f HTTP/1.1\r\nHost: h\r\n\r\n"
        let count = 4000
        let peer = bench.connect(String(repeating: request, count: count))
        bench.run { held.count == 1 }
        bench.settle()
        #expect(service.requests.count == 1)
        held[0].respond(status: 200, body: Array("GET /f?|".utf8))
        bench.run { service.requests.count == count && peer.text.hasSuffix("GET /f?|") }
        bench.run { peer.text.count(of: "GET /f?|") == count }
    }

    @Test(
        "a flood of bad clients is logged so many times a second, the rest counted",
        arguments: HTTPDrivers.present)
    func logFlood(_ mode: IOMode) throws {
        var limits = Self.limits
        limits.maximumRefusalLogsPerSecond = 3
        let bench = try HTTPBench(mode)
        _ = try bench.serve(limits: limits, HTTPServerTests.echo)
        for _ in 0..<10 { _ = bench.answer(to: "bad\r\n\r\n") }
        #expect(bench.metrics[.httpRejected] == 10)
        #expect(bench.log.lines.count < 10)
        #expect(bench.log.lines.count >= 3)
    }
}
