import CallEngine
import Foundation
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite("A row that the database refuses costs only itself")
struct DeadLetterTests {
    /// What `dead_letters` holds, one text a row.
    private func deadLetters(_ bench: StoreBench) throws -> [String] {
        let columns = "row_kind || '|' || call_id || '|' || coalesce(event_type, '') || '|' || code"
        if let path = bench.url.split(separator: ":").last, bench.url.hasPrefix("sqlite:") {
            let database = try SQLiteDatabase(path: String(path), forWriting: false)
            let statement = try database.prepare("SELECT \(columns) FROM dead_letters ORDER BY id")
            var rows: [String] = []
            while try statement.step() { rows.append(statement.string(0) ?? "") }
            return rows
        }
        return try PostgresCluster.shared()
            .execute("SELECT \(columns) FROM dead_letters ORDER BY id", database: bench.database)
            .split(separator: "\n").map(String.init)
    }

    /// Makes the database refuse events of type `bad`, calls and ids of calls that begin with `bad`.
    private func poison(_ bench: StoreBench) throws {
        guard let path = bench.url.split(separator: ":").last, bench.url.hasPrefix("sqlite:") else {
            try PostgresCluster.shared().execute(
                """
                ALTER TABLE call_events ADD CHECK (event_type <> 'bad');
                ALTER TABLE calls ADD CHECK (call_id NOT LIKE 'bad%');
                ALTER TABLE calls ADD CHECK (bitrix_call_id NOT LIKE 'bad%')
                """, database: bench.database)
            return
        }
        let database = try SQLiteDatabase(path: String(path), forWriting: true)
        try database.execute(
            """
            CREATE TRIGGER e BEFORE INSERT ON call_events WHEN NEW.event_type = 'bad'
                BEGIN SELECT RAISE(ABORT, 'bad event'); END;
            CREATE TRIGGER c BEFORE INSERT ON calls WHEN NEW.call_id LIKE 'bad%'
                BEGIN SELECT RAISE(ABORT, 'bad call'); END;
            CREATE TRIGGER u BEFORE UPDATE ON calls WHEN NEW.bitrix_call_id LIKE 'bad%'
                BEGIN SELECT RAISE(ABORT, 'bad id'); END
            """)
    }

    @Test(
        "events, calls and ids of the CRM that are refused become dead letters, with the rest in one transaction",
        arguments: StoreKind.available)
    func everyKind(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        try poison(bench)
        bench.commit.appendCall(.test("good-1"))
        bench.settle()
        for number in 0..<40 {
            bench.event("good-1", [3, 4, 17, 39].contains(number) ? "bad" : "fine", #"{"n":\#(number)}"#)
        }
        for call in ["good-2", "bad-1", "good-3", "bad-2"] { bench.commit.appendCall(.test(call)) }
        for (call, id) in [("good-2", "bad-id"), ("good-1", "fine-id")] {
            [UInt8](call.utf8).withUnsafeBytes { call in
                [UInt8](id.utf8).withUnsafeBytes { bench.commit.appendCRM(callID: call, bitrixCallID: $0) }
            }
        }
        bench.settle()
        let code = kind == .sqlite ? "1811" : "23514"
        #expect(
            try deadLetters(bench).sorted()
                == ([String](repeating: "event|good-1|bad|\(code)", count: 4) + [
                    "call|bad-1||\(code)", "call|bad-2||\(code)", "crm_update|good-2||\(code)",
                ]).sorted())
        let written = try #require(try bench.call("good-1"))
        #expect(written.events.count == 36)
        #expect(written.call.bitrixCallID == "fine-id")
        #expect(try bench.calls().map(\.callID).sorted() == ["good-1", "good-2", "good-3"])
        #expect(bench.metrics[.storeRowsRejected] == 7)
        #expect(bench.metrics[.storeEventsWritten] == 36)
        #expect(bench.log.count(containing: "is now a dead letter") == 7)
        // The next ones go the usual way again.
        bench.event("good-3")
        bench.settle()
        #expect(try bench.call("good-3")?.events.count == 1)
        bench.close()
    }

    @Test(
        "a row that a deferred constraint refuses at the commit is found, and no row that the constraint allows",
        .enabled(if: PostgresCluster.isInstalled, "no PostgreSQL here"), arguments: [40, 6000])
    func deferred(_ count: Int) throws {
        let bench = try StoreBench(.postgres)
        let setUp = try StoreBench(url: bench.url)
        setUp.start()
        setUp.close()
        try PostgresCluster.shared().execute(
            """
            ALTER TABLE call_events ADD FOREIGN KEY (call_id) REFERENCES calls (call_id) DEFERRABLE INITIALLY DEFERRED;
            CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE 'too late' USING ERRCODE = '23000'; END $$;
            CREATE CONSTRAINT TRIGGER late AFTER INSERT ON calls DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
                WHEN (NEW.call_id = 'late') EXECUTE FUNCTION late()
            """, database: bench.database)
        bench.start()
        if count > WriteBatch.maximumEvents {
            // Most go as a train, and batches behind one that is written with care pass it.
            bench.commit.appendCall(.test("somebody"))
            bench.settle()
        }
        for number in 0..<count {
            bench.event(number % 700 == 20 ? "nobody" : "somebody", "e", "\(number)")
        }
        // Behind its events in the same transaction, which a deferred constraint allows.
        bench.commit.appendCall(.test("somebody"))
        bench.commit.appendCall(.test("late"))
        bench.settle()
        let bad = (0..<count).count { $0 % 700 == 20 }
        let letters = try deadLetters(bench)
        #expect(letters.count { $0 == "event|nobody|e|23503" } == bad)
        #expect(letters.contains("call|late||23000"))
        #expect(try bench.calls().map(\.callID) == ["somebody"])
        #expect(bench.metrics[.storeEventsWritten] == count - bad)
        #expect(bench.metrics[.storeReconnects] == 0)
        #expect(letters.count == bad + 1)
        bench.close()
    }

    @Test("a batch of nothing but refused rows is done, once", arguments: StoreKind.available)
    func allBad(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        try poison(bench)
        for number in 0..<120 { bench.event("c\(number)", "bad") }
        bench.settle()
        #expect(try deadLetters(bench).count == 120)
        #expect(bench.metrics[.storeRowsRejected] == 120)
        #expect(bench.log.count(containing: "is now a dead letter") == GroupCommit.maximumRefusalLines)
        #expect(bench.log.count(containing: "and 110 more rows") == 1)
        bench.close()
    }

    @Test(
        "two rows that exclude each other: the first stays",
        .enabled(if: PostgresCluster.isInstalled, "no PostgreSQL here"))
    func exclusive() throws {
        let bench = try StoreBench(.postgres)
        bench.start()
        try PostgresCluster.shared().execute(
            "CREATE UNIQUE INDEX ON calls (caller_number)", database: bench.database)
        for number in 0..<9 {
            bench.commit.appendCall(
                .test("x\(number)") { $0.callerNumber.set(number % 8 == 0 ? "same" : "\(number)") })
        }
        bench.settle()
        #expect(try bench.calls().map(\.callID).sorted() == (0..<8).map { "x\($0)" })
        #expect(try deadLetters(bench) == ["call|x8||23505"])
        bench.close()
    }

    @Test(
        "sessions ended in the middle of careful writes: every row once, in its table or among the dead",
        .enabled(if: PostgresCluster.isInstalled, "no PostgreSQL here"), arguments: [1, 2, 3])
    func cutWhileCareful(_ seed: Int) throws {
        let bench = try StoreBench(.postgres)
        bench.start()
        try poison(bench)
        let cluster = try PostgresCluster.shared()
        var sent = 0
        for round in 0..<12 {
            for _ in 0..<150 {
                bench.event("k", sent % 50 == 7 ? "bad" : "e", "\(sent)")
                sent += 1
            }
            // A careful write of 150 rows takes some 20 turns; the cut falls anywhere in it.
            for _ in 0..<(round * 7 * seed) % 23 { bench.loop.runOnce(maximumWait: .milliseconds(1)) }
            try cluster.execute(
                """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = '\(bench.database)' AND application_name = 'callflow-fast'
                """, database: "postgres")
        }
        bench.settle()
        let rows = try cluster.execute(
            """
            SELECT count(*), count(DISTINCT payload::text) FROM call_events;
            SELECT count(*), count(DISTINCT payload) FROM dead_letters
            """, database: bench.database)
        let bad = (0..<sent).count { $0 % 50 == 7 }
        #expect(rows == "\(sent - bad)|\(sent - bad)\n\(bad)|\(bad)")
        #expect(bench.metrics[.storeRowsRejected] == bad)
        bench.close()
    }

    @Test("what is known to be refused is prevented: no dead letters", arguments: StoreKind.available)
    func prevented(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind)
        bench.start()
        bench.event("p", "e", #"{"a":"\u0000\ud800x","b":1e200000,"c":[-3.5e-99999]}"#, repair: true)
        bench.event(Array("nul\0id".utf8), Array(String(repeating: "t", count: 999).utf8), Array("1".utf8))
        bench.settle()
        #expect(try deadLetters(bench).isEmpty)
        let payload = try #require(try bench.call("p")?.events.first?.payload ?? Self.onlyPayload(bench))
        let object = try #require(
            try JSONSerialization.jsonObject(with: Data(payload)) as? [String: Any])
        #expect(object["b"] as? String == "1e200000")
        #expect(object["a"] as? String == "\u{FFFD}\u{FFFD}x")
        bench.close()
    }

    /// Events without a call are not found through the API.
    private static func onlyPayload(_ bench: StoreBench) throws -> [UInt8]? {
        if bench.url.hasPrefix("sqlite:"), let path = bench.url.split(separator: ":").last {
            let database = try SQLiteDatabase(path: String(path), forWriting: false)
            return try database.text("SELECT payload FROM call_events WHERE call_id = 'p'").map {
                [UInt8]($0.utf8)
            }
        }
        return [UInt8](
            try PostgresCluster.shared().execute(
                "SELECT payload FROM call_events WHERE call_id = 'p'", database: bench.database
            ).utf8)
    }
}
