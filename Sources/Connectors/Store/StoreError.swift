/// What can go wrong between the daemon and its database; texts carry no secrets and no payloads.
package enum StoreError: Error, Sendable, Hashable, CustomStringConvertible {
    /// A setting is wrong; the text names it. Retrying cannot help.
    case configuration(String)
    /// The database is away, refuses us or cannot write; worth trying again later.
    case unavailable(String)
    /// This transaction lost a race (deadlock, serialisation); worth trying again at once.
    case transient(String)
    /// The database refuses what a row holds: trying again gives the same answer.
    case data(code: String, String)

    /// The text for a log line or an answer.
    package var description: String {
        switch self {
        case .configuration(let text), .unavailable(let text), .transient(let text): text
        case .data(let code, let text): "\(text) (\(code))"
        }
    }
}

/// How it stands with a database connection.
package enum StoreState: Sendable, Hashable {
    /// No answer yet.
    case connecting
    /// Working; the text is the server's version ("PostgreSQL 15.20", "SQLite 3.40.1").
    case connected(serverVersion: String)
    /// Away or refused; the text says why, without secrets.
    case failing(reason: String)

    /// Whether reads and writes are possible.
    package var isConnected: Bool {
        if case .connected = self { return true }
        return false
    }
}
