extension Loop {
    // MARK: From the driver

    /// Bytes came off the socket; borrowed until return, and may be changed until then.
    func didReceive(_ slot: Int, _ bytes: UnsafeMutableRawBufferPointer) {
        counters.receives += 1
        counters.bytesIn += UInt64(bytes.count)
        let state = slots.base + slot
        if state.pointee.flags.contains(.urgent) { pacing.wasUrgent(now) }
        switch state.pointee.phase {
        case .handshaking, .open:
            if let tls = state.pointee.tls {
                tls.feed(UnsafeRawBufferPointer(bytes))
                advanceTLS(slot)
            } else {
                deliver(slot, bytes)
            }
        case .closing, .draining, .connecting, .finished, .free:
            break  // nobody wants it any more; it is read so that the peer's end is seen
        }
    }

    /// The peer's end of stream.
    func didReceiveEnd(_ slot: Int) {
        let state = slots.base + slot
        switch state.pointee.phase {
        case .handshaking, .open:
            if let tls = state.pointee.tls, tls.inputEnded == false {
                let text =
                    state.pointee.phase == .handshaking ? "during the handshake" : "without close_notify"
                // Paused: what lies undecrypted comes first, then this is found again.
                if state.pointee.flags.contains(.readPaused) {
                    state.pointee.flags.insert(.endPending)
                } else {
                    finish(slot, .tls("connection closed by the peer \(text)"))
                }
            } else {
                inputEnded(slot)
            }
        case .closing:
            state.pointee.flags.insert(.inputEnded)
            if queuedBytes(slot) == 0 { markDirty(slot) }
        case .draining:
            finish(slot, .local)
        case .connecting, .finished, .free:
            break
        }
    }

    /// No more input will come, by FIN or by close_notify.
    func inputEnded(_ slot: Int) {
        let state = slots.base + slot
        guard state.pointee.flags.contains(.inputEnded) == false else { return }
        if state.pointee.flags.contains(.readPaused) {
            state.pointee.flags.insert(.endPending)
            return
        }
        state.pointee.flags.insert(.inputEnded)
        if state.pointee.flags.contains(.outputBroken) { return finish(slot, .reset) }
        let generation = state.pointee.generation
        state.pointee.handler?.inputClosed(handle(slot))
        guard state.pointee.generation == generation, state.pointee.phase == .open else { return }
        if state.pointee.flags.contains(.outputShut) { finish(slot, .peerClosed) }
    }

    // MARK: To the handler

    /// Hands `input` out, behind what is carried over.
    ///
    /// The carry holds the front of a cut message. It is completed only up to what the handler said it needs;
    /// from there on the handler gets `input` where it lies.
    func deliver(_ slot: Int, _ input: UnsafeMutableRawBufferPointer, again: Bool = false) {
        let state = slots.base + slot
        var rest = input[...]
        var mayPresent = again
        while state.pointee.carry.isEmpty == false {
            guard state.pointee.flags.contains(.readPaused) == false else { break }
            let held = state.pointee.carry.count
            if state.pointee.carryNeeded > held {
                let part = rest.prefix(state.pointee.carryNeeded - held)
                rest = rest.dropFirst(part.count)
                appendToCarry(slot, UnsafeRawBufferPointer(rebasing: part))
                guard mayPresent || state.pointee.carry.count >= state.pointee.carryNeeded else { return }
            } else if rest.isEmpty == false {
                // How much is needed is not known: all of it goes behind what is there.
                appendToCarry(slot, UnsafeRawBufferPointer(rebasing: rest))
                rest = rest.dropFirst(rest.count)
            } else if mayPresent == false {
                return
            }
            mayPresent = false
            guard let used = present(slot, state.pointee.carry.mutableBytes) else { return }
            state.pointee.carry.consume(used.count, pool: pool)
            guard keepNeeded(slot, left: state.pointee.carry.count, needed: used.needed) else { return }
        }
        guard rest.isEmpty == false else { return }
        let bytes = UnsafeMutableRawBufferPointer(rebasing: rest)
        if state.pointee.flags.contains(.readPaused) {
            return appendToCarry(slot, UnsafeRawBufferPointer(bytes))
        }
        guard let used = present(slot, bytes) else { return }
        let left = bytes.count - used.count
        guard left > 0 else { return }
        guard keepNeeded(slot, left: left, needed: used.needed) else { return }
        appendToCarry(slot, UnsafeRawBufferPointer(rebasing: bytes[used.count...]))
    }

    /// Calls the handler; nil when the connection takes no more input afterwards.
    private func present(_ slot: Int, _ bytes: UnsafeMutableRawBufferPointer) -> Consumed? {
        let state = slots.base + slot
        guard let handler = state.pointee.handler else { return nil }
        let generation = state.pointee.generation
        var span = bytes.mutableBytes
        let used = handler.received(changing: &span, on: handle(slot))
        precondition(used.count >= 0 && used.count <= bytes.count, "used more bytes than were presented")
        guard state.pointee.generation == generation, state.pointee.phase == .open else { return nil }
        return used
    }

    private func appendToCarry(_ slot: Int, _ bytes: UnsafeRawBufferPointer) {
        counters.carriedBytes += UInt64(bytes.count)
        slots.base[slot].carry.append(bytes, expected: slots.base[slot].carryNeeded, pool: pool)
    }

    /// Notes how much is needed; false when that is more than allowed, and the connection is finished.
    private func keepNeeded(_ slot: Int, left: Int, needed: Int) -> Bool {
        let state = slots.base + slot
        if max(left, needed) > Int(state.pointee.maximumCarry) {
            finish(slot, .carryOverflow)
            return false
        }
        state.pointee.carryNeeded = needed > left ? needed : 0
        return true
    }

    // MARK: Flow control

    func pauseReading(_ connection: Connection) {
        guard let state = live(connection), state.pointee.phase.rawValue <= Phase.open.rawValue else {
            return
        }
        guard state.pointee.flags.contains(.readPaused) == false else { return }
        state.pointee.flags.insert(.readPaused)
        if state.pointee.fd >= 0 { io.readingChanged(Int(connection.slot)) }
    }

    func resumeReading(_ connection: Connection) {
        guard let state = live(connection), state.pointee.flags.contains(.readPaused) else { return }
        guard state.pointee.phase.rawValue <= Phase.open.rawValue else { return }
        state.pointee.flags.remove(.readPaused)
        // What is held back comes first; only then more is read. Not from inside the handler that resumes.
        if state.pointee.flags.contains(.represent) == false {
            state.pointee.flags.insert(.represent)
            represented.append(connection)
        }
    }

    /// Presents what was held back on connections that resumed.
    func representCarried() {
        guard represented.isEmpty == false else { return }
        let batch = represented
        represented.removeAll(keepingCapacity: true)
        for connection in batch {
            guard let state = live(connection) else { continue }
            state.pointee.flags.remove(.represent)
            let slot = Int(connection.slot)
            guard state.pointee.phase == .open || state.pointee.phase == .handshaking else { continue }
            guard state.pointee.flags.contains(.readPaused) == false else { continue }
            deliver(slot, UnsafeMutableRawBufferPointer(start: nil, count: 0), again: true)
            guard isReading(connection) else { continue }
            if state.pointee.tls != nil { advanceTLS(slot) }
            guard isReading(connection) else { continue }
            if state.pointee.flags.contains(.endPending) {
                state.pointee.flags.remove(.endPending)
                didReceiveEnd(slot)
            } else if state.pointee.fd >= 0 {
                io.readingChanged(slot)
            }
        }
    }

    private func isReading(_ connection: Connection) -> Bool {
        guard let state = live(connection), state.pointee.flags.contains(.readPaused) == false else {
            return false
        }
        return state.pointee.phase == .open || state.pointee.phase == .handshaking
    }
}
