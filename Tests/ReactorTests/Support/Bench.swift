import Reactor
import Testing

/// The drivers that this kernel has; every driver suite runs under each of them.
enum Drivers {
    static let present: [IOMode] = {
        do {
            let loop = try Loop(configuration: LoopConfiguration(ioMode: .ioURing, maximumConnections: 4))
            loop.stop()
            return [.epoll, .ioURing]
        } catch {
            print("SKIPPED: the io_uring half of the reactor tests: \(error)")
            return [.epoll]
        }
    }()
}

/// One loop that a test turns by hand.
final class Bench {
    let loop: Loop

    init(_ mode: IOMode, _ change: (inout LoopConfiguration) -> Void = { _ in }) throws {
        var configuration = LoopConfiguration(ioMode: mode, maximumConnections: 4096)
        change(&configuration)
        loop = try Loop(configuration: configuration)
    }

    /// Handlers hold connections, connections their loop: stopping lets all of it go.
    deinit { loop.stop() }

    /// Turns the loop until `condition` holds; a test that waits longer than `limit` has failed.
    @discardableResult
    func run(
        limit: Duration = .seconds(20), sourceLocation: SourceLocation = #_sourceLocation,
        until condition: () -> Bool
    ) -> Bool {
        let end = MonotonicInstant.now() + limit
        while condition() == false {
            if MonotonicInstant.now() > end {
                Issue.record("what was waited for did not happen", sourceLocation: sourceLocation)
                return false
            }
            loop.runOnce(maximumWait: .milliseconds(50))
        }
        return true
    }

    /// Turns the loop for about `duration`, for what must not happen.
    func settle(_ duration: Duration = .milliseconds(30)) {
        let end = MonotonicInstant.now() + duration
        while MonotonicInstant.now() < end { loop.runOnce(maximumWait: .milliseconds(5)) }
    }

    /// Listens on a free loopback port; `accepted` gives the handler of each connection.
    func listen(
        _ options: ListenOptions = ListenOptions(),
        _ accepted: @escaping (Connection) -> any ConnectionHandler
    ) throws -> Listener {
        try loop.listen(.loopback(port: 0), options: options, accept: accepted)
    }

    @discardableResult
    func connect(
        _ listener: Listener, _ options: ConnectOptions, _ handler: any ConnectionHandler
    ) -> Connection {
        loop.connect(host: "127.0.0.1", port: listener.address.port, options: options, handler: handler)
    }

    @discardableResult
    func connect(_ listener: Listener, _ handler: any ConnectionHandler) -> Connection {
        connect(listener, ConnectOptions(), handler)
    }

    /// A connected pair: what the server accepted, and the client.
    func pair(
        listen listenOptions: ListenOptions = ListenOptions(),
        connect connectOptions: ConnectOptions = ConnectOptions(),
        server: Probe = Probe(), client: Probe = Probe()
    ) throws -> (server: Probe, client: Probe) {
        let listener = try listen(listenOptions) { _ in server }
        connect(listener, connectOptions, client)
        run { server.opens == 1 && client.opens == 1 }
        listener.close()
        return (server, client)
    }
}

/// Bytes that tell where they are: a cut or a swap anywhere shows.
func pattern(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
    var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, used in
        var index = 0
        while index < count {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            withUnsafeBytes(of: state) { word in
                let part = min(8, count - index)
                UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[index...])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: word[..<part]))
                index += part
            }
        }
        used = count
    }
}
