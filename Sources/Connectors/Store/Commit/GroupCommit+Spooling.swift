import Logging
import Protocols
import Reactor

// MARK: - Into the spool

extension GroupCommit {
    /// The batch waits in the spool; newer rows of its calls will follow it there.
    func spoolOnly(_ batch: WriteBatch) {
        slots.give(back: batch.slot)
        batch.slot = nil
        let calls = batch.callHashes
        let key = key(for: batch)
        backlog.calls.insert(calls, key: key)
        if backlog.shedding > .whole { shed(batch) }
        addPending(batch, key, .spoolOnly, calls)
    }

    /// The batch goes to the disk, then on its way.
    func spoolFirst(_ batch: WriteBatch) {
        addPending(batch, key(for: batch), .spoolFirst, batch.callHashes)
    }

    /// The batch is on its way already; should the process die, the next one asks what became of it.
    func cover(_ batch: WriteBatch) {
        guard let spool else { return }
        let key = key(for: batch)
        let calls = batch.callHashes
        backlog.pending.append(
            .init(key: key, batch: batch, role: .cover, calls: calls, bytes: 0, isSent: true))
        spool.append(record(of: batch, key, calls))
    }

    /// A batch keeps its place in the order, also when it did not get there the first time.
    private func key(for batch: WriteBatch) -> Int64 {
        let key = batch.reservedKey ?? spool?.nextKey() ?? 0
        batch.reservedKey = key
        batch.spoolKey = key
        backlog.held.insert(key)
        return key
    }

    private func addPending(
        _ batch: WriteBatch, _ key: Int64, _ role: SpoolBacklog.Role, _ calls: [UInt64]
    ) {
        let bytes = batch.byteCount
        backlog.pending.append(.init(key: key, batch: batch, role: role, calls: calls, bytes: bytes))
        backlog.pendingBytes += bytes
        sendPending()
    }

    private func record(of batch: WriteBatch, _ key: Int64, _ calls: [UInt64]) -> SpoolRecord {
        let weight: SpoolRecord.Weight = batch.eventCount == 0 ? .callsOnly : batch.weight
        return SpoolRecord(
            key: key, id: batch.id, weight: weight, events: batch.eventCount, receivedAt: received(batch),
            calls: calls, bytes: BatchRecord.encode(batch, pbxNames: settings.pbxNames))
    }

    private func received(_ batch: WriteBatch) -> Timestamp {
        Timestamp(microseconds: turns.wallNow.microseconds - age(of: batch).wholeMicroseconds)
    }

    /// Sends pending batches to the spool's thread, a bounded amount at a time.
    private func sendPending() {
        guard let spool, backlog.isOpen, !backlog.isBlocked else { return }
        for index in backlog.pending.indices where !backlog.pending[index].isSent {
            let pending = backlog.pending[index]
            if backlog.sentBytes > 0, backlog.sentBytes + pending.bytes > settings.spoolingBytes { return }
            backlog.pending[index].isSent = true
            backlog.sentBytes += pending.bytes
            spool.append(record(of: pending.batch, pending.key, pending.calls))
        }
    }

    /// Closes what has gathered for the spool.
    func closeForSpool() {
        // While rows are dropped, calls gather in their latest state.
        guard backlog.isOpen, !isDropping else { return }
        let isDue = { [self] (batch: WriteBatch) in
            !batch.isEmpty && (stopping != nil || age(of: batch) >= settings.spoolAge)
        }
        if backlog.isSpilling {
            if isDue(gathering) { close() }
        } else if settings.durability == .spool, !gathering.isEmpty,
            !backlog.pending.contains(where: { $0.role == .spoolFirst })
        {
            close()
        }
        if isDue(behind) { closeBehind() }
    }
}

// MARK: - When

extension GroupCommit {
    /// Looks after the spool; runs before what can be sent is sent.
    func tendSpool() {
        guard backlog.isOpen, !backlog.isStopped else { return }
        if backlog.isBlocked, turns.now >= backlog.retryAt { backlog.isBlocked = false }
        if !backlog.isSpilling {
            if let reason = reasonToSpill { beginSpilling(reason) }
        } else if canEndSpilling {
            endSpilling()
        }
        finishBacklog()
        sendPending()
        flushRemovals()
        requestLoad()
    }

    private var reasonToSpill: String? {
        if queuedBytes + gathering.byteCount >= settings.spillBytes {
            return "more than \(settings.spillBytes) bytes wait for the database"
        }
        let oldest = unreleased.first { !$0.isSettled && $0.spoolKey == nil }
        if let oldest, age(of: oldest) >= settings.spillAfter { return "the database does not take them" }
        if !gathering.isEmpty, age(of: gathering) >= settings.spillAfter {
            return "the database does not take them"
        }
        return nil
    }

    private var canEndSpilling: Bool {
        stopping == nil && writer.state.isConnected && (writer.canAccept || writer.canBoard) && queue.isEmpty
            && backlog.isRecovered && (backlog.hasCommitted || writer.inFlightCount == 0)
    }

    /// From now on rows go to the spool, and those that wait go before them.
    func beginSpilling(_ reason: String) {
        backlog.isSpilling = true
        backlog.hasCommitted = false
        if spillLine.take(at: turns.now) != nil {
            logger.warning("rows go to the spool: \(reason)")
        }
        closeBehind()
        // What has others behind it that do not go to the spool keeps its place: those may have newer rows of the same
        // calls. (A batch comes back from a lost session or with a transient error while later ones go through.)
        let staying = Set(unreleased[..<(lastUnderWay ?? 0)].map(ObjectIdentifier.init))
        let waiting = queue.filter { !staying.contains(ObjectIdentifier($0)) }
        queue.removeAll { !staying.contains(ObjectIdentifier($0)) }
        queuedBytes = queue.reduce(0) { $0 + $1.byteCount }
        let ours = Set(queue.map(ObjectIdentifier.init))
        var leaving = Set(waiting.map(ObjectIdentifier.init))
        // On their way, with an answer that may never come: older than all that waits.
        for batch in unreleased
        where !batch.isSettled && batch.spoolKey == nil && !leaving.contains(ObjectIdentifier(batch)) {
            // Another thread may have it: then only its place is kept, for when it comes back unwritten.
            if writer.sharesBatches || ours.contains(ObjectIdentifier(batch)) {
                cover(batch)
            } else {
                batch.reservedKey = batch.reservedKey ?? spool?.nextKey()
            }
        }
        for batch in waiting {
            if let key = batch.spoolKey { forget(batch, key) } else { spoolOnly(batch) }
        }
        for index in backlog.pending.indices where backlog.pending[index].role == .spoolFirst {
            let batch = backlog.pending[index].batch
            guard !staying.contains(ObjectIdentifier(batch)) else { continue }
            backlog.pending[index].role = .spoolOnly
            backlog.calls.insert(backlog.pending[index].calls, key: backlog.pending[index].key)
            leaving.insert(ObjectIdentifier(batch))
        }
        unreleased.removeAll { leaving.contains(ObjectIdentifier($0)) }
        releaseSettled()
    }

    /// The last batch that does not simply wait to be sent: on its way, done behind others that are not, or drained.
    var lastUnderWay: Int? {
        let waiting = Set(
            queue.map(ObjectIdentifier.init)
                + backlog.pending.filter { $0.role == .spoolFirst }.map { ObjectIdentifier($0.batch) })
        return unreleased.lastIndex { !waiting.contains(ObjectIdentifier($0)) }
    }

    /// The batch is on the disk; its memory is freed.
    private func forget(_ batch: WriteBatch, _ key: Int64) {
        slots.give(back: batch.slot)
        backlog.calls.insert(batch.callHashes, key: key)
        backlog.forget(key: key, events: batch.eventCount, received: received(batch))
        retire(batch)
    }

    private func endSpilling() {
        backlog.isSpilling = false
        if !gathering.isEmpty { spoolOnly(takeGathering()) }
        // A database that is only slow comes and goes; that is said at its beginning, once in a while.
        guard backlog.batches > 0 else { return }
        logger.info(
            "the database takes rows again; those in the spool follow",
            metadata: ["batches": "\(backlog.batches)", "events": "\(backlog.events)"])
    }

    /// Once nothing is left in the spool, rows that wanted to go behind it go their usual way.
    private func finishBacklog() {
        guard backlog.holdsCalls || !behind.isEmpty, !backlog.isSpilling, backlog.batches == 0,
            backlog.drained.isEmpty, backlog.drainedOnTheWay == 0,
            !backlog.pending.contains(where: { $0.role == .spoolOnly && $0.isSent })
        else { return }
        // Those that the spool refused have nothing to wait for any more.
        let refused = backlog.pending.filter { $0.role == .spoolOnly }.sorted { $0.key < $1.key }
        backlog.pending.removeAll { $0.role == .spoolOnly }
        for pending in refused {
            backlog.pendingBytes -= pending.bytes
            backlog.held.remove(pending.key)
            pending.batch.spoolKey = nil
            unreleased.append(pending.batch)
            enqueue(pending.batch)
        }
        backlog.calls.removeAll()
        backlog.gatheringBehind.removeAll()
        backlog.oldest = nil
        if !behind.isEmpty {
            let batch = behind
            behind = WriteBatch()
            number(batch)
            unreleased.append(batch)
            enqueue(batch)
        }
    }

    // MARK: No room

    /// Leaves more out of batches for the spool: payloads first, then events; calls never.
    ///
    /// - Returns: Whether there was more to leave out.
    func shedMore() -> Bool {
        switch backlog.shedding {
        case .whole: backlog.shedding = .withoutPayloads
        case .withoutPayloads: backlog.shedding = .callsOnly
        case .callsOnly: return false
        }
        let what = backlog.shedding == .withoutPayloads ? "payloads of events" : "events"
        logger.error("spool and memory are full: \(what) are left out until there is room; calls are kept")
        for index in backlog.pending.indices
        where backlog.pending[index].role == .spoolOnly && !backlog.pending[index].isSent {
            let batch = backlog.pending[index].batch
            shed(batch)
            backlog.pendingBytes += batch.byteCount - backlog.pending[index].bytes
            backlog.pending[index].bytes = batch.byteCount
        }
        backlog.isBlocked = false
        sendPending()
        return true
    }

    private func shed(_ batch: WriteBatch) {
        if backlog.shedding >= .withoutPayloads, batch.weight == .whole {
            metrics.add(.storePayloadsDropped, batch.dropPayloads())
        }
        if backlog.shedding == .callsOnly { metrics.add(.storeEventsDropped, batch.dropEvents()) }
    }
}

// MARK: - Out of the spool

extension GroupCommit {
    /// Which batches of earlier runs were committed.
    func tookOver(_ committed: Set<BatchID>) {
        guard !backlog.isRecovered else { return }
        backlog.recognised = committed
        backlog.isRecovered = true
    }

    private func requestLoad() {
        guard let spool, backlog.isRecovered, stopping == nil, writer.state.isConnected,
            backlog.batches > 0, !backlog.isLoading, backlog.drained.count <= settings.drainCount / 2
        else { return }
        backlog.isLoading = true
        backlog.walkFrom = backlog.loadedUpTo
        spool.load(
            after: backlog.loadedUpTo, maximumCount: settings.drainCount, maximumBytes: settings.drainBytes)
    }

    private func loaded(_ records: [SpoolRecord], isLast: Bool) {
        backlog.isLoading = false
        var found = 0
        var isHeldUp = false
        for record in records {
            // A batch that was refused comes before those that were taken after it.
            guard takePending(before: record.key) else {
                isHeldUp = true
                break
            }
            backlog.loadedUpTo = max(backlog.loadedUpTo, record.key)
            guard !backlog.held.contains(record.key) else { continue }
            found += 1
            backlog.batches = max(0, backlog.batches - 1)
            backlog.events = max(0, backlog.events - record.events)
            if found == 1 { backlog.oldest = record.receivedAt }
            backlog.held.insert(record.key)
            take(record)
        }
        guard isLast, found == 0, !isHeldUp, backlog.batches > 0 else { return }
        if backlog.walkFrom > 0 {
            // Batches that got there late have keys before those already seen.
            backlog.loadedUpTo = 0
        } else {
            logger.error("\(backlog.batches) batches are missing in the spool")
            metrics.add(.spoolDamaged, backlog.batches)
            metrics.add(.storeEventsDropped, backlog.events)
            backlog.batches = 0
            backlog.events = 0
        }
    }

    /// Takes batches that are to be in the spool before `key`, and are not there for want of room, from memory.
    ///
    /// - Returns: `false` when one is on its way there: what lies behind it has to wait.
    private func takePending(before key: Int64) -> Bool {
        while let index = backlog.pending.indices
            .filter({ backlog.pending[$0].role == .spoolOnly && backlog.pending[$0].key < key })
            .min(by: { backlog.pending[$0].key < backlog.pending[$1].key })
        {
            guard !backlog.pending[index].isSent else { return false }
            let pending = backlog.pending.remove(at: index)
            backlog.pendingBytes -= pending.bytes
            backlog.held.remove(pending.key)
            pending.batch.spoolKey = nil
            pending.batch.isDrained = true
            pending.batch.sequence = nextSequence
            nextSequence += 1
            unreleased.append(pending.batch)
            if pending.batch.rowCount == 0 {
                settled(pending.batch)
            } else {
                backlog.drained.append(pending.batch)
            }
        }
        return true
    }

    private func take(_ record: SpoolRecord) {
        let batch: WriteBatch
        do throws(BatchRecord.Damage) {
            batch = try BatchRecord.decode(record.bytes, pbxNames: settings.pbxNames)
        } catch {
            return damaged(record, error)
        }
        batch.id = record.id
        batch.spoolKey = record.key
        batch.reservedKey = record.key
        batch.isDrained = true
        batch.setWeight(record.weight)
        batch.sequence = nextSequence
        nextSequence += 1
        unreleased.append(batch)
        if backlog.recognised.contains(record.id) {
            // Committed before the last run ended; whether the CRM heard of it nobody knows, so it does again.
            metrics.add(.spoolBatchesRecognised)
            settled(batch)
        } else if batch.rowCount == 0 {
            settled(batch)
        } else {
            backlog.drained.append(batch)
        }
    }

    private func damaged(_ record: SpoolRecord, _ damage: BatchRecord.Damage) {
        metrics.add(.spoolDamaged)
        switch damage {
        case .truncated, .checksum:
            logger.error(
                "a batch in the spool is damaged and lost",
                metadata: ["events": "\(record.events)", "damage": "\(damage)"])
            metrics.add(.storeEventsDropped, record.events)
            backlog.removing[record.key] = .some(nil)
            backlog.toRemove.append(record.key)
        case .unknownVersion, .unknownSection, .malformed:
            // Left for the version that wrote it.
            logger.error("a batch in the spool cannot be read by this version and stays there: \(damage)")
        }
    }

    /// The next drained batch, if it may be sent now.
    var nextDrained: WriteBatch? {
        // One place is for live rows; where batches leave together they share them.
        let places =
            writer.canBoard
            ? settings.batchesInFlight + BatchesOnTheWay.maximumTrain : max(1, settings.batchesInFlight - 1)
        guard stopping == nil, backlog.drainedOnTheWay < places,
            backlog.removing.count < Int(CommitSlots.count) / 2
        else { return nil }
        return backlog.drained.first
    }

    func takeDrained() -> WriteBatch? {
        backlog.drained.isEmpty ? nil : backlog.drained.removeFirst()
    }

    /// A drained batch that could not be written goes back to the front.
    func returnDrained(_ batch: WriteBatch) {
        let index = backlog.drained.lastIndex { $0.sequence < batch.sequence }
        backlog.drained.insert(batch, at: index.map { $0 + 1 } ?? 0)
    }

    /// A batch that lies in the spool needs to be there no longer; its row of the ledger does until it is gone.
    func removeFromSpool(_ batch: WriteBatch, _ key: Int64) {
        if batch.isDrained { metrics.add(.spoolBatchesDrained) }
        backlog.removing[key] = .some(batch.slot)
        backlog.toRemove.append(key)
    }

    func flushRemovals() {
        guard !backlog.toRemove.isEmpty else { return }
        spool?.remove(backlog.toRemove)
        backlog.toRemove = []
    }
}

// MARK: - Answers

extension GroupCommit {
    func answered(_ answer: SpoolAnswer) {
        guard !backlog.isStopped else { return }
        switch answer {
        case .opened(let contents): opened(contents)
        case .unavailable: writer.start(as: name, after: [])
        case .appended(let key, let refusal, let hasRoom): appended(key, refusal, hasRoom)
        case .loaded(let records, let isLast): loaded(records, isLast: isLast)
        case .removed(let keys):
            for key in keys {
                backlog.held.remove(key)
                if let slot = backlog.removing.removeValue(forKey: key) { slots.give(back: slot) }
            }
            // There may be room now.
            backlog.isBlocked = false
        }
        submit()
        finishIfSafe()
    }

    private func opened(_ contents: SpoolContents) {
        backlog.isOpen = true
        backlog.isRecovered = contents.writers.isEmpty
        backlog.batches = contents.batches
        backlog.events = contents.events
        backlog.oldest = contents.oldest
        backlog.calls = SpooledCalls(contents.calls)
        // What gathered meanwhile may belong to calls in there.
        if contents.batches > 0 { beginSpilling("an earlier run left some there") }
        writer.start(as: name, after: contents.writers)
    }

    private func appended(_ key: Int64, _ refusal: SpoolRefusal?, _ hasRoom: Bool) {
        guard let index = backlog.pending.firstIndex(where: { $0.key == key }) else { return }
        let pending = backlog.pending[index]
        backlog.sentBytes -= pending.bytes
        let batch = pending.batch
        if refusal != nil {
            switch pending.role {
            case .spoolOnly:
                backlog.pending[index].isSent = false
                backlog.isBlocked = true
                backlog.retryAt = turns.now + settings.spoolRetry
                return
            case .spoolFirst:
                // Better in the database than nowhere.
                batch.spoolKey = nil
                enqueue(batch)
            case .cover:
                // It may be done by now, and its memory used for other rows.
                if batch.spoolKey == key, !batch.isSettled { batch.spoolKey = nil }
            }
            backlog.held.remove(key)
        } else {
            if hasRoom, backlog.shedding > .whole {
                backlog.shedding = .whole
                logger.warning("the spool has room again: nothing is left out any more")
            }
            switch pending.role {
            case .spoolOnly:
                backlog.forget(key: key, events: batch.eventCount, received: received(batch))
                retire(batch)
            case .spoolFirst: enqueue(batch)
            case .cover: break
            }
        }
        backlog.pending.remove(at: index)
        backlog.pendingBytes -= pending.bytes
    }
}
