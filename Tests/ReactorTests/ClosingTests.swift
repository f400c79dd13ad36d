import Reactor
import Testing

extension ReactorSuites {
    @Suite("Every way to end a connection is told once, and last")
    struct ClosingTests {
        @Test("close() flushes what was queued", arguments: Drivers.present)
        func closeFlushes(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let data = pattern(3 << 20)
            let (server, client) = try bench.pair()
            client.connection?.send(data)
            client.connection?.close()
            #expect(client.connection?.isOpen == false)
            #expect(client.connection?.send([1]) == .closed)
            bench.run { server.isClosed && client.isClosed }
            #expect(server.bytes == data)
            #expect(server.reason == .peerClosed)
            #expect(server.inputEnds == 1)
            #expect(client.reason == .local)
            #expect(client.closes == 1 && server.closes == 1)
            bench.run { bench.loop.counters.openConnections == 0 }
        }

        @Test("close() while the peer still sends does not cost the answer", arguments: Drivers.present)
        func closeWithUnreadInput(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let server = Probe()
            let answer = pattern(200_000)
            server.onReceived = { bytes, connection in
                connection.send(answer)
                connection.close()
                return .all(bytes.count)
            }
            let (_, client) = try bench.pair(server: server)
            // More than fits the buffers in between, so much of it is unread when the server closes.
            client.connection?.send(pattern(6 << 20))
            bench.run { server.isClosed && client.isClosed }
            #expect(client.bytes == answer)
        }

        @Test("half-close towards the server: the answer still comes", arguments: Drivers.present)
        func halfCloseByClient(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let server = Probe()
            server.onInputClosed = { connection in
                #expect(connection.isOpen)
                #expect(connection.send([7, 8, 9]) == .queued)
                connection.close()
            }
            let (_, client) = try bench.pair(server: server)
            client.connection?.send([1, 2, 3])
            client.connection?.shutdownOutput()
            #expect(client.connection?.send([4]) == .closed)
            bench.run { client.isClosed && server.isClosed }
            #expect(server.bytes == [1, 2, 3])
            #expect(client.bytes == [7, 8, 9])
            #expect(client.inputEnds == 1)
            #expect(client.reason == .peerClosed)
        }

        @Test("half-close towards the client: what it sends still arrives", arguments: Drivers.present)
        func halfCloseByServer(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let client = Probe()
            client.onInputClosed = { connection in connection.send(pattern(100_000)) }
            let (server, _) = try bench.pair(client: client)
            server.connection?.send([1])
            server.connection?.shutdownOutput()
            bench.run { server.bytes.count == 100_000 }
            #expect(client.bytes == [1])
            #expect(server.isClosed == false)
            client.connection?.shutdownOutput()
            // Both directions are done: over, without close() from either.
            bench.run { server.isClosed && client.isClosed }
            #expect(server.reason == .peerClosed)
            #expect(client.reason == .peerClosed)
        }

        @Test("reset() is seen as a reset", arguments: Drivers.present)
        func reset(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let (server, client) = try bench.pair()
            let handle = try #require(client.connection)
            handle.reset()
            #expect(client.isClosed == false, "closed() never comes from inside a call")
            bench.run { server.isClosed && client.isClosed }
            #expect(client.reason == .local)
            #expect(server.reason == .reset)
            #expect(server.inputEnds == 0)
            #expect(handle.isOpen == false)
        }

        @Test("the reason given is the reason told", arguments: Drivers.present)
        func givenReason(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let (server, client) = try bench.pair()
            client.connection?.reset(reason: .sendOverflow)
            server.connection?.close(reason: .timeout)
            bench.run { server.isClosed && client.isClosed }
            #expect(client.reason == .sendOverflow)
            #expect(server.reason == .timeout || server.reason == .reset)
        }

        @Test(
            "a handle outlives its connection harmlessly, also when its slot is used again",
            arguments: Drivers.present)
        func staleHandle(_ mode: IOMode) throws {
            let bench = try Bench(mode) { $0.maximumConnections = 2 }
            let listener = try bench.listen { _ in Probe() }
            var stale: [Connection] = []
            for round in 0..<20 {
                let client = Probe()
                let handle = bench.connect(listener, client)
                bench.run { client.opens == 1 && bench.loop.counters.openConnections == 2 }
                for old in stale {
                    #expect(old != handle, "round \(round)")
                    #expect(old.isOpen == false)
                    #expect(old.send([1]) == .closed)
                    #expect(old.queuedBytes == 0)
                    #expect(old.peerAddress == nil)
                    old.pauseReading()
                    old.resumeReading()
                    old.shutdownOutput()
                    old.close()
                    old.reset()
                }
                #expect(handle.isOpen)
                #expect(handle.peerAddress == listener.address)
                handle.close()
                bench.run { client.isClosed && bench.loop.counters.openConnections == 0 }
                #expect(client.reason == .local)
                stale.append(handle)
            }
        }

        @Test("closing from inside opened, received and inputClosed", arguments: Drivers.present)
        func closeInCallbacks(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            for place in ["opened", "received", "inputClosed"] {
                for way in ["close", "reset"] {
                    let act: (Connection) -> Void = { $0.loop.runsAct(way, $0) }
                    let server = Probe()
                    if place == "opened" { server.onOpened = act }
                    server.onReceived = { bytes, connection in
                        if place == "received" { act(connection) }
                        // A lie: the connection is gone, so nothing may come of it.
                        return Consumed(place == "received" ? 0 : bytes.count, needed: 1 << 30)
                    }
                    server.onInputClosed = act
                    let client = Probe()
                    client.onOpened = { connection in
                        connection.send(pattern(1000))
                        connection.shutdownOutput()
                    }
                    let listener = try bench.listen { _ in server }
                    bench.connect(listener, client)
                    bench.run { server.isClosed && client.isClosed }
                    listener.close()
                    #expect(server.closes == 1 && server.opens == 1, "\(way) in \(place)")
                    #expect(client.closes == 1, "\(way) in \(place)")
                    if way == "reset" { #expect(server.reason == .local, "\(way) in \(place)") }
                }
            }
            bench.run { bench.loop.counters.openConnections == 0 }
        }

        @Test("a new connection from inside closed()", arguments: Drivers.present)
        func connectInClosed(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            var accepted = 0
            let listener = try bench.listen { _ in
                accepted += 1
                let probe = Probe()
                probe.onOpened = { $0.reset() }
                return probe
            }
            let clients = (0..<30).map { _ in Probe() }
            for index in 0..<29 {
                clients[index].onClosed = { [unowned bench] _, _ in
                    bench.connect(listener, clients[index + 1])
                }
            }
            bench.connect(listener, clients[0])
            bench.run { clients[29].isClosed }
            #expect(clients.allSatisfy { $0.closes == 1 })
            #expect(accepted == 30)
        }

        @Test("closing one connection from inside another's handler", arguments: Drivers.present)
        func closeAnother(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            var servers: [Probe] = []
            let listener = try bench.listen { _ in
                let probe = Probe()
                // Whoever hears first resets everybody, also those whose bytes are in the same batch.
                probe.onReceived = { bytes, _ in
                    for server in servers { server.connection?.reset() }
                    return .all(bytes.count)
                }
                servers.append(probe)
                return probe
            }
            let clients = (0..<20).map { _ in Probe() }
            for client in clients { bench.connect(listener, client) }
            bench.run { servers.count == 20 && clients.allSatisfy { $0.opens == 1 } }
            for client in clients { client.connection?.send(pattern(5000)) }
            bench.run { servers.allSatisfy(\.isClosed) && clients.allSatisfy(\.isClosed) }
            #expect(servers.filter { $0.bytes.isEmpty == false }.count == 1)
            #expect(servers.allSatisfy { $0.closes == 1 })
        }

        @Test("a peer that reads nothing holds close() only for the linger time", arguments: Drivers.present)
        func lingerTimeout(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let server = Probe()
            server.onOpened = { $0.pauseReading() }
            var options = ConnectOptions()
            options.lingerTimeout = .milliseconds(60)
            let (_, client) = try bench.pair(connect: options, server: server)
            #expect(client.connection?.send(pattern(8 << 20)) == .queued)
            client.connection?.close()
            bench.settle(.milliseconds(20))
            #expect(client.isClosed == false)
            bench.run { client.isClosed }
            #expect(client.reason == .timeout)
        }

        @Test("stopping the loop closes everything and tells everybody", arguments: Drivers.present)
        func stop(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let (server, client) = try bench.pair()
            let never = Probe()
            bench.loop.connect(host: "localhost", port: 9, handler: never)
            bench.loop.stop()
            #expect(server.closes == 1 && client.closes == 1 && never.closes == 1)
            #expect(server.reason == .local)
            let late = Probe()
            bench.loop.connect(host: "127.0.0.1", port: 9, handler: late)
            #expect(throws: ReactorError.stopped) { try bench.listen { _ in Probe() } }
            bench.loop.runOnce(maximumWait: .zero)
        }

        @Test("a stopped loop keeps no handler", arguments: Drivers.present)
        func noLeaks(_ mode: IOMode) throws {
            weak var loop: Loop?
            weak var server: Probe?
            do {
                let bench = try Bench(mode)
                loop = bench.loop
                let pair = try bench.pair()
                server = pair.server
                pair.client.connection?.send(pattern(100_000))
                bench.loop.schedule(after: .seconds(60)) { _ = pair.server }
                _ = bench.loop.atEndOfTick { _ = pair.server }
                bench.settle(.milliseconds(5))
                bench.loop.stop()
                let late = Probe()
                bench.loop.connect(host: "127.0.0.1", port: 9, handler: late)
                #expect(late.closes == 0)
            }
            #expect(server == nil)
            #expect(loop == nil)
        }
    }
}

extension Loop {
    fileprivate func runsAct(_ way: String, _ connection: Connection) {
        if way == "close" { connection.close() } else { connection.reset() }
    }
}
