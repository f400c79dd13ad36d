import Connectors
import Protocols

/// The PBXs that the daemon reads: the one of `ARI_URL`, or those of the file `PBX_FILE`.
///
/// The file holds a JSON array with an object a PBX. `name` and `url` are needed; `user`, `password`, `app`, `subscribe` and
/// `stasis_policy` are those of `ARI_USER`, `ARI_PASSWORD`, `ARI_APP_NAME`, `ARI_SUBSCRIBE` and `ARI_STASIS_POLICY` where they
/// are absent. `prefix` stands before the PBX's identifiers: unique ids are unique on one box only. It is `NAME-` unless
/// said otherwise, and empty for the first, whose calls keep the ids that they had while it was the only one.
struct PBXList {
    /// Empty: mock mode, no PBX is read.
    private(set) var configurations: [ARIConfiguration] = []
    /// What they are called, in order; one name even if there is none.
    private(set) var names: [String]
    /// Why there is no PBX, for the log.
    private(set) var missing: String?

    /// PBXs of one daemon; each costs a connection, some timers and a line on the page.
    static let maximumCount = 8192
    /// Bytes of a prefix: with a usual unique id behind it a key still fits into a record.
    static let maximumPrefixBytes = 24

    /// Identifiers that rows of several PBXs begin with, in order.
    var prefixes: [String] { configurations.map(\.prefix) }

    /// - Throws: `SettingError`, naming the variable, and of a file the entry and its field; never a password.
    init(_ source: SettingSource) throws {
        let common = try Common(source)
        guard let path = source.text("PBX_FILE") else {
            names = [source.text("PBX_NAME") ?? "main"]
            (configurations, missing) = try Self.single(source, common, name: names[0])
            return
        }
        guard source.text("ARI_URL") == nil else {
            throw SettingError(
                variable: "PBX_FILE", problem: "and ARI_URL are both set; put that PBX into the file")
        }
        guard let text = SmallFile.text(path) else {
            throw SettingError(variable: "PBX_FILE", problem: "cannot read \(path)")
        }
        do {
            configurations = try Self.read(text, common)
        } catch {
            throw SettingError(variable: "PBX_FILE", problem: "\(path): \(error)")
        }
        names = configurations.map(\.name)
    }

    /// What PBXs have in common.
    struct Common {
        var user: String?
        var password: String?
        var appName: String?
        var subscription: ARIConfiguration.Subscription
        var stasisPolicy: ARIConfiguration.StasisPolicy

        init(_ source: SettingSource) throws {
            user = source.text("ARI_USER")
            password = source.text("ARI_PASSWORD")
            appName = source.text("ARI_APP_NAME")
            subscription = try source.choice("ARI_SUBSCRIBE", default: .calls)
            stasisPolicy = try source.choice("ARI_STASIS_POLICY", default: .continue)
        }

        func configuration(name: String, url: URL, user: String, password: String) -> ARIConfiguration {
            var configuration = ARIConfiguration(name: name, url: url, user: user, password: password)
            // One pass over the bytes checks JSON and encoding.
            configuration.textValidation = .reader
            configuration.appName = appName ?? configuration.appName
            configuration.subscription = subscription
            configuration.stasisPolicy = stasisPolicy
            return configuration
        }
    }

    private static func single(
        _ source: SettingSource, _ common: Common, name: String
    ) throws -> ([ARIConfiguration], String?) {
        guard let text = source.text("ARI_URL") else { return ([], "ARI_URL is not set") }
        let url: URL
        do {
            url = try Self.url(text)
        } catch {
            throw SettingError(variable: "ARI_URL", problem: error.text)
        }
        guard let user = common.user else { return ([], "ARI_USER is not set") }
        guard let password = common.password else { return ([], "ARI_PASSWORD is not set") }
        return ([common.configuration(name: name, url: url, user: user, password: password)], nil)
    }

    /// What is wrong, in words that follow the name of what it is wrong with.
    struct Problem: Error, CustomStringConvertible {
        var text: String

        init(_ text: String) { self.text = text }

        var description: String { text }
    }

    private static func url(_ text: String) throws(Problem) -> URL {
        let url: URL
        do {
            url = try URL(text)
        } catch {
            throw Problem("\(error)")
        }
        guard url.scheme == .ws || url.scheme == .wss else {
            throw Problem("must begin with ws:// or wss://")
        }
        guard url.user == nil, url.password == nil else {
            throw Problem("must not hold the password; use ARI_USER and ARI_PASSWORD")
        }
        return url
    }

    // MARK: File

    /// Reads the file's text.
    ///
    /// - Throws: What is wrong, with the entry and the field.
    static func read(_ text: String, _ common: Common) throws(Problem) -> [ARIConfiguration] {
        let value: JSONValue
        do {
            value = try JSONValue.parse(text)
        } catch {
            throw Problem("no valid JSON: \(error)")
        }
        guard let entries = value.array, !entries.isEmpty else {
            throw Problem("must be a JSON array with at least one PBX")
        }
        guard entries.count <= maximumCount else { throw Problem("more than \(maximumCount) PBXs") }
        var list: [ARIConfiguration] = []
        var byName: [String: Int] = [:]
        var byAddress: [String: Int] = [:]
        for (index, entry) in entries.enumerated() {
            let pbx: ARIConfiguration
            do {
                pbx = try Entry(entry).configuration(common, isFirst: index == 0)
            } catch {
                let name = entry["name"]?.string.map { " (\($0))" } ?? ""
                throw Problem("PBX \(index + 1)\(name): \(error)")
            }
            if let other = byName.updateValue(index, forKey: pbx.name) {
                throw Problem("PBX \(index + 1) has the name of PBX \(other + 1), \(pbx.name)")
            }
            if let other = byAddress.updateValue(index, forKey: pbx.eventsAddress) {
                throw Problem(
                    "PBX \(index + 1) (\(pbx.name)) is the same application of the same PBX as \(list[other].name)"
                )
            }
            list.append(pbx)
        }
        return list
    }

    /// One object of the file.
    private struct Entry {
        private let members: [JSONValue.Member]

        private static let fields = [
            "name", "url", "user", "password", "app", "subscribe", "stasis_policy", "prefix",
        ]

        init(_ value: JSONValue) throws(Problem) {
            guard case .object(let members) = value else { throw Problem("must be an object") }
            for member in members where !Self.fields.contains(member.key) {
                throw Problem(
                    "there is no field \"\(member.key)\"; there are \(Self.fields.joined(separator: ", "))")
            }
            self.members = members
        }

        private func text(_ field: String) throws(Problem) -> String? {
            guard let value = members.last(where: { $0.key == field })?.value, value != .null else {
                return nil
            }
            guard let text = value.string else { throw Problem("\(field) must be a string") }
            return text
        }

        private func choice<Choice: RawRepresentable & CaseIterable>(
            _ field: String, default fallback: Choice
        ) throws(Problem) -> Choice where Choice.RawValue == String {
            guard let text = try text(field) else { return fallback }
            guard let value = Choice(rawValue: text.lowercased()) else {
                let allowed = Choice.allCases.map(\.rawValue).joined(separator: ", ")
                throw Problem("\(field) must be one of \(allowed)")
            }
            return value
        }

        func configuration(_ common: Common, isFirst: Bool) throws(Problem) -> ARIConfiguration {
            guard let name = try text("name"), Self.isName(name) else {
                throw Problem("name must be there: letters, digits, '.', '_' and '-', at most 64")
            }
            guard let address = try text("url") else { throw Problem("url is missing") }
            let url: URL
            do {
                url = try PBXList.url(address)
            } catch {
                throw Problem("url \(error)")
            }
            guard let user = try text("user") ?? common.user else {
                throw Problem("user is missing, and ARI_USER is not set")
            }
            guard let password = try text("password") ?? common.password else {
                throw Problem("password is missing, and ARI_PASSWORD is not set")
            }
            var pbx = common.configuration(name: name, url: url, user: user, password: password)
            pbx.appName = try text("app") ?? pbx.appName
            pbx.subscription = try choice("subscribe", default: pbx.subscription)
            pbx.stasisPolicy = try choice("stasis_policy", default: pbx.stasisPolicy)
            pbx.prefix = try prefix(name, isFirst: isFirst)
            return pbx
        }

        private func prefix(_ name: String, isFirst: Bool) throws(Problem) -> String {
            let given = try text("prefix")
            let prefix = given ?? (isFirst ? "" : "\(name)-")
            guard prefix.utf8.count <= PBXList.maximumPrefixBytes else {
                throw Problem(
                    given == nil
                        ? "prefix must be given: the name is longer than \(PBXList.maximumPrefixBytes - 1)"
                        : "prefix must have at most \(PBXList.maximumPrefixBytes) characters")
            }
            guard prefix.isEmpty || Self.isName(prefix) else {
                throw Problem("prefix may have letters, digits, '.', '_' and '-'")
            }
            return prefix
        }

        /// It stands in logs, in labels of Prometheus, in ids and so in paths.
        private static func isName(_ text: String) -> Bool {
            (1...64).contains(text.utf8.count)
                && text.utf8.allSatisfy { byte in
                    switch byte {
                    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F: true
                    default: false
                    }
                }
        }
    }
}
