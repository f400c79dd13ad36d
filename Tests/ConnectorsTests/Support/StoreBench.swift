import CallEngine
import Foundation
import Logging
import Protocols
import Reactor
import Synchronization
import Testing

@testable import Connectors

/// Which database a test runs against.
enum StoreKind: String, CaseIterable, CustomTestStringConvertible, Sendable {
    case sqlite, postgres

    var testDescription: String { rawValue }

    /// All that this machine has; a missing server is told by `PostgresIsThere`.
    static var available: [StoreKind] { PostgresCluster.isInstalled ? allCases : [.sqlite] }
}

/// The drivers that this machine's kernel allows.
enum StoreDrivers {
    static let present: [IOMode] = [IOMode.epoll, .ioURing].filter { mode in
        var configuration = LoopConfiguration()
        configuration.ioMode = mode
        return (try? Loop(configuration: configuration)) != nil
    }
}

/// A loop on the test's own thread with a store, a group commit and a reader.
final class StoreBench {
    let url: String
    let loop: Loop
    let metrics = Metrics()
    let log = LogLines()
    let store: Store
    let writer: any BatchWriter
    let commit: GroupCommit
    let reader: any StoreReader
    private let temporaryFolder: String?

    /// Makes a store on an empty database.
    ///
    /// - Parameter gathering: The loop's shortest time from one tick to the next.
    convenience init(
        _ kind: StoreKind, settings: StoreSettings = StoreBench.quick, driver: IOMode = .auto,
        gathering: Duration? = nil
    ) throws {
        switch kind {
        case .sqlite:
            let folder = "/tmp/callflow-sqlite-\(UInt64.random(in: 0...UInt64.max))"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
            try self.init(
                url: "sqlite:\(folder)/store.sqlite3", settings: settings, driver: driver,
                gathering: gathering, temporaryFolder: folder)
        case .postgres:
            try self.init(
                url: PostgresCluster.shared().makeDatabase(), settings: settings, driver: driver,
                gathering: gathering)
        }
    }

    /// Makes a store on a database that is there.
    init(
        url: String, settings: StoreSettings = StoreBench.quick, driver: IOMode = .auto,
        gathering: Duration? = nil, temporaryFolder: String? = nil
    ) throws {
        self.url = url
        self.temporaryFolder = temporaryFolder
        var configuration = LoopConfiguration()
        configuration.ioMode = driver
        configuration.gathering = gathering
        configuration.maximumConnections = 16
        configuration.receiveBufferCount = 4
        loop = try Loop(configuration: configuration)
        store = try Store(
            location: StoreLocation(databaseURL: url), settings: settings, metrics: metrics,
            logger: log.logger)
        writer = store.makeWriter(on: loop)
        commit = GroupCommit(
            loop: loop, writer: writer, spool: store.makeSpool(0, on: loop), settings: settings,
            metrics: metrics, logger: log.logger)
        reader = store.makeReader(on: loop)
    }

    deinit {
        if let temporaryFolder { try? FileManager.default.removeItem(atPath: temporaryFolder) }
    }

    /// Settings with short waits.
    static var quick: StoreSettings {
        var settings = StoreSettings()
        settings.reconnectInitial = .milliseconds(20)
        settings.reconnectMaximum = .milliseconds(200)
        settings.pbxNames = ["main", "branch"]
        return settings
    }

    var database: String { String(url.split(separator: "/").last ?? "") }

    /// Runs the loop until `condition` holds; records an issue when it does not in time.
    func wait(
        for what: String, within limit: Duration = .seconds(60),
        sourceLocation: SourceLocation = #_sourceLocation,
        until condition: () -> Bool
    ) {
        let deadline = MonotonicInstant.now() + limit
        while !condition() {
            guard MonotonicInstant.now() < deadline else {
                Issue.record("waited in vain for \(what); log: \(log.lines)", sourceLocation: sourceLocation)
                return
            }
            loop.runOnce(maximumWait: .milliseconds(10))
        }
    }

    /// Starts writing and reading and waits until both can.
    func start(sourceLocation: SourceLocation = #_sourceLocation) {
        commit.start()
        wait(for: "a connection", sourceLocation: sourceLocation) { commit.state.isConnected }
        reader.start()
    }

    /// Waits until everything appended is durable.
    func settle(sourceLocation: SourceLocation = #_sourceLocation) {
        wait(for: "all rows to be durable", sourceLocation: sourceLocation) { commit.isIdle }
    }

    /// Flushes and ends everything.
    @discardableResult
    func close(within limit: Duration = .seconds(30)) -> Bool {
        var complete: Bool?
        commit.flushAndStop(deadline: .now() + limit) { complete = $0 }
        wait(for: "the writer to stop") { complete != nil }
        reader.stop()
        store.close()
        loop.stop()
        return complete ?? false
    }

    func calls(_ filter: CallFilter = CallFilter()) throws -> [StoredCall] {
        var answer: Result<[StoredCall], StoreError>?
        reader.calls(filter) { answer = $0 }
        wait(for: "a list of calls") { answer != nil }
        return try #require(answer).get()
    }

    func call(_ callID: String) throws -> StoredCallWithEvents? {
        var answer: Result<StoredCallWithEvents?, StoreError>?
        reader.call(id: callID) { answer = $0 }
        wait(for: "a call") { answer != nil }
        return try #require(answer).get()
    }

    /// Appends an event of texts.
    func event(
        _ callID: String, _ type: String = "stasis_start", _ payload: String = "{}", at seconds: Int64 = 0,
        repair: Bool = false
    ) {
        event([UInt8](callID.utf8), [UInt8](type.utf8), [UInt8](payload.utf8), at: seconds, repair: repair)
    }

    func event(
        _ callID: [UInt8], _ type: [UInt8], _ payload: [UInt8], at seconds: Int64 = 0, repair: Bool = false
    ) {
        callID.withUnsafeBytes { callID in
            type.withUnsafeBytes { type in
                payload.withUnsafeBytes { payload in
                    _ = commit.appendEvent(
                        callID: callID, type: type, payload: payload, occurredAt: .test(seconds),
                        insertedAt: .received(seconds), payloadNeedsRepair: repair)
                }
            }
        }
    }
}

extension Timestamp {
    /// 2026-02-04 19:30:00.123456 UTC and so many seconds.
    static func test(_ seconds: Int64) -> Timestamp {
        Timestamp(microseconds: 1_770_233_400_123_456 + seconds * 1_000_000)
    }

    /// When an event of `test(seconds)` was received: today, since rows of long ago are dated anew when they are
    /// written (`PartitionPlan`).
    static func received(_ seconds: Int64) -> Timestamp {
        Timestamp(microseconds: start.seconds * 1_000_000 + 123_456 + seconds * 1_000_000)
    }

    private static let start = WallClock.now()
}

extension CallRecord {
    /// A call of the tests, begun at `seconds`.
    static func test(
        _ callID: String, at seconds: Int64 = 0, change: (inout CallRecord) -> Void = { _ in }
    )
        -> CallRecord
    {
        var record = CallRecord(
            id: CallUUID(random: UInt64.random(in: 0...UInt64.max), UInt64.random(in: 0...UInt64.max)),
            startedAt: .test(seconds), insertedAt: .test(seconds))
        record.callID.set(callID)
        change(&record)
        return record
    }
}

extension InlineText {
    /// Takes a text of a test.
    mutating func set(_ text: String) {
        _ = [UInt8](text.utf8).withUnsafeBytes { assign($0) }
    }
}
