import Benchmark
import CallEngine
import Protocols

/// An event as Asterisk sends it: a call's first sign, 700 bytes with what the daemon has set as channel variables.
let sampleEvent = Array(
    """
    {"type":"ChannelCreated","timestamp":"2026-03-02T10:00:00.123+0100","channel":{"id":"pbx-1772442000.17",\
    "name":"PJSIP/trunk-00000011","state":"Ring","protocol_id":"7b2e0d9a-54c1-4a36-9c8e-0f6d2f9f8d11",\
    "caller":{"name":"Caf\\u00e9 Example","number":"+4930123456"},"connected":{"name":"","number":""},\
    "accountcode":"","dialplan":{"context":"from-trunk","exten":"4930987654","priority":1,"app_name":"","app_data":""},\
    "creationtime":"2026-03-02T10:00:00.120+0100","language":"en","channelvars":{"CHANNEL(linkedid)":"pbx-1772442000.17",\
    "CALLERID(num)":"+4930123456","EXTEN":"4930987654"}},"asterisk_id":"00:16:3e:11:22:33","application":"callflow"}
    """.utf8)

func parserBenchmarks() {
    Benchmark("JSON: check an event and find 13 fields") { benchmark in
        let scanner = JSONFieldScanner(
            JSONFieldPlan([
                ["type"], ["timestamp"], ["channel", "id"], ["channel", "name"], ["channel", "state"],
                ["channel", "caller", "number"], ["channel", "caller", "name"],
                ["channel", "connected", "number"],
                ["channel", "dialplan", "context"], ["channel", "dialplan", "exten"],
                ["channel", "creationtime"],
                ["channel", "channelvars", "CHANNEL(linkedid)"], ["channel", "channelvars", "CALLERID(num)"],
            ]))
        let bytes = sampleEvent.span.bytes
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations { blackHole(try scanner.scan(bytes).root == .object) }
    }

    Benchmark("JSON: an event as a tree of values") { benchmark in
        for _ in benchmark.scaledIterations { blackHole(try JSONValue.parse(sampleEvent.span.bytes)) }
    }

    Benchmark("ARIEventReader: an event") { benchmark in
        var reader = ARIEventReader()
        var event = ARIEvent()
        let bytes = sampleEvent.span.bytes
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations { try reader.read(bytes, into: &event) }
        blackHole(event.kind)
    }

    Benchmark("WebSocket: a text frame of a server") { benchmark in
        var session = WebSocketSession(role: .client, textValidation: .reader)
        var stream: [UInt8] = []
        FrameWriter.appendHeader(.text, count: sampleEvent.count, fin: true, maskingKey: nil, to: &stream)
        stream += sampleEvent
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations {
            guard case .value(_, stream.count) = try session.next(stream.span.bytes) else {
                return benchmark.error("the frame was not taken whole")
            }
        }
    }

    Benchmark("HTTP: a request's head") { benchmark in
        let request = Array(
            """
            GET /api/calls?limit=50&status=answered HTTP/1.1\r\nHost: pbx.example:8080\r\nUser-Agent: curl/8.5.0\r\n\
            Accept: application/json\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\n\r\n
            """.utf8)
        var parser = HTTPRequestParser()
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations {
            var rest = request[...]
            while !rest.isEmpty {
                guard case .value(_, let used) = try parser.next(rest.span.bytes) else {
                    return benchmark.error("the request was not taken whole")
                }
                rest = rest.dropFirst(used)
            }
        }
    }

    Benchmark("Timestamp: Asterisk's layout") { benchmark in
        let text = Array("2026-03-02T10:00:00.123+0100".utf8)
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations { blackHole(Timestamp(text.span.bytes)) }
    }

    Benchmark("URL: a webhook's") { benchmark in
        for _ in benchmark.scaledIterations {
            blackHole(try Protocols.URL("https://portal.example/rest/1/abcdef0123456789/batch.json?halt=0"))
        }
    }
}
