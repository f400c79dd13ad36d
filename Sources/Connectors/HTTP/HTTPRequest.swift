package import Protocols
package import Reactor

/// One request as a service sees it: whole, bounded by `HTTPServerLimits`.
package struct HTTPRequest: Sendable {
    /// The method as sent: case matters (RFC 9110 §9.1).
    package var method: String
    /// The path of the target, percent-decoded once.
    package var path: String
    /// The request target as it came.
    package var target: String
    /// The query's pairs, decoded, in order.
    package var query: [(name: String, value: String)]
    /// The header fields; trailer fields are dropped.
    package var fields: HTTPFields
    /// The body, with its transfer coding removed.
    package var body: [UInt8]
    /// Who asks; nil when the address could not be read.
    package var peer: SocketAddress?

    /// The last value of a query parameter, or nil.
    package func query(named name: String) -> String? {
        query.last { $0.name == name }?.value
    }
}

extension HTTPFields {
    /// The values of all field lines of that name, in order.
    package func all(named name: String) -> [String] { values(of: name) }
}

/// Answers requests.
///
/// Called on the server's loop; must not block.
package protocol HTTPService: AnyObject {
    /// Handles one request: answers `exchange` now, or later on the same loop.
    func handle(_ request: HTTPRequest, _ exchange: HTTPExchange)
}

/// The bounds of an `HTTPServer`; each is enforced before memory is taken.
package struct HTTPServerLimits: Sendable {
    /// Connections open at once; the next ones are answered with 503.
    package var maximumConnections = 1024
    /// Bytes of the request line; more is answered with 414.
    package var maximumRequestLineBytes = 8 * 1024
    /// Bytes of the request line and all fields; more is answered with 431.
    package var maximumHeadBytes = 16 * 1024
    /// Bytes of a body; more is answered with 413.
    package var maximumBodyBytes = 1024 * 1024
    /// Bytes of further requests taken in while one is being answered; then reading pauses.
    package var maximumPipelinedBytes = 64 * 1024
    /// Bytes a stream's reader may lag behind before it is cut off.
    package var maximumStreamQueueBytes = 512 * 1024
    /// Bytes waiting to be sent on one connection.
    package var maximumSendQueueBytes = 64 * 1024 * 1024
    /// From the first byte of a request to the end of its fields; then 408.
    package var headTimeout: Duration = .seconds(10)
    /// From the end of the fields to the end of the body; then 408.
    package var bodyTimeout: Duration = .seconds(30)
    /// Between requests, and for a response that the peer does not read; then the connection is closed.
    package var idleTimeout: Duration = .seconds(75)
    /// How long input is thrown away after a refusal, so that the peer can read the answer.
    package var lingerTimeout: Duration = .seconds(2)
    /// Lines logged about refused requests per second; more are counted only.
    package var maximumRefusalLogsPerSecond = 20

    /// The defaults.
    package init() {}
}
