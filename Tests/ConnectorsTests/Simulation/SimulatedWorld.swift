import CallEngine
import Logging
import Protocols
import Reactor

@testable import Connectors

/// A seeded source of chance (SplitMix64); the same seed gives the same world.
struct Chance: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 0x1234_5678 }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// True once in `n`.
    mutating func once(in n: UInt64) -> Bool { next() % n == 0 }

    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
}

/// Time that jumps from one thing to the next, and what is to happen.
final class SimulatedTime {
    private var queue: [(at: UInt64, order: UInt64, body: () -> Void)] = []
    private var order: UInt64 = 0
    private(set) var nanoseconds: UInt64 = 1_000_000_000

    func after(_ delay: Duration, _ body: @escaping () -> Void) {
        let (seconds, attoseconds) = delay.components
        let wait = UInt64(max(0, seconds)) * 1_000_000_000 + UInt64(max(0, attoseconds / 1_000_000_000))
        order += 1
        let at = nanoseconds + wait
        let index = queue.lastIndex { ($0.at, $0.order) < (at, order) }.map { $0 + 1 } ?? 0
        queue.insert((at, order, body), at: index)
    }

    /// Does the next thing.
    ///
    /// - Returns: `false` when nothing is to happen any more.
    func step() -> Bool {
        guard !queue.isEmpty else { return false }
        let next = queue.removeFirst()
        nanoseconds = max(nanoseconds, next.at)
        next.body()
        return true
    }
}

/// One run of the process: its time and turns end with it.
final class SimulatedTurns: CommitTurns {
    let world: SimulatedTime
    private var time: SimulatedTime { world }
    private var hooks: [() -> Void] = []
    var isDead = false

    init(_ time: SimulatedTime) { world = time }

    var now: MonotonicInstant { MonotonicInstant(nanoseconds: time.nanoseconds) }
    var wallNow: Timestamp { Timestamp(microseconds: Int64(time.nanoseconds / 1000)) }

    func after(_ delay: Duration, _ body: @escaping () -> Void) {
        time.after(delay) { [self] in
            guard !isDead else { return }
            body()
            endTurn()
        }
    }

    func atEndOfTurn(_ body: @escaping () -> Void) -> () -> Void {
        hooks.append(body)
        return { [self] in hooks = [] }
    }

    func endTurn() {
        guard !isDead else { return }
        for hook in hooks { hook() }
    }
}

/// The database: its tables, its ledger, its sessions.
///
/// Survives everything.
final class SimulatedDatabase {
    struct Call: Equatable {
        var updatedAt: Int64
        var cause: UInt16
    }

    /// How often each event stands there; an event is its type's text.
    var events: [String: Int] = [:]
    var withoutPayload: Set<String> = []
    var calls: [String: Call] = [:]
    /// Order in which states of a call arrived.
    var callOrder: [String: [Int64]] = [:]
    var deadLetters: [String: Int] = [:]
    /// By writer and slot.
    var ledger: [String: BatchID] = [:]
    /// Generation of the session that may commit, by writer.
    var sessions: [UInt64: Int] = [:]
    var isUp = true

    /// Which rows it refuses.
    static func refuses(_ type: String) -> Bool { type.hasSuffix("!") || refusesLate(type) }

    /// Which of them it refuses only at the commit, unless told to look at once.
    static func refusesLate(_ type: String) -> Bool { type.hasSuffix("?") }

    /// Commits a batch in one transaction.
    func commit(_ batch: WriteBatch, leavingOut refused: Set<Int> = []) {
        var index = 0
        batch.events.forEach { row in
            let type = String(decoding: row.type, as: UTF8.self)
            if refused.contains(index) {
                deadLetters[type, default: 0] += 1
            } else {
                events[type, default: 0] += 1
                if row.payload == nil { withoutPayload.insert(type) }
            }
            index += 1
        }
        for (row, record) in batch.calls.records.enumerated() {
            let id = batch.calls.withCallID(at: row) { String(decoding: $0, as: UTF8.self) }
            let new = Call(updatedAt: record.updatedAt.microseconds, cause: record.hangupCause)
            callOrder[id, default: []].append(new.updatedAt)
            // The upsert joins states in whatever order; the newer one counts.
            if let old = calls[id], old.updatedAt > new.updatedAt { continue }
            calls[id] = new
        }
        ledger["\(batch.id.writer)/\(batch.slot ?? -1)"] = batch.id
    }

    func committed(of writers: [UInt64]) -> Set<BatchID> {
        Set(ledger.values.filter { writers.contains($0.writer) })
    }
}

/// The daemon's connection to the simulated database: `BatchesOnTheWay` and `CarefulWrite` as `PostgresWriter` runs
/// them, with a network that fails by chance.
final class SimulatedWriter: BatchWriter {
    private let time: SimulatedTurns
    /// The network's and the server's time, which does not end with the process.
    private let world: SimulatedTime
    private let database: SimulatedDatabase
    private var chance: Chance
    private let faults: SimulatedFaults

    private var onTheWay = BatchesOnTheWay()
    private var writer: UInt64 = 0
    private var formers: [UInt64] = []
    /// The session, `nil` while there is none.
    ///
    /// A former one's messages may still reach the server.
    private var session: Int?
    /// What the session holds: its writer's lock and those of the former ones, by their generation.
    private var locks: [UInt64: Int] = [:]
    private var link = Link()
    /// Rows taken by the careful write so far, uncommitted, as indexes of refused rows.
    private var carefulRefusals: Set<Int> = []
    private var isImmediate = false

    private(set) var state = StoreState.connecting
    var onCompletion: ((WriteBatch, Result<Void, StoreError>) -> Void)?
    var onStateChange: ((StoreState) -> Void)?
    var onTakeOver: ((Set<BatchID>) -> Void)?

    init(_ time: SimulatedTurns, _ database: SimulatedDatabase, _ chance: Chance, _ faults: SimulatedFaults) {
        self.time = time
        world = time.world
        self.database = database
        self.chance = chance
        self.faults = faults
    }

    var sharesBatches: Bool { true }
    var inFlightCount: Int { onTheWay.count }
    var canAccept: Bool { session != nil && onTheWay.hasPlace(of: 4) }
    var canBoard: Bool { session != nil && onTheWay.canBoard }
    /// Told of each train that leaves.
    var onTrain: (() -> Void)?

    func start(as writer: UInt64, after formers: [UInt64]) {
        self.writer = writer
        self.formers = formers
        connect()
    }

    private func connect() {
        time.after(.milliseconds(5 + chance.below(50))) { [self] in
            guard database.isUp, !faults.isCut else {
                state = .failing(reason: "away")
                return connect()
            }
            // The lock: the former sessions of this writer and of those before it commit nothing from here on.
            for each in [writer] + formers { database.sessions[each, default: 0] += 1 }
            let committed = database.committed(of: [writer] + formers)
            session = database.sessions[writer]
            locks = database.sessions.filter { ([writer] + formers).contains($0.key) }
            link = Link()
            state = .connected(serverVersion: "simulated")
            onTakeOver?(committed)
            for (batch, result) in onTheWay.settle(committed) { onCompletion?(batch, result) }
        }
    }

    private func lose() {
        guard session != nil else { return }
        session = nil
        state = .failing(reason: "lost")
        onTheWay.lose()
        connect()
    }

    func write(_ batch: WriteBatch) {
        if canAccept {
            onTheWay.send(batch)
            sendAsOne([batch])
        } else {
            onTheWay.board(batch)
            depart()
        }
    }

    private func depart() {
        while session != nil {
            switch onTheWay.departure(places: 4, maySend: { $0.id.number % 31 != 0 }) {
            case nil: return
            case .single(let batch):
                onTheWay.send(batch)
                sendAsOne([batch])
            case .train(let batches):
                onTheWay.sendTrain(batches)
                onTrain?()
                sendAsOne(batches)
            }
        }
    }

    /// One transaction.
    private func sendAsOne(_ batches: [WriteBatch]) {
        travel { [self] in
            var refused = false
            for batch in batches {
                batch.events.forEach {
                    if SimulatedDatabase.refuses(String(decoding: $0.type, as: UTF8.self)) { refused = true }
                }
            }
            if refused { return .data(code: "22000", "refused") }
            if faults.transient(&chance) { return .transient("deadlock") }
            for batch in batches { database.commit(batch) }
            return nil
        }
    }

    /// What one connection carries, both ways in order; once it breaks, nothing more comes through.
    private final class Link {
        var arrivesAt: UInt64 = 0
        var answersAt: UInt64 = 0
        var isRequestCut = false
        var isAnswerCut = false
    }

    /// One segment to the server and its answer back; lost anywhere.
    private func travel(_ work: @escaping () -> StoreError?) {
        let (mine, locks, link) = (session, locks, link)
        if faults.cut(&chance), !link.isRequestCut {
            link.isRequestCut = true
            // Noticed later; what arrived before is still worked on.
            time.after(.milliseconds(chance.below(30))) { [self] in if session == mine { lose() } }
        }
        if link.isRequestCut { return }
        // A server may take long, longer than the connection or the process lasts.
        let takes = chance.once(in: 40) ? 400_000_000 : 500_000 + UInt64(chance.below(4_000_000))
        link.arrivesAt = max(link.arrivesAt, world.nanoseconds) + takes
        if chance.once(in: 50), faults.cut(&chance) {
            // Gives the session up while the server works on.
            time.after(.milliseconds(1)) { [self] in if session == mine { lose() } }
        }
        world.after(.nanoseconds(Int64(link.arrivesAt - world.nanoseconds))) { [self] in
            guard database.isUp, !faults.isCut else {
                link.isAnswerCut = true
                if session == mine { lose() }
                return
            }
            // Fenced: a session one of whose locks was taken is dead, whatever still reaches it.
            guard locks.allSatisfy({ database.sessions[$0.key] == $0.value }) else { return }
            let error = work()
            if faults.cut(&chance) { link.isAnswerCut = true }
            guard session == mine else { return }
            if link.isAnswerCut { return lose() }
            link.answersAt = max(link.answersAt, world.nanoseconds) + UInt64(chance.below(2_000_000))
            time.after(.nanoseconds(Int64(link.answersAt - world.nanoseconds))) { [self] in
                if session == mine { answered(error) }
            }
        }
    }

    private func answered(_ error: StoreError?) {
        if let error { onTheWay.failed(error) }
        switch onTheWay.answered() {
        case .completed(let batch, let result): onCompletion?(batch, result)
        case .segment(let batch, let steps): sendCareful(batch, steps)
        case .rollBack(let batch, let error):
            onCompletion?(batch, .failure(error))
            lose()
        case .together(let batches, let result): for batch in batches { onCompletion?(batch, result) }
        case .dissolved, .none: break
        }
        if let (batch, steps) = onTheWay.beginCareful() { sendCareful(batch, steps) }
        depart()
    }

    private func sendCareful(_ batch: WriteBatch, _ steps: [CarefulWrite.Step]) {
        onTheWay.sentCareful(batch)
        travel { [self] in
            for step in steps {
                switch step {
                case .begin: (carefulRefusals, isImmediate) = ([], false)
                case .immediate: isImmediate = true
                case .rows(let part):
                    var refused = false
                    part.events.forEach {
                        let type = String(decoding: $0.type, as: UTF8.self)
                        if SimulatedDatabase.refuses(type),
                            isImmediate || !SimulatedDatabase.refusesLate(type)
                        {
                            refused = true
                        }
                    }
                    if refused { return .data(code: "22000", "refused") }
                case .deadLetter(let row):
                    var index = 0
                    batch.events.forEach { event in
                        if String(decoding: event.type, as: UTF8.self) == row.eventType {
                            carefulRefusals.insert(index)
                        }
                        index += 1
                    }
                case .commit:
                    var hasLate = false
                    batch.events.forEach {
                        let type = String(decoding: $0.type, as: UTF8.self)
                        if !isImmediate, SimulatedDatabase.refusesLate(type) { hasLate = true }
                    }
                    if hasLate { return .data(code: "23503", "refused at the commit") }
                    database.commit(batch, leavingOut: carefulRefusals)
                case .abort, .savepoint, .release, .rollBack, .note: break
                }
            }
            return nil
        }
    }

    func flushAndStop(deadline: MonotonicInstant, completion: @escaping () -> Void) {
        session = nil
        for (batch, result) in onTheWay.failAll(.unavailable("stopped")) { onCompletion?(batch, result) }
        completion()
    }
}

/// The disk: what was synced survives the process.
final class SimulatedDisk {
    var records: [Int64: SpoolRecord] = [:]
    var lastKey: Int64 = 0
    var capacity = Int.max
    var isBroken = false

    var bytes: Int { records.values.reduce(0) { $0 + $1.bytes.count } }

    /// Flips a bit in the last batch, as a torn write would.
    func hurtLast() -> SpoolRecord? {
        guard let key = records.keys.max(), var record = records[key], record.bytes.count > 20 else {
            return nil
        }
        record.bytes[record.bytes.count / 2] ^= 4
        records[key] = record
        return record
    }
}

/// The spool's thread over the simulated disk.
final class SimulatedSpool: BatchSpool {
    private let time: SimulatedTurns
    private let disk: SimulatedDisk
    private var chance: Chance
    /// Work in order: nothing overtakes what was asked before.
    private var readyAt: UInt64 = 0
    /// Answers too keep their order.
    private var answersAt: UInt64 = 0

    var onAnswer: ((SpoolAnswer) -> Void)?
    /// Told of each batch that is on the disk.
    var onKept: ((SpoolRecord) -> Void)?

    init(_ time: SimulatedTurns, _ disk: SimulatedDisk, _ chance: Chance) {
        self.time = time
        self.disk = disk
        self.chance = chance
    }

    /// Does `work` when all before is done; its answer comes a little later.
    private func queue(_ work: @escaping () -> SpoolAnswer) {
        let now = time.now.nanoseconds
        readyAt = max(readyAt, now) + UInt64(200_000 + chance.below(3_000_000))
        time.after(.nanoseconds(Int64(readyAt - now))) { [self] in
            let answer = work()
            answersAt = max(answersAt, time.now.nanoseconds) + UInt64(chance.below(500_000))
            time.after(.nanoseconds(Int64(answersAt - time.now.nanoseconds))) { [self] in onAnswer?(answer) }
        }
    }

    func open() {
        queue { [disk] in
            var contents = SpoolContents()
            for record in disk.records.values.sorted(by: { $0.key < $1.key }) {
                if !contents.writers.contains(record.id.writer) { contents.writers.append(record.id.writer) }
                contents.batches += 1
                contents.events += record.events
                if contents.oldest == nil { contents.oldest = record.receivedAt }
                for hash in record.calls { contents.calls[hash] = record.key }
            }
            return .opened(contents)
        }
    }

    func nextKey() -> Int64 {
        disk.lastKey += 1
        return disk.lastKey
    }

    func append(_ record: SpoolRecord) {
        queue { [disk, self] in
            if disk.isBroken { return .appended(key: record.key, .disk("broken"), hasRoom: false) }
            let share = record.weight == .whole ? 8 : record.weight == .withoutPayloads ? 9 : 10
            guard disk.capacity == Int.max || disk.bytes + record.bytes.count <= disk.capacity / 10 * share
            else {
                return .appended(key: record.key, .full, hasRoom: false)
            }
            disk.records[record.key] = record
            onKept?(record)
            return .appended(key: record.key, nil, hasRoom: disk.bytes < disk.capacity / 2)
        }
    }

    func load(after key: Int64, maximumCount: Int, maximumBytes: Int) {
        queue { [disk] in
            let found = disk.records.values.filter { $0.key > key }.sorted { $0.key < $1.key }
            return .loaded(Array(found.prefix(maximumCount)), isLast: found.count <= maximumCount)
        }
    }

    func remove(_ keys: [Int64]) {
        queue { [disk] in
            for key in keys { disk.records[key] = nil }
            return .removed(keys)
        }
    }
}

/// What goes wrong, and how often.
final class SimulatedFaults {
    /// One message in so many is lost with its connection.
    var cutOnceIn: UInt64 = 60
    var transientOnceIn: UInt64 = 80
    var isCut = false
    /// The weather clears: the world is left to finish its work.
    var isOver = false

    func cut(_ chance: inout Chance) -> Bool { !isOver && chance.once(in: cutOnceIn) }
    func transient(_ chance: inout Chance) -> Bool { !isOver && chance.once(in: transientOnceIn) }
}
