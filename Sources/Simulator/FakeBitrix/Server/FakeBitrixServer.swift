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
    private var handler: (client: HTTPClient, target: String)?
    /// Events that a handler took with status 200, and those that it did not; these are not sent again.
    package private(set) var eventsDelivered = 0
    package private(set) var eventsLost = 0

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
        if portal.settings.baseURL == PortalSettings.defaultBaseURL {
            portal.settings.baseURL = "\(tls == nil ? "http" : "https")://\(bound)"
        }
        return bound
    }

    /// The webhook's URL for a client on this machine.
    package func webhookURL(host: String = "127.0.0.1", port: UInt16, isSecure: Bool = false) -> String {
        let webhook = portal.settings.webhooks.first
        let path = "rest/\(webhook?.userID ?? 1)/\(webhook?.secret ?? "none")/"
        return "\(isSecure ? "https" : "http")://\(host):\(port)/\(path)"
    }

    /// Names the handler that events go to, an `http` URL on this machine.
    package func sendEvents(to url: URL) {
        handler = (
            HTTPClient(loop: loop, origin: HTTPOrigin(url), tls: nil),
            url.path + (url.query.map { "?\($0)" } ?? "")
        )
    }

    /// An employee clicks a number.
    ///
    /// - Parameter times: How often the handler is told; the real portal may repeat a click.
    /// - Returns: The call's `CALL_ID`; nil when the user cannot call.
    @discardableResult
    package func click(userID: Int, number: String, times: Int = 1) -> String? {
        guard let (event, callID) = portal.click(userID: userID, number: number, at: clock()) else {
            return nil
        }
        for _ in 0..<times { deliver(event) }
        return callID
    }

    /// Sends an event once; a failed delivery is not repeated.
    package func deliver(_ event: PortalEvent) {
        guard let handler else {
            eventsLost += 1
            return
        }
        let request = HTTPClientRequest(
            method: "POST", target: handler.target,
            fields: [("Content-Type", "application/x-www-form-urlencoded")],
            body: event.body, timeout: .seconds(5))
        handler.client.send(request) { [weak self] result in
            guard let self else { return }
            if case .success(let response) = result, response.status == 200 {
                eventsDelivered += 1
            } else {
                eventsLost += 1
            }
        }
    }

    /// Installs an application, and writes what it may renew its tokens with into a file that is its owner's alone.
    ///
    /// - Returns: Why it cannot be written.
    package func install(in path: String, at address: SocketAddress) -> String? {
        let tokens = portal.issueTokens(
            to: .init(secret: "application", scopes: ["telephony", "crm", "user"]), at: clock())
        let file = PHPValue.map([
            "domain": .string("http://\(address)"), "server": .string("http://\(address)/oauth/token/"),
            "client_id": .string(portal.settings.clientID),
            "client_secret": .string(portal.settings.clientSecret), "refresh_token": .string(tokens.refresh),
        ])
        var text: [UInt8] = []
        file.encodeJSON(into: &text)
        do throws(BitrixTokens.Problem) {
            try BitrixTokens(text).write(path)
            return nil
        } catch {
            return "\(path) \(error)"
        }
    }

    /// Stops listening and closes the connections.
    package func close() {
        server?.closeAll(drainTimeout: .milliseconds(100))
        server = nil
        handler?.client.close()
        handler = nil
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
        case "/click": click(request, exchange)
        default: answer(request, exchange)
        }
    }

    /// A click by hand: `/click?user=101&number=%2B79995550101`.
    private func click(_ request: HTTPRequest, _ exchange: HTTPExchange) {
        let user = request.query(named: "user").flatMap { Int($0) } ?? 0
        let callID = click(userID: user, number: request.query(named: "number") ?? "")
        let text = callID.map { "\($0)\n" } ?? "no such user, or no number\n"
        exchange.respond(
            status: callID == nil ? 400 : 200, body: Array(text.utf8),
            contentType: "text/plain; charset=utf-8")
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
