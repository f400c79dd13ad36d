package import CallEngine
package import Logging
import Protocols
package import Reactor

/// Tells an address of each call's begin and end, signed.
///
/// A delivery is `POST` with a JSON object; the same delivery bears the same `X-Callflow-Delivery` however often it comes, so that
/// a receiver can pass over what it has. `X-Callflow-Signature` is `sha256=` and, in hexadecimal digits, the HMAC-SHA256 of
/// `X-Callflow-Timestamp`, a dot and the body, under `WEBHOOK_SECRET`. Any 2xx takes it, 410 refuses it for good.
package final class WebhookClient: CRMTarget {
    private let loop: Loop
    private let configuration: WebhookConfiguration
    private let steps: any CRMStepStore
    private let http: HTTPClient
    private let logger: Logger
    private let metrics: Metrics
    private var outbox: WebhookOutbox
    private var timer: TimerID?
    private var isStopped = false
    private var wasOpen = false
    /// Longest answer that is read; nothing in it counts.
    private static let maximumAnswerBytes = 64 * 1024

    package init(
        loop: Loop, configuration: WebhookConfiguration, tls: TLSClientContext?, steps: any CRMStepStore,
        logger: Logger, metrics: Metrics
    ) {
        self.loop = loop
        self.configuration = configuration
        self.steps = steps
        self.logger = logger
        self.metrics = metrics
        var limits = HTTPClientConfiguration()
        limits.maximumConnections = configuration.maximumConnections
        limits.maximumQueued = configuration.maximumConnections
        limits.maximumBody = Self.maximumAnswerBytes
        limits.proxy = configuration.proxy
        http = HTTPClient(loop: loop, origin: HTTPOrigin(configuration.url), tls: tls, configuration: limits)
        outbox = WebhookOutbox(configuration: configuration, seed: SystemRandom.uint64())
    }

    package func start() {
        steps.start()
        pump()
    }

    package func submit(_ action: CRMAction) {
        guard !isStopped else { return }
        outbox.submit(action, at: now)
        pump()
    }

    /// What is under way is cut off; the next start delivers it again, under the same name.
    package func stop(within limit: Duration, completion: @escaping (_ complete: Bool) -> Void) {
        guard !isStopped else { return completion(true) }
        isStopped = true
        if let timer { loop.cancel(timer) }
        timer = nil
        steps.write(outbox.takeChanges())
        http.close()
        let isComplete = outbox.callCount == 0
        steps.stop(within: limit) { completion(isComplete) }
    }

    private var now: Duration { .nanoseconds(Int64(clamping: loop.now.nanoseconds)) }

    private func pump() {
        guard !isStopped else { return }
        steps.write(outbox.takeChanges())
        if let load = outbox.nextLoad(at: now) {
            steps.load(load) { [weak self] rows in
                guard let self, !isStopped else { return }
                outbox.loaded(load, rows, at: now)
                pump()
            }
        }
        while let delivery = outbox.next(at: now) {
            steps.claim([CRMStepClaim(delivery.key, user: nil)]) { [weak self] granted in
                guard let self, !isStopped else { return }
                if granted.contains(delivery.key) {
                    send(delivery)
                } else {
                    outbox.refused(delivery, at: now)
                }
                pump()
            }
        }
        arm()
    }

    private func arm() {
        if let timer { loop.cancel(timer) }
        timer = nil
        guard let wake = outbox.nextWake(at: now) else { return }
        timer = loop.schedule(after: max(.milliseconds(1), wake - now)) { [weak self] in
            self?.timer = nil
            self?.pump()
        }
    }

    private func send(_ delivery: WebhookOutbox.Delivery) {
        metrics.add(.crmRequests)
        let time = WallClock.now()
        let body = Self.body(of: delivery)
        let seconds = String(time.microseconds / 1_000_000)
        let request = HTTPClientRequest(
            method: "POST", target: configuration.url.requestTarget,
            fields: [
                ("Content-Type", "application/json"), ("User-Agent", "callflow-fast"),
                ("X-Callflow-Event", Self.event(delivery.key.kind)),
                ("X-Callflow-Delivery", Self.name(of: delivery)),
                ("X-Callflow-Timestamp", seconds),
                ("X-Callflow-Signature", Self.signature(of: body, at: seconds, secret: configuration.secret)),
            ], body: body, timeout: configuration.timeout)
        http.send(request) { [weak self] result in self?.replied(to: delivery, result) }
    }

    private func replied(
        to delivery: WebhookOutbox.Delivery, _ result: Result<HTTPClientResponse, HTTPClientError>
    ) {
        guard !isStopped else { return }
        let outcome: WebhookOutbox.Outcome =
            switch result {
            case .success(let response) where (200..<300).contains(response.status): .taken
            case .success(let response) where response.status == 410: .gone
            case .success(let response): .failed(reason: "HTTP \(response.status)")
            case .failure(let error): .failed(reason: error.description)
            }
        if case .taken = outcome {} else { metrics.add(.crmErrors) }
        outbox.replied(to: delivery, outcome, at: now)
        tell(outcome)
        pump()
    }

    /// Once when it begins to fail, once when it is well again.
    private func tell(_ outcome: WebhookOutbox.Outcome) {
        let isOpen = outbox.circuit != .closed
        guard isOpen != wasOpen else { return }
        wasOpen = isOpen
        if isOpen, case .failed(let reason) = outcome {
            logger.error(
                "webhook: deliveries fail; they wait",
                metadata: ["to": "\(configuration)", "reason": "\(reason)"])
        } else if !isOpen {
            logger.notice("webhook: deliveries are taken again", metadata: ["to": "\(configuration)"])
        }
    }

    // MARK: - What is said

    static func event(_ kind: CRMStepKind) -> String {
        kind == .register ? "call.started" : "call.ended"
    }

    /// The same for each repeat.
    static func name(of delivery: WebhookOutbox.Delivery) -> String {
        PercentCoding.encoded("\(delivery.key.callID)/\(event(delivery.key.kind))")
    }

    static func body(of delivery: WebhookOutbox.Delivery) -> [UInt8] {
        let call = delivery.call.json
        return JSONWriter.object {
            $0.member("event", event(delivery.key.kind))
            $0.member("delivery", name(of: delivery))
            $0.key("call")
            $0.raw(call.span.bytes)
        }
    }

    static func signature(of body: [UInt8], at seconds: String, secret: String) -> String {
        "sha256=\(SharedSecret.signature(of: Array("\(seconds).".utf8) + body, key: secret) ?? "")"
    }
}
