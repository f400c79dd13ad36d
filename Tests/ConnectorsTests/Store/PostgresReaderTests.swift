import CallEngine
import Foundation
import Protocols
import Reactor
import Synchronization
import Testing

@testable import Connectors

@Suite("Reads are answered in time, whatever the server does", .enabled(if: PostgresCluster.isInstalled))
struct PostgresReaderTests {
    private func bench(readTimeout: Duration, connections: Int = 2) throws -> StoreBench {
        var settings = StoreBench.quick
        settings.readTimeout = readTimeout
        settings.readConnections = connections
        let bench = try StoreBench(.postgres, settings: settings)
        bench.start()
        bench.commit.appendCall(.test("r"))
        bench.event("r", "one")
        bench.settle()
        return bench
    }

    /// Process ids of the sessions that read.
    private func readers(_ bench: StoreBench) throws -> [pid_t] {
        try PostgresCluster.shared().execute(
            """
            SELECT pid FROM pg_stat_activity WHERE datname = '\(bench.database)' AND query ILIKE '%SELECT%call%'
                AND query NOT ILIKE '%pg_stat_activity%' AND query NOT ILIKE '%callflow_writers%'
            """, database: "postgres"
        ).split(separator: "\n").compactMap { pid_t($0) }
    }

    /// Locks a table from another session.
    private func lock(_ table: String, _ bench: StoreBench) throws -> PostgresConnection {
        guard case .postgres(let location) = try StoreLocation(databaseURL: bench.url) else {
            throw StoreError.configuration("not PostgreSQL")
        }
        let other = try PostgresConnector(location: location, settings: StoreSettings()).connect(for: .upkeep)
            .get()
        try other.execute("BEGIN; LOCK TABLE \(table)")
        return other
    }

    @Test(
        "a server that stands still costs its connection and no more than the limit; then reads go on elsewhere"
    )
    func frozen() throws {
        let bench = try bench(readTimeout: .milliseconds(600), connections: 1)
        _ = try bench.calls()
        let session = try #require(try readers(bench).first)
        #expect(kill(session, SIGSTOP) == 0)
        var failures: [StoreError] = []
        for _ in 0..<5 {
            bench.reader.calls(CallFilter()) { if case .failure(let error) = $0 { failures.append(error) } }
        }
        bench.wait(for: "five refusals while it stands still") { failures.count == 5 }
        for failure in failures {
            guard case .unavailable = failure else {
                Issue.record("\(failure)")
                continue
            }
        }
        // The server itself is well: the next connection answers though the first still stands.
        bench.wait(for: "another connection") { bench.reader.state.isConnected }
        #expect(try bench.calls().count == 1)
        #expect(kill(session, SIGCONT) == 0)
        #expect(bench.metrics[.storeReconnects] == 0, "the writer's connection is another")
        bench.close()
    }

    @Test("a slow read ends by the server's clock, keeps its connection, and keeps no other read waiting")
    func slow() throws {
        let bench = try bench(readTimeout: .seconds(3))
        // Two at once open the second connection.
        var answered = 0
        for _ in 0..<2 { bench.reader.calls(CallFilter()) { _ in answered += 1 } }
        bench.wait(for: "both connections") {
            answered == 2 && (try? readers(bench).count) == 2
        }
        let other = try lock("call_events", bench)
        var events: Result<StoredCallWithEvents?, StoreError>?
        bench.reader.call(id: "r") { events = $0 }
        // Lists go by the second connection, all the time that the first waits.
        var lists = 0
        while events == nil {
            #expect(try bench.calls().count == 1)
            lists += 1
            if lists > 100_000 { break }
        }
        #expect(lists > 1)
        guard case .failure(.transient) = try #require(events) else {
            Issue.record("\(String(describing: events))")
            return
        }
        #expect(bench.reader.state.isConnected)
        try other.execute("COMMIT")
        #expect(try bench.call("r")?.events.count == 1)
        bench.close()
    }

    @Test("a large answer is read on while there is more of it, not a piece with each turn of the loop")
    func largeAnswer() throws {
        let bench = try StoreBench(.postgres, gathering: .milliseconds(4))
        bench.start()
        bench.commit.appendCall(.test("long"))
        let payload = #"{"text": "\#(String(repeating: "x", count: 1_500))"}"#
        let count = 3_000
        for number in 0..<count { bench.event("long", "one", payload, at: Int64(number)) }
        bench.settle()
        let before = bench.loop.counters.ticks
        let events = try #require(try bench.call("long")).events
        let ticks = bench.loop.counters.ticks - before
        #expect(events.count == count)
        #expect(events.allSatisfy { $0.payload == Array(payload.utf8) })
        // libpq takes 16 KiB at a time: 280 pieces.
        #expect(ticks < 140, "\(ticks) turns")
        bench.close()
    }

    @Test("however much is asked, reads take no more connections than they are given")
    func bound() throws {
        let bench = try bench(readTimeout: .seconds(20), connections: 3)
        let other = try lock("calls", bench)
        var answered = 0
        for _ in 0..<40 { bench.reader.calls(CallFilter()) { _ in answered += 1 } }
        let waiting =
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = '\(bench.database)')"
        bench.wait(for: "three that wait for the lock") {
            (try? PostgresCluster.shared().execute(waiting, database: "postgres")) == "3"
        }
        #expect(answered == 0)
        try other.execute("COMMIT")
        bench.wait(for: "all answers") { answered == 40 }
        #expect(try readers(bench).count <= 3)
        bench.close()
    }
}
