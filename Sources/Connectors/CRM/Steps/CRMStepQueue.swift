import Logging
import Reactor

/// What a store is asked of its steps.
enum CRMStepOrder: Sendable {
    case write([CRMStepChange])
    case claim([CRMStepClaim], by: String)
    case load(CRMStepLoad)
    case add([CRMStepAddition])
    /// Settled rows older than so many days are removed, of the next rows behind the id.
    case prune(days: Int, after: Int64)
}

/// What it answers.
enum CRMStepAnswer: Sendable {
    case written
    case claimed(Set<CRMStepKey>)
    case rows(CRMStepRows)
    /// Removed rows, and behind which id to go on; nil: no more are old enough.
    case pruned(Int, next: Int64?)
}

/// One target's way to a database that may be away; one order at a time.
protocol CRMStepBackend: AnyObject {
    /// Whether an order may be given.
    var isReady: Bool { get }
    /// Told when `isReady` may have become true.
    var onReady: (() -> Void)? { get set }
    func start()
    /// Never answered from inside the call.
    func perform(_ order: CRMStepOrder, _ completion: @escaping (Result<CRMStepAnswer, StoreError>) -> Void)
    func stop()
}

/// Does what a sender asks of its steps, in order, one thing at a time, again until it is done.
///
/// What is written is gathered meanwhile: the newest state of a step counts. Each claim bears this run's name, so one
/// whose answer was lost with the connection is granted again.
final class CRMStepQueue: CRMStepStore {
    private enum Item {
        case write([CRMStepChange])
        case claim([CRMStepClaim], (Set<CRMStepKey>) -> Void)
        case load(CRMStepLoad, (CRMStepRows) -> Void)
        case add([CRMStepAddition], () -> Void)
        case prune(after: Int64)
    }

    /// Changes written at once.
    static let maximumChanges = 500
    private static let repeatAfter: Duration = .seconds(1)
    /// How often settled rows are looked through for old ones.
    private static let pruneInterval: Duration = .seconds(3600)
    /// Between two steps of that, so that it is in nobody's way.
    private static let prunePause: Duration = .milliseconds(100)

    private let backend: any CRMStepBackend
    private let loop: Loop
    private let logger: Logger
    private let keepDays: Int?
    /// This run's name.
    private let name: String
    private var items: [Item] = []
    private var isBusy = false
    private var isWaiting = false
    private var isStopped = false
    private var trouble = SpacedLine(interval: .seconds(60))
    private var whenWritten: (() -> Void)?
    private var stopTimer: TimerID?

    /// - Parameter keepDays: After so many days settled rows are removed; `nil`: never.
    init(backend: any CRMStepBackend, loop: Loop, keepDays: Int?, logger: Logger) {
        self.backend = backend
        self.loop = loop
        self.logger = logger
        self.keepDays = keepDays
        name = String(SystemRandom.uint64(), radix: 16)
    }

    func start() {
        backend.onReady = { [weak self] in self?.pump() }
        backend.start()
        pruneLater(.seconds(10))
    }

    func write(_ changes: [CRMStepChange]) {
        guard !changes.isEmpty, !isStopped else { return }
        if case .write(let before)? = items.last, before.count + changes.count <= Self.maximumChanges {
            items[items.count - 1] = .write(before + changes)
        } else {
            items.append(.write(changes))
        }
        pump()
    }

    func claim(
        _ claims: [CRMStepClaim], completion: @escaping (Set<CRMStepKey>) -> Void
    ) {
        guard !isStopped else { return }
        items.append(.claim(claims, completion))
        pump()
    }

    func add(_ steps: [CRMStepAddition], completion: @escaping () -> Void) {
        guard !isStopped else { return }
        items.append(.add(steps, completion))
        pump()
    }

    func load(_ load: CRMStepLoad, completion: @escaping (CRMStepRows) -> Void) {
        guard !isStopped else { return }
        items.append(.load(load, completion))
        pump()
    }

    func stop(within limit: Duration, completion: @escaping () -> Void) {
        guard !isStopped else { return completion() }
        isStopped = true
        items.removeAll { item in
            switch item {
            case .write, .add: false
            case .claim, .load, .prune: true
            }
        }
        whenWritten = completion
        stopTimer = loop.schedule(after: limit) { [weak self] in self?.finishStopping() }
        finishIfWritten()
    }

    private func finishIfWritten() {
        if items.isEmpty, !isBusy { finishStopping() }
    }

    private func finishStopping() {
        guard let completion = whenWritten else { return }
        whenWritten = nil
        if let stopTimer { loop.cancel(stopTimer) }
        if !items.isEmpty {
            logger.warning(
                "CRM: stopped before the database took what became of some steps; they are looked up")
        }
        items = []
        backend.stop()
        completion()
    }

    // MARK: - Doing

    private func pump() {
        guard !isBusy, !isWaiting, backend.isReady, let item = items.first else { return }
        items.removeFirst()
        isBusy = true
        // Nobody is answered from inside his call, and what is asked in one turn goes together.
        backend.perform(order(for: item)) { [weak self] result in self?.answered(item, result) }
    }

    private func order(for item: Item) -> CRMStepOrder {
        switch item {
        case .write(let changes): .write(Self.newest(of: changes))
        case .claim(let claims, _): .claim(claims, by: name)
        case .load(let load, _): .load(load)
        case .add(let steps, _): .add(steps)
        case .prune(let id): .prune(days: keepDays ?? .max, after: id)
        }
    }

    /// The last change of each step.
    private static func newest(of changes: [CRMStepChange]) -> [CRMStepChange] {
        var seen: Set<CRMStepKey> = []
        return changes.reversed().filter { seen.insert($0.key).inserted }.reversed()
    }

    private func answered(_ item: Item, _ result: Result<CRMStepAnswer, StoreError>) {
        isBusy = false
        switch (item, result) {
        case (.claim(_, let completion), .success(.claimed(let granted))): completion(granted)
        case (.load(_, let completion), .success(.rows(let rows))): completion(rows)
        case (.add(_, let completion), .success): completion()
        case (.prune, .success(.pruned(let count, let next))): pruned(count, next)
        case (_, .success): break
        case (.prune, .failure(let error)):
            logger.warning("CRM: old steps cannot be removed: \(error)")
            pruneLater(Self.pruneInterval)
        case (.write(let changes), .failure(.data(_, let reason))):
            refused(changes, reason)
        case (_, .failure(let error)):
            items.insert(item, at: 0)
            again(because: error)
        }
        if whenWritten != nil { finishIfWritten() }
        pump()
    }

    /// The database takes no text of one of them; the others must not wait for ever.
    private func refused(_ changes: [CRMStepChange], _ reason: String) {
        guard changes.count > 1 else {
            logger.error(
                "CRM: the database refuses what became of a step: \(reason)",
                metadata: ["call": "\(changes.first?.key.callID ?? "")"])
            return
        }
        let middle = changes.count / 2
        items.insert(.write(Array(changes[middle...])), at: 0)
        items.insert(.write(Array(changes[..<middle])), at: 0)
    }

    private func again(because error: StoreError) {
        // What is wrong with the database its writers say.
        if let count = trouble.take(at: loop.now) {
            logger.warning(
                "CRM: steps wait for the database: \(error)", metadata: ["since_last_line": "\(count)"])
        }
        isWaiting = true
        loop.schedule(after: Self.repeatAfter) { [weak self] in
            self?.isWaiting = false
            self?.pump()
        }
    }

    // MARK: - Old rows

    private func pruneLater(_ delay: Duration, after id: Int64 = 0) {
        guard keepDays != nil, !isStopped else { return }
        loop.schedule(after: delay) { [weak self] in
            guard let self, !isStopped else { return }
            items.append(.prune(after: id))
            pump()
        }
    }

    private func pruned(_ count: Int, _ next: Int64?) {
        if let next { pruneLater(Self.prunePause, after: next) } else { pruneLater(Self.pruneInterval) }
    }
}
