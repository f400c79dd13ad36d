import Connectors
import Foundation
import Logging
import Protocols
import Reactor
import Testing

/// A PBX that says what a test tells it to, when the test tells it to.
final class ScriptedPBX: HTTPService, WebSocketDelegate {
    /// A channel as ARI lists it.
    struct Channel {
        var id: String
        var linkedID: String
        var state = "Up"
        var app = "Dial"
        var created = "2026-11-22T10:00:00.000+0000"

        init(_ id: String, linkedID: String? = nil, state: String = "Up") {
            self.id = id
            self.linkedID = linkedID ?? id
            self.state = state
        }

        var json: String {
            #"{"id":"\#(id)","name":"PJSIP/trunk-\#(id)","state":"\#(state)","caller":{"name":"","number":"79161234567"},"#
                + #""connected":{"name":"","number":""},"dialplan":{"context":"from-external","exten":"74950000001","#
                + #""priority":1,"app_name":"\#(app)","app_data":""},"creationtime":"\#(created)","language":"en","#
                + #""channelvars":{"CHANNEL(linkedid)":"\#(linkedID)","intNum":"","extNum":"79161234567"}}"#
        }

        /// An event about it.
        func event(_ type: String, at time: String, _ more: String = "") -> String {
            #"{"type":"\#(type)","timestamp":"\#(time)"\#(more),"channel":\#(json),"application":"callflow_elixir"}"#
        }
    }

    var channels: [Channel] = []
    var bridges: [(id: String, members: [String])] = []
    var startupTime = "2026-11-22T09:00:00.000+0000"
    /// Requests whose path ends so are answered by `answerHeld` only.
    var heldPath = ""
    /// Instead of what is there.
    var channelsBody: String?
    private(set) var requests: [String] = []
    private(set) var sockets: [WebSocketConnection] = []
    private var held: [(HTTPRequest, HTTPExchange)] = []
    private var allowed: [String] = []
    private let server: HTTPServer?
    private(set) var address: SocketAddress = .loopback(port: 0)
    private final class Weak: HTTPService {
        weak var pbx: ScriptedPBX?
        func handle(_ request: HTTPRequest, _ exchange: HTTPExchange) { pbx?.handle(request, exchange) }
    }

    init(loop: Loop) throws {
        let service = Weak()
        let server = HTTPServer(
            loop: loop, service: service, logger: Logger(label: "pbx"), metrics: Metrics())
        self.server = server
        service.pbx = self
        address = try server.listen(on: .loopback(port: 0))
    }

    var isAsked: Bool { !held.isEmpty }

    func handle(_ request: HTTPRequest, _ exchange: HTTPExchange) {
        requests.append("\(request.method) \(request.path)")
        if request.path == "/ari/events" {
            _ = exchange.acceptWebSocket(subprotocols: ["ari"], delegate: self)
        } else if !heldPath.isEmpty, request.path.hasSuffix(heldPath) {
            held.append((request, exchange))
        } else {
            answer(request, exchange)
        }
    }

    /// Answers what was held, with what is there now.
    func answerHeld() {
        let all = held
        held = []
        for (request, exchange) in all { answer(request, exchange) }
    }

    private func answer(_ request: HTTPRequest, _ exchange: HTTPExchange) {
        let list = { (parts: [String]) in "[" + parts.joined(separator: ",") + "]" }
        let body: String
        switch (request.method, request.path) {
        case ("GET", "/ari/channels"): body = channelsBody ?? list(channels.map(\.json))
        case ("GET", "/ari/bridges"):
            body = list(
                bridges.map { bridge in
                    #"{"id":"\#(bridge.id)","technology":"simple_bridge","bridge_type":"mixing","#
                        + #""bridge_class":"basic","creator":"","name":"","#
                        + #""channels":\#(list(bridge.members.map { "\"\($0)\"" }))}"#
                })
        case ("GET", "/ari/asterisk/info"):
            body =
                #"{"system":{"version":"22.10.1","entity_id":"02:fc:00:00:00:01"},"#
                + #""status":{"startup_time":"\#(startupTime)","last_reload_time":"\#(startupTime)"}}"#
        case ("PUT", _):
            let text = String(decoding: request.body, as: UTF8.self)
            allowed = text.matches(of: /"type":"(\w+)"/).map { String($0.output.1) }
            body = "{}"
        default:
            body =
                #"{"name":"callflow_elixir","channel_ids":["__AST_CHANNEL_ALL_TOPIC"],"#
                + #""bridge_ids":["__AST_BRIDGE_ALL_TOPIC"],"endpoint_ids":[],"device_names":[],"#
                + #""events_allowed":\#(list(allowed.map { "{\"type\":\"\($0)\"}" })),"events_disallowed":[]}"#
        }
        exchange.respond(status: 200, fields: [], body: Array(body.utf8), contentType: "application/json")
    }

    /// Sends an event to the reader.
    func send(_ event: String) {
        _ = sockets.last?.send(text: Array(event.utf8))
    }

    /// Cuts the stream without a word.
    func cut() {
        for socket in sockets { socket.abort() }
        sockets = []
    }

    func close() { server?.closeAll(drainTimeout: .zero) }

    func opened(_ socket: WebSocketConnection) { sockets.append(socket) }
    func message(_ kind: WebSocketMessageKind, _ payload: RawSpan, on socket: WebSocketConnection) {}
    func pong(on socket: WebSocketConnection) {}
    func closed(_ socket: WebSocketConnection, _ close: WebSocketClose) {
        sockets.removeAll { $0 === socket }
    }
}
