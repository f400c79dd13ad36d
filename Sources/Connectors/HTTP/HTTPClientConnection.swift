import Protocols
import Reactor

/// One connection of an `HTTPClient`: one request at a time.
///
///     connecting ──▶ idle ◀──response, keep-alive── busy
///         │           │ └────────request────────────▲ │
///         └───────────┴────────────▶ ended ◀──────────┘
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
    /// Whether a response was already received on it: only then can it be stale.
    private var isReused = false
    private var hasResponseBytes = false

    init(client: HTTPClient) {
        self.client = client
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
        stopTimer()
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
        becomeIdle()
    }

    func received(_ bytes: RawSpan, on connection: Connection) -> Consumed {
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
        if case .connecting = phase { connectError = reason.description }
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
        if keepsAlive {
            phase = .idle
            startIdleTimer()
        } else {
            closeIdle()
        }
        client.succeed(job, response)
        if isIdle { client.becameIdle(self) }
    }

    private func becomeIdle() {
        phase = .idle
        startIdleTimer()
        client.becameIdle(self)
    }

    private func startIdleTimer() {
        stopTimer()
        timer = client.loop.schedule(after: client.configuration.idleTimeout) { [weak self] in
            guard let self else { return }
            timer = nil
            if isIdle { closeIdle() }
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
