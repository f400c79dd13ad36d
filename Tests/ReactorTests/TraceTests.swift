import Reactor
import Testing

/// What a test does to a connected pair, one step after another.
private enum Step {
    case clientSends(Int)
    case serverSends(Int)
    case serverPauses
    case serverResumes
    case clientHalfCloses
    case serverHalfCloses
    case clientCloses
    case serverCloses
    case clientResets
    case serverResets

    static func script(_ random: inout SplitMix) -> [Step] {
        var steps: [Step] = []
        for _ in 0..<Int.random(in: 1...12, using: &random) {
            switch Int.random(in: 0..<6, using: &random) {
            case 0, 1: steps.append(.clientSends(Int.random(in: 1...100_000, using: &random)))
            case 2, 3: steps.append(.serverSends(Int.random(in: 1...100_000, using: &random)))
            case 4: steps.append(.serverPauses)
            default: steps.append(.serverResumes)
            }
        }
        steps.append(.serverResumes)
        let ends: [[Step]] = [
            [.clientCloses], [.serverCloses], [.clientResets], [.serverResets],
            [.clientHalfCloses, .serverSends(5000), .serverCloses],
            [.serverHalfCloses, .clientSends(5000), .clientCloses],
            [.clientHalfCloses, .serverHalfCloses], [.clientHalfCloses, .serverSends(10), .clientCloses],
        ]
        return steps + (ends.randomElement(using: &random) ?? [])
    }
}

/// Runs a script and writes down what each side's handler was told, without where reads were cut.
private func trace(
    _ mode: IOMode, _ seed: UInt64, tls: (listen: ListenOptions, connect: ConnectOptions)?
) throws
    -> [String]
{
    var random = SplitMix(state: seed)
    let bench = try Bench(mode)
    var log: [String] = []
    let names = ["server", "client"]
    let probes = [Probe(), Probe()]
    for (name, probe) in zip(names, probes) {
        probe.onOpened = { _ in log.append("\(name) opened") }
        // Neither closes by itself: the script decides.
        probe.onInputClosed = { [unowned probe] _ in
            log.append("\(name) input closed after \(probe.bytes.count)")
        }
        probe.onClosed = { [unowned probe] _, reason in
            log.append("\(name) closed: \(reason), got \(probe.bytes.count) \(probe.bytes.hashed)")
        }
    }
    let (server, client) = (probes[0], probes[1])
    _ = try bench.pair(
        listen: tls?.listen ?? ListenOptions(), connect: tls?.connect ?? ConnectOptions(), server: server,
        client: client)
    var sent = (byServer: 0, byClient: 0)
    var isPaused = false
    for (index, step) in Step.script(&random).enumerated() {
        switch step {
        case .clientSends(let count):
            if client.connection?.send(pattern(count, seed: UInt64(index))) == .queued {
                sent.byClient += count
            }
        case .serverSends(let count):
            if server.connection?.send(pattern(count, seed: UInt64(index))) == .queued {
                sent.byServer += count
            }
        case .serverPauses:
            server.connection?.pauseReading()
            isPaused = true
        case .serverResumes:
            server.connection?.resumeReading()
            isPaused = false
        case .clientHalfCloses: client.connection?.shutdownOutput()
        case .serverHalfCloses: server.connection?.shutdownOutput()
        case .clientCloses: client.connection?.close()
        case .serverCloses: server.connection?.close()
        case .clientResets: client.connection?.reset()
        case .serverResets: server.connection?.reset()
        }
        bench.run {
            let serverHasAll = server.isClosed || isPaused || server.bytes.count == sent.byClient
            let clientHasAll = client.isClosed || client.bytes.count == sent.byServer
            return serverHasAll && clientHasAll
        }
        // Ticks, not time: on a busy machine the milliseconds pass without any.
        for _ in 0..<12 { bench.loop.runOnce(maximumWait: .milliseconds(1)) }
    }
    server.connection?.close()
    client.connection?.close()
    bench.run { server.isClosed && client.isClosed }
    bench.run { bench.loop.counters.openConnections == 0 }
    #expect(server.closes == 1 && client.closes == 1)
    // Each side's own order; which of the two hears of something first is a matter of scheduling.
    return log.filter { $0.hasPrefix("server") } + log.filter { $0.hasPrefix("client") }
}

extension [UInt8] {
    /// FNV-1a: the same in every run, unlike `hashValue`.
    fileprivate var hashed: UInt64 {
        reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }
}

extension ReactorSuites {
    @Suite("epoll and io_uring give the same trace", .enabled(if: Drivers.present.contains(.ioURing)))
    struct TraceTests {
        @Test("random scripts", arguments: UInt64(1)...30)
        func same(_ seed: UInt64) throws {
            let epoll = try trace(.epoll, seed, tls: nil)
            let ioURing = try trace(.ioURing, seed, tls: nil)
            #expect(epoll == ioURing, "SEED=\(seed)")
            #expect(epoll.count >= 4)
        }

        @Test(
            "random scripts over TLS", .enabled(if: Certificates.shared != nil), arguments: UInt64(100)...112)
        func sameOverTLS(_ seed: UInt64) throws {
            let certificates = try #require(Certificates.shared)
            var listen = ListenOptions()
            listen.tls = try TLSServerContext(
                certificateFile: certificates.path("good.pem"), keyFile: certificates.path("good.key"))
            var connect = ConnectOptions()
            connect.tls = try TLSClientContext(trustFile: certificates.path("ca.pem"))
            let epoll = try trace(.epoll, seed, tls: (listen, connect))
            let ioURing = try trace(.ioURing, seed, tls: (listen, connect))
            #expect(epoll == ioURing, "SEED=\(seed)")
        }
    }
}
