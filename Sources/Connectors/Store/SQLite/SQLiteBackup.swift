import CSQLite
import Glibc
import Reactor

/// Copies the embedded store's file while the daemon writes to it (SQLite documentation, Online Backup API).
///
/// The copy is what the file held when it began. A read transaction holds that moment: without one the API starts
/// over whenever another connection writes, which under load is for ever. Writers go on meanwhile; only the file's
/// `-wal` grows by what they write, until the copy is done.
package struct SQLiteBackup {
    /// How far it is.
    package struct Progress: Sendable, Equatable {
        /// Copied so far.
        package var bytesDone: Int
        /// To be copied.
        package var bytesTotal: Int
    }

    /// Why there is no copy.
    package enum Failure: Error, Equatable, CustomStringConvertible {
        /// There is no file to be copied.
        case noSource(String)
        /// The copy's place is taken or cannot be written.
        case target(String)
        /// The database said no while it was read, copied or checked.
        case store(StoreError)

        package var description: String {
            switch self {
            case .noSource(let text), .target(let text): text
            case .store(let error): error.description
            }
        }
    }

    /// Pages copied between two looks at the clock; a megabyte with SQLite's usual page.
    static let pagesPerStep: Int32 = 256

    /// Copies `source` to `target`, which must not be there, and checks the copy page by page.
    ///
    /// The copy bears its name only when it is complete and on the disk: until then it is `target.part`.
    ///
    /// - Parameter progress: Told now and then.
    package static func run(
        from source: String, to target: String, progress: (Progress) -> Void
    ) throws(Failure) {
        guard access(source, F_OK) == 0 else { throw .noSource("there is no SQLite file \(source)") }
        guard access(target, F_OK) != 0 else {
            throw .target("\(target) is there already; a backup overwrites nothing")
        }
        let part = target + ".part"
        unlink(part)
        do throws(Failure) {
            try copy(from: source, to: part, progress: progress)
            try publish(part, as: target)
        } catch {
            for suffix in ["", "-wal", "-shm", "-journal"] { unlink(part + suffix) }
            throw error
        }
    }

    private static func copy(
        from source: String, to part: String, progress: (Progress) -> Void
    ) throws(Failure) {
        let copy: SQLiteDatabase
        do throws(StoreError) {
            copy = try SQLiteDatabase(path: part, forWriting: true)
            // Nobody but us sees it yet; it is written out once, at the end.
            try copy.execute("PRAGMA synchronous = off")
        } catch {
            throw .target(error.description)
        }
        do throws(StoreError) {
            let original = try SQLiteDatabase(path: source, forWriting: false)
            try original.execute("BEGIN")
            let pageBytes = Int(try original.text("PRAGMA page_size") ?? "") ?? 4096
            // The first read begins the transaction.
            _ = try original.text("SELECT count(*) FROM sqlite_schema")
            try original.backUp(to: copy, pagesPerStep: pagesPerStep) { done, total in
                progress(Progress(bytesDone: done * pageBytes, bytesTotal: total * pageBytes))
            }
            try original.execute("COMMIT")
            // A single file, without companions, for whoever moves it elsewhere.
            _ = try copy.text("PRAGMA journal_mode = delete")
            let verdict = try copy.text("PRAGMA quick_check(1)") ?? "no answer"
            guard verdict == "ok" else {
                throw .unavailable("the copy is damaged, as its source may be: \(verdict)")
            }
        } catch {
            throw .store(error)
        }
    }

    private static func publish(_ part: String, as target: String) throws(Failure) {
        try synchronize(part)
        // Not over a file that somebody made meanwhile.
        guard link(part, target) == 0 else {
            throw .target("cannot make \(target): \(String(cString: strerror(errno)))")
        }
        unlink(part)
        try synchronize(folder(of: target))
    }

    private static func folder(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    private static func synchronize(_ path: String) throws(Failure) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0, fsync(descriptor) == 0 else {
            let reason = String(cString: strerror(errno))
            if descriptor >= 0 { close(descriptor) }
            throw .target("cannot write \(path) out to the disk: \(reason)")
        }
        close(descriptor)
    }
}

extension SQLiteDatabase {
    /// Copies all pages into `target`; `progress` is told pages done and pages in all after each step.
    fileprivate func backUp(
        to target: SQLiteDatabase, pagesPerStep: Int32, progress: (Int, Int) -> Void
    ) throws(StoreError) {
        guard let backup = target.beginBackup(of: self) else { throw target.lastError }
        var code = SQLITE_OK
        var attempts = 0
        while true {
            code = sqlite3_backup_step(backup, pagesPerStep)
            let total = Int(sqlite3_backup_pagecount(backup))
            progress(total - Int(sqlite3_backup_remaining(backup)), total)
            if code == SQLITE_BUSY || code == SQLITE_LOCKED, attempts < 200 {
                attempts += 1
                usleep(50_000)
            } else if code != SQLITE_OK {
                break
            }
        }
        let finished = sqlite3_backup_finish(backup)
        guard code == SQLITE_DONE, finished == SQLITE_OK else { throw target.error(finished) }
    }
}
