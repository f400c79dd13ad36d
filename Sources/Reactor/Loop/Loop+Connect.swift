internal import CReactor

extension Loop {
    /// Connects to `host`, a name or a numeric address (no brackets), at `port`.
    ///
    /// Names are resolved off the loop. The addresses are tried in turn, IPv6 and IPv4 alternating, the next
    /// one after a failure or 250 ms (in the spirit of RFC 8305); the first to answer is kept. Then `opened`,
    /// or `closed` with the reason; never from inside this call. A loop that has ended tells nobody any more.
    @discardableResult
    public func connect(
        host: String, port: UInt16, options: ConnectOptions = ConnectOptions(), handler: any ConnectionHandler
    ) -> Connection {
        guard isStopping == false, let slot = takeSlot() else {
            let none = Connection(loop: self, slot: UInt32.max, generation: 0)
            let reason = CloseReason.error(isStopping ? .stopped : .tooManyConnections)
            // Nothing would ever take it out, and it holds the loop.
            if hasEnded { return none }
            closing.append(PendingClose(handler: handler, connection: none, reason: reason, slot: nil))
            return none
        }
        let state = slots.base + slot
        state.pointee.phase = .connecting
        state.pointee.handler = handler
        state.pointee.sendLimit = Int32(clamping: options.sendQueueLimit)
        state.pointee.maximumCarry = Int32(clamping: options.maximumCarryBytes)
        state.pointee.lingerMilliseconds = milliseconds(options.lingerTimeout)
        let connection = handle(slot)
        let attempt = ConnectAttempt(connection, host: host, options: options)
        state.pointee.attempt = attempt
        setTimer(slot, after: options.timeout) { loop, slot in
            let attempt = loop.slots.base[slot].attempt
            if let failures = attempt?.failures, failures.isEmpty == false {
                loop.finish(slot, .connectFailed(failures.joined(separator: "; ") + "; then timed out"))
            } else {
                loop.finish(slot, .timeout)
            }
        }
        if let address = SocketAddress(host: host, port: port) {
            attempt.start([address])
        } else {
            resolve(host, port, for: connection)
        }
        return connection
    }

    private func resolve(_ host: String, _ port: UInt16, for connection: Connection) {
        let answers: Mailbox<ResolverAnswer>
        if let resolverAnswers {
            answers = resolverAnswers
        } else {
            answers = Mailbox(capacity: configuration.maximumConnections)
            resolverAnswers = answers
            attach(answers) { [unowned self] answer in
                didResolve(answer)
            }
        }
        let request = ResolverRequest(
            host: host, port: port, slot: connection.slot, generation: connection.generation,
            answers: answers)
        if Resolver.shared.resolve(request) == false {
            finish(Int(connection.slot), .resolve("too many names are being resolved"))
        }
    }

    private func didResolve(_ answer: ResolverAnswer) {
        let state = slots.base + Int(answer.slot)
        guard state.pointee.generation == answer.generation, state.pointee.phase == .connecting else {
            return
        }
        switch answer.result {
        case .success(let addresses): state.pointee.attempt?.start(addresses)
        case .failure(let error): finish(Int(answer.slot), .resolve(error.text))
        }
    }

    /// An attempt won: the slot takes its descriptor over.
    func didConnect(_ connection: Connection, fd: Int32, options: ConnectOptions, host: String) {
        let slot = Int(connection.slot)
        let state = slots.base + slot
        counters.connects += 1
        state.pointee.fd = fd
        state.pointee.attempt = nil
        state.pointee.phase = .handshaking
        creactor_set_no_delay(fd)
        if let keepAlive = options.keepAlive {
            let seconds = max(1, Int32(clamping: keepAlive.components.seconds))
            // tcp(7): three unanswered probes, a quarter of the idle time apart.
            creactor_set_keepalive(fd, seconds, max(1, seconds / 4), 3)
        }
        if let context = options.tls {
            // The connect timeout goes on to cover the handshake.
            switch context.makeSession(serverName: options.serverName ?? host) {
            case .success(let session): startTLS(slot, session, timeout: nil)
            case .failure(let error): return finish(slot, .error(error))
            }
        } else {
            cancelTimer(slot)
            becomeOpen(slot)
        }
        if state.pointee.generation == connection.generation, state.pointee.fd >= 0 { io.addConnection(slot) }
    }
}
