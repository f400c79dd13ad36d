import Foundation
import FoundationNetworking
import Testing

/// A simulated PBX and a portal, whose answers take their time, as processes; the daemon is killed at moments of chance.
@Suite("CRM: kill -9 at any step of a call, and the portal has each call once", .serialized)
struct CRMKillTests {
    /// Everything that the daemon is told of the portal, and what it is compared with.
    private struct Ledger {
        struct Row {
            var number: String
            var type: Int
            var user: Int
            var status: String
            var duration: Int
            var hasActivity: Bool
        }

        var rows: [String: [Row]] = [:]
        var count = 0
        var open = 0
        var entities = 0
        var cards = 0

        init(_ body: Data) throws {
            let value = try #require(try JSONSerialization.jsonObject(with: body) as? [String: Any])
            open = value["active_count"] as? Int ?? -1
            count = value["finished_count"] as? Int ?? -1
            entities = value["entity_count"] as? Int ?? -1
            cards = value["card_count"] as? Int ?? -1
            for case let row as [String: Any] in value["finished"] as? [Any] ?? [] {
                let call = try #require(row["call"] as? [String: Any])
                rows[call["external_call_id"] as? String ?? "", default: []].append(
                    Row(
                        number: call["phone_number"] as? String ?? "", type: call["type"] as? Int ?? 0,
                        user: row["user_id"] as? Int ?? 0, status: row["status"] as? String ?? "",
                        duration: row["duration"] as? Int ?? -1, hasActivity: row["activity_id"] is Int))
            }
        }
    }

    private static func objects(_ body: Data, _ key: String) throws -> [[String: Any]] {
        let value = try JSONSerialization.jsonObject(with: body)
        let list = value as? [Any] ?? (value as? [String: Any])?[key] as? [Any] ?? []
        return list.compactMap { $0 as? [String: Any] }
    }

    @Test(
        "whatever is killed when: one activity, the right person, the right status, no card and no lead too many"
    )
    func kills() async throws {
        var plan = ChaosPlan()
        while let seed = plan.nextSeed("kill -9 with a CRM") { try await round(seed, plan) }
    }

    private func round(_ seed: UInt64, _ plan: ChaosPlan) async throws {
        let begun = Date()
        // All of them in one answer of the API.
        let calls = min(plan.calls, 900)
        var dice = SeededDice(seed: seed)
        let portal = try DaemonProcess(["simulate", "--no-pbx", "--crm-port", "0", "--crm-delay", "0.15"])
        let crm = try await portal.port(inLineWith: "fake Bitrix24")
        let pbx = try DaemonProcess([
            "simulate", "--port", "0", "--rate", "20", "--total-calls", "\(calls)", "--seed", "\(seed)",
            "--ring", "0.2-0.8", "--talk", "0.3-2.5", "--wait-for-reader", "--mix",
            "answered=50,missed=15,busy=5,abandoned=10,outbound=15,outbound_no_answer=5",
        ])
        let ari = try await pbx.port(inLineWith: "simulated PBX")
        let settings = [
            "PORT": "0", "ARI_URL": "ws://127.0.0.1:\(ari)/ari/events", "ARI_USER": "callflow",
            "ARI_PASSWORD": "secret",
            "BITRIX_WEBHOOK_URL": "http://127.0.0.1:\(crm)/rest/1/demotoken/", "BITRIX_CUTOFF_SECONDS": "4",
            "BITRIX_REQUESTS_PER_SECOND": "1000", "BITRIX_REQUEST_BURST": "1000",
        ]
        var daemon = try DaemonProcess(["serve"], settings)
        var port = try await daemon.port(inLineWith: "API and live page")
        var printed = ""
        /// When nobody was listening, and a little around it.
        var deaf: [ClosedRange<Date>] = []
        for _ in 0..<(plan.kills + 1) {
            try await Task.sleep(for: .milliseconds(Int.random(in: 50...2200, using: &dice)))
            let killed = Date()
            daemon.send(SIGKILL)
            #expect(await daemon.ended() != nil)
            printed += daemon.printed
            daemon = try DaemonProcess(["serve"], settings, folder: daemon.folder)
            port = try await daemon.port(inLineWith: "API and live page")
            _ = try await poll(port, "/health") {
                String(decoding: $0, as: UTF8.self).contains(#""ari_connection":"connected""#)
            }
            deaf.append(killed.addingTimeInterval(-1)...Date().addingTimeInterval(1))
        }
        print("kill -9 with a CRM: the last kill after \(Int(-begun.timeIntervalSinceNow)) s")
        _ = try await poll(ari, "/simulator/stats", within: 120) {
            String(decoding: $0, as: UTF8.self).contains(#""calls_finished":\#(calls)"#)
        }
        _ = try await poll(port, "/api/calls?limit=1000", within: 120) { body in
            try Self.objects(body, "data").allSatisfy {
                $0["ended_at"] is String || $0["merged_into"] is String
            }
        }
        print("kill -9 with a CRM: all calls have ended after \(Int(-begun.timeIntervalSinceNow)) s")
        _ = try await poll(port, "/api/crm/outbox", within: 120) {
            String(decoding: $0, as: UTF8.self).contains(#""total":0"#)
        }
        print("kill -9 with a CRM: all is told after \(Int(-begun.timeIntervalSinceNow)) s")
        let ledger = try Ledger(await get(crm, "/effects?limit=10000").body)
        let stored = try Self.objects(await get(port, "/api/calls?limit=1000").body, "data").filter {
            !($0["merged_into"] is String)
        }
        let failed = String(decoding: try await get(port, "/api/crm/failed").body, as: UTF8.self)
        #expect(failed.contains(#""total":0"#), "seed \(seed): \(failed)")
        try judge(ledger, stored, seed)
        let truth = try Self.objects(await get(ari, "/simulator/truth").body, "calls")
        judge(ledger, truth, deaf, seed)
        daemon.send(SIGTERM)
        #expect(await daemon.ended() == 0)
        printed += daemon.printed
        #expect(!printed.contains("demotoken"))
        for process in [portal, pbx] {
            process.send(SIGTERM)
            _ = await process.ended(within: 10)
        }
    }

    /// The portal has what the daemon's own table has, and nothing besides.
    private func judge(_ ledger: Ledger, _ calls: [[String: Any]], _ seed: UInt64) throws {
        var wrong: [String] = []
        for call in calls {
            let id = try #require(call["call_id"] as? String)
            let found = ledger.rows["main-\(id)"] ?? []
            guard found.count == 1, let row = found.first else {
                wrong.append("\(id): \(found.count) activities")
                continue
            }
            let isAnswered = call["outcome"] as? String == "answered"
            // Of a call that was heard in part a machine's answer may be all that is known.
            let isSuccess = isAnswered || call["outcome"] as? String == "ivr_only"
            let talk = (call["talk_us"] as? Int ?? 0) / 1_000_000
            let isIncoming = call["direction"] as? String == "inbound"
            let customer = call[isIncoming ? "caller_number" : "callee_number"] as? String
            var isRight =
                row.hasActivity && row.number == customer && row.type == (isIncoming ? 2 : 1)
                && (row.status == "200") == isSuccess && (isSuccess || row.duration == 0)
                && (!isAnswered || abs(row.duration - talk) <= 1)
            // The employees' numbers are their extensions.
            if isAnswered, let operatorNumber = call["operator_number"] as? String {
                isRight = isRight && row.user == Int(operatorNumber)
            }
            if !isRight { wrong.append("\(id): \(row), stored: \(call)") }
        }
        #expect(wrong.isEmpty, "seed \(seed): \(wrong.count), \(wrong.prefix(3))")
        #expect(ledger.count == calls.count, "seed \(seed)")
        #expect(ledger.open == 0, "calls left open, seed \(seed)")
        #expect(ledger.cards == 0, "orphan cards, seed \(seed)")
        // The portal knows a customer by the digits.
        let numbers = Set(
            ledger.rows.values.joined().filter(\.hasActivity).map { $0.number.filter(\.isNumber) })
        #expect(ledger.entities == numbers.count, "one lead for each number, seed \(seed)")
    }

    /// Calls that were heard from begin to end are in the portal as they were.
    private func judge(
        _ ledger: Ledger, _ truth: [[String: Any]], _ deaf: [ClosedRange<Date>], _ seed: UInt64
    ) {
        let format = Date.ISO8601FormatStyle(includingFractionalSeconds: true)
        var wrong: [String] = []
        var whole = 0
        for call in truth {
            guard let id = call["call_id"] as? String,
                let start = (call["started_at"] as? String).flatMap({ try? format.parse($0) }),
                let end = (call["ended_at"] as? String).flatMap({ try? format.parse($0) }), start <= end,
                !deaf.contains(where: { $0.overlaps(start...end) })
            else { continue }
            whole += 1
            let answered = (call["answered_at"] as? String).flatMap { try? format.parse($0) }
            let isIncoming = call["direction"] as? String == "inbound"
            let expected =
                switch call["outcome"] as? String {
                case "answered": "200"
                case "no_answer": isIncoming ? "304" : "480"
                case "abandoned": "304"
                case "busy": "486"
                default: "?"
                }
            let row = ledger.rows["main-\(id)"]?.first
            let talk = answered.map { end.timeIntervalSince($0) } ?? 0
            if row?.status != expected || abs(Double(row?.duration ?? -9) - talk) > 1.5
                || row?.number != call[isIncoming ? "caller" : "callee"] as? String
            {
                wrong.append("\(id): \(String(describing: row)), truth: \(call)")
            }
        }
        print("kill -9 with a CRM: \(whole) of \(truth.count) calls were heard whole")
        #expect(wrong.isEmpty, "seed \(seed): \(wrong.count), \(wrong.prefix(3))")
    }
}
