import Logging
import Protocols
import Reactor

/// Telling the PBX what to send, and asking what already runs.
extension ARIClient {
    /// Begins with the first request; events are held until the answers are in.
    func beginSubscription() {
        // A fault stays told until it is over.
        if case .failed = subscription {} else { subscription = .pending }
        attempt += 1
        facts = ARIComparisonFacts(
            startedAt: nil, isRestart: false, lastHeardAt: lostAt, reason: lostReason, channels: [],
            bridges: [])
        beginComparison()
        take(ARISubscriptionStep.steps(for: configuration.subscription)[...], attempt)
    }

    /// Sends the first of `steps`, and the rest when it was answered well.
    private func take(_ steps: ArraySlice<ARISubscriptionStep>, _ attempt: Int) {
        guard let step = steps.first else {
            comparison?.answered(facts)
            return
        }
        if step == .listChannels { comparison?.listsAsked() }
        let (method, path) = step.request(app: encodedAppName)
        let body = step == .putFilter ? ARISubscriptionStep.filterBody : []
        request(method, path, body: body) { [weak self] result in
            // An answer to an attempt that was given up says nothing about this one.
            guard let self, attempt == self.attempt else { return }
            switch result {
            case .failure(let error):
                failed("\(method) \(path.prefix { $0 != "?" }): \(error.description)")
            case .success(let response):
                answered(step, response, steps.dropFirst(), attempt)
            }
        }
    }

    private func answered(
        _ step: ARISubscriptionStep, _ response: HTTPClientResponse, _ rest: ArraySlice<ARISubscriptionStep>,
        _ attempt: Int
    ) {
        let message = String(decoding: response.body.prefix(200), as: UTF8.self)
        switch step.verdict(status: response.status, message: message, user: configuration.user) {
        case .failed(let reason): return failed(reason)
        case .unsupported(let reason):
            logger.warning("ARI: \(reason)")
            if step == .putFilter { isFiltered = false }
            return take(rest, attempt)
        case .done: break
        }
        switch step {
        case .putFilter: isFiltered = true
        case .subscribe: break
        case .readBack:
            if let problem = ARIReadBack.problem(in: response.body, isFiltered: isFiltered) {
                return failed(problem)
            }
        case .clock:
            facts.clock = ARIReadBack.clock(in: response.body)
            facts.clockReadAt = WallClock.now()
        case .information:
            facts.startedAt = ARIReadBack.startupTime(in: response.body)
            facts.isRestart = startedAt != nil && facts.startedAt != nil && facts.startedAt != startedAt
        case .listChannels: facts.channels = response.body
        case .listBridges: facts.bridges = response.body
        }
        take(rest, attempt)
    }

    /// Says why, once per reason, and begins again from the first request after a pause.
    func failed(_ reason: String) {
        metrics.add(.ariRequestErrors)
        attempt += 1
        comparison?.letGo()
        cancelHold()
        let pause = subscriptionBackoff.next(random: SystemRandom.uint32())
        let level: Logger.Level = subscription == .failed(reason) ? .debug : .error
        logger.log(level: level, "ARI: events of all calls cannot be had: \(reason)")
        subscription = .failed(reason)
        let attempt = attempt
        subscriptionTimer = loop.schedule(after: pause) { [weak self] in
            guard let self, attempt == self.attempt else { return }
            subscriptionTimer = nil
            beginSubscription()
        }
    }

    // MARK: Comparing

    private func beginComparison() {
        // One that was still letting go keeps its events before what comes now.
        comparison?.endNow()
        let comparison = ARIComparison(host: self)
        comparison.onDone = { [weak self] in self?.comparisonDone($0) }
        comparison.onAskAgain = { [weak self] in
            guard let self else { return }
            logger.debug("ARI: the bridges name channels that the list does not have; asking once more")
            take([.listChannels, .listBridges], attempt)
        }
        self.comparison = comparison
        comparisonBegan = loop.now
        limitHold()
    }

    private func limitHold() {
        cancelHold()
        holdTimer = loop.schedule(after: holdLimit) { [weak self] in
            guard let self, let comparison else { return }
            holdTimer = nil
            guard comparison.isAsking else { return limitHold() }
            // A PBX that is slow today gets longer at the next try; calls do not wait for it.
            let limit = holdLimit
            holdLimit = min(holdLimit * 2, configuration.maximumHold * 8)
            failed("the PBX did not tell what runs within \(limit.wholeMilliseconds) ms")
        }
    }

    /// More waits than is good: the events go on, and the PBX is asked again later.
    func heldTooMuch() {
        guard let comparison, comparison.isAsking else { return }
        failed(
            "more than \(ARIComparison.maximumHeldBytes) bytes of events came while the PBX was asked what runs"
        )
    }

    private func comparisonDone(_ result: Result<Void, ARIListError>) {
        let (channels, held) = (comparison?.listedChannels ?? 0, comparison?.heldEvents ?? 0)
        comparisonSlices = comparison?.slices ?? 0
        comparison = nil
        cancelHold()
        switch result {
        case .success:
            startedAt = facts.startedAt ?? startedAt
            (lostAt, lostReason) = (nil, nil)
            holdLimit = configuration.maximumHold
            subscriptionBackoff.reset()
            sink.comparisonEnded(facts, from: self)
            (facts.channels, facts.bridges) = ([], [])
            let calls = configuration.subscription == .app ? "our application's calls" : "all calls"
            let took = (MonotonicInstant.now() - comparisonBegan).wholeMilliseconds
            logger.info(
                "ARI: subscribed to the events of \(calls)",
                metadata: [
                    "compared_channels": "\(channels)", "took_ms": "\(took)", "held_events": "\(held)",
                ])
            subscription = .active
            planConfirmation()
        case .failure(.letGo):
            // `failed` said why and planned the next attempt.
            break
        case .failure(.invalid(let error)):
            failed("a list of the PBX is no valid JSON: \(error)")
        }
    }

    // MARK: Confirming

    /// A list may have a channel whose end was told just before we were subscribed: the PBX takes it off the list a moment
    /// after it tells of it.
    private func planConfirmation() {
        if let confirmTimer { loop.cancel(confirmTimer) }
        confirmTimer = loop.schedule(after: configuration.confirmAfter) { [weak self] in
            guard let self else { return }
            confirmTimer = nil
            if isFollowing, sink.needsConfirmation(self) { confirm() }
        }
    }

    private func confirm() {
        let attempt = attempt
        request("GET", "/channels") { [weak self] result in
            guard let self, attempt == self.attempt, isFollowing else { return }
            if case .success(let response) = result, response.status == 200,
                let channels = ARIListReader.channelIDs(response.body)
            {
                sink.confirmed(channels, from: self)
            } else {
                metrics.add(.ariRequestErrors)
                planConfirmation()
            }
        }
    }
}

extension ARIClient: ARIComparisonHost {
    var appName: String { configuration.appName }
    var readsApplicationOnly: Bool { configuration.subscription == .app }
    func soon(_ body: @escaping () -> Void) { loop.schedule(after: .zero, body) }
    func listBegins(_ facts: ARIComparisonFacts) { sink.comparisonBegan(facts, from: self) }
    func listed(_ event: RawSpan) { sink.listed(event, from: self) }
}
