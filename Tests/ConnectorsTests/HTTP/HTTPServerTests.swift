import Connectors
import Protocols
import Reactor
import Testing

@Suite("HTTP server: requests are answered, in order, over one connection", .serialized)
struct HTTPServerTests {
    /// Answers `METHOD path?query|body`.
    static func echo(_ request: HTTPRequest, _ exchange: HTTPExchange) {
        let query = request.query.map { "\($0.name)=\($0.value)" }.joined(separator: ",")
        let text =
            "\(request.method) \(request.path)?\(query)|\(String(decoding: request.body, as: UTF8.self))"
        exchange.respond(status: 200, body: Array(text.utf8), contentType: "text/plain")
    }

    @Test("a GET is answered and the connection kept", arguments: HTTPDrivers.present)
    func keepAlive(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        let service = try bench.serve(HTTPServerTests.echo)
        let peer = bench.connect("GET /a%20b%2541?x=1%262&y HTTP/1.1\r\nHost: h\r\nX-Thing: v\r\n\r\n")
        bench.run { peer.text.contains("|") }
        let answer = peer.takeText()
        #expect(answer.statusLine == "HTTP/1.1 200 OK")
        #expect(answer.httpBody == "GET /a b%41?x=1&2,y=|")
        #expect(answer.contains("\r\nContent-Length: \(answer.httpBody.utf8.count)\r\n"))
        #expect(answer.contains("\r\nContent-Type: text/plain\r\n"))
        #expect(answer.contains("\r\nDate: "))
        #expect(!answer.contains("Connection: close"))
        #expect(service.requests.first?.fields["x-thing"] == "v")
        #expect(service.requests.first?.target == "/a%20b%2541?x=1%262&y")
        #expect(service.requests.first?.peer?.host == "127.0.0.1")

        peer.send("POST /second HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
        bench.run { peer.text.contains("|hello") }
        #expect(peer.text.httpBody == "POST /second?|hello")
        #expect(!peer.isOver)
        #expect(bench.metrics[.httpRequests] == 2)
        #expect(bench.metrics[.httpErrors] == 0)
        #expect(bench.metrics[.httpConnections] == 1)
        peer.connection?.close()
        bench.run { bench.metrics[.httpConnections] == 0 }
    }

    @Test("pipelined requests are answered in order, the slow one first", arguments: HTTPDrivers.present)
    func pipelining(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        var held: [HTTPExchange] = []
        let service = try bench.serve { request, exchange in
            if request.path == "/slow" {
                held.append(exchange)
            } else {
                HTTPServerTests.echo(request, exchange)
            }
        }
        let peer = bench.connect(
            "GET /slow HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                + "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nGET /3 HTTP/1.1\r\nHost: h\r\n\r\nGET /4 HTTP/1.1\r\nHost: h\r\n\r\n"
        )
        bench.run { held.count == 1 }
        bench.settle()
        #expect(peer.bytes.isEmpty)
        #expect(service.requests.count == 1)
        held[0].respond(status: 200, body: Array("SLOW".utf8))
        bench.run { peer.text.contains("/4?|") }
        #expect(service.requests.map(\.path) == ["/slow", "/2", "/3", "/4"])
        let order = ["SLOW", "POST /2?|abcde", "GET /3?|", "GET /4?|"]
        var rest = peer.text[...]
        for part in order {
            let range = try #require(rest.firstRange(of: part), "\(part) is missing or out of order")
            rest = rest[range.upperBound...]
        }
        #expect(peer.text.count(of: "HTTP/1.1 200 OK") == 4)
    }

    @Test("a request cut at every byte is read the same", arguments: HTTPDrivers.present)
    func cutAnywhere(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        let service = try bench.serve(HTTPServerTests.echo)
        let request = Array("POST /p?q=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody".utf8)
        let peer = bench.connect()
        for cut in 1..<request.count {
            peer.connection?.send(Array(request[..<cut]))
            bench.loop.runOnce(maximumWait: .milliseconds(1))
            bench.loop.runOnce(maximumWait: .zero)
            peer.connection?.send(Array(request[cut...]))
            bench.run { service.requests.count == cut }
        }
        bench.run { peer.text.count(of: "POST /p?q=1|body") == request.count - 1 }
        #expect(service.requests.allSatisfy { $0.body == Array("body".utf8) && $0.path == "/p" })
    }

    @Test("HEAD gets the length but no body; 204 has neither", arguments: HTTPDrivers.present)
    func head(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        _ = try bench.serve { request, exchange in
            if request.path == "/none" {
                exchange.respond(status: 204)
            } else {
                HTTPServerTests.echo(request, exchange)
            }
        }
        let peer = bench.connect("HEAD /x HTTP/1.1\r\nHost: h\r\n\r\nGET /none HTTP/1.1\r\nHost: h\r\n\r\n")
        bench.run { peer.text.contains("204") }
        #expect(peer.text.contains("Content-Length: 9\r\n"))
        #expect(!peer.text.contains("HEAD /x?|"))
        #expect(peer.text.count(of: "Content-Length") == 1)
    }

    @Test("Expect: 100-continue is answered before the body is sent", arguments: HTTPDrivers.present)
    func expectContinue(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        _ = try bench.serve(HTTPServerTests.echo)
        let peer = bench.connect(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        bench.run { peer.text.contains("100 Continue") }
        #expect(peer.takeText() == "HTTP/1.1 100 Continue\r\n\r\n")
        peer.send("ok")
        bench.run { peer.text.contains("|ok") }
        #expect(peer.text.statusLine == "HTTP/1.1 200 OK")
        let other = bench.answer(to: "GET / HTTP/1.1\r\nHost: h\r\nExpect: a-miracle\r\n\r\n")
        #expect(other.statusLine == "HTTP/1.1 417 Expectation Failed")
    }

    @Test(
        "the connection closes when the client asks, and by itself with HTTP/1.0",
        arguments: HTTPDrivers.present)
    func closing(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        _ = try bench.serve(HTTPServerTests.echo)
        let asked = bench.answer(to: "GET /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        #expect(asked.contains("Connection: close\r\n"))
        #expect(asked.httpBody == "GET /c?|")
        let old = bench.answer(to: "GET /o HTTP/1.0\r\n\r\n")
        #expect(old.httpBody == "GET /o?|")
        let kept = bench.connect("GET /k HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        bench.run { kept.text.contains("|") }
        #expect(kept.text.contains("Connection: keep-alive\r\n"))
        bench.settle()
        #expect(!kept.isOver)
    }

    @Test("a half-closed client still gets its answer", arguments: HTTPDrivers.present)
    func halfClosed(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        var held: HTTPExchange?
        _ = try bench.serve { _, exchange in held = exchange }
        let peer = bench.connect("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        peer.connection?.shutdownOutput()
        bench.run { held != nil }
        bench.settle()
        held?.respond(status: 200, body: Array("late".utf8))
        bench.run { peer.isOver }
        #expect(peer.text.httpBody == "late")
    }

    @Test(
        "a service that forgets a request answers 500; one that aborts answers nothing",
        arguments: HTTPDrivers.present)
    func forgotten(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        _ = try bench.serve { request, exchange in
            if request.path == "/abort" { exchange.abort() }
        }
        let peer = bench.connect("GET /forget HTTP/1.1\r\nHost: h\r\n\r\n")
        bench.run { peer.text.contains("500") }
        #expect(peer.text.httpBody == #"{"errors":{"detail":"Internal Server Error"}}"#)
        #expect(bench.metrics[.httpErrors] == 1)
        peer.send("GET /abort HTTP/1.1\r\nHost: h\r\n\r\n")
        bench.run { peer.isOver }
        #expect(peer.text.count(of: "HTTP/1.1") == 1)
    }

    @Test("answers after the client has gone do nothing", arguments: HTTPDrivers.present)
    func gone(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        var held: HTTPExchange?
        _ = try bench.serve { _, exchange in held = exchange }
        let peer = bench.connect("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        bench.run { held != nil }
        #expect(held?.isPending == true)
        peer.connection?.reset()
        bench.run { bench.metrics[.httpConnections] == 0 }
        #expect(held?.isPending == false)
        held?.respond(status: 200)
        held?.respond(status: 200)
        let stream = held?.beginStream(status: 200, fields: [])
        #expect(stream?.write([1]) == .closed)
        #expect(bench.metrics[.httpRequests] == 0)
    }

    @Test("stopping finishes what is under way and closes the rest", arguments: HTTPDrivers.present)
    func stopping(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        var held: HTTPExchange?
        _ = try bench.serve { _, exchange in held = exchange }
        let idle = bench.connect()
        let busy = bench.connect("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        bench.run { held != nil && bench.metrics[.httpConnections] == 2 }
        bench.server?.closeAll()
        bench.run { idle.isOver }
        #expect(!busy.isOver)
        held?.respond(status: 200, body: Array("done".utf8))
        bench.run { busy.isOver }
        #expect(busy.text.contains("Connection: close\r\n"))
        #expect(busy.text.httpBody == "done")
        let late = bench.connect("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        bench.run { late.isOver }
        #expect(late.text.isEmpty)
    }
}
