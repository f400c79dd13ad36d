/// Writes one batch of which the database refused something: all that it takes, and each refused row as a dead
/// letter, in one transaction under the batch's own number.
///
/// A conversation over savepoints, so that nothing of the batch is durable before all of it is, whatever breaks in
/// between; and so that a row is tried in the presence of those before it (two that exclude each other are found).
///
///     BEGIN ─▶ half ──taken──────────────────────▶ next part ─▶ … ─▶ number, COMMIT
///               └──refused──▶ back to the savepoint ─▶ its halves; a single row ─▶ dead letter
///
/// Constraints that somebody deferred speak at the COMMIT, of no row. Then all is done once more with every constraint
/// checked at once, events last, since they are what refers to other rows.
///
/// A value without I/O: it gives the statements of one segment (up to a sync point) and takes its answer.
struct CarefulWrite {
    /// Statements of a segment.
    enum Step {
        case begin
        /// Ends a transaction that failed, should it be open.
        case abort
        /// Checks deferred constraints with each statement from here on.
        case immediate
        case savepoint
        /// Keeps what was done since the savepoint.
        case release
        /// Forgets it, also after an error.
        case rollBack
        /// Rows of the batch, as a batch of their own.
        case rows(WriteBatch)
        case deadLetter(RefusedRow)
        /// Notes the batch's number.
        case note
        case commit
    }

    /// What follows an answer.
    enum Next {
        case segment([Step])
        /// Committed; `batch.refused` has what was left out.
        case done
        /// Over, nothing of it is durable; the transaction may still be open.
        case failed(StoreError)
    }

    let batch: WriteBatch
    /// Rows not tried yet, the next part last.
    private var open: [Range<Int>]
    private var tried: Range<Int>?
    private var isCommitting = false
    private var isImmediate = false

    init(_ batch: WriteBatch) {
        self.batch = batch
        batch.refused = []
        let rows = batch.rowCount
        // The whole was just refused; a single row is tried once more, for its own error.
        open = rows > 1 ? [rows / 2..<rows, 0..<rows / 2] : [0..<rows]
    }

    /// The first segment.
    mutating func begin() -> [Step] { [.begin] + next() }

    /// Takes the answer to a segment, the first error in it or none.
    mutating func answered(_ error: StoreError?) -> Next {
        guard let error else {
            if isCommitting { return .done }
            return .segment([.release] + next())
        }
        guard case .data(let code, let reason) = error, !isCommitting, let part = tried else {
            guard error.isData else { return .failed(error) }
            guard isCommitting, !isImmediate else { return .failed(.unavailable(error.description)) }
            return .segment([.abort, .begin, .immediate] + again())
        }
        var steps: [Step] = [.rollBack, .release]
        if part.count > 1 {
            let middle = part.lowerBound + part.count / 2
            open += [middle..<part.upperBound, part.lowerBound..<middle]
        } else {
            let row = batch.refusedRow(at: part.lowerBound, code: code, reason: reason)
            batch.refused.append(row)
            steps.append(.deadLetter(row))
        }
        return .segment(steps + next())
    }

    /// From the first row again, constraints being checked at once.
    private mutating func again() -> [Step] {
        (isCommitting, isImmediate) = (false, true)
        batch.refused = []
        open = [0..<batch.eventCount, batch.eventCount..<batch.rowCount].filter { !$0.isEmpty }
        return next()
    }

    private mutating func next() -> [Step] {
        tried = open.popLast()
        if let tried { return [.savepoint, .rows(batch.part(rows: tried))] }
        isCommitting = true
        return [.note, .commit]
    }
}
