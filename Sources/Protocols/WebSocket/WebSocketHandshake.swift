/// Why an opening handshake failed (RFC 6455 §4).
public enum WebSocketHandshakeError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The server answered with another status than 101.
    case status(Int)
    /// The request is no GET, has a body, or is HTTP/1.0.
    case notAnUpgradeRequest
    /// `Upgrade` does not say `websocket`.
    case missingUpgrade
    /// `Connection` does not say `Upgrade`.
    case missingConnection
    /// `Sec-WebSocket-Key` is missing, repeated, or not 16 bytes in Base64.
    case invalidKey
    /// `Sec-WebSocket-Version` is not 13.
    case unsupportedVersion
    /// `Sec-WebSocket-Accept` is missing or does not belong to the key that was sent.
    case wrongAccept
    /// The server chose an extension; none is ever offered.
    case unexpectedExtension
    /// The server chose a subprotocol that was not offered.
    case unexpectedSubprotocol

    /// The status that a server refuses with; of `.status` the one received.
    public var statusCode: Int {
        switch self {
        case .status(let code): code
        case .unsupportedVersion, .missingUpgrade: 426
        case .notAnUpgradeRequest, .missingConnection, .invalidKey, .wrongAccept, .unexpectedExtension,
            .unexpectedSubprotocol:
            400
        }
    }

    /// A sentence part for logs.
    public var description: String {
        switch self {
        case .status(let code): "the server answered \(code) \(HTTPWriter.reason(for: code))"
        case .notAnUpgradeRequest: "the request is no HTTP/1.1 GET without body"
        case .missingUpgrade: "Upgrade does not say websocket"
        case .missingConnection: "Connection does not say Upgrade"
        case .invalidKey: "Sec-WebSocket-Key is missing or malformed"
        case .unsupportedVersion: "Sec-WebSocket-Version is not 13"
        case .wrongAccept: "Sec-WebSocket-Accept does not belong to the key"
        case .unexpectedExtension: "the server chose an extension that was not offered"
        case .unexpectedSubprotocol: "the server chose a subprotocol that was not offered"
        }
    }
}

/// The opening handshake of both ends (RFC 6455 §4), on top of HTTP heads.
///
/// Extensions are never offered; those that a client offers (`permessage-deflate`) are refused politely, by
/// not choosing them.
public enum WebSocketHandshake {
    /// The version that RFC 6455 defines.
    public static let version = "13"

    /// A key for a client's request, of 16 bytes from the system's random source.
    public static func key(random: [UInt8]) -> String {
        precondition(random.count == 16)
        return Base64.encoded(random)
    }

    /// What `Sec-WebSocket-Accept` must say for a key (§4.2.2 step 5.4).
    public static func accept(for key: String) -> String {
        let bytes = Array((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8)
        return Base64.encoded(SHA1.digest(bytes.span.bytes))
    }

    // MARK: - Client

    /// Appends a client's request (§4.1).
    ///
    /// - Parameters:
    ///   - url: Where to; its user information becomes Basic credentials.
    ///   - key: From ``key(random:)``; keep it for ``check(_:key:subprotocols:)``.
    ///   - subprotocols: What is offered, the preferred first.
    ///   - fields: Further fields.
    ///   - output: Where it is appended.
    public static func request(
        _ url: URL, key: String, subprotocols: [String] = [], fields: [HTTPField] = [],
        to output: inout [UInt8]
    ) {
        var all = [
            HTTPField("Upgrade", "websocket"), HTTPField("Connection", "Upgrade"),
            HTTPField("Sec-WebSocket-Key", key), HTTPField("Sec-WebSocket-Version", version),
        ]
        if !subprotocols.isEmpty {
            all.append(HTTPField("Sec-WebSocket-Protocol", subprotocols.joined(separator: ", ")))
        }
        if let credentials = url.basicAuthorization { all.append(HTTPField("Authorization", credentials)) }
        HTTPWriter.requestHead(
            .get, target: url.requestTarget, host: url.hostField, fields: all + fields, to: &output)
    }

    /// Checks a server's answer (§4.1).
    ///
    /// - Parameters:
    ///   - response: The answer's head.
    ///   - key: The key that was sent.
    ///   - subprotocols: What was offered.
    /// - Returns: The subprotocol that the server chose, if any.
    public static func check(
        _ response: HTTPResponseHead, key: String, subprotocols: [String] = []
    ) throws(WebSocketHandshakeError) -> String? {
        guard response.statusCode == 101 else { throw .status(response.statusCode) }
        let fields = response.fields
        guard fields.tokens(of: "upgrade") == ["websocket"] else { throw .missingUpgrade }
        guard fields.hasToken("upgrade", in: "connection") else { throw .missingConnection }
        guard fields.values(of: "sec-websocket-accept") == [accept(for: key)] else { throw .wrongAccept }
        guard fields.tokens(of: "sec-websocket-extensions").isEmpty else { throw .unexpectedExtension }
        let chosen = fields.values(of: "sec-websocket-protocol")
        guard chosen.count <= 1 else { throw .unexpectedSubprotocol }
        guard let chosen = chosen.first else { return nil }
        guard subprotocols.contains(chosen) else { throw .unexpectedSubprotocol }
        return chosen
    }

    // MARK: - Server

    /// What a server answers to a good request.
    public struct Acceptance: Sendable, Equatable {
        /// The value of `Sec-WebSocket-Accept`.
        public var accept: String
        /// The subprotocol that was chosen, if any.
        public var subprotocol: String?
    }

    /// Whether a request asks for a WebSocket at all, well-formed or not.
    public static func isUpgrade(_ request: HTTPRequestHead) -> Bool {
        request.fields.hasToken("websocket", in: "upgrade")
    }

    /// Checks a client's request (§4.2.1).
    ///
    /// - Parameters:
    ///   - request: The request's head.
    ///   - subprotocols: What we speak. The client's first wish that is among them is chosen.
    /// - Returns: What to answer with ``response(_:fields:to:)``.
    public static func check(
        _ request: HTTPRequestHead, subprotocols: [String] = []
    ) throws(WebSocketHandshakeError) -> Acceptance {
        let hasBody = request.framing != .none && request.framing != .length(0)
        guard request.method == .get, request.minorVersion >= 1, !hasBody else {
            throw .notAnUpgradeRequest
        }
        let fields = request.fields
        guard isUpgrade(request) else { throw .missingUpgrade }
        guard fields.hasToken("upgrade", in: "connection") else { throw .missingConnection }
        guard fields.values(of: "sec-websocket-version") == [version] else { throw .unsupportedVersion }
        let keys = fields.values(of: "sec-websocket-key")
        guard keys.count == 1, Base64.decoded(keys[0])?.count == 16 else { throw .invalidKey }
        let offered = fields.values(of: "sec-websocket-protocol").flatMap { value in
            value.split(separator: ",").map { piece in
                String(piece.drop { $0 == " " || $0 == "\t" }.prefix { $0 != " " && $0 != "\t" })
            }
        }
        return Acceptance(
            accept: accept(for: keys[0]), subprotocol: offered.first { subprotocols.contains($0) })
    }

    /// Appends the answer that opens the connection (§4.2.2).
    public static func response(
        _ acceptance: Acceptance, fields: [HTTPField] = [], to output: inout [UInt8]
    ) {
        var all = [
            HTTPField("Upgrade", "websocket"), HTTPField("Connection", "Upgrade"),
            HTTPField("Sec-WebSocket-Accept", acceptance.accept),
        ]
        if let subprotocol = acceptance.subprotocol {
            all.append(HTTPField("Sec-WebSocket-Protocol", subprotocol))
        }
        HTTPWriter.responseHead(101, fields: all + fields, body: .none, to: &output)
    }

    /// Appends the answer that refuses a request, and says which version would have been understood (§4.4).
    public static func refusal(_ error: WebSocketHandshakeError, to output: inout [UInt8]) {
        let body = Array((error.description + "\n").utf8)
        let fields = [
            HTTPField("Content-Type", "text/plain"), HTTPField("Sec-WebSocket-Version", version),
            HTTPField("Upgrade", "websocket"),
        ]
        let code = (400...599).contains(error.statusCode) ? error.statusCode : 400
        HTTPWriter.response(code, fields: fields, body: body.span.bytes, keepsAlive: false, to: &output)
    }
}
