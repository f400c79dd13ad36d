import Connectors
import Logging
import Reactor
import Synchronization
import Testing

/// The drivers that this kernel has.
enum HTTPDrivers {
    static let present: [IOMode] = {
        do {
            let loop = try Loop(configuration: LoopConfiguration(ioMode: .ioURing, maximumConnections: 4))
            loop.stop()
            return [.epoll, .ioURing]
        } catch {
            print("SKIPPED: the io_uring half of the HTTP tests: \(error)")
            return [.epoll]
        }
    }()
}

/// A service made of a closure, which also keeps what it was asked.
final class ClosureService: HTTPService {
    private(set) var requests: [HTTPRequest] = []
    var answer: (HTTPRequest, HTTPExchange) -> Void

    init(_ answer: @escaping (HTTPRequest, HTTPExchange) -> Void) { self.answer = answer }

    func handle(_ request: HTTPRequest, _ exchange: HTTPExchange) {
        requests.append(request)
        answer(request, exchange)
    }
}

/// A loop, an HTTP server on it, and raw clients, all turned by hand on the test's thread.
final class HTTPBench {
    let loop: Loop
    let metrics = Metrics()
    let log = LogLines()
    private(set) var server: HTTPServer?
    private(set) var port: UInt16 = 0

    init(_ mode: IOMode) throws {
        loop = try Loop(configuration: LoopConfiguration(ioMode: mode, maximumConnections: 1024))
    }

    deinit { loop.stop() }

    func serve(
        limits: HTTPServerLimits = .init(), _ answer: @escaping (HTTPRequest, HTTPExchange) -> Void
    ) throws -> ClosureService {
        let service = ClosureService(answer)
        try serve(service, limits: limits)
        return service
    }

    func serve(
        _ service: any HTTPService, limits: HTTPServerLimits = .init(), tls: TLSServerContext? = nil
    ) throws {
        let server = HTTPServer(
            loop: loop, service: service, limits: limits, logger: log.logger, metrics: metrics)
        port = try server.listen(on: .loopback(port: 0), tls: tls).port
        self.server = server
    }

    func connect(_ text: String = "") -> RawPeer {
        let peer = RawPeer()
        peer.connection = loop.connect(
            host: "127.0.0.1", port: port, options: ConnectOptions(), handler: peer)
        if !text.isEmpty { peer.send(text) }
        return peer
    }

    /// Turns the loop until `condition` holds; waiting longer than `limit` is a failure.
    @discardableResult
    func run(
        limit: Duration = .seconds(20), sourceLocation: SourceLocation = #_sourceLocation,
        until condition: () -> Bool
    ) -> Bool {
        let end = MonotonicInstant.now() + limit
        while !condition() {
            if MonotonicInstant.now() > end {
                Issue.record("what was waited for did not happen", sourceLocation: sourceLocation)
                return false
            }
            loop.runOnce(maximumWait: .milliseconds(20))
        }
        return true
    }

    /// Turns the loop for about `duration`, for what must not happen.
    func settle(_ duration: Duration = .milliseconds(40)) {
        let end = MonotonicInstant.now() + duration
        while MonotonicInstant.now() < end { loop.runOnce(maximumWait: .milliseconds(5)) }
    }

    /// Sends `text` on a new connection, waits until the server closes it, and gives what it answered.
    func answer(to text: String) -> String {
        let peer = connect(text)
        run { peer.isOver }
        return peer.text
    }
}

/// A client that sends bytes as told and keeps what comes back.
final class RawPeer: ConnectionHandler {
    var connection: Connection?
    private(set) var bytes: [UInt8] = []
    private(set) var isClosed = false
    private(set) var inputEnded = false
    private(set) var reason: CloseReason?
    /// Whether input is taken; false makes a reader that lags behind.
    var isReading = true

    var text: String { String(decoding: bytes, as: UTF8.self) }
    /// Whether the other side is done, in whichever way.
    var isOver: Bool { isClosed || inputEnded }

    func send(_ text: String) { connection?.send(Array(text.utf8)) }

    func takeText() -> String {
        defer { bytes = [] }
        return text
    }

    func received(_ bytes: RawSpan, on connection: Connection) -> Consumed {
        bytes.withUnsafeBytes { self.bytes.append(contentsOf: $0) }
        return .all(bytes.byteCount)
    }

    func inputClosed(_ connection: Connection) {
        inputEnded = true
        connection.close()
    }

    func closed(_ connection: Connection, _ reason: CloseReason) {
        isClosed = true
        self.reason = reason
        self.connection = nil
    }
}

extension String {
    /// How often `part` stands in the text, not overlapping.
    func count(of part: String) -> Int {
        var count = 0
        var rest = self[...]
        while let range = rest.firstRange(of: part) {
            count += 1
            rest = rest[range.upperBound...]
        }
        return count
    }

    /// The body behind the first empty line.
    var httpBody: String {
        guard let range = firstRange(of: "\r\n\r\n") else { return "" }
        return String(self[range.upperBound...])
    }

    /// The status line.
    var statusLine: String {
        String(prefix(while: { $0 != "\r\n" && $0 != "\r" }))
    }
}
