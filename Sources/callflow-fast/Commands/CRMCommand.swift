import ArgumentParser
import Connectors
import Protocols
import Reactor

struct CRMCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "crm",
        abstract: "What the CRM is told of calls: how it stands, and sending again.",
        discussion: """
            Works on the table of steps, beside a daemon that runs or without one; the daemon finds within a minute what was \
            changed here. Exit status: 0 done, 1 the check found something broken, 64 a date cannot be read, 69 the database \
            is away, 75 somebody holds a lock, 77 the database's user may not, 78 a setting cannot be used.
            """,
        subcommands: [CRMStatus.self, CRMRetry.self, CRMResend.self, CRMCheckCommand.self],
        defaultSubcommand: CRMStatus.self)

    /// Opens the table.
    static func desk(_ settings: Settings, isReadOnly: Bool) throws -> CRMStepDesk {
        try doing {
            () throws(StoreError) in
            try CRMStepDesk(
                location: settings.store, settings: settings.storeSettings, isReadOnly: isReadOnly)
        }
    }

    /// Turns an error of the database into a line and an exit status.
    static func doing<Value>(_ body: () throws(StoreError) -> Value) throws -> Value {
        do throws(StoreError) {
            return try body()
        } catch {
            StandardError.write("callflow-fast: \(error)")
            throw ExitStatus.of(error)
        }
    }
}

struct CRMStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "How many steps wait, failed or are done, and why they are not.")

    @Flag(help: "Print JSON.") var json = false
    @OptionGroup var flags: SettingFlags

    func run() async throws {
        let desk = try CRMCommand.desk(try await flags.load(), isReadOnly: true)
        let (counts, reasons) = try CRMCommand.doing {
            () throws(StoreError) in (try desk.counts(), try desk.reasons())
        }
        print(json ? Self.json(counts, reasons) : Self.text(counts, reasons))
    }

    /// A line for each target, step and state, then the reasons.
    static func text(_ counts: [CRMStepDesk.Count], _ reasons: [CRMStepDesk.Reason]) -> String {
        guard !counts.isEmpty else { return "no steps: no call was told to a CRM yet" }
        var lines = counts.map { count in
            let age =
                count.state == "done" || count.state == "skipped"
                ? "" : ", oldest \(Self.age(count.oldestSeconds))"
            return "\(count.target)  \(count.kind)  \(count.state)  \(count.count)\(age)"
        }
        if !reasons.isEmpty { lines += ["", "why:"] }
        for reason in reasons { lines.append("  \(reason.count) × \(reason.state): \(reason.text)") }
        return lines.joined(separator: "\n")
    }

    static func age(_ seconds: Int) -> String {
        switch seconds {
        case ..<120: "\(seconds) s"
        case ..<7_200: "\(seconds / 60) min"
        case ..<172_800: "\(seconds / 3_600) h"
        default: "\(seconds / 86_400) days"
        }
    }

    static func json(_ counts: [CRMStepDesk.Count], _ reasons: [CRMStepDesk.Reason]) -> String {
        var writer = JSONWriter()
        writer.object { object in
            object.key("steps")
            object.array { list in
                for count in counts {
                    list.object {
                        $0.member("target", count.target)
                        $0.member("step", count.kind)
                        $0.member("state", count.state)
                        $0.member("count", count.count)
                        $0.member("oldest_seconds", count.oldestSeconds)
                    }
                }
            }
            object.key("reasons")
            object.array { list in
                for reason in reasons {
                    list.object {
                        $0.member("state", reason.state)
                        $0.member("reason", reason.text)
                        $0.member("count", reason.count)
                    }
                }
            }
        }
        return String(decoding: writer.output, as: UTF8.self)
    }
}

struct CRMRetry: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "retry", abstract: "Try again what was given up.",
        discussion: """
            A call of which nobody knows whether the CRM has it is looked up there first; where the CRM cannot be asked it \
            fails again.
            """)

    @Flag(help: "Only say how many calls that would be.") var dryRun = false
    @OptionGroup var flags: SettingFlags

    func run() async throws {
        let desk = try CRMCommand.desk(try await flags.load(), isReadOnly: dryRun)
        let calls = try CRMCommand.doing { () throws(StoreError) in try desk.retry(dryRun: dryRun) }
        print(
            "\(calls) call\(calls == 1 ? "" : "s") with failed steps \(dryRun ? "would be" : "are") tried again"
        )
    }
}

struct CRMResend: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resend", abstract: "Tell the CRM again of the calls of a time.",
        discussion: """
            Calls that began at or after --from and before --to and have ended. Those that the CRM was told of are looked up there \
            first, so that none is there twice; that needs a webhook whose user may read the statistics. Dates are \
            2026-11-22, 2026-11-22T10:30:00 (UTC) or 2026-11-22T10:30:00+03:00.
            """)

    @Option(help: "The first moment.") var from: String
    @Option(help: "The moment behind the last.") var to: String
    @Flag(help: "Only say how many calls that would be.") var dryRun = false
    @OptionGroup var flags: SettingFlags

    func run() async throws {
        let (first, last) = (try Self.time(from), try Self.time(to))
        let settings = try await flags.load()
        let desk = try CRMCommand.desk(settings, isReadOnly: dryRun)
        let resent = try CRMCommand.doing {
            () throws(StoreError) in
            try desk.resend(
                from: first, to: last, target: CRMTargetName.bitrix24.rawValue, dryRun: dryRun)
        }
        let would = dryRun ? "would be told" : "will be told"
        print(
            "\(resent.new) calls \(would); \(resent.doubted) \(dryRun ? "would be" : "will be") compared first"
        )
    }

    static func time(_ text: String) throws -> Timestamp {
        let whole = text.utf8.count == 10 ? text + "T00:00:00" : text
        guard let time = Timestamp(whole) else {
            StandardError.write("callflow-fast: \"\(text)\" is no date or time")
            throw ExitStatus.usage
        }
        return time
    }
}

struct CRMCheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract:
            "Ask the portal whether the webhook, its permissions, line, users and extensions are as they must be.",
        discussion:
            "Some ten small requests that change nothing. Exit status: 0 it works, 1 something does not.")

    @Flag(help: "Print the findings as a JSON array.") var json = false
    @OptionGroup var flags: SettingFlags

    func run() async throws {
        let settings = try await flags.load()
        guard let bitrix = settings.bitrix else {
            StandardError.write("callflow-fast: BITRIX_WEBHOOK_URL is not set")
            throw ExitStatus.configuration
        }
        let findings = try CRMCheck(bitrix, tls: try TLSClientContext()).examine()
        print(json ? DoctorCommand.json(findings) : DoctorCommand.text(findings), terminator: "")
        if findings.contains(where: { $0.state == .failure }) { throw ExitCode(1) }
    }
}
