import Protocols
import Testing

/// Gives a stream in pieces to a reader that tells how much it used, and carries over the rest, as the
/// reactor does.
///
/// `read` is called with what there is until it uses nothing more.
func feed(_ stream: [UInt8], cutAt cuts: [Int], _ read: ([UInt8]) -> Int?) {
    var carry: [UInt8] = []
    var start = 0
    for end in cuts + [stream.count] {
        carry += stream[start..<end]
        start = end
        guard let used = read(carry) else { return }
        carry.removeFirst(used)
    }
}

/// Sorted places to cut: every single one, all at once, or some at random.
func cutPlans(_ count: Int, _ random: inout SeededRandom) -> [[Int]] {
    var plans = (0...count).map { [$0] } + [Array(0..<count)]
    for _ in 0..<10 {
        plans.append((0..<5).map { _ in Int.random(in: 0...count, using: &random) }.sorted())
    }
    return plans
}

@Suite("WebSocket streams cut anywhere give the same")
struct WebSocketCutTests {
    enum Heard: Equatable {
        case text([UInt8])
        case binary([UInt8])
        case ping([UInt8])
        case pong([UInt8])
        case close(UInt16?, [UInt8])
        case failed(WebSocketError)
    }

    /// - Parameters:
    ///   - shared: A buffer that the session gathers in and gives back behind each read, if any.
    ///   - changing: Whether the bytes may be unmasked where they lie.
    func listen(
        _ role: WebSocketRole, _ stream: [UInt8], cutAt cuts: [Int], sharing shared: [UInt8]? = nil,
        changing: Bool = false
    ) -> [Heard] {
        var session = WebSocketSession(role: role, limits: .init(frameBytes: 4096, messageBytes: 5000))
        var heard: [Heard] = []
        var buffer = shared ?? []
        feed(stream, cutAt: cuts) { bytes in
            if shared != nil { session.lend(&buffer) }
            defer {
                if shared != nil { session.takeBack(&buffer) }
                // What others would leave in it.
                for index in buffer.indices { buffer[index] = 0xFF }
            }
            var bytes = bytes
            var position = 0
            while true {
                do throws(WebSocketError) {
                    let found = try next(&session, &bytes, from: position, changing: changing)
                    guard case .value(let event, let used) = found else { return position }
                    let rest = bytes.span.extracting(position..<bytes.count).bytes
                    position += used
                    switch event {
                    case .text(let payload): heard.append(.text(session.copied(payload, of: rest)))
                    case .binary(let payload): heard.append(.binary(session.copied(payload, of: rest)))
                    case .ping(let payload): heard.append(.ping(session.copied(payload, of: rest)))
                    case .pong(let payload): heard.append(.pong(session.copied(payload, of: rest)))
                    case .close(let code, let reason):
                        heard.append(.close(code?.rawValue, session.copied(reason, of: rest)))
                    case .consumed: break
                    }
                } catch {
                    heard.append(.failed(error))
                    return nil
                }
            }
        }
        return heard
    }

    private func next(
        _ session: inout WebSocketSession, _ bytes: inout [UInt8], from position: Int, changing: Bool
    ) throws(WebSocketError) -> Parsed<WebSocketEvent> {
        guard changing else { return try session.next(bytes.span.extracting(position..<bytes.count).bytes) }
        let before = bytes
        var span = bytes.mutableSpan
        var changeable = span.mutableBytes
        let found = try session.next(changing: &changeable, from: position)
        // What was not used comes again, and must be as it was.
        var used = 0
        if case .value(_, let count) = found { used = count }
        #expect(bytes[..<position] == before[..<position])
        #expect(bytes[(position + used)...] == before[(position + used)...])
        return found
    }

    /// A stream of messages, some in fragments with control frames between them, and what must be heard.
    func stream(_ role: WebSocketRole, _ random: inout SeededRandom) -> ([UInt8], [Heard]) {
        var output: [UInt8] = []
        var expected: [Heard] = []
        func write(_ opcode: WebSocketOpcode, _ payload: [UInt8], fin: Bool, _ random: inout SeededRandom) {
            let key = role == .server ? UInt32.random(in: 0 ... .max, using: &random) : nil
            FrameWriter.append(opcode, payload.span.bytes, fin: fin, maskingKey: key, to: &output)
        }
        for _ in 0..<Int.random(in: 1..<5, using: &random) {
            let isText = Bool.random(using: &random)
            let size = [0, 1, 7, 40, 125, 126, 300].randomElement(using: &random) ?? 0
            let payload =
                isText
                ? bytes(String("Текст and 漢字 and 😀 ".prefix(size % 20)))
                : (0..<size).map { _ in UInt8.random(in: 0...255, using: &random) }
            var parts = [payload]
            if Int.random(in: 0..<3, using: &random) > 0 {
                let cut = Int.random(in: 0...payload.count, using: &random)
                parts = [Array(payload[..<cut]), [], Array(payload[cut...])]
            }
            for (index, part) in parts.enumerated() {
                if Int.random(in: 0..<3, using: &random) == 0 {
                    write(.ping, part.suffix(5), fin: true, &random)
                    expected.append(.ping(part.suffix(5)))
                }
                let opcode: WebSocketOpcode = index > 0 ? .continuation : isText ? .text : .binary
                write(opcode, part, fin: index == parts.count - 1, &random)
            }
            expected.append(isText ? .text(payload) : .binary(payload))
        }
        write(.pong, [], fin: true, &random)
        expected.append(.pong([]))
        write(.close, [0x03, 0xE8] + bytes("ok"), fin: true, &random)
        expected.append(.close(1000, bytes("ok")))
        return (output, expected)
    }

    @Test(arguments: WebSocketRole.allCases)
    func whole(role: WebSocketRole) {
        let seed = SeededRandom.runSeed
        var random = SeededRandom(seed: seed)
        for turn in 0..<25 {
            let (source, expected) = stream(role, &random)
            for cuts in cutPlans(source.count, &random) {
                let heard = listen(role, source, cutAt: cuts)
                #expect(heard == expected, "SEED=\(seed) turn \(turn) cuts \(cuts.prefix(8))")
                let sharing = listen(role, source, cutAt: cuts, sharing: [1, 2, 3])
                #expect(sharing == expected, "SEED=\(seed) turn \(turn) cuts \(cuts.prefix(8)), sharing")
                let changing = listen(role, source, cutAt: cuts, sharing: [1, 2, 3], changing: true)
                #expect(changing == expected, "SEED=\(seed) turn \(turn) cuts \(cuts.prefix(8)), changing")
            }
        }
    }

    @Test("damaged streams fail in the same way", arguments: WebSocketRole.allCases)
    func damaged(role: WebSocketRole) {
        let seed = SeededRandom.runSeed
        var generator = JSONGenerator(random: SeededRandom(seed: seed))
        var failures = 0
        for turn in 0..<60 {
            let source = generator.damaged(stream(role, &generator.random).0)
            let expected = listen(role, source, cutAt: [])
            if case .failed = expected.last { failures += 1 }
            for cuts in cutPlans(source.count, &generator.random) where cuts.count != 1 || cuts[0] % 3 == 0 {
                let heard = listen(role, source, cutAt: cuts)
                #expect(heard == expected, "SEED=\(seed) turn \(turn) cuts \(cuts.prefix(8))")
                let sharing = listen(role, source, cutAt: cuts, sharing: [1, 2, 3])
                #expect(sharing == expected, "SEED=\(seed) turn \(turn) cuts \(cuts.prefix(8)), sharing")
                let changing = listen(role, source, cutAt: cuts, sharing: [1, 2, 3], changing: true)
                #expect(changing == expected, "SEED=\(seed) turn \(turn) cuts \(cuts.prefix(8)), changing")
            }
        }
        #expect(failures > 5)
    }

    @Test("nothing outside the bytes is read", arguments: WebSocketRole.allCases)
    func guardPage(role: WebSocketRole) throws {
        let seed = SeededRandom.runSeed
        var generator = JSONGenerator(random: SeededRandom(seed: seed))
        let page = try #require(GuardPage(capacity: 1 << 16))
        for turn in 0..<20 {
            var source = stream(role, &generator.random).0
            if turn % 2 == 1 { source = generator.damaged(source) }
            for count in 0...source.count {
                var session = WebSocketSession(role: role)
                let used = page.atEnd(Array(source[..<count])) { buffer in
                    var position = 0
                    while position <= buffer.count,
                        let result = try? session.next(buffer.bytes.extracting(position..<buffer.count)),
                        case .value(_, let step) = result, step > 0
                    {
                        position += step
                    }
                    return position
                }
                #expect(used <= count, "SEED=\(seed) turn \(turn)")
                var changing = WebSocketSession(role: role)
                let unmasked = page.atEnd(Array(source[..<count])) { buffer in
                    var bytes = UnsafeMutableRawBufferPointer(mutating: UnsafeRawBufferPointer(buffer))
                        .mutableBytes
                    var position = 0
                    while let result = try? changing.next(changing: &bytes, from: position),
                        case .value(_, let step) = result, step > 0
                    {
                        position += step
                    }
                    return position
                }
                #expect(unmasked == used, "SEED=\(seed) turn \(turn)")
            }
        }
    }
}

@Suite("HTTP streams cut anywhere give the same")
struct HTTPCutTests {
    enum Heard: Equatable {
        case head(String)
        case body([UInt8])
        case end
        case failed(HTTPError)
    }

    static let limits = HTTPLimits(startLineBytes: 60, headBytes: 300, fieldCount: 6, bodyBytes: 200)

    /// Body pieces are joined: how they are cut is no part of the meaning.
    static func note(_ heard: inout [Heard], _ piece: [UInt8]) {
        if piece.isEmpty { return }
        if case .body(let before) = heard.last {
            heard[heard.count - 1] = .body(before + piece)
        } else {
            heard.append(.body(piece))
        }
    }

    func requests(_ stream: [UInt8], cutAt cuts: [Int]) -> [Heard] {
        var parser = HTTPRequestParser(limits: Self.limits)
        var heard: [Heard] = []
        feed(stream, cutAt: cuts) { bytes in
            var position = 0
            while true {
                let rest = bytes.span.extracting(position..<bytes.count).bytes
                do throws(HTTPError) {
                    guard case .value(let event, let used) = try parser.next(rest) else { return position }
                    switch event {
                    case .head(let head):
                        let fields = (0..<head.fields.count).map { head.fields.field(at: $0) }
                        heard.append(.head("\(head.method) \(head.target) \(head.framing) \(fields)"))
                    case .body(let range):
                        Self.note(
                            &heard, Array(bytes[position...].dropFirst(range.lowerBound).prefix(range.count)))
                    case .end: heard.append(.end)
                    }
                    position += used
                } catch {
                    heard.append(.failed(error))
                    return nil
                }
            }
        }
        return heard
    }

    func responses(_ stream: [UInt8], cutAt cuts: [Int]) -> [Heard] {
        var parser = HTTPResponseParser(limits: Self.limits)
        for _ in 0..<20 { parser.sent(.get) }
        var heard: [Heard] = []
        feed(stream, cutAt: cuts) { bytes in
            var position = 0
            while true {
                let rest = bytes.span.extracting(position..<bytes.count).bytes
                do throws(HTTPError) {
                    guard case .value(let event, let used) = try parser.next(rest) else { return position }
                    switch event {
                    case .head(let head), .informational(let head):
                        heard.append(
                            .head("\(head.statusCode) \(head.reason) \(head.framing) \(head.fields.count)"))
                    case .body(let range):
                        Self.note(
                            &heard, Array(bytes[position...].dropFirst(range.lowerBound).prefix(range.count)))
                    case .end: heard.append(.end)
                    }
                    position += used
                } catch {
                    heard.append(.failed(error))
                    return nil
                }
            }
        }
        return heard
    }

    static let requestParts = [
        "GET /a?b HTTP/1.1\r\nHost: h\r\nX:  y \r\n\r\n",
        "POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        "PUT /d HTTP/1.1\r\nhost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: u\r\n\r\n",
        "\r\nGET /after HTTP/1.0\r\n\r\n", "POST / HTTP/1.1\r\nHost:\r\nContent-Length: 0\r\n\r\n",
    ]
    static let responseParts = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello", "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 404 \r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ]

    @Test("requests and responses, whole and damaged")
    func cuts() {
        let seed = SeededRandom.runSeed
        var generator = JSONGenerator(random: SeededRandom(seed: seed))
        var failures = 0
        for turn in 0..<120 {
            let isRequest = turn % 2 == 0
            let parts = isRequest ? Self.requestParts : Self.responseParts
            var source: [UInt8] = []
            for _ in 0..<3 { source += bytes(parts.randomElement(using: &generator.random) ?? "") }
            if turn >= 20 { source = generator.damaged(source) }
            let expected = isRequest ? requests(source, cutAt: []) : responses(source, cutAt: [])
            if case .failed = expected.last { failures += 1 }
            if turn < 20 { #expect(expected.filter { $0 == .end }.count == 3, "SEED=\(seed) turn \(turn)") }
            for cuts in cutPlans(source.count, &generator.random)
            where cuts.count != 1 || turn < 20 || cuts[0] % 4 == 0 {
                let heard = isRequest ? requests(source, cutAt: cuts) : responses(source, cutAt: cuts)
                #expect(
                    heard == expected,
                    "SEED=\(seed) turn \(turn) cuts \(cuts.prefix(8)) \(String(decoding: source, as: UTF8.self).debugDescription)"
                )
            }
        }
        #expect(failures > 20)
    }

    @Test("nothing outside the bytes is read")
    func guardPage() throws {
        let page = try #require(GuardPage(capacity: 1 << 16))
        for part in Self.requestParts {
            let source = bytes(part)
            for count in 0...source.count {
                var parser = HTTPRequestParser(limits: Self.limits)
                let used = page.atEnd(Array(source[..<count])) { buffer in
                    var position = 0
                    while let result = try? parser.next(buffer.bytes.extracting(position..<buffer.count)),
                        case .value(let event, let step) = result
                    {
                        position += step
                        if case .end = event { break }
                    }
                    return position
                }
                #expect(used <= count)
            }
        }
    }
}

@Suite("Timestamps and URLs never read outside, whatever they are given")
struct SmallReaderTests {
    @Test func timestamps() throws {
        let seed = SeededRandom.runSeed
        var generator = JSONGenerator(random: SeededRandom(seed: seed))
        let page = try #require(GuardPage(capacity: 4096))
        let good = bytes("2026-11-22T10:40:32.014+0300")
        for count in 0...good.count { _ = page.atEnd(Array(good[..<count])) { Timestamp($0.bytes) } }
        for turn in 0..<2000 {
            let damaged = generator.damaged(good)
            let read = page.atEnd(damaged) { Timestamp($0.bytes) }
            // What is taken can be written and taken again.
            if let read {
                #expect(Timestamp(read.formatted(.microseconds)) == read, "SEED=\(seed) turn \(turn)")
            }
        }
    }

    @Test func urls() {
        let seed = SeededRandom.runSeed
        var generator = JSONGenerator(random: SeededRandom(seed: seed))
        let good = bytes("https://user:p%40ss@[fe80::1]:8443/a/b?c=d%20e&f#g")
        for turn in 0..<2000 {
            let text = String(decoding: generator.damaged(good), as: UTF8.self)
            guard let url = try? Protocols.URL(text) else { continue }
            let again = try? Protocols.URL(url.description)
            #expect(again?.requestTarget == url.requestTarget, "SEED=\(seed) turn \(turn) \(text)")
            #expect(again?.host == url.host, "SEED=\(seed) turn \(turn) \(text)")
            #expect(again?.port == url.port, "SEED=\(seed) turn \(turn) \(text)")
        }
    }
}
