import Configuration
import SystemPackage

/// A setting that cannot be used: names the variable and what is wrong, never its value when that may be a secret.
struct SettingError: Error, CustomStringConvertible {
    var variable: String
    var problem: String

    var description: String { "\(variable): \(problem)" }
}

/// Reads settings by their variable names: environment, `.env`, flags, each stronger than the one before.
///
/// The reading itself is swift-configuration's; here an empty value counts as absent, as operators expect of
/// `VARIABLE=` in an environment file.
struct SettingSource {
    private let reader: ConfigReader

    /// - Parameters:
    ///   - environmentFile: Path of the `.env` file; a missing file is no error unless it was `isExplicit`ly named.
    ///   - flags: Values given on the command line, by variable name.
    init(environmentFile: String, isExplicit: Bool, flags: [String: String]) async throws {
        let fromFlags = EnvironmentVariablesProvider(environmentVariables: flags)
        let fromFile: EnvironmentVariablesProvider
        do {
            fromFile = try await EnvironmentVariablesProvider(
                environmentFilePath: FilePath(environmentFile), allowMissing: !isExplicit)
        } catch {
            throw SettingError(variable: "--env-file", problem: "cannot read \(environmentFile)")
        }
        reader = ConfigReader(providers: [fromFlags, fromFile, EnvironmentVariablesProvider()])
    }

    /// The text of a variable; `nil` when absent or empty.
    func text(_ variable: String) -> String? {
        let key = ConfigKey(variable.split(separator: "_").map { $0.lowercased() })
        guard var value = reader.string(forKey: key, isSecret: true) else { return nil }
        if value.utf8.count >= 2, let quote = value.first, quote == "\"" || quote == "'", value.last == quote
        {
            value = String(value.dropFirst().dropLast())
        }
        return value.isEmpty ? nil : value
    }

    /// A whole number within `range`.
    func number(_ variable: String, in range: ClosedRange<Int>, default fallback: Int) throws -> Int {
        guard let text = text(variable) else { return fallback }
        guard let value = Int(text), range.contains(value) else {
            throw SettingError(
                variable: variable,
                problem:
                    "must be a whole number from \(range.lowerBound) to \(range.upperBound), not \"\(text)\"")
        }
        return value
    }

    /// One of the cases of an enumeration, by raw value.
    func choice<Choice: RawRepresentable & CaseIterable>(
        _ variable: String, default fallback: Choice
    ) throws -> Choice where Choice.RawValue == String {
        guard let text = text(variable) else { return fallback }
        guard let value = Choice(rawValue: text.lowercased()) else {
            let allowed = Choice.allCases.map(\.rawValue).joined(separator: ", ")
            throw SettingError(variable: variable, problem: "must be one of \(allowed), not \"\(text)\"")
        }
        return value
    }

    /// A yes or no: `true`, `1`, `yes`, `on` and their opposites.
    func flag(_ variable: String, default fallback: Bool) throws -> Bool {
        guard let text = text(variable)?.lowercased() else { return fallback }
        switch text {
        case "true", "1", "yes", "on": return true
        case "false", "0", "no", "off": return false
        default: throw SettingError(variable: variable, problem: "must be true or false, not \"\(text)\"")
        }
    }
}
