/// Why a connection ended, for a log line and for deciding what to do next.
///
/// Never holds secrets or payload.
public enum CloseReason: Hashable, Sendable {
    /// This side closed it.
    case local
    /// The peer closed it in the orderly way.
    case peerClosed
    /// The peer reset it (RST), or it went away while we were sending.
    case reset
    /// No address could be connected to; the text says what each one answered.
    case connectFailed(String)
    /// Connecting, the TLS handshake or flushing on close took longer than allowed, or the network gave up.
    case timeout
    /// The TLS handshake or a TLS record failed.
    case tls(String)
    /// The host name was not resolved.
    case resolve(String)
    /// The handler asked to close because the send queue ran over.
    case sendOverflow
    /// More input was left unused than `maximumCarryBytes`.
    case carryOverflow
    /// Something else that the system refused.
    case error(ReactorError)
}

extension CloseReason: CustomStringConvertible {
    /// In words, for a log line.
    public var description: String {
        switch self {
        case .local: "closed by this side"
        case .peerClosed: "closed by the peer"
        case .reset: "connection reset by the peer"
        case .connectFailed(let text): "cannot connect: \(text)"
        case .timeout: "timed out"
        case .tls(let text): "TLS: \(text)"
        case .resolve(let text): "cannot resolve the host name: \(text)"
        case .sendOverflow: "send queue overflow: the peer reads too slowly"
        case .carryOverflow: "message larger than the limit"
        case .error(let error): error.description
        }
    }
}
