/// Notices that a writer's new session is on another server than its last one, and puts back what that one lacks.
///
///     confirmed batches ──▶ tail ──promoted server lacks them──▶ to be repeated ──sent──▶ confirmed anew
///                                                                    ▲   session lost      │
///                                                                    └─────────────────────┘
///
/// While there is something to be repeated the writer takes nothing new, so that the ledger's order stays that of
/// the commits. Repeated batches have slots of their own in the ledger, one for each that may be on the way.
///
/// A value without I/O.
struct FailoverRecovery {
    /// First of the ledger's rows for repeated batches, behind those of `CommitSlots`.
    static let firstSlot: Int32 = 1_000
    /// More than may be on the way at once.
    static let slots: Int32 = 16

    private var tail: ConfirmedTail
    /// The server of the last session.
    private(set) var identity: PostgresIdentity?
    private var waiting: [WriteBatch] = []
    private var onTheWay: Set<BatchID> = []
    private var nextSlot: Int32 = 0
    private let pbxNames: [String]

    /// - Parameter hasSeveralHosts: Whether another server can take over; without one rows are not kept, for that costs time and memory
    ///   with every batch, and a loss is only counted.
    init(settings: StoreSettings, hasSeveralHosts: Bool) {
        tail = ConfirmedTail(maximumBytes: hasSeveralHosts ? settings.confirmedTailBytes : 0)
        pbxNames = settings.pbxNames
    }

    /// Whether something is to be repeated before anything new is written.
    var isBusy: Bool { !waiting.isEmpty || !onTheWay.isEmpty }

    /// Rows that wait to be repeated.
    var waitingRows: Int { waiting.reduce(0) { $0 + $1.rowCount } }

    /// Notes a new session, after what was on the way in the last one was settled.
    ///
    /// - Returns: What its server lacks, when it was promoted since; `nil`: it is the server of before, or lacks
    ///   nothing that a former one had confirmed.
    mutating func connected(to server: PostgresIdentity?, committed: Set<BatchID>) -> ConfirmedTail.Loss? {
        defer { identity = server ?? identity }
        // Without both names nothing is known; rows of the ledger may also be gone for being old.
        guard let server, let identity, server != identity else { return nil }
        var loss = tail.take(lackedBy: committed)
        for (id, record) in loss.held {
            guard let batch = try? BatchRecord.decode(record, pbxNames: pbxNames) else {
                loss.goneBatches += 1
                continue
            }
            batch.id = id
            waiting.append(batch)
        }
        loss.held = loss.held.map { ($0.id, []) }
        return loss
    }

    /// The next batch to be repeated, to be sent now.
    mutating func next() -> WriteBatch? {
        guard !waiting.isEmpty else { return nil }
        let batch = waiting.removeFirst()
        batch.slot = Self.firstSlot + nextSlot
        nextSlot = (nextSlot + 1) % Self.slots
        onTheWay.insert(batch.id)
        return batch
    }

    /// Notes what became of a batch.
    ///
    /// - Returns: Whether it was a repeated one, which nobody else waits for.
    mutating func finished(_ batch: WriteBatch, _ result: Result<Void, StoreError>) -> Bool {
        let isRepeated = onTheWay.remove(batch.id) != nil
        switch result {
        case .success: tail.confirm(batch, pbxNames: pbxNames)
        case .failure:
            guard isRepeated else { break }
            // Behind those that came back before it, before those that were not sent yet.
            let index = waiting.firstIndex { $0.id.number > batch.id.number } ?? waiting.endIndex
            waiting.insert(batch, at: index)
        }
        return isRepeated
    }
}

/// Tells servers apart: whose data it is, and how often a standby was promoted on the way to it.
struct PostgresIdentity: Equatable, Sendable {
    /// Of the cluster; its standbys have the same.
    var system: String
    /// Grows with each promotion.
    var timeline: Int

    /// Whether `other` was left behind by a promotion: a former primary, which may still take rows that nobody
    /// will ever see.
    func isNewer(than other: PostgresIdentity) -> Bool { system == other.system && timeline > other.timeline }

    /// Asks a primary; PostgreSQL lets everybody.
    static let query = """
        SELECT (SELECT system_identifier FROM pg_control_system())::text,
            ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int8::text
        """
}
