extension Loop {
    /// Begins the handshake on a connected slot.
    ///
    /// - Parameter timeout: For the handshake; nil when a timer covers it already.
    func startTLS(_ slot: Int, _ session: TLSSession?, timeout: Duration?) {
        guard let session else { return finish(slot, .tls("no memory for a session")) }
        let state = slots.base + slot
        // What was sent before the connection stood is plaintext.
        swap(&state.pointee.out, &session.plain)
        state.pointee.tls = session
        if let timeout {
            setTimer(slot, after: timeout) { loop, slot in loop.finish(slot, .timeout) }
        }
        advanceTLS(slot)
    }

    /// Begins the handshake on an open connection without TLS.
    func startTLS(
        on connection: Connection, _ context: TLSClientContext, serverName: String, timeout: Duration
    ) {
        guard let state = live(connection), state.pointee.phase == .open, state.pointee.tls == nil else {
            return
        }
        let slot = Int(connection.slot)
        // Bytes from before the handshake are the peer's fault, and not to be mixed with it.
        guard state.pointee.carry.isEmpty else {
            return finish(slot, .tls("the peer sent bytes before the handshake"))
        }
        switch context.makeSession(serverName: serverName) {
        case .success(let session):
            state.pointee.phase = .handshaking
            startTLS(slot, session, timeout: timeout)
        case .failure(let error): finish(slot, .error(error))
        }
    }

    /// Goes on with the handshake and hands out what can be decrypted.
    func advanceTLS(_ slot: Int) {
        let state = slots.base + slot
        guard let tls = state.pointee.tls else { return }
        let generation = state.pointee.generation
        if state.pointee.phase == .handshaking {
            switch tls.handshake() {
            case .more:
                return markDirty(slot)
            case .failed(let text):
                sendAlert(slot, tls)
                return finish(slot, .tls(text))
            case .done:
                cancelTimer(slot)
                becomeOpen(slot)
                guard state.pointee.generation == generation else { return }
            }
        }
        decrypt(slot, tls, generation)
        guard state.pointee.generation == generation, state.pointee.fd >= 0 else { return }
        // Reading may have made something to send: a key update, a ticket.
        if tls.hasOutput { markDirty(slot) }
    }

    private func decrypt(_ slot: Int, _ tls: TLSSession, _ generation: UInt32) {
        let state = slots.base + slot
        let buffer = plaintextBuffer()
        while state.pointee.generation == generation, state.pointee.phase == .open {
            if state.pointee.flags.contains(.readPaused) { return }
            switch tls.read(into: buffer) {
            case .bytes(let count):
                deliver(slot, UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]))
            case .more:
                return
            case .ended:
                return inputEnded(slot)
            case .failed(let text):
                sendAlert(slot, tls)
                return finish(slot, .tls(text))
            }
        }
    }

    /// Lets the peer know why, as far as the socket takes it at once.
    private func sendAlert(_ slot: Int, _ tls: TLSSession) {
        let state = slots.base + slot
        guard state.pointee.flying.isEmpty else { return }
        tls.takeOutput(into: &state.pointee.out, pool: pool)
        tls.sendNow(state.pointee.out.bytes, fd: state.pointee.fd)
    }
}
