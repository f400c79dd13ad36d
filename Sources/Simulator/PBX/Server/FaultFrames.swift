extension FaultPlan.Stream {
    /// Frames, or bytes that are none, that a faulty PBX sends; empty for faults of another sort.
    var frames: [[UInt8]] {
        switch self {
        case .none, .resetInFrame, .end, .silence, .replaced: []
        // RSV bits clear, opcode 3, which RFC 6455 §5.2 reserves.
        case .badOpcode: [[0x83, 0x01, 0x41]]
        case .maskedFrame: [[0x81, 0x82, 1, 2, 3, 4, 0x7A, 0x7F]]
        // A 64-bit length of 17 MiB.
        case .hugeFrame: [[0x81, 0x7F, 0, 0, 0, 0, 0x01, 0x10, 0, 0] + Array("{\"type\":\"".utf8)]
        case .badUTF8: [Self.text([0x7B, 0x22, 0xC3, 0x28, 0x22, 0x7D])]
        case .badJSON:
            [
                Self.text(Array("{\"type\":\"Dial\",\"timestamp\":\"2026-11-22T10".utf8)),
                Self.text([UInt8](repeating: UInt8(ascii: "["), count: 200) + Array("]".utf8)),
                Self.text(Array("12".utf8)),
                Self.text([]),
                Self.text(Array("{\"type\":\"StasisStart\"}".utf8)),
            ]
        case .duplicateKeys:
            [
                Self.text(
                    Array(
                        """
                        {"type":"StasisStart","type":"StasisEnd","timestamp":"2026-11-22T10:00:00.000+0000",\
                        "args":[],"channel":{"id":"1.1","id":"2.2","name":"PJSIP/x-1","state":"Ring",\
                        "caller":{"name":"","number":"1"},"connected":{"name":"","number":""},\
                        "accountcode":"","dialplan":{"context":"from-external","exten":"1","priority":1,\
                        "app_name":"Stasis","app_data":"x"},"creationtime":"2026-11-22T10:00:00.000+0000",\
                        "language":"en"},"asterisk_id":"a","application":"b"}
                        """.utf8))
            ]
        }
    }

    /// An unmasked text frame in one piece.
    private static func text(_ payload: [UInt8]) -> [UInt8] {
        if payload.count < 126 { return [0x81, UInt8(payload.count)] + payload }
        return [0x81, 0x7E, UInt8(payload.count >> 8 & 0xFF), UInt8(payload.count & 0xFF)] + payload
    }
}
