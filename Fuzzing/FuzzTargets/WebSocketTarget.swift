import Protocols

/// A stream of frames: how it is read, where it is cut, then its bytes, raw or made of a script.
///
/// ```
/// flags   1 server  2 the reader checks text  4 script  8 small limits
/// cuts    a count below 16, then so many distances
/// rest    the stream; or of a script per frame: opcode and FIN, size, payload
/// ```
enum WebSocketTarget {
    enum Heard: Equatable {
        case text([UInt8])
        case binary([UInt8])
        case ping([UInt8])
        case pong([UInt8])
        case close(UInt16?, [UInt8])
        case failed(WebSocketError)
    }

    struct Setting {
        var role: WebSocketRole
        var limits: WebSocketLimits
        var checksText: Bool
    }

    static func check(_ input: UnsafeRawBufferPointer) throws(Finding) {
        var reader = InputReader(input)
        let flags = reader.byte()
        let setting = Setting(
            role: flags & 1 == 0 ? .client : .server,
            limits: flags & 8 == 0
                ? WebSocketLimits(frameBytes: 1 << 20, messageBytes: 1 << 20)
                : WebSocketLimits(frameBytes: 200, messageBytes: 300),
            checksText: flags & 2 == 0)
        let cuts = reader.cuts()
        let stream = flags & 4 == 0 ? reader.bytes : frames(&reader, setting.role)
        let expected = WebSocketReference.events(of: stream, setting)
        let whole = try listen(setting, [stream])
        try hold(whole == expected, "heard \(whole), not \(expected)")
        let cut = try listen(setting, pieces(stream, cuts))
        try hold(cut == expected, "cut at \(cuts): heard \(cut), not \(expected)")
        let changing = try listen(setting, pieces(stream, cuts), changing: true)
        try hold(changing == expected, "in place, cut at \(cuts): heard \(changing), not \(expected)")
        guard stream.count <= 2048 else { return }
        let single = try listen(setting, stream.map { [$0] })
        try hold(single == expected, "byte by byte: heard \(single), not \(expected)")
    }

    /// Frames as a script wants them, masked as the role needs it.
    private static func frames(_ reader: inout InputReader, _ role: WebSocketRole) -> [UInt8] {
        var output: [UInt8] = []
        while !reader.rest.isEmpty, output.count < FuzzTarget.maximumBytes {
            let first = reader.byte()
            let sizes = [0, 1, 2, 5, 125, 126, 127, 200, 201, 300]
            let size = Int(reader.byte())
            let count = size < 200 ? size : sizes[size % sizes.count]
            guard let opcode = WebSocketOpcode(rawValue: first & 15), !opcode.isControl || count <= 125 else {
                continue
            }
            let payload = (0..<count).map { _ in reader.byte() }
            let key = role == .server ? UInt32(count) &* 0x9E37_79B9 ^ UInt32(first) : nil
            FrameWriter.append(
                opcode, payload.span.bytes, fin: opcode.isControl || first & 0x80 == 0, maskingKey: key,
                to: &output)
        }
        return output
    }

    /// - Parameter changing: Whether messages are unmasked where they lie.
    private static func listen(
        _ setting: Setting, _ pieces: [[UInt8]], changing: Bool = false
    ) throws(Finding) -> [Heard] {
        var session = WebSocketSession(
            role: setting.role, limits: setting.limits,
            textValidation: setting.checksText ? .session : .reader)
        var heard: [Heard] = []
        try feed(pieces) { (bytes) throws(Finding) -> Int? in
            var bytes = bytes
            var position = 0
            while true {
                let result: Parsed<WebSocketEvent>
                do throws(WebSocketError) {
                    result = try next(&session, &bytes, from: position, changing: changing)
                } catch {
                    heard.append(.failed(error))
                    try hold(session.state == .failed(error), "failed and not in that state")
                    return nil
                }
                let rest = bytes.span.extracting(position..<bytes.count).bytes
                guard case .value(let event, let used) = result else {
                    if case .incomplete(let needed) = result {
                        try hold(needed > rest.byteCount, "needs \(needed) and has \(rest.byteCount)")
                    }
                    return position
                }
                try hold(used > 0 && used <= rest.byteCount, "\(used) of \(rest.byteCount) bytes used")
                switch event {
                case .text(let payload): heard.append(.text(session.copied(payload, of: rest)))
                case .binary(let payload): heard.append(.binary(session.copied(payload, of: rest)))
                case .ping(let payload): heard.append(.ping(session.copied(payload, of: rest)))
                case .pong(let payload): heard.append(.pong(session.copied(payload, of: rest)))
                case .close(let code, let reason):
                    heard.append(.close(code?.rawValue, session.copied(reason, of: rest)))
                case .consumed: break
                }
                position += used
            }
        }
        return heard
    }

    private static func next(
        _ session: inout WebSocketSession, _ bytes: inout [UInt8], from position: Int, changing: Bool
    ) throws(WebSocketError) -> Parsed<WebSocketEvent> {
        guard changing else { return try session.next(bytes.span.extracting(position..<bytes.count).bytes) }
        var span = bytes.mutableSpan
        var changeable = span.mutableBytes
        return try session.next(changing: &changeable, from: position)
    }
}

/// Reads a whole stream the plain way, by RFC 6455 §5, without the product's code.
enum WebSocketReference {
    static func events(
        of stream: [UInt8], _ setting: WebSocketTarget.Setting
    ) -> [WebSocketTarget.Heard] {
        var heard: [WebSocketTarget.Heard] = []
        var i = 0
        var message: [UInt8] = []
        var kind: UInt8?
        func fails(_ error: WebSocketError) -> [WebSocketTarget.Heard] { heard + [.failed(error)] }
        while i < stream.count {
            let first = stream[i]
            if first & 0x70 != 0 { return fails(.reservedBitSet) }
            let opcode = first & 15
            if ![0, 1, 2, 8, 9, 10].contains(opcode) { return fails(.unknownOpcode(opcode)) }
            let isControl = opcode >= 8
            let fin = first & 0x80 != 0
            if isControl, !fin { return fails(.fragmentedControlFrame) }
            guard i + 1 < stream.count else { return heard }
            let isMasked = stream[i + 1] & 0x80 != 0
            if isMasked, setting.role == .client { return fails(.maskedFrame) }
            if !isMasked, setting.role == .server { return fails(.unmaskedFrame) }
            var length = UInt64(stream[i + 1] & 0x7F)
            if isControl, length > 125 { return fails(.controlFrameTooLong) }
            i += 2
            let wide = length == 126 ? 2 : length == 127 ? 8 : 0
            if wide > 0 {
                guard i + wide <= stream.count else { return heard }
                length = stream[i..<(i + wide)].reduce(0) { $0 << 8 | UInt64($1) }
                i += wide
                let fewest: UInt64 = wide == 2 ? 126 : 0x10000
                if length < fewest || length >= 1 << 63 { return fails(.malformedLength) }
            }
            if length > UInt64(setting.limits.frameBytes) {
                return fails(.frameTooLarge(bytes: length, limit: setting.limits.frameBytes))
            }
            var mask: [UInt8] = [0, 0, 0, 0]
            if isMasked {
                guard i + 4 <= stream.count else { return heard }
                mask = Array(stream[i..<(i + 4)])
                i += 4
            }
            if !isControl {
                if opcode == 0, kind == nil { return fails(.unexpectedContinuation) }
                if opcode != 0, kind != nil { return fails(.expectedContinuation) }
                if message.count + Int(length) > setting.limits.messageBytes {
                    return fails(.messageTooLarge(limit: setting.limits.messageBytes))
                }
            }
            let end = min(i + Int(length), stream.count)
            let payload = stream[i..<end].enumerated().map { $1 ^ mask[$0 & 3] }
            let isWhole = payload.count == Int(length)
            i = end
            if isControl {
                guard isWhole else { return heard }
                switch opcode {
                case 9: heard.append(.ping(payload))
                case 10: heard.append(.pong(payload))
                default:
                    if payload.isEmpty { return heard + [.close(nil, [])] }
                    if payload.count == 1 { return fails(.malformedClose) }
                    let code = UInt16(payload[0]) << 8 | UInt16(payload[1])
                    let isAllowed =
                        (1000...1003).contains(code) || (1007...1014).contains(code)
                        || (3000...4999).contains(code)
                    if !isAllowed { return fails(.invalidCloseCode(code)) }
                    if String(validating: payload[2...], as: UTF8.self) == nil { return fails(.invalidUTF8) }
                    return heard + [.close(code, Array(payload[2...]))]
                }
                continue
            }
            if opcode != 0 {
                kind = opcode
                message = []
            }
            message += payload
            let isLast = isWhole && fin
            if kind == 1, setting.checksText {
                let isText = String(validating: message, as: UTF8.self) != nil
                if !isText, isLast || !isBeginning(message) { return fails(.invalidUTF8) }
            }
            guard isWhole else { return heard }
            if fin {
                heard.append(kind == 1 ? .text(message) : .binary(message))
                kind = nil
                message = []
            }
        }
        return heard
    }

    /// Whether further bytes could make it UTF-8: tried out.
    private static func isBeginning(_ text: [UInt8]) -> Bool {
        // All but the last character is checked once; only the tail of one to three bytes is tried out.
        for cut in 1...3 where cut <= text.count {
            guard String(validating: text.dropLast(cut), as: UTF8.self) != nil else { continue }
            let tail = Array(text.suffix(cut))
            if canEnd(tail) { return true }
        }
        return false
    }

    private static func canEnd(_ tail: [UInt8]) -> Bool {
        guard tail.count < 4 else { return false }
        for byte in [0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF] as [UInt8] {
            let longer = tail + [byte]
            if String(validating: longer, as: UTF8.self) != nil || canEnd(longer) { return true }
        }
        return false
    }
}
