import Glibc

/// Brings a database up to date from the command line, or tells what that would be; blocking.
package struct StoreUpgrade {
    /// One migration, for people.
    package struct Step: Sendable, Equatable {
        /// Its number.
        package var version: Int
        /// What it is for.
        package var name: String
        /// The statements.
        package var sql: String
    }

    /// What was done, or would be.
    package struct Report: Sendable, Equatable {
        /// The server's or the library's version; `nil` when there is no file yet.
        package var version: String?
        /// Migrations, in order.
        package var steps: [Step] = []
        /// Numbers of those that the database had before.
        package var present: [Int] = []
        /// Partitions of the events that were made, or would be.
        package var partitions: [String] = []
        /// Rows of the old daemon that stay, as the server estimates them; `nil`: its tables are not there.
        package var inheritedEvents: Int?
    }

    private let location: StoreLocation
    private let settings: StoreSettings

    package init(location: StoreLocation, settings: StoreSettings) {
        self.location = location
        self.settings = settings
    }

    /// What `apply` would do; changes nothing and waits for nobody.
    package func plan() throws(StoreError) -> Report {
        switch location {
        case .sqlite(let path): try planSQLite(path)
        case .postgres(let location): try planPostgres(location)
        }
    }

    /// Applies what is missing; another process may do so at the same time.
    package func apply() throws(StoreError) -> Report {
        var report = try plan()
        switch location {
        case .sqlite(let path):
            _ = try SQLiteSchema.open(path: path, settings: settings)
            report.version = SQLiteSchema.version
        case .postgres(let location):
            let connector = PostgresConnector(location: location, settings: settings)
            let connection = try connector.connect(for: .migration).get()
            report.steps = connection.appliedMigrations.map { Self.step($0, $0.postgres) }
            report.partitions = connection.madePartitions
        }
        return report
    }

    private static func step(_ migration: Migration, _ sql: String?) -> Step {
        Step(version: migration.version, name: migration.name, sql: sql ?? "")
    }

    private func planSQLite(_ path: String) throws(StoreError) -> Report {
        var report = Report()
        var versions: Set<Int> = []
        if access(path, F_OK) == 0 {
            let database = try SQLiteDatabase(path: path, forWriting: false)
            report.version = SQLiteSchema.version
            let table = "SELECT count(*) FROM sqlite_schema WHERE name = 'callflow_migrations'"
            if try database.text(table) != "0" { versions = try SQLiteSchema.versions(database) }
        }
        report.present = versions.sorted()
        report.steps = Migration.missing(Migration.sqlite, from: versions).map { Self.step($0, $0.sqlite) }
        return report
    }

    private func planPostgres(_ location: PostgresLocation) throws(StoreError) -> Report {
        let connector = PostgresConnector(location: location, settings: settings)
        let connection = try connector.connect(for: .upkeep).get()
        var report = Report(version: connection.serverVersion)
        let missing = try PostgresMigrator(connection: connection).missing()
        report.steps = missing.map { Self.step($0, $0.postgres) }
        let absent = Set(missing.map(\.version))
        report.present = Migration.postgres.map(\.version).filter { !absent.contains($0) }
        if let table = try PostgresEventTable(connection) {
            if table.isPartitioned {
                let plan = PartitionPlan(today: table.today, retentionDays: settings.eventRetentionDays)
                report.partitions = plan.missing(table.covered).map {
                    PartitionPlan.name(from: $0.lowerBound)
                }
            } else {
                let estimate = try connection.text(
                    "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass('call_events')"
                )
                report.inheritedEvents = Int(estimate ?? "")
            }
        }
        return report
    }
}
