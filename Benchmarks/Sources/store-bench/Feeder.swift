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
    /// Rows into the spool, while there is no database, then report.
    case fill(rows: Range<Int>)
    /// Rows of other calls at a pace of their own until `stop`; what lies in the spool goes beside them.
    ///
    /// - rate: Events a second.
    case beside(rate: Double)
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
    /// Rows that came out of the spool, of work beside it.
    var drained = 0
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
    private var isReady = false
    private var isFilling = false
    private var isBeside = false
    private var key: [UInt8] = []
    private var cpuBefore: UInt64 = 0
    private var allocationsBefore: UInt64 = 0

    /// - Parameters:
    ///   - lane: Which of `shares` loops this is.
    ///   - isAway: Whether there is no database: then nobody waits for it.
    init(
        loop: Loop, store: Store, settings: StoreSettings, lane: Int, shares: Int, isAway: Bool,
        metrics: Metrics, logger: Logger, corpus: EventCorpus, report: @escaping @Sendable (Outcome) -> Void
    ) {
        self.loop = loop
        self.corpus = corpus
        self.report = report
        let writer = store.makeWriter(on: loop)
        commit = GroupCommit(
            loop: loop, writer: writer, spool: store.makeSpool(lane, on: loop), settings: settings,
            shares: shares, metrics: metrics, logger: logger)
        // Before the commit's own, as the pipeline's: what is given in a tick leaves in it.
        _ = loop.atEndOfTick { [unowned self] in feed() }
        commit.onDurable = { [unowned self] in becameDurable($0) }
        commit.onStateChange = { [unowned self] state in
            // A session that is lost in the middle and comes back is no news to whoever waits for the work.
            guard state.isConnected, !isReady else { return }
            isReady = true
            self.report(outcome)
        }
        commit.start()
        if isAway { report(outcome) }
    }

    func take(_ work: Work) {
        switch work {
        case .blast(let rows): begin(rows, rate: nil, withCalls: false)
        case .paced(let rows, let rate, let withCalls): begin(rows, rate: rate, withCalls: withCalls)
        case .fill(let rows):
            isFilling = true
            begin(rows, rate: nil, withCalls: false)
        case .beside(let rate):
            isBeside = true
            begin(0..<Int.max, rate: rate, withCalls: false)
        case .stop:
            end = next
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
        guard next < end else {
            if isFilling, commit.waitingBytes == 0 {
                isFilling = false
                outcome.rows = end - first
                outcome.end = .now()
                report(outcome)
            }
            return
        }
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
            key.removeAll(keepingCapacity: true)
            // Calls that go on while those of the spool are written; rows of one call would wait for each other.
            if isBeside { key.append(contentsOf: "live-".utf8) }
            key.append(contentsOf: callID)
            key.withUnsafeBytes { key in
                _ = commit.appendEvent(
                    callID: key, type: type, payload: payload, occurredAt: occurredAt, insertedAt: now,
                    payloadNeedsRepair: false)
            }
            guard withCalls, next % Self.eventsPerCallRow == 0 else { return }
            var record = CallRecord(
                id: CallUUID(random: UInt64(row), UInt64(row)), startedAt: occurredAt, insertedAt: occurredAt)
            record.updatedAt = occurredAt
            _ = record.callID.assign(callID)
            commit.appendCall(record)
        }
    }

    private func becameDurable(_ batch: WriteBatch) {
        guard durable < end || isBeside else { return }
        let now = MonotonicInstant.now()
        // What was read back from the spool does not tell when it was received.
        guard !isBeside || !batch.receipts.isEmpty else {
            outcome.drained += batch.eventCount
            return
        }
        outcome.batches += 1
        if isBeside {
            // Some of the first rows went to the spool, so when a row was due cannot be counted.
            for receipt in batch.receipts {
                let waited = now.nanoseconds - receipt.at.nanoseconds
                for _ in 0..<receipt.rows { _ = outcome.latency.record(UInt64(max(0, waited) / 1000)) }
            }
        } else if let rate {
            let since = Double(now.nanoseconds - outcome.start.nanoseconds) / 1e3
            for event in outcome.rows..<outcome.rows + batch.eventCount {
                let due = Double(event) / rate * 1e6
                _ = outcome.latency.record(UInt64(max(0, since - due)))
            }
        }
        durable += batch.eventCount
        outcome.rows += batch.eventCount
        guard durable == end, !isBeside else { return }
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
