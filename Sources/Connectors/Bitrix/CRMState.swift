import Reactor

/// How the link to the CRM stands; for `/health`, the page and the log.
package enum CRMState: Sendable, Hashable, CustomStringConvertible {
    /// No webhook is set.
    case off
    /// Nothing wrong is known.
    case ok
    /// The last request failed, or the portal refuses the webhook; the reason is for people and holds no secret.
    case failing(reason: String)

    /// `off`, `ok` or `failing: …`.
    package var description: String {
        switch self {
        case .off: "off"
        case .ok: "ok"
        case .failing(let reason): "failing: \(reason)"
        }
    }
}

/// The state of the CRM link where any thread may read it; written by the client's loop.
package final class CRMLink: Sendable {
    private let stored: Locked<CRMState>
    private let storedCircuit = Locked<CircuitBreaker.State>(.closed)

    /// A link that stands so.
    package init(_ state: CRMState = .off) {
        stored = Locked(state)
    }

    /// How it stands now.
    package var state: CRMState {
        get { stored.withLock { $0 } }
        set { stored.withLock { $0 = newValue } }
    }

    /// Where the circuit breaker stands.
    package var circuit: CircuitBreaker.State {
        get { storedCircuit.withLock { $0 } }
        set { storedCircuit.withLock { $0 = newValue } }
    }
}
