import Reactor
import Testing

extension ReactorSuites {
    @Suite("Queues are bounded and flow control works both ways")
    struct FlowTests {
        @Test("the send queue's bound: nothing of what does not fit is taken", arguments: Drivers.present)
        func overflow(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let server = Probe()
            server.onOpened = { $0.pauseReading() }
            var options = ConnectOptions()
            options.sendQueueLimit = 100_000
            options.socketBufferBytes = 8192
            let (_, client) = try bench.pair(connect: options, server: server)
            let connection = try #require(client.connection)
            #expect(connection.send(pattern(60_000)) == .queued)
            #expect(connection.isAboveHighWater)
            #expect(connection.send(pattern(40_001)) == .overflow)
            #expect(connection.queuedBytes == 60_000)
            #expect(connection.send(pattern(40_000, seed: 2)) == .queued)
            #expect(connection.send([1]) == .overflow)
            #expect(bench.loop.counters.sendOverflows == 2)
            #expect(client.drains == 0)
            server.connection?.resumeReading()
            bench.run { server.bytes.count == 100_000 }
            #expect(server.bytes == pattern(60_000) + pattern(40_000, seed: 2))
            bench.run { client.drains == 1 }
            #expect(connection.isAboveHighWater == false)
            #expect(connection.queuedBytes == 0)
            #expect(connection.send([1]) == .queued)
        }

        @Test("drained comes below the low-water mark, once per crossing", arguments: Drivers.present)
        func drained(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            var options = ConnectOptions()
            options.sendQueueLimit = 1 << 20
            let client = Probe()
            var queuedWhenDrained: [Int] = []
            client.onDrained = { connection in
                queuedWhenDrained.append(connection.queuedBytes)
                // A handler that goes on from here keeps the line full without ever passing the bound.
                if queuedWhenDrained.count < 5 { #expect(connection.send(pattern(700_000)) == .queued) }
            }
            let (server, _) = try bench.pair(connect: options, client: client)
            client.connection?.send(pattern(700_000))
            bench.run { server.bytes.count == 5 * 700_000 && queuedWhenDrained.count == 5 }
            #expect(queuedWhenDrained.allSatisfy { $0 <= (1 << 20) / 4 })
            bench.settle(.milliseconds(5))
            #expect(client.drains == 5)
        }

        @Test("a small send is not followed by drained", arguments: Drivers.present)
        func notDrained(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let (server, client) = try bench.pair()
            client.connection?.send(pattern(1000))
            bench.run { server.bytes.count == 1000 }
            bench.settle(.milliseconds(5))
            #expect(client.drains == 0)
        }

        @Test("paused: nothing is handed out, nothing is lost", arguments: Drivers.present)
        func pause(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let (server, client) = try bench.pair()
            let connection = try #require(server.connection)
            let data = pattern(500_000)
            var sent = 0
            for size in [1, 100, 20_000, 70_000, 0, 300_000, 109_899] {
                connection.pauseReading()
                connection.pauseReading()
                let before = server.bytes.count
                client.connection?.send(Array(data[sent..<sent + size]))
                sent += size
                bench.settle(.milliseconds(5))
                #expect(server.bytes.count == before)
                connection.resumeReading()
                bench.run { server.bytes.count == sent }
            }
            #expect(server.bytes == data)
        }

        @Test("pause and resume in quick succession", arguments: Drivers.present)
        func pauseOften(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let server = Probe()
            server.onReceived = { bytes, connection in
                connection.pauseReading()
                if bytes.count % 2 == 0 { connection.resumeReading() }
                if bytes.count % 3 == 0 { connection.pauseReading() }
                bench.loop.schedule(after: .zero) { connection.resumeReading() }
                return .all(bytes.count)
            }
            let data = pattern(1 << 20)
            let (_, client) = try bench.pair(server: server)
            for start in stride(from: 0, to: data.count, by: 65_537) {
                client.connection?.send(Array(data[start..<min(start + 65_537, data.count)]))
            }
            client.connection?.close()
            bench.run { server.isClosed }
            #expect(server.bytes == data)
            #expect(server.reason == .peerClosed)
            server.onReceived = nil
        }

        @Test(
            "the end of the stream while paused is told after resuming, behind the bytes",
            arguments: Drivers.present)
        func endWhilePaused(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let (server, client) = try bench.pair()
            server.connection?.pauseReading()
            client.connection?.send(pattern(50_000))
            client.connection?.close()
            bench.run { client.isClosed }
            bench.settle(.milliseconds(10))
            #expect(server.bytes.isEmpty && server.inputEnds == 0 && server.isClosed == false)
            server.connection?.resumeReading()
            bench.run { server.isClosed }
            #expect(server.bytes == pattern(50_000))
            #expect(server.inputEnds == 1)
        }

        @Test("closing while paused", arguments: Drivers.present)
        func closeWhilePaused(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let (server, client) = try bench.pair()
            server.connection?.pauseReading()
            client.connection?.send(pattern(50_000))
            bench.settle(.milliseconds(5))
            server.connection?.send([9])
            server.connection?.close()
            bench.run { server.isClosed && client.isClosed }
            #expect(client.bytes == [9])
            #expect(server.bytes.isEmpty)
            bench.run { bench.loop.counters.openConnections == 0 }
        }

        @Test("one connection that never stops does not starve another", arguments: Drivers.present)
        func fairness(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            var servers: [Probe] = []
            let listener = try bench.listen { _ in
                servers.append(Probe())
                return servers[servers.count - 1]
            }
            let loud = Probe()
            loud.onOpened = { $0.send(pattern(4 << 20)) }
            loud.onDrained = { $0.send(pattern(4 << 20)) }
            let quiet = Probe()
            quiet.onOpened = { $0.send([1]) }
            bench.connect(listener, loud)
            bench.run { servers.count == 1 && servers[0].bytes.count > 1 << 20 }
            bench.connect(listener, quiet)
            bench.run { servers.count == 2 && servers[1].bytes == [1] }
            #expect(loud.isClosed == false)
        }

        @Test("more data than buffers: the buffer ring runs dry and recovers")
        func buffersRunDry() throws {
            guard Drivers.present.contains(.ioURing) else { return }
            let bench = try Bench(.ioURing) {
                $0.receiveBufferCount = 2
                $0.receiveBufferBytes = 4096
            }
            let count = 20
            var servers: [Probe] = []
            let listener = try bench.listen { _ in
                servers.append(Probe())
                return servers[servers.count - 1]
            }
            let data = pattern(300_000)
            for _ in 0..<count {
                let client = Probe()
                client.onOpened = { $0.send(data) }
                bench.connect(listener, client)
            }
            bench.run { servers.count == count && servers.allSatisfy { $0.bytes.count == data.count } }
            #expect(servers.allSatisfy { $0.bytes == data })
            #expect(bench.loop.counters.buffersExhausted > 0)
        }
    }
}
