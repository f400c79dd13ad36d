import Logging
import Protocols
import Reactor
import Synchronization

/// The spool's thread: opens the file, does what the shards asked in groups, and keeps the public state.
final class SpoolWorker {
    /// Bytes appended in one transaction, more or less.
    ///
    /// Less than the reserve, which has to hold what of the log a full disk kept out of the file.
    static let groupBytes = 4 << 20
    /// Wait before removals that failed are tried again.
    static let retryAfter: Duration = .seconds(1)

    private let loop: Loop
    private let shared: SpoolShared
    private let settings: SpoolSettings
    private let lanes: Int
    private let metrics: Metrics
    private let logger: Logger

    private var file: SpoolFile?
    private var isOpened = false
    private var contents: [SpoolContents] = []
    private var mailboxes: [Int: Mailbox<SpoolAnswer>] = [:]
    private var orders: [SpoolOrder] = []
    private var status = SpoolStatus()
    /// Removals that the disk did not take, by lane.
    private var unremoved: [(lane: Int, keys: [Int64])] = []
    private var isRetryDue = false
    private var nextReserve = MonotonicInstant(nanoseconds: 0)
    private var isRefusing = false
    private var troubleLine = SpacedLine(interval: .seconds(10))

    init(
        loop: Loop, shared: SpoolShared, settings: SpoolSettings, lanes: Int, metrics: Metrics, logger: Logger
    ) {
        self.loop = loop
        self.shared = shared
        self.settings = settings
        self.lanes = lanes
        self.metrics = metrics
        self.logger = logger
    }

    /// Keeps an order until the end of the tick.
    func take(_ order: SpoolOrder) { orders.append(order) }

    /// Does what was asked in this tick.
    func work() {
        guard !orders.isEmpty || isRetryDue else { return }
        if isRetryDue {
            isRetryDue = false
            orders += unremoved.map { .remove(lane: $0.lane, $0.keys) }
            unremoved = []
        }
        let batch = orders
        orders = []
        var group: [SpoolOrder] = []
        var bytes = 0
        for order in batch {
            switch order {
            case .open(let lane, let mailbox): open(lane, mailbox)
            case .append(_, let record):
                bytes += record.bytes.count
                group.append(order)
            case .remove: group.append(order)
            case .load:
                // Reads see what was asked before them.
                commit(&group)
                load(order)
            }
            if bytes >= Self.groupBytes {
                commit(&group)
                bytes = 0
            }
        }
        commit(&group)
        publish()
    }

    // MARK: Opening

    private func open(_ lane: Int, _ mailbox: Mailbox<SpoolAnswer>) {
        mailboxes[lane] = mailbox
        if !isOpened { openFile() }
        guard file != nil else {
            answer(lane, .unavailable(status.problem ?? "not open"))
            return
        }
        answer(lane, .opened(contents.indices.contains(lane) ? contents[lane] : SpoolContents()))
        if contents.indices.contains(lane) { contents[lane] = SpoolContents() }
    }

    private func openFile() {
        isOpened = true
        do throws(StoreError) {
            let (file, report) = try SpoolFile.open(settings)
            contents = try file.contents(lanes: lanes)
            shared.lastKey.store(try file.lastKey(), ordering: .relaxed)
            self.file = file
            status.state = .open
            if let damage = report.damage {
                metrics.add(.spoolDamaged)
                logger.error(
                    "the spool was damaged: \(damage.reason); it was moved to \(damage.movedTo), and \(report.carriedOver) batches were carried over"
                )
            }
            if file.batches > 0 {
                logger.warning(
                    "the spool has rows of an earlier run, which go to the database first",
                    metadata: ["batches": "\(file.batches)", "events": "\(file.events)"])
            }
        } catch {
            status.state = .failing
            status.problem = error.description
            logger.error("no spool, rows wait in memory only: \(error)")
        }
    }

    // MARK: Transactions

    private func commit(_ group: inout [SpoolOrder]) {
        guard !group.isEmpty else { return }
        defer { group = [] }
        guard let file else {
            for order in group { refuse(order, .disk(status.problem ?? "not open")) }
            return
        }
        var refusals: [Int64: SpoolRefusal] = [:]
        do throws(StoreError) {
            try file.transaction { () throws(StoreError) in
                for order in group { try apply(order, file, &refusals) }
            }
            for order in group { done(order, refusals, file) }
            file.oldestChanged()
        } catch {
            // One by one: a removal may go where an append does not, a small batch where a large one does not.
            if group.count > 1 {
                for order in group {
                    var single = [order]
                    commit(&single)
                }
            } else {
                failed(group[0], error, file)
            }
        }
    }

    private func apply(
        _ order: SpoolOrder, _ file: SpoolFile, _ refusals: inout [Int64: SpoolRefusal]
    ) throws(StoreError) {
        switch order {
        case .append(let lane, let record):
            if !hasReserve(file) {
                refusals[record.key] = .disk("the disk is full; nothing is taken before there is room again")
            } else if file.hasRoom(for: record.bytes.count, record.weight) {
                try file.append(record, lane: lane)
            } else {
                refusals[record.key] = .full
            }
        case .remove(_, let keys): for key in keys { try file.remove(key) }
        case .open, .load: break
        }
    }

    /// Whether there is room for removals; where there was none, it is looked for again once in a while.
    private func hasReserve(_ file: SpoolFile) -> Bool {
        if !file.hasReserve, loop.now >= nextReserve {
            nextReserve = loop.now + Self.retryAfter
            file.makeReserve()
        }
        return file.hasReserve
    }

    private func done(_ order: SpoolOrder, _ refusals: [Int64: SpoolRefusal], _ file: SpoolFile) {
        switch order {
        case .append(let lane, let record):
            let refusal = refusals[record.key]
            if refusal == nil { metrics.add(.spoolBatchesWritten) }
            note(refusal)
            answer(lane, .appended(key: record.key, refusal, hasRoom: file.isRoomy))
        case .remove(let lane, let keys):
            answer(lane, .removed(keys))
            if file.batches == 0 { file.shrink() }
        case .open, .load: break
        }
    }

    private func failed(_ order: SpoolOrder, _ error: StoreError, _ file: SpoolFile) {
        metrics.add(.spoolErrors)
        if troubleLine.take(at: loop.now) != nil { logger.error("the spool cannot be written: \(error)") }
        switch order {
        case .append(let lane, let record):
            note(.disk(error.description))
            answer(lane, .appended(key: record.key, .disk(error.description), hasRoom: false))
        case .remove(let lane, let keys):
            // Room for the note that they are gone; the next try uses it.
            let hadReserve = file.freeReserve()
            unremoved.append((lane, keys))
            loop.schedule(after: hadReserve ? .milliseconds(1) : Self.retryAfter) { [weak self] in
                self?.isRetryDue = true
            }
        case .open, .load: break
        }
    }

    private func refuse(_ order: SpoolOrder, _ refusal: SpoolRefusal) {
        switch order {
        case .append(let lane, let record):
            answer(lane, .appended(key: record.key, refusal, hasRoom: false))
        case .remove(let lane, let keys): answer(lane, .removed(keys))
        case .open, .load: break
        }
    }

    private func load(_ order: SpoolOrder) {
        guard case .load(let lane, let key, let count, let bytes) = order else { return }
        guard let file else { return answer(lane, .loaded([], isLast: true)) }
        do throws(StoreError) {
            let (records, isLast) = try file.load(
                lane: lane, after: key, maximumCount: count, maximumBytes: bytes)
            answer(lane, .loaded(records, isLast: isLast))
        } catch {
            metrics.add(.spoolErrors)
            if troubleLine.take(at: loop.now) != nil { logger.error("the spool cannot be read: \(error)") }
            answer(lane, .loaded([], isLast: false))
        }
    }

    private func answer(_ lane: Int, _ answer: SpoolAnswer) {
        // The mailbox holds more than a shard has on the way; a shard that is gone needs no answer.
        _ = mailboxes[lane]?.post(answer)
    }

    // MARK: State

    private func note(_ refusal: SpoolRefusal?) {
        switch refusal {
        case nil:
            if isRefusing { logger.warning("the spool takes batches again") }
            isRefusing = false
            status.state = .open
            status.problem = nil
        case .full:
            if !isRefusing {
                logger.error(
                    "the spool is full (SPOOL_MAX_BYTES=\(settings.maximumBytes)): batches wait in memory, then event payloads are left out, then events, calls last"
                )
            }
            isRefusing = true
            status.state = .full
            status.problem = "SPOOL_MAX_BYTES is reached"
        case .disk(let text):
            isRefusing = true
            status.state = .failing
            status.problem = text
        }
    }

    private func publish() {
        if let file {
            status.bytes = file.batches == 0 ? 0 : file.bytes
            status.batches = file.batches
            status.events = file.events
            status.oldest = file.oldest
        }
        metrics.set(.spoolBytes, status.bytes)
        metrics.set(.spoolBatches, status.batches)
        metrics.set(.spoolEvents, status.events)
        shared.status.withLock { $0 = status }
    }
}
