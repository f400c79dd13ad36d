/// One numbered step of our tables, for both stores.
///
/// A migration only adds: new tables, and new columns that are nullable or have a default. It stands in a file
/// of its own and in `all`; a released one is never changed. Each is applied once, in a transaction of its own
/// that also notes its number in `callflow_migrations`, so a later one need not be newer than what a database
/// has already: whichever numbers are missing there are applied, in their order.
struct Migration: Sendable {
    /// Its number, for good.
    let version: Int
    /// What it is for, in a few words; stands in `callflow_migrations` and in what `callflow-fast migrate` prints.
    let name: String
    /// The body of a PL/pgSQL block (`IF … THEN … END IF;` and plain statements); `nil`: nothing to do there.
    let postgres: String?
    /// SQL statements of SQLite; `nil`: nothing to do there.
    let sqlite: String?

    /// Every migration, in order.
    static let all: [Migration] = [
        .contractTables,
        .callFacts,
        .commitLedger,
        .deadLetters,
        .growth,
        .callModel,
        .callLegs,
        .crmSteps,
    ]

    /// Those of PostgreSQL.
    static let postgres = all.filter { $0.postgres != nil }
    /// Those of SQLite.
    static let sqlite = all.filter { $0.sqlite != nil }

    /// Those that a database lacks, when `versions` are the numbers in its `callflow_migrations`.
    static func missing(_ migrations: [Migration], from versions: Set<Int>) -> [Migration] {
        migrations.filter { !versions.contains($0.version) }
    }

    /// Reads numbers as the database lists them, `1,2,3`.
    static func versions(_ list: String?) -> Set<Int> {
        Set((list ?? "").split(separator: ",").compactMap { Int($0) })
    }
}
