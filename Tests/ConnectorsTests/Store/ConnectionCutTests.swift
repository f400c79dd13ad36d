import CallEngine
import Foundation
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite(
    "A connection cut at every step of the protocol: each row once",
    .enabled(if: PostgresCluster.isInstalled, "no PostgreSQL here"))
struct ConnectionCutTests {
    /// Messages of one batch of three kinds of rows: three for each of four statements, and a sync; as many answers
    /// or more.
    ///
    /// A batch written with care has many more.
    static let usual: [CuttingProxy.Cut] =
        (0...12).map { .request($0) } + (0...12).map { .answer($0) } + (0...12).map { .late($0) }
    static let careful: [CuttingProxy.Cut] =
        stride(from: 14, to: 75, by: 7).flatMap { [.request($0), .answer($0), .late($0)] }

    @Test("batches with and without a refused row", arguments: [false, true])
    func everyStep(_ hasBadRow: Bool) throws {
        let cluster = try PostgresCluster.shared()
        let direct = try cluster.makeDatabase()
        let proxy = try CuttingProxy(to: cluster.port)
        defer { proxy.close() }
        let url = direct.replacingOccurrences(of: ":\(cluster.port)/", with: ":\(proxy.port)/") + "?ssl=false"
        let bench = try StoreBench(url: url)
        bench.start()
        let database = String(direct.split(separator: "/").last ?? "")
        try cluster.execute("ALTER TABLE call_events ADD CHECK (event_type <> 'bad')", database: database)
        bench.commit.appendCall(.test("cut"))
        bench.settle()
        var (events, bad, states) = (0, 0, 0)
        for cut in hasBadRow ? Self.careful : Self.usual {
            let before = proxy.cutCount
            proxy.arm(cut)
            for number in 0..<4 {
                events += 1
                if hasBadRow, number == 2 { bad += 1 }
                bench.event("cut", hasBadRow && number == 2 ? "bad" : "e", "\(events)")
            }
            states += 1
            bench.commit.appendCall(.test("cut") { $0.updatedAt = .test(Int64(states)) })
            [UInt8]("cut".utf8).withUnsafeBytes { call in
                [UInt8]("id-\(states)".utf8).withUnsafeBytes {
                    bench.commit.appendCRM(callID: call, bitrixCallID: $0)
                }
            }
            bench.settle()
            proxy.disarm()
            if case .late = cut {
                // What was held reaches the server now; nothing may come of it.
                usleep(hasBadRow ? 20_000 : 50_000)
            }
            if !hasBadRow { #expect(proxy.cutCount == before + 1, "\(cut)") }
            let rows = try cluster.execute(
                """
                SELECT count(*), count(DISTINCT payload::text) FROM call_events;
                SELECT count(*), count(DISTINCT payload) FROM dead_letters;
                SELECT bitrix_call_id FROM calls WHERE call_id = 'cut'
                """, database: database)
            #expect(
                rows == "\(events - bad)|\(events - bad)\n\(bad)|\(bad)\nid-\(states)", "after \(cut)")
        }
        usleep(400_000)
        let rows = try cluster.execute(
            "SELECT count(*) FROM call_events; SELECT count(*) FROM dead_letters", database: database)
        #expect(rows == "\(events - bad)\n\(bad)", "nothing came late")
        #expect(proxy.cutCount > 20)
        #expect(bench.metrics[.storeEventsWritten] == events - bad)
        bench.close()
    }
}
