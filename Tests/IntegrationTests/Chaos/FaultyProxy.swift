import Foundation
import Reactor

/// A TCP proxy between the daemon and its database that misbehaves when told to.
///
/// Two threads a connection, one a direction, with blocking calls: it has to be simple, not fast.
final class FaultyProxy: Sendable {
    private struct State {
        var links: [Link] = []
        var delayMilliseconds: UInt32 = 0
        var isFrozen = false
        /// Of the next bytes towards the database only so many go through, then the connection is cut.
        var truncateAfter: Int?
        var isStopped = false
    }

    /// One connection through the proxy; its descriptors are closed when both directions have ended.
    private final class Link: Sendable {
        let client: Int32
        let server: Int32
        private let openDirections = Locked(2)

        init(client: Int32, server: Int32) {
            self.client = client
            self.server = server
        }

        /// - Parameter isReset: RST instead of FIN, so that what is on its way is lost as well.
        func cut(isReset: Bool) {
            openDirections.withLock { count in
                guard count > 0 else { return }
                for descriptor in [client, server] {
                    if isReset {
                        var option = linger(l_onoff: 1, l_linger: 0)
                        setsockopt(
                            descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
                    }
                    shutdown(descriptor, Int32(SHUT_RDWR))
                }
            }
        }

        func directionEnded() {
            cut(isReset: false)
            openDirections.withLock { count in
                count -= 1
                guard count == 0 else { return }
                close(client)
                close(server)
            }
        }
    }

    /// Where the daemon connects to, on 127.0.0.1.
    let port: UInt16
    private let target: UInt16
    private let listener: Int32
    private let state = Locked(State())

    struct Failure: Error {}

    /// Listens; connections go to `target` on 127.0.0.1.
    init(target: UInt16) throws {
        self.target = target
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        listener = descriptor
        var address = Self.loopback(0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && listen(descriptor, 64) == 0
                    ? getsockname(descriptor, $0, &length) : -1
            }
        }
        guard code == 0 else { throw Failure() }
        port = UInt16(bigEndian: address.sin_port)
        Thread.detachNewThread { [self] in accept() }
    }

    /// Ends all connections and takes no more.
    func stop() {
        state.withLock { $0.isStopped = true }
        cut(isReset: false)
        shutdown(listener, Int32(SHUT_RDWR))
    }

    /// Cuts all connections.
    func cut(isReset: Bool) {
        let links = state.withLock { state in
            defer { state.links = [] }
            return state.links
        }
        for link in links { link.cut(isReset: isReset) }
    }

    /// Holds back all bytes, in both directions, and new connections; nothing is closed.
    func freeze(_ isFrozen: Bool) { state.withLock { $0.isFrozen = isFrozen } }

    /// Delays each piece by so much.
    func delay(milliseconds: UInt32) { state.withLock { $0.delayMilliseconds = milliseconds } }

    /// Lets so many bytes of the next piece towards the database through, then cuts the connection.
    func truncateNext(after bytes: Int) { state.withLock { $0.truncateAfter = bytes } }

    private func accept() {
        while true {
            let client = Glibc.accept(listener, nil, nil)
            guard !state.withLock({ $0.isStopped }) else {
                if client >= 0 { close(client) }
                close(listener)
                return
            }
            guard client >= 0 else { continue }
            let server = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            var address = Self.loopback(target)
            let isConnected = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    connect(server, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
                }
            }
            guard isConnected else {
                // The database is down: as if its machine refused.
                close(client)
                close(server)
                continue
            }
            let link = Link(client: client, server: server)
            state.withLock { $0.links.append(link) }
            Thread.detachNewThread { [self] in forward(link, from: client, to: server, isToServer: true) }
            Thread.detachNewThread { [self] in forward(link, from: server, to: client, isToServer: false) }
        }
    }

    private func forward(_ link: Link, from source: Int32, to sink: Int32, isToServer: Bool) {
        defer { link.directionEnded() }
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            var count = recv(source, &buffer, buffer.count, 0)
            guard count > 0 else { return }
            while state.withLock({ $0.isFrozen && !$0.isStopped }) { usleep(2000) }
            let (pause, limit) = state.withLock { state in
                defer { if isToServer { state.truncateAfter = nil } }
                return (state.delayMilliseconds, isToServer ? state.truncateAfter : nil)
            }
            if pause > 0 { usleep(pause * 1000) }
            if let limit { count = min(count, limit) }
            var sent = 0
            while sent < count {
                let part = buffer.withUnsafeBytes {
                    send(sink, $0.baseAddress?.advanced(by: sent), count - sent, Int32(MSG_NOSIGNAL))
                }
                guard part > 0 else { return }
                sent += part
            }
            if limit != nil { return }
        }
    }

    private static func loopback(_ port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }
}
