import Reactor
import Testing

extension ReactorSuites {
    @Suite("Connecting ends in opened or in closed with a clear reason")
    struct ConnectingTests {
        @Test("refused", arguments: Drivers.present)
        func refused(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let listener = try bench.listen { _ in Probe() }
            listener.close()
            let client = Probe()
            bench.connect(listener, client)
            bench.run { client.isClosed }
            #expect(client.opens == 0 && client.closes == 1)
            let reason = try #require(client.reason)
            #expect(reason == .connectFailed("\(listener.address): Connection refused"))
            #expect(reason.description == "cannot connect: \(listener.address): Connection refused")
        }

        @Test("no answer at all", arguments: Drivers.present)
        func timeout(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let silent = SilentListener(backlog: 0, filled: true)
            var options = ConnectOptions()
            options.timeout = .milliseconds(80)
            let client = Probe()
            bench.loop.connect(host: "127.0.0.1", port: silent.port, options: options, handler: client)
            bench.run { client.isClosed }
            #expect(client.reason == .timeout)
            #expect(client.opens == 0)
        }

        @Test("closing while connecting", arguments: Drivers.present)
        func closeWhileConnecting(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let silent = SilentListener(backlog: 0, filled: true)
            let clients = [Probe(), Probe()]
            bench.loop.connect(host: "127.0.0.1", port: silent.port, handler: clients[0]).close()
            let second = bench.loop.connect(host: "127.0.0.1", port: silent.port, handler: clients[1])
            bench.settle(.milliseconds(5))
            second.reset()
            bench.run { clients.allSatisfy(\.isClosed) }
            #expect(clients.allSatisfy { $0.reason == .local && $0.opens == 0 && $0.closes == 1 })
        }

        @Test("a name is resolved off the loop, and all its addresses are tried", arguments: Drivers.present)
        func localhost(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let server = Probe()
            // IPv4 only: where localhost is ::1 first, the next address has to be tried.
            let listener = try bench.listen { _ in server }
            let client = Probe()
            bench.loop.connect(host: "localhost", port: listener.address.port, handler: client)
            #expect(client.opens == 0)
            bench.run { client.opens == 1 && server.opens == 1 }
            #expect(client.connection?.peerAddress == listener.address)
            #expect(client.connection?.localAddress?.host == "127.0.0.1")
        }

        @Test("a name that does not resolve", arguments: Drivers.present)
        func unknownName(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            // Longer than any name can be (RFC 1035 §2.3.4), so no name server is asked.
            let name = String(repeating: "a", count: 300)
            let clients = (0..<10).map { _ in Probe() }
            for client in clients { bench.loop.connect(host: name, port: 80, handler: client) }
            #expect(clients.allSatisfy { $0.isClosed == false })
            bench.run { clients.allSatisfy(\.isClosed) }
            for client in clients {
                guard case .resolve(let text) = client.reason else {
                    Issue.record("\(String(describing: client.reason))")
                    continue
                }
                #expect(text.isEmpty == false)
                #expect(client.opens == 0 && client.closes == 1)
            }
        }

        @Test("IPv6 where the system has it", arguments: Drivers.present)
        func ipv6(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let server = Probe()
            guard let loopback = SocketAddress(host: "::1", port: 0),
                let listener = try? bench.loop.listen(loopback, accept: { _ in server })
            else {
                print("SKIPPED: no IPv6 on this machine")
                return
            }
            let client = Probe()
            bench.loop.connect(host: "::1", port: listener.address.port, handler: client)
            bench.run { client.opens == 1 && server.opens == 1 }
            #expect(client.connection?.peerAddress?.isIPv6 == true)
            #expect(listener.address.description.hasPrefix("[::1]:"))
        }

        @Test("the table of connections is full", arguments: Drivers.present)
        func tableFull(_ mode: IOMode) throws {
            let bench = try Bench(mode) { $0.maximumConnections = 3 }
            let silent = SilentListener(backlog: 16, filled: false)
            let clients = (0..<5).map { _ in Probe() }
            for client in clients {
                bench.loop.connect(host: "127.0.0.1", port: silent.port, handler: client)
            }
            bench.run { clients.filter { $0.opens == 1 }.count == 3 && clients.filter(\.isClosed).count == 2 }
            #expect(clients[3].reason == .error(.tooManyConnections))
            #expect(clients[4].reason == .error(.tooManyConnections))
        }

        @Test("an address in use")
        func addressInUse() throws {
            let bench = try Bench(.epoll)
            let first = try bench.listen { _ in Probe() }
            let error = #expect(throws: ReactorError.self) {
                try bench.loop.listen(first.address) { _ in Probe() }
            }
            #expect(error?.description.contains("Address already in use") == true)
            #expect(error?.description.contains("\(first.address)") == true)
        }

        @Test("listener close: refused from then on, accepted connections live", arguments: Drivers.present)
        func listenerClose(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let server = Probe()
            let listener = try bench.listen { _ in server }
            let first = Probe()
            bench.connect(listener, first)
            bench.run { server.opens == 1 && first.opens == 1 }
            listener.close()
            listener.close()
            let second = Probe()
            bench.connect(listener, second)
            bench.run { second.isClosed }
            first.connection?.send([1, 2])
            bench.run { server.bytes == [1, 2] }
            // The port is free again.
            let again = try bench.loop.listen(listener.address) { _ in Probe() }
            #expect(again.address == listener.address)
        }
    }
}

@Suite("Addresses are read and written")
struct SocketAddressTests {
    @Test(
        "numeric addresses",
        arguments: [
            ("127.0.0.1:80", "127.0.0.1:80"), ("*:8080", "0.0.0.0:8080"), ("[::1]:443", "[::1]:443"),
            ("[2001:db8:0::1]:65535", "[2001:db8::1]:65535"), ("0.0.0.0:0", "0.0.0.0:0"),
        ])
    func reads(_ text: String, _ written: String) throws {
        #expect(try SocketAddress(parsing: text).description == written)
    }

    @Test(
        "what is not one",
        arguments: [
            "", ":", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "::1:80", "localhost:80",
            "256.0.0.1:80", "[::1:80", "[::1]80", "1.2.3.4:80 ", "[127.0.0.1%lo]:1",
        ])
    func refuses(_ text: String) {
        #expect(throws: ReactorError.invalidAddress(text)) { try SocketAddress(parsing: text) }
    }

    @Test("equality takes the port in")
    func equality() throws {
        #expect(SocketAddress.loopback(port: 1) == (try SocketAddress(parsing: "127.0.0.1:1")))
        #expect(SocketAddress.loopback(port: 1) != .loopback(port: 2))
        #expect(SocketAddress.ipv4Any(port: 1).description == "0.0.0.0:1")
        #expect(SocketAddress.ipv6Any(port: 1).description == "[::]:1")
        #expect(SocketAddress(host: "nowhere", port: 1) == nil)
    }
}
