/// `uri-host [ ":" port ]` (RFC 9110 §7.2, RFC 3986 §3.2.2), by its grammar: what one reader takes for the host and
/// another does not has been used to reach hosts that were not meant.
enum HTTPAuthority {
    /// Whether it is one; without user information, which must not be sent (RFC 9110 §4.2.4).
    static func isValid(_ text: String, mayBeEmpty: Bool = false, needsPort: Bool = false) -> Bool {
        var rest = text.utf8[...]
        if rest.isEmpty { return mayBeEmpty }
        if rest.first == 0x5B {
            guard let close = rest.firstIndex(of: 0x5D) else { return false }
            let address = rest[rest.index(after: rest.startIndex)..<close]
            // An IPv6 address by its characters; future versions and zones are nobody's.
            let isAddress = address.allSatisfy { ASCII.hexValue($0) != nil || $0 == 0x3A || $0 == 0x2E }
            guard address.contains(0x3A), isAddress else { return false }
            rest = rest[rest.index(after: close)...]
        } else {
            let name = rest.prefix { $0 != 0x3A }
            guard !name.isEmpty, isRegisteredName(name) else { return false }
            rest = rest[name.endIndex...]
        }
        guard rest.first == 0x3A else { return rest.isEmpty && !needsPort }
        let port = rest.dropFirst()
        guard port.count <= 5, port.allSatisfy(ASCII.isDigit) else { return false }
        // `host:` is allowed, with the scheme's own port.
        return port.isEmpty
            ? !needsPort : (Int(String(decoding: Array(port), as: UTF8.self)) ?? .max) <= 65535
    }

    /// Unreserved characters, percent-encoded bytes, and sub-delims without the comma, which would join two hosts.
    private static func isRegisteredName(_ name: Substring.UTF8View.SubSequence) -> Bool {
        var rest = name[...]
        while let byte = rest.popFirst() {
            switch byte {
            case 0x21, 0x24, 0x26...0x2B, 0x3B, 0x3D: continue
            case 0x25:
                let digits = rest.prefix(2)
                guard digits.count == 2, digits.allSatisfy({ ASCII.hexValue($0) != nil }) else {
                    return false
                }
                rest = rest.dropFirst(2)
            default: guard ASCII.isUnreserved(byte) else { return false }
            }
        }
        return true
    }
}
