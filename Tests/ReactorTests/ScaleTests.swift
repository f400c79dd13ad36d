import Foundation
import Glibc
import Testing

@testable import Reactor

/// Server and clients are processes of their own, since each end of a connection takes a descriptor.
@Suite("As many connections as the descriptor limit allows, at most 512 bytes each", .serialized)
struct ScaleTests {
    /// Descriptors that are not connections.
    static let spare = 200
    static let mostConnections = 19_000
    /// User memory of an idle connection, handler not counted.
    static let mostBytes = 512

    @Test("epoll") func epoll() async { await ScaleTests.run(.epoll) }

    @Test("io_uring", .enabled(if: Drivers.present.contains(.ioURing)))
    func ioURing() async { await ScaleTests.run(.ioURing) }

    private static func run(_ mode: IOMode) async {
        // The children find each other by this path; each makes its part of the name from its own environment.
        setenv("REACTOR_SCALE_FILE", "\(FileManager.default.temporaryDirectory.path)/scale-\(UUID())", 1)
        async let server: Void = serve(mode)
        async let clients: Void = dial()
        _ = await (server, clients)
        let found = try? String(contentsOfFile: Scale.path + "-done", encoding: .utf8)
        print("\(mode): \(found ?? "nothing found")")
        unlink(Scale.path)
        unlink(Scale.path + "-done")
    }

    private static func serve(_ mode: IOMode) async {
        if mode == .epoll {
            await #expect(processExitsWith: .success) { try Scale.serve(.epoll) }
        } else {
            await #expect(processExitsWith: .success) { try Scale.serve(.ioURing) }
        }
    }

    private static func dial() async {
        await #expect(processExitsWith: .success) { try Scale.dial() }
    }
}

private enum Scale {
    static var path: String { getenv("REACTOR_SCALE_FILE").map { String(cString: $0) } ?? "" }

    static var count: Int {
        let most = Sanitizer.isOn ? 1500 : ScaleTests.mostConnections
        return min(most, DescriptorLimit.raise(to: 20_000) - ScaleTests.spare)
    }

    /// Answers each connection once; done when all have come, answered, rested and gone.
    static func serve(_ mode: IOMode) throws {
        let count = count
        let bench = try Bench(mode) { $0.maximumConnections = count + 16 }
        let echo = Echo()
        var options = ListenOptions()
        options.backlog = 4096
        let listener = try bench.listen(options) { _ in echo }
        try "\(listener.address.port)".write(toFile: path, atomically: true, encoding: .utf8)
        bench.run(limit: .seconds(240)) { echo.open >= 500 }
        let (before, early) = (anonymousBytes(), echo.open)
        // A sanitizer's few come in one or two ticks.
        if !Sanitizer.isOn { #expect(early < count / 2) }
        bench.run(limit: .seconds(240)) { echo.answered == count }
        #expect(bench.loop.counters.openConnections == UInt64(count))
        let perConnection = (anonymousBytes() - before) / max(count - early, 1)
        if !Sanitizer.isOn { #expect(perConnection <= ScaleTests.mostBytes) }
        // Anybody may close now.
        let found = "\(count) idle connections, \(perConnection) bytes each"
        try found.write(toFile: path + "-done", atomically: true, encoding: .utf8)
        bench.run(limit: .seconds(240)) { bench.loop.counters.openConnections == 0 }
        #expect(bench.loop.counters.acceptPauses == 0)
    }

    static func dial() throws {
        let count = count
        let port = try #require(
            waitFor { (try? String(contentsOfFile: path, encoding: .utf8)).flatMap { UInt16($0) } })
        let dialer = Dialer(port, count: count)
        try #require(dialer.sockets.count == count)
        for fd in dialer.sockets {
            var byte: UInt8 = 7
            #expect(write(fd, &byte, 1) == 1)
        }
        for fd in dialer.sockets {
            var byte: UInt8 = 0
            #expect(read(fd, &byte, 1) == 1 && byte == 7)
        }
        let done = path + "-done"
        let mayClose: String? = waitFor { FileManager.default.fileExists(atPath: done) ? done : nil }
        try #require(mayClose != nil)
        dialer.hangUp()
    }

    private static func waitFor<Value>(_ value: () -> Value?) -> Value? {
        for _ in 0..<24_000 {
            if let found = value() { return found }
            usleep(10_000)
        }
        return nil
    }

    /// Memory of this process that is its own (RssAnon of proc(5)).
    private static func anonymousBytes() -> Int {
        guard let text = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8) else { return 0 }
        let line = text.split(separator: "\n").first { $0.hasPrefix("RssAnon:") } ?? ""
        let kilobytes = line.split(separator: " ").compactMap { Int($0) }.first ?? 0
        return kilobytes * 1024
    }
}

/// One handler for all connections.
private final class Echo: ConnectionHandler {
    private(set) var answered = 0
    private(set) var open = 0

    func opened(_ connection: Connection) { open += 1 }

    func received(_ bytes: RawSpan, on connection: Connection) -> Consumed {
        answered += 1
        connection.send(bytes)
        return .all(bytes.byteCount)
    }

    func closed(_ connection: Connection, _ reason: CloseReason) { open -= 1 }
}
