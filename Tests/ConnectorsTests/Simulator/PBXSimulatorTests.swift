import Foundation
import Protocols
import Reactor
import Testing

@testable import Connectors
@testable import Simulator

/// Reads events as any WebSocket client would.
private final class Reader: WebSocketDelegate {
    var events: [[UInt8]] = []
    var close: WebSocketClose?
    var isOpen = false

    func opened(_ socket: WebSocketConnection) { isOpen = true }

    func message(_ kind: WebSocketMessageKind, _ payload: RawSpan, on socket: WebSocketConnection) {
        events.append(payload.withUnsafeBytes { Array($0) })
    }

    func closed(_ socket: WebSocketConnection, _ close: WebSocketClose) {
        isOpen = false
        self.close = close
    }
}

extension ARIBench {
    /// Sends one request and waits for its answer.
    fileprivate func request(
        _ method: String, _ target: String, user: String? = "callflow:secret", body: String = ""
    ) throws -> (status: Int, body: String, fields: HTTPFields) {
        let client = HTTPClient(
            loop: loop, origin: HTTPOrigin(isSecure: false, host: "127.0.0.1", port: address.port), tls: nil)
        var fields: [(String, String)] = []
        if let user { fields.append(("Authorization", "Basic " + Base64.encoded(Array(user.utf8)))) }
        var answer: Result<HTTPClientResponse, HTTPClientError>?
        client.send(
            HTTPClientRequest(method: method, target: target, fields: fields, body: Array(body.utf8))
        ) { answer = $0 }
        #expect(run { answer != nil })
        client.close()
        let response = try #require(try answer?.get())
        return (response.status, String(decoding: response.body, as: UTF8.self), response.fields)
    }

    fileprivate func read(
        _ query: String, user: String? = "callflow:secret"
    ) throws -> (Reader, WebSocketConnection) {
        let reader = Reader()
        var fields: [(String, String)] = []
        if let user { fields.append(("Authorization", "Basic " + Base64.encoded(Array(user.utf8)))) }
        let socket = WebSocketConnection.connect(
            loop: loop, url: try URL("ws://127.0.0.1:\(address.port)/ari/events\(query)"), fields: fields,
            delegate: reader)
        #expect(run { reader.isOpen || reader.close != nil })
        return (reader, socket)
    }
}

@Suite("The simulated PBX answers as Asterisk 22 does", .serialized)
struct PBXSimulatorRequestTests {
    @Test("status and text of REST requests")
    func requests() throws {
        let bench = try ARIBench(.epoll)
        let (reader, _) = try bench.read("?app=cf")
        #expect(reader.isOpen)
        let nothing =
            #"{"name":"cf","channel_ids":[],"bridge_ids":[],"endpoint_ids":[],"device_names":[],"#
            + #""events_allowed":[],"events_disallowed":[]}"#
        let all =
            #"{"name":"cf","channel_ids":["__AST_CHANNEL_ALL_TOPIC"],"bridge_ids":["#
            + #""__AST_BRIDGE_ALL_TOPIC"],"endpoint_ids":[],"device_names":[],"events_allowed":["#
            + #"{"type":"Dial"},{"type":"StasisStart"}],"events_disallowed":[]}"#
        let filter = #"{"allowed":[{"type":"Dial"},{"type":"StasisStart"}]}"#
        // Each answer was read off a real Asterisk 22.10.1.
        for (method, target, body, status, text) in [
            ("GET", "/ari/applications/nope", "", 404, #"{"message":"Application not found"}"#),
            (
                "PUT", "/ari/applications/nope/eventFilter", filter, 404,
                #"{"message":"Application not found"}"#
            ),
            ("GET", "/ari/channels", "", 200, "[]"), ("GET", "/ari/bridges", "", 200, "[]"),
            ("POST", "/ari/channels/123.4/continue", "", 404, #"{"message":"Channel not found"}"#),
            ("GET", "/ari/nonsense", "", 404, #"{"message":"Resource not found"}"#),
            ("GET", "/ari/applications/cf", "", 200, nothing),
            (
                "PUT", "/ari/applications/cf/eventFilter", #"{"allowed":"x"}"#, 400,
                #"{"message":"Invalid format definition"}"#
            ),
            (
                "POST", "/ari/applications/cf/subscription", "", 400,
                #"{"message":"Missing parameter eventSource"}"#
            ),
            (
                "POST", "/ari/applications/cf/subscription?eventSource=channel:nope", "", 422,
                #"{"message":"Event source does not exist"}"#
            ),
            ("PUT", "/ari/applications/cf/eventFilter", filter, 200, nil),
            ("POST", "/ari/applications/cf/subscription?eventSource=channel:,bridge:", "", 200, all),
            ("GET", "/ari/applications", "", 200, "[\(all)]"),
            (
                "DELETE", "/ari/applications/cf/subscription?eventSource=channel:", "", 422,
                #"{"message":"Event source was not subscribed to"}"#
            ),
            (
                "DELETE", "/ari/applications/cf/subscription?eventSource=channel:__AST_CHANNEL_ALL_TOPIC", "",
                200, nil
            ),
        ] as [(String, String, String, Int, String?)] {
            let answer = try bench.request(method, target, body: body)
            #expect(answer.status == status, "\(method) \(target)")
            if let text { #expect(answer.body == text, "\(method) \(target)") }
            #expect(answer.fields["cache-control"] == "no-cache, no-store")
        }
        #expect(bench.simulator.applications.first?.hasChannels == false)
        #expect(bench.simulator.applications.first?.hasBridges == true)
        let information = try bench.request("GET", "/ari/asterisk/info")
        #expect(information.body.contains(#""entity_id":"02:fc:00:00:00:01""#))
    }

    @Test("who may do what")
    func users() throws {
        let bench = try ARIBench(.epoll)
        for user in [nil, "callflow:bad", "nobody:secret", "callflow", ""] {
            let answer = try bench.request("GET", "/ari/channels", user: user)
            #expect(answer.status == 401 && answer.body == #"{"message":"Authentication required"}"#)
            #expect(answer.fields["www-authenticate"] == #"Basic realm="Asterisk REST Interface""#)
            #expect(try bench.read("?app=x", user: user).0.close?.httpStatus == 401)
        }
        #expect(try bench.request("GET", "/ari/channels?api_key=callflow:secret", user: nil).status == 200)
        #expect(try bench.request("GET", "/ari/channels?api_key=callflow%3Asecret", user: nil).status == 200)
        // When both are there, only Basic counts.
        #expect(try bench.request("GET", "/ari/channels?api_key=callflow:secret", user: "x:y").status == 401)
        #expect(try bench.request("GET", "/ari/channels", user: "watcher:secret").status == 200)
        let denied = try bench.request("POST", "/ari/channels/1.1/continue", user: "watcher:secret")
        #expect(denied.status == 403 && denied.body == #"{"message":"Write access denied"}"#)
        #expect(try bench.read("?app=x", user: "watcher:secret").0.isOpen)
        #expect(try bench.read("").0.close?.httpStatus == 400)
        #expect(try bench.request("GET", "/ari/events?app=x").status == 426)
        #expect(try bench.request("GET", "/elsewhere").status == 404)
    }

    @Test("an application is forgotten with its reader, and handed over to a newer one")
    func handOver() throws {
        let bench = try ARIBench(.epoll)
        let (first, firstSocket) = try bench.read("?app=a,b")
        #expect(bench.simulator.applications.map(\.name) == ["a", "b"])
        let filter = #"{"allowed":[{"type":"Dial"}]}"#
        #expect(try bench.request("PUT", "/ari/applications/b/eventFilter", body: filter).status == 200)
        let (second, secondSocket) = try bench.read("?app=a,b")
        // The filter of `b` does not name ApplicationReplaced, so only `a` says so, to the older reader.
        #expect(bench.run { first.events.count == 1 })
        #expect(String(decoding: first.events[0], as: UTF8.self).contains(#""application":"a""#))
        firstSocket.close(code: 1000, reason: "")
        #expect(bench.run { first.close != nil })
        #expect(bench.simulator.applications.count == 2 && second.events.isEmpty)
        secondSocket.close(code: 1000, reason: "")
        #expect(bench.run { bench.simulator.applications.isEmpty })
        #expect(try bench.request("GET", "/ari/applications/a").status == 404)
    }
}

@Suite("The simulated PBX sends what was subscribed to", .serialized)
struct PBXSimulatorEventTests {
    /// Types that a reader of 40 short calls gets.
    private func types(
        _ query: String, subscribe: String? = nil, filter: String? = nil
    ) throws -> [String: Int] {
        let bench = try ARIBench(.epoll) {
            $0.callsPerSecond = 400
            $0.totalCalls = 300
            $0.ringMilliseconds = 2...10
            $0.talkMilliseconds = 5...20
            // Calls under way before the reader came would show it their ends only.
            $0.waitsForReader = subscribe != nil || query.contains("subscribeAll")
        }
        let (reader, _) = try bench.read(query)
        let name = query.split(separator: "=")[1].split(separator: "&")[0]
        if let filter {
            let body = "{\"allowed\":[{\"type\":\"\(filter)\"}]}"
            #expect(
                try bench.request("PUT", "/ari/applications/\(name)/eventFilter", body: body).status == 200)
        }
        if let subscribe {
            let target = "/ari/applications/\(name)/subscription?eventSource=\(subscribe)"
            #expect(try bench.request("POST", target).status == 200)
        }
        #expect(bench.run { bench.simulator.player.callsFinished == 300 })
        // What is on its way still, until nothing more comes.
        var seen = 0
        repeat {
            seen = reader.events.count
            bench.run(milliseconds: 100)
        } while reader.events.count > seen
        var counts: [String: Int] = [:]
        for event in reader.events {
            let object = try #require(try JSONSerialization.jsonObject(with: Data(event)) as? [String: Any])
            #expect(object["application"] as? String == String(name))
            counts[object["type"] as? String ?? "", default: 0] += 1
        }
        return counts
    }

    @Test("the owner of the dialplan's application gets only that, without a subscription")
    func owner() throws {
        let types = try types("?app=callflow_elixir")
        #expect(Set(types.keys) == ["StasisStart", "StasisEnd"])
    }

    @Test("channels without bridges, bridges without channels, others without Stasis")
    func topics() throws {
        let channels = try types("?app=other", subscribe: "channel:")
        #expect(channels["ChannelCreated"] ?? 0 > 0 && channels["Dial"] ?? 0 > 0)
        #expect(channels["ChannelEnteredBridge"] == nil && channels["StasisStart"] == nil)
        let bridges = try types("?app=other", subscribe: "bridge:")
        #expect(
            Set(bridges.keys) == ["ChannelEnteredBridge", "ChannelLeftBridge", "BridgeBlindTransfer"])
        let all = try types("?app=callflow_elixir&subscribeAll=true")
        for type in ["StasisStart", "ChannelDestroyed", "ChannelLeftBridge", "BridgeBlindTransfer", "Dial"] {
            #expect(all[type] ?? 0 > 0, "\(type)")
        }
        #expect(all["StasisStart"] == all["StasisEnd"])
    }

    @Test("a filter lets only its types through")
    func filter() throws {
        let types = try types("?app=callflow_elixir", subscribe: "channel:,bridge:", filter: "Dial")
        #expect(Set(types.keys) == ["Dial"])
    }

    @Test("a recording keeps its pace", arguments: HTTPDrivers.present)
    func pace(_ mode: IOMode) throws {
        let file = Recordings.folder.appending(path: "asterisk-22/inbound-busy.jsonl")
        let bench = try ARIBench(mode) { $0.replayFile = file.path }
        let (reader, _) = try bench.read("?app=x")
        let began = MonotonicInstant.now()
        #expect(bench.run { reader.events.count == 13 })
        // Recorded over 115 ms; only the lower bound is certain on a busy machine.
        #expect(MonotonicInstant.now() - began > .milliseconds(100))
        let recording = try Recording(path: file.path)
        #expect(recording.count == 13 && recording.due(0, pace: .recorded) == 0)
        #expect(recording.due(12, pace: .recorded) > 90_000_000)
        #expect(recording.due(12, pace: .eventsPerSecond(1000)) == 12_000_000)
        #expect(recording.due(12, pace: .asFastAsPossible) == 0)
    }

    @Test("a recording that is not there is said to be so")
    func missing() throws {
        #expect(throws: Recording.Failure.self) { try Recording(path: "/nonexistent/x.jsonl") }
        #expect(throws: Recording.Failure.self) { try Recording(path: "/tmp") }
    }

    @Test("a reader that does not read is cut off, others are not", arguments: HTTPDrivers.present)
    func slowReader(_ mode: IOMode) throws {
        let bench = try ARIBench(mode) {
            $0.callsPerSecond = 400
            $0.talkMilliseconds = 20...100
            $0.ringMilliseconds = 5...20
            $0.slowReaderMilliseconds = 200
            // A machine that cannot keep up with the calls still turns the loop.
            $0.eventsPerTick = 200
            $0.maximumConcurrentCalls = 100_000
        }
        let (slow, slowSocket) = try bench.read("?app=slow&subscribeAll=true")
        let (quick, _) = try bench.read("?app=quick&subscribeAll=true")
        slowSocket.transport?.pauseReading()
        #expect(bench.run(seconds: 60) { bench.simulator.readersCutOff == 1 })
        #expect(bench.simulator.applications.map(\.name) == ["quick"])
        #expect(quick.isOpen && quick.events.count > slow.events.count)
        slowSocket.transport?.resumeReading()
        #expect(bench.run { slow.close != nil })
        #expect(slow.close?.clean == false)
    }

    @Test("calls stand still for a slow reader when told to, and nothing is lost")
    func patience() throws {
        let bench = try ARIBench(.epoll) {
            $0.callsPerSecond = 1500
            $0.totalCalls = 1500
            $0.talkMilliseconds = 20...100
            $0.ringMilliseconds = 5...20
            $0.waitsForSlowReaders = true
            $0.waitsForReader = true
            $0.maximumQueuedBytes = 24 << 20
        }
        let (reader, socket) = try bench.read("?app=callflow_elixir&subscribeAll=true")
        socket.transport?.pauseReading()
        bench.run(milliseconds: 2500)
        #expect(bench.simulator.player.callsFinished < 1500 && reader.isOpen)
        socket.transport?.resumeReading()
        #expect(bench.run(seconds: 60) { bench.simulator.player.callsFinished == 1500 })
        let played = Int(bench.simulator.player.eventsPlayed)
        #expect(bench.run(seconds: 60) { reader.events.count == played })
        #expect(bench.simulator.player.truths.allSatisfy { $0.delivered == $0.events })
    }

    @Test("the truth and the figures can be asked for")
    func truth() throws {
        let bench = try ARIBench(.epoll) {
            $0.callsPerSecond = 500
            $0.totalCalls = 30
            $0.ringMilliseconds = 1...5
            $0.talkMilliseconds = 1...5
            $0.truthLimit = 20
        }
        let (reader, _) = try bench.read("?app=callflow_elixir&subscribeAll=true")
        #expect(bench.run { bench.simulator.player.callsFinished == 30 })
        bench.run(milliseconds: 20)
        let truth = try bench.request("GET", "/simulator/truth", user: nil)
        let object = try #require(
            try JSONSerialization.jsonObject(with: Data(truth.body.utf8)) as? [String: Any])
        let calls = try #require(object["calls"] as? [[String: Any]])
        #expect(calls.count == 20 && object["dropped"] as? Int == 10)
        for call in calls {
            let id = try #require(call["call_id"] as? String)
            let mine = reader.events.filter {
                String(decoding: $0, as: UTF8.self).contains("\"CHANNEL(linkedid)\":\"\(id)\"")
            }
            #expect(mine.count == call["delivered"] as? Int && call["status"] as? String == "finished")
            #expect((call["answered_at"] is NSNull) == !(call["answered"] as? Bool ?? true))
        }
        let part = try bench.request("GET", "/simulator/truth?from=5&limit=3", user: nil)
        #expect(part.body.components(separatedBy: "call_id").count == 4)
        let stats = try bench.request("GET", "/simulator/stats", user: nil)
        let figures = try #require(
            try JSONSerialization.jsonObject(with: Data(stats.body.utf8)) as? [String: Any])
        #expect(figures["calls_started"] as? Int == 30 && figures["calls_active"] as? Int == 0)
        #expect(figures["events_delivered"] as? Int == reader.events.count)
        #expect(figures["events_sent_to_readers"] as? Int == reader.events.count)
    }

    @Test("faults can be set by request, and nonsense is refused")
    func faults() throws {
        let bench = try ARIBench(.epoll)
        let target = "/simulator/faults?handshake=unavailable&handshakes=1"
        #expect(try bench.request("POST", target, user: nil).status == 204)
        #expect(try bench.read("?app=a").0.close?.httpStatus == 503)
        let (reader, _) = try bench.read("?app=a")
        #expect(reader.isOpen)
        #expect(try bench.request("POST", "/simulator/faults?stream=end", user: nil).status == 204)
        #expect(bench.run { reader.close != nil })
        for bad in ["stream=nonsense", "handshake=x", "handshakes=x", "requests=x", "other=1"] {
            #expect(try bench.request("POST", "/simulator/faults?\(bad)", user: nil).status == 400)
        }
    }
}
