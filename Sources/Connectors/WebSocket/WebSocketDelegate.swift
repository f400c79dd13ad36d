package import Protocols

/// What a message is.
package enum WebSocketMessageKind: Sendable {
    case text, binary
}

/// How a WebSocket ended.
package struct WebSocketClose: Sendable, CustomStringConvertible {
    /// The peer's close code, or ours when the peer broke the protocol; nil when there was none.
    package var code: UInt16?
    /// Why, for a person; without secrets.
    package var reason: String
    /// Whether both sides sent Close (RFC 6455 §7.1.4).
    package var clean: Bool
    /// The status of the answer when the server refused the handshake.
    package var httpStatus: Int?
    /// How the peer broke RFC 6455, when it did.
    package var protocolError: WebSocketError?

    /// One line for a log.
    package var description: String {
        if let httpStatus { return "handshake refused with HTTP status \(httpStatus)" }
        let code = code.map { "code \($0)" } ?? "no close code"
        return reason.isEmpty ? code : "\(code): \(reason)"
    }
}

/// Told what happens on a WebSocket; all calls come on the loop's thread.
///
/// The connection holds its delegate until `closed` has been called.
package protocol WebSocketDelegate: AnyObject {
    /// The handshake is complete.
    func opened(_ socket: WebSocketConnection)
    /// A whole message. `payload` is borrowed until return: what is kept must be copied.
    func message(_ kind: WebSocketMessageKind, _ payload: RawSpan, on socket: WebSocketConnection)
    /// A pong came.
    func pong(on socket: WebSocketConnection)
    /// The send queue, which was above half of its bound or had refused something, is below a quarter again.
    func drained(_ socket: WebSocketConnection)
    /// It is over, also when it never opened. Exactly once, and last.
    func closed(_ socket: WebSocketConnection, _ close: WebSocketClose)
}

extension WebSocketDelegate {
    /// Does nothing.
    package func opened(_ socket: WebSocketConnection) {}

    /// Does nothing.
    package func drained(_ socket: WebSocketConnection) {}

    /// Does nothing.
    package func pong(on socket: WebSocketConnection) {}
}
