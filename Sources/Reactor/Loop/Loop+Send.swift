internal import CReactor

extension Loop {
    /// Ciphertext made ahead of the kernel; more is encrypted as this goes out.
    static let maximumEncryptedAhead = 256 << 10

    func send(_ bytes: UnsafeRawBufferPointer, on connection: Connection) -> SendResult {
        guard let state = live(connection) else { return .closed }
        switch state.pointee.phase {
        case .connecting, .handshaking, .open: break
        case .free, .closing, .draining, .finished: return .closed
        }
        guard state.pointee.flags.isDisjoint(with: [.shutdownRequested, .outputBroken]) else {
            return .closed
        }
        let slot = Int(connection.slot)
        let total = queuedBytes(slot) + bytes.count
        let limit = Int(state.pointee.sendLimit)
        if total > limit {
            counters.sendOverflows += 1
            state.pointee.flags.insert(.aboveHighWater)
            return .overflow
        }
        if total > limit / 2 { state.pointee.flags.insert(.aboveHighWater) }
        if let tls = state.pointee.tls {
            tls.plain.append(bytes, pool: pool)
        } else {
            state.pointee.out.append(bytes, pool: pool)
        }
        markDirty(slot)
        return .queued
    }

    func queuedBytes(_ slot: Int) -> Int {
        let state = slots.base + slot
        return state.pointee.out.count + state.pointee.flying.count + (state.pointee.tls?.plain.count ?? 0)
    }

    func queuedBytes(of connection: Connection) -> Int {
        live(connection) == nil ? 0 : queuedBytes(Int(connection.slot))
    }

    func isAboveHighWater(_ connection: Connection) -> Bool {
        live(connection)?.pointee.flags.contains(.aboveHighWater) ?? false
    }

    /// Has the connection flushed at the end of this tick.
    func markDirty(_ slot: Int) {
        let state = slots.base + slot
        guard state.pointee.flags.contains(.dirty) == false else { return }
        state.pointee.flags.insert(.dirty)
        dirty.append(UInt32(slot))
    }

    /// Gives the kernel what it takes, and does what was waiting for the queue to become empty or short.
    ///
    /// Called at the end of a tick for connections with something new, and by the io_uring driver when a send
    /// has ended.
    func flush(_ slot: Int) {
        let state = slots.base + slot
        state.pointee.flags.remove(.dirty)
        guard state.pointee.fd >= 0 else { return }
        repeat {
            encrypt(slot)
            guard state.pointee.flags.contains(.outputBroken) == false else { break }
            guard io.flush(slot) else { return }
        } while state.pointee.out.isEmpty && state.pointee.flying.isEmpty && hasMoreToEncrypt(slot)
        if queuedBytes(slot) == 0 { flushed(slot) }
        tellDrained(slot)
    }

    private func hasMoreToEncrypt(_ slot: Int) -> Bool {
        let state = slots.base + slot
        guard let tls = state.pointee.tls, state.pointee.phase != .handshaking else { return false }
        return tls.plain.isEmpty == false
    }

    private func encrypt(_ slot: Int) {
        let state = slots.base + slot
        guard let tls = state.pointee.tls else { return }
        if state.pointee.phase != .handshaking {
            while tls.plain.isEmpty == false, state.pointee.out.count < Loop.maximumEncryptedAhead {
                guard tls.encryptSome(pool: pool) else { break }
                tls.takeOutput(into: &state.pointee.out, pool: pool)
            }
            let isEnding = state.pointee.phase == .closing || state.pointee.flags.contains(.shutdownRequested)
            if isEnding, tls.plain.isEmpty { tls.sendCloseNotify() }
        }
        tls.takeOutput(into: &state.pointee.out, pool: pool)
    }

    /// The queue is empty.
    private func flushed(_ slot: Int) {
        let state = slots.base + slot
        switch state.pointee.phase {
        case .closing:
            completeClose(slot)
        case .open where state.pointee.flags.contains(.shutdownRequested):
            guard state.pointee.flags.contains(.outputShut) == false else { return }
            state.pointee.flags.insert(.outputShut)
            counters.systemCalls += 1
            let result = creactor_shutdown_output(state.pointee.fd)
            if result < 0 {
                didFail(slot, errno: -result, call: "shutdown")
            } else if state.pointee.flags.contains(.inputEnded) {
                finish(slot, .peerClosed)
            }
        case .open, .handshaking, .connecting, .draining, .finished, .free:
            break
        }
    }

    private func tellDrained(_ slot: Int) {
        let state = slots.base + slot
        guard state.pointee.flags.contains(.aboveHighWater), state.pointee.phase == .open else { return }
        guard queuedBytes(slot) <= Int(state.pointee.sendLimit) / 4 else { return }
        state.pointee.flags.remove(.aboveHighWater)
        state.pointee.handler?.drained(handle(slot))
    }
}
