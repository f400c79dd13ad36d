import CallEngine
import Foundation
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite(
    "A primary dies and its standby is promoted, under load", .serialized,
    .enabled(if: PostgresCluster.isInstalled, "no PostgreSQL here"))
struct FailoverTests {
    /// A primary and a standby that streams from it, with a store on both.
    private final class Pair {
        let primary: PostgresCluster
        let standby: PostgresCluster
        let bench: StoreBench
        var sent = 0

        init(settings: StoreSettings = StoreBench.quick) throws {
            primary = try PostgresCluster()
            try primary.execute("CREATE DATABASE pair", database: "postgres")
            standby = try PostgresCluster(standbyOf: primary)
            let hosts = "127.0.0.1:\(primary.port),127.0.0.1:\(standby.port)"
            bench = try StoreBench(
                url: "postgres://tester:\(primary.password)@\(hosts)/pair", settings: settings)
            bench.start()
        }

        /// Appends events and calls, and lets some of them go.
        func send(_ count: Int) {
            for _ in 0..<count {
                bench.event("f\(sent % 50)", "\(sent)", "\"\(String(repeating: "f", count: 300))\"", at: 1)
                if sent % 10 == 0 {
                    bench.commit.appendCall(
                        .test("f\(sent % 50)") {
                            $0.updatedAt = .test(Int64(sent))
                            $0.hangupCause = UInt16(sent % 60_000)
                        })
                }
                sent += 1
                if sent % 40 == 0 { bench.loop.runOnce(maximumWait: .zero) }
            }
        }

        /// Ends the streaming: what the primary takes from now on stays with it.
        func stopShipping() throws {
            try standby.set(["primary_conninfo": ""])
            bench.wait(for: "the stream to end") {
                (try? standby.execute("SELECT count(*) FROM pg_stat_wal_receiver", database: "pair")) == "0"
            }
        }

        func failOver() throws {
            try primary.stop()
            // The loss is seen and attempts are made before there is a new primary.
            send(200)
            bench.wait(for: "the loss to be seen") { !bench.commit.state.isConnected }
            try standby.promote()
            bench.wait(for: "the new primary") { bench.commit.state.isConnected }
        }

        /// What the promoted server has: events, and different ones.
        func stored() throws -> String {
            try standby.execute(
                "SELECT count(*), count(DISTINCT event_type) FROM call_events", database: "pair")
        }

        func end() throws {
            bench.close()
            try standby.stop()
        }
    }

    @Test("with synchronous replication nothing that was confirmed is lost, and nothing doubled")
    func synchronous() throws {
        let pair = try Pair()
        try pair.primary.set(["synchronous_standby_names": "*"])
        pair.send(4000)
        try pair.failOver()
        pair.send(2000)
        pair.bench.settle()
        #expect(try pair.stored() == "\(pair.sent)|\(pair.sent)")
        let calls = try pair.bench.calls(CallFilter(limit: 100))
        #expect(calls.count == 50 / 10)
        #expect(calls.allSatisfy { $0.updatedAt >= .test(Int64(pair.sent - 60)) }, "each in its last state")
        #expect(pair.bench.metrics[.storeFailovers] == 1)
        #expect(pair.bench.metrics[.storeFailoverRowsLost] == 0)
        #expect(pair.bench.metrics[.storeFailoverRowsRewritten] == 0)
        #expect(pair.bench.metrics[.storeEventsWritten] == pair.sent)
        #expect(pair.bench.log.count(containing: "it has all that was confirmed to us") == 1)
        try pair.end()
    }

    @Test(
        "without it the tail that was never shipped is known, and written again; a former primary is not written to"
    )
    func lagging() throws {
        let pair = try Pair()
        pair.send(3000)
        pair.bench.settle()
        try pair.stopShipping()
        // Confirmed by the primary, and known to nobody else: in small batches and large ones.
        for _ in 0..<30 {
            pair.send(7)
            pair.bench.settle()
        }
        pair.send(2500)
        pair.bench.settle()
        let confirmed = pair.bench.metrics[.storeEventsWritten]
        #expect(confirmed == pair.sent)
        try pair.failOver()
        pair.send(1000)
        pair.bench.settle()
        #expect(try pair.stored() == "\(pair.sent)|\(pair.sent)", "each once")
        let order = try pair.standby.execute(
            "SELECT count(*) FROM calls WHERE updated_at < timestamp '2026-02-04 20:00:00'", database: "pair")
        #expect(order == "0", "each call in its last state")
        #expect(pair.bench.metrics[.storeFailovers] == 1)
        #expect(pair.bench.metrics[.storeFailoverRowsLost] == 0)
        let rewritten = pair.bench.metrics[.storeFailoverRowsRewritten]
        #expect(rewritten >= 2710, "events and calls that were not shipped")
        #expect(pair.bench.log.count(containing: "they are written again: \(rewritten) rows in") == 1)
        #expect(pair.bench.metrics[.storeEventsWritten] == pair.sent, "they count once")

        // The dead one rises and takes rows as if nothing had been; it stands first in DATABASE_URL.
        try pair.primary.start()
        try pair.standby.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'callflow-fast'",
            database: "pair")
        pair.send(500)
        pair.bench.settle()
        #expect(try pair.stored() == "\(pair.sent)|\(pair.sent)")
        #expect(pair.bench.metrics[.storeFailovers] == 1)
        let former = try pair.primary.execute("SELECT count(*) FROM call_events", database: "pair")
        #expect((Int(former) ?? .max) <= confirmed + 200, "nothing went to the former primary")
        try pair.primary.stop()
        try pair.end()
    }

    @Test("what nobody holds any more is counted to the row, and said")
    func lost() throws {
        var settings = StoreBench.quick
        settings.confirmedTailBytes = 0
        let pair = try Pair(settings: settings)
        pair.send(500)
        pair.bench.settle()
        try pair.stopShipping()
        let shipped = pair.sent
        for _ in 0..<5 {
            pair.send(100)
            pair.bench.settle()
        }
        let gone = pair.sent - shipped
        try pair.failOver()
        pair.send(300)
        pair.bench.settle()
        let stored = try pair.stored()
        #expect(stored == "\(pair.sent - gone)|\(pair.sent - gone)", "no more than what was not shipped")
        // Calls travel with events: one row for each that changed in a batch.
        let lost = pair.bench.metrics[.storeFailoverRowsLost]
        #expect(lost >= gone)
        #expect(lost <= gone + 5 * 50)
        #expect(pair.bench.metrics[.storeFailoverRowsRewritten] == 0)
        #expect(pair.bench.log.count(containing: "\(lost) rows in") == 1)
        #expect(pair.bench.log.count(containing: "batches are lost") == 1)
        try pair.end()
    }

    @Test("while there is no primary a standby answers reads; writes wait")
    func readsGoOn() throws {
        let pair = try Pair()
        pair.send(200)
        pair.bench.settle()
        _ = try pair.bench.calls()
        pair.bench.wait(for: "the standby to have it") {
            (try? pair.stored()) == "\(pair.sent)|\(pair.sent)"
        }
        try pair.primary.stop()
        var answer: [StoredCall]?
        pair.bench.wait(for: "an answer by the standby") {
            pair.bench.reader.calls(CallFilter()) { if case .success(let calls) = $0 { answer = calls } }
            return answer != nil
        }
        #expect(answer?.isEmpty == false)
        #expect(!pair.bench.commit.state.isConnected)
        try pair.standby.promote()
        pair.send(50)
        pair.bench.settle()
        #expect(try pair.stored() == "\(pair.sent)|\(pair.sent)")
        try pair.end()
    }
}
