import Foundation
import FoundationNetworking
import Testing

/// A simulated PBX, the daemon as a process, a database of its own behind a faulty proxy; and what is true in the end.
///
/// The log of what was taken in is the simulator's: every event it gave to a reader, in order (`--sent-log`). The
/// database is compared with it as multisets of JSON values.
final class ChaosBench {
    let seed: UInt64
    /// The server that has the rows in the end; another one after a failover.
    var cluster: PostgresCluster
    let database: String
    let proxy: FaultyProxy
    private let calls: Int
    private let folder: URL
    private let sentLog: String
    private let simulator: DaemonProcess
    private let pbxPort: Int
    private var settings: [String: String]
    private(set) var daemon: DaemonProcess
    private(set) var port = 0
    private var poisoned = 0
    private var lastMetrics = ""
    /// What killed daemons had printed.
    private var printedBefore = ""

    /// Starts everything; calls begin once the daemon reads them, and go on until `finish`, however long faults take.
    ///
    /// - Parameter calls: `finish` waits until so many have begun.
    /// - Parameter standby: A server that streams from the cluster; then the daemon is told of both, without the proxy.
    init(
        _ cluster: PostgresCluster, standby: PostgresCluster? = nil, seed: UInt64, calls: Int,
        callsPerSecond: Int = 40, settings: [String: String] = [:]
    ) async throws {
        self.seed = seed
        self.cluster = cluster
        self.calls = calls
        let url = try cluster.makeDatabase()
        database = String(url.split(separator: "/").last ?? "")
        proxy = try FaultyProxy(target: cluster.port)
        folder = FileManager.default.temporaryDirectory.appending(path: "callflow-chaos-\(seed)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        sentLog = folder.appending(path: "sent").path
        simulator = try DaemonProcess([
            "simulate", "--port", "0", "--rate", "\(callsPerSecond)", "--seed", "\(seed)", "--ring",
            "0.1-0.4", "--talk", "0.2-1.5", "--wait-for-reader", "--sent-log", sentLog,
        ])
        pbxPort = try await simulator.port(inLineWith: "simulated PBX")
        var location = url.replacing(":\(cluster.port)/", with: ":\(proxy.port)/")
        if let standby {
            location = url.replacing(":\(cluster.port)/", with: ":\(cluster.port),127.0.0.1:\(standby.port)/")
                .replacing("ecto:", with: "postgres:")
        }
        self.settings = [
            "PORT": "0", "ARI_URL": "ws://127.0.0.1:\(pbxPort)/ari/events", "ARI_USER": "callflow",
            "ARI_PASSWORD": "secret",
            "DATABASE_URL": location,
        ].merging(settings) { $1 }
        daemon = try DaemonProcess(["serve"], self.settings)
        port = try await daemon.port(inLineWith: "API and live page")
    }

    deinit { try? FileManager.default.removeItem(at: folder) }

    /// Kills the daemon and starts it again.
    ///
    /// - Returns: The events that the killed one had counted as durable shortly before.
    func killAndRestart() async throws -> Int {
        let durable = try await metric("store_events_written_total")
        daemon.send(SIGKILL)
        #expect(await daemon.ended() != nil)
        try await restart()
        return durable
    }

    /// Kills the daemon as it is.
    func kill() async throws {
        daemon.send(SIGKILL)
        #expect(await daemon.ended() != nil)
    }

    /// Starts the daemon again, in its folder.
    func restart() async throws {
        printedBefore += daemon.printed
        daemon = try DaemonProcess(["serve"], settings, folder: daemon.folder)
        port = try await daemon.port(inLineWith: "API and live page")
    }

    private func metrics() async throws -> String {
        String(decoding: try await get(port, "/metrics").body, as: UTF8.self)
    }

    private func metric(_ name: String, in text: String) -> Int {
        text.split(separator: "\n").first { $0.hasPrefix("callflow_\(name) ") }
            .flatMap { Int($0.split(separator: " ")[1]) } ?? 0
    }

    /// A counter or gauge of the daemon.
    func metric(_ name: String) async throws -> Int { metric(name, in: try await metrics()) }

    /// The same, as it was when `finish` stopped the daemon.
    func lastMetric(_ name: String) -> Int { metric(name, in: lastMetrics) }

    /// Waits until the daemon makes progress again: more rows are durable than now.
    func progress(since before: Int, within seconds: Double = 60) async throws {
        let deadline = Date().addingTimeInterval(seconds)
        while try await metric("store_events_written_total") <= before {
            guard Date() < deadline else {
                Issue.record("no row became durable again, seed \(seed):\n\(daemon.printed.suffix(4000))")
                return
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    /// Whether the daemon, or one before it, has printed this.
    func said(_ text: String) -> Bool { printedBefore.contains(text) || daemon.printed.contains(text) }

    /// Waits until so many event rows lie in the spool.
    ///
    /// - Returns: How many there are.
    @discardableResult
    func spooled(atLeast least: Int, within seconds: Double = 60) async throws -> Int {
        let deadline = Date().addingTimeInterval(seconds)
        while true {
            let events = try await metric("spool_events")
            if events >= least { return events }
            guard Date() < deadline else {
                Issue.record("rows did not come to the spool, seed \(seed):\n\(daemon.printed.suffix(4000))")
                return events
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    /// Waits until a counter has reached so much.
    func counted(_ name: String, atLeast least: Int, within seconds: Double = 90) async throws {
        let deadline = Date().addingTimeInterval(seconds)
        while try await metric(name) < least {
            guard Date() < deadline else {
                Issue.record("\(name) stays low, seed \(seed):\n\(daemon.printed.suffix(4000))")
                return
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    /// Waits until nothing lies in the spool.
    func drained(within seconds: Double = 120) async throws {
        let deadline = Date().addingTimeInterval(seconds)
        while try await metric("spool_batches") > 0 {
            guard Date() < deadline else {
                Issue.record("the spool did not empty, seed \(seed):\n\(daemon.printed.suffix(4000))")
                return
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    /// Gives the daemon an event that PostgreSQL refuses (a constraint of its own), and the end of its call.
    func poison() async throws {
        if poisoned == 0 {
            // What the database refuses for a reason that the daemon cannot know.
            try cluster.execute(
                "ALTER TABLE call_events ADD CONSTRAINT no_poison CHECK (event_type <> 'poison')",
                database: database)
        }
        poisoned += 1
        let call = "\(Self.poisonedCalls)\(poisoned)"
        try await inject(#"{"call_id":"\#(call)","event_type":"poison","payload":{"direction":"inbound"}}"#)
        try await inject(#"{"call_id":"\#(call)","event_type":"stasis_end","payload":{}}"#)
    }

    private static let poisonedCalls = "poisoned-"

    private func inject(_ event: String) async throws {
        #expect(try await post(port, "/api/test/events", event) == 202)
    }

    /// Stored events of poisoned calls, which are to be their ends alone, how many calls were poisoned, and how many dead letters tell of it.
    func poisonedEvents() throws -> (stored: [String], calls: Int, deadLetters: Int) {
        let letters = try cluster.execute(
            "SELECT count(*) FROM dead_letters WHERE call_id LIKE '\(Self.poisonedCalls)%'",
            database: database)
        let rows = try cluster.execute(
            "SELECT event_type FROM call_events WHERE call_id LIKE '\(Self.poisonedCalls)%'",
            database: database)
        return (rows.split(separator: "\n").map(String.init), poisoned, Int(letters) ?? -1)
    }

    /// Calls that the simulator has begun, and ended.
    private func played() async throws -> (begun: Int, ended: Int) {
        let body = try await get(pbxPort, "/simulator/stats").body
        let stats = try #require(try JSONSerialization.jsonObject(with: body) as? [String: Any])
        return (
            try #require(stats["calls_started"] as? Int), try #require(stats["calls_finished"] as? Int)
        )
    }

    /// Lets no new call begin, those that live come to their end, and the daemon write out what it has; then stops the daemon.
    func finish(within seconds: Double = 120) async throws {
        let deadline = Date().addingTimeInterval(seconds)
        while try await played().begun < calls, Date() < deadline {
            try await Task.sleep(for: .milliseconds(100))
        }
        #expect(try await post(pbxPort, "/simulator/drain") == 204)
        while true {
            let played = try await played()
            let isPlayed = played.begun == played.ended
            let found = try await metrics()
            let active = metric("calls_active", in: found)
            // A daemon that is stopped leaves what lies in the spool to the next one.
            let waiting = metric("store_queued_bytes", in: found) + metric("spool_events", in: found)
            // Calls of a killed daemon are ended a while after the next one has seen the PBX's channels.
            if isPlayed, active == 0, waiting == 0,
                try cluster.execute(
                    "SELECT count(*) FROM calls WHERE ended_at IS NULL AND outcome IS DISTINCT FROM 'merged'",
                    database: database) == "0"
            {
                break
            }
            guard Date() < deadline else {
                Issue.record(
                    "calls did not end, \(active) are active, \(waiting) bytes and rows wait, seed \(seed):\n\(daemon.printed.suffix(4000))"
                )
                break
            }
            try await Task.sleep(for: .milliseconds(100))
        }
        lastMetrics = try await metrics()
        daemon.send(SIGTERM)
        #expect(await daemon.ended() == 0, "seed \(seed):\n\(daemon.printed.suffix(4000))")
        proxy.stop()
        try load()
    }

    // MARK: What is true

    private func load() throws {
        try cluster.execute(
            "CREATE TABLE chaos_sent (line bigserial, reader integer, payload jsonb)", database: database)
        // Neither character can stand in JSON: no quoting, no escapes, the line as it is.
        try cluster.execute(
            #"\copy chaos_sent (reader, payload) FROM '\#(sentLog)' WITH (FORMAT csv, DELIMITER E'\t', QUOTE E'\x01')"#,
            database: database)
    }

    /// Events sent to readers.
    func sentCount() throws -> Int {
        Int(try cluster.execute("SELECT count(*) FROM chaos_sent", database: database)) ?? 0
    }

    /// Events stored, and those whose payload was left out.
    func storedEvents() throws -> (all: Int, withoutPayload: Int) {
        let answer = try cluster.execute(
            "SELECT count(*), count(*) FILTER (WHERE payload IS NULL) FROM call_events", database: database
        ).split(separator: "|").compactMap { Int($0) }
        return try #require(answer.count == 2 ? (answer[0], answer[1]) : nil)
    }

    /// How many events of each side have no partner on the other.
    func difference() throws -> (missing: Int, excess: Int) {
        let answer = try cluster.execute(
            """
            SELECT (SELECT count(*) FROM (SELECT payload FROM chaos_sent
                    EXCEPT ALL SELECT payload FROM call_events) AS missing),
                (SELECT count(*) FROM (SELECT payload FROM call_events
                        WHERE call_id NOT LIKE '\(Self.poisonedCalls)%'
                    EXCEPT ALL SELECT payload FROM chaos_sent) AS excess)
            """, database: database
        ).split(separator: "|").compactMap { Int($0) }
        return try #require(answer.count == 2 ? (answer[0], answer[1]) : nil)
    }

    /// What one connection to the PBX lost.
    struct Tail: CustomStringConvertible {
        let reader: Int
        let sent: Int
        let missing: Int
        /// Whether everything before the first missing event is stored, and nothing behind it.
        let isTail: Bool
        /// From the first missing event's time to that of the last one sent, in milliseconds.
        let milliseconds: Int

        var description: String {
            "connection \(reader): \(missing) of \(sent) events lost, the last \(milliseconds) ms"
        }
    }

    /// What each connection to the PBX lost, in their order.
    func tails() throws -> [Tail] {
        let rows = try cluster.execute(
            """
            WITH s AS (SELECT *, row_number() OVER (PARTITION BY payload ORDER BY line) AS n FROM chaos_sent),
                e AS (SELECT payload, row_number() OVER (PARTITION BY payload ORDER BY id) AS n FROM call_events),
                m AS (SELECT s.*, e.payload IS NULL AS missing,
                    (s.payload->>'timestamp')::timestamptz AS at FROM s LEFT JOIN e USING (payload, n))
            SELECT reader, count(*), count(*) FILTER (WHERE missing),
                coalesce(min(line) FILTER (WHERE missing) > max(line) FILTER (WHERE NOT missing), true)::int,
                coalesce(extract(epoch FROM max(at) - min(at) FILTER (WHERE missing)) * 1000, 0)::int
            FROM m GROUP BY reader ORDER BY reader
            """, database: database)
        return rows.split(separator: "\n").compactMap { row in
            let values = row.split(separator: "|").compactMap { Int($0) }
            guard values.count == 5 else { return nil }
            return Tail(
                reader: values[0], sent: values[1], missing: values[2], isTail: values[3] == 1,
                milliseconds: values[4])
        }
    }

    /// Calls whose row does not say what happened; a line each.
    ///
    /// - Parameter mayMiss: Whether parts of calls may have passed unseen: then those stored must have ended, no more.
    func wrongCalls(mayMiss: Bool) async throws -> [String] {
        let rows = try cluster.execute(
            "SELECT call_id, status, answered_at IS NOT NULL, ended_at IS NOT NULL FROM calls WHERE outcome IS DISTINCT FROM 'merged'",
            database: database)
        var stored: [String: (status: String, isAnswered: Bool, isEnded: Bool)] = [:]
        for row in rows.split(separator: "\n") {
            let values = row.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
            stored[values[0]] = (values[1], values[2] == "t", values[3] == "t")
        }
        let body = try await get(pbxPort, "/simulator/truth").body
        let truth = try #require(try JSONSerialization.jsonObject(with: body) as? [String: Any])
        let played = try #require(truth["calls"] as? [[String: Any]])
        #expect(played.count >= calls)
        var wrong: [String] = []
        for call in played {
            guard let id = call["call_id"] as? String, let isAnswered = call["answered"] as? Bool else {
                continue
            }
            switch stored[id] {
            case nil: if !mayMiss { wrong.append("\(id) is not stored") }
            case let row?:
                let isRight =
                    row.status == "finished" && row.isEnded && (mayMiss || row.isAnswered == isAnswered)
                if !isRight { wrong.append("\(id): \(row), truth: \(call)") }
            }
        }
        return wrong
    }

    func end() async {
        simulator.send(SIGTERM)
        _ = await simulator.ended()
    }
}
