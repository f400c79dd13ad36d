import Protocols
import Reactor

/// A client's side of the opening handshake (RFC 6455 §4.1): the request, and reading the answer.
struct WebSocketClientHandshake {
    enum Answer {
        /// More is needed; interim answers used so many bytes.
        case incomplete(used: Int)
        /// The WebSocket is open; the answer used so many bytes.
        case accepted(subprotocol: String?, used: Int)
        /// The server said no, or something that is no answer to the request.
        case refused(status: Int?, reason: String)
    }

    /// Bound of the answer's head in bytes.
    static let maximumHeadBytes = 32 << 10

    let request: [UInt8]
    private let key: String
    private let subprotocols: [String]
    private var parser: HTTPResponseParser

    init(url: URL, fields: [(String, String)], subprotocols: [String]) {
        var random = [UInt8](repeating: 0, count: 16)
        random.withUnsafeMutableBytes { SystemRandom.fill($0) }
        key = WebSocketHandshake.key(random: random)
        self.subprotocols = subprotocols
        var request: [UInt8] = []
        WebSocketHandshake.request(
            url, key: key, subprotocols: subprotocols, fields: fields.map { HTTPField($0.0, $0.1) },
            to: &request)
        self.request = request
        parser = HTTPResponseParser(limits: HTTPLimits(headBytes: Self.maximumHeadBytes))
        parser.sent(.get)
    }

    /// Reads the answer off the front of `bytes`; after `.incomplete` what was not used comes again with more.
    mutating func read(_ bytes: RawSpan) -> Answer {
        do {
            var position = 0
            while true {
                switch try parser.next(bytes.extracting(position..<bytes.byteCount)) {
                case .value(.informational, let used): position += used
                case .value(.head(let head), let used):
                    return check(head, used: position + used)
                case .incomplete, .value(.body, _), .value(.end, _): return .incomplete(used: position)
                }
            }
        } catch {
            return .refused(status: nil, reason: "no HTTP answer to the handshake: \(error.description)")
        }
    }

    private func check(_ head: HTTPResponseHead, used: Int) -> Answer {
        do {
            let chosen = try WebSocketHandshake.check(head, key: key, subprotocols: subprotocols)
            return .accepted(subprotocol: chosen, used: used)
        } catch {
            let status = head.statusCode == 101 ? nil : head.statusCode
            return .refused(status: status, reason: error.description)
        }
    }
}
