internal import CReactor
internal import Glibc

/// Connecting one slot: several addresses in turn, more than one under way at a time (RFC 8305, light).
final class ConnectAttempt {
    /// How long an address may stay silent before the next one is tried beside it (RFC 8305 §5).
    static let nextAddressDelay: Duration = .milliseconds(250)
    /// Addresses tried of one name.
    static let maximumAddresses = 16

    private let connection: Connection
    private let host: String
    private let options: ConnectOptions
    private var addresses: ArraySlice<SocketAddress> = []
    private var candidates: [Candidate] = []
    private var nextTimer: TimerID?
    private var isOver = false
    /// What the addresses tried so far answered.
    private(set) var failures: [String] = []

    private var loop: Loop { connection.loop }

    init(_ connection: Connection, host: String, options: ConnectOptions) {
        self.connection = connection
        self.host = host
        self.options = options
    }

    func start(_ found: [SocketAddress]) {
        addresses = ConnectAttempt.alternating(found).prefix(ConnectAttempt.maximumAddresses)
        tryNext()
    }

    /// IPv6 and IPv4 in turn, beginning with the family that the resolver put first (RFC 8305 §4).
    static func alternating(_ addresses: [SocketAddress]) -> [SocketAddress] {
        guard let first = addresses.first else { return [] }
        let preferred = addresses.filter { $0.isIPv6 == first.isIPv6 }
        let others = addresses.filter { $0.isIPv6 != first.isIPv6 }
        var result: [SocketAddress] = []
        for index in 0..<max(preferred.count, others.count) {
            if index < preferred.count { result.append(preferred[index]) }
            if index < others.count { result.append(others[index]) }
        }
        return result
    }

    private func tryNext() {
        if let nextTimer { loop.cancel(nextTimer) }
        nextTimer = nil
        while isOver == false, let address = addresses.popFirst() {
            guard open(address) else { continue }
            if addresses.isEmpty == false {
                nextTimer = loop.schedule(after: ConnectAttempt.nextAddressDelay) { [weak self] in
                    self?.nextTimer = nil
                    self?.tryNext()
                }
            }
            return
        }
        if isOver == false, candidates.isEmpty { giveUp() }
    }

    /// False when the address failed at once.
    private func open(_ address: SocketAddress) -> Bool {
        var raw = address.raw
        let fd = creactor_socket(raw.family)
        guard fd >= 0 else {
            failures.append("\(address): socket: \(errorText(-fd))")
            return false
        }
        if let bytes = options.socketBufferBytes {
            creactor_set_receive_buffer(fd, Int32(clamping: bytes))
            creactor_set_send_buffer(fd, Int32(clamping: bytes))
        }
        let result = creactor_connect(fd, &raw)
        guard result == 0 || result == -EINPROGRESS else {
            creactor_close(fd)
            failures.append("\(address): \(errorText(-result))")
            return false
        }
        // Also when it is connected already: a connected socket is writable.
        let candidate = Candidate(self, fd: fd, address: address)
        candidate.watch = loop.watch(fd, readable: false, writable: true, handler: candidate)
        candidates.append(candidate)
        return true
    }

    fileprivate func ready(_ candidate: Candidate) {
        guard isOver == false else { return }
        let error = creactor_socket_error(candidate.fd)
        if let watch = candidate.watch { loop.unwatch(watch) }
        candidates.removeAll { $0 === candidate }
        if error == 0 {
            let fd = candidate.fd
            end()
            loop.didConnect(connection, fd: fd, options: options, host: host)
        } else {
            creactor_close(candidate.fd)
            failures.append("\(candidate.address): \(errorText(-error))")
            if addresses.isEmpty == false || candidates.isEmpty { tryNext() }
        }
    }

    private func giveUp() {
        let text = failures.isEmpty ? "the name has no address" : failures.joined(separator: "; ")
        loop.finish(Int(connection.slot), .connectFailed(text))
    }

    /// Closes all that is under way.
    ///
    /// Also called when the slot is finished from outside.
    func end() {
        isOver = true
        if let nextTimer { loop.cancel(nextTimer) }
        nextTimer = nil
        for candidate in candidates {
            if let watch = candidate.watch { loop.unwatch(watch) }
            creactor_close(candidate.fd)
        }
        candidates.removeAll()
    }
}

/// One address under way.
private final class Candidate: DescriptorHandler {
    private unowned let attempt: ConnectAttempt
    let fd: Int32
    let address: SocketAddress
    var watch: WatchID?

    init(_ attempt: ConnectAttempt, fd: Int32, address: SocketAddress) {
        self.attempt = attempt
        self.fd = fd
        self.address = address
    }

    func ready(readable: Bool, writable: Bool) { attempt.ready(self) }
}
