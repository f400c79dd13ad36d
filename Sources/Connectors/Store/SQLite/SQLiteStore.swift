package import Logging
package import Reactor

/// The embedded store: one thread that writes (a commit blocks), one that reads; loops send to both by mailbox.
package final class SQLiteStore: Sendable {
    /// Batches of all loops that may wait for the writing thread; each loop sends at most
    /// `StoreSettings.batchesInFlight`.
    static let writerMailboxCapacity = 4096
    /// Reads of all loops that may wait for the reading thread.
    static let readerMailboxCapacity = 1024

    let writes = Mailbox<SQLiteOrder>(capacity: SQLiteStore.writerMailboxCapacity)
    let reads = Mailbox<SQLiteReadOrder>(capacity: SQLiteStore.readerMailboxCapacity)
    private let writerThread: LoopThread
    private let readerThread: LoopThread

    /// Starts both threads; the file is opened, checked and migrated on the writing one.
    package init(
        path: String, settings: StoreSettings, metrics: Metrics, logger: Logger
    ) throws(ReactorError) {
        let (writes, reads) = (writes, reads)
        var configuration = LoopConfiguration()
        // These loops serve mailboxes only.
        configuration.maximumConnections = 1
        configuration.receiveBufferCount = 1
        configuration.name = "sqlite-write"
        writerThread = try LoopThread.start(configuration) { loop in
            let worker = SQLiteWorker(
                loop: loop, path: path, settings: settings, metrics: metrics, logger: logger)
            loop.attach(writes) { worker.handle($0) }
            worker.open()
        }
        configuration.name = "sqlite-read"
        readerThread = try LoopThread.start(configuration) { loop in
            let worker = SQLiteReadWorker(path: path)
            loop.attach(reads) { worker.handle($0) }
        }
    }

    /// Stops both threads after all writers have stopped.
    package func close() {
        writerThread.stop()
        readerThread.stop()
        writerThread.join()
        readerThread.join()
    }
}

/// What loops ask of the writing thread.
enum SQLiteOrder: Sendable {
    /// Tell this mailbox of the state, now and whenever it changes.
    ///
    /// With each state of being open comes what was committed of batches of `formers`.
    case subscribe(Mailbox<SQLiteAnswer>, formers: [UInt64])
    case unsubscribe(Mailbox<SQLiteAnswer>)
    case write(HandedOver<WriteBatch>, Mailbox<SQLiteAnswer>)
    /// Steps for a CRM; see `SQLiteSteps`.
    case steps(SQLiteStepOrder)
}

/// What the writing thread tells a loop.
enum SQLiteAnswer: Sendable {
    case state(StoreState)
    /// The file is open, and has these batches of former writers.
    case open(StoreState, Set<BatchID>)
    case done(HandedOver<WriteBatch>, StoreError?)
}

/// The writing thread's side: opens the file, for ever if need be, and commits one batch at a time.
private final class SQLiteWorker {
    private let loop: Loop
    private let path: String
    private let settings: StoreSettings
    private let metrics: Metrics
    private let logger: Logger
    private var insert: SQLiteBatchInsert?
    private var retention: SQLiteRetention?
    private var steps: SQLiteStepStatements?
    private var state = StoreState.connecting
    private var backoff: Backoff
    /// Whether rows were written since the file was opened.
    private var hasWritten = false
    /// Why the file was given up, when it was open and took no row; the same again is not worth a line.
    private var fruitless: String?
    private var subscribers: [(mailbox: Mailbox<SQLiteAnswer>, formers: [UInt64])] = []

    init(loop: Loop, path: String, settings: StoreSettings, metrics: Metrics, logger: Logger) {
        self.loop = loop
        self.path = path
        self.settings = settings
        self.metrics = metrics
        self.logger = logger
        backoff = Backoff(initial: settings.reconnectInitial, maximum: settings.reconnectMaximum)
    }

    func open() {
        do throws(StoreError) {
            let database = try SQLiteSchema.open(path: path, settings: settings)
            insert = try SQLiteBatchInsert(
                database, pbxNames: settings.pbxNames, crmTargets: settings.crmTargets,
                crmRecordings: settings.crmRecordings)
            steps = try SQLiteStepStatements(database, abandonedAfter: settings.crmAbandonedAfter)
            retention = try settings.eventRetentionDays.map { days throws(StoreError) in
                try SQLiteRetention(database, days: days)
            }
            sweep()
            hasWritten = false
            change(to: .connected(serverVersion: SQLiteSchema.version))
        } catch {
            fail(error)
        }
    }

    private func fail(_ error: StoreError) {
        let wasOpen = insert != nil
        insert = nil
        retention = nil
        steps = nil
        change(to: .failing(reason: error.description))
        fruitless = wasOpen && !hasWritten ? error.description : nil
        loop.schedule(after: backoff.next()) { [weak self] in self?.open() }
    }

    func handle(_ order: SQLiteOrder) {
        switch order {
        case .subscribe(let mailbox, let formers):
            subscribers.append((mailbox, formers))
            tell(mailbox, formers)
        case .unsubscribe(let mailbox):
            subscribers.removeAll { $0.mailbox === mailbox }
        case .write(let batch, let mailbox):
            // The mailbox holds more than a writer may have on the way, so this is never refused.
            _ = mailbox.post(.done(batch, write(batch.value)))
        case .steps(let order):
            _ = order.mailbox.post(perform(order))
        }
    }

    private func perform(_ order: SQLiteStepOrder) -> SQLiteStepAnswer {
        guard let steps else { return .failure(.unavailable("SQLite file \(path) is not open")) }
        do throws(StoreError) {
            return .success(try steps.perform(order))
        } catch {
            if case .unavailable = error { fail(error) }
            return .failure(error)
        }
    }

    /// Removes old events, a few at a time between batches.
    private func sweep() {
        guard let retention else { return }
        do throws(StoreError) {
            let step = try retention.step(now: WallClock.now())
            metrics.add(.storeEventsExpired, step.deleted)
            // Of this file only: one that is opened anew begins its own.
            loop.schedule(after: step.isDone ? settings.upkeepInterval : SQLiteRetention.pause) {
                [weak self] in
                if self?.retention === retention { self?.sweep() }
            }
        } catch {
            metrics.add(.storeUpkeepErrors)
            logger.warning("store: old events cannot be removed: \(error)")
            loop.schedule(after: settings.upkeepRetry) { [weak self] in
                if self?.retention === retention { self?.sweep() }
            }
        }
    }

    private func write(_ batch: WriteBatch) -> StoreError? {
        guard let insert else { return .unavailable("SQLite file \(path) is not open") }
        do throws(StoreError) {
            try insert.write(batch)
            noteWritten()
            return nil
        } catch {
            if case .unavailable = error { fail(error) }
            return error
        }
    }

    /// The next trouble is a new one.
    private func noteWritten() {
        guard !hasWritten else { return }
        hasWritten = true
        backoff.reset()
        if fruitless != nil { logger.info("store: SQLite file \(path) takes rows again") }
        fruitless = nil
    }

    private func change(to new: StoreState) {
        guard new != state else { return }
        switch new {
        case .connected(let version):
            logger.log(
                level: fruitless == nil ? .info : .debug, "store: SQLite file \(path) open (\(version))")
        case .failing(let reason):
            logger.log(level: fruitless == reason ? .debug : .error, "store: \(reason); trying again")
        case .connecting: break
        }
        state = new
        for subscriber in subscribers { tell(subscriber.mailbox, subscriber.formers) }
    }

    private func tell(_ mailbox: Mailbox<SQLiteAnswer>, _ formers: [UInt64]) {
        guard state.isConnected, let insert else {
            _ = mailbox.post(.state(state))
            return
        }
        do throws(StoreError) {
            _ = mailbox.post(.open(state, try insert.committed(of: formers)))
        } catch {
            fail(error)
        }
    }
}

/// One loop's access to the writing thread.
package final class SQLiteWriter: BatchWriter {
    /// Answers that may wait for the loop: batches on the way and changes of the state.
    static let answerCapacity = 4096

    private let store: SQLiteStore
    private let batchesInFlight: Int
    private let metrics: Metrics
    private let loop: Loop
    private let answers = Mailbox<SQLiteAnswer>(capacity: SQLiteWriter.answerCapacity)
    private var isStopped = false
    private var stopping: (timer: TimerID, completion: () -> Void)?
    private var onTheWay: [ObjectIdentifier: WriteBatch] = [:]

    package private(set) var state = StoreState.connecting
    package var onCompletion: ((WriteBatch, Result<Void, StoreError>) -> Void)?
    package var onStateChange: ((StoreState) -> Void)?
    package var onTakeOver: ((Set<BatchID>) -> Void)?

    package init(store: SQLiteStore, loop: Loop, settings: StoreSettings, metrics: Metrics) {
        self.store = store
        self.loop = loop
        self.batchesInFlight = settings.batchesInFlight
        self.metrics = metrics
    }

    package var inFlightCount: Int { onTheWay.count }
    /// The writing thread has them meanwhile.
    package var sharesBatches: Bool { false }

    package var canAccept: Bool { state.isConnected && !isStopped && onTheWay.count < batchesInFlight }
    /// The writing thread makes one transaction of what waits for it, as it is.
    package var canBoard: Bool { false }

    package func start(as writer: UInt64, after formers: [UInt64]) {
        loop.attach(answers) { [weak self] in self?.receive($0) }
        _ = store.writes.post(.subscribe(answers, formers: formers))
    }

    package func write(_ batch: WriteBatch) {
        onTheWay[ObjectIdentifier(batch)] = batch
        guard store.writes.post(.write(HandedOver(batch), answers)) else {
            onTheWay[ObjectIdentifier(batch)] = nil
            onCompletion?(batch, .failure(.unavailable("the SQLite thread's mailbox is full")))
            return
        }
    }

    private func receive(_ answer: SQLiteAnswer) {
        switch answer {
        case .open(let new, let committed):
            guard !isStopped else { return }
            onTakeOver?(committed)
            receive(.state(new))
        case .state(let new):
            guard new != state, !isStopped else { return }
            if new.isConnected != state.isConnected {
                metrics.add(.storeConnected, new.isConnected ? 1 : -1)
                if state.isConnected { metrics.add(.storeReconnects) }
            }
            state = new
            onStateChange?(new)
        case .done(let batch, let error):
            onTheWay[ObjectIdentifier(batch.value)] = nil
            onCompletion?(batch.value, error.map { .failure($0) } ?? .success(()))
            if onTheWay.isEmpty { finishStopping() }
        }
    }

    package func flushAndStop(deadline: MonotonicInstant, completion: @escaping () -> Void) {
        let timer = loop.schedule(after: max(deadline - loop.now, .zero)) { [weak self] in
            self?.finishStopping()
        }
        stopping = (timer, completion)
        if onTheWay.isEmpty { finishStopping() }
    }

    private func finishStopping() {
        guard let (timer, completion) = stopping else { return }
        stopping = nil
        loop.cancel(timer)
        isStopped = true
        if state.isConnected { metrics.add(.storeConnected, -1) }
        state = .failing(reason: "stopped")
        _ = store.writes.post(.unsubscribe(answers))
        completion()
    }
}
