import Logging

/// What becomes of batches that were sent.
extension GroupCommit {
    func completed(_ batch: WriteBatch, _ result: Result<Void, StoreError>) {
        if batch.isDrained { backlog.drainedOnTheWay -= 1 }
        switch result {
        case .success:
            let refused = batch.refused
            metrics.add(.storeBatches)
            metrics.add(.storeEventsWritten, batch.eventCount - refused.count { $0.kind == .event })
            metrics.add(.storeCallsWritten, batch.callCount - refused.count { $0.kind == .call })
            if !refused.isEmpty { tell(refused, of: batch) }
            backlog.hasCommitted = true
            settled(batch)
        case .failure:
            metrics.add(.storeErrors)
            if batch.isDrained {
                returnDrained(batch)
            } else if backlog.isSpilling, batch.spoolKey == nil, batch.reservedKey != nil {
                if let last = lastUnderWay, unreleased[last] === batch {
                    unreleased.removeAll { $0 === batch }
                    spoolOnly(batch)
                    releaseSettled()
                } else {
                    // Later ones may go through, so it stays before them.
                    enqueue(batch)
                    cover(batch)
                }
            } else {
                enqueue(batch)
            }
        }
        finishIfSafe()
    }

    private func tell(_ refused: [RefusedRow], of batch: WriteBatch) {
        metrics.add(.storeErrors)
        metrics.add(.storeRowsRejected, refused.count)
        for row in refused.prefix(Self.maximumRefusalLines) {
            logger.error(
                "the database refused a row, which is now a dead letter: \(row.reason)",
                metadata: [
                    "code": "\(row.code)", "row": "\(row.kind.rawValue)", "call": "\(row.callID)",
                    "event": "\(row.eventType)",
                ])
        }
        if refused.count > Self.maximumRefusalLines {
            logger.error("and \(refused.count - Self.maximumRefusalLines) more rows of the same batch")
        }
        for row in refused where row.kind == .call { batch.dropActions(ofCall: row.callID) }
    }

    /// The batch needs no more writing: all its rows are durable or refused.
    func settled(_ batch: WriteBatch) {
        batch.isSettled = true
        if batch.isDrained, let place = batch.reservedKey {
            backlog.calls.remove(batch.callHashes, key: place)
        }
        if let key = batch.spoolKey {
            removeFromSpool(batch, key)
        } else {
            slots.give(back: batch.slot)
        }
        releaseSettled()
    }

    /// Releases what settled batches carry.
    func releaseSettled() {
        // Batches may be settled out of their order (one was written with care, the next went through), but what
        // they carry is released in it, so the CRM never hears of a call whose row is still on the way.
        while let index = nextToRelease {
            let batch = unreleased.remove(at: index)
            onDurable?(batch)
            retire(batch)
        }
    }

    /// The first settled batch that nothing older holds up.
    ///
    /// Live batches pass drained ones that are still on their way: none of their calls has rows in those
    /// (`SpooledCalls`). They do not pass drained ones that are settled and wait for others, since from then on rows of those
    /// calls are live again.
    private var nextToRelease: Int? {
        var isDrainHeldUp = false
        for (index, batch) in unreleased.enumerated() {
            switch (batch.isSettled, batch.isDrained) {
            case (true, false): return index
            case (true, true): return isDrainHeldUp ? nil : index
            case (false, true): isDrainHeldUp = true
            case (false, false): return nil
            }
        }
        return nil
    }
}
