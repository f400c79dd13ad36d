import CallEngine
import Protocols

@testable import Connectors

/// One run of the daemon: the comparison, the watch over the PBX and the call graph, as the daemon has them, without
/// socket, timer or clock.
final class TruthDaemon: ARIComparisonHost {
    static let hasher = TextHash(keyA: 3, keyB: 5)
    let appName = "callflow_elixir"
    let readsApplicationOnly = false

    private let time: TruthTime
    private let store: TruthStore
    private let stream: TruthStream
    private var reader = ARIEventReader()
    private var graph: CallGraph
    private var watch = PBXWatch()
    private var actions: [CRMAction] = []
    private var comparison: ARIComparison?
    private var facts = ARIComparisonFacts(isRestart: false, channels: [], bridges: [])
    private(set) var isDead = false
    private var isDraining = false
    private var isCommitting = false
    private var isOpen = false
    /// Compared since the connection opened: every event since then was taken.
    private var isFollowing = false
    private var lastHeard: Int64 = 0
    private var lostAt: Timestamp?
    private var startedAt: Timestamp?
    /// Grows with each attempt to compare.
    private var attempt = 0
    /// Events that wait for a comparison, by their places in the stream.
    private var held: Set<Int> = []
    /// Comparisons that came to their end.
    private(set) var comparisons = 0
    /// Calls that lived on in a late list only, and were ended by the next one.
    private(set) var ghosts = 0
    private var registered: Set<String> = []
    private var finished: Set<String> = []
    private(set) var problems: [String] = []
    /// Told of the events that were taken.
    var onTaken: (Int) -> Void = { _ in }
    /// Told of the text of a channel of a list.
    var onListed: () -> Void = {}
    /// Told of each row given to the store.
    var onRow: (CallRecord, CallDetails?) -> Void = { _, _ in }
    private let asText: Bool

    /// Asks the PBX; the answer comes later, or never.
    var ask: (TruthDaemon, Int) -> Void = { _, _ in }

    /// - Parameter readsEvents: What an earlier run stored of open calls can be read.
    init(
        time: TruthTime, store: TruthStore, stream: TruthStream, seed: UInt64, asText: Bool,
        readsEvents: Bool
    ) {
        self.time = time
        self.store = store
        self.stream = stream
        self.asText = asText
        let registry = CallRegistry(capacity: 256, hasher: Self.hasher)
        graph = CallGraph(registry: registry, hasher: Self.hasher, seed: seed)
        let open = store.openCalls
        watch.adopt(open, sighting: store.sighting, hasher: Self.hasher)
        for call in open {
            let (record, texts) = call.asRecord(pbx: 0, hasher: Self.hasher)
            let key = Array(call.callID.utf8).withUnsafeBytes { CallKey($0, Self.hasher) }
            if !graph.adopt(
                record, key: key, longTexts: texts, facts: call.derivedFacts, isRegistered: true)
            {
                problems.append("\(call.callID) is not taken over")
            }
            registered.insert(call.callID)
        }
        replay(readsEvents ? store.events(ofCalls: open.map(\.callID)) : [])
        turnSoon()
        sightSoon()
    }

    private var wallNow: Timestamp { Timestamp(microseconds: TruthStream.epoch + time.now) }

    // MARK: Connection

    /// The event stream is open.
    func opened() {
        isOpen = true
        lastHeard = time.now
        begin()
    }

    private func begin() {
        attempt += 1
        isFollowing = false
        facts = ARIComparisonFacts(
            startedAt: nil, isRestart: false, lastHeardAt: lostAt, reason: nil, channels: [], bridges: [])
        comparison?.endNow()
        let comparison = ARIComparison(host: self)
        comparison.onDone = { [unowned self] in comparisonDone($0) }
        comparison.onAskAgain = { [unowned self] in ask(self, attempt) }
        self.comparison = comparison
        ask(self, attempt)
    }

    /// The lists are asked for now.
    func listsAsked(_ attempt: Int) {
        if attempt == self.attempt { comparison?.listsAsked() }
    }

    /// The answers came.
    func answered(_ attempt: Int, startedAt: Int64, clock: Int64, channels: [UInt8], bridges: [UInt8]) {
        guard attempt == self.attempt, !isDead else { return }
        let started = Timestamp(microseconds: startedAt)
        facts.startedAt = started
        facts.isRestart = self.startedAt != nil && self.startedAt != started
        (facts.channels, facts.bridges) = (channels, bridges)
        (facts.clock, facts.clockReadAt) = (Timestamp(microseconds: clock), wallNow - .milliseconds(18))
        comparison?.answered(facts)
    }

    /// The PBX refused to answer: events go on, and it is asked again.
    func refused(_ attempt: Int) {
        guard attempt == self.attempt, !isDead else { return }
        self.attempt += 1
        comparison?.letGo()
        let now = self.attempt
        time.after(.milliseconds(200)) { [weak self] in
            guard let self, !isDead, isOpen, now == self.attempt else { return }
            begin()
        }
    }

    private func comparisonDone(_ result: Result<Void, ARIListError>) {
        comparison = nil
        guard case .success = result else { return }
        startedAt = facts.startedAt ?? startedAt
        lostAt = nil
        isFollowing = true
        let (told, grace) = watch.comparisonEnded(facts, patience: .seconds(1))
        let number = watch.number
        time.after(grace.components.seconds * 1_000_000 + grace.components.attoseconds / 1_000_000_000_000) {
            [weak self] in
            guard let self, !isDead, watch.number == number else { return }
            finishComparison(told)
        }
        confirmLater(attempt)
    }

    private func confirmLater(_ attempt: Int) {
        time.after(.milliseconds(12_000)) { [weak self] in
            guard let self, !isDead, isFollowing, attempt == self.attempt else { return }
            guard graph.hasUnconfirmed(pbx: 0) else { return }
            stream.askChannels { [weak self] in
                guard let self, !isDead, attempt == self.attempt else { return }
                confirmed($0)
            }
        }
    }

    private func confirmed(_ channels: [[UInt8]]) {
        let gone = graph.unconfirmed(pbx: 0, without: channels)
        let number = watch.number
        time.after(watch.grace(.seconds(1)).components.seconds * 1_000_000) { [weak self] in
            guard let self, !isDead, watch.number == number else { return }
            graph.endUnconfirmed(
                gone, pbx: 0, at: watch.clock.pbxTime(of: wallNow), updatedAt: wallNow,
                now: UInt64(time.now) * 1000
            ) { _ in ghosts += 1 }
            drain()
        }
    }

    private func finishComparison(_ told: ARIComparisonFacts) {
        let found = watch.finish(
            told, of: 0, in: &graph, now: wallNow, ticks: UInt64(time.now) * 1000)
        if found.from != nil { store.note(found) }
        comparisons += 1
        drain()
        noteSighting(wallNow)
    }

    /// Something came, if only a pong.
    func heard() { lastHeard = time.now }

    /// One event, by its number in the stream.
    func received(_ number: Int) {
        guard isOpen, !isDead else { return }
        lastHeard = time.now
        withUnsafeBytes(of: number) { bytes in
            if let comparison {
                held.insert(number)
                if !comparison.hold(bytes.bytes) { problems.append("more is held than may be") }
            } else {
                handOn(bytes.bytes)
            }
        }
    }

    /// The connection is gone, and noticed.
    func closed() {
        guard isOpen, !isDead else { return }
        let wasFollowing = isFollowing
        (isOpen, isFollowing) = (false, false)
        attempt += 1
        comparison?.endNow()
        comparison = nil
        if wasFollowing, lostAt == nil { lostAt = wallNow - .microseconds(time.now - lastHeard) }
        watch.connectionLost()
        graph.noteGap(pbx: 0)
        drain()
    }

    /// Killed: what was not durable never was, and what waited for a comparison was never taken.
    func die() {
        isDead = true
        for number in held { stream.disturb(stream.events[number].play) }
        store.tear()
    }

    /// Stopped as it should be.
    func stop() {
        drain()
        if isFollowing { noteSighting(wallNow - .microseconds(time.now - lastHeard)) }
        comparison?.endNow()
        drain()
        store.commit()
        isDead = true
    }

    // MARK: ARIComparisonHost

    func soon(_ body: @escaping () -> Void) {
        time.after(50) { [weak self] in
            if self?.isDead == false { body() }
        }
    }

    func handOn(_ event: RawSpan) {
        let number = event.unsafeLoadUnaligned(as: Int.self)
        let told = stream.events[number]
        held.remove(number)
        let now = wallNow
        watch.clock.note(Timestamp(microseconds: told.stamp), receivedAt: now)
        let placement = withEvent(told) { place($0, $1, receivedAt: now) }
        if let placement {
            store.append(event: number, of: placement.key.text.string, receivedAt: now)
            commitSoon()
        }
        onTaken(number)
        drainSoon()
    }

    /// Plays what an earlier run stored.
    private func replay(_ stored: [(number: Int, receivedAt: Timestamp)]) {
        for event in stored {
            _ = withEvent(stream.events[event.number]) { handle($0, $1, receivedAt: event.receivedAt) }
        }
        graph.endReplay()
        if !stored.isEmpty { drainSoon() }
    }

    private func withEvent<R>(_ told: PBXEvent, _ body: (ARIEvent, UnsafeRawBufferPointer) -> R) -> R {
        guard asText else { return told.withEvent(body) }
        let text = Array(told.json.utf8)
        var read = ARIEvent()
        do { try reader.read(text.span.bytes, into: &read) } catch {
            problems.append("unreadable: \(told.json)")
        }
        return text.withUnsafeBytes { body(read, $0) }
    }

    func listBegins(_ facts: ARIComparisonFacts) {
        graph.beginReconcile(pbx: 0, lastSeen: watch.comparisonBegan(facts))
    }

    func listed(_ event: RawSpan) {
        let text = event.withUnsafeBytes { Array($0) }
        var read = ARIEvent()
        do { try reader.read(text.span.bytes, into: &read) } catch {
            return problems.append("an unreadable list: \(String(decoding: text, as: UTF8.self))")
        }
        read.timestamp = watch.clock.pbxTime(of: wallNow)
        let wasUnseen = watch.unseen.count
        let placement = text.withUnsafeBytes { place(read, $0, receivedAt: wallNow) }
        if let placement { watch.noteListed(placement, wasUnseen: wasUnseen) }
        onListed()
        drainSoon()
    }

    func leftWaiting(_ channelID: String) {}

    private func handle(
        _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, receivedAt: Timestamp
    ) -> Placement? {
        graph.handle(
            event, payload: payload, pbx: 0, subscription: .allChannels, receivedAt: receivedAt,
            now: UInt64(time.now) * 1000, actions: &actions)
    }

    private func place(
        _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, receivedAt: Timestamp
    ) -> Placement? {
        guard let placement = handle(event, payload, receivedAt: receivedAt) else {
            problems.append("an event of no channel: \(String(decoding: payload, as: UTF8.self))")
            return nil
        }
        if !watch.unseen.isEmpty { watch.noteSeen(placement) }
        return placement
    }

    // MARK: Ticks

    private func drainSoon() {
        guard !isDraining else { return }
        isDraining = true
        time.after(400) { [weak self] in
            guard let self else { return }
            isDraining = false
            if !isDead { drain() }
        }
    }

    private func drain() {
        graph.drain(actions: &actions) { record, _, details in
            let record = copy record
            let details = details.map { copy $0 }
            store.save(record, details)
            onRow(record, details)
            commitSoon()
        }
        for action in actions {
            switch action {
            case .register(let call):
                expect(registered.insert(call.callID).inserted, "\(call.callID): registered twice")
            case .finish(let call):
                expect(registered.contains(call.callID), "\(call.callID): finished unregistered")
                expect(finished.insert(call.callID).inserted, "\(call.callID): finished twice")
            case .telephones: break
            }
        }
        actions.removeAll()
    }

    private func expect(_ holds: Bool, _ what: @autoclosure () -> String) {
        if !holds { problems.append(what()) }
    }

    private func every(_ milliseconds: Int, _ body: @escaping (TruthDaemon) -> Void) {
        time.after(.milliseconds(milliseconds)) { [weak self] in
            guard let self, !isDead, !stream.isOver else { return }
            body(self)
            every(milliseconds, body)
        }
    }

    private func turnSoon() { every(1000) { $0.graph.sweep(now: UInt64($0.time.now) * 1000) } }

    /// A batch is durable some time after its first row.
    private func commitSoon() {
        guard !isCommitting else { return }
        isCommitting = true
        time.after(30_000) { [weak self] in
            guard let self, !isDead else { return }
            isCommitting = false
            store.commit()
        }
    }

    private func sightSoon() {
        every(2000) {
            guard $0.isFollowing else { return }
            $0.noteSighting($0.wallNow - .microseconds($0.time.now - $0.lastHeard))
        }
    }

    private func noteSighting(_ heardAt: Timestamp) {
        guard let sighting = watch.sighting(of: "pbx", heardAt: heardAt), !graph.hasUnconfirmed(pbx: 0)
        else { return }
        commitSoon()
        store.note(sighting)
    }
}
