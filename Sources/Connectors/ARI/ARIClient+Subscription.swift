import Logging
import Protocols
import Reactor

/// Telling the PBX what to send, and asking what already runs.
extension ARIClient {
    /// Begins with the first request; events are handed on all the while.
    func beginSubscription() {
        let steps = ARISubscriptionStep.steps(for: configuration.subscription)
        guard !steps.isEmpty else {
            subscription = .active
            return
        }
        subscription = .pending
        take(steps[...], connection: generation, channels: [])
    }

    /// Sends the first of `steps`, and the rest when it was answered well.
    private func take(_ steps: ArraySlice<ARISubscriptionStep>, connection: Int, channels: [UInt8]) {
        guard let step = steps.first else {
            subscription = .active
            subscriptionBackoff.reset()
            logger.info("ARI: subscribed to the events of all calls")
            return
        }
        let (method, path) = step.request(app: encodedAppName)
        let body = step == .putFilter ? ARISubscriptionStep.filterBody : []
        request(method, path, body: body) { [weak self] result in
            // An answer to a connection that is gone says nothing about this one.
            guard let self, connection == generation else { return }
            switch result {
            case .failure(let error):
                failed("\(method) \(path.prefix { $0 != "?" }): \(error.description)", connection)
            case .success(let response):
                let message = String(decoding: response.body.prefix(200), as: UTF8.self)
                switch step.verdict(status: response.status, message: message, user: configuration.user) {
                case .failed(let reason): return failed(reason, connection)
                case .unsupported(let reason): logger.warning("ARI: \(reason); all events will come")
                case .done: break
                }
                switch step {
                case .putFilter, .subscribe:
                    take(steps.dropFirst(), connection: connection, channels: [])
                case .listChannels:
                    take(steps.dropFirst(), connection: connection, channels: response.body)
                case .listBridges:
                    continueHeld(in: channels)
                    sink.snapshot(channels: channels, bridges: response.body, from: self)
                    take(steps.dropFirst(), connection: connection, channels: [])
                }
            }
        }
    }

    /// Says why, once per reason, and begins again from the first request after a pause.
    private func failed(_ reason: String, _ connection: Int) {
        metrics.add(.ariRequestErrors)
        let pause = subscriptionBackoff.next(random: SystemRandom.uint32())
        let level: Logger.Level = subscription == .failed(reason) ? .debug : .error
        logger.log(level: level, "ARI: events of all calls cannot be had: \(reason)")
        subscription = .failed(reason)
        subscriptionTimer = loop.schedule(after: pause) { [weak self] in
            guard let self, connection == generation else { return }
            subscriptionTimer = nil
            take(
                ARISubscriptionStep.steps(for: configuration.subscription)[...], connection: connection,
                channels: [])
        }
    }

    /// Channels that wait in our application from before this connection.
    private func continueHeld(in channels: [UInt8]) {
        guard configuration.stasisPolicy == .continue else { return }
        let held = ARIHeldChannels.find(in: channels.span.bytes, app: configuration.appName)
        guard !held.isEmpty else { return }
        logger.notice("ARI: \(held.count) channels were left in our application; continuing them")
        for id in held { continueInDialplan(id) }
    }
}
