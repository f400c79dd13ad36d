package import Logging
package import Reactor

/// The database of the daemon: makes writers and readers for the loops.
///
/// One per process.
package final class Store: Sendable {
    private enum Backing: Sendable {
        case sqlite(SQLiteStore)
        case postgres(PostgresLocation)
    }

    /// Where the rows go.
    package let location: StoreLocation
    /// Bounds and timings.
    package let settings: StoreSettings
    private let backing: Backing
    private let spool: Spool?
    private let metrics: Metrics
    private let logger: Logger

    /// Starts the threads that SQLite and the spool need; a PostgreSQL is reached by its writers and readers.
    ///
    /// - Parameter lanes: How many shards write.
    package init(
        location: StoreLocation, settings: StoreSettings, lanes: Int = 1, metrics: Metrics, logger: Logger
    ) throws(ReactorError) {
        self.location = location
        self.settings = settings
        self.metrics = metrics
        self.logger = logger
        spool = try settings.spool.map { spool throws(ReactorError) in
            try Spool(spool, lanes: lanes, metrics: metrics, logger: logger)
        }
        switch location {
        case .sqlite(let path):
            backing = .sqlite(
                try SQLiteStore(path: path, settings: settings, metrics: metrics, logger: logger))
        case .postgres(let location):
            backing = .postgres(location)
        }
    }

    /// A writer for one loop's shard, to be wrapped in a `GroupCommit`; made and used on the loop's thread.
    ///
    /// It brings the tables up to date before its first batch, whenever the database can be reached.
    package func makeWriter(on loop: Loop) -> any BatchWriter {
        switch backing {
        case .sqlite(let store):
            SQLiteWriter(store: store, loop: loop, settings: settings, metrics: metrics)
        case .postgres(let location):
            PostgresWriter(
                location: location, loop: loop, settings: settings, metrics: metrics, logger: logger)
        }
    }

    /// A shard's access to the spool, for its `GroupCommit`; `nil` when there is none.
    package func makeSpool(_ lane: Int, on loop: Loop) -> (any BatchSpool)? {
        spool?.makeLane(lane, on: loop)
    }

    /// What lies in the spool; `nil` when there is none.
    package var spoolStatus: SpoolStatus? { spool?.status }

    /// A reader for one loop; made and used on the loop's thread.
    package func makeReader(on loop: Loop) -> any StoreReader {
        switch backing {
        case .sqlite(let store): SQLiteReader(store: store, loop: loop, settings: settings)
        case .postgres(let location):
            PostgresReader(location: location, loop: loop, settings: settings, logger: logger)
        }
    }

    /// The steps of our PBXs' calls for one CRM, for its sender; made and used on one loop's thread.
    ///
    /// - Parameter target: Which CRM; see ``CRMTargetName``.
    package func makeSteps(of target: String, on loop: Loop) -> any CRMStepStore {
        CRMStepQueue(
            backend: makeStepBackend(of: target, on: loop), loop: loop, keepDays: settings.crmKeepDays,
            logger: logger)
    }

    func makeStepBackend(of target: String, on loop: Loop) -> any CRMStepBackend {
        switch backing {
        case .sqlite(let store):
            SQLiteSteps(store: store, loop: loop, target: target, pbxNames: settings.pbxNames)
        case .postgres(let location):
            PostgresSteps(location: location, loop: loop, settings: settings, target: target, logger: logger)
        }
    }

    /// What makes partitions ahead and removes old events, to be started on one loop; SQLite's writing thread does
    /// that itself.
    package func makeKeeper(on loop: Loop) -> StoreKeeper? {
        guard case .postgres(let location) = backing else { return nil }
        return StoreKeeper(
            location: location, loop: loop, settings: settings, metrics: metrics, logger: logger)
    }

    /// Ends the threads; after all writers and readers have stopped.
    ///
    /// Not from a loop of the store.
    package func close() {
        if case .sqlite(let store) = backing { store.close() }
        spool?.close()
    }
}
