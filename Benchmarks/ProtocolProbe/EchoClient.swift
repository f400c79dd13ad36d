import Connectors
import Protocols
import Reactor

/// One connection, until it has closed.
enum EchoClient {
    static func run(_ options: Options) throws(ProbeError) -> Int32 {
        guard let url = options.url else { throw ProbeError("--url is missing") }
        guard url.scheme == .ws else { throw ProbeError("--url wants ws://") }
        do throws(ReactorError) {
            let loop = try Loop(configuration: LoopConfiguration(ioMode: options.io, name: "echo"))
            let echo = Echo()
            var end: WebSocketClose?
            echo.ended = { close in
                end = close
                loop.stop()
            }
            // Room for the echo of the largest message beside one that is being read.
            let socket = WebSocketConnection.connect(
                loop: loop, url: url, sendQueueBytes: 64 << 20, delegate: echo)
            loop.run()
            withExtendedLifetime(socket) {}
            if let end { ProtocolProbe.note("closed: \(end)") }
            return echo.wasOpen ? 0 : 1
        } catch { throw ProbeError("\(error)") }
    }
}
