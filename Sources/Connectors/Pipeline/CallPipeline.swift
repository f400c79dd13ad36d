package import CallEngine
package import Logging
package import Protocols
package import Reactor

/// What one loop's pipeline tells another's.
package enum PipelineMessage: Sendable {
    /// Events whose rows the receiver writes.
    case events(HandoffBlock)
    /// Calls whose rows the receiver writes, and what the CRM shall be told when they are durable.
    case calls(HandedCalls, [CRMAction])
    /// A call that an earlier run left open in the database, and that the PBX no longer has.
    case endStored(StoredCall, at: Timestamp, pbx: UInt16)
    /// Bitrix24 gave a call its id.
    case registered(callID: String, bitrixCallID: String)
    /// A test event from the API.
    case inject(InjectedEvent)
    /// Somebody wants to see a call of the receiver as it stands.
    case look(CallLook)
}

/// Rows of calls on their way to the loop that writes them, the newest state of each.
package struct HandedCalls: Sendable {
    var rows = CallRows()
}

/// One loop's way from a received event to the store: read, move the call, append the rows.
///
///     received ─▶ ARIEventReader ─▶ CallGraph.handle ─┬─ own rows ─────▶ GroupCommit
///                                                     └─ another's ─▶ HandoffBlock ─ mailbox ─▶ GroupCommit there
///
/// The calls of a PBX live on the loop that reads it, so everything about a call happens in one place, in order. That loop
/// writes their rows too; when it is behind, another one writes those of calls that begin (`WriterLoads`).
package final class CallPipeline {
    /// What all pipelines of the daemon share.
    package struct Shared: Sendable {
        /// One registry a shard, in shard order.
        package var registries: [CallRegistry]
        /// One mailbox a shard, in shard order.
        package var mailboxes: [Mailbox<PipelineMessage>]
        /// The hash of this process.
        package var hasher: TextHash
        /// Counters.
        package var metrics: Metrics
        /// Events per type.
        package var statistics: EventStatistics
        /// What each loop has on its way to the database.
        package let writerLoads: WriterLoads
        /// Times in which a PBX was not heard.
        package let gaps = GapLog()
        /// What becomes one row of `calls`.
        package var grouping: CallGrouping
        /// What stands before the identifiers of a PBX, by its index.
        package var prefixes: [String]
        /// Whether a CRM is to be told of calls.
        package var tellsCRM: Bool
        /// Whether it is to be told at which telephones they ring.
        package var tellsTelephones = false
        /// Whether each conversation of a call is told as a call of its own.
        package var tellsConversations = false

        /// Shards for `count` loops, each bounded by `maximumCalls`.
        package init(
            count: Int, maximumCalls: Int, metrics: Metrics, grouping: CallGrouping = .linkedID,
            prefixes: [String] = [], tellsCRM: Bool = true
        ) {
            self.tellsCRM = tellsCRM
            self.grouping = grouping
            self.prefixes = prefixes
            let hasher = TextHash(keyA: SystemRandom.uint64(), keyB: SystemRandom.uint64())
            self.hasher = hasher
            registries = (0..<count).map { _ in CallRegistry(capacity: maximumCalls, hasher: hasher) }
            mailboxes = (0..<count).map { _ in
                Mailbox(capacity: Self.mailboxCapacity, reserve: Self.controlMessagesPerCall * maximumCalls)
            }
            self.metrics = metrics
            statistics = EventStatistics()
            writerLoads = WriterLoads(count: count)
        }

        /// Blocks on their way to one shard; at 256 KiB a block, far more than a loop can fall behind.
        package static let mailboxCapacity = 4096
        /// What can be said of one call besides its events between two turns of its loop: that it became part of
        /// another, that it ended unseen, its id in Bitrix24; and one to spare.
        package static let controlMessagesPerCall = 4
    }

    let loop: Loop
    private let index: Int
    let shared: Shared
    let commit: GroupCommit
    let logger: Logger
    var reader: ARIEventReader
    var graph: CallGraph
    /// By the index of the PBX.
    var watches: [PBXWatch] = []
    private var actions: [CRMAction] = []
    private var outgoing: [HandoffBlock?]
    private var outgoingCalls: [HandedCalls]
    /// What the CRM shall be told of calls that another loop has not taken yet.
    private var heldActions: [[CRMAction]]
    private var reported = CallGraph.Counters()
    /// Events of this tick that this loop received and applied itself.
    private var eventsInTick = 0
    /// A PBX gone mad must not fill the disk.
    private var invalidLine = SpacedLine(interval: .seconds(1))
    private var duplicateLine = SpacedLine(interval: .seconds(1))
    private var refusedLine = SpacedLine(interval: .seconds(60))

    /// What a list of channels lacks may still end by an event for so long.
    package var comparisonGrace: Duration = .seconds(1)

    /// Told of CRM actions whose calls are durable.
    package var onActions: (([CRMAction]) -> Void)?
    /// Told that a batch became durable.
    package var onDurable: (() -> Void)?

    /// A pipeline for shard `index` on `loop`, writing through `commit`; begins at once.
    package init(loop: Loop, index: Int, shared: Shared, commit: GroupCommit, logger: Logger) {
        self.loop = loop
        self.index = index
        self.shared = shared
        self.commit = commit
        self.logger = logger
        reader = ARIEventReader()
        graph = CallGraph(
            registry: shared.registries[index], hasher: shared.hasher, seed: SystemRandom.uint64(),
            maximumLegs: shared.registries[index].capacity * 4, grouping: shared.grouping,
            prefixes: shared.prefixes)
        graph.tellsTelephones = shared.tellsTelephones
        graph.writerOfNewCalls = UInt8(index)
        outgoingCalls = Array(repeating: HandedCalls(), count: shared.mailboxes.count)
        heldActions = Array(repeating: [], count: shared.mailboxes.count)
        outgoing = Array(repeating: nil, count: shared.mailboxes.count)
        loop.attach(shared.mailboxes[index]) { [unowned self] in take($0) }
        // Before the commit's own hook: what changed in a tick travels in the tick's batch.
        _ = loop.atEndOfTick { [unowned self] in endTick() }
        commit.onDurable = { [unowned self] in durable($0) }
        commit.start()
        sweepLater()
    }

    // MARK: Events

    /// Takes one event from a PBX.
    ///
    /// The hot path.
    package func received(
        _ payload: RawSpan, pbx: UInt16, subscription: CallGraph.Subscription
    ) -> ReceivedEvent {
        let receivedAt = WallClock.now()
        var event = ARIEvent()
        do throws(JSONError) {
            try reader.read(payload, into: &event)
        } catch {
            invalid(error, bytes: payload.byteCount)
            return .invalid(error)
        }
        shared.metrics.add(.ariEvents)
        shared.metrics.add(.ariEventBytes, payload.byteCount)
        if event.duplicateKeys > 0 { duplicateKeys(event) }
        if Int(pbx) >= watches.count { watch(pbx) { _ in } }
        if let stamp = event.timestamp { watches[Int(pbx)].clock.note(stamp, receivedAt: receivedAt) }
        return payload.withUnsafeBytes { bytes in
            _ = place(event, bytes, pbx, subscription, receivedAt)
            guard event.kind == .stasisStart else { return .taken }
            return .stasisStart(channelID: event.channel.id.string(in: bytes))
        }
    }

    /// What the caller needs to know of an event it handed in.
    package enum ReceivedEvent {
        /// It goes its way.
        case taken
        /// The same; the channel waits in our application.
        case stasisStart(channelID: String)
        /// It was no event; logged and counted.
        case invalid(JSONError)
    }

    func place(
        _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ pbx: UInt16,
        _ subscription: CallGraph.Subscription, _ receivedAt: Timestamp
    ) -> Placement {
        count(event, payload)
        let placement =
            graph.handle(
                event, payload: payload, pbx: pbx, subscription: subscription, receivedAt: receivedAt,
                now: loop.now.nanoseconds, actions: &actions)
            ?? Placement(key: Self.unknownKey(shared.hasher), pbx: pbx, writer: UInt8(index))
        if !watches[Int(pbx)].unseen.isEmpty { watches[Int(pbx)].noteSeen(placement) }
        guard event.kind != .channelSnapshot else { return placement }
        eventsInTick += 1
        write(event, payload, placement, receivedAt, payload.count)
        return placement
    }

    /// Moves the calls by an event that an earlier run has stored.
    func replay(
        _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ receivedAt: Timestamp, _ pbx: UInt16,
        _ subscription: CallGraph.Subscription
    ) {
        _ = graph.handle(
            event, payload: payload, pbx: pbx, subscription: subscription, receivedAt: receivedAt,
            now: loop.now.nanoseconds, actions: &actions)
    }

    private static func unknownKey(_ hasher: TextHash) -> CallKey {
        Array("unknown".utf8).withUnsafeBytes { CallKey($0, hasher) }
    }

    /// Appends the event's row, here or on the loop that writes its call's rows.
    private func write(
        _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ placement: Placement, _ receivedAt: Timestamp,
        _ payloadCount: Int
    ) {
        let writer = Int(placement.writer)
        if writer == index {
            store(event, payload, placement, receivedAt, loop.now, payloadCount)
        } else {
            handOff(event, payload, placement, receivedAt, payloadCount, to: writer)
        }
    }

    private func store(
        _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ placement: Placement, _ receivedAt: Timestamp,
        _ receipt: MonotonicInstant, _ payloadCount: Int
    ) {
        let stored = UnsafeRawBufferPointer(rebasing: payload[..<payloadCount])
        event.withStoredName(in: payload) { type in
            let occurredAt = event.timestamp ?? receivedAt
            graph.withCallID(of: placement, in: payload) { callID in
                _ = commit.appendEvent(
                    callID: callID, type: type, payload: stored, occurredAt: occurredAt,
                    insertedAt: receivedAt, payloadNeedsRepair: event.payloadNeedsRepair, receipt: receipt)
            }
        }
    }

    private func count(_ event: ARIEvent, _ payload: UnsafeRawBufferPointer) {
        switch event.kind {
        case .other:
            shared.metrics.add(.ariUnknownEventTypes)
            event.withStoredName(in: payload) { shared.statistics.count(unknown: $0) }
        case .channelSnapshot:
            break
        default:
            shared.statistics.count(event.kind)
        }
    }

    func invalid(_ error: JSONError, bytes: Int) {
        shared.metrics.add(.ariEventsInvalid)
        guard let count = invalidLine.take(at: loop.now) else { return }
        logger.warning(
            "event left out: it is no valid JSON: \(error)",
            metadata: ["bytes": "\(bytes)", "since_last_line": "\(count)"])
    }

    private func duplicateKeys(_ event: ARIEvent) {
        shared.metrics.add(.ariEventsDuplicateKeys)
        guard let count = duplicateLine.take(at: loop.now) else { return }
        logger.warning(
            "an event has keys twice in one object; the last of each counts",
            metadata: ["keys": "\(event.duplicateKeys)", "since_last_line": "\(count)"])
    }

    private func refused(_ calls: Int) {
        shared.metrics.add(.callsRefused, calls)
        guard let count = refusedLine.take(calls, at: loop.now) else { return }
        logger.error(
            "calls are not tracked, only their events are stored: this loop holds MAX_CALLS calls",
            metadata: ["since_last_line": "\(count)"])
    }

    // MARK: Other loops

    private func handOff(
        _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ placement: Placement,
        _ receivedAt: Timestamp, _ payloadCount: Int, to owner: Int
    ) {
        let block = outgoing[owner] ?? HandoffBlock(receipt: loop.now.nanoseconds)
        outgoing[owner] = block
        block.append(
            event, payload: payload, placement: placement, receivedAt: receivedAt, storedCount: payloadCount)
        if block.isFull { send(to: owner) }
    }

    /// Gives the block away; while the other loop's mailbox is full it goes on gathering, and is tried again each tick.
    private func send(to owner: Int) {
        guard let block = outgoing[owner] else { return }
        if shared.mailboxes[owner].post(.events(block)) {
            outgoing[owner] = nil
            shared.metrics.add(.handoffEvents, block.entries.count)
        } else if block.isOverfull {
            outgoing[owner] = nil
            shared.metrics.add(.handoffDropped, block.entries.count)
            logger.error(
                "events lost: loop \(owner) does not take its mail",
                metadata: ["events": "\(block.entries.count)"])
        }
    }

    /// Rows of calls that wait for a loop that does not take its mail, before the oldest are lost.
    private static let maximumHeldCalls = 65_536

    /// Gives changed calls away, behind the events that changed them.
    private func sendCalls(_ told: [CRMAction], to owner: Int) {
        guard outgoingCalls[owner].rows.count > 0 || !told.isEmpty else { return }
        if outgoing[owner] == nil, shared.mailboxes[owner].post(.calls(outgoingCalls[owner], told)) {
            outgoingCalls[owner] = HandedCalls()
            return
        }
        heldActions[owner].append(contentsOf: told)
        let surplus = outgoingCalls[owner].rows.count - Self.maximumHeldCalls
        guard surplus > 0 else { return }
        outgoingCalls[owner].rows.removeFirst(surplus)
        shared.metrics.add(.handoffDropped, surplus)
        logger.error(
            "rows of calls lost: loop \(owner) does not take its mail", metadata: ["calls": "\(surplus)"])
    }

    private func take(_ message: PipelineMessage) {
        switch message {
        case .events(let block):
            let receipt = MonotonicInstant(nanoseconds: block.receipt)
            block.forEach { entry, payload in
                store(entry.event, payload, entry.placement, entry.receivedAt, receipt, entry.storedCount)
            }
        case .calls(let calls, let told):
            commit.appendCalls(calls.rows)
            for action in told { commit.attach(crm: action) }
        case .endStored(let call, let time, let pbx):
            endStored(call, at: time, pbx: pbx)
        case .registered(let callID, let bitrixCallID):
            Array(callID.utf8).withUnsafeBytes { call in
                Array(bitrixCallID.utf8).withUnsafeBytes { bitrix in
                    commit.appendCRM(callID: call, bitrixCallID: bitrix)
                }
            }
        case .inject(let injected):
            inject(injected)
        case .look(let look):
            let pbxs = 0..<UInt16(clamping: max(1, shared.prefixes.count))
            let call = graph.look(at: look.callID, pbxs: pbxs) { record, _, details in
                LookedCall(record: copy record, details: copy details)
            }
            _ = look.mailbox.post((look.number, call))
        }
    }

    /// Moves a made-up call as the contract says; of a call that a PBX has, only the event is stored.
    private func inject(_ injected: InjectedEvent) {
        injected.withEvent(hasher: shared.hasher) { event, buffer, payloadCount, placement in
            count(event, buffer)
            let receivedAt = WallClock.now()
            var placement = placement
            placement.writer = UInt8(index)
            if graph.mayTakeInjected(event, payload: buffer) {
                let placed = graph.handle(
                    event, payload: buffer, pbx: CallGraph.noPBX, subscription: .applicationOnly,
                    receivedAt: receivedAt, now: loop.now.nanoseconds, actions: &actions)
                if let placed { placement.writer = placed.writer }
            }
            write(event, buffer, placement, receivedAt, payloadCount)
        }
    }

    /// Writes the end of a call that this run never saw alive; the upsert leaves what else the row says.
    private func endStored(_ call: StoredCall, at time: Timestamp, pbx: UInt16) {
        var record = CallRecord(
            id: call.id, startedAt: call.startedAt ?? call.insertedAt, insertedAt: call.insertedAt)
        record.status = .finished
        record.answeredAt = call.answeredAt
        record.endedAt = max(time, call.answeredAt ?? record.startedAt)
        record.updatedAt = WallClock.now()
        // A channel that was up may have been a machine's.
        record.outcome = call.facts.talkStartedAt == nil ? .lost : .answered
        record.flags = [.estimatedEnd]
        let callID = Array(call.callID.utf8)
        let fits = callID.withUnsafeBytes { record.callID.assign($0) }
        commit.appendCall(record, longTexts: fits ? nil : LongTexts(callID: callID))
        // A call of unknown direction was not registered; of the others that were, the register's row is there already.
        guard shared.tellsCRM, var told = CRMCall(stored: call), told.direction != .unknown else { return }
        told.pbx = pbx
        told.endedAt = record.endedAt
        told.outcome = record.outcome
        commit.attach(crm: .register(told))
        commit.attach(crm: .finish(told))
    }

    // MARK: Ticks

    private func endTick() {
        for owner in outgoing.indices where outgoing[owner] != nil { send(to: owner) }
        drain()
        chooseWriter()
        if eventsInTick > 0 {
            measure(.state, since: loop.now, count: eventsInTick)
            eventsInTick = 0
        }
        report()
    }

    private func chooseWriter() {
        guard shared.mailboxes.count > 1 else { return }
        shared.writerLoads.set(commit.bytesOnTheWay, of: index)
        graph.writerOfNewCalls = UInt8(shared.writerLoads.writer(forCallsOf: index))
    }

    /// Hands changed calls to whoever writes their rows, and with them what the CRM shall be told.
    private func drain() {
        defer { actions.removeAll(keepingCapacity: true) }
        graph.drain(actions: &actions) { record, long, details in
            let long = long.map(Self.stored)
            let writer = Int(record.writer)
            if writer == index {
                commit.appendCall(record, longTexts: long, details: details)
            } else {
                outgoingCalls[writer].rows.append(record, longTexts: long, details: details)
            }
        }
        if !shared.tellsCRM { actions.removeAll(keepingCapacity: true) }
        if shared.tellsConversations, !actions.isEmpty { actions = actions.flatMap(\.byConversation) }
        for owner in outgoingCalls.indices where owner != index {
            var told = heldActions[owner]
            heldActions[owner].removeAll()
            if !actions.isEmpty { told += actions.filter { $0.call.writer == owner } }
            sendCalls(told, to: owner)
        }
        for action in actions where action.call.writer == index { commit.attach(crm: action) }
    }

    private func measure(_ stage: LatencyStage, since receipt: MonotonicInstant, count: Int) {
        shared.metrics.latency(stage).record(
            microseconds: Int((MonotonicInstant.now() - receipt).wholeMicroseconds), count: count)
    }

    private static func stored(_ long: CallGraph.LongTexts) -> LongTexts {
        LongTexts(
            callID: long.callID.map { Array($0.utf8) },
            callerNumber: long.callerNumber.map { Array($0.utf8) },
            calleeNumber: long.calleeNumber.map { Array($0.utf8) })
    }

    private func report() {
        let now = graph.counters
        let metrics = shared.metrics
        if now.started != reported.started { metrics.add(.callsStarted, now.started - reported.started) }
        if now.answered != reported.answered { metrics.add(.callsAnswered, now.answered - reported.answered) }
        if now.finished != reported.finished { metrics.add(.callsFinished, now.finished - reported.finished) }
        if now.merged != reported.merged { metrics.add(.callsMerged, now.merged - reported.merged) }
        if now.refused != reported.refused { refused(now.refused - reported.refused) }
        if now.active != reported.active { metrics.add(.callsActive, now.active - reported.active) }
        reported = now
    }

    private func durable(_ batch: WriteBatch) {
        if !batch.crmActions.isEmpty { onActions?(batch.crmActions) }
        let now = MonotonicInstant.now()
        let latency = shared.metrics.latency(.durable)
        for receipt in batch.receipts {
            latency.record(microseconds: Int((now - receipt.at).wholeMicroseconds), count: receipt.rows)
        }
        onDurable?()
    }

    private func sweepLater() {
        loop.schedule(after: .seconds(1)) { [weak self] in
            guard let self else { return }
            graph.sweep(now: loop.now.nanoseconds)
            sweepLater()
        }
    }
}
