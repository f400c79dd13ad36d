package import Logging
package import Reactor

/// An HTTP/1.1 server on one loop: keep-alive, pipelined requests answered in order, every bound of
/// `HTTPServerLimits` enforced.
///
/// Thread-confined to its loop. What a client does wrong is answered where possible, counted
/// (`Metric.httpRejected`) and logged in one line; the other connections do not notice.
package final class HTTPServer {
    /// The loop it runs on.
    package let loop: Loop
    let service: any HTTPService
    let limits: HTTPServerLimits
    let logger: Logger
    let metrics: Metrics
    let webSocketBuffer = WebSocketBuffer()

    private var listeners: [Listener] = []
    private var connections: [ObjectIdentifier: HTTPServerConnection] = [:]
    private(set) var isStopping = false

    private var logSecond: MonotonicInstant
    private var logsInSecond = 0

    /// Makes a server that does not listen yet.
    ///
    /// `service` is held.
    package init(
        loop: Loop, service: any HTTPService, limits: HTTPServerLimits = .init(), logger: Logger,
        metrics: Metrics
    ) {
        self.loop = loop
        self.service = service
        self.limits = limits
        self.logger = logger
        self.metrics = metrics
        logSecond = loop.now
    }

    /// Listens on an address; may be called for several.
    ///
    /// - Returns: The address with the port that the system chose for port 0.
    package func listen(
        on address: SocketAddress, tls: TLSServerContext? = nil, reusePort: Bool = false
    ) throws(ReactorError) -> SocketAddress {
        var options = ListenOptions()
        // Somebody waits for each answer.
        options.isUrgent = true
        options.tls = tls
        options.reusePort = reusePort
        options.sendQueueLimit = limits.maximumSendQueueBytes
        let listener = try loop.listen(address, options: options) { [self] connection in
            accept(connection)
        }
        listeners.append(listener)
        return listener.address
    }

    /// Connections open now.
    package var connectionCount: Int { connections.count }

    /// Closes the listeners; open connections go on.
    package func stopAccepting() {
        for listener in listeners { listener.close() }
        listeners = []
    }

    /// Stops: idle connections are closed, answers under way are finished and their connections closed,
    /// streams end, WebSockets close with 1001.
    ///
    /// What is left after `drainTimeout` is reset.
    package func closeAll(drainTimeout: Duration = .seconds(5)) {
        stopAccepting()
        isStopping = true
        for connection in connections.values { connection.stop() }
        guard !connections.isEmpty else { return }
        loop.schedule(after: drainTimeout) { [self] in
            for connection in connections.values { connection.reset() }
        }
    }

    private func accept(_ connection: Connection) -> any ConnectionHandler {
        guard connections.count < limits.maximumConnections, !isStopping else {
            metrics.add(.httpRejected)
            logRefusal("too many connections", status: 503, peer: nil)
            return HTTPTurnedAway(server: self)
        }
        let handler = HTTPServerConnection(server: self, connection: connection)
        connections[ObjectIdentifier(handler)] = handler
        metrics.add(.httpConnections)
        return handler
    }

    func ended(_ handler: HTTPServerConnection) {
        guard connections.removeValue(forKey: ObjectIdentifier(handler)) != nil else { return }
        metrics.add(.httpConnections, -1)
    }

    /// One line per refusal, so many per second; a flood is counted and summed up in the next line.
    func logRefusal(_ reason: String, status: Int, peer: SocketAddress?) {
        if loop.now - logSecond >= .seconds(1) {
            let silent = logsInSecond - limits.maximumRefusalLogsPerSecond
            if silent > 0 { logger.notice("HTTP: \(silent) more refused requests were not logged") }
            logSecond = loop.now
            logsInSecond = 0
        }
        logsInSecond += 1
        guard logsInSecond <= limits.maximumRefusalLogsPerSecond else { return }
        logger.notice(
            "HTTP: request refused",
            metadata: [
                "reason": "\(reason)", "status": "\(status)",
                "peer": "\(peer.map(\.description) ?? "unknown")",
            ])
    }
}

/// The answer to a connection beyond the bound: 503, as soon as it can be sent.
private final class HTTPTurnedAway: ConnectionHandler {
    private let server: HTTPServer

    init(server: HTTPServer) { self.server = server }

    func opened(_ connection: Connection) {
        connection.send(HTTPAnswer.refusal(503, fields: [("Retry-After", "5")]))
        connection.close()
    }

    func received(_ bytes: RawSpan, on connection: Connection) -> Consumed { .all(bytes.byteCount) }

    func closed(_ connection: Connection, _ reason: CloseReason) {}
}
