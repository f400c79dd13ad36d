package import Reactor

/// How it stands with the event stream of one PBX.
///
///     idle ──start──▶ connecting ──101──▶ connected
///                       ▲    └──refused─┐     │ lost, silent, replaced
///                       └──pause over── disconnected ◀──┘        stop, from anywhere ──▶ stopped
package enum ARIConnectionState: Sendable, Equatable {
    /// Not started.
    case idle
    /// Connecting, for the first time or again.
    case connecting
    /// The stream is open. Whether events of all calls come depends on `ARISubscriptionState` too.
    case connected(since: MonotonicInstant)
    /// Not open: why, for a person, and when the next try is.
    case disconnected(reason: String, retryIn: Duration)
    /// Stopped by us, for good.
    case stopped

    /// Whether the stream is open.
    package var isConnected: Bool {
        if case .connected = self { return true }
        return false
    }
}

/// How far the PBX was told what we want to read.
package enum ARISubscriptionState: Sendable, Equatable {
    /// The stream is not open.
    case none
    /// Under way.
    case pending
    /// Done, and the calls already running are known.
    case active
    /// Refused or failed: why, for a person. Tried again while the stream is open.
    case failed(String)
}

/// Takes what an ARI client receives; all calls come on the client's loop.
package protocol ARIEventSink: AnyObject {
    /// One event. `payload` is borrowed until return; the hot path.
    func received(_ payload: RawSpan, from client: ARIClient)
    /// The state of the connection changed, or, while it is open, that of the subscription (`problem` says
    /// what is wrong with either).
    func stateChanged(_ client: ARIClient, _ state: ARIConnectionState)
    /// The PBX told what runs: what follows until `comparisonEnded` are its channels, and then the events that came
    /// meanwhile. Events older than the lists were handed on before.
    ///
    /// A comparison that ends early (the connection was lost) has no `comparisonEnded`.
    func comparisonBegan(_ facts: ARIComparisonFacts, from client: ARIClient)
    /// One channel that is there, as the text of a `ChannelSnapshot` event; borrowed until return.
    func listed(_ payload: RawSpan, from client: ARIClient)
    /// What was there was told, and events go on as they come: what was not told of since `comparisonBegan` is gone.
    func comparisonEnded(_ facts: ARIComparisonFacts, from client: ARIClient)
    /// Whether a channel is open of which nothing was told but that it was listed.
    func needsConfirmation(_ client: ARIClient) -> Bool
    /// The ids of all channels that are there some time after a comparison.
    func confirmed(_ channels: [[UInt8]], from client: ARIClient)
}

extension ARIEventSink {
    /// Nobody asks.
    package func needsConfirmation(_ client: ARIClient) -> Bool { false }
    /// Nobody asked.
    package func confirmed(_ channels: [[UInt8]], from client: ARIClient) {}
}
