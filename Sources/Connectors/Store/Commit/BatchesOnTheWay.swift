/// The batches a connection was given and has not answered for, over its sessions; a value without I/O.
///
///     sent ──answer──▶ completed
///      │ └──refused──▶ care: written again alone, savepoint by savepoint (`CarefulWrite`) ──▶ completed
///      └──session lost──▶ uncertain ──what the ledger says, read by the next session──▶ completed
///
/// Answers come in the order of sending, one for each segment (what lies between two sync points).
///
/// Under a load that fills all places, further batches wait and leave together, as one transaction (a train,
/// docs/adr/0017-trains-by-copy.md):
///
///     waiting ──enough, and the connection is free──▶ train ──answer──▶ all completed
///        └──few──▶ sent one by one  ◀── all of them, one by one ──refused──┘
struct BatchesOnTheWay {
    /// Batches of a train, at least; fewer go faster one behind the other.
    static let minimumTrain = 4
    /// Batches of a train, at most; with as many waiting behind it they need no more than `CommitSlots.count`.
    static let maximumTrain = 16
    /// How long a train may take: what comes behind it, live rows beside a drain among it, waits as long.
    static let trainGoal: Duration = .milliseconds(150)
    /// Batches that go one by one after a train came to nothing: those of two trains, and time for the cause to pass.
    static let singlesAfterFailure = 64

    /// A segment that was sent.
    private struct Segment {
        enum Kind { case single, careful, train, rollBack }

        /// One; several of a train; none where a failed transaction is ended.
        let batches: [WriteBatch]
        let kind: Kind
        var error: StoreError?
    }

    /// What leaves next of those that wait.
    enum Departure {
        case single(WriteBatch)
        /// As one transaction, alone on the connection.
        case train([WriteBatch])
    }

    /// What is to be done after an answer.
    enum Outcome {
        /// The batch is done, for good or not.
        case completed(WriteBatch, Result<Void, StoreError>)
        /// The careful write goes on: send this, then `sentCareful()`.
        case segment(WriteBatch, [CarefulWrite.Step])
        /// The careful write is over, its transaction to be ended before anything else is sent.
        case rollBack(WriteBatch, StoreError)
        /// The batches of a train are done, for good or not.
        ///
        /// After a failure its transaction is to be ended.
        case together([WriteBatch], Result<Void, StoreError>)
        /// A row of a train was refused: its transaction is to be ended, its batches wait to go one by one.
        case dissolved
        /// Nothing yet.
        case none
    }

    private var sent: [Segment] = []
    private var uncertain: [(batch: WriteBatch, error: StoreError?)] = []
    /// Refused, to be written with care once nothing else is on the way.
    private var refused: [WriteBatch] = []
    private var careful: CarefulWrite?
    /// Not sent, to leave together or, when they stay few, one by one.
    private var waiting: [WriteBatch] = []
    private var singlesLeft = 0
    /// Batches of the next train, at most: fewer where the database is slow.
    private var trainLength = Self.maximumTrain

    /// Batches not completed.
    var count: Int {
        sent.reduce(0) { $0 + $1.batches.count } + uncertain.count + refused.count + waiting.count
    }
    /// Segments without an answer.
    var waitingForAnswer: Int { sent.count }
    /// Whether others must wait: a careful write wants the connection for itself.
    var isCareful: Bool { careful != nil || !refused.isEmpty }
    /// Whether a train has the connection.
    var isTrain: Bool { sent.first?.kind == .train }
    /// Whether one more batch may be sent at once, with so many places.
    func hasPlace(of places: Int) -> Bool {
        !isCareful && !isTrain && waiting.isEmpty && sent.count < places
    }
    /// Whether one more batch may wait to leave with others.
    var canBoard: Bool { !isCareful && singlesLeft == 0 && waiting.count < Self.maximumTrain }
    /// The error that the next segment to be answered has had, if any.
    var errorOfNext: StoreError? { sent.first?.error }

    /// Notes that a batch was sent.
    mutating func send(_ batch: WriteBatch) {
        batch.refused = []
        sent.append(Segment(batches: [batch], kind: .single, error: nil))
    }

    /// Takes a batch that leaves with others, or when there is a place.
    mutating func board(_ batch: WriteBatch) {
        waiting.append(batch)
    }

    /// What leaves now of those that wait; to be asked until there is nothing, then sent, a train after `sendTrain`.
    ///
    /// - Parameters:
    ///   - places: Batches on the way at once.
    ///   - maySend: Whether a batch may be part of a train.
    mutating func departure(places: Int, maySend: (WriteBatch) -> Bool) -> Departure? {
        guard !isCareful, !isTrain, let first = waiting.first else { return nil }
        if singlesLeft == 0 {
            let length = waiting.prefix(trainLength).prefix(while: maySend).count
            if length >= Self.minimumTrain {
                // It needs the connection for itself.
                guard sent.isEmpty else { return nil }
                defer { waiting.removeFirst(length) }
                return .train(Array(waiting[..<length]))
            }
        }
        guard sent.count < places else { return nil }
        if singlesLeft > 0 { singlesLeft -= 1 }
        waiting.removeFirst()
        return .single(first)
    }

    /// Notes that a train was sent.
    mutating func sendTrain(_ batches: [WriteBatch]) {
        for batch in batches { batch.refused = [] }
        sent.append(Segment(batches: batches, kind: .train, error: nil))
    }

    /// Notes how long a train took; the next one is shorter or longer for it.
    mutating func trainTook(_ time: Duration) {
        if time > Self.trainGoal {
            trainLength = max(Self.minimumTrain, trainLength / 2)
        } else if time < Self.trainGoal / 2 {
            trainLength = min(Self.maximumTrain, trainLength + 2)
        }
    }

    /// Notes that the end of a train's failed transaction was sent.
    mutating func sentRollBack() {
        sent.append(Segment(batches: [], kind: .rollBack, error: nil))
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
        switch segment.kind {
        case .single: return answered(single: segment.batches[0], segment.error)
        case .careful: return answered(careful: segment.batches[0], segment.error)
        case .train: return answered(train: segment.batches, segment.error)
        case .rollBack: return .none
        }
    }

    private mutating func answered(single batch: WriteBatch, _ error: StoreError?) -> Outcome {
        guard let error else { return .completed(batch, .success(())) }
        guard error.isData else { return .completed(batch, .failure(error)) }
        refused.append(batch)
        return .none
    }

    private mutating func answered(careful batch: WriteBatch, _ error: StoreError?) -> Outcome {
        switch careful?.answered(error) {
        case .segment(let steps): return .segment(batch, steps)
        case .done:
            careful = nil
            return .completed(batch, .success(()))
        case .failed(let error):
            careful = nil
            return .rollBack(batch, error)
        case nil: return .completed(batch, error.map { .failure($0) } ?? .success(()))
        }
    }

    private mutating func answered(train batches: [WriteBatch], _ error: StoreError?) -> Outcome {
        guard let error else { return .together(batches, .success(())) }
        singlesLeft = Self.singlesAfterFailure
        guard error.isData else { return .together(batches, .failure(error)) }
        waiting.insert(contentsOf: batches, at: 0)
        return .dissolved
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
        sent.append(Segment(batches: [batch], kind: .careful, error: nil))
    }

    /// The session is gone: what of these was committed is not known.
    mutating func lose() {
        // A train that was lost, perhaps for its sake, is not tried again at once.
        if isTrain { singlesLeft = Self.singlesAfterFailure }
        uncertain += sent.flatMap { segment in segment.batches.map { ($0, segment.error) } }
        uncertain += (refused + waiting).map { ($0, nil) }
        sent = []
        refused = []
        waiting = []
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
