/// Decides which steps a sender reads from the table, so that it holds only some of them.
///
/// Steps come to a sender in two ways: with the batch that made them durable, at once, while there is room for them;
/// and from the table: those that there was no room for, those of an earlier run, those that an operator sent again,
/// and those of calls of which the sender has forgotten the rest.
///
/// A pass reads the open rows page by page, from the oldest; rows that commit behind the reading are seen by the next
/// one. No clock, no I/O.
package struct CRMFeed: Sendable {
    /// Open rows in a page, at most.
    package static let maximumPageRows = 500
    /// Calls that are asked for at once.
    package static let callsAtOnce = 100
    /// Calls remembered to be asked for; with more the next pass finds them.
    package static let maximumWanted = 2_000
    /// How often the table is looked through while nothing is known to wait there.
    package static let passInterval: Duration = .seconds(15)

    /// How many more calls a sender can hold.
    package struct Room: Sendable {
        /// Of those that wait in the table.
        package var forPages: Int
        /// Of those that it asks for.
        package var forCalls: Int

        package init(forPages: Int, forCalls: Int) {
            self.forPages = forPages
            self.forCalls = forCalls
        }
    }

    private let pageRows: Int
    private var wanted: [String] = []
    private var wantedSet: Set<String> = []
    /// Whether the table has open rows that were not read, as far as is known.
    private var isBehind = true
    /// Something was left to the table after this pass had begun.
    private var isBehindAgain = false
    private var cursor: Int64 = 0
    private var nextPass: Duration = .zero
    private var isLoading = false
    /// Calls that were settled while a reading is under way, whose rows it may show as they were before.
    private var settledMeanwhile: Set<String> = []

    /// A feed that has read nothing.
    ///
    /// - Parameter capacity: Calls that the sender holds at most.
    package init(capacity: Int) {
        pageRows = min(Self.maximumPageRows, max(1, capacity / 4))
    }

    /// Whether a reading is due or under way.
    package var hasMore: Bool { isBehind || isLoading || !wanted.isEmpty }

    /// The rest of this call is needed.
    package mutating func want(_ callID: String) {
        guard wantedSet.count < Self.maximumWanted else { return leave() }
        if wantedSet.insert(callID).inserted { wanted.append(callID) }
    }

    /// There is no room for a step now; it is in the table.
    package mutating func leave() {
        if isBehind { isBehindAgain = true }
        isBehind = true
    }

    /// A call's steps are all settled.
    package mutating func settled(_ callID: String) {
        if isLoading { settledMeanwhile.insert(callID) }
    }

    /// What to read now; nil: nothing.
    ///
    package mutating func next(room: Room, at now: Duration) -> CRMStepLoad? {
        guard !isLoading else { return nil }
        if !wanted.isEmpty, room.forCalls > 0 {
            let calls = Array(wanted.prefix(min(room.forCalls, Self.callsAtOnce)))
            wanted.removeFirst(calls.count)
            wantedSet.subtract(calls)
            isLoading = true
            return .calls(calls)
        }
        guard isBehind || now >= nextPass, room.forPages >= pageRows else { return nil }
        isBehind = true
        isLoading = true
        return .page(after: cursor, limit: pageRows)
    }

    /// When ``next(room:at:)`` is worth asking again, apart from new steps and answers.
    package func nextWake(room: Room) -> Duration? {
        guard !isLoading else { return nil }
        if !wanted.isEmpty, room.forCalls > 0 { return .zero }
        guard room.forPages >= pageRows else { return nil }
        return isBehind ? .zero : nextPass
    }

    /// Takes what was read; gives it back by calls, in the order of their oldest rows, without those settled meanwhile.
    package mutating func took(_ load: CRMStepLoad, _ rows: CRMStepRows, at now: Duration) -> [CRMCallSteps] {
        isLoading = false
        if case .page = load {
            if let next = rows.next {
                cursor = next
            } else {
                cursor = 0
                isBehind = isBehindAgain
                isBehindAgain = false
                nextPass = now + Self.passInterval
            }
        }
        var calls: [CRMCallSteps] = []
        var places: [String: Int] = [:]
        for step in rows.steps where !settledMeanwhile.contains(step.key.callID) {
            let place = places[step.key.callID] ?? calls.count
            if place == calls.count {
                places[step.key.callID] = place
                calls.append(CRMCallSteps(callID: step.key.callID))
            }
            calls[place].steps[step.key.kind] = step
        }
        settledMeanwhile = []
        return calls
    }
}

/// The steps of one call.
package struct CRMCallSteps: Sendable, Hashable {
    package var callID: String
    package var steps: [CRMStepKind: CRMStep]

    package init(callID: String, steps: [CRMStepKind: CRMStep] = [:]) {
        self.callID = callID
        self.steps = steps
    }

    package subscript(kind: CRMStepKind) -> CRMStep? { steps[kind] }
}
