import CAllocations
import Glibc
import Reactor

/// What taking the events cost.
struct DrainResult {
    var events = 0
    var systemCalls: UInt64 = 0
    var allocations: UInt64 = 0
    var carriedBytes: UInt64 = 0
    /// CPU nanoseconds an event, one value a round.
    var nanoseconds: [Double] = []

    var systemCallsPerEvent: Double { Double(systemCalls) / Double(max(events, 1)) }
    var allocationsPerEvent: Double { Double(allocations) / Double(max(events, 1)) }
    var carriedPerEvent: Double { Double(carriedBytes) / Double(max(events, 1)) }

    func quantile(_ share: Double) -> Double {
        let sorted = nanoseconds.sorted()
        return sorted.isEmpty ? 0 : sorted[Int(share * Double(sorted.count - 1))]
    }
}

/// Sockets are filled, then one loop takes all: how a loop under load finds them, and the same every time.
final class Drain {
    /// Until buffers, lists and tables have their size.
    static let warmUpEvents = 4000
    static let checkedRounds = 20

    private let load: Load
    private let loop: Loop
    private let receiver = Receiver()
    private let sockets: [Int32]
    private let stream: [UInt8]
    private(set) var result = DrainResult()

    init(_ subject: Subject, _ load: Load) throws {
        self.load = load
        loop = try Loop(configuration: subject.configuration(connections: load.connections))
        stream = Event.stream(load.events)
        var options = ListenOptions()
        options.backlog = 4096
        let receiver = receiver
        let listener = try loop.listen(.loopback(port: 0), options: options) { _ in receiver }
        var sockets: [Int32] = []
        for _ in 0..<load.connections {
            sockets.append(try dial(listener.address.port))
            loop.runOnce(maximumWait: .zero)
        }
        self.sockets = sockets
        let end = MonotonicInstant.now() + .seconds(20)
        while loop.counters.openConnections < UInt64(load.connections) {
            guard MonotonicInstant.now() < end else { throw BenchError("connections are missing") }
            loop.runOnce(maximumWait: .milliseconds(10))
        }
        listener.close()
    }

    deinit {
        for socket in sockets { close(socket) }
        loop.stop()
    }

    func warmUp() throws {
        while result.events < Drain.warmUpEvents || result.nanoseconds.count < 4 { try round() }
        result = DrainResult()
    }

    func round() throws {
        for socket in sockets {
            let sent = stream.withUnsafeBytes {
                send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard sent == stream.count else {
                throw BenchError("a socket took \(sent) bytes of \(stream.count)")
            }
        }
        let wanted = receiver.events + load.connections * load.events
        let before = loop.counters
        let allocations = callocations_count()
        let start = threadTime()
        while receiver.events < wanted {
            guard receiver.closes == 0 else { throw BenchError("a connection was closed") }
            loop.runOnce(maximumWait: .milliseconds(100))
        }
        let end = threadTime()
        result.allocations += callocations_count() - allocations
        result.systemCalls += loop.counters.systemCalls - before.systemCalls
        result.carriedBytes += loop.counters.carriedBytes - before.carriedBytes
        result.events += load.connections * load.events
        result.nanoseconds.append(Double(end - start) / Double(load.connections * load.events))
    }
}

/// A blocking connection to a loopback port.
func dial(_ port: UInt16) throws(BenchError) -> Int32 {
    let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard fd >= 0 else { throw BenchError("socket: errno \(errno)") }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    address.sin_port = port.bigEndian
    let result = withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
    guard result == 0 else { throw BenchError("connect: errno \(errno)") }
    var one: Int32 = 1
    setsockopt(fd, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
    return fd
}
