import CallEngine
import Foundation
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite("Stored calls derived again from their stored events", .serialized)
struct CallRebuildTests {
    private static let recordings = [
        "queue-second-member-answers", "ring-group-answered", "attended-transfer-keys",
        "blind-transfer-refer",
        "direct-busy", "parking-retrieved", "voicemail", "click-to-call",
    ]

    /// A database with the calls of some recordings, as the daemon stored them.
    private static func filled(_ kind: StoreKind) throws -> WholeWayBench {
        let bench = try WholeWayBench(.epoll, kind)
        try bench.wait(for: "the store") { bench.reader.state.isConnected || kind == .sqlite }
        let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Fixtures/ari/office-22")
        for recording in recordings {
            let text = try String(contentsOf: folder.appending(path: "\(recording).jsonl"), encoding: .utf8)
            for line in text.components(separatedBy: "\n") where !line.isEmpty {
                bench.receive(line)
            }
        }
        try bench.wait(for: "all rows to be durable") { bench.isSettled }
        return bench
    }

    /// All that was stored so far, from a minute ago on.
    private static func rebuild(
        _ bench: WholeWayBench, isDry: Bool, from: Timestamp? = nil
    ) throws -> (report: CallRebuild.Report, differences: [CallDifference]) {
        let now = WallClock.now()
        var settings = StoreBench.quick
        settings.pbxNames = ["pbx0", "pbx1"]
        var rebuild = try CallRebuild(
            location: StoreLocation(databaseURL: bench.url), settings: settings, replay: ReplaySettings(),
            range: (from ?? now - .seconds(3600))..<(now + .seconds(1)), isDry: isDry)
        var differences: [CallDifference] = []
        let report = try rebuild.run {
            differences.append($0)
        } progress: { _, _ in
        }
        return (report, differences)
    }

    private static func execute(_ bench: WholeWayBench, _ sql: String) throws {
        if bench.url.hasPrefix("sqlite:") {
            try SQLiteDatabase(path: String(bench.url.dropFirst("sqlite:".count)), forWriting: true).execute(
                sql)
        } else {
            _ = try PostgresCluster.shared().execute(
                sql, database: String(bench.url.split(separator: "/").last ?? ""))
        }
    }

    @Test("what the daemon stored is what the events tell", arguments: StoreKind.available)
    func nothingDiffers(_ kind: StoreKind) throws {
        let bench = try Self.filled(kind)
        let (report, differences) = try Self.rebuild(bench, isDry: true)
        #expect(differences.isEmpty, "\(differences)")
        #expect(report.rows >= Self.recordings.count)
        #expect(report.compared == report.rows)
        #expect(report.same == report.rows)
        #expect(report.events == bench.metrics[.storeEventsWritten])
        #expect(report.written == 0)
        try bench.close()
    }

    @Test(
        "what differs is told, left alone when dry, and else put right for good",
        arguments: StoreKind.available)
    func putRight(_ kind: StoreKind) throws {
        let bench = try Self.filled(kind)
        let calls = try bench.calls(CallFilter(limit: 100))
        #expect(calls.count >= 6)
        let before = try calls.map { try #require(try bench.whole($0.callID)) }
        let ids = calls.map(\.callID)
        // One with other facts, one without legs, one that never ended, one that only the contract knew, one gone.
        try Self.execute(
            bench,
            """
            UPDATE calls SET outcome = 'failed', talk_us = 7, answered_at = NULL, caller_number = 'x'
                WHERE call_id = '\(ids[0])';
            DELETE FROM call_legs WHERE call_id = '\(ids[1])';
            UPDATE calls SET status = 'ringing', ended_at = NULL, outcome = NULL WHERE call_id = '\(ids[2])';
            UPDATE calls SET derived_at = NULL, outcome_rule = NULL, talk_us = NULL WHERE call_id = '\(ids[3])';
            DELETE FROM call_legs WHERE call_id = '\(ids[3])';
            DELETE FROM call_segments WHERE call_id = '\(ids[3])';
            DELETE FROM calls WHERE call_id = '\(ids[4])'
            """)
        let dry = try Self.rebuild(bench, isDry: true)
        #expect(Set(dry.differences.map(\.callID)) == Set(ids[..<5]))
        let changed = try #require(dry.differences.first { $0.callID == ids[0] })
        #expect(
            Set(changed.fields.map(\.name)).isSubset(of: [
                "outcome", "talk_us", "answered_at", "caller_number",
            ]))
        #expect(
            changed.fields.contains(.init(name: "caller_number", stored: "x", derived: calls[0].callerNumber))
        )
        #expect(dry.differences.first { $0.callID == ids[1] }?.fields.map(\.name) == ["legs"])
        #expect(dry.differences.first { $0.callID == ids[3] }?.isFirst == true)
        #expect(dry.report.missing == 1)
        #expect(try bench.whole(ids[0])?.call.callerNumber == "x", "nothing was changed")

        let done = try Self.rebuild(bench, isDry: false)
        #expect(done.report.written == 5)
        #expect(done.differences.allSatisfy { $0.kept == nil })
        let again = try Self.rebuild(bench, isDry: true)
        #expect(again.differences.isEmpty, "\(again.differences)")
        for (index, old) in before.enumerated() {
            var new = try #require(try bench.whole(old.call.callID))
            if index < 5 {
                #expect(new.call.updatedAt > old.call.updatedAt, "a changed row is a changed row")
                if index != 4 { #expect(new.call.id == old.call.id) }
                (new.call.updatedAt, new.call.facts.derivedAt) = (
                    old.call.updatedAt, old.call.facts.derivedAt
                )
                (new.call.id, new.call.insertedAt) = (old.call.id, old.call.insertedAt)
            }
            #expect(new == old, "\(old.call.callID)")
        }
        try bench.close()
    }

    @Test("what events do not tell of is left to its row", arguments: StoreKind.available)
    func leftAlone(_ kind: StoreKind) throws {
        let bench = try Self.filled(kind)
        let calls = try bench.calls(CallFilter(limit: 100))
        let ids = calls.map(\.callID)
        let start = try #require(calls[1].startedAt)
        bench.gap(from: start - .seconds(5), to: start + .milliseconds(1))
        // A call that goes on.
        bench.receive(
            #"{"type":"StasisStart","timestamp":"2026-11-22T23:00:00.000+0000","channel":{"id":"9.9","name":"PJSIP/1-1","#
                + #""state":"Ring","caller":{"number":"5"},"dialplan":{"exten":"6","context":"from-trunk"}}}"#
        )
        try bench.wait(for: "all rows to be durable") { bench.isSettled }
        try Self.execute(
            bench,
            """
            UPDATE calls SET partial = \(kind == .sqlite ? "1" : "true"), queue = 'seen' WHERE call_id = '\(ids[0])';
            UPDATE calls SET queue = 'seen' WHERE call_id = '\(ids[1])';
            UPDATE calls SET queue = 'wrong' WHERE call_id = '\(ids[5])';
            UPDATE calls SET caller_number = 'odd' WHERE call_id = '9.9'
            """)
        let done = try Self.rebuild(bench, isDry: false)
        func kept(_ callID: String) -> CallDifference.Kept? {
            done.differences.first { $0.callID == callID }?.kept
        }
        #expect(kept(ids[0]) == .partial)
        #expect(kept(ids[1]) == .partial, "it lived while the PBX was not heard")
        #expect(kept("9.9") == .changing)
        #expect(done.differences.contains { $0.callID == ids[5] && $0.kept == nil })
        #expect(try bench.whole(ids[0])?.call.facts.queue == "seen")
        #expect(try bench.whole(ids[1])?.call.facts.queue == "seen")
        #expect(try bench.whole(ids[5])?.call.facts.queue != "wrong")
        #expect(try bench.whole("9.9")?.call.callerNumber == "odd")
        try bench.close()
    }

    @Test("calls from before the range are read and not touched", arguments: StoreKind.available)
    func outside(_ kind: StoreKind) throws {
        let bench = try Self.filled(kind)
        try Self.execute(bench, "UPDATE calls SET queue = 'wrong'")
        let (report, differences) = try Self.rebuild(bench, isDry: false, from: WallClock.now())
        #expect(report.rows == 0)
        #expect(differences.isEmpty)
        #expect(report.written == 0)
        try bench.close()
    }

    @Test("a row that was changed after it was compared is left alone", arguments: StoreKind.available)
    func changedMeanwhile(_ kind: StoreKind) throws {
        let bench = try Self.filled(kind)
        let row = try #require(try bench.calls(CallFilter(limit: 1)).first)
        var settings = StoreBench.quick
        settings.pbxNames = ["pbx0", "pbx1"]
        let store: any RebuildStore
        switch try StoreLocation(databaseURL: bench.url) {
        case .sqlite(let path): store = try SQLiteRebuildStore(path: path, settings: settings)
        case .postgres(let location): store = try PostgresRebuildStore(location, settings: settings)
        }
        var replay = CallReplay(subscription: .allChannels)
        let now = WallClock.now()
        try store.events(in: (now - .seconds(3600))..<(now + .seconds(1))) {
            try? replay.take($0.payload, receivedAt: $0.insertedAt)
        }
        var derived: [CallReplay.Call] = []
        replay.finish { if $0.callID == row.callID { derived.append($0) } }
        var call = try #require(derived.first)
        call.record.callerNumber.set("new")
        let late = RebuildCorrection(call: call, seen: row.updatedAt - .seconds(1), at: now)
        #expect(try store.write([late]).isEmpty)
        #expect(try bench.whole(row.callID)?.call == row)
        let right = RebuildCorrection(call: call, seen: row.updatedAt, at: now)
        #expect(try store.write([right]) == [row.callID])
        #expect(try bench.whole(row.callID)?.call.callerNumber == "new")
        try bench.close()
    }
}

extension WholeWayBench {
    /// Takes an event as a PBX's reader would.
    fileprivate func receive(_ text: String) {
        let bytes = Array(text.utf8)
        _ = pipeline.received(bytes.span.bytes, pbx: 0, subscription: .allChannels)
    }

    /// A call with its legs and parts.
    fileprivate func whole(_ callID: String) throws -> StoredCallWithEvents? {
        guard var call = try call(callID) else { return nil }
        call.events = []
        var answer: Result<StoredParts, StoreError>?
        reader.parts(of: callID) { answer = $0 }
        try wait(for: "a call's legs") { answer != nil }
        call.parts = try #require(answer).get()
        return call
    }

    fileprivate func gap(from: Timestamp, to: Timestamp) {
        commit.append(
            note: .gap(
                StoredGap(
                    id: CallUUID(random: 1, 2), pbx: "pbx0", from: from, to: to, reason: "connection",
                    detail: "",
                    callsEnded: 0, callsFound: 0, callsKept: 0, insertedAt: WallClock.now())))
    }
}
