internal import CReactor
internal import Glibc

extension Loop {
    /// How long a closed connection waits for the peer's end of stream before its descriptor goes.
    static let drainTimeout: Duration = .seconds(1)

    func handle(_ slot: Int) -> Connection {
        Connection(loop: self, slot: UInt32(slot), generation: slots.base[slot].generation)
    }

    /// A free slot, counted; nil when all are in use.
    func takeSlot() -> Int? {
        guard let slot = slots.take() else { return nil }
        counters.openConnections = UInt64(slots.used)
        return slot
    }

    /// The slot that the handle names, when it still is that connection.
    func live(_ connection: Connection) -> UnsafeMutablePointer<ConnectionSlot>? {
        guard Int(connection.slot) < slots.initialised else { return nil }
        let state = slots.base + Int(connection.slot)
        return state.pointee.generation == connection.generation ? state : nil
    }

    func setTimer(_ slot: Int, after delay: Duration, _ body: @escaping (Loop, Int) -> Void) {
        cancelTimer(slot)
        let generation = slots.base[slot].generation
        slots.base[slot].timer = schedule(after: delay) { [unowned self] in
            guard slots.base[slot].generation == generation else { return }
            slots.base[slot].timer = nil
            body(self, slot)
        }
    }

    func cancelTimer(_ slot: Int) {
        if let timer = slots.base[slot].timer { cancel(timer) }
        slots.base[slot].timer = nil
    }

    // MARK: Opening

    /// Connected, and the TLS handshake done.
    func becomeOpen(_ slot: Int) {
        let state = slots.base + slot
        state.pointee.phase = .open
        if state.pointee.out.isEmpty == false || state.pointee.tls != nil { markDirty(slot) }
        state.pointee.handler?.opened(handle(slot))
    }

    // MARK: Closing

    func close(_ connection: Connection, reason: CloseReason? = nil) {
        guard let state = live(connection) else { return }
        let slot = Int(connection.slot)
        if state.pointee.closeReason == nil { state.pointee.closeReason = reason }
        switch state.pointee.phase {
        case .connecting, .handshaking:
            finish(slot, reason ?? .local)
        case .open:
            state.pointee.phase = .closing
            if queuedBytes(slot) > 0 {
                setTimer(slot, after: .milliseconds(Int64(state.pointee.lingerMilliseconds))) { loop, slot in
                    loop.finish(slot, .timeout)
                }
            }
            markDirty(slot)
        case .free, .closing, .draining, .finished:
            break
        }
    }

    func reset(_ connection: Connection, reason: CloseReason) {
        guard let state = live(connection) else { return }
        if state.pointee.fd >= 0 { creactor_set_reset_on_close(state.pointee.fd) }
        finish(Int(connection.slot), reason)
    }

    func shutdownOutput(_ connection: Connection) {
        guard let state = live(connection), state.pointee.phase.rawValue <= Phase.open.rawValue else {
            return
        }
        guard state.pointee.flags.contains(.shutdownRequested) == false else { return }
        state.pointee.flags.insert(.shutdownRequested)
        markDirty(Int(connection.slot))
    }

    /// All that was queued before `close()` is in the kernel: says goodbye and lets go.
    func completeClose(_ slot: Int) {
        let state = slots.base + slot
        if state.pointee.flags.contains(.inputEnded) || state.pointee.flags.contains(.endPending) {
            return finish(slot, state.pointee.closeReason ?? .peerClosed)
        }
        if state.pointee.flags.contains(.outputShut) == false {
            state.pointee.flags.insert(.outputShut)
            counters.systemCalls += 1
            let result = creactor_shutdown_output(state.pointee.fd)
            if result < 0 { return finish(slot, state.pointee.closeReason ?? .local) }
        }
        let connection = handle(slot)
        if let handler = state.pointee.handler {
            let reason = state.pointee.closeReason ?? .local
            closing.append(PendingClose(handler: handler, connection: connection, reason: reason, slot: nil))
        }
        state.pointee.handler = nil
        state.pointee.phase = .draining
        setTimer(slot, after: Loop.drainTimeout) { loop, slot in loop.finish(slot, .local) }
        if state.pointee.flags.contains(.readPaused) {
            state.pointee.flags.remove(.readPaused)
            io.readingChanged(slot)
        }
    }

    /// Ends the connection now: the descriptor goes, and `closed` is called at the end of this tick.
    func finish(_ slot: Int, _ reason: CloseReason) {
        let state = slots.base + slot
        guard state.pointee.phase != .free, state.pointee.phase != .finished else { return }
        state.pointee.phase = .finished
        cancelTimer(slot)
        if let attempt = state.pointee.attempt {
            state.pointee.attempt = nil
            attempt.end()
        }
        io.removeConnection(slot)
        let handler = state.pointee.handler
        state.pointee.handler = nil
        // The slot's buffers may be on loan to a handler on the stack: they go with the slot, afterwards.
        closing.append(PendingClose(handler: handler, connection: handle(slot), reason: reason, slot: slot))
    }

    /// Makes the `closed` calls that were due when it began; what they cause waits for the next tick.
    func deliverClosed() {
        guard closing.isEmpty == false else { return }
        let batch = closing
        closing.removeAll(keepingCapacity: true)
        for item in batch {
            item.handler?.closed(item.connection, item.reason)
            if let slot = item.slot {
                slots.base[slot].flags.insert(.closeDelivered)
                didRelease(slot)
            }
        }
    }

    /// Puts the slot back once `closed` was delivered and the kernel has nothing more of it.
    func didRelease(_ slot: Int) {
        let state = slots.base + slot
        guard state.pointee.flags.contains(.closeDelivered), state.pointee.inFlight == 0 else { return }
        releaseContents(slot)
        slots.give(slot)
        counters.openConnections = UInt64(slots.used)
    }

    func releaseContents(_ slot: Int) {
        let state = slots.base + slot
        state.pointee.handler = nil
        state.pointee.attempt = nil
        state.pointee.out.removeAll(pool: pool)
        state.pointee.flying.removeAll(pool: pool)
        state.pointee.carry.removeAll(pool: pool)
        state.pointee.tls?.plain.removeAll(pool: pool)
        state.pointee.tls = nil
    }

    // MARK: What the driver found

    func didFail(_ slot: Int, errno: Int32, call: String) {
        let reason: CloseReason
        switch errno {
        case ECONNRESET, EPIPE, ECONNABORTED: reason = .reset
        case ETIMEDOUT: reason = .timeout
        default: reason = .error(.system(call: call, errno: errno))
        }
        let state = slots.base + slot
        // Once this side has closed, how the peer took it makes no difference.
        let isOurs = state.pointee.phase == .closing && queuedBytes(slot) == 0
        finish(slot, isOurs ? state.pointee.closeReason ?? .local : reason)
    }

    /// Sending failed.
    ///
    /// With EPIPE there may be input left that says why (a refusal sent before the peer closed): the
    /// reading side goes on and finds the end by itself.
    func didFailSending(_ slot: Int, errno: Int32) {
        let state = slots.base + slot
        let isReading = state.pointee.phase == .open && state.pointee.flags.contains(.readPaused) == false
        if errno == EPIPE, isReading, state.pointee.flags.contains(.inputEnded) == false {
            state.pointee.flags.insert(.outputBroken)
            state.pointee.out.removeAll(pool: pool)
            state.pointee.flying.removeAll(pool: pool)
            state.pointee.tls?.plain.removeAll(pool: pool)
        } else {
            didFail(slot, errno: errno, call: "send")
        }
    }

    // MARK: Asking

    func isOpen(_ connection: Connection) -> Bool {
        live(connection)?.pointee.phase == .open
    }

    func peerAddress(of connection: Connection) -> SocketAddress? {
        guard let state = live(connection), state.pointee.fd >= 0 else { return nil }
        var address = creactor_address()
        return creactor_peer_address(state.pointee.fd, &address) == 0 ? SocketAddress(address) : nil
    }

    func localAddress(of connection: Connection) -> SocketAddress? {
        guard let state = live(connection), state.pointee.fd >= 0 else { return nil }
        var address = creactor_address()
        return creactor_local_address(state.pointee.fd, &address) == 0 ? SocketAddress(address) : nil
    }
}
