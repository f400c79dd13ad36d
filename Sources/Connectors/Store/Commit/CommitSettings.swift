/// How a shard's rows are gathered, spooled and sent; each bound has its reason here.
package struct CommitSettings: Sendable {
    /// When a row counts as kept (`DURABILITY`).
    package enum Durability: String, Sendable, CaseIterable {
        /// Rows wait in memory until the database has committed them; they go to the spool when it does not.
        case commit
        /// Each tick's rows are on the local disk before anything else is done with them.
        case spool
    }

    package var durability = Durability.commit
    /// Bytes waiting in memory, all in all; beyond them rows are refused.
    package var queueMaxBytes: Int
    /// Bytes waiting in memory before they go to the spool.
    package var spillBytes: Int
    /// Time that rows may wait in memory for a database that does not take them.
    package var spillAfter: Duration = .seconds(2)
    /// Age at which rows go to the spool while it is in use: small, since they are lost with the process until
    /// then; not too small, since each batch is a transaction of its own later.
    package var spoolAge: Duration
    /// From one small batch to the next, at least; rows gather meanwhile (docs/adr/0012-pace-of-small-batches.md).
    package var pace: Duration
    /// Age at which few rows are sent although others are on their way.
    package var maximumAge: Duration = .milliseconds(10)
    /// Batches on the way to the database at once.
    package var batchesInFlight: Int
    /// Bytes on the way to the spool at once.
    package var spoolingBytes = 8 << 20
    /// Batches and bytes read from the spool at once.
    package var drainCount = 16
    package var drainBytes = 8 << 20
    /// Wait before a spool that refused a batch is asked again.
    package var spoolRetry: Duration = .seconds(1)
    /// Names of the PBXs, in the order of `CallRecord.pbx`.
    package var pbxNames: [String]

    /// One shard's part of what the store is set to.
    package init(_ settings: StoreSettings, shares: Int = 1) {
        durability = settings.durability
        queueMaxBytes = settings.queueMaxBytes / max(1, shares)
        spillBytes = min(queueMaxBytes / 4, 64 << 20)
        spoolAge = settings.durability == .spool ? .milliseconds(20) : .milliseconds(250)
        pace = settings.pace
        batchesInFlight = settings.batchesInFlight
        pbxNames = settings.pbxNames
    }
}
