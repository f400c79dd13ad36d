import CSQLite
import Glibc
import Protocols
import Reactor

/// A connection to a SQLite file and its prepared statements.
///
/// Stays on the thread that opened it.
final class SQLiteDatabase {
    private let handle: OpaquePointer
    /// For error texts.
    let path: String

    private let deadline = Deadline()

    /// When the statement that runs is to end; read by SQLite's progress handler on the same thread.
    private final class Deadline {
        var instant: MonotonicInstant?
    }

    /// Steps of SQLite's virtual machine between two looks at the clock; some ten microseconds.
    static let stepsBetweenLooks: Int32 = 2_000

    /// How long a statement waits for another process's lock.
    static let busyTimeoutMilliseconds: Int32 = 5_000

    /// Opens a file; `forWriting` makes it if it is absent.
    init(path: String, forWriting: Bool) throws(StoreError) {
        self.path = path
        var opened: OpaquePointer?
        let access = forWriting ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY
        let code = sqlite3_open_v2(path, &opened, access | SQLITE_OPEN_NOMUTEX, nil)
        guard code == SQLITE_OK, let opened else {
            let text = opened.map { Self.message($0, code) } ?? "out of memory"
            let cause = opened.map { sqlite3_system_errno($0) } ?? 0
            sqlite3_close_v2(opened)
            let detail = cause == 0 ? "" : ": \(String(cString: strerror(cause)))"
            throw .unavailable("cannot open SQLite file \(path): \(text)\(detail)")
        }
        handle = opened
        sqlite3_extended_result_codes(handle, 1)
        sqlite3_busy_timeout(handle, Self.busyTimeoutMilliseconds)
        sqlite3_progress_handler(
            handle, Self.stepsBetweenLooks,
            { raw in
                guard let raw else { return 0 }
                let deadline = Unmanaged<Deadline>.fromOpaque(raw).takeUnretainedValue()
                return deadline.instant.map { MonotonicInstant.now() >= $0 ? 1 : 0 } ?? 0
            }, Unmanaged.passUnretained(deadline).toOpaque())
    }

    deinit {
        // Statements hold the database; `close_v2` waits for the last of them.
        sqlite3_close_v2(handle)
    }

    /// Statements end as `transient` errors when they run beyond `instant`; `nil`: as long as they take.
    func interrupts(after instant: MonotonicInstant?) { deadline.instant = instant }

    /// Runs statements that give no rows.
    func execute(_ sql: String) throws(StoreError) {
        let code = sqlite3_exec(handle, sql, nil, nil, nil)
        guard code == SQLITE_OK else { throw error(code) }
    }

    /// Runs a statement and gives the first column of its first row.
    func text(_ sql: String) throws(StoreError) -> String? {
        let statement = try prepare(sql)
        return try statement.step() ? statement.string(0) : nil
    }

    /// Prepares a statement for repeated use.
    func prepare(_ sql: String) throws(StoreError) -> SQLiteStatement {
        var statement: OpaquePointer?
        let code = sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
        guard code == SQLITE_OK, let statement else { throw error(code) }
        return SQLiteStatement(statement, database: self)
    }

    /// Whether a transaction is open.
    var isInTransaction: Bool { sqlite3_get_autocommit(handle) == 0 }

    private static func message(_ handle: OpaquePointer, _ code: Int32) -> String {
        sqlite3_errmsg(handle).map { String(cString: $0) } ?? "code \(code)"
    }

    /// Begins to copy another database into this one; `nil`: see `lastError`.
    func beginBackup(of other: SQLiteDatabase) -> OpaquePointer? {
        sqlite3_backup_init(handle, "main", other.handle, "main")
    }

    /// What the last call on this connection had to say.
    var lastError: StoreError { error(sqlite3_errcode(handle)) }

    /// What `code` means to the store.
    func error(_ code: Int32) -> StoreError {
        let text = "SQLite: \(Self.message(handle, code))"
        switch code & 0xFF {
        case SQLITE_CONSTRAINT, SQLITE_TOOBIG, SQLITE_MISMATCH, SQLITE_RANGE:
            return .data(code: "\(code)", text)
        case SQLITE_BUSY, SQLITE_LOCKED, SQLITE_INTERRUPT: return .transient(text)
        default: return .unavailable("\(text) (\(path))")
        }
    }
}

/// A prepared statement.
///
/// Bound bytes are borrowed until `step` or `reset` returns.
final class SQLiteStatement {
    private let handle: OpaquePointer
    private let database: SQLiteDatabase

    fileprivate init(_ handle: OpaquePointer, database: SQLiteDatabase) {
        self.handle = handle
        self.database = database
    }

    deinit { sqlite3_finalize(handle) }

    /// Moves to the next row.
    ///
    /// - Returns: `false` when there is none; the statement is ready for new values then.
    func step() throws(StoreError) -> Bool {
        switch sqlite3_step(handle) {
        case SQLITE_ROW: return true
        case SQLITE_DONE:
            sqlite3_reset(handle)
            return false
        case let code:
            let error = database.error(code)
            sqlite3_reset(handle)
            throw error
        }
    }

    /// Runs a statement that gives no rows.
    func run() throws(StoreError) {
        while try step() {}
    }

    /// Ends reading before the last row.
    func reset() { sqlite3_reset(handle) }

    /// Binds UTF-8 text, borrowed; `nil` is NULL.
    ///
    /// The first parameter is 1.
    func bind(_ index: Int32, _ text: UnsafeRawBufferPointer?) {
        guard let text else {
            sqlite3_bind_null(handle, index)
            return
        }
        // An empty buffer may have no base address, which SQLite would take for NULL.
        guard let base = text.baseAddress, !text.isEmpty else {
            sqlite3_bind_text(handle, index, "", 0, nil)
            return
        }
        sqlite3_bind_text64(
            handle, index, base.assumingMemoryBound(to: CChar.self), UInt64(text.count), nil,
            UInt8(SQLITE_UTF8))
    }

    /// Binds a word of the source.
    func bind(_ index: Int32, _ word: StaticString) {
        bind(index, UnsafeRawBufferPointer(start: word.utf8Start, count: word.utf8CodeUnitCount))
    }

    /// Binds a number.
    func bind(_ index: Int32, _ value: Int64?) {
        if let value { sqlite3_bind_int64(handle, index, value) } else { sqlite3_bind_null(handle, index) }
    }

    /// Binds a text by copying it.
    func bind(_ index: Int32, copying text: String?) {
        guard let text else {
            sqlite3_bind_null(handle, index)
            return
        }
        // SQLITE_TRANSIENT, whose cast macro Swift does not import.
        let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
        sqlite3_bind_text(handle, index, text, Int32(text.utf8.count), transient)
    }

    /// Binds bytes, borrowed.
    func bind(_ index: Int32, blob bytes: UnsafeRawBufferPointer) {
        sqlite3_bind_blob64(handle, index, bytes.baseAddress, UInt64(bytes.count), nil)
        // Without an address SQLite takes NULL.
        if bytes.isEmpty { sqlite3_bind_zeroblob(handle, index, 0) }
    }

    /// The bytes of a blob, copied, or `nil` for NULL.
    func blob(_ column: Int32) -> [UInt8]? {
        guard sqlite3_column_type(handle, column) != SQLITE_NULL else { return nil }
        let start = sqlite3_column_blob(handle, column)
        return [UInt8](UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(handle, column))))
    }

    /// The bytes of a column, or `nil` for NULL.
    ///
    /// The first column is 0.
    func bytes(_ column: Int32) -> [UInt8]? {
        guard let start = sqlite3_column_text(handle, column) else { return nil }
        return [UInt8](UnsafeBufferPointer(start: start, count: Int(sqlite3_column_bytes(handle, column))))
    }

    /// Columns of a row.
    var columnCount: Int32 { sqlite3_column_count(handle) }

    /// The text of a column.
    func string(_ column: Int32) -> String? {
        bytes(column).map { String(decoding: $0, as: UTF8.self) }
    }

    /// The number in a column.
    func integer(_ column: Int32) -> Int64? {
        guard sqlite3_column_type(handle, column) != SQLITE_NULL else { return nil }
        return sqlite3_column_int64(handle, column)
    }

    /// The time in a column.
    func timestamp(_ column: Int32) -> Timestamp? {
        integer(column).map { Timestamp(microseconds: $0) }
    }
}
