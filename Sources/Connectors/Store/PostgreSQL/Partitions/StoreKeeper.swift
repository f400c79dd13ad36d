import Logging
import Reactor

/// Runs the upkeep of PostgreSQL's `call_events` now and then, one connection and a short-lived thread each time.
///
/// One per process, used on one loop's thread. Several daemons on one database may each have theirs: advisory
/// locks let one of them work.
package final class StoreKeeper {
    private let location: PostgresLocation
    private let loop: Loop
    private let settings: StoreSettings
    private let metrics: Metrics
    private let logger: Logger
    private let results = Mailbox<Result<UpkeepReport, StoreError>>(capacity: 4)
    private var timer: TimerID?
    private var isStopped = false

    /// What an operator should see to; `nil` when all is well.
    package private(set) var problem: String?
    /// What the last run found; `nil` before the first.
    package private(set) var report: UpkeepReport?

    init(
        location: PostgresLocation, loop: Loop, settings: StoreSettings, metrics: Metrics, logger: Logger
    ) {
        self.location = location
        self.loop = loop
        self.settings = settings
        self.metrics = metrics
        self.logger = logger
    }

    /// Begins; the first run comes a little later, since the writers bring the tables up to date.
    package func start(after delay: Duration = .seconds(5)) {
        loop.attach(results) { [weak self] in self?.finished($0) }
        schedule(after: delay)
    }

    /// Ends; a run on its way is not waited for.
    package func stop() {
        isStopped = true
        if let timer { loop.cancel(timer) }
        timer = nil
    }

    private func schedule(after delay: Duration) {
        guard !isStopped else { return }
        timer = loop.schedule(after: delay) { [weak self] in self?.run() }
    }

    private func run() {
        timer = nil
        let connector = PostgresConnector(location: location, settings: settings)
        let (results, retentionDays) = (results, settings.eventRetentionDays)
        let started = BackgroundThread.run {
            let connection = connector.connect(for: .upkeep)
            _ = results.post(
                connection.map { PostgresUpkeep(connection: $0, retentionDays: retentionDays).run() })
        }
        if !started { schedule(after: settings.upkeepRetry) }
    }

    private func finished(_ result: Result<UpkeepReport, StoreError>) {
        guard !isStopped else { return }
        switch result {
        case .failure(let error):
            // That the database is away its writers say.
            logger.debug("store upkeep: \(error)")
            schedule(after: settings.upkeepRetry)
        case .success(let report):
            self.report = report
            tell(report)
            let again = report.problem != nil || report.isUnfinished
            schedule(after: again ? settings.upkeepRetry : settings.upkeepInterval)
        }
    }

    private func tell(_ report: UpkeepReport) {
        metrics.set(.storeEventPartitions, report.partitions ?? 0)
        metrics.set(.storeEventDaysAhead, report.daysAhead ?? 0)
        metrics.add(.storePartitionsDropped, report.partitionsDropped.count)
        metrics.add(.storeEventsExpired, report.rowsDeleted)
        if report.problem != nil { metrics.add(.storeUpkeepErrors) }
        if !report.partitionsMade.isEmpty {
            logger.info("store: event partitions made: \(report.partitionsMade.joined(separator: ", "))")
        }
        if !report.partitionsDropped.isEmpty {
            logger.info(
                "store: event partitions older than EVENT_RETENTION_DAYS dropped: \(report.partitionsDropped.joined(separator: ", "))"
            )
        }
        if report.rowsDeleted > 0 {
            logger.info("store: events older than EVENT_RETENTION_DAYS deleted: \(report.rowsDeleted)")
        }
        let alarm = Self.alarm(report)
        if alarm != problem {
            if let alarm {
                logger.error("store: \(alarm)")
            } else {
                logger.info("store: upkeep of the events is well again")
            }
        }
        problem = alarm
    }

    /// What is wrong, as an operator should hear it.
    static func alarm(_ report: UpkeepReport) -> String? {
        if let days = report.daysAhead, days < PartitionPlan.alarmDays {
            let reason = report.problem.map { ": \($0)" } ?? ""
            return "there are event partitions for \(days) more days only\(reason)"
        }
        return report.problem
    }
}
