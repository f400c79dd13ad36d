package import CallEngine
package import Logging
package import Protocols
package import Reactor

/// Gathers one shard's rows and commits them in groups: while batches are on their way the next one gathers, and
/// what has gathered leaves at the end of a tick as soon as the writer takes it.
///
/// Under low load an event is on its way in the tick that received it; under load the batches grow by themselves.
/// Where commits are faster than events come, small batches would cost more than their rows: the next one leaves
/// `CommitSettings.pace` after the one before it at the earliest.
///
///     append… ─▶ gathering ──full──▶ queue ──▶ writer (a few on the way) ──▶ onDurable
///         │          └──writer idle, end of tick──▲ ▲     └─ lost connection: back into the queue
///         │                                         │ first (DURABILITY=spool)
///         │          database away or slow ─▶ spool ┴─▶ drained, in order, beside live batches
///         └─▶ behind (calls that have rows in the spool) ─▶ spool
///
/// Rows of one call reach the database in their order: while rows of a call lie in the spool, its newer ones go
/// there too; all other calls' rows take the short way. Each batch has a name that the database notes with it, so
/// that it is written once, whatever connection or process dies in between (`BatchID`).
///
/// Without a spool full batches wait in memory, up to `CommitSettings.queueMaxBytes`. Beyond that event rows are
/// dropped and counted, and calls are kept in their latest state (`maximumCallsBeyondQueue`). With a full spool the
/// order of refusal is: payloads of events, events, calls.
///
/// Deterministic: time, writer and spool come from outside, so that all of it also runs in a simulated world.
package final class GroupCommit {
    /// A batch of fewer rows waits for the one before it rather than costing a commit of its own.
    package static let minimumRowsToPipeline = 64
    /// Calls kept in their latest state once the queue is full.
    package static let maximumCallsBeyondQueue = 65_536
    /// CRM actions kept once the queue is full.
    package static let maximumActionsBeyondQueue = 65_536
    /// Refused rows of one batch that are named in the log.
    package static let maximumRefusalLines = 10
    /// How often the status is told at most.
    static let statusInterval: Duration = .milliseconds(200)
    /// Emptied batches kept for reuse.
    package static let maximumSpareBatches = 8

    let turns: any CommitTurns
    let writer: any BatchWriter
    let spool: (any BatchSpool)?
    let settings: CommitSettings
    let metrics: Metrics
    let logger: Logger
    /// How often what waits is looked at for its age.
    private let spillLook: Duration
    /// Names this shard's batches of this run.
    let name: UInt64

    var gathering = WriteBatch()
    /// Rows of calls that have older ones in the spool.
    var behind = WriteBatch()
    /// Closed or returned batches by their order.
    var queue: [WriteBatch] = []
    var queuedBytes = 0
    /// Batches sent or to be sent that are not known to be durable, and durable ones behind them, by their order.
    var unreleased: [WriteBatch] = []
    var slots: CommitSlots
    var nextSequence: UInt64 = 1
    var backlog = SpoolBacklog()

    private var publishedBytes = 0
    private var spare: [WriteBatch] = []
    /// Batches of an earlier one are not used again.
    private var generation: UInt32 = 0
    private var endTurns: (() -> Void)?
    private var droppedSinceFull = 0
    private var textsChanged = 0
    /// When the timer is due.
    private var timerDue: MonotonicInstant?
    /// When the last batch of what gathered left.
    private var lastLeft: MonotonicInstant?
    private var isLiveNext = true
    private var lastPublished: MonotonicInstant?
    private var lastStatus = StorageStatus.Lane()
    private var hasUnpublished = false
    var spillLine = SpacedLine(interval: .seconds(60))
    var stopping: ((Bool) -> Void)?

    /// Told of each durable batch: what it attached for the CRM, when its events were received.
    ///
    /// Borrowed until return.
    package var onDurable: ((WriteBatch) -> Void)?
    /// Told when the writer's state changed.
    package var onStateChange: ((StoreState) -> Void)?
    /// Told, a few times a second at most, how far the database is behind.
    package var onStatus: ((StorageStatus.Lane) -> Void)?
    /// Whether event rows are being dropped because the queue is full.
    package private(set) var isDropping = false

    /// Takes the callbacks of writer and spool over.
    ///
    /// - Parameters:
    ///   - spool: Where rows go while the database is away; `nil`: they wait in memory.
    ///   - random: Random bits for the name of this shard's batches.
    package init(
        turns: any CommitTurns, writer: any BatchWriter, spool: (any BatchSpool)?, settings: CommitSettings,
        random: UInt64, metrics: Metrics, logger: Logger
    ) {
        self.turns = turns
        self.writer = writer
        self.spool = spool
        self.settings = settings
        spillLook = settings.spillAfter / 4
        name = BatchID.writer(random: random)
        slots = CommitSlots(random: random.byteSwapped &* 0x9E37_79B9_7F4A_7C15)
        self.metrics = metrics
        self.logger = logger
    }

    /// For a loop.
    ///
    /// - Parameter shares: How many shards share `settings.queueMaxBytes`; each takes an equal part.
    package convenience init(
        loop: Loop, writer: any BatchWriter, spool: (any BatchSpool)? = nil, settings: StoreSettings,
        shares: Int = 1, metrics: Metrics, logger: Logger
    ) {
        self.init(
            turns: LoopTurns(loop), writer: writer, spool: spool,
            settings: CommitSettings(settings, shares: shares), random: SystemRandom.uint64(),
            metrics: metrics, logger: logger)
    }

    /// How it stands with the database.
    package var state: StoreState { writer.state }
    /// Bytes gathered or waiting in memory (those on the way to the database not counted).
    package var waitingBytes: Int {
        queuedBytes + gathering.byteCount + behind.byteCount + backlog.pendingBytes
    }
    /// Bytes received that are not known to be durable, those in the spool left out.
    package var bytesOnTheWay: Int {
        unreleased.reduce(gathering.byteCount + behind.byteCount) {
            $1.isSettled || $1.spoolKey != nil ? $0 : $0 + $1.byteCount
        }
    }
    /// Batches on the way.
    package var inFlightCount: Int { writer.inFlightCount }
    /// Whether nothing waits, nothing is on the way, and nothing lies in the spool.
    package var isIdle: Bool {
        unreleased.isEmpty && gathering.isEmpty && behind.isEmpty && backlog.isEmpty
            && backlog.removing.isEmpty
    }
    /// Whether new rows go to the spool because the database does not take them.
    package var isSpilling: Bool { backlog.isSpilling }
    /// Batches that lie in the spool only.
    package var spooledBatches: Int { backlog.batches }

    /// Begins: opens the spool, then connects the writer, and sends at the end of each tick.
    package func start() {
        writer.onCompletion = { [weak self] batch, result in self?.completed(batch, result) }
        writer.onStateChange = { [weak self] state in self?.onStateChange?(state) }
        writer.onTakeOver = { [weak self] committed in self?.tookOver(committed) }
        endTurns = turns.atEndOfTurn { [weak self] in self?.submit() }
        guard let spool else { return writer.start(as: name, after: []) }
        spool.onAnswer = { [weak self] in self?.answered($0) }
        spool.open()
    }

    /// Appends an event row; see `WriteBatch.appendEvent`.
    ///
    /// - Parameter receipt: When it was received; `nil`: in this tick.
    /// - Returns: `false` when the row was dropped because the queue is full.
    @discardableResult
    package func appendEvent(
        callID: UnsafeRawBufferPointer, type: UnsafeRawBufferPointer, payload: UnsafeRawBufferPointer,
        occurredAt: Timestamp, insertedAt: Timestamp, payloadNeedsRepair: Bool,
        receipt: MonotonicInstant? = nil
    ) -> Bool {
        if isDropping {
            droppedSinceFull += 1
            metrics.add(.storeEventsDropped)
            return false
        }
        let batch = self.batch(for: callID)
        batch.appendEvent(
            callID: callID, type: type, payload: payload, occurredAt: occurredAt, insertedAt: insertedAt,
            payloadNeedsRepair: payloadNeedsRepair)
        batch.note(receipt: receipt ?? turns.now)
        closeIfFull(batch)
        return true
    }

    /// Takes the newest state of a call; see `WriteBatch.appendCall`.
    package func appendCall(
        _ record: borrowing CallRecord, longTexts: LongTexts? = nil, details: CallDetails? = nil
    ) {
        let batch: WriteBatch
        if let long = longTexts?.callID {
            batch = long.withUnsafeBytes { self.batch(for: $0) }
        } else {
            batch = record.callID.withUnsafeBytes { self.batch(for: $0) }
        }
        if isDropping, batch.callCount >= Self.maximumCallsBeyondQueue {
            metrics.add(.storeCallsDropped)
            return
        }
        batch.appendCall(record, longTexts: longTexts, details: details)
        closeIfFull(batch)
    }

    /// Takes the newest states of calls that another loop gathered.
    func appendCalls(_ rows: CallRows) {
        for row in rows.records.indices {
            let batch = rows.withCallID(at: row) { self.batch(for: $0) }
            if isDropping, batch.callCount >= Self.maximumCallsBeyondQueue {
                metrics.add(.storeCallsDropped)
                continue
            }
            batch.appendCall(copying: row, of: rows)
            closeIfFull(batch)
        }
    }

    /// Writes the id that Bitrix24 gave a call; see `WriteBatch.appendCRM`.
    package func appendCRM(callID: UnsafeRawBufferPointer, bitrixCallID: UnsafeRawBufferPointer) {
        let batch = self.batch(for: callID)
        guard !isDropping || batch.rowCount < Self.maximumCallsBeyondQueue else {
            metrics.add(.storeCallsDropped)
            return
        }
        batch.appendCRM(callID: callID, bitrixCallID: bitrixCallID)
        closeIfFull(batch)
    }

    /// Writes a row that comes once in a while; it is kept also while event rows are dropped.
    ///
    /// Behind all rows before it, also those in the spool.
    package func append(note: StoreNote) {
        let batch = backlog.holdsCalls && !backlog.isSpilling ? behind : gathering
        if batch.openedAt == nil { batch.openedAt = turns.now }
        batch.append(note: note)
    }

    /// Releases the action once all rows of its call that were appended before it are durable.
    package func attach(crm action: CRMAction) {
        let batch = self.batch(forHash: SpooledCalls.hash(of: action))
        if isDropping, batch.crmActions.count >= Self.maximumActionsBeyondQueue {
            metrics.add(.crmDropped)
            return
        }
        batch.attach(crm: action)
    }

    /// Writes out what waits, to the database or else to the spool, then stops the writer.
    ///
    /// - Parameters:
    ///   - deadline: When to give up; what is kept nowhere by then is logged and lost.
    ///   - completion: Called once, on the loop, with whether everything was kept.
    package func flushAndStop(deadline: MonotonicInstant, completion: @escaping (Bool) -> Void) {
        let left = max(deadline - turns.now, .zero)
        stopping = completion
        turns.after(left) { [weak self] in self?.finishStopping() }
        if backlog.isOpen {
            // Half of the time for a database that works, the rest for the local disk.
            turns.after(writer.state.isConnected ? left / 2 : .zero) { [weak self] in
                guard let self, stopping != nil else { return }
                if !backlog.isSpilling { beginSpilling("the daemon stops") }
                submit()
            }
        }
        submit()
        finishIfSafe()
    }
}

// MARK: - Gathering

extension GroupCommit {
    /// Where rows of this call gather.
    private func batch(for callID: UnsafeRawBufferPointer) -> WriteBatch {
        // The hash is only worth its time while something lies in the spool.
        guard backlog.holdsCalls, !backlog.isSpilling else { return opened(gathering) }
        return batch(forHash: SpooledCalls.hash(callID))
    }

    private func batch(forHash hash: UInt64) -> WriteBatch {
        guard backlog.holdsCalls, !backlog.isSpilling, backlog.holds(hash) else { return opened(gathering) }
        // Remembered until that batch is closed: what comes later must not pass it, even when the spool empties meanwhile.
        backlog.gatheringBehind.insert(hash)
        return opened(behind)
    }

    private func opened(_ batch: WriteBatch) -> WriteBatch {
        if batch.openedAt == nil { batch.openedAt = turns.now }
        return batch
    }

    private func closeIfFull(_ batch: WriteBatch) {
        guard !isDropping, batch.isFull else { return }
        if batch === behind { closeBehind() } else { close() }
        submit()
    }

    /// Closes the gathering batch and lets it go its way.
    func close() {
        let batch = takeGathering()
        if backlog.isSpilling {
            spoolOnly(batch)
        } else if settings.durability == .spool, backlog.isOpen {
            unreleased.append(batch)
            spoolFirst(batch)
        } else {
            unreleased.append(batch)
            enqueue(batch)
        }
    }

    func takeGathering() -> WriteBatch {
        let batch = gathering
        gathering = emptyBatch()
        number(batch)
        return batch
    }

    /// Closes the rows that have to go behind what is spooled.
    func closeBehind() {
        guard !behind.isEmpty else { return }
        let batch = behind
        behind = emptyBatch()
        number(batch)
        spoolOnly(batch)
        backlog.gatheringBehind.removeAll(keepingCapacity: true)
    }

    func number(_ batch: WriteBatch) {
        batch.sequence = nextSequence
        batch.id = BatchID(writer: name, number: Int64(nextSequence))
        nextSequence += 1
        guard batch.textsChanged > 0 else { return }
        metrics.add(.textsCut, batch.textsChanged)
        // One line at the first and at each power of ten: a PBX with long names must not flood the log.
        let before = textsChanged
        textsChanged += batch.textsChanged
        if before == 0 || String(before).utf8.count != String(textsChanged).utf8.count {
            logger.warning("texts did not fit their column and were cut or cleaned: \(textsChanged) so far")
        }
    }

    /// Puts a batch into the queue, where its order says.
    func enqueue(_ batch: WriteBatch) {
        let index = queue.lastIndex { $0.sequence < batch.sequence }
        queue.insert(batch, at: index.map { $0 + 1 } ?? 0)
        queuedBytes += batch.byteCount
    }

    /// Keeps an empty batch for reuse.
    func retire(_ batch: WriteBatch) {
        batch.reset()
        guard batch.generation == generation, spare.count < Self.maximumSpareBatches else { return }
        spare.append(batch)
    }

    private func emptyBatch() -> WriteBatch {
        if let batch = spare.popLast() { return batch }
        let batch = WriteBatch()
        batch.generation = generation
        return batch
    }

    /// Lets the memory of emptied batches go, and that of those on their way once they are back.
    ///
    /// A batch keeps room for as many rows as it ever had, which after a backlog is many times what a usual one needs.
    package func renewBatches() {
        generation &+= 1
        spare.removeAll()
    }
}

// MARK: - Sending

extension GroupCommit {
    /// Sends what can be sent; runs at the end of each tick.
    func submit() {
        guard !backlog.isStopped else { return }
        tendSpool()
        while !slots.isEmpty, let batch = nextBatch() {
            // Actions without rows have nothing to wait for but those before them.
            if batch.rowCount == 0, batch.spoolKey == nil { settled(batch) } else { write(batch) }
        }
        closeForSpool()
        publish()
        armTimer()
    }

    /// The next batch to be sent: live ones and drained ones in turn, drained ones never taking the last place.
    private func nextBatch() -> WriteBatch? {
        guard writer.canAccept || writer.canBoard else { return nil }
        let drained = nextDrained
        if drained != nil, !isLiveNext || !hasLive {
            isLiveNext = true
            return takeDrained()
        }
        isLiveNext = drained == nil
        if !queue.isEmpty {
            let batch = queue.removeFirst()
            queuedBytes -= batch.byteCount
            return batch
        }
        guard shouldSendGathering else { return nil }
        let batch = takeGathering()
        lastLeft = turns.now
        unreleased.append(batch)
        return batch
    }

    private var hasLive: Bool { !queue.isEmpty || shouldSendGathering }

    private var shouldSendGathering: Bool {
        guard !gathering.isEmpty, !backlog.isSpilling else { return false }
        if settings.durability == .spool, backlog.isOpen { return false }
        if !writer.canAccept {
            // Full batches leave together; few rows only so that a drain does not keep them for long.
            return backlog.drainedOnTheWay > 0 && age(of: gathering) >= settings.maximumAge
        }
        if gathering.rowCount >= Self.minimumRowsToPipeline || stopping != nil { return true }
        guard writer.inFlightCount == backlog.drainedOnTheWay else {
            return age(of: gathering) >= settings.maximumAge
        }
        guard let lastLeft else { return true }
        return turns.now >= lastLeft + settings.pace
    }

    func age(of batch: WriteBatch) -> Duration { batch.openedAt.map { turns.now - $0 } ?? .zero }

    private func write(_ batch: WriteBatch) {
        if batch.slot == nil { batch.slot = slots.take() }
        if batch.isDrained { backlog.drainedOnTheWay += 1 }
        writer.write(batch)
    }

    /// Comes back when something waits for time to pass.
    private func armTimer() {
        var shortest: Duration?
        func wait(_ delay: Duration) { shortest = shortest.map { min($0, delay) } ?? delay }
        // Under load the next tick comes by itself; the timer is for the last rows before silence.
        if !gathering.isEmpty, !backlog.isSpilling, writer.canAccept { wait(settings.pace) }
        if backlog.isOpen {
            if !behind.isEmpty || backlog.isSpilling && !gathering.isEmpty { wait(settings.spoolAge) }
            if !unreleased.isEmpty || !gathering.isEmpty { wait(spillLook) }
            if backlog.isBlocked || backlog.batches > 0 { wait(settings.spoolRetry) }
        }
        if hasUnpublished { wait(Self.statusInterval) }
        guard let delay = shortest else { return }
        let due = turns.now + delay
        if let timerDue, timerDue <= due { return }
        timerDue = due
        turns.after(delay) { [weak self] in
            guard let self else { return }
            // A later one that an earlier one made needless.
            guard timerDue == due else { return }
            timerDue = nil
            submit()
        }
    }

    func publish() {
        let waiting = waitingBytes
        if waiting != publishedBytes {
            metrics.add(.storeQueuedBytes, waiting - publishedBytes)
            publishedBytes = waiting
        }
        // What gathers counts where it can pile up, which is behind a spool that takes nothing.
        let full = queuedBytes + backlog.pendingBytes
        if full >= settings.queueMaxBytes, backlog.isBlocked, shedMore() { return publish() }
        if !isDropping, full >= settings.queueMaxBytes {
            isDropping = true
            droppedSinceFull = 0
            logger.error(
                "store queue is full (\(settings.queueMaxBytes) bytes, this loop's part of STORE_QUEUE_MAX_BYTES): event rows are dropped until the database takes them; calls are kept"
            )
        } else if isDropping, full < settings.queueMaxBytes / 4 * 3 {
            isDropping = false
            logger.warning("store queue has room again: \(droppedSinceFull) event rows were dropped")
        }
        publishStatus()
    }

    private func publishStatus() {
        guard let onStatus else { return }
        if let lastPublished, turns.now - lastPublished < Self.statusInterval {
            hasUnpublished = lastStatus != StorageStatus.Lane() || !unreleased.isEmpty || !backlog.isEmpty
            return
        }
        lastPublished = turns.now
        hasUnpublished = false
        var status = StorageStatus.Lane()
        status.isSpilling = backlog.isSpilling
        status.batches = backlog.batches
        status.events = backlog.events
        status.oldest = backlog.isEmpty ? nil : backlog.oldest
        if let first = unreleased.first(where: { !$0.isSettled }) {
            let age = age(of: first)
            if age >= StorageStatus.tellsAfter {
                let received = turns.wallNow.microseconds - age.wholeMicroseconds
                status.oldest = min(
                    status.oldest ?? .init(microseconds: received), .init(microseconds: received))
            }
        }
        lastStatus = status
        onStatus(status)
    }
}

// MARK: - Stopping

extension GroupCommit {
    /// Whether a row would be lost with the process.
    private var hasUnsafe: Bool {
        !gathering.isEmpty || !behind.isEmpty || !backlog.pending.isEmpty
            || unreleased.contains { !$0.isSettled && $0.spoolKey == nil }
    }

    func finishIfSafe() {
        guard stopping != nil, !hasUnsafe else { return }
        if writer.inFlightCount == 0 || !writer.state.isConnected { finishStopping() }
    }

    private func finishStopping() {
        guard let completion = stopping else { return }
        stopping = nil
        endTurns?()
        endTurns = nil
        backlog.isStopped = true
        writer.flushAndStop(deadline: turns.now) { [self] in
            let complete = !hasUnsafe
            if !complete {
                let lost =
                    unreleased.filter { !$0.isSettled && $0.spoolKey == nil } + [gathering, behind]
                    + backlog.pending.filter { $0.role == .spoolOnly }.map(\.batch)
                let events = lost.reduce(0) { $0 + $1.eventCount }
                let calls = lost.reduce(0) { $0 + $1.callCount }
                metrics.add(.storeEventsDropped, events)
                metrics.add(.storeCallsDropped, calls)
                logger.error("stopped before the database took \(events) event rows and \(calls) call rows")
            }
            flushRemovals()
            metrics.add(.storeQueuedBytes, -publishedBytes)
            publishedBytes = 0
            completion(complete)
        }
    }
}
