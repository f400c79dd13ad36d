import CallEngine
import Connectors
import Logging
import Protocols
import Reactor

/// All settings of the daemon, checked: whoever holds one can start.
struct Settings {
    /// Old daemon's README port is 4100 in deployments; its default, which we keep, is 4000.
    static let defaultPort = 4000

    var logLevel: Logger.Level
    var logFile: String?
    var ioMode: IOMode
    var loops: Int
    var maximumCalls: Int
    var listenAddress: SocketAddress
    /// What becomes one row of `calls`.
    var grouping: CallGrouping
    /// The PBXs that are read.
    var pbxs: PBXList
    var store: StoreLocation
    var storeSettings: StoreSettings
    /// Upper bound of PostgreSQL connections, writers and readers together.
    var poolSize: Int
    /// `nil`: CRM off.
    var bitrix: BitrixConfiguration?
    /// `nil`: no other address is told.
    var webhook: WebhookConfiguration?

    /// CRMs that are told of calls.
    var crmTargetCount: Int { storeSettings.crmTargets.count }

    /// Reads and checks everything.
    ///
    /// - Throws: `SettingError`, naming the first variable that cannot be used.
    init(_ source: SettingSource, cores: Int) throws {
        logLevel = try Self.logLevel(source)
        logFile = source.text("LOG_FILE")
        ioMode = try source.choice("IO", default: IOMode.auto)
        loops = try source.number("LOOPS", in: 1...256, default: max(1, cores))
        maximumCalls = try source.number("MAX_CALLS", in: 64...4_000_000, default: 65_536)
        listenAddress = try Self.listenAddress(source)
        grouping = try source.choice("CALL_GROUPING", default: CallGrouping.linkedID)
        pbxs = try PBXList(source)
        do throws(StoreError) {
            store = try StoreLocation(databaseURL: source.text("DATABASE_URL"))
        } catch {
            throw SettingError(variable: "DATABASE_URL", problem: error.description)
        }
        poolSize = try source.number("POOL_SIZE", in: 1...1000, default: 10)
        storeSettings = StoreSettings()
        storeSettings.queueMaxBytes = try source.number(
            "STORE_QUEUE_MAX_BYTES", in: (1 << 20)...(1 << 40), default: storeSettings.queueMaxBytes)
        // 0, like nothing at all: events are kept for ever.
        let retention = try source.number("EVENT_RETENTION_DAYS", in: 0...36_500, default: 0)
        guard retention == 0 || retention >= StoreSettings.minimumRetentionDays else {
            throw SettingError(
                variable: "EVENT_RETENTION_DAYS",
                problem: "must be 0 (for ever) or at least \(StoreSettings.minimumRetentionDays)")
        }
        storeSettings.eventRetentionDays = retention == 0 ? nil : retention
        storeSettings.sqliteSynchronous = try source.choice(
            "SQLITE_SYNCHRONOUS", default: storeSettings.sqliteSynchronous)
        storeSettings.durability = try source.choice("DURABILITY", default: storeSettings.durability)
        storeSettings.spool = try Self.spool(source, store, storeSettings.durability)
        storeSettings.pbxNames = pbxs.names
        do throws(BitrixConfigurationError) {
            bitrix = try BitrixConfiguration(pbxName: pbxs.names[0], reading: { source.text($0) })
        } catch {
            throw SettingError(variable: error.variable, problem: error.problem)
        }
        bitrix?.pbxNames = pbxs.names
        if let pbx = bitrix?.clicks?.pbx, !pbxs.names.contains(pbx) {
            throw SettingError(variable: "BITRIX_CLICK_PBX", problem: "no PBX has the name \"\(pbx)\"")
        }
        do throws(BitrixConfigurationError) {
            webhook = try WebhookConfiguration(reading: { source.text($0) })
        } catch {
            throw SettingError(variable: error.variable, problem: error.problem)
        }
        if bitrix != nil { storeSettings.crmTargets.append(CRMTargetName.bitrix24.rawValue) }
        if webhook != nil { storeSettings.crmTargets.append(CRMTargetName.webhook.rawValue) }
        if let cutOff = bitrix?.cutOff { storeSettings.crmAbandonedAfter = cutOff }
        storeSettings.crmRecordings = bitrix?.recording != nil
        let keepDays = try source.number("CRM_KEEP_DAYS", in: 0...36_500, default: 30)
        storeSettings.crmKeepDays = keepDays == 0 ? nil : keepDays
    }

    /// PostgreSQL has a spool unless it is switched off, SQLite when it is asked for.
    private static func spool(
        _ source: SettingSource, _ store: StoreLocation, _ durability: CommitSettings.Durability
    ) throws -> SpoolSettings? {
        let path = source.text("SPOOL_PATH")
        let maximum = try source.number(
            "SPOOL_MAX_BYTES", in: 0...(1 << 44), default: SpoolSettings.defaultMaximumBytes)
        guard maximum > 0 else {
            guard durability == .commit else {
                throw SettingError(
                    variable: "SPOOL_MAX_BYTES", problem: "must not be 0 with DURABILITY=spool")
            }
            return nil
        }
        guard maximum >= SpoolSettings.minimumMaximumBytes else {
            throw SettingError(
                variable: "SPOOL_MAX_BYTES",
                problem: "must be 0 (no spool) or at least \(SpoolSettings.minimumMaximumBytes)")
        }
        if case .sqlite = store, path == nil, durability == .commit, source.text("SPOOL_MAX_BYTES") == nil {
            return nil
        }
        return SpoolSettings(path: path ?? SpoolSettings.defaultPath, maximumBytes: maximum)
    }

    private static func logLevel(_ source: SettingSource) throws -> Logger.Level {
        switch (source.text("LOG_LEVEL") ?? "info").lowercased() {
        case "debug": return .debug
        case "info": return .info
        case "warning", "warn": return .warning
        case "error": return .error
        case let other:
            throw SettingError(
                variable: "LOG_LEVEL", problem: "must be one of debug, info, warning, error, not \"\(other)\""
            )
        }
    }

    private static func listenAddress(_ source: SettingSource) throws -> SocketAddress {
        let port = UInt16(try source.number("PORT", in: 0...65535, default: defaultPort))
        guard let address = source.text("HTTP_ADDRESS") else { return .ipv4Any(port: port) }
        let bracketed = address.contains(":") && !address.hasPrefix("[") ? "[\(address)]" : address
        do {
            return try SocketAddress(parsing: "\(bracketed):\(port)")
        } catch {
            throw SettingError(
                variable: "HTTP_ADDRESS", problem: "must be an IPv4 or IPv6 address, not \"\(address)\"")
        }
    }
}
