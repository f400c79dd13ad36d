import Glibc
import Simulator

/// How fast the generator itself is: what a measurement of a reader cannot be above.
enum Ceiling {
    /// More than this is the stream, and not the answer to the handshake.
    private static let handshakeBytes = 4096
    private static let mostSeconds = 60.0

    /// Events a second that a PBX gives to a reader that throws all bytes away in the kernel (tcp(7), MSG_TRUNC).
    ///
    /// - Parameter scenario: One of a single PBX that sends as fast as it is taken.
    static func measure(_ scenario: Scenario) throws -> Double {
        let generator = try Generator(scenario)
        defer { generator.stop() }
        guard let handle = HTTPProbe.connected(to: generator.pbxs[0].port) else {
            throw LoadError("the simulated PBX does not listen")
        }
        defer { close(handle) }
        let request = Array(handshake.utf8)
        guard send(handle, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else {
            throw LoadError("the simulated PBX does not take a request")
        }
        let deadline = Clock.seconds + mostSeconds
        var (received, first, last) = (0, 0.0, 0.0)
        while Clock.seconds < deadline {
            try Interrupt.check()
            // Waits two seconds when there is nothing: rendering takes its time.
            let count = recv(handle, nil, 1 << 20, Int32(MSG_TRUNC))
            if count > 0 {
                received += count
                last = Clock.seconds
                if first == 0, received > handshakeBytes { first = last }
            } else if count == 0 || errno != EAGAIN && errno != EINTR {
                throw LoadError("the simulated PBX ended the connection")
            } else {
                let state = try generator.state()
                if state.isOver, first > 0 { return Double(state.eventsSent) / max(last - first, 1e-6) }
            }
        }
        throw LoadError("the simulated PBX did not send all within \(Int(mostSeconds)) s")
    }

    /// What a reader of all channels says first (RFC 6455 §4.1); the key is of no importance to one that checks nothing.
    private static var handshake: String {
        let configuration = SimulatorConfiguration()
        return """
            GET /ari/events?app=\(configuration.appName)&subscribeAll=true&api_key=\(configuration.user):\(configuration.password) HTTP/1.1\r
            Host: 127.0.0.1\r
            Upgrade: websocket\r
            Connection: Upgrade\r
            Sec-WebSocket-Version: 13\r
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r
            \r

            """
    }
}
