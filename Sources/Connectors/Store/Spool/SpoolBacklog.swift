import Protocols
import Reactor

/// What one shard has in the spool, and on its way there and back.
struct SpoolBacklog {
    /// Why a batch goes to the spool.
    enum Role {
        /// It waits there, its memory is freed.
        case spoolOnly
        /// It is sent from memory once it is there (`DURABILITY=spool`).
        case spoolFirst
        /// It is on its way to the database already, whose answer is missing.
        case cover
    }

    /// A batch that is to be on the disk and is not known to be.
    struct Pending {
        let key: Int64
        let batch: WriteBatch
        var role: Role
        var calls: [UInt64]
        var bytes: Int
        /// On its way to the spool's thread; else it waits for room there.
        var isSent = false
    }

    /// Whether there is a spool, open.
    var isOpen = false
    /// Whether the writer has told which of an earlier run's batches were committed.
    var isRecovered = false
    var isStopped = false
    /// Batches of earlier runs that were committed.
    var recognised: Set<BatchID> = []

    /// Whether new rows go to the spool because the database does not take them.
    var isSpilling = false
    /// Whether the database committed anything since that began.
    var hasCommitted = false
    /// Whether the spool refused a pending batch, until it is asked again.
    var isBlocked = false
    var retryAt = MonotonicInstant(nanoseconds: 0)
    /// What is left out of batches, because the spool and the memory are full.
    var shedding = SpoolRecord.Weight.whole
    var pending: [Pending] = []
    var pendingBytes = 0
    /// Bytes on their way to the spool's thread.
    var sentBytes = 0

    /// Batches and events that lie in the spool only.
    var batches = 0
    var events = 0
    /// When the oldest of them was received.
    var oldest: Timestamp?
    /// Whose rows they are.
    var calls = SpooledCalls()
    /// Calls of the rows that gather to follow them there.
    var gatheringBehind: Set<UInt64> = []
    /// Keys that are in memory as well, or that wait for their removal: not to be loaded.
    var held: Set<Int64> = []
    /// All keys up to this were looked at.
    var loadedUpTo: Int64 = 0
    /// Where the walk began that is going on, to notice that batches are missing.
    var walkFrom: Int64 = 0
    var isLoading = false
    /// Read back, to be sent, by their order.
    var drained: [WriteBatch] = []
    var drainedOnTheWay = 0

    /// Batches that are durable in the database and not yet gone from the disk, with their rows of the ledger.
    var removing: [Int64: Int32?] = [:]
    var toRemove: [Int64] = []

    /// Whether any call has to go behind what is spooled.
    var holdsCalls: Bool { !calls.isEmpty || !gatheringBehind.isEmpty }

    /// Whether this one has to.
    func holds(_ hash: UInt64) -> Bool { calls.contains(hash) || gatheringBehind.contains(hash) }

    /// Whether nothing lies in the spool only, or is on its way to or from there.
    var isEmpty: Bool {
        batches == 0 && drained.isEmpty && drainedOnTheWay == 0 && pending.isEmpty
    }

    /// A batch that is on the disk has no copy in memory any more.
    mutating func forget(key: Int64, events count: Int, received: Timestamp) {
        if oldest == nil || batches == 0 && drained.isEmpty && drainedOnTheWay == 0 { oldest = received }
        batches += 1
        events += count
        held.remove(key)
        loadedUpTo = min(loadedUpTo, key - 1)
    }
}
