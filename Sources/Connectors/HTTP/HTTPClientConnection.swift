import Protocols
import Reactor

/// One connection of an `HTTPClient`: one request at a time.
///
///     connecting ──▶ idle ◀──response, keep-alive── busy
///         │           │ └────────request────────────▲ │
///         └───────────┴────────────▶ ended ◀──────────┘
///
/// Through a proxy `connecting` has three parts: to the proxy, its answer to `CONNECT`, the handshake with the origin.
final class HTTPClientConnection: ConnectionHandler {
    private enum Phase {
        case connecting, idle
        case busy(HTTPClient.Job)
        case ended
    }

    private let client: HTTPClient
    private var connection: Connection?
    private var phase = Phase.connecting
    private var reader: HTTPResponseReader
    private var timer: TimerID?
    private var idleSince = MonotonicInstant(nanoseconds: 0)
    /// Whether a response was already received on it: only then can it be stale.
    private var isReused = false
    private var hasResponseBytes = false
    /// Through which proxy, and what TLS with the origin needs; set before `start`.
    var tunnel: (proxy: HTTPProxy, tls: TLSClientContext)?
    private var proxyAnswer: HTTPProxyAnswer?
    private var isTunnelOpen = false
    private var refusal: String?
    private let startedAt: MonotonicInstant

    init(client: HTTPClient) {
        self.client = client
        startedAt = client.loop.now
        reader = HTTPResponseReader(configuration: client.configuration)
    }

    var isConnecting: Bool { if case .connecting = phase { true } else { false } }
    var isIdle: Bool { if case .idle = phase { true } else { false } }

    func start(_ connection: Connection) {
        self.connection = connection
    }

    /// Sends a request; only when idle.
    func take(_ job: HTTPClient.Job) {
        guard case .idle = phase, let connection else { return client.retry(job) }
        phase = .busy(job)
        job.connection = self
        hasResponseBytes = false
        reader.begin(method: job.request.method)
        switch connection.send(Self.bytes(of: job.request, origin: client.origin)) {
        case .queued: break
        case .overflow:
            phase = .ended
            connection.reset()
            client.fail(job, .invalidResponse, .notSent, "the request is larger than the send queue")
        case .closed:
            // Closed by the peer in this very tick: nothing left.
            phase = .ended
            if job.attempts == 0 {
                client.retry(job)
            } else {
                client.fail(job, .connectionLost, .notSent, "the connection was closed before sending")
            }
        }
    }

    /// Ends it while busy or connecting; the request under way fails with `kind`.
    func drop(_ kind: HTTPClientError.Kind, _ text: String) {
        let before = phase
        phase = .ended
        stopTimer()
        connection?.reset()
        if case .busy(let job) = before { client.fail(job, kind, .outcomeUnknown, text) }
    }

    func closeIdle() {
        phase = .ended
        stopTimer()
        connection?.close()
    }

    // MARK: - ConnectionHandler

    func opened(_ connection: Connection) {
        guard case .connecting = phase else { return connection.reset() }
        guard let tunnel, !isTunnelOpen else { return becomeIdle() }
        proxyAnswer = HTTPProxyAnswer()
        _ = connection.send(tunnel.proxy.request(for: client.origin))
        stopTimer()
        timer = client.loop.schedule(after: client.configuration.connectTimeout) { [weak self] in
            self?.timer = nil
            self?.refuse("the proxy \(tunnel.proxy) does not answer")
        }
    }

    private func answered(_ bytes: RawSpan, _ connection: Connection) {
        guard let tunnel, let status = proxyAnswer?.take(bytes) else { return }
        proxyAnswer = nil
        stopTimer()
        guard (200..<300).contains(status) else {
            let reason = status == 407 ? "wants other credentials" : "answers \(status)"
            return refuse("the proxy \(tunnel.proxy) \(reason)")
        }
        isTunnelOpen = true
        // Not from inside this call.
        client.loop.schedule(after: .zero) { [client] in
            connection.startTLS(
                tunnel.tls, serverName: client.origin.host, timeout: client.configuration.connectTimeout)
        }
    }

    /// The proxy does not lead to the origin.
    private func refuse(_ reason: String) {
        guard case .connecting = phase else { return }
        refusal = reason
        connection?.reset()
    }

    func received(_ bytes: RawSpan, on connection: Connection) -> Consumed {
        if case .connecting = phase, proxyAnswer != nil {
            answered(bytes, connection)
            return .all(bytes.byteCount)
        }
        guard case .busy(let job) = phase else {
            // A response that nobody asked for: what follows could be taken for the next one's.
            if case .idle = phase { closeIdle() }
            return .all(bytes.byteCount)
        }
        hasResponseBytes = true
        do {
            let (used, response) = try reader.read(bytes)
            if let response {
                let isClean = used == bytes.byteCount && connection.queuedBytes == 0
                finish(job, response, keepsAlive: reader.keepsAlive && isClean)
            }
            return Consumed(used)
        } catch {
            drop(error.isTooLarge ? .responseTooLarge : .invalidResponse, error.description)
            return .all(bytes.byteCount)
        }
    }

    func inputClosed(_ connection: Connection) {
        endOfInput("the peer closed the connection without a response")
        connection.close()
    }

    func closed(_ connection: Connection, _ reason: CloseReason) {
        stopTimer()
        var connectError: String?
        if case .connecting = phase {
            connectError = refusal ?? tunnel.map { "through \($0.proxy): \(reason)" } ?? reason.description
        }
        endOfInput(reason.description)
        phase = .ended
        self.connection = nil
        client.ended(self, connectError: connectError)
    }

    // MARK: -

    private func endOfInput(_ text: String) {
        guard case .busy(let job) = phase else { return }
        phase = .ended
        if let response = reader.endOfInput() {
            client.succeed(job, response)
        } else if isReused, !hasResponseBytes, job.attempts == 0, job.request.isIdempotent {
            client.retry(job)
        } else {
            client.fail(job, .connectionLost, .outcomeUnknown, text)
        }
    }

    private func finish(_ job: HTTPClient.Job, _ response: HTTPClientResponse, keepsAlive: Bool) {
        isReused = true
        if keepsAlive, client.loop.now - startedAt < client.configuration.maximumAge {
            restUntilNeeded()
        } else {
            closeIdle()
        }
        client.succeed(job, response)
        if isIdle { client.becameIdle(self) }
    }

    private func becomeIdle() {
        stopTimer()
        restUntilNeeded()
        client.becameIdle(self)
    }

    private func restUntilNeeded() {
        phase = .idle
        idleSince = client.loop.now
        if timer == nil { watchIdleness(from: idleSince) }
    }

    /// One timer as long as the connection lives, and not one a request.
    private func watchIdleness(from start: MonotonicInstant) {
        let end = start + client.configuration.idleTimeout
        timer = client.loop.schedule(at: end) { [weak self] in
            guard let self else { return }
            timer = nil
            if !isIdle {
                watchIdleness(from: client.loop.now)
            } else if idleSince + client.configuration.idleTimeout <= client.loop.now {
                closeIdle()
            } else {
                watchIdleness(from: idleSince)
            }
        }
    }

    private func stopTimer() {
        if let timer { client.loop.cancel(timer) }
        timer = nil
    }

    /// The request as it goes out (RFC 9112 §3).
    private static func bytes(of request: HTTPClientRequest, origin: HTTPOrigin) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(256 + request.body.count)
        let hasBody = !request.body.isEmpty || request.method == "POST" || request.method == "PUT"
        HTTPWriter.requestHead(
            HTTPMethod(rawValue: request.method), target: request.target, host: origin.authority,
            fields: request.fields.map { HTTPField($0.0, $0.1) },
            body: hasBody ? .length(request.body.count) : .none, to: &output)
        output.append(contentsOf: request.body)
        return output
    }
}
