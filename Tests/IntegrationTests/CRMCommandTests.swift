import Foundation
import FoundationNetworking
import Testing

@Suite("Commands around the CRM, as an operator runs them", .serialized)
struct CRMCommandTests {
    @Test("check asks the portal and says what is wrong; status by exit codes")
    func check() async throws {
        let portal = try DaemonProcess(["simulate", "--no-pbx", "--crm-port", "0"])
        let port = try await portal.port(inLineWith: "fake Bitrix24")
        let url = "http://127.0.0.1:\(port)/rest/1/demotoken/"
        let well = try DaemonProcess(
            ["crm", "check"],
            [
                "BITRIX_WEBHOOK_URL": url, "BITRIX_CRM_SOURCE": "WEB", "BITRIX_LINE_NUMBER": "74950000001",
                "BITRIX_EXTENSION_USERS": "21401=4711",
            ])
        #expect(await well.ended() == 0)
        for text in [
            "may register and finish calls", "statistics: can be read", "have an extension", "default user",
            "has the source WEB", "no line 74950000001", "nobody active behind 21401=4711",
        ] { #expect(well.printed.contains(text), "\(text) in \(well.printed)") }
        let stranger = try DaemonProcess(
            ["crm", "check"], ["BITRIX_WEBHOOK_URL": "http://127.0.0.1:\(port)/rest/1/topsecret/"])
        #expect(await stranger.ended() == 1)
        #expect(stranger.printed.contains("knows no such webhook"))
        #expect(!stranger.printed.contains("topsecret"))
        let off = try DaemonProcess(["crm", "check"])
        #expect(await off.ended() == 78)
    }

    @Test(
        "a portal that wants an application: its webhook is a clear error, its tokens work and are nobody else's"
    )
    func application() async throws {
        let tokens = FileManager.default.temporaryDirectory.appending(
            path: "callflow-oauth-\(UInt64.random(in: 0...UInt64.max))")
        defer { try? FileManager.default.removeItem(at: tokens) }
        let portal = try DaemonProcess([
            "simulate", "--no-pbx", "--crm-port", "0", "--crm-application", tokens.path,
        ])
        let crm = try await portal.port(inLineWith: "fake Bitrix24")
        let webhook = try DaemonProcess(
            ["crm", "check"], ["BITRIX_WEBHOOK_URL": "http://127.0.0.1:\(crm)/rest/1/demotoken/"])
        #expect(await webhook.ended() == 1)
        #expect(webhook.printed.contains("application"), "\(webhook.printed)")
        let before = try String(contentsOf: tokens, encoding: .utf8)
        let daemon = try DaemonProcess(
            ["serve"],
            [
                "PORT": "0", "LOG_LEVEL": "debug", "BITRIX_OAUTH_FILE": tokens.path,
                "BITRIX_DEFAULT_USER_ID": "1",
            ])
        let port = try await daemon.port(inLineWith: "API and live page")
        for type in ["stasis_start", "channel_destroyed"] {
            try await inject(
                port,
                """
                {"call_id":"o1","event_type":"\(type)","payload":{"direction":"inbound",
                "caller":"+79995550101","callee":"74950000001"}}
                """)
        }
        _ = try await poll(crm, "/effects") {
            String(decoding: $0, as: UTF8.self).contains(#""finished_count":1"#)
        }
        daemon.send(SIGTERM)
        #expect(await daemon.ended() == 0)
        let after = try String(contentsOf: tokens, encoding: .utf8)
        #expect(after != before, "the tokens were renewed")
        let attributes = try FileManager.default.attributesOfItem(atPath: tokens.path)
        #expect((attributes[.posixPermissions] as? Int) == 0o600)
        for text in [before, after] {
            let value = try #require(
                try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
            for key in ["client_secret", "access_token", "refresh_token"] {
                guard let secret = value[key] as? String, !secret.isEmpty else { continue }
                #expect(!daemon.printed.contains(secret), "\(key) in the log")
            }
        }
        let check = try DaemonProcess(
            ["crm", "check"], ["BITRIX_OAUTH_FILE": tokens.path, "BITRIX_DEFAULT_USER_ID": "1"])
        #expect(await check.ended() == 0)
        #expect(check.printed.contains("may register and finish calls"), "\(check.printed)")
    }

    private func inject(_ port: Int, _ event: String) async throws {
        #expect(try await post(port, "/api/test/events", event) == 202)
    }

    @Test("steps wait while the portal is away, are shown, and go out when it is back")
    func status() async throws {
        let portal = try DaemonProcess(["simulate", "--no-pbx", "--crm-port", "0"])
        let crm = try await portal.port(inLineWith: "fake Bitrix24")
        portal.send(SIGKILL)
        _ = await portal.ended()
        let settings = ["PORT": "0", "BITRIX_WEBHOOK_URL": "http://127.0.0.1:\(crm)/rest/1/demotoken/"]
        let daemon = try DaemonProcess(["serve"], settings)
        let port = try await daemon.port(inLineWith: "API and live page")
        for type in ["stasis_start", "channel_destroyed"] {
            try await inject(
                port,
                """
                {"call_id":"w1","event_type":"\(type)","payload":{"direction":"inbound",
                "caller":"+79995550101","callee":"74950000001"}}
                """)
        }
        let outbox = try await poll(port, "/api/crm/outbox") {
            String(decoding: $0, as: UTF8.self).contains(#""total":2"#)
        }
        #expect(String(decoding: outbox, as: UTF8.self).contains(#""caller_number":"+79995550101""#))
        let health = try await poll(port, "/health") {
            String(decoding: $0, as: UTF8.self).contains(#""name":"Bitrix24","state":"error""#)
        }
        #expect(String(decoding: health, as: UTF8.self).contains("Connection refused"))
        let waiting = try DaemonProcess(["crm", "status"], folder: daemon.folder)
        #expect(await waiting.ended() == 0)
        #expect(waiting.printed.contains("bitrix24  register"), "\(waiting.printed)")
        let json = try DaemonProcess(["crm", "status", "--json"], folder: daemon.folder)
        #expect(await json.ended() == 0)
        #expect(try JSONSerialization.jsonObject(with: Data(json.printed.utf8)) is [String: Any])
        let none = try DaemonProcess(["crm", "retry", "--dry-run"], folder: daemon.folder)
        #expect(await none.ended() == 0)
        #expect(none.printed.contains("0 calls"))
        let resend = try DaemonProcess(
            ["crm", "resend", "--from", "2026-01-01", "--to", "yesterday"], folder: daemon.folder)
        #expect(await resend.ended() == 64)

        // The daemon dies with the steps; the next one finds them, and the portal is back.
        daemon.send(SIGKILL)
        _ = await daemon.ended()
        let back = try DaemonProcess(["simulate", "--no-pbx", "--crm-port", "\(crm)"])
        _ = try await back.port(inLineWith: "fake Bitrix24")
        let second = try DaemonProcess(["serve"], settings, folder: daemon.folder)
        _ = try await second.port(inLineWith: "API and live page")
        let ledger = try await poll(crm, "/effects", within: 150) {
            String(decoding: $0, as: UTF8.self).contains(#""finished_count":1"#)
        }
        #expect(String(decoding: ledger, as: UTF8.self).contains(#""phone_number":"+79995550101""#))
        second.send(SIGTERM)
        #expect(await second.ended() == 0)
        let done = try DaemonProcess(["crm", "status"], folder: daemon.folder)
        #expect(await done.ended() == 0)
        #expect(done.printed.contains("finish  done  1"), "\(done.printed)")
    }
}
