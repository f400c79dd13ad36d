package import CallEngine
package import Protocols

/// A row of `calls` as it stands in the database; texts are what was stored, by whichever daemon.
package struct StoredCall: Sendable, Hashable {
    /// Row id.
    package var id: CallUUID
    /// The call's key.
    package var callID: String
    /// `inbound`, `outbound`, `unknown`.
    package var direction: String?
    /// Who called.
    package var callerNumber: String?
    /// Who was called.
    package var calleeNumber: String?
    /// `ringing`, `answered`, `finished`, `error`.
    package var status: String
    /// PBX time of the start.
    package var startedAt: Timestamp?
    /// PBX time of the first answer.
    package var answeredAt: Timestamp?
    /// PBX time of the end.
    package var endedAt: Timestamp?
    /// When the row was made.
    package var insertedAt: Timestamp
    /// When the call last changed.
    package var updatedAt: Timestamp
    /// Bitrix24's id of the call.
    package var bitrixCallID: String?
    /// How it ended; see `CallOutcome`.
    package var outcome: String?
    /// Q.850 cause of the end.
    package var hangupCause: Int?
    /// Name of the PBX.
    package var pbx: String?
    /// Whether `endedAt` was inferred.
    package var endedEstimated: Bool
    /// What was derived from its legs.
    package var facts = StoredFacts()
}

/// A row of `call_events`.
package struct StoredEvent: Sendable, Hashable {
    /// Row id; grows with the order of writing.
    package var id: Int64
    /// Key of the event's call.
    package var callID: String
    /// The stored event type.
    package var eventType: String
    /// JSON text as the database gives it (jsonb orders and spaces keys its own way); `nil` for NULL.
    package var payload: [UInt8]?
    /// PBX time.
    package var occurredAt: Timestamp
    /// Our time.
    package var insertedAt: Timestamp
    /// Our time.
    package var updatedAt: Timestamp
}

/// A call and what happened to it.
package struct StoredCallWithEvents: Sendable, Hashable {
    /// The call's row.
    package var call: StoredCall
    /// Its legs and parts; empty unless they were asked for.
    package var parts = StoredParts()
    /// Its events, oldest first, at most `StoreReads.maximumEvents`.
    package var events: [StoredEvent]
}

/// Which calls to list; calls that became part of another are left out.
package struct CallFilter: Sendable, Hashable {
    /// Only calls of this status.
    package var status: String?
    /// Only calls of this direction.
    package var direction: String?
    /// At most so many.
    package var limit: Int
    /// Only calls that have not ended and whose rows were made before this.
    package var openBefore: Timestamp?

    /// Only calls behind this place in the list.
    package var after: CallCursor?

    /// All fields; see each.
    package init(
        status: String? = nil, direction: String? = nil, limit: Int = 50, openBefore: Timestamp? = nil,
        after: CallCursor? = nil
    ) {
        self.after = after
        self.status = status
        self.direction = direction
        self.limit = limit
        self.openBefore = openBefore
    }

    /// `limit` within the bounds of reading.
    var boundedLimit: Int {
        min(max(limit, 0), openBefore == nil ? StoreReads.maximumCalls : StoreReads.maximumOpenCalls)
    }
}

/// Bounds of reading.
package enum StoreReads {
    /// Events of one call that are read.
    package static let maximumEvents = 10_000
    /// Calls in one list.
    package static let maximumCalls = 1_000
    /// Calls of an earlier run of the daemon that are looked at after a start.
    package static let maximumOpenCalls = 50_000
    /// By so much a PBX's clock may be off, or ours may have been set, where a time only narrows a search.
    package static let clockMargin: Duration = .seconds(2 * 86_400)
    /// Calls whose events are read at once, and events that they may have.
    package static let callsTogether = 200
    package static let maximumSharedEvents = 20_000
    /// Reads waiting for their turn; beyond it `unavailable` is answered at once.
    package static let maximumWaiting = 64
}

/// Reads for the API, on connections of their own, never behind the writes.
///
/// Each is answered within `StoreSettings.readTimeout`, as `unavailable` when the database does not.
///
/// Used on one loop's thread; completions come on it too, exactly once each, and never before the call
/// returned.
package protocol StoreReader: AnyObject {
    /// How it stands with the database.
    var state: StoreState { get }
    /// Begins to connect.
    func start()
    /// Calls, newest `started_at` first, of one start the greatest id first, those without a start last.
    func calls(
        _ filter: CallFilter, completion: @escaping (Result<[StoredCall], StoreError>) -> Void)
    /// A call with a page of its events, oldest first, or `nil` when it is not stored.
    func call(
        id callID: String, events page: EventPage,
        completion: @escaping (Result<StoredCallWithEvents?, StoreError>) -> Void)
    /// The legs and parts of a call that has ended; none of another.
    func parts(of callID: String, completion: @escaping (Result<StoredParts, StoreError>) -> Void)
    /// Events of several calls, and of those that became part of one of them, in the order of their receipt: the first
    /// `StoreReads.maximumSharedEvents`.
    ///
    /// - Parameter since: None of them was received before.
    func events(
        ofCalls callIDs: [String], since: Timestamp,
        completion: @escaping (Result<[StoredEvent], StoreError>) -> Void)
    /// Times in which a PBX was not heard, the newest first.
    func gaps(limit: Int, completion: @escaping (Result<[StoredGap], StoreError>) -> Void)
    /// When each PBX was last heard.
    func sightings(completion: @escaping (Result<[PBXSighting], StoreError>) -> Void)
    /// Steps for CRMs.
    func steps(_ query: CRMStepQuery, completion: @escaping (Result<CRMStepList, StoreError>) -> Void)
    /// Closes the connection; waiting reads complete as unavailable.
    func stop()
}

extension StoreReader {
    /// A call with its events, the first `StoreReads.maximumEvents`, or `nil` when it is not stored.
    package func call(
        id callID: String, completion: @escaping (Result<StoredCallWithEvents?, StoreError>) -> Void
    ) {
        call(id: callID, events: .first, completion: completion)
    }
}
