import ArgumentParser
import Connectors

struct MigrateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "Bring the tables of DATABASE_URL up to date, or tell what that would be.",
        discussion: """
            The daemon does this itself when it starts; run it before, as the tables' owner, when the daemon's own user may \
            not change them. What is there is never dropped or rewritten. Any number may run at once. Exit status: 0 done or \
            nothing to do, 69 the database is away, 75 somebody holds a lock, try again, 77 the user may not, 78 a setting \
            cannot be used.
            """)

    @Flag(help: "Print what would be done, with the statements, and change nothing.") var dryRun = false
    @OptionGroup var flags: SettingFlags

    func run() async throws {
        let settings = try await flags.load()
        let upgrade = StoreUpgrade(location: settings.store, settings: settings.storeSettings)
        let report: StoreUpgrade.Report
        do throws(StoreError) {
            report = dryRun ? try upgrade.plan() : try upgrade.apply()
        } catch {
            StandardError.write("callflow-fast: \(error)")
            if ExitStatus.of(error) == ExitStatus.permission {
                StandardError.write("callflow-fast: run `callflow-fast migrate` as the owner of the tables")
            }
            throw ExitStatus.of(error)
        }
        print("\(settings.store) (\(report.version ?? "no file yet"))")
        for line in Self.lines(report, isPlan: dryRun) { print(line) }
    }

    /// The report, for people.
    static func lines(_ report: StoreUpgrade.Report, isPlan: Bool) -> [String] {
        var lines: [String] = []
        if !report.present.isEmpty {
            lines.append("there already: \(report.present.map(String.init).joined(separator: ", "))")
        }
        for step in report.steps {
            lines.append("\(isPlan ? "would apply" : "applied") \(step.version): \(step.name)")
            if isPlan { lines += step.sql.split(separator: "\n").map { "    \($0)" } }
        }
        for partition in report.partitions {
            lines.append("\(isPlan ? "would make" : "made") partition \(partition)")
        }
        if let events = report.inheritedEvents {
            lines.append(
                "call_events is a table without partitions, about \(events) rows: kept and used as it is")
        }
        if report.steps.isEmpty, report.partitions.isEmpty { lines.append("up to date, nothing to do") }
        return lines
    }
}
