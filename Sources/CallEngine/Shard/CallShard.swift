public import Protocols

/// The calls of one shard: events move them, the store and the CRM are told.
///
/// Owned by one loop. `handle` does a bounded amount and, once a call exists, allocates nothing. Changed calls gather on
/// a list until `drain`, so that a call changed five times in one tick is published and stored once.
public struct CallShard: ~Copyable {
    /// Texts of a record that did not fit inline, whole.
    public struct LongTexts: Sendable {
        /// The call's id; `nil`: as in the record.
        public var callID: String?
        /// Who called; `nil`: as in the record.
        public var callerNumber: String?
        /// Who was called; `nil`: as in the record.
        public var calleeNumber: String?

        /// None.
        public init() {}
    }

    /// What happened in this shard since the start.
    public struct Counters: Sendable {
        /// Calls begun.
        public var started = 0
        /// Calls answered.
        public var answered = 0
        /// Calls ended.
        public var finished = 0
        /// Calls that became part of another.
        public var merged = 0
        /// Calls not tracked because the shard was full.
        public var refused = 0
        /// Calls that have not ended.
        public var active: Int { started - finished }

        /// Nothing yet.
        public init() {}
    }

    /// What readers on other threads see.
    public let registry: CallRegistry
    /// What happened so far.
    public private(set) var counters = Counters()

    private var calls: SlotTable<CallState>
    private var longTexts: [Int: LongTexts] = [:]
    private var touched: [UInt32] = []
    private var ended: [(slot: UInt32, hash: UInt64)] = []
    private var endedHead = 0
    private let hasher: TextHash
    private var random: UInt64

    /// An empty shard publishing into `registry`, whose capacity bounds it.
    ///
    /// - Parameter seed: Random bits; row ids are drawn from a generator started with them.
    public init(registry: CallRegistry, hasher: TextHash, seed: UInt64) {
        self.registry = registry
        self.hasher = hasher
        random = seed
        calls = SlotTable(minimumCapacity: 32)
    }

    /// Moves the event's call.
    ///
    /// - Parameters:
    ///   - event: The event, read from `payload`.
    ///   - payload: The event's bytes, borrowed until return.
    ///   - placement: What the leg graph says of it.
    ///   - receivedAt: Our time of receipt, which stands in for a missing PBX time.
    ///   - now: Monotonic nanoseconds.
    ///   - actions: What the CRM is to be told once the call's row is durable; appended to.
    public mutating func handle(
        _ event: ARIEvent, payload: UnsafeRawBufferPointer, placement: Placement, pbx: UInt16,
        receivedAt: Timestamp, now: UInt64, actions: inout [CRMAction]
    ) {
        let time = event.timestamp ?? receivedAt
        let slot: Int
        if let known = find(placement.key) {
            slot = known
        } else {
            guard event.kind == .stasisStart || placement.changes.contains(.legOpened),
                !placement.changes.contains(.untracked)
            else { return }
            guard let made = begin(event, payload, placement, pbx, time, receivedAt) else { return }
            slot = made
        }
        calls[slot].record.eventCount &+= 1
        calls[slot].record.openLegs = placement.openLegs
        touch(slot)
        guard calls[slot].record.status != .finished else {
            extendEnd(slot, placement, time, receivedAt)
            return
        }
        learn(slot, event, payload, placement)
        switch event.kind {
        case .channelStateChange:
            if event.channel.state == .up { answer(slot, at: time) }
        case .channelEnteredBridge, .channelSnapshot:
            if event.channel.state == .up, !event.isHoldingBridge { answer(slot, at: time) }
        default:
            break
        }
        noteEnd(slot, event, placement)
        if Self.showsCall(event) { register(slot, isLast: false, &actions) }
        if placement.changes.contains(.callEnded) { finish(slot, at: time, now, &actions) }
        if calls[slot].needsSave { calls[slot].record.updatedAt = receivedAt }
    }

    /// Ends a call whose end was not seen: the PBX no longer lists any of its channels.
    ///
    /// An answered call stays answered; of any other nobody knows how it went on: `lost`.
    ///
    /// - Parameters:
    ///   - time: The last moment at which it was known to live.
    ///   - updatedAt: Our time.
    public mutating func endUnseen(
        _ key: CallKey, at time: Timestamp, updatedAt: Timestamp, now: UInt64, actions: inout [CRMAction]
    ) {
        guard let slot = find(key), calls[slot].record.status != .finished else { return }
        calls[slot].record.flags.insert(.estimatedEnd)
        calls[slot].record.openLegs = 0
        finish(slot, at: time, now, &actions)
        calls[slot].record.updatedAt = updatedAt
    }

    /// Marks a call as having become part of an older one, and ends it.
    public mutating func becamePart(
        _ key: CallKey, at time: Timestamp, now: UInt64, actions: inout [CRMAction]
    ) {
        guard let slot = find(key), calls[slot].record.status != .finished else { return }
        calls[slot].record.flags.insert(.merged)
        calls[slot].record.openLegs = 0
        counters.merged += 1
        finish(slot, at: time, now, &actions)
        calls[slot].record.updatedAt = time
    }

    /// Publishes what changed and hands changed rows to the store, each once.
    ///
    /// Call it at the end of a tick.
    public mutating func drain(_ save: (borrowing CallRecord, LongTexts?) -> Void) {
        for entry in touched {
            let slot = Int(entry)
            calls[slot].isTouched = false
            let isNew = !calls[slot].isPublished
            calls[slot].isPublished = true
            registry.publish(calls[slot].record, slot: slot, hash: calls[slot].key.hash, isNew: isNew)
            if calls[slot].needsSave {
                calls[slot].needsSave = false
                save(calls[slot].record, longTexts[slot])
            }
        }
        touched.removeAll(keepingCapacity: true)
    }

    /// Forgets calls that ended more than `LegGraph.linger` ago.
    ///
    /// Call it about once a second, after `drain`.
    public mutating func sweep(now: UInt64) {
        while endedHead < ended.count {
            let (entry, hash) = ended[endedHead]
            let slot = Int(entry)
            guard calls[slot].forgetAt <= now, !calls[slot].isTouched else { break }
            endedHead += 1
            registry.retire(slot: slot, hash: hash)
            calls.remove(hash, slot: slot)
            longTexts[slot] = nil
        }
        if endedHead == ended.count {
            ended.removeAll(keepingCapacity: true)
            endedHead = 0
        } else if endedHead > 1024, endedHead * 2 > ended.count {
            ended.removeFirst(endedHead)
            endedHead = 0
        }
    }

    // MARK: Steps

    private mutating func begin(
        _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ placement: Placement,
        _ pbx: UInt16, _ time: Timestamp, _ receivedAt: Timestamp
    ) -> Int? {
        guard hasRoom else {
            counters.refused += 1
            return nil
        }
        let startedAt = event.kind == .channelSnapshot ? event.channel.createdAt ?? time : time
        var record = CallRecord(
            id: CallUUID(random: nextRandom(), nextRandom()), startedAt: startedAt, insertedAt: receivedAt)
        record.pbx = pbx
        record.callID = placement.key.text
        var state = CallState(record: record, key: placement.key)
        state.needsSave = true
        let slot = calls.insert(placement.key.hash, state)
        if placement.key.isFolded {
            calls[slot].record.flags.insert(.longTexts)
            longTexts[slot, default: LongTexts()].callID = placement.callID.string(in: payload)
        }
        counters.started += 1
        return slot
    }

    /// Takes direction, numbers and the reasons of the end from an event.
    private mutating func learn(
        _ slot: Int, _ event: ARIEvent, _ payload: UnsafeRawBufferPointer,
        _ placement: Placement
    ) {
        switch event.kind {
        case .dial:
            if placement.changes.contains(.isRoot) { calls[slot].isOnlyDialed = true }
            learnDial(slot, event, payload)
            return
        case .channelVarset:
            learnVariable(slot, event, payload)
        case .channelHangupRequest where !event.isSoftHangup, .channelDestroyed:
            let isRoot = placement.changes.contains(.isRoot)
            if event.cause != 0, !calls[slot].causeIsFinal, isRoot || calls[slot].record.hangupCause == 0 {
                calls[slot].record.hangupCause = event.cause
                calls[slot].causeIsFinal = isRoot && event.kind == .channelDestroyed
                calls[slot].needsSave = true
            }
        default:
            break
        }
        guard !placement.changes.contains(.isDialed) else { return }
        if placement.changes.contains(.isRoot) { calls[slot].isOnlyDialed = false }
        if calls[slot].record.direction == .unknown {
            set(direction: CallDirection(of: event.channel, in: payload), slot)
        }
        let isStart = event.kind == .stasisStart && !calls[slot].numbersAreFinal
        if isStart || placement.changes.contains(.isRoot) {
            takeNumbers(slot, from: event.channel, payload, replacing: isStart)
            if isStart { calls[slot].numbersAreFinal = true }
        }
    }

    private mutating func learnDial(_ slot: Int, _ event: ARIEvent, _ payload: UnsafeRawBufferPointer) {
        event.dialStatus.withBytes(in: payload) { text in
            if let status = DialStatus(text) { calls[slot].dialStatus = status }
        }
        guard event.caller.isPresent else { return }
        calls[slot].isOnlyDialed = false
        if calls[slot].record.direction == .unknown {
            set(direction: CallDirection(of: event.caller, in: payload), slot)
        }
        takeNumbers(slot, from: event.caller, payload, replacing: false)
    }

    private mutating func learnVariable(
        _ slot: Int, _ event: ARIEvent, _ payload: UnsafeRawBufferPointer
    ) {
        guard !event.value.isEmpty else { return }
        event.variable.withBytes(in: payload) { name in
            if name.elementsEqual("intNum".utf8) { set(direction: .outbound, slot) }
            if name.elementsEqual("extNum".utf8) { set(direction: .inbound, slot) }
        }
    }

    /// Remembers the first sign of the end.
    private mutating func noteEnd(_ slot: Int, _ event: ARIEvent, _ placement: Placement) {
        guard calls[slot].endedBy == .nobody else { return }
        let isRoot = placement.changes.contains(.isRoot)
        switch event.kind {
        case .channelHangupRequest:
            if event.isSoftHangup {
                if isRoot { calls[slot].endedBy = .system }
            } else {
                calls[slot].endedBy = isRoot ? .root : .otherLeg
            }
        case .channelDestroyed, .stasisEnd:
            if isRoot, placement.changes.contains(.legClosed) { calls[slot].endedBy = .root }
        default:
            break
        }
    }

    /// A call that ended, and whose channel came back into the application, ends again, later.
    private mutating func extendEnd(
        _ slot: Int, _ placement: Placement, _ time: Timestamp, _ receivedAt: Timestamp
    ) {
        guard placement.changes.contains(.callEnded), let endedAt = calls[slot].record.endedAt,
            time > endedAt,
            !calls[slot].record.flags.contains(.merged)
        else { return }
        calls[slot].record.endedAt = time
        calls[slot].record.updatedAt = receivedAt
        calls[slot].needsSave = true
    }

    private mutating func set(direction: CallDirection, _ slot: Int) {
        guard direction != .unknown, direction != calls[slot].record.direction else { return }
        calls[slot].record.direction = direction
        calls[slot].needsSave = true
    }

    private mutating func takeNumbers(
        _ slot: Int, from channel: ARIChannel, _ payload: UnsafeRawBufferPointer, replacing: Bool
    ) {
        let caller = firstPresent(channel.callerNumber, channel.callerName, channel.callerIDVariable)
        let callee = firstPresent(channel.exten, channel.connectedNumber, channel.extenVariable)
        if !caller.isEmpty, replacing || calls[slot].record.callerNumber.isEmpty {
            caller.withBytes(in: payload) { bytes in
                let fitted = calls[slot].record.callerNumber.assign(bytes)
                if !fitted { keepLong(slot) { $0.callerNumber = String(decoding: bytes, as: UTF8.self) } }
            }
            calls[slot].needsSave = true
        }
        if !callee.isEmpty, replacing || calls[slot].record.calleeNumber.isEmpty {
            callee.withBytes(in: payload) { bytes in
                let fitted = calls[slot].record.calleeNumber.assign(bytes)
                if !fitted { keepLong(slot) { $0.calleeNumber = String(decoding: bytes, as: UTF8.self) } }
            }
            calls[slot].needsSave = true
        }
    }

    private func firstPresent(_ first: ARIText, _ second: ARIText, _ third: ARIText) -> ARIText {
        if !first.isEmpty { return first }
        return second.isEmpty ? third : second
    }

    private mutating func keepLong(_ slot: Int, _ change: (inout LongTexts) -> Void) {
        calls[slot].record.flags.insert(.longTexts)
        change(&longTexts[slot, default: LongTexts()])
    }

    private mutating func answer(_ slot: Int, at time: Timestamp) {
        guard calls[slot].record.status == .ringing else { return }
        calls[slot].record.status = .answered
        calls[slot].record.answeredAt = max(time, calls[slot].record.startedAt)
        calls[slot].needsSave = true
        counters.answered += 1
    }

    private mutating func finish(_ slot: Int, at time: Timestamp, _ now: UInt64, _ actions: inout [CRMAction])
    {
        // The PBX clock may run backwards between legs; a call never ends before it began or was answered.
        let earliest = calls[slot].record.answeredAt ?? calls[slot].record.startedAt
        calls[slot].record.endedAt = max(time, earliest)
        calls[slot].record.status = .finished
        calls[slot].record.outcome = calls[slot].outcome()
        calls[slot].needsSave = true
        calls[slot].forgetAt = now &+ LegGraph.linger
        touch(slot)
        ended.append((UInt32(slot), calls[slot].key.hash))
        counters.finished += 1
        register(slot, isLast: true, &actions)
        if calls[slot].isRegistered { actions.append(.finish(crmCall(slot))) }
    }

    /// Whether the event tells a customer's call from a leg that was only just made: an originated leg is dialled
    /// before it does any of these.
    private static func showsCall(_ event: ARIEvent) -> Bool {
        switch event.kind {
        case .stasisStart, .dial, .channelEnteredBridge, .channelSnapshot: true
        case .channelStateChange: event.channel.state == .up
        default: false
        }
    }

    /// Tells the CRM of the call as soon as it is known whose call it is: direction and customer's number.
    ///
    /// At the end at the latest, except a call that became part of another before it was registered, and a leg that an
    /// application originated and nobody joined.
    private mutating func register(_ slot: Int, isLast: Bool, _ actions: inout [CRMAction]) {
        guard !calls[slot].isRegistered, !calls[slot].isOnlyDialed else { return }
        if isLast {
            guard !calls[slot].record.flags.contains(.merged) else { return }
        } else {
            switch calls[slot].record.direction {
            case .unknown: return
            case .inbound: guard !calls[slot].record.callerNumber.isEmpty else { return }
            case .outbound: guard !calls[slot].record.calleeNumber.isEmpty else { return }
            }
        }
        calls[slot].isRegistered = true
        actions.append(.register(crmCall(slot)))
    }

    private func crmCall(_ slot: Int) -> CRMCall {
        let record = calls[slot].record
        let long = record.flags.contains(.longTexts) ? longTexts[slot] : nil
        return CRMCall(
            callID: long?.callID ?? record.callID.string, direction: record.direction,
            callerNumber: record.callerNumber.isEmpty
                ? nil : long?.callerNumber ?? record.callerNumber.string,
            calleeNumber: record.calleeNumber.isEmpty
                ? nil : long?.calleeNumber ?? record.calleeNumber.string,
            startedAt: record.startedAt, answeredAt: record.answeredAt, endedAt: record.endedAt,
            outcome: record.outcome, hangupCause: record.hangupCause)
    }

    // MARK: Tables

    var hasRoom: Bool { calls.count < registry.capacity }

    mutating func insertAdopted(_ state: CallState, _ texts: LongTexts?) {
        let slot = calls.insert(state.key.hash, state)
        longTexts[slot] = texts
        counters.started += 1
        touch(slot)
    }

    func find(_ key: CallKey) -> Int? {
        calls.find(key.hash) { $0.pointee.key == key }
    }

    private mutating func touch(_ slot: Int) {
        guard !calls[slot].isTouched else { return }
        calls[slot].isTouched = true
        touched.append(UInt32(slot))
    }

    /// SplitMix64 over a seed from the system's random source: row ids need to be unique, not secret.
    private mutating func nextRandom() -> UInt64 {
        random &+= 0x9E37_79B9_7F4A_7C15
        var word = random
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}
