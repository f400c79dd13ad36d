import CallEngine
import Protocols

/// What deriving stored calls again needs of a database; blocking, on connections of its own.
protocol RebuildStore: AnyObject {
    /// Whether the times of `calls` are whole seconds, as the old daemon made them.
    var callsInSeconds: Bool { get }
    /// The earliest `inserted_at` of calls that began within `range`, and were not over at its end.
    func earliestOpen(in range: Range<Timestamp>) throws(StoreError) -> Timestamp?
    /// The latest `updated_at` of calls whose rows were made within `range`.
    func latestChange(in range: Range<Timestamp>) throws(StoreError) -> Timestamp?
    /// How many calls' rows were made within `range`.
    func callCount(in range: Range<Timestamp>) throws(StoreError) -> Int
    /// Times in which a PBX was not heard that were noted from `time` on, by our clock.
    func gaps(notedFrom time: Timestamp) throws(StoreError) -> [StoredGap]
    /// Events received within `range`, in the order of their receipt.
    func events(in range: Range<Timestamp>, _ body: (RebuildEvent) -> Void) throws(StoreError)
    /// Rows of these calls, with their legs and parts.
    func calls(_ callIDs: [String]) throws(StoreError) -> [StoredCallWithEvents]
    /// Puts calls right in one transaction, each unless its row was changed since it was read.
    ///
    /// - Returns: Keys of the calls that were written.
    func write(_ corrections: [RebuildCorrection]) throws(StoreError) -> Set<String>
}

/// An event as it is stored.
struct RebuildEvent {
    var payload: [UInt8]
    var insertedAt: Timestamp
    /// Of its call's row.
    var pbx: String?
}

/// A call to be put right.
struct RebuildCorrection {
    var call: CallReplay.Call
    /// `updated_at` of the row that it was compared with; `nil`: there was none.
    var seen: Timestamp?
    /// When it is put right: its row's new `updated_at` and `derived_at`.
    var at: Timestamp
}

/// Statements that both databases have in common.
enum RebuildSQL {
    /// Makes a row forget what the upsert would not take back.
    static let reset = """
        direction = NULL, caller_number = NULL, callee_number = NULL, status = 'ringing', started_at = NULL,
        answered_at = NULL, ended_at = NULL, outcome = NULL, hangup_cause = NULL, ended_estimated = NULL,
        derived_at = NULL, merged_into = NULL
        """

    static let gapColumns = """
        id, pbx, started_at, ended_at, reason, detail, calls_ended, calls_found, calls_kept, inserted_at
        """

    /// The rows of the corrections, to be written by the usual statements.
    static func batch(_ corrections: [RebuildCorrection]) -> WriteBatch {
        let batch = WriteBatch()
        for correction in corrections {
            var record = correction.call.record
            record.updatedAt = correction.at
            var details = correction.call.details
            details.isRepeated = true
            let texts = correction.call.longTexts.map { long in
                LongTexts(
                    callID: long.callID.map { Array($0.utf8) },
                    callerNumber: long.callerNumber.map { Array($0.utf8) },
                    calleeNumber: long.calleeNumber.map { Array($0.utf8) })
            }
            batch.appendCall(record, longTexts: texts, details: details)
        }
        return batch
    }

    /// A key as its column has it.
    static func key(_ callID: String) -> String {
        Array(callID.utf8).withUnsafeBytes { SQLiteText.column($0) }
    }
}
