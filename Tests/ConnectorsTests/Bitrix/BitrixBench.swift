import CallEngine
import Connectors
import Foundation
import Protocols
import Reactor
import Simulator
import Testing

/// The client and the portal on one loop, real sockets between them.
final class BitrixBench {
    let http: HTTPBench
    let portal: FakeBitrixServer
    let client: BitrixClient
    let clientMetrics = Metrics()
    private let configuration: BitrixConfiguration
    private(set) var registered: [String: String] = [:]
    private(set) var portalPort: UInt16?

    /// Makes both; the portal listens, and nothing is sent yet.
    ///
    /// Limits and delays are wide and short unless `configure` says otherwise, so that tests do not wait.
    init(
        _ mode: IOMode = .epoll, users: [PortalSettings.User]? = nil, tls: Certificate? = nil,
        trusts: Bool = true, arrange: (inout PortalSettings) -> Void = { _ in },
        configure: (inout BitrixConfiguration) -> Void = { _ in }
    ) throws {
        http = try HTTPBench(mode)
        var settings = PortalSettings()
        settings.plan = .unlimited
        if let users { settings.users = users }
        arrange(&settings)
        portal = FakeBitrixServer(loop: http.loop, portal: FakeBitrixPortal(settings: settings))
        let server = try tls.map {
            try TLSServerContext(certificateFile: $0.certificateFile, keyFile: $0.keyFile)
        }
        let address = try portal.listen(
            on: .loopback(port: 0), tls: server, logger: http.log.logger, metrics: http.metrics)
        portalPort = address.port
        let url = portal.webhookURL(port: address.port, isSecure: tls != nil)
        var configuration = BitrixConfiguration(webhook: try BitrixWebhook(url))
        configuration.requestsPerSecond = 100_000
        configuration.requestBurst = 100_000
        configuration.outcomeSettles = .milliseconds(50)
        configuration.retry.firstDelay = .milliseconds(10)
        configuration.retry.maximumDelay = .milliseconds(100)
        configure(&configuration)
        self.configuration = configuration
        let trust = try tls.map { try TLSClientContext(trustFile: trusts ? $0.certificateFile : nil) }
        client = BitrixClient(
            loop: http.loop, configuration: configuration, tls: trust, logger: http.log.logger,
            metrics: clientMetrics)
        client.onRegistered = { [unowned self] callID, bitrixCallID in registered[callID] = bitrixCallID }
    }

    /// The next run of the daemon: another client of the same portal.
    static func client(of bench: BitrixBench) -> BitrixClient {
        BitrixClient(
            loop: bench.http.loop, configuration: bench.configuration, tls: nil,
            logger: bench.http.log.logger, metrics: Metrics())
    }

    deinit {
        client.stop()
        portal.close()
    }

    /// Turns the loop until nothing is waiting or under way.
    func settle(sourceLocation: SourceLocation = #_sourceLocation) {
        http.run(limit: .seconds(60), sourceLocation: sourceLocation) { client.pendingSteps == 0 }
    }

    /// Registers and finishes calls, and waits until all is done.
    func play(_ calls: [CRMCall], sourceLocation: SourceLocation = #_sourceLocation) {
        for call in calls {
            var begun = call
            begun.answeredAt = nil
            begun.endedAt = nil
            begun.outcome = .none
            begun.hangupCause = 0
            client.submit(.register(begun))
        }
        for call in calls { client.submit(.finish(call)) }
        settle(sourceLocation: sourceLocation)
    }

    var rows: [StatisticsRow] { Array(portal.portal.statistics.values) }
    var refusals: [PortalRefusal] { Array(portal.portal.refusals.entries) }

    /// The time of day, which is the portal's.
    static var now: Protocols.Timestamp {
        Protocols.Timestamp(microseconds: Int64(Date().timeIntervalSince1970 * 1_000_000))
    }

    /// A call that began just now, as the portal's clock goes, and has ended.
    static func call(
        _ id: String, _ direction: CallDirection = .inbound, from caller: String? = "+79995550101",
        to callee: String? = "101", outcome: CallOutcome = .answered, talk: Int64 = 61
    ) -> CRMCall {
        let seconds = Int64(Date().timeIntervalSince1970) - 120
        var call = CRMCall(
            callID: id, direction: direction, callerNumber: caller, calleeNumber: callee,
            startedAt: Protocols.Timestamp(microseconds: seconds * 1_000_000))
        call.outcome = outcome
        call.hangupCause = 16
        call.endedAt = Protocols.Timestamp(microseconds: (seconds + 100) * 1_000_000)
        if outcome == .answered {
            call.answeredAt = Protocols.Timestamp(microseconds: (seconds + 100 - talk) * 1_000_000)
        }
        return call
    }
}

/// A self-signed certificate for this machine, made by the openssl program in a scratch directory.
struct Certificate {
    let certificateFile: String
    let keyFile: String

    /// nil when there is no openssl program; tests say so aloud.
    static let shared: Certificate? = make()

    private static func make() -> Certificate? {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent(
            "bitrix-\(UUID().uuidString)")
        try? FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let certificate = Certificate(
            certificateFile: directory.appendingPathComponent("cert.pem").path,
            keyFile: directory.appendingPathComponent("key.pem").path)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
            "-keyout", certificate.keyFile, "-out", certificate.certificateFile,
        ]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        do { try process.run() } catch { return nil }
        process.waitUntilExit()
        return process.terminationStatus == 0 ? certificate : nil
    }
}
