import Protocols
import Testing

/// What a session gave, with the payloads copied.
enum Heard: Equatable {
    case text(String)
    case binary([UInt8])
    case ping([UInt8])
    case pong([UInt8])
    case close(UInt16?, String)
    case failed(WebSocketError)
}

/// Feeds the pieces one after the other, carrying over what was not used, as a reactor does.
func listen(_ session: inout WebSocketSession, _ pieces: [[UInt8]]) -> [Heard] {
    var heard: [Heard] = []
    var carry: [UInt8] = []
    for piece in pieces {
        carry += piece
        var position = 0
        feeding: while true {
            let rest = carry.span.extracting(position..<carry.count).bytes
            do {
                switch try session.next(rest) {
                case .incomplete: break feeding
                case .value(let event, let used):
                    position += used
                    func copy(_ payload: WebSocketPayload) -> [UInt8] { session.copied(payload, of: rest) }
                    switch event {
                    case .text(let payload): heard.append(.text(text(copy(payload))))
                    case .binary(let payload): heard.append(.binary(copy(payload)))
                    case .ping(let payload): heard.append(.ping(copy(payload)))
                    case .pong(let payload): heard.append(.pong(copy(payload)))
                    case .close(let code, let reason):
                        heard.append(.close(code?.rawValue, text(copy(reason))))
                    case .consumed: break
                    }
                }
            } catch {
                return heard + [.failed(error)]
            }
        }
        carry.removeFirst(position)
    }
    return heard
}

func frame(
    _ opcode: WebSocketOpcode, _ payload: [UInt8], fin: Bool = true, from sender: WebSocketRole = .server
) -> [UInt8] {
    var output: [UInt8] = []
    FrameWriter.append(
        opcode, payload.span.bytes, fin: fin, maskingKey: sender == .client ? 0x9C3A_11F7 : nil, to: &output)
    return output
}

@Suite("RFC 6455 messages and the closing handshake")
struct SessionTests {
    @Test("§5.6 a message in one frame from a server is handed out in place")
    func inPlace() throws {
        var session = WebSocketSession(role: .client)
        let source = frame(.text, bytes("{}")) + frame(.binary, [1])
        #expect(try session.next(source) == .value(.text(.input(2..<4)), used: 4))
        let rest = Array(source[4...])
        #expect(try session.next(rest) == .value(.binary(.input(2..<3)), used: 3))
        #expect(try session.next([UInt8]()) == .incomplete(needed: 2))
    }

    @Test("§5.3 sessions unmask in a shared buffer by turns, and keep it only while a message is under way")
    func sharedBuffer() throws {
        var shared: [UInt8] = []
        shared.reserveCapacity(100)
        var session = WebSocketSession(role: .server)
        var output: [UInt8] = []
        FrameWriter.append(.text, bytes("first").span.bytes, maskingKey: 0x1234_5678, to: &output)
        session.lend(&shared)
        #expect(shared.capacity == 0)
        #expect(try session.next(output.span.bytes) == .value(.text(.message), used: output.count))
        let message = session.takeMessage()
        #expect(message == bytes("first"))
        session.giveBack(message)
        session.takeBack(&shared)
        #expect(shared.capacity >= 100)

        // Cut in its payload.
        session.lend(&shared)
        #expect(try session.next(Array(output.dropLast(2)).span.bytes) == .incomplete(needed: output.count))
        session.takeBack(&shared)
        #expect(shared.capacity == 0)
        session.lend(&shared)
        #expect(try session.next(output.span.bytes) == .value(.text(.message), used: output.count))
        #expect(session.takeMessage() == bytes("first"))
    }

    @Test("§5.4, §5.5 fragments with control frames between them", arguments: WebSocketRole.allCases)
    func fragments(role: WebSocketRole) {
        let peer: WebSocketRole = role == .client ? .server : .client
        var session = WebSocketSession(role: role)
        let stream =
            frame(.text, bytes("ab"), fin: false, from: peer) + frame(.ping, bytes("p"), from: peer)
            + frame(.continuation, bytes("Ж"), fin: false, from: peer) + frame(.pong, [], from: peer)
            + frame(.continuation, [], from: peer) + frame(.binary, [0xFF, 0], from: peer)
        #expect(
            listen(&session, [stream])
                == [.ping(bytes("p")), .pong([]), .text("abЖ"), .binary([0xFF, 0])])
    }

    @Test("§5.6 a character may be cut by a fragment", arguments: WebSocketRole.allCases)
    func cutCharacter(role: WebSocketRole) {
        let peer: WebSocketRole = role == .client ? .server : .client
        var session = WebSocketSession(role: role)
        let all = bytes("😀")
        let stream =
            frame(.text, Array(all[..<1]), fin: false, from: peer)
            + frame(.continuation, Array(all[1...]), from: peer)
        #expect(listen(&session, [stream]) == [.text("😀")])
    }

    @Test("§5.4 order of fragments")
    func order() {
        var session = WebSocketSession(role: .client)
        #expect(listen(&session, [frame(.continuation, [])]) == [.failed(.unexpectedContinuation)])
        session = WebSocketSession(role: .client)
        #expect(
            listen(&session, [frame(.text, [], fin: false), frame(.text, [])]) == [
                .failed(.expectedContinuation)
            ])
        session = WebSocketSession(role: .client)
        #expect(
            listen(&session, [frame(.text, []), frame(.continuation, [])])
                == [.text(""), .failed(.unexpectedContinuation)])
    }

    @Test("§8.1 text fails before its frame is complete", arguments: WebSocketRole.allCases)
    func failFast(role: WebSocketRole) {
        let peer: WebSocketRole = role == .client ? .server : .client
        let bad = frame(.text, bytes("abc") + [0xC0] + bytes("def"), from: peer)
        let header = role == .client ? 2 : 6
        for count in 0...bad.count {
            var session = WebSocketSession(role: role)
            let heard = listen(&session, bad.prefix(count).map { [$0] })
            #expect(heard == (count >= header + 4 ? [.failed(.invalidUTF8)] : []))
        }
    }

    @Test("§8.1 text may not end inside a character")
    func openCharacter() {
        var session = WebSocketSession(role: .client)
        #expect(listen(&session, [frame(.text, [0xE2, 0x82])]) == [.failed(.invalidUTF8)])
        session = WebSocketSession(role: .client)
        #expect(
            listen(&session, [frame(.text, [0xE2], fin: false), frame(.continuation, [0x82])])
                == [.failed(.invalidUTF8)])
        session = WebSocketSession(role: .client, textValidation: .reader)
        #expect(listen(&session, [frame(.text, [0xE2, 0x82])]).count == 1)
        #expect(session.state == .open)
    }

    @Test("§10.4 limits on frame and message")
    func limits() {
        let limits = WebSocketLimits(frameBytes: 200, messageBytes: 300)
        var session = WebSocketSession(role: .client, limits: limits)
        let big = [UInt8](repeating: 0x61, count: 201)
        #expect(listen(&session, [frame(.text, big)]) == [.failed(.frameTooLarge(bytes: 201, limit: 200))])
        session = WebSocketSession(role: .client, limits: limits)
        let half = [UInt8](repeating: 0x61, count: 150)
        #expect(
            listen(&session, [frame(.text, half, fin: false), frame(.continuation, half)])
                == [.text(String(repeating: "a", count: 300))])
        #expect(
            listen(&session, [frame(.text, half, fin: false), frame(.continuation, half + [0x61])])
                == [.failed(.messageTooLarge(limit: 300))])
        #expect(WebSocketError.messageTooLarge(limit: 1).closeCode == .messageTooBig)
    }

    @Test("§7.1 the peer closes first")
    func peerCloses() throws {
        var session = WebSocketSession(role: .client)
        let stream = frame(.close, [0x03, 0xE9] + bytes("bye")) + frame(.text, bytes("late"))
        #expect(listen(&session, [stream]) == [.close(1001, "bye")])
        #expect(session.state == .peerClosed)
        var output: [UInt8] = []
        session.appendClose(.goingAway, maskingKey: 0, to: &output)
        #expect(output == hex("88 82 00000000 03E9"))
        #expect(session.state == .closed)
        session.appendClose(.goingAway, maskingKey: 0, to: &output)
        #expect(output.count == 8)
    }

    @Test("§7.1 we close first; data still comes until the peer's Close")
    func weClose() {
        var session = WebSocketSession(role: .server)
        var output: [UInt8] = []
        session.appendClose(.normal, reason: "done", maskingKey: nil, to: &output)
        #expect(output == hex("88 06 03E8") + bytes("done"))
        #expect(session.state == .closeSent)
        let stream = frame(.text, bytes("x"), from: .client) + frame(.close, [], from: .client)
        #expect(listen(&session, [stream]) == [.text("x"), .close(nil, "")])
        #expect(session.state == .closed)
    }

    @Test("§7.4 codes that may and may not be sent")
    func closeCodes() {
        for code in 0...5000 as ClosedRange<UInt16> {
            var session = WebSocketSession(role: .client)
            let heard = listen(&session, [frame(.close, [UInt8(code >> 8), UInt8(code & 255)])])
            let isAllowed = [1000...1003, 1007...1014, 3000...4999].contains { $0.contains(code) }
            #expect(heard == (isAllowed ? [.close(code, "")] : [.failed(.invalidCloseCode(code))]))
        }
    }

    @Test("§5.5.1 malformed Close frames")
    func malformedClose() {
        var session = WebSocketSession(role: .client)
        #expect(listen(&session, [frame(.close, [3])]) == [.failed(.malformedClose)])
        session = WebSocketSession(role: .client)
        #expect(listen(&session, [frame(.close, [3, 0xE8, 0xC0])]) == [.failed(.invalidUTF8)])
    }

    @Test("§7.1.7 a failed session stays failed and says so to the peer once")
    func failure() {
        var session = WebSocketSession(role: .client)
        #expect(listen(&session, [hex("81 85")]) == [.failed(.maskedFrame)])
        #expect(listen(&session, [frame(.text, [])]) == [.failed(.maskedFrame)])
        #expect(session.state == .failed(.maskedFrame))
        var output: [UInt8] = []
        session.appendClose(WebSocketError.maskedFrame.closeCode, maskingKey: 0, to: &output)
        session.appendClose(WebSocketError.maskedFrame.closeCode, maskingKey: 0, to: &output)
        #expect(output == hex("88 82 00000000 03EA"))
    }

    @Test("§5.5 a reason too long is cut at a character")
    func longReason() {
        var output: [UInt8] = []
        FrameWriter.close(.normal, reason: String(repeating: "ж", count: 100), maskingKey: nil, to: &output)
        #expect(output.count == 2 + 2 + 122)
        #expect(String(validating: Array(output[4...])) == String(repeating: "ж", count: 61))
    }
}
