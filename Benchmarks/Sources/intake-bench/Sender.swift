import BenchSupport
import Glibc
import Protocols
import Synchronization

/// A PBX's end of one WebSocket, on a thread of its own that does nothing but send.
final class Sender: Sendable {
    /// Bytes given to the kernel at once.
    private static let partBytes = 256 << 10

    /// Where it listens, on loopback.
    let port: UInt16
    private let listener: Int32
    private let isStopping = Atomic<Bool>(false)
    private let sent = Atomic<Int>(0)
    private let rounds = Atomic<Int>(0)
    private let nanoseconds = Atomic<Int>(0)
    private let thread = Mutex<pthread_t?>(nil)

    /// Events sent, in whole times round, and those times round.
    var eventsSent: Int { sent.load(ordering: .acquiring) }
    var roundsSent: Int { rounds.load(ordering: .acquiring) }
    /// What its thread has used of a core.
    var cpuNanoseconds: Double { Double(nanoseconds.load(ordering: .acquiring)) }

    init() throws(BenchError) {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        self.listener = listener
        guard listener >= 0 else { throw BenchError("no socket") }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, size) == 0 && listen(listener, 4) == 0
                    && getsockname(listener, $0, &size) == 0
            }
        }
        guard bound else { throw BenchError("cannot listen on loopback") }
        port = UInt16(bigEndian: address.sin_port)
    }

    deinit { close(listener) }

    /// Takes one connection, and sends to it until told to stop.
    ///
    /// - Parameters:
    ///   - stream: Not used by anybody else until `join`.
    ///   - withHandshake: Whether the other side is a WebSocket client.
    func start(_ stream: OfficeStream, withHandshake: Bool) throws(BenchError) {
        let work = Work(sender: self, stream: stream, withHandshake: withHandshake)
        var thread = pthread_t()
        let result = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().run() }
                return nil
            }, Unmanaged.passRetained(work).toOpaque())
        guard result == 0 else { throw BenchError("no thread to send from") }
        self.thread.withLock { $0 = thread }
    }

    /// Ends the stream behind the time round that is being sent.
    func stop() { isStopping.store(true, ordering: .releasing) }

    /// Waits for the thread's end; the other side has to read what is left.
    func join() {
        guard let thread = thread.withLock({ $0 }) else { return }
        pthread_join(thread, nil)
    }

    private final class Work {
        let sender: Sender
        let stream: OfficeStream
        let withHandshake: Bool

        init(sender: Sender, stream: OfficeStream, withHandshake: Bool) {
            self.sender = sender
            self.stream = stream
            self.withHandshake = withHandshake
        }

        func run() {
            let peer = accept(sender.listener, nil, nil)
            guard peer >= 0 else { return }
            defer { close(peer) }
            guard !withHandshake || shakeHands(peer) else { return }
            let start = ThreadTime.now
            while !sender.isStopping.load(ordering: .acquiring) {
                var isOpen = true
                while !stream.next(Sender.partBytes, { isOpen = isOpen && Self.send($0, to: peer) }) {
                    guard isOpen else { return }
                }
                sender.sent.wrappingAdd(stream.eventCount, ordering: .acquiringAndReleasing)
                sender.rounds.wrappingAdd(1, ordering: .acquiringAndReleasing)
                sender.nanoseconds.store(Int(ThreadTime.now - start), ordering: .releasing)
            }
            shutdown(peer, Int32(SHUT_WR))
            // Until the other side has gone too: closing with something unread would throw away what is under way.
            var buffer = [UInt8](repeating: 0, count: 4096)
            while recv(peer, &buffer, buffer.count, 0) > 0 {}
        }

        private static func send(_ bytes: UnsafeRawBufferPointer, to peer: Int32) -> Bool {
            var rest = bytes[...]
            while !rest.isEmpty {
                let part = UnsafeRawBufferPointer(rebasing: rest)
                let count = Glibc.send(peer, part.baseAddress, part.count, Int32(MSG_NOSIGNAL))
                guard count > 0 else { return false }
                rest = rest.dropFirst(count)
            }
            return true
        }

        /// Answers the opening handshake (RFC 6455 §4.2.2).
        private func shakeHands(_ peer: Int32) -> Bool {
            var head: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 4096)
            while !head.suffix(4).elementsEqual([13, 10, 13, 10]) {
                let count = recv(peer, &buffer, buffer.count, 0)
                guard count > 0, head.count < 65_536 else { return false }
                head += buffer[..<count]
            }
            let lines = String(decoding: head, as: UTF8.self).split(separator: "\r\n")
            let name = "sec-websocket-key:"
            guard let line = lines.first(where: { $0.lowercased().hasPrefix(name) }) else { return false }
            let key = line.dropFirst(name.count).drop { $0 == " " }
            let answer =
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                + "Sec-WebSocket-Accept: \(WebSocketHandshake.accept(for: String(key)))\r\n\r\n"
            return Array(answer.utf8).withUnsafeBytes { Self.send($0, to: peer) }
        }
    }
}

/// A reader that throws away what it gets, inside the kernel: how much the sender can send at all.
enum Sink {
    /// - Returns: Events a second, by the wall.
    static func measure(_ stream: OfficeStream, seconds: Double) throws(BenchError) -> Double {
        let sender = try Sender()
        let peer = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(peer) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = sender.port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isConnected = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(peer, $0, size) == 0 }
        }
        guard isConnected else { throw BenchError("cannot connect to loopback") }
        try sender.start(stream, withHandshake: false)
        let start = WallTime.now
        var bytes = 0
        var end = start
        while true {
            // Of TCP, MSG_TRUNC throws away without copying (tcp(7)).
            let count = recv(peer, nil, 4 << 20, Int32(MSG_TRUNC))
            guard count > 0 else { break }
            bytes += count
            end = WallTime.now
            if end - start > seconds * 1e9 { sender.stop() }
        }
        shutdown(peer, Int32(SHUT_RDWR))
        sender.join()
        return Double(bytes) / Double(stream.byteCount) * Double(stream.eventCount) / (end - start) * 1e9
    }
}

/// Time that runs evenly.
enum WallTime {
    /// Nanoseconds.
    static var now: Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
    }
}
