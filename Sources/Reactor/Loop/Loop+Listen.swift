internal import CReactor
internal import Glibc

extension Loop {
    /// How long accepting rests when descriptors or slots have run out.
    static let acceptPause: Duration = .milliseconds(100)

    /// Listens on `address`; `accept` gives the handler of each new connection, before its `opened`.
    ///
    /// - Throws: `ReactorError.system` naming the call, as `bind` with EADDRINUSE.
    @discardableResult
    public func listen(
        _ address: SocketAddress, options: ListenOptions = ListenOptions(),
        accept: @escaping (Connection) -> any ConnectionHandler
    ) throws(ReactorError) -> Listener {
        guard isStopping == false else { throw .stopped }
        let fd = try checked(creactor_socket(address.raw.family), "socket")
        let bound: SocketAddress
        do {
            bound = try prepareListener(fd, address, options)
        } catch {
            creactor_close(fd)
            throw error
        }
        nextIdentity &+= 1
        let entry = ListenerEntry(fd: fd, generation: nextIdentity, options: options, accept: accept)
        let index: Int
        // A listener whose last operation is still in the kernel keeps its place until that has ended.
        if let free = listeners.firstIndex(where: { $0.accept == nil && $0.isArmed == false }) {
            index = free
            listeners[index] = entry
        } else {
            index = listeners.count
            listeners.append(entry)
        }
        io.startAccepting(index)
        return Listener(loop: self, index: index, generation: entry.generation, address: bound)
    }

    private func prepareListener(
        _ fd: Int32, _ address: SocketAddress, _ options: ListenOptions
    ) throws(ReactorError) -> SocketAddress {
        try checked(creactor_set_reuse_address(fd), "setsockopt(SO_REUSEADDR)")
        if options.reusePort { try checked(creactor_set_reuse_port(fd), "setsockopt(SO_REUSEPORT)") }
        // Accepted sockets inherit this, which saves a call for each (tcp(7) says nothing of it; Linux copies it).
        try checked(creactor_set_no_delay(fd), "setsockopt(TCP_NODELAY)")
        if let bytes = options.socketBufferBytes {
            // And both of these.
            creactor_set_receive_buffer(fd, Int32(clamping: bytes))
            creactor_set_send_buffer(fd, Int32(clamping: bytes))
        }
        var raw = address.raw
        try checked(creactor_bind(fd, &raw), "bind \(address)")
        try checked(creactor_listen(fd, options.backlog), "listen \(address)")
        var bound = creactor_address()
        try checked(creactor_local_address(fd, &bound), "getsockname")
        return SocketAddress(bound)
    }

    func closeListener(_ index: Int, generation: UInt32) {
        guard listeners[index].generation == generation, listeners[index].accept != nil else { return }
        listeners[index].accept = nil
        if listeners[index].fd >= 0 { io.removeListener(index) }
    }

    /// The driver accepted `fd`.
    func didAccept(_ index: Int, fd: Int32) {
        guard let accept = listeners[index].accept, isStopping == false else {
            creactor_close(fd)
            return
        }
        guard let slot = takeSlot() else {
            // Cannot be served now. Closing tells the peer at once; the backlog waits for a slot.
            creactor_close(fd)
            pauseAccepting(index)
            return
        }
        counters.accepts += 1
        let options = listeners[index].options
        let state = slots.base + slot
        state.pointee.fd = fd
        if options.isUrgent {
            state.pointee.flags.insert(.urgent)
            pacing.wasUrgent(now)
        }
        state.pointee.sendLimit = Int32(clamping: options.sendQueueLimit)
        state.pointee.maximumCarry = Int32(clamping: options.maximumCarryBytes)
        state.pointee.lingerMilliseconds = milliseconds(options.lingerTimeout)
        let connection = handle(slot)
        state.pointee.phase = .handshaking
        state.pointee.handler = accept(connection)
        guard state.pointee.phase == .handshaking else { return }
        if let context = options.tls {
            startTLS(slot, context.makeSession(), timeout: options.handshakeTimeout)
        } else {
            becomeOpen(slot)
        }
        if state.pointee.generation == connection.generation, state.pointee.fd >= 0 { io.addConnection(slot) }
        // The backlog is left alone while no slot is free.
        if slots.used == slots.capacity { pauseAccepting(index) }
    }

    /// The driver could not accept.
    func didFailAccepting(_ index: Int, errno: Int32) {
        switch errno {
        case ECONNABORTED, EPROTO, EPERM, ENETDOWN, EHOSTUNREACH, ENETUNREACH, ETIMEDOUT, ECONNRESET:
            // accept(2): errors of the new connection, not of the listener.
            counters.acceptFailures += 1
        default:
            // EMFILE, ENFILE, ENOBUFS, ENOMEM: trying again at once would spin.
            pauseAccepting(index)
        }
    }

    private func pauseAccepting(_ index: Int) {
        guard listeners[index].isPaused == false, listeners[index].accept != nil else { return }
        listeners[index].isPaused = true
        counters.acceptPauses += 1
        io.pauseAccepting(index)
        let generation = listeners[index].generation
        schedule(after: Loop.acceptPause) { [unowned self] in resumeAccepting(index, generation: generation) }
    }

    private func resumeAccepting(_ index: Int, generation: UInt32) {
        guard listeners[index].generation == generation, listeners[index].accept != nil else { return }
        guard slots.used < slots.capacity else {
            schedule(after: Loop.acceptPause) { [unowned self] in
                resumeAccepting(index, generation: generation)
            }
            return
        }
        listeners[index].isPaused = false
        io.startAccepting(index)
    }

    func milliseconds(_ duration: Duration) -> UInt32 {
        UInt32(clamping: duration.clampedNanoseconds / 1_000_000)
    }
}
