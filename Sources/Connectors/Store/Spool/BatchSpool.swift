import CallEngine
package import Protocols

/// A batch as it lies in the spool.
package struct SpoolRecord: Sendable {
    /// What of a batch's rows it still has; the spool keeps room for the more important ones.
    package enum Weight: UInt8, Sendable, CaseIterable, Comparable {
        /// Everything.
        case whole
        /// Event rows without payload, and the rest.
        case withoutPayloads
        /// Calls and what the CRM is told, no events.
        case callsOnly

        package static func < (left: Weight, right: Weight) -> Bool { left.rawValue < right.rawValue }
    }

    /// Its place: unique in the spool, later batches have larger ones.
    package var key: Int64
    /// What the ledger knows the batch by.
    package var id: BatchID
    package var weight: Weight
    package var events: Int
    /// When its oldest row was received.
    package var receivedAt: Timestamp
    /// Hashes of the calls it has rows of (`SpooledCalls.hash`).
    package var calls: [UInt64]
    /// `BatchRecord`.
    package var bytes: [UInt8]
}

/// What an earlier run left in one shard's part of the spool.
package struct SpoolContents: Sendable {
    /// Whose batches these are.
    package var writers: [UInt64] = []
    package var batches = 0
    package var events = 0
    package var oldest: Timestamp?
    /// For each call hash the last batch that has rows of it.
    package var calls: [UInt64: Int64] = [:]

    package init() {}
}

/// Why the spool did not take a batch.
package enum SpoolRefusal: Error, Sendable, Equatable {
    /// Its bound is reached for batches of this weight; lighter ones may still fit.
    case full
    /// The disk is full or broken; the text says how.
    case disk(String)
}

/// What the spool answers a shard, in the order of what it was asked.
package enum SpoolAnswer: Sendable {
    /// The file is open; what was left in it. Once, before all others.
    case opened(SpoolContents)
    /// There is no spool: it cannot be opened. Instead of `opened`.
    case unavailable(String)
    /// The batch is on the disk, or was refused. `hasRoom`: far from its bound.
    case appended(key: Int64, SpoolRefusal?, hasRoom: Bool)
    /// Batches behind the key that was asked for, in order; `isLast`: there were no more.
    case loaded([SpoolRecord], isLast: Bool)
    /// These are gone from the disk.
    case removed([Int64])
}

/// One shard's access to the spool; used on the shard's thread, answers come there and never from inside a call.
package protocol BatchSpool: AnyObject {
    var onAnswer: ((SpoolAnswer) -> Void)? { get set }
    /// Opens the file and looks what is left there for this shard.
    func open()
    /// A key larger than all before.
    func nextKey() -> Int64
    /// Puts a batch on the disk.
    func append(_ record: SpoolRecord)
    /// Reads batches with keys above `key`, at least one if there is any, else up to the bounds.
    func load(after key: Int64, maximumCount: Int, maximumBytes: Int)
    /// Removes batches that are durable in the database; tried until done.
    func remove(_ keys: [Int64])
}

/// Which calls have rows that lie in the spool only, so that their newer rows go there too, behind them.
package struct SpooledCalls {
    private var last: [UInt64: Int64] = [:]

    package init(_ calls: [UInt64: Int64] = [:]) { last = calls }

    package var isEmpty: Bool { last.isEmpty }
    package var count: Int { last.count }

    /// The same in every run; two calls with one hash only wait for each other.
    static func hash(_ callID: UnsafeRawBufferPointer) -> UInt64 { RecordChecksum.of(callID) }

    static func hash(of action: CRMAction) -> UInt64 {
        var callID = action.call.wholeID ?? action.call.callID
        return callID.withUTF8 { hash(UnsafeRawBufferPointer($0)) }
    }

    func contains(_ hash: UInt64) -> Bool { last[hash] != nil }

    mutating func insert(_ hashes: [UInt64], key: Int64) {
        for hash in hashes { last[hash] = max(last[hash] ?? key, key) }
    }

    /// The batch at `key` is out of the spool.
    mutating func remove(_ hashes: [UInt64], key: Int64) {
        for hash in hashes {
            if let newest = last[hash], newest <= key { last[hash] = nil }
        }
    }

    mutating func removeAll() { last.removeAll() }
}

extension WriteBatch {
    /// Hashes of the calls that this batch has rows of or tells the CRM about, each once.
    var callHashes: [UInt64] {
        var hashes: Set<UInt64> = []
        events.forEach { hashes.insert(SpooledCalls.hash($0.callID)) }
        for row in 0..<callCount { hashes.insert(calls.withCallID(at: row) { SpooledCalls.hash($0) }) }
        for update in crmUpdates { hashes.insert(update.callID.withUnsafeBytes { SpooledCalls.hash($0) }) }
        for action in crmActions { hashes.insert(SpooledCalls.hash(of: action)) }
        return Array(hashes)
    }
}
