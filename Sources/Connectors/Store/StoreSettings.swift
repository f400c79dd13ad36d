/// Bounds and timings of the store; each has its setting or its reason here.
package struct StoreSettings: Sendable {
    /// How SQLite waits for the disk (its `synchronous` pragma).
    package enum SQLiteSynchronous: String, Sendable, CaseIterable {
        /// A power cut may lose the last commits, never the file's integrity (WAL).
        case normal
        /// Every commit is on the disk.
        case full
    }

    /// Bytes of rows kept in memory while the database is away (`STORE_QUEUE_MAX_BYTES`).
    package var queueMaxBytes = 256 << 20
    /// When a row counts as kept (`DURABILITY`).
    package var durability = CommitSettings.Durability.commit
    /// Where rows go while the database is away (`SPOOL_PATH`, `SPOOL_MAX_BYTES`); `nil`: they wait in memory.
    package var spool: SpoolSettings?
    /// Batches on the way at once; more only adds latency (measured).
    package var batchesInFlight = 4
    /// From one small batch to the next, at least; rows gather meanwhile (docs/adr/0012-pace-of-small-batches.md).
    package var pace: Duration = .milliseconds(4)
    /// Limit on one statement of a writer.
    package var statementTimeout: Duration = .seconds(30)
    /// Silence beyond `statementTimeout`, which the server should have reported, that ends a connection.
    package var silenceMargin: Duration = .seconds(10)
    /// Limit on one read for the API, waiting included.
    package var readTimeout: Duration = .seconds(2)
    /// PostgreSQL connections that read, at most.
    package var readConnections = 2
    /// Limit on reaching one host.
    package var connectTimeout: Duration = .seconds(10)
    /// First wait after a lost connection; doubles up to `reconnectMaximum`, with jitter.
    package var reconnectInitial: Duration = .milliseconds(200)
    /// Longest wait between attempts.
    package var reconnectMaximum: Duration = .seconds(15)
    /// How PostgreSQL's `pg_stat_activity` names us.
    package var applicationName = "callflow-fast"
    /// Bytes of confirmed rows that each PostgreSQL writer keeps, to write them again should a promoted standby lack
    /// them; seconds of heavy traffic.
    package var confirmedTailBytes = 16 << 20
    /// Longest wait between attempts where several servers are named: one of them may be promoted any moment.
    package var failoverReconnectMaximum: Duration = .seconds(2)
    /// Days for which event rows are kept (`EVENT_RETENTION_DAYS`); `nil`: for ever.
    package var eventRetentionDays: Int?
    /// How often partitions are made ahead and old events removed.
    package var upkeepInterval: Duration = .seconds(3600)
    /// And how soon again after a run that failed or had more to do.
    package var upkeepRetry: Duration = .seconds(60)
    /// How SQLite waits for the disk (`SQLITE_SYNCHRONOUS`).
    package var sqliteSynchronous = SQLiteSynchronous.normal
    /// Names of the PBXs, in the order of `CallRecord.pbx`; what column `pbx` holds.
    package var pbxNames: [String] = []

    /// Which CRMs are told of calls: each gets a row for each step (`CRMTargetName`); empty: none.
    package var crmTargets: [String] = []
    /// Whether recordings are attached to calls.
    package var crmRecordings = false
    /// How long after its claim a step that nobody told of is left alone: its request has been answered or cut off then.
    package var crmAbandonedAfter = CRMStepClaim.abandonedAfter
    /// Days for which steps that are settled are kept (`CRM_KEEP_DAYS`); `nil`: for ever.
    package var crmKeepDays: Int? = 30

    /// The least `EVENT_RETENTION_DAYS`: rows that come late from a spool must not be taken away at once.
    package static let minimumRetentionDays = PartitionPlan.minimumRetentionDays

    /// The defaults.
    package init() {}
}
