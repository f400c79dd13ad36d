/// Where the bytes of an event lie.
///
/// Read them with ``WebSocketSession/withPayload(_:of:_:)`` before the next call of
/// ``WebSocketSession/next(_:)``.
public enum WebSocketPayload: Equatable, Sendable {
    /// In place, unmasked if need be: a range of the bytes that `next` was given, counted from where it began.
    case input(Range<Int>)
    /// In the session's message buffer: assembled of fragments, or unmasked where `next` may not change the bytes.
    case message
    /// In the session's buffer for control frames, unmasked.
    case control
}

/// What ``WebSocketSession/next(_:)`` found.
public enum WebSocketEvent: Equatable, Sendable {
    /// A whole text message. It is UTF-8, unless the session was told to leave that to the reader.
    case text(WebSocketPayload)
    /// A whole binary message.
    case binary(WebSocketPayload)
    /// To be answered with a pong of the same payload as soon as is practical (RFC 6455 §5.5.2).
    case ping(WebSocketPayload)
    /// An answer to a ping of ours, or sent unasked (§5.5.3).
    case pong(WebSocketPayload)
    /// The peer sends nothing after this. When ``WebSocketSession/state`` then is `.peerClosed`, answer with
    /// ``WebSocketSession/appendClose(_:reason:maskingKey:to:)``; when it is `.closed`, the handshake is
    /// complete. `code` is nil when the frame was empty (§7.1.5).
    case close(code: WebSocketCloseCode?, reason: WebSocketPayload)
    /// Bytes were used without giving anything: a fragment of a message under way, or what came after the
    /// peer's Close frame, which is dropped.
    case consumed
}

/// Limits of a session, in bytes.
public struct WebSocketLimits: Sendable, Equatable {
    /// The largest payload of one frame.
    public var frameBytes: Int
    /// The largest message, all fragments together.
    public var messageBytes: Int

    /// Makes limits; 16 MiB each when left out.
    public init(frameBytes: Int = 16 << 20, messageBytes: Int = 16 << 20) {
        self.frameBytes = frameBytes
        self.messageBytes = messageBytes
    }
}

/// One WebSocket connection after its handshake: the whole of RFC 6455 §5 to §8 but extensions, as a value
/// without a socket.
///
/// ```swift
/// var position = 0
/// while true {
///     let rest = bytes.extracting(position..<bytes.byteCount)
///     switch try session.next(rest) {
///     case .incomplete(let needed): return Consumed(position, needed: needed)
///     case .value(let event, let used):
///         if case .text(let payload) = event { session.withPayload(payload, of: rest) { read($0) } }
///         position += used
///     }
/// }
/// ```
///
/// - A text or binary message that came in one frame is handed out where it lies and never copied; a client's is
///   unmasked there by ``next(changing:from:)``. Fragmented messages, and masked ones that a read cut in two, are
///   gathered in one buffer of the session, bounded by the limits and given back when it grew large.
/// - After `.incomplete` the same bytes come again in front of what follows. What was seen of a frame is
///   remembered, so that text is checked, and masks are removed, once, as bytes arrive: a byte that cannot
///   belong to UTF-8 fails the connection before its frame is complete.
/// - After an error the session stays failed and throws the same again.
public struct WebSocketSession: Sendable {
    /// How far the closing handshake is (§7.1).
    public enum State: Sendable, Equatable {
        /// Both directions are open. Goes to `closeSent`, `peerClosed` or `failed`.
        case open
        /// We sent Close and still read. Goes to `closed` or `failed`.
        case closeSent
        /// The peer sent Close, we have not yet. Goes to `closed`.
        case peerClosed
        /// Both sent Close: the server closes the TCP connection, the client waits for that (§7.1.1).
        case closed
        /// The peer broke the protocol.
        case failed(WebSocketError)
    }

    /// Who checks that text is UTF-8 (§8.1).
    public enum TextValidation: Sendable {
        /// The session, byte by byte as they arrive.
        case session
        /// Whoever reads the message, who then must fail the connection with code 1007. For readers that
        /// check it anyway (``JSONFieldScanner``), so that it is not done twice.
        case reader
    }

    /// How far the closing handshake is.
    public private(set) var state = State.open
    /// Which end we are.
    public var role: WebSocketRole { parser.role }

    private let parser: FrameParser
    private let maximumMessage: Int
    private let checksText: Bool

    /// Fragments or unmasked bytes of the message under way, then the message last handed out.
    private var message: [UInt8] = []
    private var control: [UInt8] = []
    /// The kind of the fragmented message under way.
    private var fragmented: WebSocketOpcode?
    /// Payload bytes of the frame at the front that are checked and, where they are gathered, gathered.
    private var seen = 0
    private var validator = UTF8Validator()
    /// Whether the Close frame that tells the peer of its error was written.
    private var failedCloseSent = false

    /// The capacity above which the message buffer is given back when its message was read.
    static let keptCapacity = 64 << 10

    /// Makes a session at the point where the handshake is complete.
    public init(
        role: WebSocketRole, limits: WebSocketLimits = WebSocketLimits(),
        textValidation: TextValidation = .session
    ) {
        parser = FrameParser(role: role, maximumPayload: limits.frameBytes)
        maximumMessage = limits.messageBytes
        checksText = textValidation == .session
    }

    /// Takes the next event off the front of `bytes`.
    ///
    /// - Parameter bytes: Received bytes, starting where the last event's bytes ended.
    /// - Returns: The event and the bytes it used, or how many are needed to go on.
    /// - Throws: When the peer broke the protocol: send a Close frame with the error's `closeCode` and drop
    ///   the connection.
    public mutating func next(_ bytes: RawSpan) throws(WebSocketError) -> Parsed<WebSocketEvent> {
        switch state {
        case .open, .closeSent: break
        case .peerClosed, .closed:
            // Data after a Close frame is to be ignored (§1.4).
            return bytes.byteCount == 0 ? .incomplete(needed: 1) : .value(.consumed, used: bytes.byteCount)
        case .failed(let error): throw error
        }
        do throws(WebSocketError) {
            if seen == 0, fragmented == nil, role == .client, let whole = wholeMessage(bytes, from: 0) {
                startMessage()
                if whole.isText, checksText {
                    guard validator.append(bytes.extracting(whole.payload)), validator.isComplete else {
                        throw .invalidUTF8
                    }
                }
                return .value(whole.event, used: whole.payload.upperBound)
            }
            return try parse(bytes)
        } catch {
            throw failed(error)
        }
    }

    /// Takes the next event off the bytes from `position` on, like ``next(_:)`` given these; a masked message that is
    /// there as a whole is unmasked where it lies.
    ///
    /// - Parameters:
    ///   - bytes: Received bytes, which may be changed: bytes of an event are, and no others.
    ///   - position: Where the last event's bytes ended.
    /// - Returns: The event and the bytes it used, or how many are needed to go on, counted from `position`.
    /// - Throws: As ``next(_:)`` does.
    public mutating func next(
        changing bytes: inout MutableRawSpan, from position: Int
    ) throws(WebSocketError) -> Parsed<WebSocketEvent> {
        guard role == .server, seen == 0, fragmented == nil, state == .open || state == .closeSent,
            let whole = wholeMessage(bytes.bytes, from: position)
        else {
            return try next(bytes.bytes.extracting(position..<bytes.byteCount))
        }
        // The short way has seen that all of it lies within the bytes.
        let start = position &+ whole.payload.lowerBound
        bytes.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            FrameWriter.mask(
                UnsafeMutableRawBufferPointer(start: base + start, count: whole.payload.count),
                key: whole.maskingKey)
        }
        if whole.isText, checksText {
            let text = bytes.bytes.extracting(start..<start + whole.payload.count)
            guard UTF8Validator.isValid(text) else { throw failed(.invalidUTF8) }
        }
        return .value(whole.event, used: whole.payload.upperBound)
    }

    private mutating func failed(_ error: WebSocketError) -> WebSocketError {
        state = .failed(error)
        message = []
        return error
    }

    /// Lets `body` read the bytes of an event; they are valid until it returns.
    ///
    /// - Parameters:
    ///   - payload: From the event that `next` gave last.
    ///   - bytes: What `next` was given then.
    ///   - body: Reads the payload.
    @inline(__always)
    public func withPayload<Result>(
        _ payload: WebSocketPayload, of bytes: RawSpan, _ body: (RawSpan) -> Result
    ) -> Result {
        switch payload {
        case .input(let range): body(bytes.extracting(range))
        case .message: body(message.span.bytes)
        case .control: body(control.span.bytes)
        }
    }

    /// Moves a message that ``WebSocketPayload/message`` tells of out of the session, so that it can be read while
    /// the session changes; give it back with ``giveBack(_:)`` before the next call of ``next(_:)``.
    public mutating func takeMessage() -> [UInt8] {
        var taken: [UInt8] = []
        swap(&taken, &message)
        return taken
    }

    /// Takes the memory of a message that was read back, for the next one.
    public mutating func giveBack(_ buffer: consuming [UInt8]) {
        message = buffer
    }

    /// Lets the session gather its next messages in `shared`, which is left empty meanwhile.
    ///
    /// Sessions of one thread can share one buffer: it stays in the processor's cache, and sessions at rest hold no
    /// memory. Lend before the first ``next(_:)`` of a read, and take it back behind the last one.
    public mutating func lend(_ shared: inout [UInt8]) {
        if message.capacity == 0 { swap(&message, &shared) }
    }

    /// Takes the buffer back, unless a message is under way in it.
    public mutating func takeBack(_ shared: inout [UInt8]) {
        guard seen == 0, fragmented == nil else { return }
        // Two sessions may have been given one, while a message of theirs was under way.
        if shared.capacity == 0, message.capacity <= WebSocketSession.keptCapacity {
            swap(&message, &shared)
        } else {
            message = []
        }
    }

    /// A copy of the bytes of an event; see ``withPayload(_:of:_:)``.
    public func copied(_ payload: WebSocketPayload, of bytes: RawSpan) -> [UInt8] {
        withPayload(payload, of: bytes) { $0.copied }
    }

    /// Appends our Close frame, once; later calls append nothing.
    ///
    /// - Parameters:
    ///   - code: Why. In answer to the peer's Close its own code is fitting (§5.5.1).
    ///   - reason: For people who read logs; never secrets. Cut at 123 bytes.
    ///   - maskingKey: A new key when we are the client, nil when the server.
    ///   - output: Where it is appended.
    public mutating func appendClose(
        _ code: WebSocketCloseCode?, reason: String = "", maskingKey: UInt32?, to output: inout [UInt8]
    ) {
        switch state {
        case .open: state = .closeSent
        case .peerClosed: state = .closed
        case .failed where !failedCloseSent: failedCloseSent = true
        case .closeSent, .closed, .failed: return
        }
        precondition((maskingKey != nil) == (role == .client))
        FrameWriter.close(code, reason: reason, maskingKey: maskingKey, to: &output)
    }

    // MARK: - Frames

    /// A message of one frame that is there as a whole.
    private struct WholeMessage {
        var isText: Bool
        /// Counted from where the frame begins.
        var payload: Range<Int>
        /// 0 when it is not masked.
        var maskingKey: UInt32

        @inline(__always)
        var event: WebSocketEvent { isText ? .text(.input(payload)) : .binary(.input(payload)) }
    }

    /// The short way for most frames: a message of one frame, of less than 64 KiB, that is there as a whole.
    ///
    /// Nil for anything else, also for what is wrong: `parse` tells what it is.
    @inline(__always)
    private func wholeMessage(_ bytes: RawSpan, from position: Int) -> WholeMessage? {
        let count = bytes.byteCount &- position
        guard position >= 0, count >= 8 else { return nil }
        let isMasked = parser.role == .server
        // No header of this kind is longer than the eight bytes that are there.
        return bytes.withUnsafeBytes { bytes -> WholeMessage? in
            guard let base = bytes.baseAddress else { return nil }
            let frame = base + position
            let head = UInt16(littleEndian: frame.loadUnaligned(as: UInt16.self))
            // FIN with text or binary, and a masking key if it must have one.
            let isText = head & 0xFF == 0x81
            guard isText || head & 0xFF == 0x82, (head & 0x8000 != 0) == isMasked else { return nil }
            var start = 2
            var length = Int(head >> 8 & 0x7F)
            if length > 125 {
                guard length == 126 else { return nil }
                length = Int(UInt16(bigEndian: frame.loadUnaligned(fromByteOffset: 2, as: UInt16.self)))
                guard length > 125 else { return nil }
                start = 4
            }
            var key: UInt32 = 0
            if isMasked {
                key = UInt32(littleEndian: frame.loadUnaligned(fromByteOffset: start, as: UInt32.self))
                start &+= 4
            }
            let end = start &+ length
            guard end <= count, length <= parser.maximumPayload, length <= maximumMessage else { return nil }
            return WholeMessage(isText: isText, payload: start..<end, maskingKey: key)
        }
    }

    private mutating func parse(_ bytes: RawSpan) throws(WebSocketError) -> Parsed<WebSocketEvent> {
        let frame: WebSocketFrame
        switch try parser.header(bytes) {
        case .incomplete(let needed): return .incomplete(needed: needed)
        case .value(let header, _): frame = header
        }
        if frame.opcode.isControl { return try controlFrame(frame, bytes) }

        // The order of frames is known to be wrong as soon as the header is.
        if frame.opcode == .continuation {
            guard fragmented != nil else { throw .unexpectedContinuation }
        } else {
            guard fragmented == nil else { throw .expectedContinuation }
        }
        let kind = fragmented ?? frame.opcode
        let gathers = frame.maskingKey != nil || !frame.fin || frame.opcode == .continuation
        if seen == 0, fragmented == nil { startMessage() }
        let before = gathers ? message.count - seen : 0
        guard frame.payload.count <= maximumMessage - before else {
            throw .messageTooLarge(limit: maximumMessage)
        }

        let end = min(bytes.byteCount, frame.payload.upperBound)
        let fresh = (frame.payload.lowerBound + seen)..<end
        if gathers {
            try gather(bytes, fresh, frame, isText: kind == .text)
        } else if kind == .text, checksText, !validator.append(bytes.extracting(fresh)) {
            throw .invalidUTF8
        }
        guard end == frame.payload.upperBound else {
            seen = end - frame.payload.lowerBound
            return .incomplete(needed: frame.payload.upperBound)
        }
        seen = 0
        guard frame.fin else {
            fragmented = kind
            return .value(.consumed, used: end)
        }
        fragmented = nil
        if kind == .text, checksText, !validator.isComplete { throw .invalidUTF8 }
        let payload: WebSocketPayload = gathers ? .message : .input(frame.payload)
        return .value(kind == .text ? .text(payload) : .binary(payload), used: end)
    }

    private mutating func startMessage() {
        validator = UTF8Validator()
        if message.capacity > WebSocketSession.keptCapacity {
            message = []
        } else if !message.isEmpty {
            message.removeAll(keepingCapacity: true)
        }
    }

    /// Copies the bytes of `fresh` behind the message, unmasked, and checks them there.
    private mutating func gather(
        _ bytes: RawSpan, _ fresh: Range<Int>, _ frame: WebSocketFrame, isText: Bool
    ) throws(WebSocketError) {
        let start = message.count
        if let key = frame.maskingKey {
            FrameWriter.appendMasked(bytes.extracting(fresh), key: key, phase: seen, to: &message)
        } else {
            message.append(contentsOf: bytes.extracting(fresh))
        }
        if isText, checksText {
            let isValid = message.withUnsafeBytes { gathered in
                validator.append(UnsafeRawBufferPointer(rebasing: gathered[start...]))
            }
            guard isValid else { throw .invalidUTF8 }
        }
    }

    private mutating func controlFrame(
        _ frame: WebSocketFrame, _ bytes: RawSpan
    ) throws(WebSocketError) -> Parsed<WebSocketEvent> {
        let end = frame.payload.upperBound
        guard bytes.byteCount >= end else { return .incomplete(needed: end) }
        var payload = WebSocketPayload.input(frame.payload)
        if let key = frame.maskingKey {
            control.removeAll(keepingCapacity: true)
            control.append(contentsOf: bytes.extracting(frame.payload))
            FrameWriter.mask(&control, from: 0, key: key)
            payload = .control
        }
        switch frame.opcode {
        case .ping: return .value(.ping(payload), used: end)
        case .pong: return .value(.pong(payload), used: end)
        case .close, .text, .binary, .continuation: break
        }
        return .value(try close(payload, bytes), used: end)
    }

    private mutating func close(
        _ payload: WebSocketPayload, _ bytes: RawSpan
    ) throws(WebSocketError) -> WebSocketEvent {
        let content = copied(payload, of: bytes)
        var code: WebSocketCloseCode?
        if !content.isEmpty {
            guard content.count >= 2 else { throw .malformedClose }
            let read = WebSocketCloseCode(rawValue: UInt16(content[0]) << 8 | UInt16(content[1]))
            guard read.isAllowedInFrame else { throw .invalidCloseCode(read.rawValue) }
            let isText = content.withUnsafeBytes { content in
                var validator = UTF8Validator()
                return validator.append(UnsafeRawBufferPointer(rebasing: content[2...]))
                    && validator.isComplete
            }
            guard isText else { throw .invalidUTF8 }
            code = read
        }
        state = state == .closeSent ? .closed : .peerClosed
        control = Array(content.dropFirst(2))
        return .close(code: code, reason: .control)
    }
}
