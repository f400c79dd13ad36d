/// The batches a connection was given and has not answered for, over its sessions; a value without I/O.
///
///     sent ──answer──▶ completed
///      │ └──refused──▶ care: written again alone, savepoint by savepoint (`CarefulWrite`) ──▶ completed
///      └──session lost──▶ uncertain ──what the ledger says, read by the next session──▶ completed
///
/// Answers come in the order of sending, one for each segment (what lies between two sync points).
struct BatchesOnTheWay {
    /// A segment that was sent.
    private struct Segment {
        let batch: WriteBatch
        let isCareful: Bool
        var error: StoreError?
    }

    /// What is to be done after an answer.
    enum Outcome {
        /// The batch is done, for good or not.
        case completed(WriteBatch, Result<Void, StoreError>)
        /// The careful write goes on: send this, then `sentCareful()`.
        case segment(WriteBatch, [CarefulWrite.Step])
        /// The careful write is over, its transaction to be ended before anything else is sent.
        case rollBack(WriteBatch, StoreError)
        /// Nothing yet.
        case none
    }

    private var sent: [Segment] = []
    private var uncertain: [(batch: WriteBatch, error: StoreError?)] = []
    /// Refused, to be written with care once nothing else is on the way.
    private var refused: [WriteBatch] = []
    private var careful: CarefulWrite?

    /// Batches not completed.
    var count: Int { sent.count + uncertain.count + refused.count }
    /// Segments without an answer.
    var waitingForAnswer: Int { sent.count }
    /// Whether others must wait: a careful write wants the connection for itself.
    var isCareful: Bool { careful != nil || !refused.isEmpty }
    /// The error that the next segment to be answered has had, if any.
    var errorOfNext: StoreError? { sent.first?.error }

    /// Notes that a batch was sent.
    mutating func send(_ batch: WriteBatch) {
        batch.refused = []
        sent.append(Segment(batch: batch, isCareful: false, error: nil))
    }

    /// Notes an error in the segment whose answer is being read; the first one counts.
    mutating func failed(_ error: StoreError) {
        guard !sent.isEmpty, sent[0].error == nil else { return }
        sent[0].error = error
    }

    /// Notes that the answer to the oldest segment is complete.
    mutating func answered() -> Outcome {
        guard !sent.isEmpty else { return .none }
        let segment = sent.removeFirst()
        guard segment.isCareful else {
            guard let error = segment.error else { return .completed(segment.batch, .success(())) }
            guard case .data = error else { return .completed(segment.batch, .failure(error)) }
            refused.append(segment.batch)
            return .none
        }
        switch careful?.answered(segment.error) {
        case .segment(let steps): return .segment(segment.batch, steps)
        case .done:
            careful = nil
            return .completed(segment.batch, .success(()))
        case .failed(let error):
            careful = nil
            return .rollBack(segment.batch, error)
        case nil: return .completed(segment.batch, segment.error.map { .failure($0) } ?? .success(()))
        }
    }

    /// Begins a careful write when one is due and nothing is on the way.
    ///
    /// - Returns: What to send, then `sentCareful()`.
    mutating func beginCareful() -> (batch: WriteBatch, steps: [CarefulWrite.Step])? {
        guard careful == nil, sent.isEmpty, !refused.isEmpty else { return nil }
        var write = CarefulWrite(refused.removeFirst())
        let steps = write.begin()
        careful = write
        return (write.batch, steps)
    }

    /// Notes that a segment of the careful write was sent.
    mutating func sentCareful(_ batch: WriteBatch) {
        sent.append(Segment(batch: batch, isCareful: true, error: nil))
    }

    /// The session is gone: what of these was committed is not known.
    mutating func lose() {
        uncertain += sent.map { ($0.batch, $0.error) }
        uncertain += refused.map { ($0, nil) }
        sent = []
        refused = []
        careful = nil
    }

    /// Completes what was on the way when a session was lost, by what the ledger has noted.
    mutating func settle(
        _ committed: Set<BatchID>
    ) -> [(batch: WriteBatch, result: Result<Void, StoreError>)] {
        let entries = uncertain
        uncertain = []
        return entries.map { batch, error in
            if committed.contains(batch.id) { return (batch, .success(())) }
            // Whoever was refused is refused again.
            var failure = StoreError.unavailable("the connection was lost before the commit")
            if let error, !error.isData { failure = error }
            return (batch, .failure(failure))
        }
    }

    /// Gives everything back as failed.
    mutating func failAll(_ error: StoreError) -> [(batch: WriteBatch, result: Result<Void, StoreError>)] {
        lose()
        let entries = uncertain
        uncertain = []
        return entries.map { ($0.batch, .failure($0.error.flatMap { $0.isData ? nil : $0 } ?? error)) }
    }
}

extension StoreError {
    /// Whether a row is to blame.
    var isData: Bool {
        if case .data = self { return true }
        return false
    }
}
