package import Connectors
import Glibc
package import Logging
package import Protocols
package import Reactor

/// Puts a ``FakeBitrixPortal`` behind HTTP, with a page that shows what the portal got.
///
/// Thread-confined to its loop. `/rest/…` is the portal; `/` is the page, `/effects` the same as JSON.
package final class FakeBitrixServer: HTTPService {
    /// The portal: its settings, faults and ledger.
    package var portal: FakeBitrixPortal
    private let loop: Loop
    private let clock: () -> Timestamp
    private var server: HTTPServer?

    /// Makes a server that does not listen yet.
    ///
    /// - Parameter clock: The portal's time of day; the system's when not given.
    package init(loop: Loop, portal: FakeBitrixPortal, clock: (() -> Timestamp)? = nil) {
        self.loop = loop
        self.portal = portal
        self.clock = clock ?? Self.systemClock
    }

    /// Listens on an address.
    ///
    /// - Returns: The address with the port that the system chose for port 0.
    package func listen(
        on address: SocketAddress, tls: TLSServerContext? = nil, logger: Logger, metrics: Metrics
    ) throws(ReactorError) -> SocketAddress {
        var limits = HTTPServerLimits()
        // A record travels inside a parameter, in base64.
        limits.maximumBodyBytes = 32 << 20
        let server = HTTPServer(loop: loop, service: self, limits: limits, logger: logger, metrics: metrics)
        let bound = try server.listen(on: address, tls: tls)
        self.server = server
        return bound
    }

    /// The webhook's URL for a client on this machine.
    package func webhookURL(host: String = "127.0.0.1", port: UInt16, isSecure: Bool = false) -> String {
        let webhook = portal.settings.webhooks.first
        let path = "rest/\(webhook?.userID ?? 1)/\(webhook?.secret ?? "none")/"
        return "\(isSecure ? "https" : "http")://\(host):\(port)/\(path)"
    }

    /// Stops listening and closes the connections.
    package func close() {
        server?.closeAll(drainTimeout: .milliseconds(100))
        server = nil
    }

    package func handle(_ request: HTTPRequest, _ exchange: HTTPExchange) {
        switch request.path {
        case "/":
            exchange.respond(
                status: 200, fields: [("Cache-Control", "no-store")],
                body: Array(FakeBitrixPage.html(of: portal).utf8), contentType: "text/html; charset=utf-8")
        case "/effects":
            let limit = request.query(named: "limit").flatMap { Int($0) } ?? FakeBitrixPage.defaultRows
            var body: [UInt8] = []
            FakeBitrixPage.summary(of: portal, limit: max(0, limit)).encodeJSON(into: &body)
            exchange.respond(
                status: 200, fields: [("Cache-Control", "no-store")], body: body,
                contentType: "application/json; charset=utf-8")
        default: answer(request, exchange)
        }
    }

    private func answer(_ request: HTTPRequest, _ exchange: HTTPExchange) {
        let reply = portal.handle(
            PortalRequest(
                httpMethod: request.method, target: request.target,
                contentType: request.fields["Content-Type"], body: request.body,
                source: Self.host(of: request.peer)),
            at: clock())
        switch reply.delivery {
        case .now:
            exchange.respond(status: reply.status, body: reply.body, contentType: reply.contentType)
        case .after(let delay):
            loop.schedule(after: delay) {
                exchange.respond(status: reply.status, body: reply.body, contentType: reply.contentType)
            }
        case .cut: exchange.abort()
        }
    }

    private static func host(of peer: SocketAddress?) -> String {
        guard let text = peer?.description, let colon = text.lastIndex(of: ":") else { return "unknown" }
        return String(text[..<colon])
    }

    private static func systemClock() -> Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000)
    }
}
