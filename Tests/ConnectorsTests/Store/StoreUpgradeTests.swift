import Foundation
import Testing

@testable import Connectors

@Suite("Migrations from the command line")
struct StoreUpgradeTests {
    @Test("a dry run tells all and changes nothing; then it is done, and then nothing is left to do")
    func sqlite() throws {
        let path = "/tmp/callflow-upgrade-\(UInt64.random(in: 0...UInt64.max)).db"
        defer {
            for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + suffix) }
        }
        let upgrade = StoreUpgrade(location: .sqlite(path: path), settings: StoreSettings())
        let plan = try upgrade.plan()
        #expect(plan.version == nil)
        #expect(plan.present.isEmpty)
        #expect(plan.steps.map(\.version) == Migration.sqlite.map(\.version))
        #expect(plan.steps.allSatisfy { !$0.sql.isEmpty && !$0.name.isEmpty })
        #expect(!FileManager.default.fileExists(atPath: path))
        #expect(try upgrade.apply().steps == plan.steps)
        let after = try upgrade.plan()
        #expect(after.steps.isEmpty)
        #expect(after.present == Migration.sqlite.map(\.version))
        #expect(try upgrade.apply().steps.isEmpty)
    }

    @Test("the same on an empty PostgreSQL, partitions included", .enabled(if: PostgresCluster.isInstalled))
    func postgres() throws {
        let cluster = try PostgresCluster.shared()
        let url = try cluster.makeDatabase()
        let database = String(url.split(separator: "/").last ?? "")
        let upgrade = try StoreUpgrade(location: StoreLocation(databaseURL: url), settings: StoreSettings())
        let plan = try upgrade.plan()
        #expect(plan.steps.map(\.version) == Migration.postgres.map(\.version))
        #expect(
            try cluster.execute(
                "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", database: database) == "0")
        let done = try upgrade.apply()
        #expect(done.steps == plan.steps)
        #expect(done.partitions.count >= 3)
        let after = try upgrade.plan()
        #expect(after.steps.isEmpty)
        #expect(after.partitions.isEmpty)
        #expect(after.inheritedEvents == nil)
        #expect(after.present == Migration.postgres.map(\.version))
    }

    @Test(
        "on the old daemon's database its table stays, and who may not change it is told so",
        .enabled(if: PostgresCluster.isInstalled))
    func oldDatabase() throws {
        let cluster = try PostgresCluster.shared()
        let url = try cluster.makeDatabase()
        let database = String(url.split(separator: "/").last ?? "")
        try cluster.execute(
            PostgresMigrationTests.oldSchema + """
                ANALYZE call_events;
                DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN PASSWORD 'strange';
                GRANT CREATE, USAGE ON SCHEMA public TO stranger
                """, database: database)
        let strange = StoreUpgrade(
            location: try StoreLocation(
                databaseURL: "postgres://stranger:strange@127.0.0.1:\(cluster.port)/\(database)"),
            settings: StoreSettings())
        do throws(StoreError) {
            _ = try strange.apply()
            Issue.record("somebody else's tables were changed")
        } catch {
            #expect(
                error.description.contains("migration 2 (what the old daemon did not keep of a call) failed"))
            #expect(error.description.contains("must be owner of table calls (42501)"), "\(error)")
        }
        let upgrade = StoreUpgrade(
            location: try StoreLocation(databaseURL: url), settings: StoreSettings())
        #expect(try upgrade.plan().inheritedEvents == 2)
        try cluster.execute("ALTER TABLE callflow_migrations OWNER TO tester", database: database)
        let done = try upgrade.apply()
        #expect(done.steps.map(\.version) == Migration.postgres.map(\.version).filter { $0 != 1 })
        #expect(done.partitions.isEmpty)
        #expect(
            try cluster.execute(
                """
                SELECT count(*) FROM call_events; SELECT count(*) FROM calls; SELECT count(*) FROM schema_migrations;
                SELECT relkind FROM pg_class WHERE oid = 'call_events'::regclass
                """, database: database) == "2\n2\n2\nr")
    }

    @Test(
        "a table that is in use is waited for shortly, and the try can be repeated",
        .enabled(if: PostgresCluster.isInstalled))
    func locked() throws {
        let cluster = try PostgresCluster.shared()
        let url = try cluster.makeDatabase()
        let database = String(url.split(separator: "/").last ?? "")
        try cluster.execute(PostgresMigrationTests.oldSchema, database: database)
        guard case .postgres(let location) = try StoreLocation(databaseURL: url) else { return }
        let reader = try PostgresConnector(location: location, settings: StoreSettings()).connect(
            for: .upkeep
        ).get()
        try reader.execute("BEGIN; SELECT count(*) FROM calls")
        let upgrade = StoreUpgrade(location: .postgres(location), settings: StoreSettings())
        do throws(StoreError) {
            _ = try upgrade.apply()
            Issue.record("a table in use was changed")
        } catch {
            guard case .transient(let text) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(text.contains("migration 2"))
        }
        // Nobody waits behind it any more.
        try cluster.execute("SELECT count(*) FROM calls", database: database)
        try reader.execute("COMMIT")
        #expect(try upgrade.apply().steps.count == Migration.postgres.count - 1)
    }
}
