/// Where the rows go: what `DATABASE_URL` says.
package enum StoreLocation: Sendable, Hashable, CustomStringConvertible {
    /// An embedded SQLite file.
    case sqlite(path: String)
    /// A PostgreSQL server, or several for failover.
    case postgres(PostgresLocation)

    /// The file used without `DATABASE_URL`.
    package static let defaultSQLitePath = "callflow-fast.sqlite3"

    /// For logs: no password, no user's query options.
    package var description: String {
        switch self {
        case .sqlite(let path): "sqlite:\(path)"
        case .postgres(let location): location.description
        }
    }

    /// Reads `ecto://U:P@HOST[:PORT]/DB[?ssl=true…]`, `postgres://`, `postgresql://` (also with several
    /// hosts, `host=/socket/dir`, IPv6 in brackets) or `sqlite:PATH`; `nil` or an empty text is the default file.
    ///
    /// - Throws: `.configuration`, which names `DATABASE_URL` and never quotes it, since it holds a password.
    package init(databaseURL: String?) throws(StoreError) {
        guard let url = databaseURL, !url.isEmpty else {
            self = .sqlite(path: Self.defaultSQLitePath)
            return
        }
        guard let colon = url.firstIndex(of: ":") else {
            throw .configuration(
                "DATABASE_URL has no scheme; expected ecto://, postgres://, postgresql:// or sqlite:PATH")
        }
        var rest = url[url.index(after: colon)...]
        switch url[..<colon].lowercased() {
        case "sqlite", "sqlite3":
            if rest.hasPrefix("//") { rest = rest.dropFirst(2) }
            guard !rest.isEmpty else { throw .configuration("DATABASE_URL: sqlite: needs a path") }
            self = .sqlite(path: String(rest))
        case "ecto", "postgres", "postgresql":
            guard rest.hasPrefix("//") else {
                throw .configuration("DATABASE_URL: // is missing after the scheme")
            }
            let isEcto = url[..<colon].lowercased() == "ecto"
            self = .postgres(try PostgresLocation(afterScheme: rest.dropFirst(2), isEcto: isEcto))
        default:
            throw .configuration(
                "DATABASE_URL has an unknown scheme; expected ecto://, postgres://, postgresql:// or sqlite:PATH"
            )
        }
    }
}
