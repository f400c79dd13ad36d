package import Protocols
package import Reactor

/// What loops ask of the reading thread.
struct SQLiteReadOrder: Sendable {
    enum Question: Sendable {
        case calls(CallFilter)
        case call(String, EventPage)
        case parts(String)
        case events([String], since: Timestamp)
        case gaps(Int)
        case sightings
        case steps(CRMStepQuery)
    }

    let number: UInt64
    let question: Question
    /// Nobody waits for the answer after this.
    let deadline: MonotonicInstant
    let mailbox: Mailbox<SQLiteReadAnswer>
}

/// What the reading thread answers.
struct SQLiteReadAnswer: Sendable {
    enum Answer: Sendable {
        case calls(Result<[StoredCall], StoreError>)
        case call(Result<StoredCallWithEvents?, StoreError>)
        case parts(Result<StoredParts, StoreError>)
        case events(Result<[StoredEvent], StoreError>)
        case gaps(Result<[StoredGap], StoreError>)
        case sightings(Result<[PBXSighting], StoreError>)
        case steps(Result<CRMStepList, StoreError>)
    }

    let number: UInt64
    let answer: Answer
}

/// The reading thread's side; opens the file when the first read comes, since the writer makes it.
final class SQLiteReadWorker {
    private let path: String
    private var reads: SQLiteReads?

    init(path: String) { self.path = path }

    func handle(_ order: SQLiteReadOrder) {
        let answer: SQLiteReadAnswer.Answer =
            switch order.question {
            case .calls(let filter):
                .calls(
                    attempt(until: order.deadline) { reads throws(StoreError) in try reads.calls(filter) })
            case .call(let callID, let page):
                .call(
                    attempt(until: order.deadline) { reads throws(StoreError) in
                        try reads.call(id: callID, events: page)
                    })
            case .parts(let callID):
                .parts(
                    attempt(until: order.deadline) { reads throws(StoreError) in
                        try reads.parts(of: callID)
                    })
            case .events(let callIDs, let since):
                .events(
                    attempt(until: order.deadline) { reads throws(StoreError) in
                        try reads.events(ofCalls: callIDs, since: since)
                    })
            case .gaps(let limit):
                .gaps(
                    attempt(until: order.deadline) { reads throws(StoreError) in
                        try reads.gaps(limit: limit)
                    })
            case .sightings:
                .sightings(
                    attempt(until: order.deadline) { reads throws(StoreError) in try reads.sightings() })
            case .steps(let query):
                .steps(
                    attempt(until: order.deadline) { reads throws(StoreError) in try reads.steps(query) })
            }
        _ = order.mailbox.post(SQLiteReadAnswer(number: order.number, answer: answer))
    }

    private func attempt<T>(
        until deadline: MonotonicInstant, _ body: (SQLiteReads) throws(StoreError) -> T
    ) -> Result<T, StoreError> {
        do throws(StoreError) {
            let opened: SQLiteReads
            if let reads {
                opened = reads
            } else {
                opened = try SQLiteReads(SQLiteDatabase(path: path, forWriting: false))
            }
            reads = opened
            opened.database.interrupts(after: deadline)
            defer { opened.database.interrupts(after: nil) }
            return .success(try body(opened))
        } catch {
            // A read that took too long says nothing against the file.
            if case .transient = error { return .failure(error) }
            reads = nil
            return .failure(error)
        }
    }
}

/// One loop's access to the reading thread.
package final class SQLiteReader: StoreReader {
    private enum Waiting {
        case calls((Result<[StoredCall], StoreError>) -> Void)
        case call((Result<StoredCallWithEvents?, StoreError>) -> Void)
        case parts((Result<StoredParts, StoreError>) -> Void)
        case events((Result<[StoredEvent], StoreError>) -> Void)
        case gaps((Result<[StoredGap], StoreError>) -> Void)
        case sightings((Result<[PBXSighting], StoreError>) -> Void)
        case steps((Result<CRMStepList, StoreError>) -> Void)
    }

    /// How much later than its deadline an answer may come, before it is given without the reading thread.
    private static let grace: Duration = .milliseconds(250)

    private let store: SQLiteStore
    private let loop: Loop
    private let answers = Mailbox<SQLiteReadAnswer>(capacity: StoreReads.maximumWaiting * 2)
    private let settings: StoreSettings
    private var waiting: [UInt64: (entry: Waiting, timer: TimerID)] = [:]
    private var nextNumber: UInt64 = 0
    private var isStopped = false

    package private(set) var state = StoreState.connecting

    package init(store: SQLiteStore, loop: Loop, settings: StoreSettings) {
        self.store = store
        self.settings = settings
        self.loop = loop
    }

    package func start() {
        loop.attach(answers) { [weak self] in self?.receive($0) }
    }

    package func calls(
        _ filter: CallFilter, completion: @escaping (Result<[StoredCall], StoreError>) -> Void
    ) {
        ask(.calls(filter), .calls(completion))
    }

    package func call(
        id callID: String, events page: EventPage,
        completion: @escaping (Result<StoredCallWithEvents?, StoreError>) -> Void
    ) {
        ask(.call(callID, page), .call(completion))
    }

    package func parts(
        of callID: String, completion: @escaping (Result<StoredParts, StoreError>) -> Void
    ) {
        ask(.parts(callID), .parts(completion))
    }

    package func events(
        ofCalls callIDs: [String], since: Timestamp,
        completion: @escaping (Result<[StoredEvent], StoreError>) -> Void
    ) {
        ask(.events(callIDs, since: since), .events(completion))
    }

    package func gaps(limit: Int, completion: @escaping (Result<[StoredGap], StoreError>) -> Void) {
        ask(.gaps(limit), .gaps(completion))
    }

    package func sightings(completion: @escaping (Result<[PBXSighting], StoreError>) -> Void) {
        ask(.sightings, .sightings(completion))
    }

    package func steps(
        _ query: CRMStepQuery, completion: @escaping (Result<CRMStepList, StoreError>) -> Void
    ) {
        ask(.steps(query), .steps(completion))
    }

    package func stop() {
        isStopped = true
        let left = waiting.values
        waiting = [:]
        for (entry, timer) in left {
            loop.cancel(timer)
            refuse(entry, "the store is stopping")
        }
    }

    private func ask(_ question: SQLiteReadOrder.Question, _ entry: Waiting) {
        let number = nextNumber
        nextNumber += 1
        let limit = limit(of: question)
        let order = SQLiteReadOrder(
            number: number, question: question, deadline: loop.now + limit, mailbox: answers)
        guard !isStopped, waiting.count < StoreReads.maximumWaiting, store.reads.post(order) else {
            // Never before the call returned, as the protocol says.
            loop.schedule(after: .zero) { self.refuse(entry, "too many reads are waiting") }
            return
        }
        // The disk itself may stand still.
        let timer = loop.schedule(after: limit + Self.grace) { [weak self] in
            guard let (entry, _) = self?.waiting.removeValue(forKey: number) else { return }
            self?.refuse(entry, "no answer to a read for \(limit)")
        }
        waiting[number] = (entry, timer)
    }

    private func limit(of question: SQLiteReadOrder.Question) -> Duration {
        // A daemon that starts looks through what an earlier one left open; nobody waits for that.
        if case .calls(let filter) = question, filter.openBefore != nil { return settings.statementTimeout }
        return settings.readTimeout
    }

    private func refuse(_ entry: Waiting, _ reason: String) {
        switch entry {
        case .calls(let completion): completion(.failure(.unavailable(reason)))
        case .call(let completion): completion(.failure(.unavailable(reason)))
        case .parts(let completion): completion(.failure(.unavailable(reason)))
        case .events(let completion): completion(.failure(.unavailable(reason)))
        case .gaps(let completion): completion(.failure(.unavailable(reason)))
        case .sightings(let completion): completion(.failure(.unavailable(reason)))
        case .steps(let completion): completion(.failure(.unavailable(reason)))
        }
    }

    private func receive(_ answer: SQLiteReadAnswer) {
        guard let (entry, timer) = waiting.removeValue(forKey: answer.number) else { return }
        loop.cancel(timer)
        switch (answer.answer, entry) {
        case (.calls(let result), .calls(let completion)):
            note(result)
            completion(result)
        case (.call(let result), .call(let completion)):
            note(result)
            completion(result)
        case (.parts(let result), .parts(let completion)):
            note(result)
            completion(result)
        case (.events(let result), .events(let completion)):
            note(result)
            completion(result)
        case (.gaps(let result), .gaps(let completion)):
            note(result)
            completion(result)
        case (.sightings(let result), .sightings(let completion)):
            note(result)
            completion(result)
        case (.steps(let result), .steps(let completion)):
            note(result)
            completion(result)
        default: preconditionFailure("an answer of another kind than its question")
        }
    }

    private func note<T>(_ result: Result<T, StoreError>) {
        switch result {
        case .success: state = .connected(serverVersion: SQLiteSchema.version)
        case .failure:
            // What is wrong with the file its writers say; the next read opens it anew.
            state = .connecting
        }
    }
}
