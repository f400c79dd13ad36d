internal import CReactor

/// An IPv4 or IPv6 address with a TCP port.
public struct SocketAddress: Hashable, Sendable {
    private let word0: UInt64
    private let word1: UInt64
    private let scope: UInt32
    private let family: UInt16
    /// The port, 0 for "any free one" when listening.
    public var port: UInt16

    /// Reads `127.0.0.1:80`, `[::1]:80` or `*:80` (any IPv4 address).
    ///
    /// Host names are not looked up.
    ///
    /// - Throws: `ReactorError.invalidAddress`.
    public init(parsing text: String) throws(ReactorError) {
        guard let colon = text.utf8.lastIndex(of: UInt8(ascii: ":")) else { throw .invalidAddress(text) }
        guard let port = UInt16(text[text.index(after: colon)...]) else { throw .invalidAddress(text) }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        } else if host.utf8.contains(UInt8(ascii: ":")) {
            throw .invalidAddress(text)
        }
        if host == "*" { host = "0.0.0.0" }
        guard let address = SocketAddress(host: String(host), port: port) else { throw .invalidAddress(text) }
        self = address
    }

    /// The numeric address `host` (no brackets) with `port`; nil when it is not numeric.
    public init?(host: String, port: UInt16) {
        var raw = creactor_address()
        guard creactor_address_parse(host, &raw) == 0 else { return nil }
        raw.port = port
        self.init(raw)
    }

    init(_ raw: creactor_address) {
        word0 = raw.word0
        word1 = raw.word1
        scope = raw.scope
        family = raw.family
        port = raw.port
    }

    var raw: creactor_address {
        creactor_address(word0: word0, word1: word1, scope: scope, port: port, family: family)
    }

    /// All IPv4 addresses of this machine, `0.0.0.0`.
    public static func ipv4Any(port: UInt16) -> SocketAddress {
        SocketAddress(
            creactor_address(word0: 0, word1: 0, scope: 0, port: port, family: UInt16(CREACTOR_IPV4)))
    }

    /// All addresses of this machine, `::`; takes IPv4 as well where the system maps it.
    public static func ipv6Any(port: UInt16) -> SocketAddress {
        SocketAddress(
            creactor_address(word0: 0, word1: 0, scope: 0, port: port, family: UInt16(CREACTOR_IPV6)))
    }

    /// `127.0.0.1`.
    public static func loopback(port: UInt16) -> SocketAddress {
        let bytes = UInt64(littleEndian: 0x0100_007f)
        return SocketAddress(
            creactor_address(word0: bytes, word1: 0, scope: 0, port: port, family: UInt16(CREACTOR_IPV4)))
    }

    /// Whether this is an IPv6 address.
    public var isIPv6: Bool { family == UInt16(CREACTOR_IPV6) }

    /// The address without its port, as in `127.0.0.1` or `::1`.
    public var host: String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { text in
            text.initialize(repeating: 0)
            guard let base = text.baseAddress else { return "" }
            var address = raw
            return creactor_address_format(&address, base, text.count) == 0 ? String(cString: base) : "?"
        }
    }
}

extension SocketAddress: CustomStringConvertible {
    /// In words, for a log line.
    public var description: String { isIPv6 ? "[\(host)]:\(port)" : "\(host):\(port)" }
}
