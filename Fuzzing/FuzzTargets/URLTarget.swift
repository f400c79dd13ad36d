import Protocols

/// The first byte says as what the rest is read.
enum URLTarget {
    static func check(_ input: UnsafeRawBufferPointer) throws(Finding) {
        var reader = InputReader(input)
        let kind = reader.byte()
        let bytes = reader.bytes
        let text = String(decoding: bytes, as: UTF8.self)
        switch kind & 3 {
        case 0: try url(text)
        case 1: try query(text)
        case 2: try percent(bytes, kind & 4 == 0 ? .literal : .space)
        default: try base64(bytes, text)
        }
    }

    private static func url(_ text: String) throws(Finding) {
        guard let url = try? URL(text) else { return }
        let written = url.description
        guard let again = try? URL(written) else { throw Finding("\(written) is not read again") }
        try hold(again.user == nil && again.password == nil, "credentials are shown: \(written)")
        try hold(again.scheme == url.scheme && again.host == url.host, "another server: \(written)")
        try hold(
            again.port == url.port && again.requestTarget == url.requestTarget, "another target: \(written)")
        try hold(
            url.port > 0 && !url.host.isEmpty && url.path.utf8.first == 0x2F, "a part is missing: \(written)")
        let line = Array(url.requestTarget.utf8) + Array(url.hostField.utf8)
        try hold(line.allSatisfy { $0 > 0x20 && $0 < 0x7F }, "it could add a line to a request: \(written)")
        let longer = url.appending(Query(["a b": "ж&="]))
        try hold(longer.query?.hasSuffix("a+b=%D0%B6%26%3D") == true, "a lost item: \(longer)")
    }

    private static func query(_ text: String) throws(Finding) {
        guard let query = Query(parsing: text) else { return }
        guard let again = Query(parsing: query.encoded) else {
            throw Finding("\(query.encoded) is not read again")
        }
        // An item without name and value is written `=`, and so it is read.
        try hold(again == query, "other items: \(query.encoded)")
        for item in query.items {
            try hold(query.values(of: item.name).contains(item.value), "a lost value")
        }
    }

    private static func percent(_ bytes: [UInt8], _ plus: PercentCoding.Plus) throws(Finding) {
        let text = String(decoding: bytes, as: UTF8.self)
        let encoded = PercentCoding.encoded(text, plus: plus)
        try hold(encoded.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }, "not encoded: \(encoded)")
        try hold(PercentCoding.decoded(encoded, plus: plus) == text, "decoded otherwise: \(encoded)")
        // Decoding takes one pass, by a plain second reader.
        var expected: [UInt8]? = []
        var rest = bytes[...]
        while let byte = rest.popFirst() {
            guard byte == 0x25 else {
                expected?.append(byte == 0x2B && plus == .space ? 0x20 : byte)
                continue
            }
            let digits = rest.prefix(2)
            let isHex = digits.allSatisfy { Array("0123456789abcdefABCDEF".utf8).contains($0) }
            guard digits.count == 2, isHex,
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
            else {
                expected = nil
                break
            }
            expected?.append(value)
            rest = rest.dropFirst(2)
        }
        try hold(PercentCoding.decoded(bytes.span.bytes, plus: plus) == expected, "decoded otherwise")
    }

    private static func base64(_ bytes: [UInt8], _ text: String) throws(Finding) {
        try hold(Base64.decoded(Base64.encoded(bytes)) == bytes, "Base64 is decoded otherwise")
        if let decoded = Base64.decoded(text) {
            try hold(Base64.encoded(decoded) == text, "Base64 that is not canonical is taken: \(text)")
        }
    }
}
