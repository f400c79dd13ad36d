import Glibc
import Testing

@testable import Reactor

/// One script of faults on a connected pair: frames cut anywhere, queues that run over, and an end in the middle.
private enum Fault: CaseIterable {
    case resetInsideFrame
    case halfCloseInsideFrame
    case closeInsideFrame
    case frameTooLarge
    case closedForOverflow
    case bothReset
    case sendAfterReset
    case closeWhilePaused
    case halfCloseBoth
}

/// Runs a script and writes down what each side's handler was told, and what each call answered.
private final class FaultTrace {
    private var random: SplitMix
    private let bench: Bench
    private let framed = Framed(tellsNeeded: true)
    private let client = Probe()
    private var log: [String] = []
    private var expectedFrames = 0

    private var server: Probe { framed.probe }

    init(_ mode: IOMode, seed: UInt64, tls: (listen: ListenOptions, connect: ConnectOptions)?) throws {
        random = SplitMix(state: seed)
        bench = try Bench(mode)
        var listen = tls?.listen ?? ListenOptions()
        listen.maximumCarryBytes = 200_000
        var connect = tls?.connect ?? ConnectOptions()
        connect.sendQueueLimit = 100_000
        for (name, probe) in [("server", server), ("client", client)] {
            probe.onOpened = { [unowned self] _ in log.append("\(name) opened") }
            probe.onInputClosed = { [unowned self] _ in log.append("\(name) input closed") }
            probe.onDrained = { [unowned self] _ in log.append("\(name) drained") }
            probe.onClosed = { [unowned self] _, reason in log.append("\(name) closed: \(reason)") }
        }
        _ = try bench.pair(listen: listen, connect: connect, server: server, client: client)
    }

    func run(_ fault: Fault) -> [String] {
        for _ in 0..<Int.random(in: 1...5, using: &random) {
            if Bool.random(using: &random) { cutFrames() } else { overflow() }
        }
        end(fault)
        client.connection?.close()
        server.connection?.close()
        bench.run { server.isClosed && client.isClosed }
        #expect(server.closes == 1 && client.closes == 1)
        let frames = framed.messages.map { "frame of \($0.count), \($0.first ?? 0)" }
        return log.filter { $0.hasPrefix("server") } + log.filter { $0.hasPrefix("client") } + frames
    }

    private func note(_ what: String, _ result: SendResult?) {
        log.append("client \(what): \(result.map { "\($0)" } ?? "no connection")")
    }

    /// Ticks, not time: on a busy machine the milliseconds pass without any.
    private func turn(_ count: Int = 12) {
        for _ in 0..<count { bench.loop.runOnce(maximumWait: .milliseconds(1)) }
    }

    /// Frames in pieces that end anywhere.
    private func cutFrames() {
        var bytes: [UInt8] = []
        for _ in 0..<Int.random(in: 1...6, using: &random) {
            let size = Int.random(in: 0...9000, using: &random)
            bytes += Framed.encode(pattern(size, seed: random.next()))
            expectedFrames += 1
        }
        var rest = bytes[...]
        while rest.isEmpty == false {
            let piece = rest.prefix(Int.random(in: 1...7000, using: &random))
            rest = rest.dropFirst(piece.count)
            note("sends", client.connection?.send(Array(piece)))
            turn(Int.random(in: 0...2, using: &random))
        }
        bench.run { framed.messages.count == expectedFrames || client.isClosed }
    }

    /// More than the queue takes, while the server reads nothing; all in one tick, so that what fits is certain.
    private func overflow() {
        server.connection?.pauseReading()
        turn()
        for _ in 0..<5 {
            let result = client.connection?.send(Framed.encode(pattern(30_000 - 4)))
            note("sends much", result)
            if result == .queued { expectedFrames += 1 }
        }
        turn()
        server.connection?.resumeReading()
        bench.run { framed.messages.count == expectedFrames || client.isClosed }
        bench.run { client.connection?.isAboveHighWater != true }
    }

    /// The first bytes of a frame that never ends.
    private func beginFrame() {
        note("begins a frame", client.connection?.send(Array(Framed.encode(pattern(5000)).prefix(1234))))
        turn()
    }

    private func end(_ fault: Fault) {
        switch fault {
        case .resetInsideFrame:
            beginFrame()
            client.connection?.reset()
        case .halfCloseInsideFrame:
            beginFrame()
            client.connection?.shutdownOutput()
            turn()
            log.append("server answers: \(server.connection?.send(pattern(100)) == .queued)")
            bench.run { client.bytes.count == 100 || client.isClosed }
        case .closeInsideFrame:
            beginFrame()
            client.connection?.close()
        case .frameTooLarge:
            note("announces", client.connection?.send([0x7f, 0xff, 0xff, 0xff]))
            bench.run { server.isClosed }
        case .closedForOverflow:
            overflow()
            client.connection?.reset(reason: .sendOverflow)
        case .bothReset:
            client.connection?.reset()
            server.connection?.reset()
        case .sendAfterReset:
            server.connection?.reset()
            note("sends into the void", client.connection?.send([1]))
        case .closeWhilePaused:
            server.connection?.pauseReading()
            note("sends", client.connection?.send(Framed.encode([1, 2, 3])))
            client.connection?.close()
            turn()
            expectedFrames += 1
            server.connection?.resumeReading()
            bench.run { framed.messages.count == expectedFrames }
        case .halfCloseBoth:
            client.connection?.shutdownOutput()
            turn()
            server.connection?.shutdownOutput()
            note("sends after half-close", client.connection?.send([1]))
        }
        turn()
    }
}

extension ReactorSuites {
    @Suite(
        "epoll and io_uring give the same trace of faults", .enabled(if: Drivers.present.contains(.ioURing)))
    struct FaultTraceTests {
        @Test(
            "cut frames, overflow, and an end in the middle", arguments: Array(Fault.allCases.indices), 1...3)
        func same(_ fault: Int, _ seed: Int) throws {
            let fault = Fault.allCases[fault]
            let epoll = try FaultTrace(.epoll, seed: UInt64(seed), tls: nil).run(fault)
            let ioURing = try FaultTrace(.ioURing, seed: UInt64(seed), tls: nil).run(fault)
            #expect(epoll == ioURing, "\(fault), SEED=\(seed)")
            #expect(epoll.count >= 6)
        }

        @Test(
            "the same over TLS", .enabled(if: Certificates.shared != nil),
            arguments: Array(Fault.allCases.indices))
        func sameOverTLS(_ fault: Int) throws {
            let fault = Fault.allCases[fault]
            let certificates = try #require(Certificates.shared)
            var listen = ListenOptions()
            listen.tls = try TLSServerContext(
                certificateFile: certificates.path("good.pem"), keyFile: certificates.path("good.key"))
            var connect = ConnectOptions()
            connect.tls = try TLSClientContext(trustFile: certificates.path("ca.pem"))
            let epoll = try FaultTrace(.epoll, seed: 9, tls: (listen, connect)).run(fault)
            let ioURing = try FaultTrace(.ioURing, seed: 9, tls: (listen, connect)).run(fault)
            #expect(epoll == ioURing, "\(fault)")
        }

        @Test("a TLS server meets what is no TLS", .enabled(if: Certificates.shared != nil))
        func brokenHandshakes() throws {
            let hello: [UInt8] = [0x16, 0x03, 0x01, 0x00, 0xc8, 0x01]
            let openings: [[UInt8]] = [
                [], Array("GET / HTTP/1.1\r\n\r\n".utf8), hello, [UInt8](repeating: 0xff, count: 20_000),
                [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28],
            ]
            for opening in openings {
                let epoll = try handshake(.epoll, opening)
                let ioURing = try handshake(.ioURing, opening)
                #expect(epoll == ioURing)
                #expect(epoll.hasPrefix("TLS:"), "\(epoll)")
            }
        }

        /// Why a TLS server let a peer go that sent `opening` and hung up.
        private func handshake(_ mode: IOMode, _ opening: [UInt8]) throws -> String {
            let certificates = try #require(Certificates.shared)
            let bench = try Bench(mode)
            var options = ListenOptions()
            options.tls = try TLSServerContext(
                certificateFile: certificates.path("good.pem"), keyFile: certificates.path("good.key"))
            let server = Probe()
            let listener = try bench.listen(options) { _ in server }
            let peer = Dialer(listener.address.port, count: 1)
            bench.run { bench.loop.counters.accepts == 1 }
            #expect(write(peer.sockets[0], opening, opening.count) == opening.count)
            shutdown(peer.sockets[0], Int32(SHUT_WR))
            bench.run { server.isClosed }
            #expect(server.opens == 0)
            return server.reason.map { "\($0)" } ?? ""
        }
    }
}
