import Glibc
import Testing

@testable import Reactor

/// These count or limit the descriptors of the whole process, so each runs in a child process of its own.
@Suite("Descriptors run out and come back, and none is leaked", .serialized)
struct DescriptorTests {
    @Test("accepting without a free descriptor pauses, does not spin, and goes on")
    func acceptUnderEMFILE() async {
        await #expect(processExitsWith: .success) {
            for mode in Drivers.present {
                let bench = try Bench(mode)
                var servers: [Probe] = []
                let listener = try bench.listen { _ in
                    servers.append(Probe())
                    return servers[servers.count - 1]
                }
                let clients = (0..<10).map { _ in Probe() }
                let before = limit()
                for client in clients { bench.connect(listener, client) }
                setLimit(lowestFreeDescriptor() + 2)
                bench.run { bench.loop.counters.acceptPauses > 0 }
                let ticks = bench.loop.counters.ticks
                bench.settle(.milliseconds(150))
                #expect(servers.count < 10)
                // settle() itself turns the loop about every 5 ms.
                #expect(bench.loop.counters.ticks - ticks < 100)
                setLimit(before)
                bench.run { servers.count == 10 && clients.allSatisfy { $0.opens == 1 } }
            }
        }
    }

    @Test("connecting without a free descriptor fails with the reason")
    func connectUnderEMFILE() async {
        await #expect(processExitsWith: .success) {
            for mode in Drivers.present {
                let bench = try Bench(mode)
                let listener = try bench.listen { _ in Probe() }
                let before = limit()
                setLimit(lowestFreeDescriptor())
                let client = Probe()
                bench.connect(listener, client)
                bench.run { client.isClosed }
                setLimit(before)
                #expect(client.reason?.description.contains("Too many open files") == true)
            }
        }
    }

    @Test("after all kinds of ends every descriptor is closed")
    func leaks() async {
        await #expect(processExitsWith: .success) {
            for mode in Drivers.present {
                let before = openDescriptors()
                let rounds = 8
                for _ in 0..<rounds { try everyEnd(mode) }
                // The test's own machinery may open one or two; a leak would be one per round at least.
                let after = openDescriptors()
                #expect(after < before + rounds / 2, "\(mode): \(before) before, \(after) after")
            }
        }
    }

    @Test("the table of connections is full: the backlog waits for a free slot")
    func tableFull() async {
        await #expect(processExitsWith: .success) {
            for mode in Drivers.present {
                let bench = try Bench(mode) { $0.maximumConnections = 4 }
                var servers: [Probe] = []
                let listener = try bench.listen { _ in
                    servers.append(Probe())
                    return servers[servers.count - 1]
                }
                // Raw sockets, so that they take no slot.
                let first = Dialer(listener.address.port, count: 4)
                bench.run { servers.count == 4 && bench.loop.counters.acceptPauses > 0 }
                let second = Dialer(listener.address.port, count: 3)
                bench.settle(.milliseconds(20))
                #expect(servers.count == 4)
                first.hangUp()
                bench.run { servers.count == 7 }
                second.hangUp()
                bench.run { servers.allSatisfy(\.isClosed) }
            }
        }
    }
}

/// Connections that end in every way, on one loop that is stopped and one that is just dropped.
private func everyEnd(_ mode: IOMode) throws {
    let bench = try Bench(mode)
    let silent = SilentListener(backlog: 0, filled: true)
    var options = ConnectOptions()
    options.timeout = .milliseconds(10)
    let late = Probe()
    bench.loop.connect(host: "127.0.0.1", port: silent.port, options: options, handler: late)
    bench.run { late.isClosed }
    for round in 0..<8 {
        let (server, client) = try bench.pair()
        client.connection?.send(pattern(10_000))
        switch round % 4 {
        case 0: server.connection?.reset()
        case 1: client.connection?.reset()
        case 2: server.connection?.close()
        default: break  // left to stop()
        }
        bench.settle(.milliseconds(1))
    }
    bench.loop.connect(host: "127.0.0.1", port: silent.port, handler: Probe())
    bench.settle(.milliseconds(1))
    // Dropped without stop(): nobody is told, nothing is leaked.
    let loop = try Loop(configuration: LoopConfiguration(ioMode: mode, maximumConnections: 8))
    let listener = try loop.listen(.loopback(port: 0)) { _ in Mute() }
    loop.connect(host: "127.0.0.1", port: listener.address.port, handler: Mute())
    loop.runOnce(maximumWait: .milliseconds(10))
}

/// Keeps no handle, and so not its loop.
private final class Mute: ConnectionHandler {
    func received(_ bytes: RawSpan, on connection: Connection) -> Consumed { .all(bytes.byteCount) }
    func closed(_ connection: Connection, _ reason: CloseReason) {}
}

private func limit() -> Int { DescriptorLimit.current }

/// With this as the limit not one more descriptor can be opened.
private func lowestFreeDescriptor() -> Int {
    let fd = dup(0)
    close(fd)
    return Int(fd)
}

private func setLimit(_ value: Int) {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    limit.rlim_cur = rlim_t(value)
    #expect(setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
}
