import Reactor
import Testing

extension ReactorSuites {
    @Suite("TLS: verified peers, clear refusals, whole streams", .enabled(if: Certificates.shared != nil))
    struct TLSTests {
        let certificates: Certificates

        init() throws { certificates = try #require(Certificates.shared) }

        func serverOptions(_ name: String) throws -> ListenOptions {
            var options = ListenOptions()
            options.tls = try TLSServerContext(
                certificateFile: certificates.path("\(name).pem"), keyFile: certificates.path("\(name).key"))
            return options
        }

        func clientOptions(trust: String = "ca.pem", serverName: String? = nil) throws -> ConnectOptions {
            var options = ConnectOptions()
            options.tls = try TLSClientContext(trustFile: certificates.path(trust))
            options.serverName = serverName
            return options
        }

        /// Connects to a server that shows `certificate`; both ends after one of them is open or over.
        func meet(
            _ bench: Bench, certificate: String, _ options: ConnectOptions
        ) throws -> (server: Probe, client: Probe) {
            let server = Probe()
            let client = Probe()
            let listener = try bench.listen(try serverOptions(certificate)) { _ in server }
            bench.connect(listener, options, client)
            bench.run { client.isClosed && server.isClosed || client.opens == 1 && server.opens == 1 }
            listener.close()
            return (server, client)
        }

        @Test("by name and by address", arguments: Drivers.present, ["localhost", nil])
        func good(_ mode: IOMode, _ serverName: String?) throws {
            let bench = try Bench(mode)
            let (server, client) = try meet(
                bench, certificate: "good", try clientOptions(serverName: serverName))
            #expect(client.reason == nil && server.reason == nil)
            client.connection?.send([1, 2, 3])
            bench.run { server.bytes == [1, 2, 3] }
            server.connection?.send([4, 5])
            bench.run { client.bytes == [4, 5] }
            client.connection?.close()
            bench.run { server.isClosed && client.isClosed }
            #expect(server.inputEnds == 1)
            #expect(server.reason == .peerClosed)
            #expect(client.reason == .local)
        }

        @Test("a wildcard certificate", arguments: [("a.example.com", true), ("a.b.example.com", false)])
        func wildcard(_ name: String, _ isGood: Bool) throws {
            let bench = try Bench(.epoll)
            let (_, client) = try meet(bench, certificate: "wildcard", try clientOptions(serverName: name))
            #expect((client.reason == nil) == isGood)
        }

        @Test("a certificate for another host", arguments: Drivers.present)
        func wrongHost(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let (server, client) = try meet(
                bench, certificate: "wrong", try clientOptions(serverName: "localhost"))
            #expect(client.reason == .tls("certificate verify failed: hostname mismatch"))
            #expect(client.opens == 0 && server.opens == 0)
            // The server is told by an alert, not left guessing.
            guard case .tls(let text) = server.reason else {
                Issue.record("\(String(describing: server.reason))")
                return
            }
            #expect(text.contains("alert"))
        }

        @Test("a certificate for another address", arguments: Drivers.present)
        func wrongAddress(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let (_, client) = try meet(bench, certificate: "wrong", try clientOptions())
            #expect(client.reason == .tls("certificate verify failed: IP address mismatch"))
        }

        @Test("an unknown authority", arguments: Drivers.present)
        func untrusted(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let (_, client) = try meet(bench, certificate: "good", try clientOptions(trust: "other-ca.pem"))
            #expect(
                client.reason == .tls("certificate verify failed: unable to get local issuer certificate"))
        }

        @Test("the system's roots do not know our authority either")
        func systemRoots() throws {
            let bench = try Bench(.epoll)
            var options = ConnectOptions()
            options.tls = try TLSClientContext()
            let (_, client) = try meet(bench, certificate: "good", options)
            #expect(client.reason?.description.hasPrefix("TLS: certificate verify failed") == true)
        }

        @Test("an expired certificate", arguments: Drivers.present)
        func expired(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let (_, client) = try meet(bench, certificate: "expired", try clientOptions())
            #expect(client.reason == .tls("certificate verify failed: certificate has expired"))
        }

        @Test("without verification anything goes")
        func unverified() throws {
            let bench = try Bench(.epoll)
            var options = ConnectOptions()
            options.tls = try TLSClientContext(verify: false)
            options.serverName = "localhost"
            for certificate in ["wrong", "expired", "good"] {
                let (server, client) = try meet(bench, certificate: certificate, options)
                #expect(client.opens == 1 && server.opens == 1)
            }
        }

        @Test("megabytes each way through small socket buffers", arguments: Drivers.present)
        func large(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let data = pattern(3 << 20)
            var listen = try serverOptions("good")
            listen.socketBufferBytes = 32 << 10
            var connect = try clientOptions()
            connect.socketBufferBytes = 32 << 10
            let (server, client) = try bench.pair(
                listen: listen, connect: connect, server: TransferTests.echo())
            #expect(client.connection?.send(data) == .queued)
            bench.run { client.bytes.count >= data.count }
            #expect(client.bytes == data)
            client.connection?.close()
            bench.run { server.isClosed }
            #expect(server.reason == .peerClosed)
        }

        @Test("cut messages are carried over as without TLS", arguments: Drivers.present, [true, false])
        func carry(_ mode: IOMode, _ tellsNeeded: Bool) throws {
            let bench = try Bench(mode)
            let framed = Framed(tellsNeeded: tellsNeeded)
            let (_, client) = try bench.pair(
                listen: try serverOptions("good"), connect: try clientOptions(), server: framed.probe)
            let messages = [pattern(100), pattern(70_000), pattern(1), pattern(40_000, seed: 2)]
            let stream = messages.flatMap(Framed.encode)
            for start in stride(from: 0, to: stream.count, by: 30_001) {
                client.connection?.send(Array(stream[start..<min(start + 30_001, stream.count)]))
                bench.settle(.milliseconds(2))
            }
            bench.run { framed.messages.count == messages.count }
            #expect(framed.messages == messages)
        }

        @Test(
            "sent before the handshake is done, and closed at once: it still arrives",
            arguments: Drivers.present)
        func earlySend(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let server = Probe()
            let client = Probe()
            client.onOpened = { $0.close() }
            let listener = try bench.listen(try serverOptions("good")) { _ in server }
            let connection = bench.connect(listener, try clientOptions(), client)
            #expect(connection.send(pattern(50_000)) == .queued)
            bench.run { server.isClosed && client.isClosed }
            #expect(server.bytes == pattern(50_000))
        }

        @Test("half-close by close_notify: the answer still comes", arguments: Drivers.present)
        func halfClose(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let server = Probe()
            server.onInputClosed = { connection in
                connection.send(pattern(100_000))
                connection.close()
            }
            let (_, client) = try bench.pair(
                listen: try serverOptions("good"), connect: try clientOptions(), server: server)
            client.connection?.send([1])
            client.connection?.shutdownOutput()
            bench.run { client.isClosed && server.isClosed }
            #expect(server.bytes == [1])
            #expect(client.bytes == pattern(100_000))
            #expect(client.inputEnds == 1)
        }

        @Test("paused: bytes, close_notify and all come after resuming", arguments: Drivers.present)
        func pause(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let (server, client) = try bench.pair(
                listen: try serverOptions("good"), connect: try clientOptions())
            server.connection?.pauseReading()
            client.connection?.send(pattern(100_000))
            client.connection?.close()
            bench.run { client.isClosed }
            bench.settle(.milliseconds(5))
            #expect(server.bytes.isEmpty && server.isClosed == false)
            server.connection?.resumeReading()
            bench.run { server.isClosed }
            #expect(server.bytes == pattern(100_000))
            #expect(server.reason == .peerClosed)
        }

        @Test("an end without close_notify is told apart: it may be an attack", arguments: Drivers.present)
        func truncated(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let server = Probe()
            let listener = try bench.listen(try serverOptions("good")) { _ in server }
            // A relay that ends both TCP streams as soon as the server has got something.
            let relay = Relay(bench, to: listener)
            let client = Probe()
            client.onOpened = { $0.send([1]) }
            bench.connect(try relay.listen(), try clientOptions(), client)
            bench.run { server.bytes == [1] }
            #expect(client.isClosed == false)
            relay.endBoth()
            bench.run { server.isClosed && client.isClosed }
            #expect(client.reason == .tls("connection closed by the peer without close_notify"))
            #expect(server.reason == .tls("connection closed by the peer without close_notify"))
            #expect(client.inputEnds == 0)
        }

        @Test("a peer that does not speak TLS", arguments: Drivers.present)
        func notTLS(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let server = Probe()
            let listener = try bench.listen(try serverOptions("good")) { _ in server }
            let client = Probe()
            client.onOpened = { $0.send(Array("GET / HTTP/1.1\r\n\r\n".utf8)) }
            bench.connect(listener, client)
            bench.run { server.isClosed && client.isClosed }
            #expect(server.opens == 0)
            #expect(server.reason == .tls("http request"))

            let plain = Probe()
            plain.onOpened = { $0.send(Array("SSH-2.0-nonsense\r\n".utf8)) }
            let plainListener = try bench.listen { _ in plain }
            let tlsClient = Probe()
            bench.connect(plainListener, try clientOptions(), tlsClient)
            bench.run { tlsClient.isClosed }
            #expect(tlsClient.opens == 0)
            #expect(tlsClient.reason == .tls("wrong version number"))
        }

        @Test("a silent peer: the handshake has a time limit on both sides", arguments: Drivers.present)
        func handshakeTimeout(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            var listen = try serverOptions("good")
            listen.handshakeTimeout = .milliseconds(60)
            let server = Probe()
            let listener = try bench.listen(listen) { _ in server }
            bench.connect(listener, Probe())
            bench.run { server.isClosed }
            #expect(server.reason == .timeout && server.opens == 0)

            var connect = try clientOptions()
            connect.timeout = .milliseconds(60)
            let client = Probe()
            let silent = try bench.listen { _ in Probe() }
            bench.connect(silent, connect, client)
            bench.run { client.isClosed }
            #expect(client.reason == .timeout && client.opens == 0)
        }

        @Test("the peer goes away in the middle of the handshake", arguments: Drivers.present)
        func endInHandshake(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let plain = Probe()
            plain.onReceived = { bytes, connection in
                connection.close()
                return .all(bytes.count)
            }
            let listener = try bench.listen { _ in plain }
            let client = Probe()
            bench.connect(listener, try clientOptions(), client)
            bench.run { client.isClosed }
            #expect(client.reason == .tls("connection closed by the peer during the handshake"))
        }

        @Test("the send queue's bound counts before encryption", arguments: Drivers.present)
        func overflow(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            var connect = try clientOptions()
            connect.sendQueueLimit = 200_000
            let (server, client) = try bench.pair(listen: try serverOptions("good"), connect: connect)
            let connection = try #require(client.connection)
            #expect(connection.send(pattern(200_000)) == .queued)
            #expect(connection.send([1]) == .overflow)
            bench.run { server.bytes.count == 200_000 && client.drains == 1 }
            #expect(connection.send([1]) == .queued)
            bench.run { server.bytes.count == 200_001 }
        }

        @Test("files that cannot be used are named")
        func badFiles() throws {
            let missing = certificates.path("missing.pem")
            var error = #expect(throws: ReactorError.self) { try TLSClientContext(trustFile: missing) }
            #expect(error?.description.contains("missing.pem") == true)
            error = #expect(throws: ReactorError.self) {
                try TLSServerContext(
                    certificateFile: certificates.path("good.pem"), keyFile: certificates.path("wrong.key"))
            }
            #expect(error?.description.contains("wrong.key") == true)
            error = #expect(throws: ReactorError.self) {
                try TLSServerContext(certificateFile: missing, keyFile: certificates.path("good.key"))
            }
            #expect(error?.description.contains("missing.pem") == true)
        }
    }
}

/// Passes bytes between a client and a listener, and can end both sides without TLS knowing.
private final class Relay {
    private let bench: Bench
    private let target: Listener
    private let front = Probe()
    private let back = Probe()

    init(_ bench: Bench, to target: Listener) {
        self.bench = bench
        self.target = target
        front.onReceived = { [back] bytes, _ in
            back.connection?.send(bytes)
            return .all(bytes.count)
        }
        back.onReceived = { [front] bytes, _ in
            front.connection?.send(bytes)
            return .all(bytes.count)
        }
    }

    func listen() throws -> Listener {
        bench.connect(target, back)
        bench.run { back.opens == 1 }
        return try bench.listen { [front] _ in front }
    }

    func endBoth() {
        front.connection?.close()
        back.connection?.close()
    }
}
