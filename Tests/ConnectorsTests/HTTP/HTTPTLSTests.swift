import Connectors
import Foundation
import Protocols
import Reactor
import Testing

/// A certificate of our own for `localhost`, made once per run by the openssl command.
private enum OwnCertificate {
    static let directory = FileManager.default.temporaryDirectory
        .appendingPathComponent("connectors-tls-\(UInt64.random(in: 0 ... .max))").path

    /// Paths of the certificate and its key; nil when there is no openssl command.
    static let files: (certificate: String, key: String)? = {
        let certificate = "\(directory)/own.pem"
        let key = "\(directory)/own.key"
        let process = Process()
        process.executableURL = Foundation.URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost", "-addext",
            "subjectAltName=DNS:localhost",
        ]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        do {
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
            try process.run()
        } catch {
            print("SKIPPED: HTTP over TLS: no certificate: \(error)")
            return nil
        }
        process.waitUntilExit()
        atexit { try? FileManager.default.removeItem(atPath: OwnCertificate.directory) }
        return process.terminationStatus == 0 ? (certificate, key) : nil
    }()
}

@Suite("https and wss", .serialized, .enabled(if: OwnCertificate.files != nil))
struct HTTPTLSTests {
    static func serve(_ bench: HTTPBench, _ service: any HTTPService) throws -> String {
        let files = try #require(OwnCertificate.files)
        try bench.serve(
            service, tls: try TLSServerContext(certificateFile: files.certificate, keyFile: files.key))
        return files.certificate
    }

    @Test("requests go over one verified connection", arguments: HTTPDrivers.present)
    func https(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        let service = ClosureService { request, exchange in
            exchange.respond(status: 200, body: request.body + [UInt8](repeating: 0x2E, count: 200_000))
        }
        let trust = try Self.serve(bench, service)
        let client = HTTPClient(
            loop: bench.loop, origin: HTTPOrigin(isSecure: true, host: "localhost", port: bench.port),
            tls: try TLSClientContext(trustFile: trust))
        let results = HTTPClientTests.Results()
        for index in 1...3 {
            client.send(
                HTTPClientRequest(method: "POST", target: "/", body: [0x61]), completion: results.take)
            bench.run { results.count == index }
        }
        #expect(results.errors.isEmpty)
        #expect(results.responses.map(\.body.count) == [200_001, 200_001, 200_001])
        #expect(service.requests.count == 3)
        #expect(client.connectionCount == 1)
        client.close()
        bench.run { bench.metrics[.httpConnections] == 0 }
    }

    @Test("a server that is not trusted gets no request", arguments: HTTPDrivers.present)
    func untrusted(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        let service = ClosureService { _, exchange in exchange.respond(status: 200) }
        _ = try Self.serve(bench, service)
        let client = HTTPClient(
            loop: bench.loop, origin: HTTPOrigin(isSecure: true, host: "localhost", port: bench.port),
            tls: try TLSClientContext())
        let results = HTTPClientTests.Results()
        client.send(
            HTTPClientRequest(method: "POST", target: "/token", body: [0x61]), completion: results.take)
        bench.run { results.count == 1 }
        #expect(results.errors.first?.kind == .connectFailed)
        #expect(results.errors.first?.delivery == .notSent)
        #expect(results.errors.first?.description.contains("certificate") == true)
        #expect(service.requests.isEmpty)
        client.close()

        let without = HTTPClient(
            loop: bench.loop, origin: HTTPOrigin(isSecure: true, host: "localhost", port: bench.port),
            tls: nil)
        without.send(HTTPClientRequest(method: "GET", target: "/"), completion: results.take)
        bench.run { results.count == 2 }
        #expect(results.errors.last?.delivery == .notSent)
    }

    @Test("messages travel over wss", arguments: HTTPDrivers.present)
    func wss(_ mode: IOMode) throws {
        let bench = try HTTPBench(mode)
        let server = SocketNotes()
        server.onMessage = { socket, bytes in socket.send(binary: bytes) }
        let service = ClosureService { _, exchange in exchange.acceptWebSocket(delegate: server) }
        let trust = try Self.serve(bench, service)
        let client = SocketNotes()
        let url = try Protocols.URL("wss://localhost:\(bench.port)/")
        client.socket = .connect(
            loop: bench.loop, url: url, tls: try TLSClientContext(trustFile: trust), delegate: client)
        bench.run { client.opens == 1 }
        let message = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        #expect(client.socket?.send(binary: message) == .queued)
        bench.run { client.binaries.count == 1 }
        #expect(client.binaries.first == message)
        client.socket?.close(code: 1000, reason: "")
        bench.run { client.closes == 1 && server.closes == 1 }
        #expect(client.close?.clean == true)
        #expect(server.close?.clean == true)

        let without = SocketNotes()
        without.socket = .connect(loop: bench.loop, url: url, delegate: without)
        #expect(without.closes == 0)
        bench.run { without.closes == 1 }
        #expect(without.close?.reason.contains("TLS") == true)
    }
}
