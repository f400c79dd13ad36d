import Connectors
import Reactor
import Testing

@Suite("HTTP streams reach their readers and drop those who lag", .serialized)
struct HTTPStreamTests {
    @Test("chunks arrive as written, and the end is told", arguments: HTTPDrivers.present)
    func chunks(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        var stream: HTTPStream?
        var lost = 0
        _ = try bench.serve { _, exchange in
            stream = exchange.beginStream(status: 200, fields: [("Content-Type", "text/event-stream")])
            stream?.onClosed = { lost += 1 }
        }
        let peer = bench.connect("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        bench.run { stream != nil }
        #expect(stream?.isOpen == true)
        #expect(stream?.write(Array("hello".utf8)) == .queued)
        #expect(stream?.write([]) == .queued)
        #expect(stream?.write(Array("0123456789abcdef".utf8)) == .queued)
        bench.run { peer.text.hasSuffix("f\r\n") }
        #expect(peer.text.contains("\r\nTransfer-Encoding: chunked\r\n"))
        #expect(peer.text.contains("\r\nContent-Type: text/event-stream\r\n"))
        #expect(peer.text.httpBody == "5\r\nhello\r\n10\r\n0123456789abcdef\r\n")
        stream?.end()
        bench.run { peer.isOver }
        #expect(peer.text.hasSuffix("f\r\n0\r\n\r\n"))
        #expect(lost == 0, "end() is not a loss")
        #expect(stream?.write([1]) == .closed)
    }

    @Test("an HTTP/1.0 client gets the bytes bare, ended by closing", arguments: HTTPDrivers.present)
    func http10(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        _ = try bench.serve { _, exchange in
            let stream = exchange.beginStream(status: 200, fields: [])
            stream.write(Array("bare".utf8))
            stream.end()
        }
        let answer = bench.answer(to: "GET / HTTP/1.0\r\n\r\n")
        #expect(answer.httpBody == "bare")
        #expect(!answer.contains("chunked"))
    }

    @Test("HEAD on a stream gets its head only", arguments: HTTPDrivers.present)
    func head(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        var result: SendResult?
        _ = try bench.serve { _, exchange in
            result = exchange.beginStream(status: 200, fields: []).write(Array("body".utf8))
        }
        let answer = bench.answer(to: "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(answer.statusLine == "HTTP/1.1 200 OK")
        #expect(answer.httpBody.isEmpty)
        #expect(result == .closed)
    }

    @Test("a reader that leaves is noticed without a write", arguments: HTTPDrivers.present)
    func leaves(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        var stream: HTTPStream?
        var lost = 0
        _ = try bench.serve { _, exchange in
            stream = exchange.beginStream(status: 200, fields: [])
            stream?.onClosed = { lost += 1 }
        }
        let peer = bench.connect("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        bench.run { stream != nil }
        peer.connection?.close()
        bench.run { lost == 1 }
        #expect(stream?.isOpen == false)
        #expect(stream?.write([1]) == .closed)
        bench.run { bench.metrics[.httpConnections] == 0 }
    }

    @Test("a reader that does not read is cut off at the bound; others go on", arguments: HTTPDrivers.present)
    func slowReader(_ mode: IOMode) throws {
        var limits = HTTPServerLimits()
        limits.maximumStreamQueueBytes = 64 * 1024
        let bench = try HTTPBench(mode)
        var streams: [HTTPStream] = []
        var lost = 0
        _ = try bench.serve(limits: limits) { _, exchange in
            let stream = exchange.beginStream(status: 200, fields: [])
            stream.onClosed = { lost += 1 }
            streams.append(stream)
        }
        let slow = bench.connect("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
        bench.run { streams.count == 1 }
        slow.connection?.pauseReading()
        let quick = bench.connect("GET /quick HTTP/1.1\r\nHost: h\r\n\r\n")
        bench.run { streams.count == 2 }
        let piece = [UInt8](repeating: 0x61, count: 32 * 1024)
        var results: [SendResult] = []
        var highest = 0
        bench.run {
            let result = streams[0].write(piece)
            results.append(result)
            highest = max(highest, streams[0].queuedBytes)
            return result != .queued
        }
        #expect(results.last == .overflow)
        #expect(highest <= 64 * 1024)
        #expect(streams[0].write(piece) == .closed)
        bench.run { lost == 1 }
        #expect(bench.metrics[.httpRejected] == 1)
        #expect(streams[1].write(Array("still here".utf8)) == .queued)
        bench.run { quick.text.contains("still here") }
    }

    @Test("stopping the server ends streams properly", arguments: HTTPDrivers.present)
    func stopping(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        var stream: HTTPStream?
        _ = try bench.serve { _, exchange in stream = exchange.beginStream(status: 200, fields: []) }
        let peer = bench.connect("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        bench.run { stream != nil }
        bench.server?.closeAll()
        bench.run { peer.isOver }
        #expect(peer.text.hasSuffix("\r\n\r\n0\r\n\r\n"))
    }
}
