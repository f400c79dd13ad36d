import Foundation
import Testing

@Suite("Several PBXs, as processes", .serialized)
struct SeveralPBXsTests {
    private func object(_ data: Data) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    }

    @Test("Calls of both are kept apart; one PBX's end is told and leaves the other alone")
    func two() async throws {
        var simulators: [DaemonProcess] = []
        var ports: [Int] = []
        for _ in 0..<2 {
            // The same seed: the same calls.
            let simulator = try DaemonProcess([
                "simulate", "--port", "0", "--rate", "40", "--total-calls", "20", "--seed", "7", "--ring",
                "0.1-0.3", "--talk", "0.2-1", "--wait-for-reader",
            ])
            simulators.append(simulator)
            ports.append(try await simulator.port(inLineWith: "simulated PBX"))
        }
        let folder = FileManager.default.temporaryDirectory.appending(
            path: "callflow-pbxs-\(UInt64.random(in: 0...UInt64.max))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try """
        [{"name": "office", "url": "ws://127.0.0.1:\(ports[0])/ari/events"},
         {"name": "branch", "url": "ws://127.0.0.1:\(ports[1])/ari/events", "user": "callflow", "app": "second"}]
        """.write(to: folder.appending(path: "pbxs.json"), atomically: true, encoding: .utf8)
        let settings = [
            "PORT": "0", "PBX_FILE": "pbxs.json", "ARI_USER": "callflow", "ARI_PASSWORD": "secret",
            "LOOPS": "2",
        ]
        let daemon = try DaemonProcess(["serve"], settings, folder: folder)
        let port = try await daemon.port(inLineWith: "API and live page")
        let list = try await poll(port, "/api/calls?limit=1000", within: 180) {
            let calls = try JSONSerialization.jsonObject(with: $0) as? [[String: Any]] ?? []
            return calls.count == 40 && calls.allSatisfy { $0["status"] as? String == "finished" }
        }
        let calls = try #require(try JSONSerialization.jsonObject(with: list) as? [[String: Any]])
        var expected: Set<String> = []
        for (pbxPort, prefix) in zip(ports, ["", "branch-"]) {
            let truth = try object(try await get(pbxPort, "/simulator/truth").body)
            let played = try #require(truth["calls"] as? [[String: Any]])
            expected.formUnion(played.compactMap { ($0["call_id"] as? String).map { prefix + $0 } })
        }
        #expect(expected.count == 40)
        #expect(Set(calls.compactMap { $0["call_id"] as? String }) == expected)

        simulators[1].send(SIGTERM)
        #expect(await simulators[1].ended() == 0)
        let metrics = try await poll(port, "/metrics") {
            String(decoding: $0, as: UTF8.self).contains("callflow_pbx_connected{pbx=\"branch\"} 0")
        }
        #expect(String(decoding: metrics, as: UTF8.self).contains("callflow_pbx_connected{pbx=\"office\"} 1"))
        let health = try object(try await get(port, "/health").body)
        let pbxs = try #require(health["pbxs"] as? [[String: Any]])
        #expect(pbxs.compactMap { $0["name"] as? String } == ["PBX office", "PBX branch"])
        #expect(pbxs.compactMap { $0["state"] as? String } == ["ok", "error"])
        daemon.send(SIGTERM)
        #expect(await daemon.ended() == 0)
        simulators[0].send(SIGTERM)
        #expect(await simulators[0].ended() == 0)
    }

    @Test(
        "What is wrong in the file is told with its entry and field, and no password",
        arguments: [
            ("no", "no valid JSON"),
            ("[]", "at least one PBX"),
            (#"[{"url":"ws://a/ari/events","password":"topsecret"}]"#, "PBX 1: name must be there"),
            (
                #"[{"name":"a","url":"http://a/","password":"topsecret"}]"#,
                "PBX 1 (a): url must begin with ws://"
            ),
            (#"[{"name":"a","password":"topsecret"}]"#, "PBX 1 (a): url is missing"),
            (#"[{"name":"a","url":"ws://u:topsecret@a/"}]"#, "PBX 1 (a): url must not hold the password"),
            (#"[{"name":"a","url":"ws://a/"}]"#, "PBX 1 (a): password is missing"),
            (
                #"[{"name":"a","url":"ws://a/","password":"topsecret","hots":1}]"#,
                "there is no field \"hots\""
            ),
            (#"[{"name":"a","url":"ws://a/","password":7}]"#, "PBX 1 (a): password must be a string"),
            (
                #"[{"name":"a","url":"ws://a/","password":"topsecret","subscribe":"none"}]"#,
                "PBX 1 (a): subscribe must be one of calls, app, all"
            ),
            (
                #"[{"name":"a","url":"ws://a/","password":"topsecret"},{"name":"a","url":"ws://b/","password":"topsecret"}]"#,
                "PBX 2 has the name of PBX 1, a"
            ),
            (
                #"[{"name":"a","url":"ws://a/","password":"topsecret"},{"name":"b","url":"ws://a/","password":"topsecret"}]"#,
                "PBX 2 (b) is the same application of the same PBX as a"
            ),
        ])
    func wrongFile(text: String, problem: String) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(
            path: "callflow-pbxs-\(UInt64.random(in: 0...UInt64.max))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try text.write(to: folder.appending(path: "pbxs.json"), atomically: true, encoding: .utf8)
        let process = try DaemonProcess(
            ["check-config"], ["PBX_FILE": "pbxs.json", "ARI_USER": "callflow"], folder: folder)
        #expect(await process.ended() == 78)
        #expect(process.printed.contains(problem), "\(process.printed)")
        #expect(process.printed.hasPrefix("callflow-fast: PBX_FILE: pbxs.json: "))
        #expect(!process.printed.contains("topsecret"))
    }
}
