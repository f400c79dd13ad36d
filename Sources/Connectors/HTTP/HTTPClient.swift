package import Reactor

/// Sends requests to one origin over a bounded pool of keep-alive connections.
///
/// Thread-confined to its loop.
///
/// - A request waits for a connection when all are busy; the queue is bounded.
/// - Completions are called on the loop, never before `send` returns, exactly once each.
/// - A kept connection that the server closes just as a request goes out: the request is sent again, once,
///   when no byte of it had left or when doing it twice is harmless (RFC 9112 §9.3.1); otherwise the error
///   says `.outcomeUnknown` and the caller decides.
package final class HTTPClient {
    /// Called with the response, or with why there is none.
    package typealias Completion = (Result<HTTPClientResponse, HTTPClientError>) -> Void

    /// One request on its way.
    final class Job {
        let request: HTTPClientRequest
        var completion: Completion?
        var timer: TimerID?
        var attempts = 0
        weak var connection: HTTPClientConnection?

        init(request: HTTPClientRequest, completion: @escaping Completion) {
            self.request = request
            self.completion = completion
        }
    }

    let loop: Loop
    let origin: HTTPOrigin
    let configuration: HTTPClientConfiguration
    private let tls: TLSClientContext?
    private var connections: [HTTPClientConnection] = []
    private var queue: [Job] = []
    private var isClosed = false

    /// Makes a client; no connection is made before the first request.
    ///
    /// `tls` is needed for a secure origin.
    package init(
        loop: Loop, origin: HTTPOrigin, tls: TLSClientContext?,
        configuration: HTTPClientConfiguration = .init()
    ) {
        self.loop = loop
        self.origin = origin
        self.tls = tls
        self.configuration = configuration
    }

    /// Requests waiting for a connection.
    package var queuedCount: Int { queue.count }

    /// Connections open or being made.
    package var connectionCount: Int { connections.count }

    /// Sends a request; `completion` is called later on this loop.
    package func send(_ request: HTTPClientRequest, completion: @escaping Completion) {
        let job = Job(request: request, completion: completion)
        if isClosed {
            return failLater(job, .clientClosed, "the client is closed")
        }
        if origin.isSecure, tls == nil {
            return failLater(job, .connectFailed, "https needs a TLS context, and none could be made")
        }
        if queue.count >= configuration.maximumQueued {
            return failLater(job, .queueFull, "\(queue.count) requests are waiting already")
        }
        job.timer = loop.schedule(after: request.timeout) { [weak self, weak job] in
            guard let self, let job else { return }
            job.timer = nil
            timedOut(job)
        }
        queue.append(job)
        pump()
    }

    /// Drops all connections; requests under way fail with `clientClosed`.
    package func close() {
        guard !isClosed else { return }
        isClosed = true
        let waiting = queue
        queue = []
        for job in waiting { fail(job, .clientClosed, .notSent, "the client was closed") }
        for connection in connections { connection.drop(.clientClosed, "the client was closed") }
    }

    // MARK: - The pool

    private func pump() {
        while !queue.isEmpty {
            // The one used last is the least likely to have been closed by the server meanwhile.
            guard let free = connections.last(where: \.isIdle) else { break }
            free.take(queue.removeFirst())
        }
        var opening = connections.count(where: \.isConnecting)
        while queue.count > opening, connections.count < configuration.maximumConnections {
            open()
            opening += 1
        }
    }

    private func open() {
        var options = ConnectOptions()
        options.timeout = configuration.connectTimeout
        options.lingerTimeout = .seconds(1)
        options.sendQueueLimit = configuration.maximumSend
        let handler = HTTPClientConnection(client: self)
        connections.append(handler)
        if origin.isSecure, let proxy = configuration.proxy, let tls {
            handler.tunnel = (proxy, tls)
            handler.start(
                loop.connect(host: proxy.host, port: proxy.port, options: options, handler: handler))
        } else {
            options.tls = origin.isSecure ? tls : nil
            handler.start(
                loop.connect(host: origin.host, port: origin.port, options: options, handler: handler))
        }
    }

    /// A connection has become free.
    func becameIdle(_ connection: HTTPClientConnection) {
        // To the end, where `pump` looks first.
        if let index = connections.firstIndex(where: { $0 === connection }), index != connections.count - 1 {
            connections.append(connections.remove(at: index))
        }
        pump()
    }

    /// A connection is over; `connectError` when it never came about.
    func ended(_ connection: HTTPClientConnection, connectError: String?) {
        connections.removeAll { $0 === connection }
        if let connectError, !queue.isEmpty {
            fail(queue.removeFirst(), .connectFailed, .notSent, connectError)
        }
        if !isClosed { pump() }
    }

    /// Puts a request back in front after its kept connection turned out stale.
    func retry(_ job: Job) {
        job.connection = nil
        job.attempts += 1
        queue.insert(job, at: 0)
        // Its neighbours are as old: a fresh connection is surer.
        for connection in connections where connection.isIdle { connection.closeIdle() }
        loop.schedule(after: .zero) { [weak self] in self?.pump() }
    }

    // MARK: - Completing

    func succeed(_ job: Job, _ response: HTTPClientResponse) {
        complete(job, .success(response))
    }

    func fail(
        _ job: Job, _ kind: HTTPClientError.Kind, _ delivery: HTTPClientError.Delivery, _ text: String
    ) {
        complete(job, .failure(HTTPClientError(kind: kind, delivery: delivery, description: text)))
    }

    private func complete(_ job: Job, _ result: Result<HTTPClientResponse, HTTPClientError>) {
        guard let completion = job.completion else { return }
        job.completion = nil
        job.connection = nil
        if let timer = job.timer { loop.cancel(timer) }
        job.timer = nil
        completion(result)
    }

    private func failLater(_ job: Job, _ kind: HTTPClientError.Kind, _ text: String) {
        loop.schedule(after: .zero) { [self] in fail(job, kind, .notSent, text) }
    }

    private func timedOut(_ job: Job) {
        let text = "no response within \(job.request.timeout)"
        if let connection = job.connection {
            connection.drop(.timeout, text)
        } else {
            queue.removeAll { $0 === job }
            fail(job, .timeout, .notSent, text)
        }
    }
}
