import Glibc
import Reactor

struct PacedResult {
    var events = 0
    var ticks: UInt64 = 0
    var systemCalls: UInt64 = 0
    var nanoseconds: UInt64 = 0
}

/// One connection, one event a write, at a steady rate: how a PBX with much to say looks to a loop that is quick.
final class Paced {
    private let loop: Loop
    private let receiver = Receiver()
    private let socket: Int32
    private let interval: Duration

    init(_ subject: Subject, gathering: Duration?, eventsPerSecond: Int) throws {
        var configuration = subject.configuration(connections: 1)
        configuration.gathering = gathering
        loop = try Loop(configuration: configuration)
        interval = .nanoseconds(1_000_000_000 / eventsPerSecond)
        let receiver = receiver
        let listener = try loop.listen(.loopback(port: 0)) { _ in receiver }
        socket = try dial(listener.address.port)
        while loop.counters.openConnections == 0 { loop.runOnce(maximumWait: .milliseconds(100)) }
    }

    func run(seconds: Int) throws -> PacedResult {
        let end = MonotonicInstant.now() + .seconds(seconds)
        let sender = Sender(socket: socket, interval: interval, until: end)
        guard let thread = sender.start() else { throw BenchError("no thread to send from") }
        let before = loop.counters
        let start = threadTime()
        while MonotonicInstant.now() < end { loop.runOnce(maximumWait: .milliseconds(100)) }
        let used = threadTime() - start
        pthread_join(thread, nil)
        var result = PacedResult()
        result.events = receiver.events
        result.ticks = loop.counters.ticks - before.ticks
        result.systemCalls = loop.counters.systemCalls - before.systemCalls
        result.nanoseconds = used
        close(socket)
        loop.stop()
        return result
    }
}

/// Writes one event each interval, from a thread of its own; late ones follow at once.
private final class Sender: Sendable {
    /// TIMER_ABSTIME, a macro.
    private static let absoluteTime: Int32 = 1

    private let socket: Int32
    private let interval: Duration
    private let end: MonotonicInstant

    init(socket: Int32, interval: Duration, until end: MonotonicInstant) {
        self.socket = socket
        self.interval = interval
        self.end = end
    }

    func start() -> pthread_t? {
        var thread = pthread_t()
        let result = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<Sender>.fromOpaque(argument).takeRetainedValue().work() }
                return nil
            }, Unmanaged.passRetained(self).toOpaque())
        return result == 0 ? thread : nil
    }

    private func work() {
        let event = Event.stream(1)
        var next = MonotonicInstant.now()
        while next < end {
            var time = timespec(
                tv_sec: Int(next.nanoseconds / 1_000_000_000), tv_nsec: Int(next.nanoseconds % 1_000_000_000))
            clock_nanosleep(CLOCK_MONOTONIC, Sender.absoluteTime, &time, nil)
            let sent = event.withUnsafeBytes {
                send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard sent == event.count else { return }
            next = next + interval
        }
    }
}
