import CAllocations
import CallEngine
import Connectors
import Glibc
import Histogram
import Logging
import Protocols
import Reactor

/// What a feeder is told.
enum Work: Sendable {
    /// Rows as fast as the writer takes them, then report.
    case blast(rows: Range<Int>)
    /// Rows at a pace of their own, whatever the writer does, then report.
    ///
    /// - rate: Events a second.
    case paced(rows: Range<Int>, rate: Double, withCalls: Bool)
    /// Write out what waits and end.
    case stop
}

/// What came of a piece of work.
struct Outcome: Sendable {
    var rows = 0
    var start = MonotonicInstant.now()
    var end = MonotonicInstant.now()
    /// Of the loop's thread, in nanoseconds.
    var cpu: UInt64 = 0
    /// From the time an event was due to its commit, in microseconds; of paced work only.
    var latency = Histogram<UInt64>(highestTrackableValue: 60_000_000, numberOfSignificantValueDigits: .three)
    /// Batches that the database took.
    var batches = 0
    /// Calls of malloc and friends in the whole process, by the end and since the beginning.
    var allocations: UInt64 = 0
}

/// Gives rows to the store as a loop of the daemon does; lives on its loop's thread.
final class Feeder {
    /// Bytes gathered and waiting beyond which no more rows are given, so that nothing is dropped.
    static let waitingBytes = 4 << 20
    /// An event in so many changes its call's row, in paced work; a call has 12 to 25 events and some four states.
    static let eventsPerCallRow = 4

    private let loop: Loop
    private let commit: GroupCommit
    private let corpus: EventCorpus
    private let report: @Sendable (Outcome) -> Void
    private var outcome = Outcome()
    private var first = 0
    private var next = 0
    private var end = 0
    private var durable = 0
    private var rate: Double?
    private var withCalls = false
    private var cpuBefore: UInt64 = 0
    private var allocationsBefore: UInt64 = 0

    init(
        loop: Loop, store: Store, settings: StoreSettings, shares: Int, metrics: Metrics, logger: Logger,
        corpus: EventCorpus, report: @escaping @Sendable (Outcome) -> Void
    ) {
        self.loop = loop
        self.corpus = corpus
        self.report = report
        let writer = store.makeWriter(on: loop)
        commit = GroupCommit(
            loop: loop, writer: writer, settings: settings, shares: shares, metrics: metrics, logger: logger)
        // Before the commit's own, as the pipeline's: what is given in a tick leaves in it.
        _ = loop.atEndOfTick { [unowned self] in feed() }
        commit.onDurable = { [unowned self] in becameDurable($0) }
        commit.onStateChange = { [unowned self] state in
            if state.isConnected { self.report(outcome) }
        }
        commit.start()
    }

    func take(_ work: Work) {
        switch work {
        case .blast(let rows): begin(rows, rate: nil, withCalls: false)
        case .paced(let rows, let rate, let withCalls): begin(rows, rate: rate, withCalls: withCalls)
        case .stop:
            commit.flushAndStop(deadline: loop.now + .seconds(10)) { [self] _ in report(outcome) }
        }
    }

    private func begin(_ rows: Range<Int>, rate: Double?, withCalls: Bool) {
        outcome = Outcome()
        outcome.start = .now()
        (first, next, end, durable) = (rows.lowerBound, rows.lowerBound, rows.upperBound, rows.lowerBound)
        self.rate = rate
        self.withCalls = withCalls
        cpuBefore = Self.threadTime()
        allocationsBefore = callocations_count()
        if rate != nil { tick(at: outcome.start) }
    }

    /// Every millisecond what is due by then, as a PBX that is read once a millisecond; seldom events come one by one.
    private func tick(at time: MonotonicInstant) {
        guard next < end, let rate else { return }
        let following = time + max(.milliseconds(1), .nanoseconds(Int64(1e9 / rate)))
        loop.schedule(at: following) { [weak self] in self?.tick(at: following) }
    }

    private func feed() {
        guard next < end else { return }
        // As a loop of the daemon: once a tick.
        let now = WallClock.now()
        if let rate {
            let elapsed = Double(MonotonicInstant.now().nanoseconds - outcome.start.nanoseconds) / 1e9
            let due = min(end, first + Int(elapsed * rate))
            while next < due { append(at: now) }
        } else {
            while next < end, commit.waitingBytes < Self.waitingBytes { append(at: now) }
        }
    }

    private func append(at now: Timestamp) {
        let row = next % corpus.rows.count
        next += 1
        corpus.with(row) { callID, type, payload, occurredAt in
            _ = commit.appendEvent(
                callID: callID, type: type, payload: payload, occurredAt: occurredAt,
                insertedAt: now, payloadNeedsRepair: false)
            guard withCalls, next % Self.eventsPerCallRow == 0 else { return }
            var record = CallRecord(
                id: CallUUID(random: UInt64(row), UInt64(row)), startedAt: occurredAt, insertedAt: occurredAt)
            record.updatedAt = occurredAt
            _ = record.callID.assign(callID)
            commit.appendCall(record)
        }
    }

    private func becameDurable(_ batch: WriteBatch) {
        guard durable < end else { return }
        let now = MonotonicInstant.now()
        outcome.batches += 1
        if let rate {
            let since = Double(now.nanoseconds - outcome.start.nanoseconds) / 1e3
            for event in outcome.rows..<outcome.rows + batch.eventCount {
                let due = Double(event) / rate * 1e6
                _ = outcome.latency.record(UInt64(max(0, since - due)))
            }
        }
        durable += batch.eventCount
        outcome.rows += batch.eventCount
        guard durable == end else { return }
        outcome.end = now
        outcome.cpu = Self.threadTime() - cpuBefore
        outcome.allocations = callocations_count() - allocationsBefore
        report(outcome)
    }

    /// Time that this thread has used, in nanoseconds.
    private static func threadTime() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
