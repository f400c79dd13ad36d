import CallEngine
import Foundation
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite("Steps for CRMs: in the transaction of their call, claimed once, in both stores")
struct CRMStepsTests {
    private static func settings(_ change: (inout StoreSettings) -> Void = { _ in }) -> StoreSettings {
        var settings = StoreBench.quick
        settings.crmTargets = ["bitrix24"]
        change(&settings)
        return settings
    }

    static func call(_ id: String, pbx: UInt16 = 0) -> CRMCall {
        var call = CRMCall(
            callID: id, direction: .inbound, callerNumber: "+79995550101", calleeNumber: "214",
            startedAt: .test(1), answeredAt: .test(2), endedAt: .test(3), outcome: .answered, hangupCause: 16)
        call.pbx = pbx
        call.outcomeRule = .talk
        call.sipCode = 200
        call.hungUpBy = .caller
        call.talkStartedAt = .test(2)
        call.talkMicroseconds = 61_000_000
        call.answeredBy = "214"
        call.operatorNumber = "215"
        call.transferredBy = "216"
        call.transferredTo = "217 \"quoted\" ж"
        call.queue = "sales"
        return call
    }

    private static func key(_ callID: String, _ kind: CRMStepKind = .register) -> CRMStepKey {
        CRMStepKey(callID: callID, kind: kind)
    }

    @Test("a call comes back from a row as it was told")
    func json() throws {
        let call = Self.call("c\u{1}\"ж")
        #expect(CRMCall(json: call.json) == call)
        let bare = CRMCall(
            callID: "b", direction: .unknown, callerNumber: nil, calleeNumber: nil, startedAt: .test(1))
        #expect(CRMCall(json: bare.json) == bare)
        #expect(CRMCall(json: [UInt8](#"{"id":"x"}"#.utf8)) == nil)
        #expect(CRMCall(json: [UInt8]("[]".utf8)) == nil)
        #expect(CRMCall(json: [UInt8](#"{"id":"x","started_us":1,"newer":[1]}"#.utf8))?.callID == "x")
    }

    @Test("written with the call, each step once, whatever comes again", arguments: StoreKind.available)
    func written(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind, settings: Self.settings { $0.crmTargets = ["bitrix24", "webhook"] })
        bench.start()
        for _ in 0..<2 {
            bench.commit.appendCall(.test("a"))
            bench.commit.attach(crm: .register(Self.call("a", pbx: 1)))
            bench.commit.attach(crm: .finish(Self.call("a", pbx: 1)))
            bench.settle()
        }
        for target in ["bitrix24", "webhook"] {
            let steps = StepsBench(bench, target)
            let rows = try steps.load(.page(after: 0, limit: 10))
            #expect(rows.next == nil)
            #expect(rows.steps.map(\.key) == [Self.key("a"), Self.key("a", .finish)])
            #expect(rows.steps.map(\.state) == [.waiting, .waiting])
            #expect(rows.steps.map(\.pbx) == ["branch", "branch"])
            #expect(rows.steps.map(\.target) == [target, target])
            var call = Self.call("a")
            call.pbx = 0
            #expect(rows.steps.map(\.call) == [call, call])
            #expect(rows.steps.allSatisfy { $0.attempts == 0 && $0.age < .seconds(60) && $0.sentAgo == nil })
            steps.stop()
        }
        bench.close()
    }

    @Test("a claim is granted once, to one sender", arguments: StoreKind.available)
    func claims(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind, settings: Self.settings())
        bench.start()
        for id in ["a", "b", "c"] {
            bench.commit.attach(crm: .register(Self.call(id)))
            bench.commit.attach(crm: .finish(Self.call(id)))
        }
        bench.settle()
        let steps = StepsBench(bench)
        let other = StepsBench(bench)
        let wanted = [
            CRMStepClaim(Self.key("b", .finish), user: "user 7"), CRMStepClaim(Self.key("a"), user: "user 8"),
            CRMStepClaim(Self.key("nobody"), user: nil),
        ]
        let mine = try steps.claim(wanted)
        #expect(mine == [Self.key("a"), Self.key("b", .finish)])
        // Another sender gets none of them; ours again, should the answer have been lost.
        #expect(try other.claim(wanted).isEmpty)
        #expect(try steps.claim(wanted) == mine)
        var rows = try steps.load(.calls(["a", "b"])).steps
        #expect(rows.map(\.state) == [.sending, .waiting, .waiting, .sending])
        #expect(rows.map(\.user) == ["user 8", nil, nil, "user 7"])
        #expect(rows.map { $0.sentAgo != nil } == [true, false, false, true])
        #expect(rows.map(\.attempts) == [2, 0, 0, 2])

        // What became of them; the newest counts, and an error goes when there is none any more.
        steps.steps.write([
            CRMStepChange(Self.key("a"), .doubtful, attempts: 3, dueIn: .seconds(600), error: "cut\0 ж"),
            CRMStepChange(Self.key("b", .finish), .failed, attempts: 4, error: "no"),
        ])
        steps.steps.write([
            CRMStepChange(Self.key("b", .finish), .done, attempts: 5, crmCallID: "externalCall.1")
        ])
        rows = try steps.load(.calls(["a", "b"])).steps
        #expect(rows.map(\.state) == [.doubtful, .waiting, .waiting, .done])
        #expect(rows.map(\.attempts) == [3, 0, 0, 5])
        #expect(rows[0].lastError == "cut\u{FFFD} ж" && rows[3].lastError == nil)
        #expect(rows[0].dueIn > .seconds(500) && rows[0].dueIn <= .seconds(600))
        #expect(rows[3].crmCallID == "externalCall.1")
        // Settled is settled; what is in doubt may be taken by anybody.
        #expect(
            try other.claim([
                CRMStepClaim(Self.key("b", .finish), user: nil), CRMStepClaim(Self.key("a"), user: nil),
            ]) == [Self.key("a")])
        #expect(try other.load(.calls(["a"])).steps.first?.user == "user 8", "a repeat says the same")
        steps.stop()
        other.stop()
        bench.close()
    }

    @Test(
        "what another sender left under way may be taken over once it must be over",
        arguments: StoreKind.available)
    func abandoned(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind, settings: Self.settings())
        bench.start()
        for id in ["old", "new"] { bench.commit.attach(crm: .register(Self.call(id))) }
        bench.settle()
        let former = StepsBench(bench)
        _ = try former.claim([
            CRMStepClaim(Self.key("old"), user: nil), CRMStepClaim(Self.key("new"), user: nil),
        ])
        former.stop()
        try bench.change(
            postgres:
                "UPDATE callflow_crm_steps SET sent_at = sent_at - interval '61 s' WHERE call_id = 'old'",
            sqlite: "UPDATE callflow_crm_steps SET sent_at = sent_at - 61000000 WHERE call_id = 'old'")
        let steps = StepsBench(bench)
        #expect(
            try steps.claim([
                CRMStepClaim(Self.key("old"), user: nil), CRMStepClaim(Self.key("new"), user: nil),
            ]) == [Self.key("old")])
        steps.stop()
        bench.close()
    }

    @Test("pages of open steps, whole calls, each once", arguments: StoreKind.available)
    func pages(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind, settings: Self.settings())
        bench.start()
        // In the order of their names, which is that of a batch's rows.
        let names = (0..<20).map { "c\($0 / 10)\($0 % 10)" }
        for name in names { bench.commit.attach(crm: .register(Self.call(name))) }
        bench.settle()
        for name in names { bench.commit.attach(crm: .finish(Self.call(name))) }
        bench.settle()
        try bench.change("UPDATE callflow_crm_steps SET pbx = 'elsewhere' WHERE call_id = 'c04'")
        let steps = StepsBench(bench)
        steps.steps.write([
            CRMStepChange(Self.key("c03"), .done, attempts: 1),
            CRMStepChange(Self.key("c05"), .done, attempts: 1),
            CRMStepChange(Self.key("c05", .finish), .skipped, attempts: 1),
        ])
        let first = try steps.load(.page(after: 0, limit: 7))
        // 0, 1, 2, 6, 7, 8, 9: of 3 only the finish is open, 4 is another daemon's, 5 is settled.
        #expect(Set(first.steps.map(\.key.callID)) == Set([0, 1, 2, 6, 7, 8, 9].map { "c0\($0)" }))
        #expect(first.steps.count == 14)
        #expect(first.steps.map(\.id) == first.steps.map(\.id).sorted())
        var seen = first.steps
        var next = first.next
        var pages = 1
        while let after = next, pages < 20 {
            let page = try steps.load(.page(after: after, limit: 7))
            seen += page.steps
            next = page.next
            pages += 1
        }
        #expect(pages == 6, "37 open rows of ours")
        #expect(Set(seen.map(\.key)).count == 2 * 18)
        #expect(seen.first { $0.key == Self.key("c03") }?.state == .done)
        steps.stop()
        bench.close()
    }

    @Test("settled rows leave when they are old", arguments: StoreKind.available)
    func prune(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind, settings: Self.settings())
        bench.start()
        for number in 0..<2_500 { bench.commit.attach(crm: .register(Self.call("c\(number)"))) }
        bench.settle()
        try bench.change(
            """
            UPDATE callflow_crm_steps SET state = 'done' WHERE id % 10 <> 0;
            UPDATE callflow_crm_steps SET state = 'failed' WHERE id % 10 = 1
            """)
        try bench.change(
            postgres: """
                UPDATE callflow_crm_steps SET created_at = created_at - interval '31 days',
                    updated_at = updated_at - interval '31 days' WHERE id <= 2400
                """,
            sqlite: """
                UPDATE callflow_crm_steps SET created_at = created_at - 2678400000000,
                    updated_at = updated_at - 2678400000000 WHERE id <= 2400
                """)
        let backend = bench.backend()
        backend.start()
        bench.wait(for: "the steps' connection") { backend.isReady }
        var removed = 0
        var next: Int64? = 0
        var rounds = 0
        while let after = next, rounds < 10 {
            var answer: Result<CRMStepAnswer, StoreError>?
            backend.perform(.prune(days: 30, after: after)) { answer = $0 }
            bench.wait(for: "old rows to be removed") { answer != nil }
            guard case .pruned(let count, let following)? = try answer?.get() else {
                Issue.record("another answer: \(String(describing: answer))")
                return
            }
            removed += count
            next = following
            rounds += 1
        }
        #expect(removed == 2_400 - 240, "what is open stays however old it is")
        #expect(rounds == 3)
        backend.stop()
        bench.close()
    }

    @Test(
        "lists for a person: open ones from the oldest, failed ones from the newest",
        arguments: StoreKind.available)
    func lists(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind, settings: Self.settings())
        bench.start()
        for number in 0..<5 {
            bench.commit.attach(crm: .register(Self.call("c\(number)")))
            bench.settle()
        }
        try bench.change("UPDATE callflow_crm_steps SET state = 'failed', last_error = 'why' WHERE id <= 3")
        func list(_ query: CRMStepQuery) throws -> CRMStepList {
            var answer: Result<CRMStepList, StoreError>?
            bench.reader.steps(query) { answer = $0 }
            bench.wait(for: "a list of steps") { answer != nil }
            return try #require(answer).get()
        }
        let failed = try list(CRMStepQuery(.failed, limit: 2))
        #expect(failed.steps.map(\.key.callID) == ["c2", "c1"])
        #expect(failed.total == 3)
        #expect(failed.steps.first?.lastError == "why")
        let rest = try list(CRMStepQuery(.failed, limit: 2, after: failed.next))
        #expect(rest.steps.map(\.key.callID) == ["c0"] && rest.next == nil)
        let open = try list(CRMStepQuery(.open, limit: 2))
        #expect(open.steps.map(\.key.callID) == ["c3", "c4"] && open.next == nil && open.total == 2)
        #expect(open.steps.first?.call?.callerNumber == "+79995550101")
        #expect(try list(CRMStepQuery(.open, after: open.steps.last?.id)).steps.isEmpty)
        bench.close()
    }

    @Test(
        "an operator's retry opens what failed, and doubts what may be there", arguments: StoreKind.available)
    func retry(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind, settings: Self.settings())
        bench.start()
        for id in ["pair", "refused", "late", "well"] {
            bench.commit.attach(crm: .register(Self.call(id)))
            bench.commit.attach(crm: .finish(Self.call(id)))
        }
        bench.settle()
        let steps = StepsBench(bench)
        // Both sent at once, no answer; the register alone; the finish alone.
        _ = try steps.claim([
            CRMStepClaim(Self.key("pair"), user: nil), CRMStepClaim(Self.key("pair", .finish), user: nil),
            CRMStepClaim(Self.key("refused"), user: nil), CRMStepClaim(Self.key("late"), user: nil),
            CRMStepClaim(Self.key("late", .finish), user: nil),
        ])
        steps.steps.write(
            ["pair", "refused", "late"].map {
                CRMStepChange(Self.key($0, .finish), .failed, attempts: 9, error: "x")
            }
                + ["pair", "refused"].map { CRMStepChange(Self.key($0), .failed, attempts: 9, error: "y") }
                + [CRMStepChange(Self.key("late"), .done, attempts: 1, crmCallID: "externalCall.1")])
        _ = try steps.load(.calls([]))
        let desk = try bench.desk()
        #expect(
            try desk.counts().map { "\($0.kind) \($0.state) \($0.count)" }.sorted() == [
                "finish failed 3", "finish waiting 1", "register done 1", "register failed 2",
                "register waiting 1",
            ])
        #expect(
            try desk.reasons().map { "\($0.count) \($0.state) \($0.text)" } == ["3 failed x", "2 failed y"])
        #expect(try desk.retry(dryRun: true) == 3)
        #expect(try desk.counts().contains { $0.state == "failed" }, "a dry run changes nothing")
        #expect(try desk.retry(dryRun: false) == 3)
        let rows = try steps.load(.calls(["late", "pair", "refused"])).steps
        let states = Dictionary(uniqueKeysWithValues: rows.map { ($0.key, $0.state) })
        #expect(states[Self.key("pair")] == .doubtful && states[Self.key("pair", .finish)] == .doubtful)
        #expect(states[Self.key("refused")] == .waiting && states[Self.key("refused", .finish)] == .waiting)
        #expect(states[Self.key("late")] == .done && states[Self.key("late", .finish)] == .waiting)
        #expect(rows.allSatisfy { $0.state == .done || $0.attempts == 0 })
        steps.stop()
        bench.close()
    }

    @Test(
        "a time is told again: what was told is compared, what is under way is left",
        arguments: StoreKind.available)
    func resend(_ kind: StoreKind) throws {
        let bench = try StoreBench(kind, settings: Self.settings())
        bench.start()
        // More than a page, of one second, so that the order is by id.
        let count = 1_200
        for number in 0..<count {
            bench.commit.appendCall(
                .test("n\(number)") {
                    $0.startedAt = .test(100 + Int64(number / 400))
                    $0.endedAt = .test(110 + Int64(number / 400))
                    $0.status = .finished
                    $0.outcome = .noAnswer
                    $0.direction = .inbound
                    $0.callerNumber.set("+79995550199")
                })
        }
        for (id, start, status) in [
            ("told", 100, CallStatus.finished), ("under way", 100, .finished), ("skipped", 100, .finished),
            ("goes on", 100, .answered), ("before", 99, .finished), ("after", 103, .finished),
        ] {
            bench.commit.appendCall(
                .test(id) {
                    $0.startedAt = .test(Int64(start))
                    $0.status = status
                    $0.endedAt = status == .finished ? .test(120) : nil
                    $0.outcome = status == .finished ? .answered : .none
                })
        }
        for id in ["told", "under way", "skipped"] {
            bench.commit.attach(crm: .register(Self.call(id)))
            bench.commit.attach(crm: .finish(Self.call(id)))
        }
        bench.settle()
        let steps = StepsBench(bench)
        for (id, state) in [("told", CRMStepState.done), ("skipped", .skipped)] {
            steps.steps.write([
                CRMStepChange(Self.key(id), state, attempts: 1, crmCallID: "externalCall.old"),
                CRMStepChange(Self.key(id, .finish), state, attempts: 1),
            ])
        }
        _ = try steps.load(.calls([]))
        let desk = try bench.desk()
        let wanted = CRMStepDesk.Resent(new: count, doubted: 2)
        #expect(try desk.resend(from: .test(100), to: .test(103), target: "bitrix24", dryRun: true) == wanted)
        #expect(try steps.load(.calls(["n1"])).steps.isEmpty)
        #expect(
            try desk.resend(from: .test(100), to: .test(103), target: "bitrix24", dryRun: false) == wanted)
        let rows = try steps.load(
            .calls(["n1", "n1199", "told", "under way", "skipped", "goes on", "before", "after"]))
        let states = Dictionary(grouping: rows.steps, by: \.key.callID).mapValues { $0.map(\.state) }
        #expect(
            states == [
                "n1": [.waiting, .waiting], "n1199": [.waiting, .waiting], "told": [.doubtful, .doubtful],
                "under way": [.waiting, .waiting], "skipped": [.waiting, .waiting],
            ])
        let new = try #require(rows.steps.first { $0.key == Self.key("n1", .finish) })
        #expect(new.call?.outcome == .noAnswer && new.call?.callerNumber == "+79995550199")
        #expect(new.call?.startedAt == .test(100) && new.call?.endedAt == .test(110) && new.pbx == "main")
        #expect(rows.steps.first { $0.key == Self.key("told") }?.crmCallID == nil, "it is looked up anew")
        // What is on its way now is left alone.
        let again = CRMStepDesk.Resent(new: 0, doubted: 0)
        #expect(try desk.resend(from: .test(100), to: .test(103), target: "bitrix24", dryRun: false) == again)
        steps.stop()
        bench.close()
    }

    @Test("through the spool while the database is away", .enabled(if: PostgresCluster.isInstalled))
    func spooled() throws {
        let path = "/tmp/callflow-steps-\(UInt64.random(in: 0...UInt64.max)).spool"
        defer {
            for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + suffix) }
        }
        let cluster = try PostgresCluster()
        try cluster.execute("CREATE DATABASE steps", database: "postgres")
        let bench = try StoreBench(
            url: cluster.url(database: "steps"),
            settings: Self.settings {
                $0.spool = SpoolSettings(path: path, maximumBytes: 64 << 20)
            })
        var told = 0
        bench.commit.onDurable = { told += $0.crmActions.count }
        bench.start()
        try cluster.stop()
        bench.wait(for: "the loss to be seen") { !bench.commit.state.isConnected }
        for number in 0..<50 {
            bench.commit.appendCall(.test("s\(number)"))
            bench.commit.attach(crm: .register(Self.call("s\(number)", pbx: 1)))
            bench.commit.attach(crm: .finish(Self.call("s\(number)", pbx: 1)))
        }
        bench.wait(for: "the rows to be in the spool") {
            bench.commit.spooledBatches > 0 && bench.commit.waitingBytes == 0
        }
        #expect(told == 0, "the CRM hears only of what the database has")
        try cluster.start()
        bench.settle()
        #expect(told == 100)
        let steps = StepsBench(bench)
        let rows = try steps.load(.page(after: 0, limit: 500)).steps
        #expect(rows.count == 100)
        #expect(rows.allSatisfy { $0.pbx == "branch" && $0.call?.talkMicroseconds == 61_000_000 })
        steps.stop()
        bench.close()
    }

    @Test(
        "a lost connection: what was asked is done by the next one", .enabled(if: PostgresCluster.isInstalled)
    )
    func reconnects() throws {
        let bench = try StoreBench(.postgres, settings: Self.settings())
        bench.start()
        for number in 0..<5 { bench.commit.attach(crm: .register(Self.call("r\(number)"))) }
        bench.settle()
        let steps = StepsBench(bench)
        _ = try steps.load(.page(after: 0, limit: 1))
        let cluster = try PostgresCluster.shared()
        for number in 0..<5 {
            try cluster.execute(
                """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = '\(bench.database)' AND query LIKE '%callflow_crm_steps%' AND pid <> pg_backend_pid()
                """, database: "postgres")
            #expect(
                try steps.claim([CRMStepClaim(Self.key("r\(number)"), user: nil)]) == [Self.key("r\(number)")]
            )
        }
        steps.stop()
        bench.close()
    }
}

/// The steps of a bench's store, asked and waited for.
private final class StepsBench {
    let steps: any CRMStepStore
    private let bench: StoreBench

    init(_ bench: StoreBench, _ target: String = "bitrix24") {
        self.bench = bench
        steps = bench.store.makeSteps(of: target, on: bench.loop)
        steps.start()
    }

    func load(_ load: CRMStepLoad) throws -> CRMStepRows {
        var answer: CRMStepRows?
        steps.load(load) { answer = $0 }
        #expect(answer == nil, "answered from inside the call")
        bench.wait(for: "steps") { answer != nil }
        return try #require(answer)
    }

    func claim(_ claims: [CRMStepClaim]) throws -> Set<CRMStepKey> {
        var answer: Set<CRMStepKey>?
        steps.claim(claims) { answer = $0 }
        #expect(answer == nil, "answered from inside the call")
        bench.wait(for: "a claim") { answer != nil }
        return try #require(answer)
    }

    func stop() {
        var isStopped = false
        steps.stop(within: .seconds(30)) { isStopped = true }
        bench.wait(for: "the steps to stop") { isStopped }
    }
}

extension StoreBench {
    /// Changes rows behind the daemon's back.
    fileprivate func change(_ sql: String) throws { try change(postgres: sql, sqlite: sql) }

    fileprivate func change(postgres: String, sqlite: String) throws {
        if url.hasPrefix("sqlite:") {
            try SQLiteDatabase(path: String(url.dropFirst("sqlite:".count)), forWriting: true).execute(sqlite)
        } else {
            try PostgresCluster.shared().execute(postgres, database: database)
        }
    }

    fileprivate func desk() throws -> CRMStepDesk {
        try CRMStepDesk(
            location: try StoreLocation(databaseURL: url), settings: store.settings, isReadOnly: false)
    }

    fileprivate func backend() -> any CRMStepBackend { store.makeStepBackend(of: "bitrix24", on: loop) }
}
