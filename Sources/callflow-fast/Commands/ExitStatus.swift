import ArgumentParser
import Connectors

/// Exit statuses of the commands (sysexits.h), so that a script can tell what to do about a failure.
enum ExitStatus {
    /// EX_USAGE: the command cannot do that here.
    static let usage = ExitCode(64)
    /// EX_DATAERR: what the database holds is not as it must be.
    static let data = ExitCode(65)
    /// EX_NOINPUT: there is no such file.
    static let noInput = ExitCode(66)
    /// EX_UNAVAILABLE: the database is away or refuses.
    static let unavailable = ExitCode(69)
    /// EX_CANTCREAT: the file cannot be made.
    static let cannotCreate = ExitCode(73)
    /// EX_TEMPFAIL: somebody is in the way for the moment; try again.
    static let temporary = ExitCode(75)
    /// EX_NOPERM: the database's user may not do that.
    static let permission = ExitCode(77)
    /// EX_CONFIG: a setting cannot be used.
    static let configuration = ExitCode(78)

    static func of(_ error: StoreError) -> ExitCode {
        switch error {
        case .configuration: configuration
        case .transient: temporary
        case .data: data
        // SQLSTATE insufficient_privilege; the text ends with it.
        case .unavailable(let text): text.contains("(42501)") ? permission : unavailable
        }
    }
}
