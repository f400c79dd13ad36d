package import Protocols

/// Where an `HTTPClient` sends its requests: scheme, host and port (RFC 9110 §4.3.1).
package struct HTTPOrigin: Sendable, Hashable {
    /// Whether the scheme is `https`.
    package var isSecure: Bool
    /// Host name or address, without brackets.
    package var host: String
    /// Port.
    package var port: UInt16

    /// Takes the parts.
    package init(isSecure: Bool, host: String, port: UInt16) {
        self.isSecure = isSecure
        self.host = host
        self.port = port
    }

    /// Takes them from a URL.
    package init(_ url: URL) {
        self.init(isSecure: url.isSecure, host: url.host, port: url.port)
    }

    /// The value of the `Host` field: the port only when it is not the scheme's own.
    package var authority: String {
        let name = host.contains(":") ? "[\(host)]" : host
        return port == (isSecure ? 443 : 80) ? name : "\(name):\(port)"
    }
}

/// The bounds of an `HTTPClient`.
package struct HTTPClientConfiguration: Sendable {
    /// Connections open at once.
    package var maximumConnections = 8
    /// Requests waiting for a connection; the next one is refused (`queueFull`).
    package var maximumQueued = 256
    /// For resolving, connecting and the TLS handshake together.
    package var connectTimeout: Duration = .seconds(10)
    /// How long an unused connection is kept.
    ///
    /// Shorter than servers usually do, so that a request seldom meets a connection that is just being
    /// closed.
    package var idleTimeout: Duration = .seconds(20)
    /// How long a connection is used; then its successor asks for the name's addresses anew, as a portal that moves wants it.
    package var maximumAge: Duration = .seconds(300)
    /// Through which `https` origins are reached; `nil`: directly.
    package var proxy: HTTPProxy?
    /// Bytes of a request that may wait for the socket.
    package var maximumSend = 8 * 1024 * 1024
    /// Bytes of a response body.
    package var maximumBody = 8 * 1024 * 1024
    /// Bytes of a response's status line and fields.
    package var maximumHead = 64 * 1024

    /// The defaults.
    package init() {}
}

/// A request to be sent.
package struct HTTPClientRequest: Sendable {
    /// Method, for instance `POST`.
    package var method: String
    /// The target in origin form: encoded path and query.
    package var target: String
    /// Fields; `Host` and `Content-Length` are added.
    package var fields: [(String, String)]
    /// The body.
    package var body: [UInt8]
    /// From `send` to the last byte of the response, waiting and connecting included.
    package var timeout: Duration

    /// Takes the parts.
    package init(
        method: String, target: String, fields: [(String, String)] = [], body: [UInt8] = [],
        timeout: Duration = .seconds(30)
    ) {
        self.method = method
        self.target = target
        self.fields = fields
        self.body = body
        self.timeout = timeout
    }

    /// Whether doing it twice is the same as once (RFC 9110 §9.2.2).
    var isIdempotent: Bool {
        switch method {
        case "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE": true
        default: false
        }
    }
}

/// A whole response.
package struct HTTPClientResponse: Sendable {
    /// Status code.
    package var status: Int
    /// Header fields.
    package var fields: HTTPFields
    /// Body, with its transfer coding removed.
    package var body: [UInt8]
}

/// Why there is no response.
///
/// Never holds the target, fields or body: these carry secrets.
package struct HTTPClientError: Error, Sendable, CustomStringConvertible {
    /// What the peer may know of the request.
    package enum Delivery: Sendable, Equatable {
        /// Not a byte of it left; sending it again is safe.
        case notSent
        /// Some of it was sent; the peer may have acted on it.
        case outcomeUnknown
    }

    /// What went wrong.
    package enum Kind: Sendable, Equatable {
        case queueFull
        case connectFailed
        case timeout
        case connectionLost
        case invalidResponse
        case responseTooLarge
        case clientClosed
    }

    /// What went wrong.
    package var kind: Kind
    /// What the peer may know of the request.
    package var delivery: Delivery
    /// What went wrong, for a person; without secrets.
    package var description: String
}
