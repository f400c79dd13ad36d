import CallEngine
import Foundation
import Protocols
import Reactor
import Simulator
import Testing

@testable import Connectors

@Suite("Bitrix24 application: tokens in a file of ours alone, renewed once", .serialized)
struct BitrixTokenTests {
    private static func file() -> String { "/tmp/callflow-tokens-\(UInt64.random(in: 0...UInt64.max)).json" }

    private static func text(_ change: (inout [String: String]) -> Void = { _ in }) -> [UInt8] {
        var members = [
            "domain": "portal.example", "client_id": "app.1", "client_secret": "s3cret",
            "refresh_token": "r1",
            "access_token": "a1",
        ]
        change(&members)
        let list = members.sorted { $0.key < $1.key }.map { "\"\($0.key)\":\"\($0.value)\"" }
        return Array("{\(list.joined(separator: ","))}".utf8)
    }

    @Test("the file is read back as it was written, and only ever ours")
    func roundTrip() throws {
        let path = Self.file()
        defer { unlink(path) }
        var tokens = try BitrixTokens(Self.text())
        tokens.expiresAt = Timestamp(seconds: 1_790_000_000)
        try tokens.write(path)
        #expect(try BitrixTokens.read(path) == tokens)
        var status = stat()
        #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
        chmod(path, 0o640)
        #expect(throws: BitrixTokens.Problem.self) { try BitrixTokens.read(path) }
        #expect(throws: BitrixTokens.Problem.self) { try BitrixTokens.read("/nonexistent/tokens") }
    }

    @Test(
        "what lacks something is told", arguments: ["domain", "client_id", "client_secret", "refresh_token"])
    func lacking(key: String) {
        do throws(BitrixTokens.Problem) {
            _ = try BitrixTokens(Self.text { $0[key] = nil })
            Issue.record("taken without \(key)")
        } catch {
            #expect(error.description.contains(key))
            #expect(!error.description.contains("s3cret"))
        }
    }

    @Test("plain http only on this machine")
    func plain() throws {
        #expect(throws: BitrixTokens.Problem.self) {
            try BitrixTokens(Self.text { $0["domain"] = "http://portal.example" })
        }
        #expect(throws: BitrixTokens.Problem.self) {
            try BitrixTokens(Self.text { $0["server"] = "http://oauth.example/" })
        }
        #expect(try BitrixTokens(Self.text { $0["domain"] = "http://127.0.0.1:8080" }).portal.port == 8080)
    }

    /// A portal that wants an application, a client with its tokens, and the file.
    private final class Bench {
        let http: HTTPBench
        let portal: FakeBitrixServer
        let client: BitrixClient
        let path = BitrixTokenTests.file()
        let metrics = Metrics()

        init(_ arrange: (inout BitrixTokens) -> Void = { _ in }) throws {
            http = try HTTPBench(.epoll)
            var settings = PortalSettings()
            settings.plan = .unlimited
            settings.authPolicy = .applicationOnly
            portal = FakeBitrixServer(loop: http.loop, portal: FakeBitrixPortal(settings: settings))
            let address = try portal.listen(
                on: .loopback(port: 0), tls: nil, logger: http.log.logger, metrics: http.metrics)
            let application = PortalSettings.Webhook(
                userID: 1, secret: "app", scopes: ["telephony", "crm", "user"])
            let issued = portal.portal.issueTokens(to: application, at: BitrixBench.now)
            let origin = "http://127.0.0.1:\(address.port)"
            let proof = (id: portal.portal.settings.clientID, secret: portal.portal.settings.clientSecret)
            var tokens = try BitrixTokens(
                BitrixTokenTests.text {
                    $0["domain"] = origin
                    $0["server"] = "\(origin)/oauth/token/"
                    $0["client_id"] = proof.id
                    $0["client_secret"] = proof.secret
                    $0["access_token"] = issued.access
                    $0["refresh_token"] = issued.refresh
                })
            arrange(&tokens)
            try tokens.write(path)
            var configuration = BitrixConfiguration(webhook: BitrixWebhook(portal: tokens.portal))
            configuration.application = try BitrixApplication(path: path)
            configuration.defaultUserID = 1
            configuration.requestsPerSecond = 10_000
            configuration.requestBurst = 10_000
            configuration.retry.firstDelay = .milliseconds(10)
            configuration.retry.maximumDelay = .milliseconds(50)
            client = BitrixClient(
                loop: http.loop, configuration: configuration, tls: nil, logger: http.log.logger,
                metrics: metrics)
        }

        deinit {
            client.stop()
            portal.close()
            unlink(path)
        }

        func play(_ ids: [String]) {
            for id in ids {
                let call = BitrixBench.call(id)
                client.submit(.register(call))
                client.submit(.finish(call))
            }
            http.run(limit: .seconds(60)) { client.pendingSteps == 0 }
        }

        var renewals: Int { portal.portal.requestCounts["oauth.token"] ?? 0 }
    }

    @Test("calls are told with the application's token")
    func works() throws {
        let bench = try Bench()
        bench.play(["a", "b"])
        #expect(bench.portal.portal.statistics.count == 2)
        #expect(bench.renewals == 0)
    }

    @Test("a token that expires while calls go on is renewed once, for all that wait, and kept")
    func expires() throws {
        let bench = try Bench()
        bench.play(["a"])
        bench.portal.portal.expireTokens()
        bench.play((0..<20).map { "b\($0)" })
        #expect(bench.portal.portal.statistics.count == 21)
        #expect(bench.renewals == 1)
        #expect(bench.metrics[.crmDropped] == 0)
        // The new ones are on the disk: a restart goes on with them.
        let kept = try BitrixTokens.read(bench.path)
        #expect(kept.expiresAt > BitrixBench.now)
        bench.portal.portal.expireTokens()
        bench.play(["c"])
        #expect(bench.renewals == 2)
        #expect(try BitrixTokens.read(bench.path) != kept)
    }

    @Test("one that is known to be old is renewed before it is used")
    func old() throws {
        let bench = try Bench { $0.expiresAt = Timestamp(seconds: 1_000) }
        bench.play(["a"])
        #expect(bench.renewals == 1)
        #expect(bench.portal.portal.refusals.entries.isEmpty)
    }

    @Test("void tokens: a person must come, and the calls wait")
    func void() throws {
        let bench = try Bench()
        bench.portal.portal.expireTokens()
        bench.portal.portal.revokeRefreshTokens()
        let call = BitrixBench.call("a")
        bench.client.submit(.register(call))
        bench.http.run { bench.client.state != .ok }
        guard case .failing(let reason) = bench.client.state else {
            Issue.record("\(bench.client.state)")
            return
        }
        #expect(reason.contains("authorise") && reason.contains("BITRIX_OAUTH_FILE"), "\(reason)")
        #expect(bench.client.pendingSteps == 1)
        #expect(bench.metrics[.crmDropped] == 0)
    }
}
