import Foundation
import Reactor

@testable import Connectors

/// Stands between a client and a PostgreSQL server and cuts the connection at a chosen message of the protocol
/// (PostgreSQL documentation, 55.2: a type byte, a length, the content).
///
/// One thread serves all connections until `close()`.
final class CuttingProxy: Sendable {
    /// Where to cut, counted in messages from the moment of arming.
    enum Cut: Sendable, Hashable, CustomStringConvertible {
        /// After so many messages to the server; the rest never arrives.
        case request(Int)
        /// After so many messages to the client; the server has done everything.
        case answer(Int)
        /// After so many messages to the server, which gets the rest when the client has long given up.
        case late(Int)

        var description: String {
            switch self {
            case .request(let count): "request \(count)"
            case .answer(let count): "answer \(count)"
            case .late(let count): "late \(count)"
            }
        }
    }

    struct Failure: Error {}

    private final class Pair {
        let client: Int32
        let server: Int32
        var passed = (requests: 0, answers: 0)
        /// The arming that `passed` counts from.
        var times = 0
        var bornIn = 0
        var buffers: [Int32: [UInt8]] = [:]
        /// What the server gets later, and when.
        var held: (bytes: [UInt8], at: Date)?

        init(client: Int32, server: Int32) {
            self.client = client
            self.server = server
        }
    }

    let port: UInt16
    private let target: UInt16
    private let listener: Int32
    private let armed = Locked<(cut: Cut?, times: Int)>((nil, 0))
    private let cuts = Locked(0)
    private let isClosed = Locked(false)

    init(to target: UInt16) throws {
        self.target = target
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        var address = Self.loopback(0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = withUnsafeMutablePointer(to: &address) { [listener] pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, length) == 0 && listen(listener, 16) == 0
                    ? getsockname(listener, $0, &length) : -1
            }
        }
        guard code == 0 else { throw Failure() }
        port = UInt16(bigEndian: address.sin_port)
        guard BackgroundThread.run({ self.serve() }) else { throw Failure() }
    }

    /// How many connections were cut so far.
    var cutCount: Int { cuts.withLock { $0 } }

    /// Cuts the next connection that passes so many messages; to be called while nothing is on the way.
    func arm(_ cut: Cut) { armed.withLock { $0 = (cut, $0.times + 1) } }

    func disarm() { armed.withLock { $0.cut = nil } }

    func close() { isClosed.withLock { $0 = true } }

    private static func loopback(_ port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }

    private func serve() {
        var pairs: [Pair] = []
        defer {
            for pair in pairs {
                Self.end(pair.client)
                Self.end(pair.server)
            }
            Self.end(listener)
        }
        while !isClosed.withLock({ $0 }) {
            var polled = [pollfd(fd: listener, events: Int16(POLLIN), revents: 0)]
            for pair in pairs {
                // A client that was cut off is gone; its server is only waited for.
                for end in pair.held == nil ? [pair.client, pair.server] : [] {
                    polled.append(pollfd(fd: end, events: Int16(POLLIN), revents: 0))
                }
            }
            poll(&polled, nfds_t(polled.count), 20)
            let ready = Set(polled.filter { $0.revents != 0 }.map(\.fd))
            if ready.contains(listener), let pair = accept() { pairs.append(pair) }
            pairs.removeAll { pair in
                if let held = pair.held {
                    guard Date() >= held.at else { return false }
                    _ = send(held.bytes[...], to: pair.server)
                    Self.end(pair.server)
                    return true
                }
                for end in [pair.client, pair.server] where ready.contains(end) {
                    if !pass(pair, from: end) {
                        Self.end(pair.client)
                        if pair.held != nil { return false }
                        Self.end(pair.server)
                        return true
                    }
                }
                return false
            }
        }
    }

    /// Ends a connection, also when a program that another test starts just now has inherited it.
    private static func end(_ descriptor: Int32) {
        shutdown(descriptor, Int32(SHUT_RDWR))
        Glibc.close(descriptor)
    }

    private func accept() -> Pair? {
        let client = Glibc.accept(listener, nil, nil)
        let server = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = Self.loopback(target)
        let code = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(server, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard client >= 0, code == 0 else {
            Self.end(client)
            Self.end(server)
            return nil
        }
        // Nothing that this thread does may block for long: it serves all connections.
        var limit = timeval(tv_sec: 2, tv_usec: 0)
        for end in [client, server] {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
                setsockopt(end, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
            }
        }
        let pair = Pair(client: client, server: server)
        // One that begins while a cut is armed begins with messages of another form; it is passed as it is.
        pair.bornIn = armed.withLock { $0.cut == nil ? 0 : $0.times }
        return pair
    }

    /// - Returns: `false` when the connection is over.
    private func pass(_ pair: Pair, from end: Int32) -> Bool {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = recv(end, &bytes, bytes.count, 0)
        guard count > 0 else { return false }
        let isRequest = end == pair.client
        let other = isRequest ? pair.server : pair.client
        let (armedCut, times) = armed.withLock { $0 }
        guard let cut = armedCut, pair.bornIn != times else { return send(bytes[..<count], to: other) }
        if pair.times != times {
            pair.times = times
            pair.passed = (0, 0)
            pair.buffers = [:]
        }
        var buffer = (pair.buffers[end] ?? []) + bytes[..<count]
        defer { pair.buffers[end] = buffer }
        while buffer.count >= 5 {
            let length = buffer[1..<5].reduce(0) { $0 << 8 | Int($1) } + 1
            guard buffer.count >= length else { break }
            if isDue(cut, pair, isRequest) {
                armed.withLock { $0.cut = nil }
                cuts.withLock { $0 += 1 }
                if case .late = cut { pair.held = (buffer, Date().addingTimeInterval(0.3)) }
                return false
            }
            guard send(buffer[..<length], to: other) else { return false }
            buffer.removeFirst(length)
            if isRequest { pair.passed.requests += 1 } else { pair.passed.answers += 1 }
        }
        return true
    }

    private func isDue(_ cut: Cut, _ pair: Pair, _ isRequest: Bool) -> Bool {
        switch cut {
        case .request(let count), .late(let count): isRequest && pair.passed.requests >= count
        case .answer(let count): !isRequest && pair.passed.answers >= count
        }
    }

    private func send(_ bytes: ArraySlice<UInt8>, to end: Int32) -> Bool {
        var rest = bytes
        while !rest.isEmpty {
            let sent = rest.withUnsafeBytes {
                Glibc.send(end, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard sent > 0 else { return false }
            rest = rest.dropFirst(sent)
        }
        return true
    }
}
