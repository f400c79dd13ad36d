import Protocols
import Reactor

/// One client's connection: reads requests, gives them to the service one at a time, sends the answers in
/// order.
///
///                   first byte          fields end           body end
///     idle ───────────────────▶ head ───────────────▶ body ───────────▶ answering
///      ▲                          │ too slow, garbage   │                 │  │  │
///      │                          ▼                     ▼                 │  │  └──▶ upgraded (WebSocket)
///      │                     lingering ── peer done or timeout ──▶ ended  │  └─────▶ streaming ──▶ ended
///      └──────────────────────────────────────────── answered, keep-alive ┘
///
/// Requests that come while one is being answered wait in `input`; above
/// `HTTPServerLimits.maximumPipelinedBytes` reading pauses.
final class HTTPServerConnection: ConnectionHandler {
    enum Phase {
        case idle, head, body, answering, streaming, lingering, upgraded, ended
    }

    let server: HTTPServer
    let connection: Connection
    var phase = Phase.idle
    private(set) var peer: SocketAddress?

    var parser: HTTPRequestParser
    var head: HTTPRequestHead?
    var body: HTTPBodyCollector
    /// Bytes received and not yet used; empty most of the time, since whole requests are read in place.
    private var input: [UInt8] = []
    var isReading = false
    private var isPaused = false
    private var inputEnded = false
    private var lingeredBytes = 0

    private var stream: HTTPStream?
    private var webSocket: WebSocketConnection?

    var deadline: MonotonicInstant?
    var timer: TimerID?
    /// When `timer` fires, which may be before `deadline`; it is then set anew.
    var timerDeadline = MonotonicInstant(nanoseconds: 0)

    init(server: HTTPServer, connection: Connection) {
        self.server = server
        self.connection = connection
        let limits = server.limits
        parser = HTTPRequestParser(
            limits: HTTPLimits(
                startLineBytes: limits.maximumRequestLineBytes, headBytes: limits.maximumHeadBytes,
                bodyBytes: limits.maximumBodyBytes))
        body = HTTPBodyCollector(limit: limits.maximumBodyBytes)
    }

    // MARK: - For the exchange and the stream

    var isAnswering: Bool { phase == .answering }
    var isStopping: Bool { server.isStopping }
    var queuedBytes: Int { connection.queuedBytes }
    var loop: Loop { server.loop }

    func finish(with output: [UInt8], status: Int, closes: Bool) {
        count(status)
        guard connection.send(output) == .queued else { return reset() }
        if closes || inputEnded { return end() }
        phase = .idle
        arm(server.limits.idleTimeout)
        if !isReading { readWaiting() }
    }

    func beginStream(_ stream: HTTPStream, head: [UInt8], status: Int, hasBody: Bool) {
        count(status)
        guard connection.send(head) == .queued else { return reset() }
        guard hasBody, !inputEnded else { return end() }
        phase = .streaming
        self.stream = stream
        deadline = nil
        input = []
        resumeIfPaused()
    }

    func writeStream(_ bytes: [UInt8]) -> SendResult {
        guard phase == .streaming else { return .closed }
        guard connection.queuedBytes + bytes.count <= server.limits.maximumStreamQueueBytes else {
            server.metrics.add(.httpRejected)
            server.logRefusal("stream reader too slow, cut off", status: 200, peer: peer)
            connection.reset(reason: .sendOverflow)
            phase = .ended
            return .overflow
        }
        return connection.send(bytes)
    }

    func endStream(lastChunk: [UInt8]) {
        guard phase == .streaming else { return }
        stream = nil
        if !lastChunk.isEmpty { connection.send(lastChunk) }
        end()
    }

    /// Hands the connection to a WebSocket; what was read already goes to it first.
    func upgrade(to webSocket: WebSocketConnection, response: [UInt8]) {
        count(101)
        connection.send(response)
        phase = .upgraded
        deadline = nil
        self.webSocket = webSocket
        resumeIfPaused()
        webSocket.opened(connection)
        if !isReading { feedWebSocket() }
    }

    func reset() {
        phase = .ended
        connection.reset()
    }

    func stop() {
        switch phase {
        case .idle, .lingering: end()
        case .streaming: stream?.end()
        case .upgraded: webSocket?.close(code: 1001, reason: "the server stops")
        case .head, .body, .answering, .ended: break
        }
    }

    func end() {
        phase = .ended
        deadline = nil
        connection.close()
    }

    func count(_ status: Int) {
        server.metrics.add(.httpRequests)
        if status >= 400 { server.metrics.add(.httpErrors) }
    }

    // MARK: - ConnectionHandler

    func opened(_ connection: Connection) {
        peer = connection.peerAddress
        arm(server.limits.idleTimeout)
        if server.isStopping { end() }
    }

    func received(_ bytes: RawSpan, on connection: Connection) -> Consumed {
        switch phase {
        case .idle, .head, .body:
            guard input.isEmpty else {
                input.append(contentsOf: bytes)
                readWaiting()
                return .all(bytes.byteCount)
            }
            let used = read(bytes)
            let rest = bytes.extracting(used..<bytes.byteCount)
            if phase == .upgraded, let webSocket {
                let further = webSocket.received(rest, on: connection)
                return Consumed(used + further.count, needed: further.needed)
            }
            if phase != .lingering, phase != .ended { input.append(contentsOf: rest) }
        case .answering:
            input.append(contentsOf: bytes)
            if input.count > server.limits.maximumPipelinedBytes, !isPaused {
                isPaused = true
                connection.pauseReading()
            }
        case .upgraded:
            guard input.isEmpty else {
                input.append(contentsOf: bytes)
                feedWebSocket()
                return .all(bytes.byteCount)
            }
            if let webSocket { return webSocket.received(bytes, on: connection) }
        case .lingering:
            lingeredBytes += bytes.byteCount
            if lingeredBytes > server.limits.maximumBodyBytes { reset() }
        case .streaming, .ended: break
        }
        return .all(bytes.byteCount)
    }

    /// What goes to a WebSocket is unmasked where it lies.
    func received(changing bytes: inout MutableRawSpan, on connection: Connection) -> Consumed {
        guard phase == .upgraded, input.isEmpty, let webSocket else {
            return received(bytes.bytes, on: connection)
        }
        return webSocket.received(changing: &bytes, on: connection)
    }

    func drained(_ connection: Connection) {
        webSocket?.drained(connection)
    }

    func inputClosed(_ connection: Connection) {
        switch phase {
        case .answering:
            // Half-closed after its last request: it may still read the answer.
            inputEnded = true
        case .upgraded: webSocket?.inputClosed(connection)
        case .head, .body:
            server.metrics.add(.httpRejected)
            server.logRefusal("closed in the middle of a request", status: 400, peer: peer)
            end()
        case .idle, .lingering, .streaming, .ended: end()
        }
    }

    func closed(_ connection: Connection, _ reason: CloseReason) {
        phase = .ended
        deadline = nil
        if let timer { server.loop.cancel(timer) }
        timer = nil
        input = []
        server.ended(self)
        let stream = stream
        self.stream = nil
        stream?.lost()
        let webSocket = webSocket
        self.webSocket = nil
        webSocket?.closed(connection, reason)
    }

    // MARK: - Reading

    /// Reads what waits in `input`.
    private func readWaiting() {
        guard !input.isEmpty else { return resumeIfPaused() }
        // Moved out, so that a service that answers at once finds nothing half-used.
        let waiting = input
        input = []
        let used = read(waiting.span.bytes)
        if phase == .lingering || phase == .ended { return }
        input = used == 0 ? waiting : Array(waiting[used...])
        if phase == .upgraded { feedWebSocket() }
        if input.count <= server.limits.maximumPipelinedBytes || phase != .answering { resumeIfPaused() }
    }

    private func feedWebSocket() {
        guard let webSocket, !input.isEmpty else { return }
        var waiting = input
        input = []
        let consumed = webSocket.received(waiting.span.bytes, on: connection)
        // Nothing is moved while a large frame is still coming in.
        if consumed.count > 0 { waiting.removeFirst(consumed.count) }
        input = waiting
    }

    private func resumeIfPaused() {
        guard isPaused else { return }
        isPaused = false
        connection.resumeReading()
    }
}
