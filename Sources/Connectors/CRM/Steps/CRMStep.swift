package import CallEngine
package import Protocols

/// What a CRM is told of a call, in this order; a row of `callflow_crm_steps` each.
package enum CRMStepKind: String, Sendable, Hashable, CaseIterable {
    /// The call began.
    case register
    /// At whose telephones it rings, who therefore see its card; one row that tells the latest.
    case cards
    /// The call ended.
    case finish
    /// Its recording is to be attached.
    case record
}

/// Where a step stands.
///
///     waiting ──claimed──▶ sending ──answered──▶ done, failed or skipped
///        ▲                    ├──refused for now──▶ waiting
///        │                    └──no answer──▶ doubtful ──claimed──▶ sending
///        └── an operator's retry of a failed one
package enum CRMStepState: String, Sendable, Hashable, CaseIterable {
    /// To be sent; what was sent of it before had no effect.
    case waiting
    /// On its way, or it was when the daemon died.
    case sending
    /// It was sent, and nobody knows whether it had its effect.
    case doubtful
    /// The CRM has it.
    case done
    /// Given up; the reason is in `last_error`.
    case failed
    /// Not for the CRM, by the settings; the reason is in `last_error`.
    case skipped

    /// Whether something is still to be done.
    package var isOpen: Bool {
        switch self {
        case .waiting, .sending, .doubtful: true
        case .done, .failed, .skipped: false
        }
    }

    /// The words of the open ones, for SQL.
    static let openWords = Self.allCases.filter(\.isOpen).map { "'\($0.rawValue)'" }.joined(separator: ", ")
}

/// Names a step of one target.
package struct CRMStepKey: Sendable, Hashable {
    package var callID: String
    package var kind: CRMStepKind

    package init(callID: String, kind: CRMStepKind) {
        self.callID = callID
        self.kind = kind
    }
}

/// A step as it stands in the table.
package struct CRMStep: Sendable, Hashable {
    /// Row id; grows with the order of writing within a call.
    package var id: Int64
    /// Which CRM it is for; see ``CRMTargetName``.
    package var target: String
    /// Name of the PBX.
    package var pbx: String
    package var key: CRMStepKey
    package var state: CRMStepState
    /// The call as it was when the step was written; `nil`: what is stored cannot be read.
    package var call: CRMCall?
    /// Requests made for it.
    package var attempts: Int
    /// Until it is to be tried again; zero: it may be tried now.
    package var dueIn: Duration
    /// Why the last attempt did not work, or why it was given up or skipped.
    package var lastError: String?
    /// The CRM's id of the call, with the step that got it.
    package var crmCallID: String?
    /// Whom the call was given to, in the CRM's terms.
    package var user: String?
    /// Since it was written.
    package var age: Duration
    /// Since it was last sent.
    package var sentAgo: Duration?
    /// When it was written.
    package var createdAt: Timestamp
    /// When it last changed.
    package var updatedAt: Timestamp

    /// All fields; see each.
    package init(
        id: Int64, target: String, pbx: String, key: CRMStepKey, state: CRMStepState, call: CRMCall?,
        attempts: Int = 0, dueIn: Duration = .zero, lastError: String? = nil, crmCallID: String? = nil,
        user: String? = nil, age: Duration = .zero, sentAgo: Duration? = nil, createdAt: Timestamp = .zero,
        updatedAt: Timestamp = .zero
    ) {
        self.id = id
        self.target = target
        self.pbx = pbx
        self.key = key
        self.state = state
        self.call = call
        self.attempts = attempts
        self.dueIn = dueIn
        self.lastError = lastError
        self.crmCallID = crmCallID
        self.user = user
        self.age = age
        self.sentAgo = sentAgo
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}

/// What a sender writes into a step's row.
package struct CRMStepChange: Sendable, Hashable {
    package var key: CRMStepKey
    package var state: CRMStepState
    package var attempts: Int
    /// Until it is to be tried again.
    package var dueIn: Duration
    /// `nil` takes an earlier one away.
    package var error: String?
    /// `nil` leaves what is there.
    package var crmCallID: String?

    /// All fields; see each.
    package init(
        _ key: CRMStepKey, _ state: CRMStepState, attempts: Int, dueIn: Duration = .zero,
        error: String? = nil,
        crmCallID: String? = nil
    ) {
        self.key = key
        self.state = state
        self.attempts = attempts
        self.dueIn = dueIn
        self.error = error
        self.crmCallID = crmCallID
    }
}

/// Takes a step for sending: granted only while it is open and nobody else has it.
package struct CRMStepClaim: Sendable, Hashable {
    package var key: CRMStepKey
    /// Whom the call is given to, in the CRM's terms; a repeat must say the same.
    package var user: String?

    package init(_ key: CRMStepKey, user: String?) {
        self.key = key
        self.user = user
    }

    /// A step that was sent so long ago has been answered or cut off, whoever sent it.
    package static let abandonedAfter: Duration = .seconds(60)
}

/// Which steps to read; always all steps of a call together.
package enum CRMStepLoad: Sendable, Hashable {
    /// Calls with open steps whose row ids lie above `after`, in their order; at most `limit` open rows are looked at.
    case page(after: Int64, limit: Int)
    /// These calls, whatever their state.
    case calls([String])
}

/// Steps read.
package struct CRMStepRows: Sendable, Hashable {
    /// Rows by id; all steps of each call that is among them.
    package var steps: [CRMStep]
    /// Behind which the next page begins; `nil`: this was the last one.
    package var next: Int64?

    package init(steps: [CRMStep], next: Int64? = nil) {
        self.steps = steps
        self.next = next
    }
}

/// A step that no batch brought: of a call that the CRM asked for.
package struct CRMStepAddition: Sendable, Hashable {
    package var key: CRMStepKey
    package var state: CRMStepState
    package var call: CRMCall
    /// Name of the PBX.
    package var pbx: String
    /// The CRM's id of the call, when it has one already.
    package var crmCallID: String?
    /// Whom the call is given to, in the CRM's terms.
    package var user: String?

    package init(
        _ key: CRMStepKey, _ state: CRMStepState, call: CRMCall, pbx: String, crmCallID: String? = nil,
        user: String? = nil
    ) {
        self.key = key
        self.state = state
        self.call = call
        self.pbx = pbx
        self.crmCallID = crmCallID
        self.user = user
    }
}
