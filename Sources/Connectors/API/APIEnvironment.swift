package import CallEngine
package import Protocols

/// How one link to the outside stands, in words that an operator understands.
package struct LinkStatus: Sendable, Equatable {
    /// How serious it is; decides the colour, never alone the meaning.
    package enum State: String, Sendable, CaseIterable {
        /// Works.
        case ok
        /// Not wanted: not set up.
        case off
        /// Works in part, or is being tried again and nothing is lost yet.
        case warn
        /// Does not work.
        case error
    }

    /// What it leads to: `PBX moscow`, `Database`, `Bitrix24`.
    package var name: String
    /// How serious it is.
    package var state: State
    /// What is so or what is wrong, in plain words and without secrets.
    package var text: String

    /// Takes the parts.
    package init(name: String, state: State, text: String) {
        self.name = name
        self.state = state
        self.text = text
    }
}

/// How all links stand at one moment.
package struct HealthSnapshot: Sendable, Equatable {
    /// One for each PBX of the configuration, in its order; empty in mock mode.
    package var pbxs: [LinkStatus]
    /// The database, as writers and readers see it.
    package var database: LinkStatus
    /// The CRM; `off` when none is set up.
    package var crm: LinkStatus
    /// Whether it is asked: `closed` yes, `half-open` one request tries, `open` no; `nil`: no CRM that tells.
    package var crmCircuit: String?
    /// What waits for the database and what it refused; `nil`: not told.
    package var storage: StorageSnapshot?
    /// Times in which a PBX was not heard since the start; `nil`: not told.
    package var gaps: GapLog.Summary?

    /// Takes the parts.
    package init(
        pbxs: [LinkStatus], database: LinkStatus, crm: LinkStatus, storage: StorageSnapshot? = nil,
        gaps: GapLog.Summary? = nil, crmCircuit: String? = nil
    ) {
        self.crmCircuit = crmCircuit
        self.gaps = gaps
        self.pbxs = pbxs
        self.database = database
        self.crm = crm
        self.storage = storage
    }

    /// Whether there is a PBX and every one is connected.
    package var isARIConnected: Bool { !pbxs.isEmpty && pbxs.allSatisfy { $0.state == .ok } }

    /// Whether rows can be written and read.
    package var isDatabaseWorking: Bool { database.state == .ok || database.state == .warn }
}

/// What waits for the database and what it refused, for `/health`.
package struct StorageSnapshot: Sendable, Equatable {
    /// The local spool.
    package struct Spool: Sendable, Equatable {
        /// `ready`, `filling`, `draining`, `full`, `failing`, `opening`.
        package var state: String
        /// What is wrong; `nil` when nothing is.
        package var problem: String?
        package var bytes: Int
        package var batches: Int
        package var events: Int
        /// Age of the oldest batch.
        package var oldestSeconds: Int?

        package init(
            state: String, problem: String?, bytes: Int, batches: Int, events: Int, oldestSeconds: Int?
        ) {
            self.state = state
            self.problem = problem
            self.bytes = bytes
            self.batches = batches
            self.events = events
            self.oldestSeconds = oldestSeconds
        }
    }

    /// `nil`: there is none.
    package var spool: Spool?
    /// Age of the oldest row that the database does not have yet; `nil` when it has all but the newest.
    package var secondsBehind: Int?
    /// Rows that became dead letters since the start.
    package var deadLetters: Int

    package init(deadLetters: Int) { self.deadLetters = deadLetters }
}

/// An event made up by a person, from `POST /api/test/events`.
package struct TestEvent: Sendable, Equatable {
    /// The call's key; 1 to 255 characters, no control characters.
    package var callID: String
    /// The stored event type, `stasis_start` for instance; 1 to 255 characters.
    package var eventType: String
    /// The event's `payload`: the bytes of a JSON object, valid and bounded; `{}` when none was given.
    package var payload: [UInt8]

    /// Takes the parts.
    package init(callID: String, eventType: String, payload: [UInt8]) {
        self.callID = callID
        self.eventType = eventType
        self.payload = payload
    }
}

/// What became of a test event.
package enum TestEventOutcome: Sendable, Equatable {
    /// It goes the way of a real event.
    case accepted
    /// It was not taken; the text says why.
    case refused(String)
}

/// What the API asks the rest of the daemon.
///
/// All calls come on the API's loop and must not block.
package protocol APIEnvironment: AnyObject {
    /// The wall clock.
    var now: Timestamp { get }
    /// How all links stand.
    var health: HealthSnapshot { get }
    /// Events received since the start.
    var totalEvents: Int { get }
    /// Events received since the start by stored type, types never seen left out.
    var eventsPerType: [(name: String, count: Int)] { get }
    /// Names of the PBXs, in the order of `CallRecord.pbx`.
    var pbxNames: [String] { get }
    /// Reads calls and events back from the database.
    var store: any StoreReader { get }
    /// How events are read and put together, for deriving a stored call again.
    var replaySettings: ReplaySettings { get }

    /// Calls `body` with each call that the engine knows and that began at `since` or later, in any order, until it
    /// returns false; some of them may have ended just now.
    func forEachLiveCall(since: Timestamp, _ body: (CallRecord) -> Bool)
    /// The call with this key when the engine knows it.
    func liveCall(callID: String) -> CallRecord?
    /// What the legs of a call say that the engine knows; `nil`, later and once, when it does not know it.
    func look(at callID: String, completion: @escaping (LookedCall?) -> Void)
    /// Feeds an event in as if a PBX had sent it.
    func inject(_ event: TestEvent) -> TestEventOutcome
    /// Age in seconds of the oldest row received that the database does not have; `nil` when it has all but the
    /// newest.
    var secondsBehind: Int? { get }
    /// Takes in the body of an event of the CRM's portal; what it asks for is done later.
    ///
    /// - Returns: The status of the answer; 404 when events are not taken.
    func takePortalEvent(_ body: [UInt8]) -> Int
    /// Sets gauges that are computed when asked for, and appends further lines in the Prometheus text format.
    func appendMetrics(to output: inout [UInt8])
}

extension APIEnvironment {
    /// Calls `body` with each call that the engine knows, in any order, until it returns false.
    func forEachLiveCall(_ body: (CallRecord) -> Bool) {
        forEachLiveCall(since: Timestamp(microseconds: .min), body)
    }

    /// No portal's.
    package func takePortalEvent(_ body: [UInt8]) -> Int { 404 }
}

/// What deriving calls again needs to know of how the daemon reads them.
package struct ReplaySettings: Sendable {
    /// By PBX.
    package var subscriptions: [CallGraph.Subscription]
    package var grouping: CallGrouping
    /// See `CallGraph`.
    package var prefixes: [String]

    package init(
        subscriptions: [CallGraph.Subscription] = [.allChannels], grouping: CallGrouping = .linkedID,
        prefixes: [String] = []
    ) {
        self.subscriptions = subscriptions
        self.grouping = grouping
        self.prefixes = prefixes
    }
}

extension APIEnvironment {
    /// Nothing is behind.
    package var secondsBehind: Int? { nil }
    /// Nothing to add.
    package func appendMetrics(to output: inout [UInt8]) {}
}

extension CallRecord {
    /// Whether the call has not ended.
    var isActive: Bool { status == .ringing || status == .answered }
}
