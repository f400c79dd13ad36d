import Testing

@testable import Protocols

@Suite("RFC 6455 §5.2 frames")
struct FrameTests {
    func parse(_ source: [UInt8], role: WebSocketRole = .client) throws -> Parsed<WebSocketFrame> {
        try FrameParser(role: role).next(source)
    }

    @Test("examples of §5.7")
    func examples() throws {
        let hello = hex("81 05 48 65 6c 6c 6f")
        #expect(
            try parse(hello)
                == .value(.init(fin: true, opcode: .text, payload: 2..<7, maskingKey: nil), used: 7))
        let masked = hex("81 85 37 fa 21 3d 7f 9f 4d 51 58")
        guard case .value(let frame, 11) = try parse(masked, role: .server), let key = frame.maskingKey else {
            Issue.record("no frame")
            return
        }
        var payload = Array(masked[frame.payload])
        FrameWriter.mask(&payload, from: 0, key: key)
        #expect(text(payload) == "Hello")
        #expect(
            try parse(hex("01 03 48 65 6c"))
                == .value(.init(fin: false, opcode: .text, payload: 2..<5, maskingKey: nil), used: 5))
        #expect(
            try parse(hex("82 7E 0100") + [UInt8](repeating: 0, count: 256))
                == .value(.init(fin: true, opcode: .binary, payload: 4..<260, maskingKey: nil), used: 260))
        #expect(
            try parse(hex("82 7F 0000000000010000") + [UInt8](repeating: 0, count: 65536))
                == .value(
                    .init(fin: true, opcode: .binary, payload: 10..<65546, maskingKey: nil), used: 65546))
    }

    @Test("what is missing is told exactly")
    func incomplete() throws {
        #expect(try parse([]) == .incomplete(needed: 2))
        #expect(try parse(hex("81")) == .incomplete(needed: 2))
        #expect(try parse(hex("81 05")) == .incomplete(needed: 7))
        #expect(try parse(hex("81 7E 01")) == .incomplete(needed: 4))
        #expect(try parse(hex("81 7E 0100")) == .incomplete(needed: 260))
        #expect(try parse(hex("81 7F 00000000000100")) == .incomplete(needed: 10))
        #expect(try parse(hex("81 85 37"), role: .server) == .incomplete(needed: 6))
        #expect(try parse(hex("81 85 37 fa 21 3d"), role: .server) == .incomplete(needed: 11))
    }

    @Test(arguments: [
        ("C1 00", WebSocketError.reservedBitSet), ("A1", .reservedBitSet), ("91", .reservedBitSet),
        ("83 00", .unknownOpcode(3)), ("87", .unknownOpcode(7)), ("8B", .unknownOpcode(11)),
        ("8F", .unknownOpcode(15)), ("08", .fragmentedControlFrame), ("09 00", .fragmentedControlFrame),
        ("89 7E", .controlFrameTooLong), ("88 7F", .controlFrameTooLong), ("81 85", .maskedFrame),
        ("81 7E 007D", .malformedLength), ("81 7E 0000", .malformedLength),
        ("81 7F 000000000000FFFF", .malformedLength), ("81 7F 8000000000000000", .malformedLength),
        ("82 7F 0000000001000001", .frameTooLarge(bytes: 16 << 20 | 1, limit: 16 << 20)),
    ])
    func refused(digits: String, error: WebSocketError) {
        #expect(throws: error) { try parse(hex(digits)) }
    }

    @Test func unmaskedFrameFromClient() {
        #expect(throws: WebSocketError.unmaskedFrame) { try parse(hex("81 05"), role: .server) }
    }

    @Test(
        "written and parsed back, round every size of length",
        arguments: [0, 1, 15, 16, 17, 125, 126, 127, 65535, 65536, 70001])
    func inverse(count: Int) throws {
        let payload = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        for key in [nil, 0x1234_5678, 0xFF] as [UInt32?] {
            for opcode in WebSocketOpcode.allCases where !opcode.isControl || count <= 125 {
                var output: [UInt8] = [1, 2, 3]
                FrameWriter.append(opcode, payload.span.bytes, maskingKey: key, to: &output)
                let written = Array(output[3...])
                guard
                    case .value(let frame, written.count) = try parse(
                        written, role: key == nil ? .client : .server)
                else {
                    Issue.record("no frame of \(count) bytes")
                    return
                }
                #expect(frame.fin)
                #expect(frame.opcode == opcode)
                #expect(frame.maskingKey == key)
                var read = Array(written[frame.payload])
                if let key { FrameWriter.mask(&read, from: 0, key: key) }
                #expect(read == payload)
            }
        }
    }

    @Test("masking is the RFC's byte-wise rule at every phase")
    func masking() {
        let key: UInt32 = 0xA1B2_C3D4
        let keyBytes: [UInt8] = [0xD4, 0xC3, 0xB2, 0xA1]
        for count in 0..<200 {
            for phase in 0..<4 {
                let source = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 3) }
                var masked: [UInt8] = [9] + source
                FrameWriter.mask(&masked, from: 1, key: key, phase: phase)
                let expected = source.indices.map { source[$0] ^ keyBytes[($0 + phase) % 4] }
                #expect(masked == [9] + expected)
            }
        }
    }

    @Test("every form of masking writes the same, and nothing else")
    func maskingForms() throws {
        let key: UInt32 = 0xA1B2_C3D4
        let keyBytes: [UInt8] = [0xD4, 0xC3, 0xB2, 0xA1]
        for count in Array(0..<300) + [511, 512, 513, 4099] {
            let source = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 3) }
            let expected = source.indices.map { source[$0] ^ keyBytes[$0 % 4] }
            for form in 0..<FrameWriter.forms {
                #expect(
                    FrameWriter.masked(source, key: key, form: form) == expected,
                    "\(count) bytes, form \(form)")
            }
        }
    }
}
