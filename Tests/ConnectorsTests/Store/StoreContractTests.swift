import CallEngine
import Foundation
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite("PostgreSQL is there for the store's tests")
struct PostgresIsThere {
    @Test(
        "a private cluster starts",
        .enabled(
            if: PostgresCluster.isInstalled,
            "PostgreSQL's initdb is not installed (Debian: postgresql-15): NOTHING of the store is tested against it"
        ))
    func clusterStarts() throws {
        let cluster = try PostgresCluster.shared()
        #expect(try cluster.execute("SELECT 6 * 7", database: "postgres") == "42")
    }
}

@Suite("Both stores keep what they are given")
struct StoreContractTests {
    @Test(
        "all columns of a call and its events come back, under either driver",
        arguments: StoreKind.available, StoreDrivers.present)
    func roundTrip(_ kind: StoreKind, _ driver: IOMode) throws {
        let bench = try StoreBench(kind, driver: driver)
        bench.start()
        let payload = #"{"type": "StasisStart", "quote": "it's \"so\" \\ done", "name": "Ольга 🐝"}"#
        bench.event("1770.1", "stasis_start", payload, at: 3)
        bench.event("1770.1", "channel_destroyed", "[1, 2.5, null, true]", at: 9)
        let record = CallRecord.test("1770.1", at: 3) {
            $0.answeredAt = .test(5)
            $0.endedAt = .test(9)
            $0.updatedAt = .test(10)
            $0.direction = .inbound
            $0.status = .finished
            $0.outcome = .noAnswer
            $0.hangupCause = 19
            $0.pbx = 1
            $0.flags = .estimatedEnd
            $0.callerNumber.set("+7 (495) 123'45\"67")
            $0.calleeNumber.set("Зал 🎉")
        }
        bench.commit.appendCall(record)
        bench.settle()
        let found = try #require(try bench.call("1770.1"))
        #expect(
            found.call
                == StoredCall(
                    id: record.id, callID: "1770.1", direction: "inbound",
                    callerNumber: "+7 (495) 123'45\"67",
                    calleeNumber: "Зал 🎉", status: "finished", startedAt: .test(3), answeredAt: .test(5),
                    endedAt: .test(9), insertedAt: .test(3), updatedAt: .test(10), bitrixCallID: nil,
                    outcome: "no_answer", hangupCause: 19, pbx: "branch", endedEstimated: true))
        #expect(found.events.map(\.eventType) == ["stasis_start", "channel_destroyed"])
        #expect(found.events.map(\.callID) == ["1770.1", "1770.1"])
        #expect(found.events.map(\.occurredAt) == [.test(3), .test(9)])
        #expect(found.events.map(\.insertedAt) == [.received(3), .received(9)])
        #expect(found.events.map(\.updatedAt) == [.received(3), .received(9)])
        #expect(found.events[0].id < found.events[1].id)
        #expect(try json(found.events[0].payload) == json([UInt8](payload.utf8)))
        #expect(try json(found.events[1].payload) == json([UInt8]("[1,2.5,null,true]".utf8)))
        #expect(bench.metrics[.storeEventsWritten] == 2)
        #expect(bench.metrics[.storeCallsWritten] == 1)
        #expect(bench.metrics[.textsCut] == 0)
        bench.close()
    }

    @Test("what is unknown is NULL", arguments: StoreKind.available)
    func absentValues(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        bench.commit.appendCall(.test("bare") { $0.pbx = 7 })
        bench.settle()
        let call = try #require(try bench.call("bare")).call
        #expect(call.direction == "unknown")
        #expect(call.status == "ringing")
        #expect(call.callerNumber == nil)
        #expect(call.calleeNumber == nil)
        #expect(call.answeredAt == nil)
        #expect(call.endedAt == nil)
        #expect(call.outcome == nil)
        #expect(call.hangupCause == nil)
        #expect(call.pbx == nil)
        #expect(call.bitrixCallID == nil)
        #expect(!call.endedEstimated)
        bench.close()
    }

    @Test(
        "texts that do not fit are cut by characters or cleaned, and counted", arguments: StoreKind.available)
    func texts(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        let exact = String(repeating: "ж", count: 255)
        bench.event(exact, "exact")
        #expect(bench.commit.waitingBytes > 0)
        bench.settle()
        #expect(bench.metrics[.textsCut] == 0)
        #expect(try bench.eventTypes(of: exact) == ["exact"])

        let long = String(repeating: "🐝", count: 300)
        bench.event(long, "long")
        bench.event([0x61, 0x00, 0x62], [UInt8]("nul".utf8), [UInt8]("{}".utf8))
        bench.event([0x61, 0xFF, 0x62], [UInt8]("invalid".utf8), [UInt8]("{}".utf8))
        bench.event("type", String(repeating: "t", count: 256))
        bench.commit.appendCall(
            .test("cut") { $0.callerNumber.set("x") },
            longTexts: LongTexts(
                callID: [UInt8](long.utf8), callerNumber: [UInt8]((exact + "!").utf8),
                calleeNumber: [0x31, 0x00, 0x32]))
        bench.settle()
        let key = String(repeating: "🐝", count: 255)
        #expect(try bench.eventTypes(of: "a\u{FFFD}b") == ["nul", "invalid"])
        #expect(try bench.eventTypes(of: "type") == [String(repeating: "t", count: 255)])
        // The call's own row carries the same key as its events.
        let cut = try #require(try bench.call(key))
        #expect(cut.events.map(\.eventType) == ["long"])
        #expect(cut.call.callerNumber == exact)
        #expect(cut.call.calleeNumber == "1\u{FFFD}2")
        #expect(bench.metrics[.textsCut] >= 4)
        #expect(bench.log.count(containing: "texts did not fit") >= 1)
        bench.close()
    }

    @Test(
        "escapes that jsonb refuses are replaced, all others stay", arguments: StoreKind.available)
    func repairs(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        let cases: [(sent: String, stored: String)] = [
            (#"{"a":"x\u0000y"}"#, "x\u{FFFD}y"),
            (#"{"a":"\ud800"}"#, "\u{FFFD}"),
            (#"{"a":"\uDC00z"}"#, "\u{FFFD}z"),
            (#"{"a":"\ud83d\ude00"}"#, "\u{1F600}"),
            (#"{"a":"\ud83d\ud83d\ude00"}"#, "\u{FFFD}\u{1F600}"),
            (#"{"a":"\\u0000"}"#, #"\u0000"#),
            (#"{"a":"\\\u0000"}"#, "\\\u{FFFD}"),
            (#"{"a":"\"\/\b\u00e9"}"#, "\"/\u{8}é"),
        ]
        for (index, each) in cases.enumerated() {
            bench.event("repair", "e", each.sent, at: Int64(index), repair: true)
        }
        bench.commit.appendCall(.test("repair"))
        bench.settle()
        let events = try #require(try bench.call("repair")).events
        #expect(events.count == cases.count)
        for (event, each) in zip(events, cases) {
            let object = try json(event.payload) as? NSDictionary
            #expect(object?["a"] as? String == each.stored, "\(each.sent)")
        }
        #expect(bench.metrics[.storeRowsRejected] == 0)
        bench.close()
    }

    @Test("a call changed many times in one batch is one row, its last state", arguments: StoreKind.available)
    func merging(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        for round in 0..<50 {
            for number in 0..<20 {
                bench.commit.appendCall(
                    .test("m\(number)") {
                        $0.updatedAt = .test(Int64(round))
                        $0.hangupCause = UInt16(round + 1)
                    })
            }
        }
        bench.start()
        bench.settle()
        let calls = try bench.calls(CallFilter(limit: 1000))
        #expect(calls.count == 20)
        #expect(calls.allSatisfy { $0.hangupCause == 50 })
        #expect(bench.metrics[.storeCallsWritten] == 20)
        bench.close()
    }

    @Test("Bitrix24's id is written into the call's row", arguments: StoreKind.available)
    func crmIDs(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        bench.commit.appendCall(.test("crm-1"))
        bench.commit.appendCall(.test("crm-2"))
        bench.settle()
        for value in ["first", "externalCall.ab12"] {
            [UInt8]("crm-1".utf8).withUnsafeBytes { key in
                [UInt8](value.utf8).withUnsafeBytes { bench.commit.appendCRM(callID: key, bitrixCallID: $0) }
            }
        }
        bench.settle()
        // A later state of the call must not lose it.
        bench.commit.appendCall(.test("crm-1") { $0.updatedAt = .test(9) })
        bench.settle()
        #expect(try bench.call("crm-1")?.call.bitrixCallID == "externalCall.ab12")
        #expect(try bench.call("crm-2")?.call.bitrixCallID == nil)
        bench.close()
    }

    @Test(
        "actions for the CRM are released when their rows are durable, in order",
        arguments: StoreKind.available)
    func actionsFollowRows(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        var released: [String] = []
        var receipts = 0
        bench.commit.onDurable = { batch in
            for case .register(let call) in batch.crmActions { released.append(call.callID) }
            receipts += batch.receipts.reduce(0) { $0 + $1.rows }
        }
        for number in 0..<300 {
            for event in 0..<5 { bench.event("a\(number)", "e\(event)") }
            bench.commit.appendCall(.test("a\(number)"))
            bench.commit.attach(
                crm: .register(
                    CRMCall(
                        callID: "a\(number)", direction: .inbound, callerNumber: nil, calleeNumber: nil,
                        startedAt: .test(0))))
        }
        #expect(released.isEmpty)
        bench.start()
        bench.settle()
        #expect(released == (0..<300).map { "a\($0)" })
        #expect(receipts == 1500, "each event row has its receipt")
        #expect(bench.metrics[.storeBatches] >= 3)
        #expect(try bench.calls(CallFilter(limit: 1000)).count == 300)
        bench.close()
    }

    private func json(_ bytes: [UInt8]?) throws -> NSObject {
        let value = try JSONSerialization.jsonObject(
            with: Data(try #require(bytes)), options: .fragmentsAllowed)
        return try #require(value as? NSObject)
    }
}

extension StoreBench {
    /// Types of the stored events of a call, which need not have a row itself.
    func eventTypes(of callID: String) throws -> [String] {
        commit.appendCall(.test("") { _ in }, longTexts: LongTexts(callID: [UInt8](callID.utf8)))
        settle()
        return try call(callID)?.events.map(\.eventType) ?? []
    }
}
