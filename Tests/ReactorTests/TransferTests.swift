import Reactor
import Testing

extension ReactorSuites {
    @Suite("Bytes sent arrive, whole and in order")
    struct TransferTests {
        /// Sends back what it gets.
        static func echo() -> Probe {
            let probe = Probe()
            probe.onReceived = { bytes, connection in
                #expect(connection.send(bytes) == .queued)
                return .all(bytes.count)
            }
            return probe
        }

        @Test("a short message comes back", arguments: Drivers.present)
        func echoesShort(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            #expect(bench.loop.driver.name == mode.rawValue)
            let (_, client) = try bench.pair(server: TransferTests.echo())
            client.connection?.send(Array("hello".utf8))
            bench.run { client.bytes.count == 5 }
            #expect(client.bytes == Array("hello".utf8))
            #expect(bench.loop.counters.accepts == 1)
            #expect(bench.loop.counters.connects == 1)
        }

        @Test("ten megabytes each way, through full socket buffers", arguments: Drivers.present)
        func echoesLarge(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let data = pattern(10 << 20)
            var listen = ListenOptions()
            listen.socketBufferBytes = 32 << 10
            listen.sendQueueLimit = 32 << 20
            var connect = ConnectOptions()
            connect.socketBufferBytes = 32 << 10
            connect.sendQueueLimit = 32 << 20
            let (_, client) = try bench.pair(listen: listen, connect: connect, server: TransferTests.echo())
            #expect(client.connection?.send(data) == .queued)
            bench.run { client.bytes.count >= data.count }
            #expect(client.bytes == data)
            // Far more than the sockets hold: one send cannot have done it.
            #expect(bench.loop.counters.sends > 2)
        }

        @Test("sends of one tick go out together", arguments: Drivers.present)
        func coalesces(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let (server, client) = try bench.pair()
            let before = bench.loop.counters.sends
            for byte in 0..<100 { client.connection?.send([UInt8(byte)]) }
            #expect(client.connection?.queuedBytes == 100)
            bench.run { server.bytes.count == 100 }
            #expect(server.bytes == (0..<100).map { UInt8($0) })
            #expect(bench.loop.counters.sends == before + 1)
            #expect(client.connection?.queuedBytes == 0)
        }

        @Test("what is sent before opening goes out on opening", arguments: Drivers.present)
        func sendsBeforeOpening(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let server = Probe()
            let listener = try bench.listen { _ in server }
            let connection = bench.connect(listener, Probe())
            #expect(connection.isOpen == false)
            #expect(connection.send([1, 2, 3]) == .queued)
            bench.run { server.bytes == [1, 2, 3] }
            #expect(connection.isOpen)
        }

        @Test("five hundred connections at once", arguments: Drivers.present)
        func manyConnections(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let listener = try bench.listen { _ in TransferTests.echo() }
            let clients = (0..<500).map { _ in Probe() }
            for (index, client) in clients.enumerated() {
                let message = pattern(100 + index, seed: UInt64(index + 1))
                client.onOpened = { #expect($0.send(message) == .queued) }
                bench.connect(listener, client)
            }
            bench.run { clients.indices.allSatisfy { clients[$0].bytes.count == 100 + $0 } }
            for (index, client) in clients.enumerated() {
                #expect(client.bytes == pattern(100 + index, seed: UInt64(index + 1)))
            }
            #expect(bench.loop.counters.accepts == 500)
            #expect(bench.loop.counters.openConnections == 1000)
            for client in clients { client.connection?.close() }
            bench.run { clients.allSatisfy(\.isClosed) && bench.loop.counters.openConnections == 0 }
        }
    }
}
