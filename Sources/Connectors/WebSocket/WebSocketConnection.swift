package import Protocols
package import Reactor

/// One WebSocket, as client or server, on a reactor connection.
///
/// Thread-confined to its loop.
///
///     connecting ──TCP, TLS──▶ handshaking ──101──▶ open ──Close sent or seen──▶ closing ──▶ ended
///         └───────────────────────┴──refused, timeout, lost──────────────────────────────────▲
///
/// - A text or binary message that came in one frame is handed to the delegate where it lies.
/// - Pings are answered here. Who wants to know whether the peer lives sends `ping()` and waits for
///   `WebSocketDelegate.pong`.
/// - The closing handshake is bounded by `closeTimeout`, after which the connection is reset.
package final class WebSocketConnection: ConnectionHandler {
    private enum Phase {
        case connecting, handshaking, open, closing, ended
    }

    /// How long the peer may take to answer our Close, and then to close the TCP connection.
    package var closeTimeout: Duration = .seconds(5)
    /// Bytes waiting to be sent to the peer; beyond it `send` answers `.overflow`.
    package static let maximumSendQueueBytes = 8 << 20

    private let loop: Loop
    private let role: WebSocketRole
    private var delegate: (any WebSocketDelegate)?
    private var connection: Connection?
    private var phase: Phase
    private var session: WebSocketSession
    private var handshake: WebSocketClientHandshake?
    private var end = WebSocketClose(code: nil, reason: "", clean: false)
    private var timer: TimerID?
    private var output: [UInt8] = []
    /// Where a server's connections unmask what they read.
    private let shared: WebSocketBuffer?

    /// The subprotocol agreed on; nil when none was.
    package internal(set) var subprotocol: String?

    init(
        loop: Loop, role: WebSocketRole, limits: WebSocketLimits,
        textValidation: WebSocketSession.TextValidation, shared: WebSocketBuffer? = nil,
        delegate: any WebSocketDelegate
    ) {
        self.loop = loop
        self.role = role
        self.shared = shared
        self.delegate = delegate
        phase = role == .client ? .connecting : .handshaking
        session = WebSocketSession(role: role, limits: limits, textValidation: textValidation)
    }

    /// Connects to a server (RFC 6455 §4.1).
    ///
    /// - Parameters:
    ///   - url: `ws` or `wss`; user and password in it become Basic credentials.
    ///   - fields: Further request fields, such as `Authorization`. Never logged.
    ///   - tls: Needed for `wss`.
    ///   - timeout: From now to the end of the handshake.
    ///   - textValidation: `.reader` when the delegate checks UTF-8 itself.
    ///   - sendQueueBytes: Bytes that may wait to be sent.
    ///   - delegate: Held until `closed`. Nothing is called before this returns.
    package static func connect(
        loop: Loop, url: URL, fields: [(String, String)] = [], subprotocols: [String] = [],
        tls: TLSClientContext? = nil, timeout: Duration = .seconds(10),
        limits: WebSocketLimits = WebSocketLimits(),
        textValidation: WebSocketSession.TextValidation = .session,
        sendQueueBytes: Int = maximumSendQueueBytes, delegate: any WebSocketDelegate
    ) -> WebSocketConnection {
        let socket = WebSocketConnection(
            loop: loop, role: .client, limits: limits, textValidation: textValidation, delegate: delegate)
        socket.handshake = WebSocketClientHandshake(url: url, fields: fields, subprotocols: subprotocols)
        var options = ConnectOptions()
        options.timeout = timeout
        options.tls = url.isSecure ? tls : nil
        options.sendQueueLimit = sendQueueBytes
        options.maximumCarryBytes = limits.frameBytes + FrameWriter.maximumHeaderBytes
        guard !url.isSecure || tls != nil else {
            socket.end.reason = "wss needs a TLS context, and none could be made"
            loop.schedule(after: .zero) { socket.finish() }
            return socket
        }
        socket.connection = loop.connect(host: url.host, port: url.port, options: options, handler: socket)
        socket.startTimer(timeout, reason: "no answer to the handshake within \(timeout)")
        return socket
    }

    // MARK: - Sending

    /// Whether messages can be sent.
    package var isOpen: Bool { phase == .open }

    /// Bytes not yet taken by the kernel.
    package var queuedBytes: Int { connection?.queuedBytes ?? 0 }

    /// Sends a text message; `text` must be UTF-8.
    @discardableResult
    package func send(text: [UInt8]) -> SendResult { send(WebSocketOpcode.text, text.span.bytes) }

    /// Sends a binary message.
    @discardableResult
    package func send(binary: [UInt8]) -> SendResult { send(WebSocketOpcode.binary, binary.span.bytes) }

    /// Sends a message of either kind; text must be UTF-8.
    @discardableResult
    package func send(_ kind: WebSocketMessageKind, _ payload: RawSpan) -> SendResult {
        send(kind == .text ? WebSocketOpcode.text : .binary, payload)
    }

    /// Sends a ping; the answer is `WebSocketDelegate.pong`.
    package func ping() {
        let empty: [UInt8] = []
        send(.ping, empty.span.bytes)
    }

    /// Sends bytes that hold whole frames, written by the caller: many messages in one go.
    ///
    /// For a server only, whose frames carry no masking key.
    package func sendFrames(_ frames: RawSpan) -> SendResult {
        precondition(role == .server)
        guard phase == .open, let connection else { return .closed }
        return connection.send(frames)
    }

    /// The connection below, for tests that need a peer that breaks the rules; `nil` when there is none.
    package var transport: Connection? { connection }

    /// Starts the closing handshake; messages under way from the peer are still delivered.
    ///
    /// Before the handshake is complete it drops the connection.
    package func close(code: UInt16, reason: String) {
        switch phase {
        case .connecting, .handshaking:
            if end.reason.isEmpty { end.reason = "closed by this side before it was open" }
            abort()
        case .open: sendClose(WebSocketCloseCode(rawValue: code), reason: reason)
        case .closing, .ended: break
        }
    }

    /// Drops the connection at once.
    package func abort() {
        guard phase != .ended else { return }
        if end.reason.isEmpty { end.reason = "dropped by this side" }
        connection?.reset()
    }

    @discardableResult
    private func send(_ opcode: WebSocketOpcode, _ payload: RawSpan) -> SendResult {
        guard phase == .open, let connection else { return .closed }
        output.removeAll(keepingCapacity: output.capacity <= 64 << 10)
        FrameWriter.append(opcode, payload, maskingKey: maskingKey(), to: &output)
        return connection.send(output)
    }

    /// A new key from the system's random source for each frame of a client (RFC 6455 §10.3).
    private func maskingKey() -> UInt32? { role == .client ? SystemRandom.uint32() : nil }

    private func sendClose(_ code: WebSocketCloseCode?, reason: String) {
        output.removeAll(keepingCapacity: true)
        session.appendClose(code, reason: reason, maskingKey: maskingKey(), to: &output)
        connection?.send(output)
        phase = .closing
        startTimer(closeTimeout, reason: "no answer to Close within \(closeTimeout)")
    }

    // MARK: - ConnectionHandler

    /// The transport is there: a client starts its handshake, a server's is complete.
    package func opened(_ connection: Connection) {
        self.connection = connection
        guard role == .client, let handshake else { return becomeOpen() }
        phase = .handshaking
        connection.send(handshake.request)
    }

    package func received(_ bytes: RawSpan, on connection: Connection) -> Consumed {
        var position = 0
        if phase == .handshaking {
            switch handshake?.read(bytes) ?? .incomplete(used: 0) {
            case .incomplete(let used): return Consumed(used)
            case .accepted(let subprotocol, let used):
                self.subprotocol = subprotocol
                handshake = nil
                position = used
                becomeOpen()
            case .refused(let status, let reason):
                end.httpStatus = status
                end.reason = reason
                phase = .ended
                connection.close()
            }
        }
        if let shared { session.lend(&shared.bytes) }
        defer { if let shared { session.takeBack(&shared.bytes) } }
        // Held here: it goes only when the connection has closed, and then nothing is delivered any more.
        guard let delegate else { return .all(bytes.byteCount) }
        while phase == .open || phase == .closing {
            let rest = bytes.extracting(position..<bytes.byteCount)
            do {
                switch try session.next(rest) {
                case .incomplete(let needed): return Consumed(position, needed: needed)
                case .value(let event, let used):
                    handle(event, rest, delegate)
                    position += used
                }
            } catch {
                fail(error)
            }
        }
        return .all(bytes.byteCount)
    }

    /// The same for a server, whose peer's messages are unmasked where they lie.
    package func received(changing bytes: inout MutableRawSpan, on connection: Connection) -> Consumed {
        guard role == .server, let delegate else { return received(bytes.bytes, on: connection) }
        if let shared { session.lend(&shared.bytes) }
        defer { if let shared { session.takeBack(&shared.bytes) } }
        var position = 0
        while phase == .open || phase == .closing {
            do {
                switch try session.next(changing: &bytes, from: position) {
                case .incomplete(let needed): return Consumed(position, needed: needed)
                case .value(let event, let used):
                    handle(event, bytes.bytes.extracting(position..<bytes.byteCount), delegate)
                    position += used
                }
            } catch {
                fail(error)
            }
        }
        return .all(bytes.byteCount)
    }

    package func drained(_ connection: Connection) { delegate?.drained(self) }

    package func inputClosed(_ connection: Connection) {
        if end.reason.isEmpty, !end.clean { end.reason = "the peer ended the stream without Close" }
        connection.close()
    }

    package func closed(_ connection: Connection, _ reason: CloseReason) {
        if end.reason.isEmpty, !end.clean { end.reason = reason.description }
        finish()
    }

    // MARK: - Events

    @inline(__always)
    private func handle(_ event: WebSocketEvent, _ bytes: RawSpan, _ delegate: any WebSocketDelegate) {
        switch event {
        case .text(let payload): deliver(.text, payload, bytes, delegate)
        case .binary(let payload): deliver(.binary, payload, bytes, delegate)
        case .ping, .pong, .close: control(event, bytes, delegate)
        case .consumed: break
        }
    }

    private func control(_ event: WebSocketEvent, _ bytes: RawSpan, _ delegate: any WebSocketDelegate) {
        switch event {
        case .ping(let payload):
            let copy = session.copied(payload, of: bytes)
            send(.pong, copy.span.bytes)
        case .pong: delegate.pong(on: self)
        case .close(let code, let reason):
            let text = session.withPayload(reason, of: bytes) { String(decoding: $0) }
            peerClosed(code, text)
        case .text, .binary, .consumed: break
        }
    }

    @inline(__always)
    private func deliver(
        _ kind: WebSocketMessageKind, _ payload: WebSocketPayload, _ bytes: RawSpan,
        _ delegate: any WebSocketDelegate
    ) {
        switch payload {
        case .input(let range): delegate.message(kind, bytes.extracting(range), on: self)
        case .message, .control:
            // Out of the session: the delegate may close us, which changes it.
            let message = session.takeMessage()
            delegate.message(kind, message.span.bytes, on: self)
            session.giveBack(message)
        }
    }

    private func peerClosed(_ code: WebSocketCloseCode?, _ reason: String) {
        end.code = code?.rawValue
        end.reason = reason
        end.clean = true
        if session.state == .peerClosed { sendClose(code ?? nil, reason: "") }
        phase = .closing
        // The server closes the TCP connection first (RFC 6455 §7.1.1); a client waits, bounded.
        if role == .server { connection?.close() }
        if role == .client { connection?.shutdownOutput() }
    }

    private func fail(_ error: WebSocketError) {
        end = WebSocketClose(
            code: error.closeCode.rawValue, reason: error.description, clean: false, protocolError: error)
        sendClose(error.closeCode, reason: error.description)
        phase = .ended
        connection?.close()
    }

    private func becomeOpen() {
        stopTimer()
        phase = .open
        delegate?.opened(self)
    }

    private func finish() {
        phase = .ended
        stopTimer()
        connection = nil
        let delegate = delegate
        self.delegate = nil
        delegate?.closed(self, end)
    }

    private func startTimer(_ duration: Duration, reason: String) {
        stopTimer()
        timer = loop.schedule(after: duration) { [weak self] in
            guard let self else { return }
            timer = nil
            if end.reason.isEmpty { end.reason = reason }
            connection?.reset(reason: .timeout)
        }
    }

    private func stopTimer() {
        if let timer { loop.cancel(timer) }
        timer = nil
    }
}

/// Memory that the connections of one server, all on one loop, gather and unmask messages in by turns.
final class WebSocketBuffer {
    var bytes: [UInt8] = []
}
