import Glibc
import Synchronization
import Testing

@testable import Reactor

extension ReactorSuites {
    @Suite("Under stress every connection gets its bytes in order and one end")
    struct StressTests {
        struct Subject: CustomTestStringConvertible, Sendable {
            let testDescription: String
            let mode: IOMode
            var features: IOURingFeatures = .all
            var entries: UInt32 = 0
        }

        static var subjects: [Subject] {
            let epoll = Subject(testDescription: "epoll", mode: .epoll)
            guard Drivers.present.contains(.ioURing) else { return [epoll] }
            let plain = IOURingFeatures.all.subtracting(.incrementalBuffers)
            return [
                epoll, Subject(testDescription: "io_uring", mode: .ioURing),
                Subject(testDescription: "plain buffers", mode: .ioURing, features: plain),
                Subject(testDescription: "as Linux 6.1", mode: .ioURing, features: .linux6_1),
                Subject(testDescription: "as Linux 5.19", mode: .ioURing, features: .linux5_19),
                Subject(testDescription: "tiny queues", mode: .ioURing, entries: 4),
            ]
        }

        /// A client of the test below: what it sent, and what came back.
        private final class Client {
            let probe = Probe()
            var sent: [UInt8] = []
            var isDone = false
        }

        @Test("hundreds come and go in every way through few slots and buffers", arguments: subjects)
        func churn(_ subject: Subject) throws {
            for seed in UInt64(1)...2 { try churn(subject, seed: seed) }
        }

        private func churn(_ subject: Subject, seed: UInt64) throws {
            var random = SplitMix(state: seed)
            let bench = try Bench(subject.mode) {
                $0.maximumConnections = 24
                $0.ioURingFeatures = subject.features
                $0.submissionEntries = subject.entries
                $0.completionEntries = subject.entries * 2
                $0.receiveBufferBytes = 4096
                $0.receiveBufferCount = 8
            }
            var servers: [Probe] = []
            let listener = try bench.listen { _ in
                let probe = Probe()
                probe.onReceived = { bytes, connection in
                    // A refusal is seen by the client as bytes that are missing.
                    if connection.send(bytes) != .queued { connection.reset() }
                    return .all(bytes.count)
                }
                servers.append(probe)
                return probe
            }
            var clients: [Client] = []
            let total = 120
            while clients.count < total || clients.contains(where: { $0.probe.isClosed == false }) {
                if clients.count < total, clients.filter({ $0.probe.isClosed == false }).count < 10 {
                    let client = Client()
                    bench.connect(listener, client.probe)
                    clients.append(client)
                }
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    guard let client = clients.suffix(16).randomElement(using: &random) else { break }
                    act(on: client, servers.suffix(16), &random)
                }
                if clients.count == total {
                    // A paused server would not notice that its peer has gone.
                    for server in servers { server.connection?.resumeReading() }
                    for client in clients { client.probe.connection?.close() }
                }
                bench.loop.runOnce(maximumWait: .milliseconds(1))
            }
            listener.close()
            for server in servers { server.connection?.resumeReading() }
            bench.run { servers.allSatisfy(\.isClosed) && bench.loop.counters.openConnections == 0 }
            for client in clients {
                #expect(client.probe.closes == 1 && client.probe.opens <= 1, "SEED=\(seed)")
                #expect(
                    client.probe.bytes == Array(client.sent.prefix(client.probe.bytes.count)), "SEED=\(seed)")
            }
            #expect(servers.allSatisfy { $0.closes == 1 && $0.opens <= 1 }, "SEED=\(seed)")
            // Nothing is stuck: a connection made now works, through every buffer there is.
            let (server, client) = try bench.pair()
            client.connection?.send(pattern(300_000))
            bench.run { server.bytes.count == 300_000 }
            #expect(server.bytes == pattern(300_000), "SEED=\(seed)")
        }

        private func act(on client: Client, _ servers: ArraySlice<Probe>, _ random: inout SplitMix) {
            let connection = client.probe.connection
            switch Int.random(in: 0..<12, using: &random) {
            case 0...5:
                guard client.isDone == false, let connection else { return }
                let bytes = pattern(Int.random(in: 1...20_000, using: &random), seed: random.next())
                if connection.send(bytes) == .queued { client.sent += bytes }
            case 6: connection?.pauseReading()
            case 7: connection?.resumeReading()
            case 8:
                client.isDone = true
                connection?.shutdownOutput()
            case 9:
                client.isDone = true
                connection?.close()
            case 10: connection?.reset()
            default:
                let server = servers.randomElement(using: &random)?.connection
                if Bool.random(using: &random) { server?.reset() } else { server?.pauseReading() }
                if Bool.random(using: &random) { server?.resumeReading() }
            }
        }

        @Test("pause and resume race with bytes on their way", arguments: subjects)
        func pauseRaces(_ subject: Subject) throws {
            let bench = try Bench(subject.mode) {
                $0.ioURingFeatures = subject.features
                $0.submissionEntries = subject.entries
                $0.completionEntries = subject.entries * 2
                $0.receiveBufferBytes = 4096
                $0.receiveBufferCount = 8
            }
            var random = SplitMix(state: 77)
            let (server, client) = try bench.pair()
            let connection = try #require(server.connection)
            let data = pattern(4 << 20)
            client.connection?.send(data)
            var isPaused = false
            bench.run {
                for _ in 0..<Int.random(in: 0...3, using: &random) {
                    if isPaused { connection.resumeReading() } else { connection.pauseReading() }
                    isPaused.toggle()
                }
                // What comes while paused is held back, and never more than all buffers hold.
                #expect(bench.loop.slots.base[Int(connection.slot)].carry.count <= 2 * 8 * 4096)
                return server.bytes.count == data.count || (isPaused == false && client.isClosed)
            }
            #expect(server.bytes == data)
        }

        @Test("a timer at the end of time neither fires nor overflows nor spins", arguments: Drivers.present)
        func farTimers(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            var fired = false
            bench.loop.schedule(at: MonotonicInstant(nanoseconds: .max)) { fired = true }
            bench.loop.schedule(at: MonotonicInstant(nanoseconds: UInt64(Int64.max))) { fired = true }
            bench.loop.schedule(after: .seconds(Int64.max)) { fired = true }
            bench.loop.schedule(after: .seconds(300 * 366 * 86_400)) { fired = true }
            let before = bench.loop.counters.ticks
            let mailbox = Mailbox<Int>(capacity: 1)
            var got = 0
            bench.loop.attach(mailbox) { _ in got += 1 }
            for round in 1...5 {
                #expect(mailbox.post(1))
                bench.run { got == round }
            }
            #expect(fired == false)
            #expect(bench.loop.counters.ticks - before < 50)
        }

        @Test("the longest wait is a wait", arguments: Drivers.present)
        func farWait(_ mode: IOMode) throws {
            // The only timer is at the end of time: the loop must sleep until it is woken, not turn.
            let ticks = Atomic<Int>(0)
            let thread = try LoopThread.start(LoopConfiguration(ioMode: mode, maximumConnections: 4)) {
                loop in
                loop.schedule(at: MonotonicInstant(nanoseconds: .max - 1)) {}
                _ = loop.atEndOfTick { ticks.add(1, ordering: .relaxed) }
            }
            usleep(50_000)
            thread.stop()
            thread.join()
            #expect(ticks.load(ordering: .relaxed) < 20)
        }
    }
}
