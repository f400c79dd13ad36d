import Protocols

/// A proxy through which `https` origins are reached: it is asked to connect (RFC 9110 §9.3.6), and TLS goes through to the
/// origin, which it cannot read.
package struct HTTPProxy: Sendable, Hashable, CustomStringConvertible {
    /// Host name or address, without brackets.
    package var host: String
    /// Port.
    package var port: UInt16
    /// Value of `Proxy-Authorization`; a secret.
    var authorization: String?

    /// Reads `http://HOST:PORT` or `http://USER:PASSWORD@HOST:PORT`; `nil` for anything else.
    package init?(_ text: String) {
        guard let url = try? URL(text.contains("://") ? text : "http://\(text)"), url.scheme == .http,
            !url.host.isEmpty
        else { return nil }
        host = url.host
        port = url.port
        authorization = url.basicAuthorization
    }

    /// The proxy for an origin, by the variables that most programs follow: `HTTPS_PROXY`, and `NO_PROXY` with hosts and
    /// domains that are reached directly.
    ///
    /// - Parameter value: Gives a variable's text.
    /// - Returns: `nil`: directly, since the origin is not `https`, there is no proxy, or it is none for this host.
    package static func forOrigin(_ origin: HTTPOrigin, reading value: (String) -> String?) -> HTTPProxy? {
        guard origin.isSecure, let text = value("HTTPS_PROXY"), !text.isEmpty,
            let proxy = HTTPProxy(text)
        else { return nil }
        let exceptions = value("NO_PROXY") ?? ""
        return isExcepted(origin.host, exceptions) ? nil : proxy
    }

    private static func isExcepted(_ host: String, _ exceptions: String) -> Bool {
        let host = host.lowercased()
        return exceptions.split(separator: ",").contains { piece in
            var name = piece.filter { $0 != " " }.lowercased()
            if name == "*" { return true }
            if name.hasPrefix(".") { name.removeFirst() }
            return !name.isEmpty && (host == name || host.hasSuffix("." + name))
        }
    }

    /// What it is asked for; ends with the empty line.
    func request(for origin: HTTPOrigin) -> [UInt8] {
        let name = origin.host.contains(":") ? "[\(origin.host)]" : origin.host
        var text = "CONNECT \(name):\(origin.port) HTTP/1.1\r\nHost: \(name):\(origin.port)\r\n"
        if let authorization { text += "Proxy-Authorization: \(authorization)\r\n" }
        return Array((text + "\r\n").utf8)
    }

    /// Without the password.
    package var description: String { "http://\(host):\(port)" }
}

/// The proxy's answer to `CONNECT`: a status line and fields, no body when it is well.
struct HTTPProxyAnswer {
    /// Longest answer that is read.
    static let maximumBytes = 16 * 1024

    private var head: [UInt8] = []

    /// Takes bytes in.
    ///
    /// - Returns: The status once the answer is whole, `nil` before; 0 for what is no answer.
    mutating func take(_ bytes: RawSpan) -> Int? {
        bytes.withUnsafeBytes { head.append(contentsOf: $0) }
        guard head.count <= Self.maximumBytes else { return 0 }
        guard head.suffix(4).elementsEqual("\r\n\r\n".utf8) else {
            // A proxy that refuses may add a body; its status line is enough then.
            guard head.count >= 12, let status = Self.status(head), !(200..<300).contains(status) else {
                return nil
            }
            return status
        }
        return Self.status(head) ?? 0
    }

    /// Reads `HTTP/1.1 200 …`.
    private static func status(_ head: [UInt8]) -> Int? {
        guard head.starts(with: "HTTP/1.".utf8), head.count >= 12, head[8] == 0x20 else { return nil }
        return Int(String(decoding: head[9..<12], as: UTF8.self))
    }
}
