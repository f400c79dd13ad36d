import ArgumentParser
import Connectors
import Reactor

struct BackupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup",
        abstract: "Copy the embedded SQLite store to a file, while the daemon runs.",
        discussion: """
            The copy is what the store held when it began; writing goes on meanwhile. It is checked, and bears its name only \
            when it is complete. PostgreSQL has pg_dump and pg_basebackup. Exit status: 0 done, 64 the store is no SQLite \
            file, 66 there is no such file, 69 it cannot be read, 73 the copy cannot be made, 75 the store stayed locked.
            """)

    @Option(help: "The file to be made; it must not be there.") var to: String
    @OptionGroup var flags: SettingFlags

    /// Between two lines of progress.
    private static let pause: Duration = .seconds(2)

    func run() async throws {
        let settings = try await flags.load()
        guard case .sqlite(let path) = settings.store else {
            StandardError.write(
                "callflow-fast: DATABASE_URL is a PostgreSQL server; use pg_dump or pg_basebackup")
            throw ExitStatus.usage
        }
        var next = MonotonicInstant.now() + Self.pause
        var total = 0
        do throws(SQLiteBackup.Failure) {
            try SQLiteBackup.run(from: path, to: to) { progress in
                total = progress.bytesTotal
                guard MonotonicInstant.now() >= next else { return }
                next = MonotonicInstant.now() + Self.pause
                StandardError.write(
                    "\(progress.bytesDone >> 20) of \(total >> 20) MiB (\(progress.bytesDone * 100 / max(total, 1)) %)"
                )
            }
        } catch {
            StandardError.write("callflow-fast: \(error)")
            switch error {
            case .noSource: throw ExitStatus.noInput
            case .target: throw ExitStatus.cannotCreate
            case .store(let error): throw ExitStatus.of(error)
            }
        }
        print("\(path) copied to \(to) and checked: \(total) bytes")
    }
}
