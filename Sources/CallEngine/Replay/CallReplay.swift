public import Protocols

/// Calls derived again from events that were recorded or stored: the same graph as the daemon's, with its clock moved by
/// the events.
///
/// A value without I/O. Calls are given out once nothing more of them is expected (`CallGraph.linger` after their end),
/// so a stream of any length takes the memory of the calls that are open at once.
public struct CallReplay: ~Copyable {
    /// A call as its events tell it.
    public struct Call: Sendable {
        /// The call's key, whole.
        public var callID: String
        /// Its row.
        public var record: CallRecord
        /// Numbers that the record has only in part.
        public var longTexts: CallGraph.LongTexts?
        /// What its legs say.
        public var details: CallDetails

        init(_ record: borrowing CallRecord, _ texts: CallGraph.LongTexts?, _ details: borrowing CallDetails)
        {
            let inline = record.callID.string
            callID = texts?.callID ?? inline
            self.record = copy record
            longTexts = texts
            self.details = copy details
        }
    }

    /// Events taken.
    public private(set) var eventCount = 0
    /// Calls that were not followed, since more were open at once than the capacity.
    public var refusedCount: Int { graph.counters.refused }

    private let subscription: CallGraph.Subscription
    private var reader = ARIEventReader()
    private var event = ARIEvent()
    private var graph: CallGraph
    private var actions: [CRMAction] = []
    /// Ended calls that may still change, by key, and when they are given out.
    private var ended: [String: (call: Call, at: UInt64)] = [:]
    private var now: UInt64 = 1_000_000_000
    private var nextSweep: UInt64 = 0

    /// An empty replay.
    ///
    /// - Parameters:
    ///   - capacity: Calls open at once.
    ///   - prefixes: See `CallGraph`.
    public init(
        subscription: CallGraph.Subscription, grouping: CallGrouping = .linkedID, capacity: Int = 65_536,
        prefixes: [String] = []
    ) {
        self.subscription = subscription
        // Keys of a process's own are for streams that others choose while it runs; here nobody waits.
        let hasher = TextHash(keyA: 0x5EED, keyB: 0xCA11)
        graph = CallGraph(
            registry: CallRegistry(capacity: capacity, hasher: hasher), hasher: hasher, seed: 1,
            maximumLegs: capacity * 4, grouping: grouping, prefixes: prefixes)
    }

    /// Takes one event.
    ///
    /// - Parameters:
    ///   - payload: The event's text.
    ///   - pbx: Index of its PBX.
    ///   - receivedAt: When it was received; `nil`: at its own stamp. Never runs backwards here.
    public mutating func take(
        _ payload: [UInt8], pbx: UInt16 = 0, receivedAt: Timestamp? = nil
    ) throws(JSONError) {
        try reader.read(payload.span.bytes, into: &event)
        let stamp = receivedAt ?? event.timestamp ?? Timestamp(microseconds: Int64(now / 1000))
        now = max(now, UInt64(max(0, stamp.microseconds)) &* 1000)
        eventCount += 1
        _ = payload.withUnsafeBytes {
            graph.handle(
                event, payload: $0, pbx: pbx, subscription: subscription, receivedAt: stamp, now: now,
                actions: &actions)
        }
        drain()
    }

    /// Ends a call whose end no event tells, at a time that was inferred.
    public mutating func endEstimated(_ callID: String, pbx: UInt16 = 0, at time: Timestamp) {
        graph.endEstimated(
            callID, pbx: pbx, at: time, updatedAt: Timestamp(microseconds: Int64(now / 1000)), now: now)
        drain()
    }

    private mutating func drain() {
        actions.removeAll(keepingCapacity: true)
        var made: [Call] = []
        var opened: [String] = []
        let mayOpen = !ended.isEmpty
        graph.drain(actions: &actions) { record, texts, details in
            if record.status != .finished {
                // A channel came back, or the call turned out not to be part of another.
                if mayOpen { opened.append(texts?.callID ?? (copy record).callID.string) }
            } else if let details = copy details {
                made.append(Call(record, texts, details))
            }
        }
        for callID in opened { ended[callID] = nil }
        for call in made { ended[call.callID] = (call, now &+ CallGraph.linger) }
    }

    /// Gives out the calls that are over for good.
    ///
    /// Call it now and then; it looks once a second of the events' time.
    public mutating func giveOut(_ body: (Call) -> Void) {
        guard now >= nextSweep else { return }
        nextSweep = now &+ 1_000_000_000
        graph.sweep(now: now)
        for (callID, entry) in ended where entry.at <= now {
            ended[callID] = nil
            body(entry.call)
        }
    }

    /// Looks at the calls that are open, as they stand.
    public mutating func forEachOpenCall(_ body: (Call) -> Void) {
        graph.lookAtOpenCalls { record, texts, details in body(Call(record, texts, details)) }
    }

    /// Gives out all calls that are left: those that ended, then those that are open.
    public mutating func finish(_ body: (Call) -> Void) {
        for entry in ended.values.sorted(by: { $0.call.callID < $1.call.callID }) { body(entry.call) }
        ended.removeAll()
        forEachOpenCall(body)
    }
}
