import Foundation
import Testing

@Suite("Daemon, simulated PBX and portal as processes", .serialized)
struct WholeDaemonTests {
    private func number(_ metric: String, in metrics: Data) -> Int? {
        String(decoding: metrics, as: UTF8.self).split(separator: "\n")
            .first { $0.hasPrefix("callflow_\(metric) ") }.flatMap { Int($0.split(separator: " ")[1]) }
    }

    private func object(_ data: Data) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    }

    @Test(
        "Calls reach the database, the portal and the API; a stop loses nothing",
        arguments: ["epoll", "io_uring"])
    func wholeWay(io: String) async throws {
        let simulator = try DaemonProcess([
            "simulate", "--port", "0", "--crm-port", "0", "--rate", "40", "--total-calls", "40", "--seed",
            "7", "--ring", "0.1-0.5", "--talk", "0.2-2", "--wait-for-reader",
        ])
        let pbxPort = try await simulator.port(inLineWith: "simulated PBX")
        let crmPort = try await simulator.port(inLineWith: "fake Bitrix24")
        let settings = [
            "PORT": "0", "ARI_URL": "ws://127.0.0.1:\(pbxPort)/ari/events", "ARI_USER": "callflow",
            "ARI_PASSWORD": "secret", "BITRIX_WEBHOOK_URL": "http://127.0.0.1:\(crmPort)/rest/1/demotoken/",
            "BITRIX_REQUESTS_PER_SECOND": "1000", "BITRIX_REQUEST_BURST": "1000",
        ]
        let daemon = try DaemonProcess(["serve", "--io", io], settings)
        let port = try await daemon.port(inLineWith: "API and live page")
        _ = try await poll(port, "/health") {
            String(decoding: $0, as: UTF8.self).contains(#""ari_connection":"connected""#)
        }
        _ = try await poll(pbxPort, "/simulator/stats", within: 180) {
            try object($0)["calls_finished"] as? Int == 40
        }
        let metrics = try await poll(port, "/metrics") { number("calls_finished_total", in: $0) == 40 }
        #expect(number("ari_reconnects_total", in: metrics) == 0)
        #expect(number("ari_events_invalid_total", in: metrics) == 0)

        let page = try await get(port, "/")
        #expect(page.status == 200)
        let stats = try object(try await get(port, "/api/stats").body)
        let delivered =
            try object(try await get(pbxPort, "/simulator/stats").body)["events_sent_to_readers"] as? Int
        #expect(stats["total_events"] as? Int == delivered)

        daemon.send(SIGTERM)
        #expect(await daemon.ended() == 0)
        #expect(daemon.printed.contains("stopped"))
        for secret in ["demotoken", "secret@", "Basic "] { #expect(!daemon.printed.contains(secret)) }

        // Started again on the same file, it has every call.
        let again = try DaemonProcess(["serve", "--io", io], ["PORT": "0"], folder: daemon.folder)
        let secondPort = try await again.port(inLineWith: "API and live page")
        let list = try await poll(secondPort, "/api/calls?limit=1000") {
            ((try? JSONSerialization.jsonObject(with: $0)) as? [Any])?.count == 40
        }
        let calls = try #require(try JSONSerialization.jsonObject(with: list) as? [[String: Any]])
        #expect(calls.allSatisfy { $0["status"] as? String == "finished" })
        let truth = try object(try await get(pbxPort, "/simulator/truth").body)
        let played = try #require(truth["calls"] as? [[String: Any]])
        #expect(
            Set(played.compactMap { $0["call_id"] as? String })
                == Set(calls.compactMap { $0["call_id"] as? String }))
        // What was stored is what the stored events tell, asked while the daemon runs.
        let rebuild = try DaemonProcess(
            ["rebuild", "--from", "2020-01-01", "--dry-run", "--json"], folder: daemon.folder)
        #expect(await rebuild.ended() == 0)
        let report = try object(Data((rebuild.printed.split(separator: "\n").last ?? "").utf8))
        #expect(report["rows"] as? Int ?? 0 >= 40)
        #expect(report["compared"] as? Int == report["rows"] as? Int)
        #expect(report["different"] as? Int == 0, "\(rebuild.printed.prefix(2000))")
        again.send(SIGTERM)
        #expect(await again.ended() == 0)

        // The portal has each customer's call once, finished.
        let effects = try object(try await get(crmPort, "/effects").body)
        #expect(effects["refusal_count"] as? Int == 0)
        #expect(effects["active_count"] as? Int == 0)
        #expect(effects["finished_count"] as? Int == 40)
        simulator.send(SIGTERM)
        #expect(await simulator.ended() == 0)
    }

    @Test("Wrong credentials: said once, without the password; the service goes on")
    func wrongPassword() async throws {
        let simulator = try DaemonProcess(["simulate", "--port", "0"])
        let pbxPort = try await simulator.port(inLineWith: "simulated PBX")
        let daemon = try DaemonProcess(
            ["serve"],
            [
                "PORT": "0", "ARI_URL": "ws://127.0.0.1:\(pbxPort)/ari/events", "ARI_USER": "callflow",
                "ARI_PASSWORD": "wrong-topsecret",
            ])
        let port = try await daemon.port(inLineWith: "API and live page")
        _ = try await daemon.line(with: "401")
        let health = try await get(port, "/health")
        #expect(health.status == 200)
        #expect(String(decoding: health.body, as: UTF8.self).contains(#""ari_connection":"disconnected""#))
        #expect(!daemon.printed.contains("topsecret"))
        daemon.send(SIGTERM)
        #expect(await daemon.ended() == 0)
        simulator.send(SIGTERM)
        #expect(await simulator.ended() == 0)
    }

    private func count(_ metric: String, _ port: Int) async throws -> Int {
        let text = String(decoding: try await get(port, "/metrics").body, as: UTF8.self)
        let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("callflow_\(metric) ") })
        return try #require(line.split(separator: " ").last.flatMap { Int($0) })
    }

    @Test(
        "Calls that ended while the daemon was away are ended after its next start", .timeLimit(.minutes(5)))
    func endedWhileAway() async throws {
        let simulator = try DaemonProcess([
            "simulate", "--port", "0", "--rate", "20", "--seed", "5", "--ring", "0.1-0.3", "--talk", "1-2",
        ])
        let pbxPort = try await simulator.port(inLineWith: "simulated PBX")
        let settings = [
            "PORT": "0", "ARI_URL": "ws://127.0.0.1:\(pbxPort)/ari/events", "ARI_USER": "callflow",
            "ARI_PASSWORD": "secret",
        ]
        let daemon = try DaemonProcess(["serve"], settings)
        let port = try await daemon.port(inLineWith: "API and live page")
        let list = try await poll(port, "/api/calls?status=answered&limit=1000") {
            (((try? JSONSerialization.jsonObject(with: $0)) as? [Any]) ?? []).count > 5
        }
        // What was read by then is to be durable: the rest a killed daemon may lose.
        let read = try await count("ari_events_total", port)
        while try await count("store_events_written_total", port) < read {
            try await Task.sleep(for: .milliseconds(20))
        }
        daemon.send(SIGKILL)
        _ = await daemon.ended()
        let calls = try #require(try JSONSerialization.jsonObject(with: list) as? [[String: Any]])
        let ids = calls.compactMap { $0["call_id"] as? String }
        // Longer than any of these calls.
        try await Task.sleep(for: .seconds(4))
        let again = try DaemonProcess(["serve"], settings, folder: daemon.folder)
        let secondPort = try await again.port(inLineWith: "API and live page")
        for id in ids {
            let body = try await poll(secondPort, "/api/calls/\(id)") {
                String(decoding: $0, as: UTF8.self).contains(#""status":"finished""#)
            }
            let answer = try object(body)
            let call = try #require(answer["call"] as? [String: Any])
            #expect(call["ended_at"] is String)
            #expect(call["answered_at"] is String)
        }
        // Calls that the PBX has now go on as they are.
        let live = try await poll(secondPort, "/api/calls?status=answered&limit=1000") {
            (((try? JSONSerialization.jsonObject(with: $0)) as? [Any]) ?? []).count > 5
        }
        #expect(!live.isEmpty)
        again.send(SIGTERM)
        #expect(await again.ended() == 0)
        simulator.send(SIGTERM)
        #expect(await simulator.ended() == 0)
    }

    @Test("Killed while calls run: what was durable is there, and the next start goes on")
    func killed() async throws {
        let simulator = try DaemonProcess(["simulate", "--port", "0", "--rate", "50", "--seed", "3"])
        let pbxPort = try await simulator.port(inLineWith: "simulated PBX")
        let settings = [
            "PORT": "0", "ARI_URL": "ws://127.0.0.1:\(pbxPort)/ari/events", "ARI_USER": "callflow",
            "ARI_PASSWORD": "secret",
        ]
        let daemon = try DaemonProcess(["serve"], settings)
        let port = try await daemon.port(inLineWith: "API and live page")
        let metrics = try await poll(port, "/metrics") {
            (number("store_events_written_total", in: $0) ?? 0) > 300
        }
        let durable = try #require(number("store_events_written_total", in: metrics))
        daemon.send(SIGKILL)
        #expect(await daemon.ended() != nil)
        let again = try DaemonProcess(["serve"], settings, folder: daemon.folder)
        let secondPort = try await again.port(inLineWith: "API and live page")
        let list = try await poll(secondPort, "/api/calls?limit=1000") {
            !((((try? JSONSerialization.jsonObject(with: $0)) as? [Any]) ?? []).isEmpty)
        }
        let calls = try #require(try JSONSerialization.jsonObject(with: list) as? [[String: Any]])
        var events = 0
        for call in calls {
            let id = try #require(call["call_id"] as? String)
            let one = try object(try await get(secondPort, "/api/calls/\(id)").body)
            events += (one["events"] as? [Any])?.count ?? 0
        }
        #expect(events >= durable)
        _ = try await poll(secondPort, "/metrics") {
            (number("store_events_written_total", in: $0) ?? 0) > 100
        }
        again.send(SIGTERM)
        #expect(await again.ended() == 0)
        simulator.send(SIGTERM)
        #expect(await simulator.ended() == 0)
    }
}
