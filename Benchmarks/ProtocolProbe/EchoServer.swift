import Connectors
import Glibc
import Logging
import Protocols
import Reactor

/// One loop with one HTTP server, until the process is ended.
enum EchoServer {
    static func run(_ options: Options, _ service: any HTTPService) throws(ProbeError) -> Int32 {
        guard let port = options.port else { throw ProbeError("--port is missing") }
        guard let address = SocketAddress(host: options.host, port: port) else {
            throw ProbeError("--host wants a numeric address")
        }
        do throws(ReactorError) {
            let loop = try Loop(configuration: LoopConfiguration(ioMode: options.io, name: "echo"))
            var limits = HTTPServerLimits()
            limits.maximumConnections = loop.configuration.maximumConnections
            limits.maximumBodyBytes = WebSocketLimits().messageBytes
            let server = HTTPServer(
                loop: loop, service: service, limits: limits,
                logger: Logger(label: "echo") { _ in SwiftLogNoOpLogHandler() }, metrics: Metrics())
            let bound = try server.listen(on: address)
            print("listening on \(bound) by \(loop.driver.name)")
            fflush(nil)
            loop.run()
            return 0
        } catch { throw ProbeError("\(error)") }
    }
}

/// Every request becomes a WebSocket that sends back what it is sent; others are answered 426 or 400.
final class WebSocketEchoService: HTTPService {
    private let echo: Echo

    init(_ echo: Echo) { self.echo = echo }

    func handle(_ request: HTTPRequest, _ exchange: HTTPExchange) {
        exchange.acceptWebSocket(delegate: echo)
    }
}

/// Every request is answered with its own body.
final class HTTPEchoService: HTTPService {
    func handle(_ request: HTTPRequest, _ exchange: HTTPExchange) {
        exchange.respond(
            status: 200, fields: [("Echo-Method", request.method), ("Echo-Target", request.target)],
            body: request.body, contentType: "application/octet-stream")
    }
}

/// Sends every message back; a peer that sends faster than it reads is read no more until it has caught up.
final class Echo: WebSocketDelegate {
    /// Whether the last client's connection was ever open, and told when it is over.
    private(set) var wasOpen = false
    var ended: ((WebSocketClose) -> Void)?
    private let sendsBack: Bool

    init(sendsBack: Bool = true) { self.sendsBack = sendsBack }

    func opened(_ socket: WebSocketConnection) { wasOpen = true }

    func message(_ kind: WebSocketMessageKind, _ payload: RawSpan, on socket: WebSocketConnection) {
        guard sendsBack else { return }
        switch socket.send(kind, payload) {
        case .queued: if socket.transport?.isAboveHighWater == true { socket.transport?.pauseReading() }
        case .overflow: socket.close(code: 1008, reason: "messages are sent and not read")
        case .closed: break
        }
    }

    func drained(_ socket: WebSocketConnection) { socket.transport?.resumeReading() }

    func closed(_ socket: WebSocketConnection, _ close: WebSocketClose) { ended?(close) }
}
