import Foundation
import FoundationNetworking
import Testing

@Suite("The command, as an operator runs it", .serialized)
struct CommandTests {
    @Test(
        "A setting that cannot be used stops the start with its name and status 78",
        arguments: [
            ("PORT", "abc"), ("PORT", "70000"), ("LOG_LEVEL", "loud"), ("ARI_URL", "http://pbx/ari/events"),
            ("ARI_URL", "ws://u:topsecret@pbx:8088/ari/events"), ("DATABASE_URL", "mysql://u:topsecret@h/d"),
            ("DATABASE_URL", "postgres:topsecret"), ("BITRIX_WEBHOOK_URL", "https://portal/topsecret"),
            ("POOL_SIZE", "0"),
            ("ARI_SUBSCRIBE", "some"), ("LOOPS", "-1"), ("IO", "kqueue"), ("HTTP_ADDRESS", "nowhere"),
            ("STORE_QUEUE_MAX_BYTES", "10"), ("MAX_CALLS", "1e9"), ("BITRIX_SHOW", "perhaps"),
            ("SQLITE_SYNCHRONOUS", "off"),
        ])
    func badSetting(name: String, value: String) async throws {
        let environment = name == "BITRIX_SHOW" ? ["BITRIX_WEBHOOK_URL": "https://p.example/rest/1/x/"] : [:]
        for command in ["check-config", "serve"] {
            let process = try DaemonProcess([command], environment.merging([name: value]) { $1 })
            #expect(await process.ended() == 78)
            let printed = process.printed
            #expect(printed.hasPrefix("callflow-fast: \(name): "), "\(printed)")
            #expect(printed.split(separator: "\n").count == 1)
            #expect(!printed.contains("topsecret"))
        }
    }

    @Test("Flags are stronger than .env, .env is stronger than the environment, empty values are absent")
    func precedence() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(
            path: "callflow-env-\(UInt64.random(in: 0...UInt64.max))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try "# a comment\nPORT=5001\nPBX_NAME=\"from file\"\nLOOPS=\n".write(
            to: folder.appending(path: ".env"), atomically: true, encoding: .utf8)
        let fromFile = try DaemonProcess(["check-config"], ["PORT": "5000", "LOOPS": "3"], folder: folder)
        #expect(await fromFile.ended() == 0)
        #expect(fromFile.printed.contains(":5001"))
        let fromFlag = try DaemonProcess(
            ["check-config", "--port", "5002"], ["PORT": "5000"], folder: folder)
        #expect(await fromFlag.ended() == 0)
        #expect(fromFlag.printed.contains(":5002"))
        let missing = try DaemonProcess(["check-config", "--env-file", "nothing-here"], folder: folder)
        #expect(await missing.ended() == 78)
    }

    @Test("check-config prints what would be used and no secret")
    func checkConfig() async throws {
        let process = try DaemonProcess(
            ["check-config"],
            [
                "ARI_URL": "wss://pbx.example:8089/ari/events", "ARI_USER": "callflow",
                "ARI_PASSWORD": "topsecret1",
                "DATABASE_URL": "ecto://callflow:topsecret2@db.example/callflow?ssl=true",
                "BITRIX_WEBHOOK_URL": "https://portal.example/rest/1/topsecret3/",
                "SECRET_KEY_BASE": "topsecret4",
                "PHX_HOST": "h", "ECTO_IPV6": "true",
            ])
        #expect(await process.ended() == 0)
        for text in ["pbx.example", "db.example", "portal.example"] {
            #expect(process.printed.contains(text))
        }
        #expect(!process.printed.contains("topsecret"))
    }

    @Test("A port that is taken: one clear line, status 1, and the PBX is not taken from who reads it")
    func portTaken() async throws {
        let simulator = try DaemonProcess(["simulate", "--port", "0"])
        let pbxPort = try await simulator.port(inLineWith: "simulated PBX")
        let settings = [
            "ARI_URL": "ws://127.0.0.1:\(pbxPort)/ari/events", "ARI_USER": "callflow",
            "ARI_PASSWORD": "secret",
        ]
        let first = try DaemonProcess(["serve"], settings.merging(["PORT": "0"]) { $1 })
        let port = try await first.port(inLineWith: "API and live page")
        _ = try await first.line(with: "ARI: connected")
        let second = try DaemonProcess(["serve"], settings.merging(["PORT": "\(port)"]) { $1 })
        #expect(await second.ended() == 1)
        #expect(second.printed.contains("cannot listen on"))
        #expect(!second.printed.contains("ARI: connected"))
        let stats = String(decoding: try await get(pbxPort, "/simulator/stats").body, as: UTF8.self)
        #expect(stats.contains(#""readers_accepted":1,"#), "\(stats)")
        #expect(!first.printed.contains("another reader"))
        for process in [first, simulator] {
            process.send(SIGTERM)
            #expect(await process.ended() == 0)
        }
    }

    @Test("SIGHUP opens the log anew after a rotation, however often; a log that cannot be opened is said")
    func logFile() async throws {
        let daemon = try DaemonProcess(["serve"], ["PORT": "0", "LOG_FILE": "own.log"])
        let log = daemon.folder.appending(path: "own.log")
        func waits(for text: String) async throws -> Bool {
            for _ in 0..<1000 {
                if (try? String(contentsOf: log, encoding: .utf8))?.contains(text) == true { return true }
                try await Task.sleep(for: .milliseconds(20))
            }
            return false
        }
        #expect(try await waits(for: "started"))
        try FileManager.default.moveItem(at: log, to: daemon.folder.appending(path: "old.log"))
        for _ in 0..<5 { daemon.send(SIGHUP) }
        #expect(try await waits(for: "log opened anew"))
        daemon.send(SIGTERM)
        #expect(await daemon.ended() == 0)
        #expect(try await waits(for: "stopped"))
        #expect(daemon.printed.isEmpty)

        let other = try DaemonProcess(["serve"], ["PORT": "0", "LOG_FILE": "missing/own.log"])
        _ = try await other.line(with: "LOG_FILE: cannot open missing/own.log: No such file or directory")
        other.send(SIGTERM)
        #expect(await other.ended() == 0)
    }

    @Test(
        "Without a PBX it runs in mock mode, says so, and takes test events",
        arguments: ["epoll", "io_uring"])
    func mockMode(io: String) async throws {
        let daemon = try DaemonProcess(["serve", "--io", io], ["PORT": "0"])
        let port = try await daemon.port(inLineWith: "API and live page")
        #expect(daemon.printed.contains("mock mode"))
        let health = try await poll(port, "/health") {
            String(decoding: $0, as: UTF8.self).contains(#""db":"ok""#)
        }
        #expect(String(decoding: health, as: UTF8.self).contains(#""ari_connection":"disconnected""#))
        for (type, state) in [("stasis_start", "Ring"), ("state_change", "Up"), ("stasis_end", "Up")] {
            let event = #"""
                {"call_id":"test 1/ä","event_type":"\#(type)","payload":{"direction":"inbound","channel":"SIP/1",\#
                "caller":"79161234567","callee":"101","state":"\#(state)"}}
                """#
            #expect(try await post(port, "/api/test/events", event) == 202)
        }
        let body = try await poll(port, "/api/calls/test%201%2F%C3%A4") {
            // The live call is seen at once, its events when they are durable.
            String(decoding: $0, as: UTF8.self).contains(#""event_type":"stasis_end""#)
        }
        let answer = try #require(try JSONSerialization.jsonObject(with: body) as? [String: Any])
        let call = try #require(answer["call"] as? [String: Any])
        #expect(call["direction"] as? String == "inbound")
        #expect(call["caller_number"] as? String == "79161234567")
        #expect(call["callee_number"] as? String == "101")
        #expect(call["answered_at"] is String)
        #expect(
            (answer["events"] as? [[String: Any]])?.map { $0["event_type"] as? String } == [
                "stasis_start", "state_change", "stasis_end",
            ])
        daemon.send(SIGINT)
        #expect(await daemon.ended() == 0)
    }

    @Test("explain tells of a recorded stream why each call has its outcome, for people and as JSON")
    func explain() async throws {
        let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Fixtures/ari")
        let file = folder.appending(path: "office-22/queue-timeout.jsonl").path
        let text = try DaemonProcess(["explain", "--language", "ru", file])
        #expect(await text.ended() == 0)
        #expect(text.printed.contains("очередь sales закончилась, никто не ответил"))
        let json = try DaemonProcess(["explain", "--json", file])
        #expect(await json.ended() == 0)
        let object = try #require(
            try JSONSerialization.jsonObject(with: Data(json.printed.utf8)) as? [String: Any])
        #expect(object["outcome_rule"] as? String == "queue_ended")
        let one = try DaemonProcess(
            [
                "explain", "--channels", "app", "--call", "1795344307.20",
                folder.appending(path: "asterisk-22/inbound-busy.jsonl").path,
            ])
        #expect(await one.ended() == 0)
        #expect(one.printed.hasPrefix("1795344307.20  "))
        #expect(one.printed.contains("=> attempts"))
        #expect(try await DaemonProcess(["explain", "/nothing/here"]).ended() == 66)
        #expect(try await DaemonProcess(["explain", "/dev/null"]).ended() == 65)
        #expect(try await DaemonProcess(["explain", "--grouping", "some", file]).ended() == 64)
    }
}
