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
            var request = URLRequest(
                url: try #require(URL(string: "http://127.0.0.1:\(port)/api/test/events")))
            request.httpMethod = "POST"
            request.httpBody = Data(
                """
                {"call_id":"w1","event_type":"\(type)","payload":{"direction":"inbound",
                "caller":"+79995550101","callee":"74950000001"}}
                """.utf8)
            _ = try await URLSession.shared.data(for: request)
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
