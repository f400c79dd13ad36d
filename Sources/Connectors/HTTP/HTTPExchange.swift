package import Protocols
import Reactor

/// One request's answer, to be given exactly once: at once or later, on the loop's thread.
///
/// When the peer is gone, or an answer was given before, calls do nothing. An exchange that is dropped
/// without an answer is answered with 500, so that a service's slip never leaves a client waiting.
package final class HTTPExchange {
    private var connection: HTTPServerConnection?
    private let head: HTTPRequestHead

    init(connection: HTTPServerConnection, head: HTTPRequestHead) {
        self.connection = connection
        self.head = head
    }

    deinit {
        guard connection != nil else { return }
        respondError(500)
    }

    /// Whether an answer can still be given.
    package var isPending: Bool { connection?.isAnswering ?? false }

    /// Answers with a whole body.
    ///
    /// For `HEAD` the body is left out and its length told (RFC 9110 §9.3.2).
    package func respond(
        status: Int, fields: [(String, String)] = [], body: [UInt8] = [], contentType: String? = nil
    ) {
        guard let connection = take() else { return }
        let closes = !head.keepsAlive || connection.isStopping
        var fields = fields
        if let contentType { fields.append(("Content-Type", contentType)) }
        // HTTP/1.0 closes unless told otherwise (RFC 9112 §9.3).
        if isHTTP10, !closes { fields.append(("Connection", "keep-alive")) }
        var output: [UInt8] = []
        output.reserveCapacity(512 + body.count)
        HTTPAnswer.appendHead(
            status: status, fields: fields, framing: .length(body.count), closes: closes, to: &output)
        let hasBody = status != 204 && status != 304 && head.method != .head
        if hasBody { output.append(contentsOf: body) }
        connection.finish(with: output, status: status, closes: closes)
    }

    /// Answers with the JSON error body of a status.
    package func respondError(_ status: Int, fields: [(String, String)] = []) {
        respond(
            status: status, fields: fields, body: HTTPAnswer.errorBody(status),
            contentType: HTTPAnswer.jsonType)
    }

    /// Starts an answer of unknown length: chunked, or ended by closing towards an HTTP/1.0 client.
    ///
    /// The connection closes after it.
    package func beginStream(status: Int, fields: [(String, String)]) -> HTTPStream {
        guard let connection = take() else { return HTTPStream(connection: nil, isChunked: false) }
        let stream = HTTPStream(connection: connection, isChunked: !isHTTP10)
        var output: [UInt8] = []
        HTTPAnswer.appendHead(
            status: status, fields: fields, framing: isHTTP10 ? .untilClose : .chunked, closes: true,
            to: &output)
        connection.beginStream(stream, head: output, status: status, hasBody: head.method != .head)
        return stream
    }

    /// Completes a WebSocket handshake (RFC 6455 §4.2).
    ///
    /// - Parameter subprotocols: Those spoken here, best first; the first one that the client offers too is
    ///   taken, none when there is none.
    /// - Returns: The socket, `delegate.opened` called; nil when the request was no valid handshake, which
    ///   then was answered with an error.
    @discardableResult
    package func acceptWebSocket(
        subprotocols: [String] = [], limits: WebSocketLimits = WebSocketLimits(),
        delegate: any WebSocketDelegate
    ) -> WebSocketConnection? {
        let acceptance: WebSocketHandshake.Acceptance
        do {
            acceptance = try WebSocketHandshake.check(head, subprotocols: subprotocols)
        } catch {
            // 426 must name what is wanted instead (RFC 9110 §15.5.22, RFC 6455 §4.4).
            respond(
                status: error.statusCode,
                fields: [("Upgrade", "websocket"), ("Sec-WebSocket-Version", WebSocketHandshake.version)],
                body: Array((error.description + "\n").utf8), contentType: "text/plain; charset=utf-8")
            return nil
        }
        guard let connection = take() else { return nil }
        let socket = WebSocketConnection(
            loop: connection.loop, role: .server, limits: limits, textValidation: .session,
            shared: connection.server.webSocketBuffer, delegate: delegate)
        socket.subprotocol = acceptance.subprotocol
        var output: [UInt8] = []
        WebSocketHandshake.response(acceptance, to: &output)
        connection.upgrade(to: socket, response: output)
        return socket
    }

    /// Drops the connection without an answer.
    package func abort() {
        take()?.reset()
    }

    /// Sends bytes that need not be HTTP, and closes: for tests of clients.
    package func abort(sending bytes: [UInt8]) {
        take()?.finish(with: bytes, status: 500, closes: true)
    }

    /// The connection, for the one answer; nil when it was given or the peer is gone.
    @discardableResult
    private func take() -> HTTPServerConnection? {
        guard let taken = connection else { return nil }
        connection = nil
        return taken.isAnswering ? taken : nil
    }

    private var isHTTP10: Bool { head.minorVersion == 0 }
}
