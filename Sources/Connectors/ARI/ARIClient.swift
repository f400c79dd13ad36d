package import Logging
package import Protocols
package import Reactor

/// Reads the events of one PBX, for ever: connects, says what it wants, hands every event on in place,
/// notices when the PBX is gone, and comes back.
///
/// Thread-confined to its loop. Nothing that a PBX does ends it; only `stop()` does.
package final class ARIClient {
    /// Which PBX: index into the daemon's list.
    package let index: Int
    /// How it is read.
    package let configuration: ARIConfiguration
    /// What the PBX is called.
    package var name: String { configuration.name }
    /// How it stands.
    package private(set) var state = ARIConnectionState.idle
    /// How far the PBX was told what we want.
    package internal(set) var subscription = ARISubscriptionState.none {
        didSet {
            if subscription != oldValue, subscription != .none, state.isConnected {
                sink.stateChanged(self, state)
            }
        }
    }
    /// What is wrong, for a person; `nil` when nothing is known to be.
    package var problem: String? {
        switch (state, subscription) {
        case (.disconnected(let reason, _), _): reason
        case (.connected, .failed(let reason)): reason
        default: nil
        }
    }
    /// Whether every event since the last comparison went on to the sink.
    package var isFollowing: Bool { state.isConnected && subscription == .active && comparison == nil }
    /// Our clock at the last sign of life.
    package var heardAt: Timestamp { WallClock.now() - (loop.now - lastHeard) }
    /// Connections lost or refused since the start.
    package private(set) var reconnects = 0
    /// Events handed on since the start.
    package private(set) var eventCount: UInt64 = 0

    let loop: Loop
    let sink: any ARIEventSink
    let logger: Logger
    let metrics: Metrics
    private let tls: TLSClientContext?
    private let http: HTTPClient
    private var continuations: ARIContinuations?

    private var socket: WebSocketConnection?
    private var openedAt: MonotonicInstant?
    private var lastHeard: MonotonicInstant
    private var backoff: ARIBackoff
    var subscriptionBackoff: ARIBackoff
    private var connectTimer: TimerID?
    private var pingTimer: TimerID?
    var subscriptionTimer: TimerID?
    /// Grows with each connection and each new beginning, so that answers to earlier requests are known as stale.
    var attempt = 0
    /// Holds events back while the PBX is asked what runs; `nil`: they go on as they come.
    var comparison: ARIComparison?
    var facts = ARIComparisonFacts(isRestart: false, channels: [], bridges: [])
    var holdTimer: TimerID?
    var confirmTimer: TimerID?
    /// When the running comparison began.
    var comparisonBegan = MonotonicInstant.now()
    /// Ticks that the last comparison took.
    var comparisonSlices = 0
    var holdLimit: Duration
    /// Of the configuration; every request needs them.
    private let basePath: String
    private let authorization: String
    /// The filter of this connection was put.
    var isFiltered = false
    /// When the PBX started, as it said last.
    var startedAt: Timestamp?
    /// Our clock at the last sign of life of the connection that was lost, and why it was; `nil` once healed.
    var lostAt: Timestamp?
    var lostReason: String?
    /// Why we dropped the connection, when we did.
    private var ownReason: String?
    /// The reason that was logged last: the same one again is not worth a line.
    private var loggedReason: String?
    /// When another reader took our name; `nil` when none did.
    private var replacedAt: MonotonicInstant?
    private var isStopping = false

    /// Events larger than this are not looked at for ApplicationReplaced, which has 150 bytes or so.
    private static let maximumNoticeBytes = 512

    /// Makes a client that does nothing before `start()`.
    ///
    /// - Parameters:
    ///   - sink: Held.
    ///   - tls: Needed for `wss`.
    package init(
        loop: Loop, index: Int = 0, configuration: ARIConfiguration, sink: any ARIEventSink,
        tls: TLSClientContext? = nil, logger: Logger, metrics: Metrics
    ) {
        self.loop = loop
        self.index = index
        self.configuration = configuration
        self.sink = sink
        self.tls = tls
        self.metrics = metrics
        var logger = logger
        logger[metadataKey: "pbx"] = "\(configuration.name)"
        self.logger = logger
        lastHeard = loop.now
        backoff = ARIBackoff(base: configuration.backoffBase, cap: configuration.backoffCap)
        subscriptionBackoff = backoff
        holdLimit = configuration.maximumHold
        basePath = configuration.basePath
        authorization = configuration.authorization
        var limits = HTTPClientConfiguration()
        limits.connectTimeout = configuration.connectTimeout
        limits.maximumBody = configuration.maximumSnapshotBytes
        http = HTTPClient(
            loop: loop,
            origin: HTTPOrigin(
                isSecure: configuration.url.isSecure, host: configuration.url.host,
                port: configuration.url.port),
            tls: configuration.url.isSecure ? tls : nil, configuration: limits)
        continuations = ARIContinuations(loop: loop, logger: self.logger, metrics: metrics) {
            [weak self] path, completion in
            self?.request("POST", path, completion: completion)
        }
    }

    // MARK: Life

    /// Begins to connect.
    package func start() {
        guard case .idle = state else { return }
        connect()
    }

    /// Closes with 1001 and stays closed; `stateChanged` says `.stopped` when it is done, within
    /// `WebSocketConnection.closeTimeout`.
    package func stop() {
        guard !isStopping else { return }
        isStopping = true
        cancel(&connectTimer)
        cancel(&pingTimer)
        cancel(&subscriptionTimer)
        cancelHold()
        attempt += 1
        comparison?.endNow()
        comparison = nil
        continuations?.stop()
        http.close()
        if let socket {
            socket.close(code: 1001, reason: "shutting down")
        } else {
            change(to: .stopped)
        }
    }

    /// Sends a channel that entered our application on in the dialplan, unless the policy is to hold it.
    package func continueInDialplan(_ channelID: String) {
        guard configuration.stasisPolicy == .continue, !isStopping else { return }
        continuations?.add(channelID)
    }

    /// A channel waits in our application since before this connection.
    func leftWaiting(_ channelID: String) {
        guard configuration.stasisPolicy == .continue else { return }
        logger.notice(
            "ARI: a channel was left in our application; continuing it", metadata: ["channel": "\(channelID)"]
        )
        continueInDialplan(channelID)
    }

    /// Gives an event to the sink.
    func handOn(_ event: RawSpan) {
        eventCount += 1
        sink.received(event, from: self)
    }

    /// For a sink that checks UTF-8 itself: fails the connection, as RFC 6455 §8.1 wants it.
    package func failForInvalidText() {
        metrics.add(.ariProtocolErrors)
        ownReason = "a text message was not UTF-8"
        socket?.close(code: 1007, reason: "not UTF-8")
    }

    private func connect() {
        guard !isStopping else { return }
        ownReason = nil
        change(to: .connecting)
        logger.debug("ARI: connecting", metadata: ["to": "\(configuration)"])
        let limits = WebSocketLimits(
            frameBytes: configuration.maximumEventBytes, messageBytes: configuration.maximumEventBytes)
        socket = WebSocketConnection.connect(
            loop: loop, url: configuration.eventsURL,
            fields: [("Authorization", configuration.authorization)], tls: tls,
            timeout: configuration.connectTimeout, limits: limits,
            textValidation: configuration.textValidation, delegate: self)
    }

    private func change(to state: ARIConnectionState) {
        if self.state.isConnected != state.isConnected {
            metrics.add(.ariConnected, state.isConnected ? 1 : -1)
        }
        self.state = state
        sink.stateChanged(self, state)
    }

    func cancelHold() { cancel(&holdTimer) }

    private func cancel(_ timer: inout TimerID?) {
        if let running = timer { loop.cancel(running) }
        timer = nil
    }

    // MARK: Requests

    /// Sends a request to a path below `/ari`, with the configured bound on its time.
    func request(
        _ method: String, _ path: String, body: [UInt8] = [],
        completion: @escaping (Result<HTTPClientResponse, HTTPClientError>) -> Void
    ) {
        var fields = [("Authorization", authorization)]
        if !body.isEmpty { fields.append(("Content-Type", "application/json")) }
        http.send(
            HTTPClientRequest(
                method: method, target: basePath + path, fields: fields, body: body,
                timeout: configuration.requestTimeout), completion: completion)
    }

    // MARK: Silence

    private func startPings() {
        pingTimer = loop.schedule(after: configuration.pingInterval) { [weak self] in
            guard let self else { return }
            pingTimer = nil
            checkSilence()
        }
    }

    private func checkSilence() {
        guard let socket, !isStopping else { return }
        let silence = loop.now - lastHeard
        if silence >= configuration.silenceLimit {
            metrics.add(.ariSilenceDrops)
            ownReason = "nothing came for \(silence.wholeMilliseconds) ms, not even an answer to our ping"
            socket.abort()
            return
        }
        socket.ping()
        startPings()
    }

    // MARK: Trying again

    /// Plans the next try and says why, in one line per change of the reason.
    private func disconnected(_ reason: String) {
        reconnects += 1
        metrics.add(.ariReconnects)
        let isReplaced = replacedAt != nil
        let pause =
            isReplaced ? configuration.replacedCheck : backoff.next(random: SystemRandom.uint32())
        let level: Logger.Level = loggedReason == reason ? .debug : .warning
        loggedReason = reason
        logger.log(
            level: level, "ARI: \(reason); next try in \(pause.wholeMilliseconds) ms",
            metadata: ["failures": "\(backoff.failures)"])
        change(to: .disconnected(reason: reason, retryIn: pause))
        planTry(after: pause)
    }

    private func planTry(after pause: Duration) {
        guard !isStopping else { return }
        connectTimer = loop.schedule(after: pause) { [weak self] in
            guard let self else { return }
            connectTimer = nil
            if replacedAt == nil { connect() } else { checkReplaced() }
        }
    }

    /// Two readers that take a name from each other in turn would both lose events, so the other one keeps it
    /// until it is gone: Asterisk 22 forgets an application when its reader closes.
    private func checkReplaced() {
        guard let since = replacedAt else { return }
        guard loop.now - since < configuration.replacedPatience else {
            logger.warning("ARI: taking back the application name after waiting for the other reader")
            replacedAt = nil
            return connect()
        }
        request("GET", "/applications/\(encodedAppName)") { [weak self] result in
            guard let self, !isStopping, replacedAt != nil else { return }
            if case .success(let response) = result, response.status == 404 {
                replacedAt = nil
                connect()
            } else {
                planTry(after: configuration.replacedCheck)
            }
        }
    }

    var encodedAppName: String { PercentCoding.encoded(configuration.appName) }

    private func wasReplaced() {
        guard replacedAt == nil else { return }
        replacedAt = loop.now
        metrics.add(.ariReplaced)
        ownReason =
            "another reader connected with application name '\(configuration.appName)' and gets our events; "
            + "stop it, or give one of them another ARI_APP_NAME"
        socket?.close(code: 1000, reason: "replaced")
    }

    /// Why a connection ended, and what to change, in words.
    private func explain(_ close: WebSocketClose) -> String {
        if let ownReason { return ownReason }
        switch close.httpStatus {
        case 401:
            return "the PBX refused user '\(configuration.user)' (401); check ARI_USER and ARI_PASSWORD "
                + "against ari.conf"
        case 403: return "the PBX refused user '\(configuration.user)' (403); check ari.conf"
        case 404:
            return "there is no ARI at this address (404); check the path of ARI_URL, enabled = yes in "
                + "ari.conf and http.conf, and that res_ari and res_http_websocket are loaded"
        case .some(let status): return "the PBX refused the event stream with HTTP status \(status)"
        case .none: break
        }
        if let error = close.protocolError { return "the PBX broke the WebSocket protocol: \(error)" }
        if close.clean { return "the PBX closed the connection (\(close.description))" }
        return close.reason.isEmpty ? "the connection was lost" : close.reason
    }
}

// MARK: - WebSocketDelegate

extension ARIClient: WebSocketDelegate {
    /// The event stream is open.
    package func opened(_ socket: WebSocketConnection) {
        guard socket === self.socket || self.socket == nil else { return }
        self.socket = socket
        guard !isStopping else { return }
        openedAt = loop.now
        lastHeard = loop.now
        loggedReason = nil
        logger.info("ARI: connected", metadata: ["to": "\(configuration)"])
        change(to: .connected(since: loop.now))
        startPings()
        subscriptionBackoff.reset()
        beginSubscription()
    }

    /// One event.
    package func message(
        _ kind: WebSocketMessageKind, _ payload: RawSpan, on socket: WebSocketConnection
    ) {
        lastHeard = loop.now
        var event = payload
        // RFC 7464's record separator, should something between us and the PBX add it.
        if payload.byteCount > 0, payload.byte(at: 0) == 0x1E {
            event = payload.extracting(1..<payload.byteCount)
        }
        if event.byteCount <= Self.maximumNoticeBytes, event.contains("\"ApplicationReplaced\"") {
            wasReplaced()
        }
        guard let comparison else { return handOn(event) }
        if !comparison.hold(event) { heldTooMuch() }
    }

    /// An answer to a ping of ours.
    package func pong(on socket: WebSocketConnection) { lastHeard = loop.now }

    /// The connection is over, or never was.
    package func closed(_ socket: WebSocketConnection, _ close: WebSocketClose) {
        guard socket === self.socket || self.socket == nil else { return }
        self.socket = nil
        // One that was never compared proves nothing: what was missed before it still is.
        let wasFollowing = isFollowing
        attempt += 1
        cancel(&pingTimer)
        cancel(&subscriptionTimer)
        cancel(&confirmTimer)
        cancelHold()
        // They were sent to us; what the list would have added, the next connection finds.
        comparison?.endNow()
        comparison = nil
        subscription = .none
        guard !isStopping else {
            logger.info("ARI: closed")
            return change(to: .stopped)
        }
        if close.protocolError != nil { metrics.add(.ariProtocolErrors) }
        if wasFollowing, lostAt == nil { lostAt = heardAt }
        if openedAt != nil, lostReason == nil { lostReason = explain(close) }
        if let openedAt, loop.now - openedAt >= configuration.stableAfter { backoff.reset() }
        openedAt = nil
        disconnected(explain(close))
    }
}

extension Duration {
    /// Milliseconds, the rest dropped.
    var wholeMilliseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1000 + attoseconds / 1_000_000_000_000_000
    }
}

extension RawSpan {
    /// Whether the ASCII bytes of `text` stand somewhere in these bytes.
    package func contains(_ text: StaticString) -> Bool {
        let count = text.utf8CodeUnitCount
        guard byteCount >= count else { return false }
        return withUnsafeBytes { bytes in
            text.withUTF8Buffer { text in
                for start in 0...(bytes.count - count) where bytes[start] == text[0] {
                    var matched = 1
                    while matched < count, bytes[start + matched] == text[matched] { matched += 1 }
                    if matched == count { return true }
                }
                return false
            }
        }
    }
}
