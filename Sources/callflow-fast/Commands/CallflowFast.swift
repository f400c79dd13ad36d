import ArgumentParser

/// The command; `serve` when nothing is named, so that the old daemon's start line keeps working.
@main
struct CallflowFast: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "callflow-fast",
        abstract:
            "Takes call events from Asterisk to PostgreSQL or SQLite, Bitrix24, a REST API and a live page.",
        discussion: """
            Settings come from the environment, from .env, and from flags, each stronger than the one before; README.md \
            lists them. Exit status: 0 after a graceful stop, 78 when a setting cannot be used, 1 when the start failed.
            """,
        version: Version.text,
        subcommands: [
            ServeCommand.self, SimulateCommand.self, CheckConfigCommand.self, MigrateCommand.self,
            BackupCommand.self, ExplainCommand.self, RebuildCommand.self, DoctorCommand.self, CRMCommand.self,
            VersionCommand.self,
        ],
        defaultSubcommand: ServeCommand.self)
}

/// What this build is.
enum Version {
    /// Moves with CHANGELOG.md.
    static let text = "0.1.0-dev"
}

struct VersionCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Print the version.")

    func run() async throws {
        print("callflow-fast \(Version.text)")
    }
}
