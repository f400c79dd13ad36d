import Protocols
import Reactor

/// Reading requests: from bytes to the service, within time.
extension HTTPServerConnection {
    /// Takes requests off the front of `bytes` until one has to wait for its answer.
    ///
    /// - Returns: The bytes used.
    func read(_ bytes: RawSpan) -> Int {
        isReading = true
        defer { isReading = false }
        var position = 0
        while phase == .idle || phase == .head || phase == .body {
            let rest = bytes.extracting(position..<bytes.byteCount)
            if phase == .idle {
                if rest.isEmpty { return position }
                phase = .head
                arm(server.limits.headTimeout)
            }
            do {
                switch try parser.next(rest) {
                case .incomplete: return position
                case .value(.head(let head), let used):
                    position += used
                    begin(head, hasMore: position < bytes.byteCount)
                case .value(.body(let range), let used):
                    try body.append(range, of: rest)
                    position += used
                case .value(.end, let used):
                    position += used
                    dispatch()
                }
            } catch {
                refuse(error.statusCode, error.description)
            }
        }
        return position
    }

    private func begin(_ head: HTTPRequestHead, hasMore: Bool) {
        self.head = head
        phase = .body
        arm(server.limits.bodyTimeout)
        if let expected = head.fields["expect"], head.minorVersion >= 1 {
            guard expected.lowercased() == "100-continue" else {
                return refuse(417, "an expectation that is not known")
            }
            // Not when the body is on its way already (RFC 9110 §10.1.1).
            if head.expectsContinue, !hasMore {
                connection.send(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8))
            }
        }
    }

    private func dispatch() {
        guard let head else { return }
        self.head = nil
        guard head.method != .connect else { return refuse(501, "CONNECT, which a proxy would serve") }
        guard let path = PercentCoding.decoded(head.path, plus: .literal) else {
            return refuse(400, "a malformed percent-encoding in the path")
        }
        guard let query = Query(parsing: head.query ?? "") else {
            return refuse(400, "a malformed query")
        }
        phase = .answering
        deadline = nil
        let request = HTTPRequest(
            method: head.method.rawValue, path: path, target: head.target,
            query: query.items.map { ($0.name, $0.value) }, fields: head.fields, body: body.take(), peer: peer
        )
        let exchange = HTTPExchange(connection: self, head: head)
        server.service.handle(request, exchange)
    }

    /// Answers what cannot be served and gives up the connection: after an error the position in the stream
    /// is lost.
    ///
    /// Input is thrown away for a while, since closing with unread input would reset the connection and
    /// could take the answer away from the peer (RFC 9112 §9.6).
    func refuse(_ status: Int, _ reason: String) {
        server.metrics.add(.httpRejected)
        count(status)
        server.logRefusal(reason, status: status, peer: peer)
        connection.send(HTTPAnswer.refusal(status))
        connection.shutdownOutput()
        phase = .lingering
        arm(server.limits.lingerTimeout)
    }

    // MARK: - Time

    /// Sets the deadline of the current phase.
    ///
    /// The timer is moved only when it would come too late.
    func arm(_ duration: Duration) {
        let loop = server.loop
        let deadline = loop.now + duration
        self.deadline = deadline
        if let timer {
            if timerDeadline <= deadline { return }
            loop.cancel(timer)
        }
        startTimer(deadline)
    }

    private func startTimer(_ deadline: MonotonicInstant) {
        timerDeadline = deadline
        timer = server.loop.schedule(at: deadline) { [weak self] in self?.timerFired() }
    }

    private func timerFired() {
        timer = nil
        guard let deadline, phase != .ended else { return }
        if server.loop.now < deadline { return startTimer(deadline) }
        self.deadline = nil
        switch phase {
        case .head: refuse(408, "the header fields came too slowly")
        case .body: refuse(408, "the body came too slowly")
        case .idle:
            // A peer that does not read its answer is not waited for.
            if connection.queuedBytes > 0 { reset() } else { end() }
        case .lingering: end()
        case .answering, .streaming, .upgraded, .ended: break
        }
    }
}
