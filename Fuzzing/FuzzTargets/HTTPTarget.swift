import Protocols

/// What a reader of either kind of message found.
enum HTTPHeard: Equatable {
    case head(String)
    case body([UInt8])
    case end
    case failed(HTTPError)

    /// Adds a piece of a body to the piece before it: how a body is cut is no part of its meaning.
    static func note(_ heard: inout [HTTPHeard], _ piece: ArraySlice<UInt8>) {
        if piece.isEmpty { return }
        if case .body(let before) = heard.last {
            heard[heard.count - 1] = .body(before + piece)
        } else {
            heard.append(.body(Array(piece)))
        }
    }

    /// Small, so that inputs reach them.
    static func limits(_ flags: UInt8) -> HTTPLimits {
        flags & 1 == 0
            ? HTTPLimits() : HTTPLimits(startLineBytes: 60, headBytes: 300, fieldCount: 6, bodyBytes: 200)
    }

    static func list(_ fields: HTTPFields) -> [HTTPField] { (0..<fields.count).map { fields.field(at: $0) } }

    /// What no accepted head may hold, looked for the plain way: RFC 9112 §2.2, §5 and §11.2.
    static func holdClean(_ head: ArraySlice<UInt8>, isRequest: Bool) throws(Finding) {
        var lines: [ArraySlice<UInt8>] = []
        var start = head.startIndex
        for index in head.indices {
            let byte = head[index]
            try hold(byte != 0, "NUL in a head")
            if byte == 0x0A {
                try hold(index > head.startIndex && head[index - 1] == 0x0D, "a bare LF in a head")
                lines.append(head[start..<(index - 1)])
                start = index + 1
            }
            if byte == 0x0D {
                try hold(index + 1 < head.endIndex && head[index + 1] == 0x0A, "a bare CR in a head")
            }
        }
        while lines.first?.isEmpty == true { lines.removeFirst() }
        try hold(lines.last?.isEmpty == true, "a head without its end")
        var counts: [String: Int] = [:]
        for line in lines.dropFirst().dropLast() {
            guard let colon = line.firstIndex(of: 0x3A) else { throw Finding("a field without colon") }
            let name = String(decoding: line[..<colon], as: UTF8.self).lowercased()
            let isToken = name.utf8.allSatisfy {
                $0 > 0x20 && $0 < 0x7F && !Array("\"(),/:;<=>?@[\\]{}".utf8).contains($0)
            }
            try hold(!name.isEmpty && isToken, "a name that is no token: \(name)")
            counts[name, default: 0] += 1
            let value = String(decoding: line[line.index(after: colon)...], as: UTF8.self)
                .split(whereSeparator: { $0 == " " || $0 == "\t" }).joined(separator: " ")
            if name == "content-length" {
                try hold(
                    !value.isEmpty && value.utf8.allSatisfy { (0x30...0x39).contains($0) },
                    "a length \(value)")
            }
            if name == "transfer-encoding" {
                try hold(value.lowercased() == "chunked", "a coding \(value)")
            }
        }
        let lengths = counts["content-length"] ?? 0
        let codings = counts["transfer-encoding"] ?? 0
        try hold(lengths + codings <= 1, "several lengths")
        if isRequest { try hold(counts["host"] ?? 0 <= 1, "several hosts") }
    }
}

/// Flags, cuts, then a stream of requests.
enum HTTPRequestTarget {
    static func check(_ input: UnsafeRawBufferPointer) throws(Finding) {
        var reader = InputReader(input)
        let limits = HTTPHeard.limits(reader.byte())
        let cuts = reader.cuts()
        let stream = reader.bytes
        let expected = try listen([stream], limits)
        let cut = try listen(pieces(stream, cuts), limits)
        try hold(cut == expected, "cut at \(cuts): heard \(cut), not \(expected)")
        guard stream.count <= 1024 else { return }
        let single = try listen(stream.map { [$0] }, limits)
        try hold(single == expected, "byte by byte: heard \(single), not \(expected)")
    }

    private static func listen(_ pieces: [[UInt8]], _ limits: HTTPLimits) throws(Finding) -> [HTTPHeard] {
        var parser = HTTPRequestParser(limits: limits)
        var heard: [HTTPHeard] = []
        try feed(pieces) { (bytes) throws(Finding) -> Int? in
            var position = 0
            while true {
                let rest = bytes.span.extracting(position..<bytes.count).bytes
                let result: Parsed<HTTPRequestEvent>
                do throws(HTTPError) { result = try parser.next(rest) } catch {
                    heard.append(.failed(error))
                    return nil
                }
                guard case .value(let event, let used) = result else { return position }
                try hold(used >= 0 && used <= rest.byteCount, "\(used) of \(rest.byteCount) bytes used")
                switch event {
                case .head(let head):
                    try hold(used > 0, "a head of nothing")
                    try HTTPHeard.holdClean(bytes[position..<(position + used)], isRequest: true)
                    try inverse(head)
                    heard.append(
                        .head(
                            "\(head.method) \(head.target) \(head.minorVersion) \(head.framing) "
                                + "\(head.keepsAlive) \(HTTPHeard.list(head.fields))"))
                    if case .success(let acceptance) = upgrade(head) {
                        try hold(acceptance.accept.utf8.count == 28, "an accept of another size")
                    }
                case .body(let range):
                    try hold(range.upperBound <= used, "a body beyond what was used")
                    HTTPHeard.note(&heard, bytes[position...].dropFirst(range.lowerBound).prefix(range.count))
                case .end: heard.append(.end)
                }
                position += used
            }
        }
        return heard
    }

    private static func upgrade(
        _ head: HTTPRequestHead
    ) -> Result<WebSocketHandshake.Acceptance, WebSocketHandshakeError> {
        do throws(WebSocketHandshakeError) {
            return .success(try WebSocketHandshake.check(head, subprotocols: ["ari", "x"]))
        } catch { return .failure(error) }
    }

    /// A head that was read, written by our writer and read again, is the same.
    private static func inverse(_ head: HTTPRequestHead) throws(Finding) {
        guard head.minorVersion == 1 else { return }
        let own = ["host", "content-length", "transfer-encoding"]
        let fields = HTTPHeard.list(head.fields)
        // The fields' values are any bytes; what is not UTF-8 was replaced and is written otherwise.
        let further = fields.filter { !own.contains($0.name.lowercased()) }
        guard let host = head.fields["host"] else { throw Finding("a request without Host") }
        var output: [UInt8] = []
        HTTPWriter.requestHead(
            head.method, target: head.target, host: host, fields: further, body: head.framing, to: &output)
        var parser = HTTPRequestParser(
            limits: HTTPLimits(
                startLineBytes: 1 << 20, headBytes: 1 << 20, fieldCount: 10_000, bodyBytes: 1 << 62))
        let again: Parsed<HTTPRequestEvent>
        do throws(HTTPError) { again = try parser.next(output.span.bytes) } catch {
            throw Finding("what was written is not read: \(error)")
        }
        guard case .value(.head(let other), output.count) = again else {
            throw Finding("no head was read again")
        }
        try hold(other.method == head.method && other.target == head.target, "another request line")
        try hold(other.framing == head.framing && other.keepsAlive == head.keepsAlive, "another framing")
        let otherFields = HTTPHeard.list(other.fields).filter { !own.contains($0.name.lowercased()) }
        try hold(otherFields == further, "other fields")
    }
}

/// Flags, the methods of the requests, cuts, then a stream of responses.
enum HTTPResponseTarget {
    static func check(_ input: UnsafeRawBufferPointer) throws(Finding) {
        var reader = InputReader(input)
        let flags = reader.byte()
        let limits = HTTPHeard.limits(flags)
        let known: [HTTPMethod] = [.get, .head, .connect, .post]
        let methods = (0..<4).map { known[Int(flags >> (2 * UInt8($0)) & 3)] }
        let cuts = reader.cuts()
        let stream = reader.bytes
        let expected = try listen([stream], limits, methods)
        let cut = try listen(pieces(stream, cuts), limits, methods)
        try hold(cut == expected, "cut at \(cuts): heard \(cut), not \(expected)")
        guard stream.count <= 1024 else { return }
        let single = try listen(stream.map { [$0] }, limits, methods)
        try hold(single == expected, "byte by byte: heard \(single), not \(expected)")
    }

    private static func listen(
        _ pieces: [[UInt8]], _ limits: HTTPLimits, _ methods: [HTTPMethod]
    ) throws(Finding) -> [HTTPHeard] {
        var parser = HTTPResponseParser(limits: limits)
        for method in methods { parser.sent(method) }
        var heard: [HTTPHeard] = []
        var failed = false
        try feed(pieces) { (bytes) throws(Finding) -> Int? in
            var position = 0
            while true {
                let rest = bytes.span.extracting(position..<bytes.count).bytes
                let result: Parsed<HTTPResponseEvent>
                do throws(HTTPError) { result = try parser.next(rest) } catch {
                    heard.append(.failed(error))
                    failed = true
                    return nil
                }
                guard case .value(let event, let used) = result else { return position }
                try hold(used >= 0 && used <= rest.byteCount, "\(used) of \(rest.byteCount) bytes used")
                switch event {
                case .head(let head), .informational(let head):
                    try hold(used > 0, "a head of nothing")
                    try HTTPHeard.holdClean(bytes[position..<(position + used)], isRequest: false)
                    heard.append(
                        .head(
                            "\(head.statusCode) \(head.reason) \(head.minorVersion) \(head.framing) "
                                + "\(head.keepsAlive) \(HTTPHeard.list(head.fields))"))
                    if let chosen = subprotocol(head) {
                        try hold(chosen == "ari", "a subprotocol that was not offered")
                    }
                case .body(let range):
                    try hold(range.upperBound <= used, "a body beyond what was used")
                    HTTPHeard.note(&heard, bytes[position...].dropFirst(range.lowerBound).prefix(range.count))
                case .end: heard.append(.end)
                }
                position += used
            }
        }
        guard !failed else { return heard }
        do throws(HTTPError) {
            if case .end = try parser.inputEnded() { heard.append(.end) }
        } catch { heard.append(.failed(error)) }
        return heard
    }

    /// The subprotocol that a handshake's answer chose; nil when there is none, or the answer is no good.
    private static func subprotocol(_ head: HTTPResponseHead) -> String? {
        do throws(WebSocketHandshakeError) {
            return try WebSocketHandshake.check(head, key: "dGhlIHNhbXBsZSBub25jZQ==", subprotocols: ["ari"])
        } catch { return nil }
    }
}
