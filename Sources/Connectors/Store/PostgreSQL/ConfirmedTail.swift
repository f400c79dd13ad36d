/// The batches that a server confirmed last, kept for the case that the one promoted in its place lacks them.
///
/// With asynchronous replication a primary confirms commits before a standby has them. When it dies and the standby
/// is promoted, the standby has some first part of what was committed (it replays one log in order), and so of what
/// one connection was confirmed. The commit ledger on the promoted server tells where that part ends; what lies
/// behind is known to be lost there, and can be written again as long as it is held here.
///
/// A value without I/O.
struct ConfirmedTail {
    /// Batches whose names and sizes are kept, so that a loss beyond the contents is still counted.
    static let maximumNames = 16_384

    /// A confirmed batch.
    private struct Entry {
        let id: BatchID
        let rows: Int
        /// Its rows as `BatchRecord`, until they make room for newer ones; compact, unlike a batch's columns.
        var contents: [UInt8]?
    }

    /// What a promoted server lacks.
    struct Loss: Equatable {
        /// `BatchRecord`s of what can be written again, in order, with their names.
        var held: [(id: BatchID, record: [UInt8])] = []
        /// Rows in those.
        var heldRows = 0
        /// Batches whose rows nobody has any more.
        var goneBatches = 0
        /// Rows in those.
        var goneRows = 0
        /// Even names were given up: more may be gone.
        var isAtLeast = false

        var isEmpty: Bool { held.isEmpty && goneBatches == 0 }

        static func == (left: Loss, right: Loss) -> Bool {
            left.held.map(\.id) == right.held.map(\.id) && left.heldRows == right.heldRows
                && left.goneBatches == right.goneBatches && left.goneRows == right.goneRows
                && left.isAtLeast == right.isAtLeast
        }
    }

    /// Bytes of rows kept.
    let maximumBytes: Int
    private var entries: [Entry] = []
    /// Entries before this have no contents.
    private var firstHeld = 0
    private(set) var heldBytes = 0
    /// Names were dropped at the bound.
    private var hasForgotten = false

    init(maximumBytes: Int) { self.maximumBytes = maximumBytes }

    /// Notes that the server has confirmed a batch.
    mutating func confirm(_ batch: WriteBatch, pbxNames: [String]) {
        guard batch.rowCount > 0 else { return }
        let record = maximumBytes > 0 ? BatchRecord.encode(batch, pbxNames: pbxNames) : nil
        confirm(batch.id, rows: batch.rowCount, record: record)
    }

    mutating func confirm(_ id: BatchID, rows: Int, record: [UInt8]?) {
        entries.append(Entry(id: id, rows: rows, contents: record))
        heldBytes += record?.count ?? 0
        while heldBytes > maximumBytes, firstHeld < entries.count {
            heldBytes -= entries[firstHeld].contents?.count ?? 0
            entries[firstHeld].contents = nil
            firstHeld += 1
        }
        // By halves, so that it seldom costs anything.
        guard entries.count > Self.maximumNames else { return }
        let dropped = entries.count / 2
        for entry in entries[..<dropped] { heldBytes -= entry.contents?.count ?? 0 }
        entries.removeFirst(dropped)
        firstHeld = max(0, firstHeld - dropped)
        hasForgotten = true
    }

    /// What a server lacks whose ledger names `committed` as the last batches it has.
    ///
    /// It is taken out here; what is written again is confirmed anew.
    mutating func take(lackedBy committed: Set<BatchID>) -> Loss {
        var loss = Loss()
        let lastThere = entries.lastIndex { committed.contains($0.id) }
        let first = lastThere.map { $0 + 1 } ?? 0
        for entry in entries[first...] {
            if let record = entry.contents {
                loss.held.append((entry.id, record))
                loss.heldRows += entry.rows
                heldBytes -= record.count
            } else {
                loss.goneBatches += 1
                loss.goneRows += entry.rows
            }
        }
        loss.isAtLeast = lastThere == nil && hasForgotten && !loss.isEmpty
        entries.removeSubrange(first...)
        firstHeld = min(firstHeld, entries.count)
        return loss
    }
}
