import ArgumentParser
import Connectors
import Reactor

struct CheckConfigCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check-config",
        abstract: "Check all settings and print what would be used, without secrets.",
        discussion: "Connects to nothing. Exit status 78 when a setting cannot be used; the message names it."
    )

    @OptionGroup var flags: SettingFlags

    func run() async throws {
        let settings = try await flags.load()
        for (name, value) in settings.summary { print("\(name.padded(to: 12)) \(value)") }
    }
}

extension String {
    fileprivate func padded(to width: Int) -> String {
        self + String(repeating: " ", count: max(0, width - count))
    }
}

extension Settings {
    /// What would be used, for people; no secrets.
    var summary: [(String, String)] {
        var pbxLines = pbxs.configurations.map { ("pbx", "\($0)") }
        if let missing = pbxs.missing { pbxLines.append(("pbx", "none: \(missing), mock mode")) }
        return pbxLines + [
            ("database", "\(store)"),
            ("bitrix24", bitrix.map { "\($0)" } ?? "off: BITRIX_WEBHOOK_URL is not set"),
            ("webhook", webhook.map { "\($0)" } ?? "off: WEBHOOK_URL is not set"),
            (
                "retention",
                storeSettings.eventRetentionDays.map { "events for \($0) days" } ?? "events for ever"
            ),
            (
                "spool",
                storeSettings.spool.map { "\($0.path), at most \($0.maximumBytes) bytes" }
                    ?? "none: rows wait in memory while the database is away"
            ),
            ("durability", storeSettings.durability.rawValue),
            ("http", "\(listenAddress)"),
            ("loops", "\(loops), io \(ioMode.rawValue)"),
            (
                "bounds",
                "\(maximumCalls) calls a loop, \(storeSettings.queueMaxBytes) bytes waiting for the database"
            ),
            ("log", "\(logLevel) to \(logFile ?? "standard error")"),
        ]
    }
}
