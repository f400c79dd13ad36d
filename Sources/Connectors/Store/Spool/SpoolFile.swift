import CSQLite
import Glibc
import Protocols

/// The spool's file: one SQLite table of batches, in WAL mode with a sync at each commit.
///
/// Opened by one process alone. A damaged file is moved aside, what can be read of it is carried over, and the rest
/// is reported; the daemon goes on. Stays on the thread that opened it.
final class SpoolFile {
    /// Pages of 16 KiB: a batch is tens to hundreds of KiB.
    static let pageBytes = 16 << 10
    /// Pages in the write-ahead log before they are copied into the file.
    static let checkpointPages = 256
    /// What a batch costs beside its bytes.
    static let overheadBytes = 256
    /// An empty file above this size is made small again.
    static let keptBytes = 64 << 20
    /// Freed when the disk is full, so that removals can still be noted.
    static let reserveBytes = 8 << 20

    /// What opening found.
    struct Report {
        /// Where a damaged file was moved, if there was one, and what was wrong.
        var damage: (movedTo: String, reason: String)?
        /// Batches carried over from it.
        var carriedOver = 0
    }

    let path: String
    private let settings: SpoolSettings
    private let database: SQLiteDatabase
    private let insert: SQLiteStatement
    private let delete: SQLiteStatement
    private let sizeOf: SQLiteStatement
    private let select: SQLiteStatement
    private let first: SQLiteStatement
    private let reservePath: String

    /// Whether there is room left for removals when the disk is full.
    private(set) var hasReserve = false
    private(set) var batches = 0
    private(set) var events = 0
    private(set) var bytes = 0
    /// When the oldest batch was received, as of the last `oldestChanged`.
    private(set) var oldest: Timestamp?

    /// Opens the file, or makes it.
    ///
    /// - Throws: When it cannot be opened although it is not damaged (no right, no room, held by another process).
    static func open(_ settings: SpoolSettings) throws(StoreError) -> (SpoolFile, Report) {
        var report = Report()
        do throws(StoreError) {
            let file = try SpoolFile(settings)
            guard let problem = try file.damage() else { return (file, report) }
            report.damage = ("", problem)
        } catch {
            guard error.isDamage else { throw error }
            report.damage = ("", error.description)
        }
        let aside = try moveAside(settings.path)
        report.damage?.movedTo = aside
        let file = try SpoolFile(settings)
        report.carriedOver = file.carryOver(from: aside)
        return (file, report)
    }

    private init(_ settings: SpoolSettings) throws(StoreError) {
        self.settings = settings
        path = settings.path
        reservePath = settings.path + ".reserve"
        Self.makePrivate(settings.path)
        database = try SQLiteDatabase(path: settings.path, forWriting: true)
        try database.execute(
            """
            PRAGMA page_size = \(Self.pageBytes); PRAGMA locking_mode = EXCLUSIVE;
            PRAGMA max_page_count = \(settings.maximumBytes / Self.pageBytes / 16 * 17 + 1024)
            """)
        guard try database.text("PRAGMA journal_mode = WAL") == "wal" else {
            throw .unavailable("spool \(settings.path) cannot be put into WAL mode")
        }
        try database.execute(
            """
            PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = \(Self.checkpointPages);
            CREATE TABLE IF NOT EXISTS batches (
                key INTEGER PRIMARY KEY, lane INTEGER NOT NULL, writer TEXT NOT NULL, number INTEGER NOT NULL,
                weight INTEGER NOT NULL, events INTEGER NOT NULL, received_at INTEGER NOT NULL,
                bytes INTEGER NOT NULL, calls BLOB NOT NULL, record BLOB NOT NULL)
            """)
        insert = try database.prepare(
            "INSERT INTO batches VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")
        delete = try database.prepare("DELETE FROM batches WHERE key = ?1")
        sizeOf = try database.prepare("SELECT bytes, events FROM batches WHERE key = ?1")
        select = try database.prepare(
            """
            SELECT key, writer, number, weight, events, received_at, bytes, record FROM batches
            WHERE key > ?1 AND lane = ?2 ORDER BY key LIMIT ?3
            """)
        first = try database.prepare("SELECT received_at FROM batches ORDER BY key LIMIT 1")
        try count()
        oldestChanged()
        makeReserve()
    }

    /// It holds who called whom: for the daemon's user alone, also one that an earlier version made.
    ///
    /// SQLite gives the files beside it the same rights.
    private static func makePrivate(_ path: String) {
        let descriptor = Glibc.open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0o600)
        // What is wrong with the path is said when the file is opened as a database.
        guard descriptor >= 0 else { return }
        fchmod(descriptor, 0o600)
        Glibc.close(descriptor)
    }

    private func count() throws(StoreError) {
        let sums = try database.prepare(
            "SELECT count(*), coalesce(sum(events), 0), coalesce(sum(bytes), 0) FROM batches")
        guard try sums.step() else { return }
        batches = Int(sums.integer(0) ?? 0)
        events = Int(sums.integer(1) ?? 0)
        bytes = Int(sums.integer(2) ?? 0) + batches * Self.overheadBytes
        sums.reset()
    }

    // MARK: Damage

    /// What is wrong with the file's pages, if anything is.
    private func damage() throws(StoreError) -> String? {
        let verdict = try database.text("PRAGMA quick_check(1)") ?? "no answer"
        return verdict == "ok" ? nil : verdict
    }

    /// Moves the file and its log out of the way.
    private static func moveAside(_ path: String) throws(StoreError) -> String {
        let aside = "\(path).damaged-\(WallClock.now().microseconds)"
        guard rename(path, aside) == 0 else {
            throw .unavailable(
                "spool \(path) is damaged and cannot be moved: \(String(cString: strerror(errno)))")
        }
        // The log belongs to the file under its old name; it may hold what the file does not have yet.
        _ = rename(path + "-wal", aside + "-wal")
        return aside
    }

    /// Copies what can be read, from both ends, since a damaged page ends a walk.
    ///
    /// - Returns: How many batches that were.
    private func carryOver(from aside: String) -> Int {
        guard let source = try? SQLiteDatabase(path: aside, forWriting: true) else { return 0 }
        var keys: Set<Int64> = []
        for order in ["ASC", "DESC"] {
            guard let walk = try? source.prepare("SELECT key FROM batches ORDER BY key \(order)") else {
                continue
            }
            while (try? walk.step()) == true { keys.insert(walk.integer(0) ?? 0) }
        }
        guard
            let read = try? source.prepare(
                """
                SELECT lane, writer, number, weight, events, received_at, calls, record FROM batches
                WHERE key = ?1
                """)
        else { return 0 }
        var carried = 0
        for key in keys.sorted() {
            read.bind(1, key)
            guard (try? read.step()) == true, let record = read.blob(7), let calls = read.blob(6) else {
                read.reset()
                continue
            }
            var hashes = RecordReader(calls[...])
            var words: [UInt64] = []
            while let word = try? hashes.uint64() { words.append(word) }
            let entry = SpoolRecord(
                key: key, id: Self.id(read.string(1), read.integer(2)), weight: Self.weight(read.integer(3)),
                events: Int(read.integer(4) ?? 0),
                receivedAt: Timestamp(microseconds: read.integer(5) ?? 0), calls: words, bytes: record)
            let lane = Int(read.integer(0) ?? 0)
            read.reset()
            // Each record has a checksum of its own.
            guard BatchRecord.isWhole(record) else { continue }
            if (try? append(entry, lane: lane)) != nil { carried += 1 }
        }
        return carried
    }

    // MARK: Batches

    /// Whether a batch of that size and weight is within the bound.
    func hasRoom(for count: Int, _ weight: SpoolRecord.Weight) -> Bool {
        bytes + count + Self.overheadBytes <= settings.limit(for: weight)
    }

    /// Whether it is filled so little that whole batches may come again.
    var isRoomy: Bool { bytes < settings.limit(for: .whole) / 10 * 9 }

    /// Does `work` as one transaction, durable when it returns.
    func transaction(_ work: () throws(StoreError) -> Void) throws(StoreError) {
        let before = (batches, events, bytes)
        try database.execute("BEGIN IMMEDIATE")
        do throws(StoreError) {
            try work()
            try database.execute("COMMIT")
        } catch {
            // Some errors end the transaction by themselves.
            if database.isInTransaction { try? database.execute("ROLLBACK") }
            (batches, events, bytes) = before
            throw error
        }
    }

    func append(_ record: SpoolRecord, lane: Int) throws(StoreError) {
        var calls = RecordWriter(reserving: record.calls.count * 8)
        for hash in record.calls { calls.append(hash) }
        insert.bind(1, record.key)
        insert.bind(2, Int64(lane))
        insert.bind(3, copying: record.id.writerName)
        insert.bind(4, record.id.number)
        insert.bind(5, Int64(record.weight.rawValue))
        insert.bind(6, Int64(record.events))
        insert.bind(7, record.receivedAt.microseconds)
        insert.bind(8, Int64(record.bytes.count))
        let failure = calls.bytes.withUnsafeBytes { calls in
            record.bytes.withUnsafeBytes { bytes -> StoreError? in
                insert.bind(9, blob: calls)
                insert.bind(10, blob: bytes)
                do throws(StoreError) {
                    try insert.run()
                    return nil
                } catch {
                    return error
                }
            }
        }
        if let failure { throw failure }
        batches += 1
        events += record.events
        bytes += record.bytes.count + Self.overheadBytes
    }

    func remove(_ key: Int64) throws(StoreError) {
        sizeOf.bind(1, key)
        guard try sizeOf.step() else { return }
        let (size, count) = (Int(sizeOf.integer(0) ?? 0), Int(sizeOf.integer(1) ?? 0))
        sizeOf.reset()
        delete.bind(1, key)
        try delete.run()
        batches -= 1
        events -= count
        bytes -= size + Self.overheadBytes
    }

    /// Batches of a lane behind `key`.
    func load(
        lane: Int, after key: Int64, maximumCount: Int, maximumBytes: Int
    ) throws(StoreError) -> (records: [SpoolRecord], isLast: Bool) {
        var records: [SpoolRecord] = []
        var taken = 0
        select.bind(1, key)
        select.bind(2, Int64(lane))
        select.bind(3, Int64(maximumCount))
        defer { select.reset() }
        while try select.step() {
            records.append(
                SpoolRecord(
                    key: select.integer(0) ?? 0, id: Self.id(select.string(1), select.integer(2)),
                    weight: Self.weight(select.integer(3)), events: Int(select.integer(4) ?? 0),
                    receivedAt: Timestamp(microseconds: select.integer(5) ?? 0), calls: [],
                    bytes: select.blob(7) ?? []))
            taken += Int(select.integer(6) ?? 0)
            if taken >= maximumBytes { return (records, false) }
        }
        return (records, records.count < maximumCount)
    }

    /// Looks when the oldest batch was received.
    func oldestChanged() {
        oldest = (try? first.step()) == true ? first.timestamp(0) : nil
        first.reset()
    }

    /// The largest key.
    func lastKey() throws(StoreError) -> Int64 {
        Int64(try database.text("SELECT coalesce(max(key), 0) FROM batches") ?? "") ?? 0
    }

    /// What an earlier run left, by lane; batches of lanes that are no more go to others.
    func contents(lanes: Int) throws(StoreError) -> [SpoolContents] {
        try database.execute("UPDATE batches SET lane = lane % \(lanes) WHERE lane >= \(lanes)")
        var all = Array(repeating: SpoolContents(), count: lanes)
        let walk = try database.prepare(
            "SELECT key, lane, writer, events, received_at, calls FROM batches ORDER BY key")
        while try walk.step() {
            let lane = Int(walk.integer(1) ?? 0)
            guard all.indices.contains(lane) else { continue }
            let writer = Self.id(walk.string(2), 0).writer
            if !all[lane].writers.contains(writer) { all[lane].writers.append(writer) }
            all[lane].batches += 1
            all[lane].events += Int(walk.integer(3) ?? 0)
            if all[lane].oldest == nil { all[lane].oldest = walk.timestamp(4) }
            var hashes = RecordReader((walk.blob(5) ?? [])[...])
            while let hash = try? hashes.uint64() { all[lane].calls[hash] = walk.integer(0) ?? 0 }
        }
        return all
    }

    /// Gives the room of an empty file back to the disk.
    func shrink() {
        var status = stat()
        guard batches == 0, stat(path, &status) == 0 else { return }
        guard Int(status.st_size) > Self.keptBytes || !hasReserve else { return }
        try? database.execute("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")
    }

    private static func id(_ writer: String?, _ number: Int64?) -> BatchID {
        BatchID(writer: UInt64(writer ?? "", radix: 16) ?? 0, number: number ?? 0)
    }

    private static func weight(_ value: Int64?) -> SpoolRecord.Weight {
        SpoolRecord.Weight(rawValue: UInt8(clamping: value ?? 0)) ?? .whole
    }

    // MARK: The reserve

    /// Takes room on the disk that `freeReserve` gives back when it is needed most.
    ///
    /// While there is none, batches are not taken: they would fill the room that removals need.
    func makeReserve() {
        let descriptor = Glibc.open(reservePath, O_CREAT | O_WRONLY | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return }
        hasReserve = posix_fallocate(descriptor, 0, off_t(Self.reserveBytes)) == 0
        if !hasReserve { unlink(reservePath) }
        close(descriptor)
    }

    /// Gives the reserve up, and empties the write-ahead log with its room.
    ///
    /// - Returns: Whether there was a reserve.
    func freeReserve() -> Bool {
        hasReserve = false
        guard unlink(reservePath) == 0 else { return false }
        try? database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return true
    }
}

extension StoreError {
    /// Whether SQLite found that the file is no database of its own or has wrong pages.
    fileprivate var isDamage: Bool {
        guard case .unavailable(let text) = self else { return false }
        return text.contains("malformed") || text.contains("not a database") || text.contains("corrupt")
    }
}
