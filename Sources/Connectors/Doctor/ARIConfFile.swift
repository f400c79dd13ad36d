/// What `ari.conf` of the PBX says that ARI itself does not tell; for a daemon that runs on the PBX, or a copy of the file.
package struct ARIConfFile {
    private var general: [String: String] = [:]
    private var users: [String: [String: String]] = [:]

    /// Milliseconds after which Asterisk cuts a reader off that took nothing, when the file does not say.
    static let defaultWriteTimeout = 100
    /// What we recommend: a machine that stands still for a moment must not lose its events.
    static let recommendedWriteTimeout = 5000

    /// Reads sections `[name]`, `key = value` and `key => value`.
    ///
    /// Comments begin with `;`; templates (`[name](!)`) are taken as sections.
    package init(_ text: String) {
        var section = ""
        for raw in text.split(separator: "\n", omittingEmptySubsequences: true) {
            let line = Self.trimmed(raw.prefix { $0 != ";" })
            if line.first == "[", let end = line.firstIndex(of: "]") {
                section = String(line[line.index(after: line.startIndex)..<end])
            } else if let equals = line.firstIndex(of: "=") {
                let key = Self.trimmed(line[..<equals]).lowercased()
                var value = line[line.index(after: equals)...]
                if value.first == ">" { value = value.dropFirst() }
                let text = String(Self.trimmed(value))
                if section == "general" {
                    general[key] = text
                } else {
                    users[section, default: [:]][key] = text
                }
            }
        }
    }

    private static func trimmed(_ text: Substring) -> Substring {
        let isBlank: (Character) -> Bool = { $0 == " " || $0 == "\t" || $0 == "\r" }
        var text = text.drop(while: isBlank)
        while let last = text.last, isBlank(last) { text = text.dropLast() }
        return text
    }

    private static func isYes(_ value: String?) -> Bool {
        ["yes", "true", "y", "t", "1", "on"].contains(value?.lowercased() ?? "")
    }

    /// Findings about the file at `path`, for the ARI user `user`.
    package func examine(path: String, user: String) -> [Finding] {
        var findings: [Finding] = []
        if let enabled = general["enabled"], !Self.isYes(enabled) {
            findings.append(
                Finding(
                    .pbx, "ari.conf", .failure, "enabled = \(enabled)",
                    remedy: "\(path): [general] enabled = yes"))
        }
        let timeout = general["websocket_write_timeout"].flatMap { Int($0) } ?? Self.defaultWriteTimeout
        if timeout < 1000 {
            findings.append(
                Finding(
                    .pbx, "websocket_write_timeout", .warning,
                    "\(timeout) ms: a reader that stands still for so long is cut off, and its events with it",
                    remedy: "\(path): [general] websocket_write_timeout = \(Self.recommendedWriteTimeout)"))
        } else {
            findings.append(Finding(.pbx, "websocket_write_timeout", .ok, "\(timeout) ms"))
        }
        let variables = general["channelvars"] ?? ""
        if variables.lowercased().split(separator: ",").contains(where: {
            Self.trimmed($0) == "channel(linkedid)"
        }) {
            findings.append(Finding(.pbx, "channelvars in the file", .ok, variables))
        } else {
            findings.append(
                Finding(
                    .pbx, "channelvars in the file", .warning, variables.isEmpty ? "none" : variables,
                    remedy: "\(path): [general] channelvars = CHANNEL(linkedid)"))
        }
        if let section = users[user] {
            if Self.isYes(section["read_only"]) {
                findings.append(
                    Finding(
                        .pbx, "ARI user", .failure, "\(user) may only read",
                        remedy: "\(path): [\(user)] read_only = no"))
            }
        } else {
            findings.append(
                Finding(
                    .pbx, "ARI user", .warning, "the file has no user \(user)",
                    remedy:
                        "\(path): a section [\(user)] with type = user (it may be in a file that this one includes)"
                ))
        }
        return findings
    }
}
