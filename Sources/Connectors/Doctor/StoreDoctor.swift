import CSQLite
import Glibc
package import Protocols

/// Looks at the database as the daemon would use it; writes nothing.
package struct StoreDoctor {
    private let location: StoreLocation
    private let settings: StoreSettings
    /// Connections that the daemon may open.
    private let poolSize: Int

    /// Beside a store with less room than that, a busy day fills the disk.
    static let comfortableBytes = 1 << 30
    /// `DETACH PARTITION CONCURRENTLY` came with 14.
    static let comfortableVersion = 14
    /// Older ones lack what the migrations use.
    static let oldestVersion = 12
    static let tolerableOffset: Double = 2

    package init(_ location: StoreLocation, settings: StoreSettings, poolSize: Int) {
        self.location = location
        self.settings = settings
        self.poolSize = poolSize
    }

    /// All findings; ends at the first that hides the rest.
    ///
    /// - Parameter clock: Our wall clock.
    package func examine(clock: () -> Timestamp) -> [Finding] {
        switch location {
        case .sqlite(let path): sqlite(path)
        case .postgres(let location): postgres(location, clock)
        }
    }

    private func finding(
        _ check: String, _ state: Finding.State, _ text: String, _ remedy: String = ""
    ) -> Finding {
        Finding(.database, check, state, text, remedy: remedy)
    }

    // MARK: PostgreSQL

    private func postgres(_ location: PostgresLocation, _ clock: () -> Timestamp) -> [Finding] {
        let connection: PostgresConnection
        do throws(StoreError) {
            connection = try PostgresConnector(location: location, settings: settings).connect(for: .upkeep)
                .get()
        } catch {
            return [
                finding(
                    "reachable", .failure, "\(location): \(error)",
                    "DATABASE_URL here; listen_addresses in postgresql.conf and a line for this machine and user in pg_hba.conf there"
                )
            ]
        }
        var findings = [finding("reachable", .ok, "\(location)"), version(connection)]
        do throws(StoreError) {
            findings.append(try tables(connection))
            findings.append(try rights(connection))
            findings.append(try clockOffset(connection, clock))
            findings.append(try durability(connection))
            findings.append(try connections(connection))
        } catch {
            findings.append(finding("questions", .failure, "\(error)"))
        }
        return findings
    }

    private func version(_ connection: PostgresConnection) -> Finding {
        let text = connection.serverVersion
        let major = Int(text.drop { !$0.isNumber }.prefix { $0.isNumber }) ?? 0
        if major < Self.oldestVersion {
            return finding(
                "version", .failure, "\(text) is too old", "PostgreSQL 12 or newer, better 14 or newer")
        }
        guard major >= Self.comfortableVersion else {
            return finding(
                "version", .warning,
                "\(text): old partitions are taken out under a short lock, not beside running queries",
                "PostgreSQL 14 or newer")
        }
        return finding("version", .ok, text)
    }

    private func tables(_ connection: PostgresConnection) throws(StoreError) -> Finding {
        let missing = try PostgresMigrator(connection: connection).missing()
        guard let first = missing.first else { return finding("tables", .ok, "up to date") }
        let names = missing.map { "\($0.version) \($0.name)" }.joined(separator: ", ")
        return finding(
            "tables", .warning, first.version == 1 ? "not there yet" : "not up to date, to come: \(names)",
            "the daemon does it when it starts; or run `callflow-fast migrate` as the owner of the tables")
    }

    private func rights(_ connection: PostgresConnection) throws(StoreError) -> Finding {
        let remedy =
            "as the owner: GRANT SELECT, INSERT, UPDATE, DELETE ON calls, call_events TO the daemon's user; GRANT CREATE ON SCHEMA"
        let user = try connection.text("SELECT current_user") ?? "?"
        let missing = try connection.rows(
            """
            SELECT t || ': ' || p FROM unnest(ARRAY['calls', 'call_events']) t, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) p
            WHERE to_regclass(t) IS NOT NULL AND NOT has_table_privilege(to_regclass(t), p)
            """
        ).compactMap { $0.first ?? nil }
        guard missing.isEmpty else {
            return finding("rights", .failure, "\(user) may not: \(missing.joined(separator: ", "))", remedy)
        }
        guard try connection.text("SELECT has_schema_privilege(current_schema(), 'CREATE')") == "t" else {
            return finding(
                "rights", .warning,
                "\(user) may not make tables, so partitions of days to come cannot be made", remedy)
        }
        return finding("rights", .ok, "\(user) may read, write and make tables")
    }

    private func clockOffset(
        _ connection: PostgresConnection, _ clock: () -> Timestamp
    ) throws(StoreError) -> Finding {
        let asked = clock()
        let text = try connection.text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        let ours = (asked.microseconds + clock().microseconds) / 2
        guard let theirs = text.flatMap({ Int64($0) }) else {
            return finding("clock", .unknown, "the server does not tell its time")
        }
        let offset = Double(theirs - ours) / 1e6
        guard abs(offset) > Self.tolerableOffset else { return finding("clock", .ok, "as ours") }
        return finding(
            "clock", .warning,
            "\((abs(offset) * 10).rounded() / 10) s \(offset > 0 ? "ahead of" : "behind") ours",
            "run chrony or another NTP client on both machines")
    }

    private func durability(_ connection: PostgresConnection) throws(StoreError) -> Finding {
        let fsync = try connection.text("SHOW fsync") ?? "?"
        let commit = try connection.text("SHOW synchronous_commit") ?? "?"
        if fsync == "off" {
            return finding(
                "durability", .warning, "fsync is off: a power cut can destroy the whole database",
                "postgresql.conf: fsync = on")
        }
        if commit == "off" {
            return finding(
                "durability", .warning,
                "synchronous_commit is off: a crash of the server loses the last moments",
                "postgresql.conf (or the user's or database's settings): synchronous_commit = on")
        }
        return finding("durability", .ok, "fsync \(fsync), synchronous_commit \(commit)")
    }

    private func connections(_ connection: PostgresConnection) throws(StoreError) -> Finding {
        let text =
            "SELECT current_setting('max_connections')::int - count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        guard let free = try connection.text(text).flatMap({ Int($0) }) else {
            return finding("connections", .unknown, "the server does not tell how many are free")
        }
        guard free >= poolSize else {
            return finding(
                "connections", .warning, "\(free) free, POOL_SIZE is \(poolSize)",
                "postgresql.conf: max_connections; or a smaller POOL_SIZE here")
        }
        return finding("connections", .ok, "\(free) free, POOL_SIZE is \(poolSize)")
    }

    // MARK: SQLite

    private func sqlite(_ path: String) -> [Finding] {
        let slash = path.lastIndex(of: "/")
        let folder = slash.map { path[..<$0].isEmpty ? "/" : String(path[..<$0]) } ?? "."
        var findings: [Finding] = []
        guard access(folder, W_OK | X_OK) == 0 else {
            let reason = String(cString: strerror(errno))
            return [
                finding(
                    "file", .failure, "cannot write into \(folder): \(reason)",
                    "DATABASE_URL, or the folder's owner and mode")
            ]
        }
        if access(path, F_OK) != 0 {
            findings.append(finding("file", .ok, "\(path) is not there yet; it is made at the start"))
        } else {
            do throws(StoreError) {
                let database = try SQLiteDatabase(path: path, forWriting: false)
                let verdict = try database.text("PRAGMA quick_check(1)") ?? "no answer"
                findings.append(
                    verdict == "ok"
                        ? finding("file", .ok, "\(path), \(SQLiteSchema.version), checked")
                        : finding(
                            "file", .failure, "\(path) is damaged: \(verdict)", "put a backup in its place"))
            } catch {
                findings.append(
                    finding("file", .failure, "\(error)", "DATABASE_URL, or put a backup in its place"))
            }
        }
        var room = statvfs()
        if statvfs(folder, &room) == 0 {
            let free = Int(room.f_bavail) * Int(room.f_frsize)
            findings.append(
                free >= Self.comfortableBytes
                    ? finding("room", .ok, "\(free >> 20) MiB free in \(folder)")
                    : finding(
                        "room", .warning, "\(free >> 20) MiB free in \(folder): an event takes about 1 KiB",
                        "make room, or set EVENT_RETENTION_DAYS"))
        }
        return findings
    }
}
