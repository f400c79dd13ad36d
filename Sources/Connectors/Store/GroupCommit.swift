package import CallEngine
package import Logging
package import Protocols
package import Reactor

/// Gathers one shard's rows and commits them in groups: while batches are on their way the next one gathers, and
/// what has gathered leaves at the end of a tick as soon as the writer takes it, small batches at a pace.
///
/// Under low load an event is on its way in the tick that received it; under load the batches grow by themselves.
/// Where commits are faster than events come, small batches would cost more than their rows: the next one leaves
/// `StoreSettings.pace` after the one before it at the earliest.
///
///     append… ─▶ gathering ──full──▶ queue ──▶ writer (a few on the way) ──▶ onDurable
///                    └──────writer idle, end of tick─────▲        └─ lost connection: back into the queue
///
/// While the database is away full batches wait in order, up to `StoreSettings.queueMaxBytes`. Beyond that
/// event rows are dropped and counted, and calls are kept in their latest state (`maximumCallsBeyondQueue`).
/// A batch with a refused row is divided until the row is found; only that row is lost, logged and counted.
///
/// A batch whose commit was not confirmed before the connection broke is not simply written again: the writer
/// finds out first whether it was committed (`PostgresCommitLedger`).
package final class GroupCommit {
    /// A batch of fewer rows waits for the one before it rather than costing a commit of its own.
    package static let minimumRowsToPipeline = 64
    /// Calls kept in their latest state once the queue is full.
    package static let maximumCallsBeyondQueue = 65_536
    /// CRM actions kept once the queue is full.
    package static let maximumActionsBeyondQueue = 65_536
    /// Emptied batches kept for reuse.
    package static let maximumSpareBatches = 8

    private let loop: Loop
    private let writer: any BatchWriter
    private let queueMaxBytes: Int
    private let pace: Duration
    private let metrics: Metrics
    private var logger: Logger

    private var gathering = WriteBatch()
    /// Full or returned batches by their order.
    private var queue: [WriteBatch] = []
    private var queuedBytes = 0
    /// Numbered batches that are not known to be durable, and durable ones behind them, by their order.
    private var unreleased: [WriteBatch] = []
    private var publishedBytes = 0
    private var spare: [WriteBatch] = []
    private var nextSequence: UInt64 = 1
    private var hook: HookID?
    /// When the last batch left, and the timer for the next one's turn.
    private var lastLeft: MonotonicInstant?
    private var turn: TimerID?
    private var droppedSinceFull = 0
    private var textsChanged = 0
    private var stopping: (timer: TimerID?, completion: (Bool) -> Void)?

    /// Told of each durable batch: what it attached for the CRM, when its events were received.
    ///
    /// Borrowed until return.
    package var onDurable: ((WriteBatch) -> Void)?
    /// Told when the writer's state changed.
    package var onStateChange: ((StoreState) -> Void)?
    /// Whether event rows are being dropped because the queue is full.
    package private(set) var isDropping = false

    /// Takes the writer's callbacks over.
    ///
    /// - Parameter shares: How many shards share `settings.queueMaxBytes`; each takes an equal part.
    package init(
        loop: Loop, writer: any BatchWriter, settings: StoreSettings, shares: Int = 1, metrics: Metrics,
        logger: Logger
    ) {
        self.loop = loop
        self.writer = writer
        self.queueMaxBytes = settings.queueMaxBytes / max(1, shares)
        pace = settings.pace
        self.metrics = metrics
        self.logger = logger
    }

    /// How it stands with the database.
    package var state: StoreState { writer.state }
    /// Bytes gathered or waiting (those on the way not counted).
    package var waitingBytes: Int { queuedBytes + gathering.byteCount }
    /// Batches on the way.
    package var inFlightCount: Int { writer.inFlightCount }
    /// Whether nothing waits and nothing is on the way.
    package var isIdle: Bool { unreleased.isEmpty && gathering.isEmpty }

    /// Begins: connects the writer and sends at the end of each tick.
    package func start() {
        writer.onCompletion = { [weak self] batch, result in self?.completed(batch, result) }
        writer.onStateChange = { [weak self] state in self?.onStateChange?(state) }
        hook = loop.atEndOfTick { [weak self] in self?.submit() }
        writer.start()
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
        gathering.appendEvent(
            callID: callID, type: type, payload: payload, occurredAt: occurredAt, insertedAt: insertedAt,
            payloadNeedsRepair: payloadNeedsRepair)
        gathering.note(receipt: receipt ?? loop.now)
        if gathering.isFull { seal() }
        return true
    }

    /// Takes the newest state of a call; see `WriteBatch.appendCall`.
    package func appendCall(
        _ record: borrowing CallRecord, longTexts: LongTexts? = nil, details: CallDetails? = nil
    ) {
        if isDropping, gathering.callCount >= Self.maximumCallsBeyondQueue {
            metrics.add(.storeCallsDropped)
            return
        }
        gathering.appendCall(record, longTexts: longTexts, details: details)
        if !isDropping, gathering.isFull { seal() }
    }

    /// Writes the id that Bitrix24 gave a call; see `WriteBatch.appendCRM`.
    package func appendCRM(callID: UnsafeRawBufferPointer, bitrixCallID: UnsafeRawBufferPointer) {
        guard !isDropping || gathering.rowCount < Self.maximumCallsBeyondQueue else {
            metrics.add(.storeCallsDropped)
            return
        }
        gathering.appendCRM(callID: callID, bitrixCallID: bitrixCallID)
        if !isDropping, gathering.isFull { seal() }
    }

    /// Writes a row that comes once in a while; it is kept also while event rows are dropped.
    package func append(note: StoreNote) {
        gathering.append(note: note)
    }

    /// Releases the action once all rows appended before it are durable.
    package func attach(crm action: CRMAction) {
        if isDropping, gathering.crmActions.count >= Self.maximumActionsBeyondQueue {
            metrics.add(.crmDropped)
            return
        }
        gathering.attach(crm: action)
    }

    /// Writes out what waits, then stops the writer.
    ///
    /// - Parameters:
    ///   - deadline: When to give up; what is not durable by then is logged and lost.
    ///   - completion: Called once, on the loop, with whether everything became durable.
    package func flushAndStop(deadline: MonotonicInstant, completion: @escaping (Bool) -> Void) {
        let left = deadline - loop.now
        let timer = loop.schedule(after: max(left, .zero)) { [weak self] in self?.finishStopping() }
        stopping = (timer, completion)
        if isIdle { finishStopping() } else { submit() }
    }
}

// MARK: - Sending

extension GroupCommit {
    /// Sends what can be sent; runs at the end of each tick.
    private func submit() {
        while writer.canAccept {
            if !queue.isEmpty {
                let batch = queue.removeFirst()
                queuedBytes -= batch.byteCount
                writer.write(batch)
            } else if !gathering.isEmpty, shouldSendGathering {
                let batch = gathering
                lastLeft = loop.now
                number(batch)
                gathering = spare.popLast() ?? WriteBatch()
                if batch.rowCount == 0 { settled(batch) } else { writer.write(batch) }
            } else {
                break
            }
        }
        publishState()
    }

    private var shouldSendGathering: Bool {
        if gathering.rowCount >= Self.minimumRowsToPipeline || stopping != nil { return true }
        guard writer.inFlightCount == 0 else { return false }
        guard let lastLeft, loop.now < lastLeft + pace else { return true }
        // Under load the next tick comes by itself; the timer is for the last rows before silence.
        if turn == nil { turn = loop.schedule(at: lastLeft + pace) { [weak self] in self?.turn = nil } }
        return false
    }

    private func number(_ batch: WriteBatch) {
        batch.sequence = nextSequence << 20
        nextSequence += 1
        unreleased.append(batch)
        if batch.textsChanged > 0 {
            metrics.add(.textsCut, batch.textsChanged)
            // One line at the first and at each power of ten: a PBX with long names must not flood the log.
            let before = textsChanged
            textsChanged += batch.textsChanged
            if before == 0 || String(before).utf8.count != String(textsChanged).utf8.count {
                logger.warning(
                    "texts did not fit their column and were cut or cleaned: \(textsChanged) so far")
            }
        }
    }

    /// Moves the gathering batch into the queue.
    private func seal() {
        let batch = gathering
        number(batch)
        queue.append(batch)
        queuedBytes += batch.byteCount
        gathering = spare.popLast() ?? WriteBatch()
        submit()
    }

    /// Puts a batch that came back where its order says.
    private func putBack(_ batch: WriteBatch) {
        let index = queue.lastIndex { $0.sequence < batch.sequence }
        queue.insert(batch, at: index.map { $0 + 1 } ?? 0)
        queuedBytes += batch.byteCount
    }

    private func publishState() {
        let waiting = waitingBytes
        if waiting != publishedBytes {
            metrics.add(.storeQueuedBytes, waiting - publishedBytes)
            publishedBytes = waiting
        }
        if !isDropping, queuedBytes >= queueMaxBytes {
            isDropping = true
            droppedSinceFull = 0
            logger.error(
                "store queue is full (\(queueMaxBytes) bytes, this loop's part of STORE_QUEUE_MAX_BYTES): event rows are dropped until the database takes them; calls are kept"
            )
        } else if isDropping, queuedBytes < queueMaxBytes / 4 * 3 {
            isDropping = false
            logger.warning("store queue has room again: \(droppedSinceFull) event rows were dropped")
        }
    }
}

// MARK: - Results

extension GroupCommit {
    private func completed(_ batch: WriteBatch, _ result: Result<Void, StoreError>) {
        switch result {
        case .success:
            metrics.add(.storeBatches)
            metrics.add(.storeEventsWritten, batch.eventCount)
            metrics.add(.storeCallsWritten, batch.callCount)
            settled(batch)
        case .failure(.data(let code, let message)):
            metrics.add(.storeErrors)
            if let (first, second) = batch.divided() {
                let whole = batch.whole ?? batch
                whole.openParts += batch.whole == nil ? 2 : 1
                for part in [first, second] {
                    part.whole = whole
                    putBack(part)
                }
            } else {
                rejected(batch, code: code, message: message)
            }
        case .failure(.unavailable), .failure(.transient), .failure(.configuration):
            metrics.add(.storeErrors)
            putBack(batch)
        }
        if stopping != nil, isIdle { finishStopping() }
    }

    /// A refused row; the place where it will go to `dead_letters`.
    private func rejected(_ batch: WriteBatch, code: String, message: String) {
        let row = batch.onlyRowDescription
        metrics.add(.storeRowsRejected)
        logger.error(
            "the database refused a row, which is left out: \(message)",
            metadata: [
                "sqlstate": "\(code)", "row": "\(row.kind)", "call": "\(row.callID)",
                "event": "\(row.eventType)",
            ])
        if row.kind == "call" { (batch.whole ?? batch).dropActions(ofCall: row.callID) }
        settled(batch)
    }

    /// The batch needs no more writing: all its rows are durable or refused.
    private func settled(_ batch: WriteBatch) {
        if let whole = batch.whole {
            whole.openParts -= 1
            whole.isSettled = whole.openParts == 0
        } else {
            batch.isSettled = true
        }
        // Batches may be settled out of their order (one was divided, the next went through), but what they
        // carry is released in it, so the CRM never hears of a call whose row is still on the way.
        while let first = unreleased.first, first.isSettled {
            unreleased.removeFirst()
            onDurable?(first)
            first.reset()
            if spare.count < Self.maximumSpareBatches { spare.append(first) }
        }
    }

    private func finishStopping() {
        guard let (timer, completion) = stopping else { return }
        stopping = nil
        if let timer { loop.cancel(timer) }
        if let hook { loop.removeHook(hook) }
        if let turn { loop.cancel(turn) }
        (hook, turn) = (nil, nil)
        writer.flushAndStop(deadline: loop.now) { [self] in
            let complete = isIdle
            if !complete {
                let batches = queue + [gathering]
                let events = batches.reduce(0) { $0 + $1.eventCount }
                let calls = batches.reduce(0) { $0 + $1.callCount }
                metrics.add(.storeEventsDropped, events)
                metrics.add(.storeCallsDropped, calls)
                logger.error("stopped before the database took \(events) event rows and \(calls) call rows")
            }
            metrics.add(.storeQueuedBytes, -publishedBytes)
            publishedBytes = 0
            completion(complete)
        }
    }
}
