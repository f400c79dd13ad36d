import CLibPQ
import Glibc
package import Logging
import Protocols
package import Reactor

/// Commits batches into PostgreSQL through libpq's pipeline mode (PostgreSQL documentation, 34.5), on the loop.
///
///     idle ──start──▶ connecting ──session ready──▶ ready
///                         ▲    └──refused──▶ waiting ◀──lost──┘
///                         └──backoff over───────┘
///
/// A batch is up to five prepared statements (eight, once in a while), the note of its number (`PostgresCommitLedger`) and one sync point, so
/// one transaction: all of it or nothing. Several batches are on the way at once; results come back in their order.
/// An error aborts its own batch only; when a row is to blame, the batch is written again with care
/// (`CarefulWrite`). Under a load that fills all places full batches leave together (`PostgresTrain`). After a lost connection the fate of the batches on the way is read from the ledger by the next
/// session, and only then are they completed, in their order: none is written twice.
package final class PostgresWriter: BatchWriter, DescriptorHandler {
    private enum Link {
        case idle
        /// A thread is connecting and will post the result.
        case connecting
        case ready(PostgresConnection, WatchID)
        /// Until the backoff is over.
        case waiting(TimerID)
        case stopped
    }

    /// Silence while batches are on the way, after which the connection counts as lost.
    ///
    /// Longer than the statement timeout, which the server should report first.
    private var silenceLimit: Duration { settings.statementTimeout + settings.silenceMargin }

    /// More than statements between two sync points.
    private static let maximumEndsInARow = 16

    private let location: PostgresLocation
    private let loop: Loop
    private let settings: StoreSettings
    private let metrics: Metrics
    private let logger: Logger
    private let results = Mailbox<Result<PostgresConnection, StoreError>>(capacity: 4)

    private var link = Link.idle
    private var ledger = PostgresCommitLedger(writer: 0)
    private var onTheWay = BatchesOnTheWay()
    /// A train whose events are being copied; then libpq is not in pipeline mode.
    private var train: PostgresTrain?
    private var trainLeft: MonotonicInstant
    /// Cleared for good when the server turns COPY away (row-level security, a table that takes none).
    private var mayCopy = true
    private var recovery: FailoverRecovery
    private var callColumns = CallColumns()
    private var detailColumns = DetailColumns()
    private var backoff: Backoff
    private var connectedAt: MonotonicInstant
    /// Whether the server took rows in this session.
    private var hasCommitted = false
    /// Why the session before was lost, when it never took any; the same again is not worth a line.
    private var fruitless: String?
    private var lastProgress: MonotonicInstant
    private var watchdog: TimerID?
    private var stopping: (timer: TimerID, completion: () -> Void)?

    package private(set) var state = StoreState.connecting
    package var onCompletion: ((WriteBatch, Result<Void, StoreError>) -> Void)?
    package var onStateChange: ((StoreState) -> Void)?
    package var onTakeOver: ((Set<BatchID>) -> Void)?
    /// Statements sent so far, for tests and benchmarks: at most four for each batch.
    package private(set) var statementCount = 0
    /// Sync points sent so far: one for each batch.
    package private(set) var syncPointCount = 0

    package init(
        location: PostgresLocation, loop: Loop, settings: StoreSettings, metrics: Metrics, logger: Logger
    ) {
        self.location = location
        self.loop = loop
        self.settings = settings
        self.metrics = metrics
        self.logger = logger
        let longest =
            location.hasSeveralHosts
            ? min(settings.reconnectMaximum, settings.failoverReconnectMaximum) : settings.reconnectMaximum
        backoff = Backoff(initial: settings.reconnectInitial, maximum: longest)
        recovery = FailoverRecovery(settings: settings, hasSeveralHosts: location.hasSeveralHosts)
        lastProgress = loop.now
        connectedAt = loop.now
        trainLeft = loop.now
    }

    package var inFlightCount: Int { onTheWay.count }
    package var sharesBatches: Bool { true }

    package var canAccept: Bool {
        guard case .ready = link, !recovery.isBusy else { return false }
        return onTheWay.hasPlace(of: settings.batchesInFlight)
    }

    package var canBoard: Bool {
        guard case .ready = link, mayCopy, !recovery.isBusy, stopping == nil else { return false }
        return onTheWay.canBoard
    }

    package func start(as writer: UInt64, after formers: [UInt64]) {
        guard case .idle = link else { return }
        ledger = PostgresCommitLedger(writer: writer, formers: formers)
        loop.attach(results) { [weak self] in self?.connected($0) }
        connect()
    }

    package func write(_ batch: WriteBatch) {
        guard canAccept, case .ready(let connection, _) = link else {
            onTheWay.board(batch)
            if case .ready = link { depart() } else { failAll(.unavailable("not connected")) }
            return
        }
        onTheWay.send(batch)
        sent(send(batch, over: connection.handle), connection)
    }

    /// Sends what waits, together or one by one, as far as it may go now.
    private func depart() {
        while case .ready(let connection, _) = link, train == nil, !recovery.isBusy {
            let window = PostgresStatements.trainWindow(
                at: Timestamp(microseconds: WallClock.now().microseconds + connection.clockAhead))
            let departure = onTheWay.departure(places: settings.batchesInFlight) { [mayCopy] batch in
                mayCopy && (!connection.eventsArePartitioned || batch.events.areInserted(within: window))
            }
            switch departure {
            case nil: return
            case .single(let batch):
                onTheWay.send(batch)
                sent(send(batch, over: connection.handle), connection)
            case .train(let batches):
                let train = PostgresTrain(
                    batches, over: connection.handle, eventsInSeconds: connection.eventsInSeconds)
                onTheWay.sendTrain(batches)
                self.train = train
                trainLeft = .now()
                countStatements(2)
                sent(train.open(), connection)
            }
        }
    }

    private func sent(_ succeeded: Bool, _ connection: PostgresConnection) {
        guard succeeded else { return lose(connection.message) }
        if onTheWay.waitingForAnswer == 1 {
            lastProgress = loop.now
            if watchdog == nil { armWatchdog() }
        }
        flush()
    }

    package func flushAndStop(deadline: MonotonicInstant, completion: @escaping () -> Void) {
        let timer = loop.schedule(after: max(deadline - loop.now, .zero)) { [weak self] in
            self?.finishStopping()
        }
        stopping = (timer, completion)
        if inFlightCount == 0 { finishStopping() }
    }

    private func finishStopping() {
        guard let (timer, completion) = stopping else { return }
        stopping = nil
        loop.cancel(timer)
        if let watchdog { loop.cancel(watchdog) }
        watchdog = nil
        switch link {
        case .ready(_, let watch):
            loop.unwatch(watch)
            metrics.add(.storeConnected, -1)
        case .waiting(let timer): loop.cancel(timer)
        case .idle, .connecting, .stopped: break
        }
        link = .stopped
        train = nil
        if recovery.isBusy {
            metrics.add(.storeFailoverRowsLost, recovery.waitingRows)
            logger.error("stopped before \(recovery.waitingRows) rows were written again after a failover")
        }
        change(to: .failing(reason: "stopped"))
        failAll(.unavailable("stopped"))
        completion()
    }
}

// MARK: - Connecting

extension PostgresWriter {
    private func connect() {
        link = .connecting
        let connector = PostgresConnector(location: location, settings: settings, known: recovery.identity)
        let results = results
        let purpose = PostgresPurpose.writer(ledger)
        let started = BackgroundThread.run { _ = results.post(connector.connect(for: purpose)) }
        if !started { connected(.failure(.unavailable("no thread to connect with"))) }
    }

    private func connected(_ result: Result<PostgresConnection, StoreError>) {
        // A connection that comes after `stop` closes with `result`.
        guard case .connecting = link else { return }
        switch result {
        case .success(let connection):
            let watch = loop.watch(
                PQsocket(connection.handle), readable: true, writable: false, handler: self)
            link = .ready(connection, watch)
            connectedAt = loop.now
            hasCommitted = false
            metrics.add(.storeConnected)
            onTakeOver?(connection.committedBatches)
            change(to: .connected(serverVersion: connection.serverVersion))
            complete(onTheWay.settle(connection.committedBatches))
            if let loss = recovery.connected(to: connection.identity, committed: connection.committedBatches)
            {
                tell(loss)
            }
            sendRepeats()
        case .failure(let error):
            metrics.add(.storeReconnects)
            retry(after: error.description)
            fruitless = nil
        }
    }

    private func retry(after reason: String) {
        let wait = backoff.next()
        logger.debug("store: next attempt in \(wait)")
        link = .waiting(loop.schedule(after: wait) { [weak self] in self?.connect() })
        change(to: .failing(reason: reason))
    }

    private func change(to new: StoreState) {
        guard new != state else { return }
        switch new {
        case .connected(let version):
            logger.log(
                level: fruitless == nil ? .info : .debug, "store: connected to \(location) (\(version))")
        case .failing(let reason):
            if case .stopped = link { break }
            logger.log(
                level: fruitless == reason ? .debug : .error,
                "store: \(location) is away: \(reason); trying again")
        case .connecting: break
        }
        state = new
        onStateChange?(new)
    }

    /// The connection is of no use any more: everything on the way comes back, and a new one is sought.
    private func lose(_ reason: String) {
        guard case .ready(_, let watch) = link else { return }
        loop.unwatch(watch)
        metrics.add(.storeConnected, -1)
        metrics.add(.storeReconnects)
        train = nil
        onTheWay.lose()
        // One that connects and never takes a row must not be asked without a pause, nor fill the log.
        if loop.now - connectedAt >= settings.reconnectMaximum { backoff.reset() }
        retry(after: reason)
        fruitless = hasCommitted ? nil : reason
    }

    /// The server answered a batch for good: the next trouble is a new one.
    private func noteCommit() {
        guard !hasCommitted else { return }
        hasCommitted = true
        backoff.reset()
        if fruitless != nil { logger.info("store: \(location) takes rows again") }
        fruitless = nil
    }

    private func failAll(_ error: StoreError) {
        complete(onTheWay.failAll(error))
        if stopping != nil { finishStopping() }
    }

    private func complete(_ entries: [(batch: WriteBatch, result: Result<Void, StoreError>)]) {
        for entry in entries { finish(entry.batch, entry.result) }
        if stopping != nil, inFlightCount == 0 { finishStopping() }
    }

    private func armWatchdog() {
        watchdog = loop.schedule(after: silenceLimit) { [weak self] in
            guard let self else { return }
            watchdog = nil
            guard onTheWay.waitingForAnswer > 0 else { return }
            if loop.now - lastProgress >= silenceLimit {
                lose("no answer for \(silenceLimit)")
            } else {
                armWatchdog()
            }
        }
    }
}

// MARK: - Failover

extension PostgresWriter {
    /// Tells whoever gave the batch what became of it.
    private func finish(_ batch: WriteBatch, _ result: Result<Void, StoreError>) {
        if recovery.finished(batch, result) {
            if case .success = result { metrics.add(.storeFailoverRowsRewritten, batch.rowCount) }
        } else {
            onCompletion?(batch, result)
        }
    }

    /// Writes again what a promoted server lacks, before anything new.
    private func sendRepeats() {
        while case .ready(let connection, _) = link, !onTheWay.isCareful,
            onTheWay.count < settings.batchesInFlight, let batch = recovery.next()
        {
            onTheWay.send(batch)
            sent(send(batch, over: connection.handle), connection)
        }
    }

    /// Says what a failover cost.
    private func tell(_ loss: ConfirmedTail.Loss) {
        metrics.add(.storeFailovers)
        guard !loss.isEmpty else {
            return logger.warning("store: a standby was promoted; it has all that was confirmed to us")
        }
        if !loss.held.isEmpty {
            logger.warning(
                """
                store: a standby was promoted that lacks rows which the former primary had confirmed; they are written \
                again: \(loss.heldRows) rows in \(loss.held.count) batches
                """)
        }
        if loss.goneBatches > 0 {
            metrics.add(.storeFailoverRowsLost, loss.goneRows)
            logger.error(
                """
                store: a standby was promoted that lacks rows which the former primary had confirmed and nobody holds any \
                more: \(loss.isAtLeast ? "at least " : "")\(loss.goneRows) rows in \(loss.goneBatches) batches are lost. \
                Synchronous replication (synchronous_standby_names) loses none
                """)
        }
    }
}

// MARK: - Sending

extension PostgresWriter {
    private func send(_ batch: WriteBatch, over handle: OpaquePointer) -> Bool {
        guard sendRows(of: batch, over: handle), note(batch, over: handle) else { return false }
        syncPointCount += 1
        return PQpipelineSync(handle) == 1
    }

    private func sendRows(of batch: WriteBatch, over handle: OpaquePointer) -> Bool {
        if let columns = batch.eventParameters() {
            guard send(PostgresStatements.insertEventsName, columns, over: handle) else { return false }
        }
        return sendRowsBesidesEvents(of: batch, over: handle)
    }

    private func sendRowsBesidesEvents(of batch: WriteBatch, over handle: OpaquePointer) -> Bool {
        if batch.callCount > 0 {
            callColumns.encode(batch.calls, pbxNames: settings.pbxNames)
            guard send(PostgresStatements.upsertCallsName, callColumns.columns, over: handle) else {
                return false
            }
        }
        // Behind the calls, in the same transaction; what a call has no more goes first.
        if batch.calls.details.hasParts {
            detailColumns.encode(batch.calls, pbxNames: settings.pbxNames)
            guard
                sendAny(PostgresStatements.deleteSurplusName, detailColumns.surplus, over: handle),
                sendAny(PostgresStatements.insertLegsName, detailColumns.legs, over: handle),
                sendAny(PostgresStatements.insertSegmentsName, detailColumns.segments, over: handle)
            else { return false }
        }
        if let columns = batch.crmParameters() {
            guard send(PostgresStatements.updateCRMName, columns, over: handle) else { return false }
        }
        if !batch.crmActions.isEmpty, let columns = batch.stepParameters(settings) {
            guard send(PostgresStatements.insertStepsName, columns, over: handle) else { return false }
        }
        if batch.notes.isEmpty { return true }
        for (name, columns) in [
            (PostgresStatements.insertGapsName, batch.notes.gapParameters()),
            (PostgresStatements.upsertSightingsName, batch.notes.sightingParameters()),
        ] {
            if let columns, !send(name, columns, over: handle) { return false }
        }
        return true
    }

    private func countStatements(_ count: Int) {
        statementCount += count
        metrics.add(.storeStatements, count)
    }

    private func send(_ statement: String, _ columns: [PostgresArray], over handle: OpaquePointer) -> Bool {
        countStatements(1)
        return PostgresSending.prepared(statement, columns, over: handle)
    }

    /// Sends columns that have rows.
    private func sendAny(_ statement: String, _ columns: [PostgresArray], over handle: OpaquePointer) -> Bool
    {
        columns[0].count == 0 || send(statement, columns, over: handle)
    }

    private func note(_ batch: WriteBatch, over handle: OpaquePointer) -> Bool {
        countStatements(1)
        return PostgresSending.note(batch, over: handle)
    }

    /// Sends what follows the events of a train, up to its end.
    private func sendRest(of batches: [WriteBatch], over handle: OpaquePointer) -> Bool {
        syncPointCount += 1
        return batches.allSatisfy { sendRowsBesidesEvents(of: $0, over: handle) && note($0, over: handle) }
            && send(plain: "COMMIT", over: handle) && PQpipelineSync(handle) == 1
    }

    /// Ends the failed transaction of a train.
    private func sendRollBack() {
        guard case .ready(let connection, _) = link else { return }
        onTheWay.sentRollBack()
        syncPointCount += 1
        sent(
            send(plain: "ROLLBACK", over: connection.handle) && PQpipelineSync(connection.handle) == 1,
            connection)
    }

    /// Sends one segment of a careful write.
    private func send(_ steps: [CarefulWrite.Step], of batch: WriteBatch) {
        onTheWay.sentCareful(batch)
        guard case .ready(let connection, _) = link else { return }
        let handle = connection.handle
        let isSent = steps.allSatisfy { step in
            switch step {
            case .begin: send(plain: "BEGIN", over: handle)
            case .abort: send(plain: "ROLLBACK", over: handle)
            case .immediate: send(plain: "SET CONSTRAINTS ALL IMMEDIATE", over: handle)
            case .savepoint: send(plain: "SAVEPOINT callflow_part", over: handle)
            case .release: send(plain: "RELEASE SAVEPOINT callflow_part", over: handle)
            case .rollBack: send(plain: "ROLLBACK TO SAVEPOINT callflow_part", over: handle)
            case .rows(let part): sendRows(of: part, over: handle)
            case .deadLetter(let row): send(row, of: batch, over: handle)
            case .note: note(batch, over: handle)
            case .commit: send(plain: "COMMIT", over: handle)
            }
        }
        syncPointCount += 1
        sent(isSent && PQpipelineSync(handle) == 1, connection)
    }

    private func send(plain statement: String, over handle: OpaquePointer) -> Bool {
        countStatements(1)
        return PQsendQueryParams(handle, statement, 0, nil, nil, nil, nil, 1) == 1
    }

    private func send(_ row: RefusedRow, of batch: WriteBatch, over handle: OpaquePointer) -> Bool {
        countStatements(1)
        return PostgresSending.deadLetter(row, of: batch, over: handle)
    }

    /// Sends what libpq holds; what the socket does not take is sent when it is writable, and a train is fed then.
    ///
    /// It must be read meanwhile, or both sides wait for each other.
    private func flush() {
        guard case .ready(let connection, let watch) = link else { return }
        switch PQflush(connection.handle) {
        case 0: loop.update(watch, readable: true, writable: train?.isFeeding == true)
        case 1: loop.update(watch, readable: true, writable: true)
        default: lose(connection.message)
        }
    }
}

// MARK: - Receiving

extension PostgresWriter {
    package func ready(readable: Bool, writable: Bool) {
        guard case .ready(let connection, _) = link else { return }
        let handle = connection.handle
        if readable {
            guard PQconsumeInput(handle) == 1 else { return lose(connection.message) }
            if train == nil { readResults(connection) } else { readCopy(connection) }
        }
        if writable, train != nil { copy(connection) }
        flush()
    }

    /// Gives more rows of a train.
    private func copy(_ connection: PostgresConnection) {
        if case .broken? = train?.feed() { return lose(connection.message) }
        readCopy(connection)
    }

    /// Reads the answers to a train until its events are taken or refused.
    private func readCopy(_ connection: PostgresConnection) {
        lastProgress = loop.now
        var refusal: StoreError?
        let progress = train?.read { result in
            if refusal == nil { refusal = connection.error(of: result) }
        }
        if let error = refusal { onTheWay.failed(turnedAway(error) ?? error) }
        switch progress {
        case .copied(let isRefused):
            let batches = train?.batches ?? []
            train = nil
            if isRefused {
                // Its answer is that of the sync point alone.
                syncPointCount += 1
                sent(PQpipelineSync(connection.handle) == 1, connection)
            } else {
                sent(sendRest(of: batches, over: connection.handle), connection)
            }
        case .broken: lose(onTheWay.errorOfNext?.description ?? connection.message)
        case .goesOn, nil:
            if PQstatus(connection.handle) == CONNECTION_BAD {
                lose(onTheWay.errorOfNext?.description ?? connection.message)
            }
        }
    }

    /// A server that takes rows, but not by COPY, is not asked again.
    private func turnedAway(_ error: StoreError) -> StoreError? {
        guard let train, train.wasTurnedAway, case .ready(let connection, _) = link,
            PQstatus(connection.handle) == CONNECTION_OK
        else { return nil }
        mayCopy = false
        logger.notice("store: \(location) takes no COPY, batches go one by one: \(error)")
        return .transient(error.description)
    }

    private func readResults(_ connection: PostgresConnection) {
        let handle = connection.handle
        var endsInARow = 0
        var needsNewConnection: StoreError?
        // Parses notices and the server's farewell too when nothing is on the way.
        while PQisBusy(handle) == 0, onTheWay.waitingForAnswer > 0 {
            guard let result = PQgetResult(handle) else {
                // One ends each statement; many in a row mean that nothing more is there. (After an error libpq
                // may give two and still hold the answer to the sync point, which no socket event would announce.)
                endsInARow += 1
                if endsInARow > Self.maximumEndsInARow { break }
                continue
            }
            endsInARow = 0
            lastProgress = loop.now
            let status = PQresultStatus(result)
            if status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE {
                onTheWay.failed(connection.error(of: result))
            }
            // All else is done, or aborted by an error before it in the same batch.
            PQclear(result)
            if status == PGRES_PIPELINE_SYNC { answered(&needsNewConnection) }
        }
        if PQstatus(handle) == CONNECTION_BAD {
            lose(onTheWay.errorOfNext?.description ?? connection.message)
        } else if let needsNewConnection {
            // A server that cannot write (read-only after a failover, disk full, tables gone): start anew.
            lose(needsNewConnection.description)
        } else if let (batch, steps) = onTheWay.beginCareful() {
            send(steps, of: batch)
        } else {
            depart()
            if inFlightCount == 0, stopping != nil { finishStopping() }
        }
    }

    /// The answer to the oldest segment is complete.
    private func answered(_ needsNewConnection: inout StoreError?) {
        switch onTheWay.answered() {
        case .completed(let batch, let result):
            switch result {
            case .success: noteCommit()
            case .failure(.unavailable(let reason)): needsNewConnection = .unavailable(reason)
            case .failure: break
            }
            finish(batch, result)
        case .together(let batches, let result):
            switch result {
            case .success:
                noteCommit()
                onTheWay.trainTook(.now() - trainLeft)
            case .failure(.unavailable(let reason)): needsNewConnection = .unavailable(reason)
            case .failure: sendRollBack()
            }
            for batch in batches { finish(batch, result) }
        case .dissolved: sendRollBack()
        case .segment(let batch, let steps): send(steps, of: batch)
        case .rollBack(let batch, let error):
            // The simplest end of a transaction that went wrong is the end of its session.
            needsNewConnection = error
            finish(batch, .failure(error))
        case .none: break
        }
        sendRepeats()
    }
}
