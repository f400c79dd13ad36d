import ArgumentParser
import Connectors
import Protocols
import Reactor

struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Look at everything the daemon depends on, and say what to change and where.",
        discussion: """
            Connects to the PBX (with an application name of its own), the database and the portal as the daemon would, changes \
            nothing in them, and may run beside it. What ARI does not tell is read from ari.conf when the PBX is this machine or \
            --ari-conf names a copy. Exit status: 0 everything works (warnings may be left), 1 something does not, 78 a setting \
            cannot be used.
            """)

    @Flag(help: "Print the findings as a JSON array.") var json = false
    @Option(help: "The PBX's ari.conf, or a copy of it.") var ariConf: String?
    @OptionGroup var flags: SettingFlags

    /// Where Asterisk's packages put it.
    private static let usualARIConf = "/etc/asterisk/ari.conf"

    func run() async throws {
        let settings = try await flags.load()
        let findings = Self.examine(settings, ariConf: ariConf)
        print(json ? Self.json(findings) : Self.text(findings), terminator: "")
        if findings.contains(where: { $0.state == .failure }) { throw ExitCode(1) }
    }

    /// Looks at everything; blocking.
    static func examine(_ settings: Settings, ariConf: String?) -> [Finding] {
        var findings = MachineDoctor(ioMode: settings.ioMode, loops: settings.loops).examine()
        do {
            let tls = try TLSClientContext()
            for pbx in settings.pbxs.configurations {
                let ofPBX =
                    try PBXDoctor(pbx, tls: tls).examine(clock: WallClock.now)
                    + ariConfFindings(pbx, path: ariConf)
                findings += settings.pbxs.configurations.count > 1 ? ofPBX.map { $0.named(pbx.name) } : ofPBX
            }
            if let missing = settings.pbxs.missing {
                findings.append(
                    Finding(
                        .pbx, "set up", .warning,
                        "\(missing): the daemon reads no PBX",
                        remedy: "ARI_URL, ARI_USER, ARI_PASSWORD, or PBX_FILE"))
            }
            let store = StoreDoctor(
                settings.store, settings: settings.storeSettings, poolSize: settings.poolSize)
            findings += store.examine(clock: WallClock.now)
            if let bitrix = settings.bitrix {
                findings += try CRMDoctor(bitrix, tls: tls).examine()
            } else {
                findings.append(Finding(.crm, "set up", .ok, "off: BITRIX_WEBHOOK_URL is not set"))
            }
        } catch {
            findings.append(Finding(.machine, "event loop", .failure, "\(error)"))
        }
        return findings
    }

    private static func ariConfFindings(_ ari: ARIConfiguration, path: String?) -> [Finding] {
        let isHere = ["127.0.0.1", "::1", "localhost"].contains(ari.url.host)
        guard let path = path ?? (isHere ? usualARIConf : nil), let text = SmallFile.text(path) else {
            let state: Finding.State = path == nil ? .unknown : .failure
            return [
                Finding(
                    .pbx, "websocket_write_timeout", state,
                    path.map { "cannot read \($0)" } ?? "ARI does not tell it",
                    remedy:
                        "ari.conf of the PBX: [general] websocket_write_timeout = 5000 (its default of 100 ms cuts off a reader that "
                        + "stands still for a moment); `callflow-fast doctor --ari-conf FILE` checks a copy")
            ]
        }
        return ARIConfFile(text).examine(path: path, user: ari.user)
    }

    // MARK: Output

    /// One line a finding, what to do below it, a sum at the end.
    static func text(_ findings: [Finding]) -> String {
        var lines: [String] = []
        for area in Finding.Area.allCases {
            for finding in findings where finding.area == area {
                lines.append("\(sign(finding.state)) \(area.rawValue): \(finding.check): \(finding.text)")
                if !finding.remedy.isEmpty { lines.append("        → \(finding.remedy)") }
            }
        }
        func count(_ state: Finding.State) -> Int { findings.count { $0.state == state } }
        lines.append(
            "\(count(.ok)) well, \(count(.warning)) to mend one day, \(count(.failure)) broken, \(count(.unknown)) not to be seen from here"
        )
        return lines.joined(separator: "\n") + "\n"
    }

    private static func sign(_ state: Finding.State) -> String {
        switch state {
        case .ok: "ok     "
        case .warning: "warning"
        case .failure: "BROKEN "
        case .unknown: "unknown"
        }
    }

    static func json(_ findings: [Finding]) -> String {
        let list = findings.map { finding -> JSONValue in
            [
                "area": .string(finding.area.rawValue), "check": .string(finding.check),
                "state": .string(finding.state.rawValue), "text": .string(finding.text),
                "remedy": .string(finding.remedy),
            ]
        }
        return "\(JSONValue.array(list))\n"
    }
}

extension Finding {
    /// The same, said of one PBX of several.
    fileprivate func named(_ name: String) -> Finding {
        var finding = self
        finding.check = "\(name): \(check)"
        return finding
    }
}
