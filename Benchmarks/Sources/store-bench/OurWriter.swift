import Connectors
import Dispatch
import Glibc
import Logging
import Reactor
import Synchronization

/// The daemon's way into a database: so many loops, each with its connection.
final class OurWriter {
    /// The longest that any piece of work may take, in seconds.
    private static let patience = 600.0

    private let loops: Int
    private let orders: [Mailbox<Work>]
    private var threads: [LoopThread] = []
    private let store: Store
    private let outcomes: Outcomes

    private final class Outcomes: Sendable {
        let all = Mutex<[Outcome]>([])
        let arrived = DispatchSemaphore(value: 0)
        func take(_ outcome: Outcome) {
            all.withLock { $0.append(outcome) }
            arrived.signal()
        }
    }

    /// Connects; the tables are made or brought up to date by it.
    ///
    /// - Parameters:
    ///   - spool: The spool's file; `nil`: rows wait in memory.
    ///   - isAway: Whether nobody answers at `location`; then it is not waited for.
    init(
        _ location: StoreLocation, loops: Int, corpus: EventCorpus, pace: Duration, spool: String? = nil,
        isAway: Bool = false
    ) throws(BenchError) {
        self.loops = loops
        orders = (0..<loops).map { _ in Mailbox(capacity: 4) }
        let outcomes = Outcomes()
        self.outcomes = outcomes
        var settings = StoreSettings()
        settings.pbxNames = ["main"]
        settings.pace = pace
        settings.spool = spool.map { SpoolSettings(path: $0) }
        let logger = Logger(label: "store-bench") { _ in
            var handler = StreamLogHandler.standardError(label: "store-bench")
            handler.logLevel = isAway ? .critical : .warning
            return handler
        }
        let metrics = Metrics()
        do {
            let store = try Store(
                location: location, settings: settings, lanes: loops, metrics: metrics, logger: logger)
            self.store = store
            for index in 0..<loops {
                var configuration = LoopConfiguration()
                configuration.name = "writer-\(index)"
                let (orders, settings) = (orders[index], settings)
                threads.append(
                    try LoopThread.start(configuration) { loop in
                        let feeder = Feeder(
                            loop: loop, store: store, settings: settings, lane: index, shares: loops,
                            isAway: isAway, metrics: metrics, logger: logger, corpus: corpus,
                            report: { outcomes.take($0) })
                        loop.context = feeder
                        loop.attach(orders) { feeder.take($0) }
                    })
            }
        } catch {
            throw BenchError("\(error)")
        }
        _ = try wait()
    }

    /// Does the work and gives what came of each loop's part.
    func run(_ work: (_ loop: Int) -> Work) throws(BenchError) -> [Outcome] {
        for index in 0..<loops { _ = orders[index].post(work(index)) }
        return try wait()
    }

    /// Writes `rows` rows as fast as they are taken, each loop its part.
    func blast(rows: Int) throws(BenchError) -> [Outcome] {
        let part = rows / loops
        return try run { .blast(rows: $0 * part..<($0 + 1) * part) }
    }

    /// Rows a second, from the first loop's beginning to the last one's end.
    static func rate(_ outcomes: [Outcome]) -> Double {
        guard let start = outcomes.map(\.start).min(), let end = outcomes.map(\.end).max() else { return 0 }
        let rows = outcomes.reduce(0) { $0 + $1.rows }
        return Double(rows) / (Double(end.nanoseconds - start.nanoseconds) / 1e9)
    }

    private func wait() throws(BenchError) -> [Outcome] {
        for _ in 0..<loops {
            guard outcomes.arrived.wait(timeout: .now() + Self.patience) == .success else {
                throw BenchError("the writer did not finish within \(Self.patience) s")
            }
        }
        return outcomes.all.withLock { all in
            defer { all = [] }
            return all
        }
    }

    /// Gives loops work whose outcome only `close` tells.
    func start(_ work: (_ loop: Int) -> Work) {
        for index in 0..<loops { _ = orders[index].post(work(index)) }
    }

    /// What lies in the spool.
    var spooled: SpoolStatus { store.spoolStatus ?? SpoolStatus() }

    /// Waits until the spool is empty.
    func waitUntilDrained() throws(BenchError) {
        let deadline = MonotonicInstant.now() + .seconds(Int64(Self.patience))
        while spooled.events > 0 {
            guard MonotonicInstant.now() < deadline else { throw BenchError("the spool did not empty") }
            usleep(20_000)
        }
    }

    /// Ends the loops.
    ///
    /// - Returns: What came of each one's work.
    @discardableResult
    func close() throws(BenchError) -> [Outcome] {
        let outcomes = try run { _ in .stop }
        for thread in threads { thread.stop() }
        for thread in threads { thread.join() }
        store.close()
        return outcomes
    }
}
