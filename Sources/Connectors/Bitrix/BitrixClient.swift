package import CallEngine
import Glibc
package import Logging
import Protocols
package import Reactor

/// Tells a Bitrix24 portal of calls.
///
/// Thread-confined to its loop. ``BitrixOutbox`` decides; this sends what it gives out, hands the replies back,
/// and logs and counts what came of it. The webhook's secret is in the requests' targets and nowhere else.
package final class BitrixClient: CRMTarget {
    /// The most lines logged in a second; more are counted and summed up in one.
    package static let maximumLogsPerSecond = 20
    /// The longest body of an answer that is read, in bytes.
    package static let maximumAnswerBytes = 1 << 20

    /// How the link stands; may be read by other threads.
    package let link: CRMLink
    /// Called on the loop when the portal has given a call its id; the id belongs into the call's row.
    package var onRegistered: (_ callID: String, _ bitrixCallID: String) -> Void

    private let loop: Loop
    private let configuration: BitrixConfiguration
    private let http: HTTPClient
    /// The calls' steps in the database; `nil`: they are held in memory alone.
    private let steps: (any CRMStepStore)?
    private let logger: Logger
    private let metrics: Metrics
    private let decoder = BitrixReplyDecoder()
    private var outbox: BitrixOutbox
    private let tls: TLSClientContext?
    /// An application's tokens; `nil` with a webhook.
    private let tokens: BitrixTokenKeeper?
    private var recorder: BitrixRecorder?
    /// The portal's ids of calls that it asked for and that go on; their rows get them at the end, when there surely is one.
    private var adopted: [String: String] = [:]
    /// Such calls at a time; of more only the row lacks the id.
    private static let maximumAdopted = 1_000
    /// Who waits for the answer to a request that is no call's.
    private var errands: [Int: (Result<HTTPClientResponse, HTTPClientError>) -> Void] = [:]
    private var directoryTimer: TimerID?
    /// How soon the employees are asked for again after a failure.
    package static let directoryRepeat: Duration = .seconds(60)
    private var timer: TimerID?
    private var timerDue: Duration?
    private var isStopped = false
    private var whenDrained: ((_ complete: Bool) -> Void)?
    private var drainTimer: TimerID?
    private var callLines = LogAllowance(perSecond: BitrixClient.maximumLogsPerSecond)
    /// Apart from the lines of calls, so that these cannot silence what is wrong with the link itself.
    private var linkLines = LogAllowance(perSecond: BitrixClient.maximumLogsPerSecond)

    /// Makes a client; nothing is sent before the first action.
    ///
    /// - Parameters:
    ///   - steps: The calls' steps in the database; `nil`: they are held in memory alone.
    ///   - tls: Verifies the portal's certificate; needed for `https`.
    ///   - onRegistered: See ``onRegistered``.
    package init(
        loop: Loop, configuration: BitrixConfiguration, tls: TLSClientContext?, link: CRMLink = CRMLink(),
        steps: (any CRMStepStore)? = nil, logger: Logger, metrics: Metrics,
        onRegistered: @escaping (_ callID: String, _ bitrixCallID: String) -> Void = { _, _ in }
    ) {
        self.loop = loop
        self.configuration = configuration
        self.link = link
        self.steps = steps
        self.logger = logger
        self.metrics = metrics
        self.onRegistered = onRegistered
        var limits = HTTPClientConfiguration()
        limits.maximumConnections = configuration.maximumConnections
        limits.maximumQueued = configuration.maximumConnections
        limits.maximumBody = Self.maximumAnswerBytes
        limits.proxy = configuration.proxy
        http = HTTPClient(loop: loop, origin: configuration.webhook.origin, tls: tls, configuration: limits)
        self.tls = tls
        tokens = configuration.application.map { application in
            let server = HTTPOrigin(application.tokens.server)
            var limits = HTTPClientConfiguration()
            limits.maximumConnections = 1
            limits.proxy = configuration.proxy.flatMap { server.isSecure ? $0 : nil }
            return BitrixTokenKeeper(
                loop: loop, tokens: application.tokens, path: application.path,
                client: HTTPClient(loop: loop, origin: server, tls: tls, configuration: limits),
                logger: logger)
        }
        outbox = BitrixOutbox(
            configuration: configuration, seed: SystemRandom.uint64(), keepsSteps: steps != nil)
        link.state = outbox.state
        recorder = configuration.recording.map { makeRecorder($0) }
    }

    private func makeRecorder(_ template: RecordingTemplate) -> BitrixRecorder {
        BitrixRecorder(
            loop: loop, configuration: configuration, template: template,
            portal: configuration.webhook.origin,
            makeClient: { [loop, tls, configuration] origin in
                var limits = HTTPClientConfiguration()
                limits.maximumConnections = 1
                limits.maximumBody = Self.maximumAnswerBytes
                // A file and its form.
                limits.maximumSend = configuration.maximumRecordingBytes + 1 << 20
                limits.proxy = configuration.proxy
                return HTTPClient(loop: loop, origin: origin, tls: tls, configuration: limits)
            }, steps: steps, metrics: metrics, logger: logger,
            ask: { [weak self] command, completion in
                guard let self else { return }
                errands[outbox.submitErrand(command)] = completion
                pump()
            })
    }

    /// Begins: reads the portal's employees, and what the table has to be done.
    package func start() {
        readDirectory()
        steps?.start()
        pump()
    }

    /// How the link stands.
    package var state: CRMState { outbox.state }
    /// Steps waiting or under way.
    package var pendingSteps: Int { outbox.waitingSteps + outbox.commandsUnderWay }
    /// Calls held: registered and not ended, or with a step still to be done.
    package var callCount: Int { outbox.callCount }

    /// Takes an action in; its step is sent when its turn and the portal's limits allow.
    package func submit(_ action: CRMAction) {
        guard !isStopped else { return }
        var effects: [BitrixOutbox.Effect] = []
        outbox.submit(action, at: now, wallClock: Self.wallClock(), effects: &effects)
        run(effects)
        pump()
    }

    /// The extension of an employee, by the settings or as the portal told.
    func `extension`(of userID: Int) -> String? {
        configuration.extensionUsers.filter { $0.value == userID }.keys.min()
            ?? outbox.directory?.extension(of: userID)
    }

    /// Takes a call over that the portal asked for.
    ///
    /// - Parameters:
    ///   - bitrixCallID: The portal's id, when it has registered the call itself.
    ///   - completion: Called once that is durable, so that the call's end finds it; at once without a table.
    func adopt(
        _ call: CRMCall, bitrixCallID: String?, user: BitrixUser?, completion: @escaping () -> Void
    ) {
        guard let steps, !isStopped else { return completion() }
        if let bitrixCallID, adopted.count < Self.maximumAdopted { adopted[call.callID] = bitrixCallID }
        let step = CRMStepAddition(
            CRMStepKey(callID: call.callID, kind: .register), bitrixCallID == nil ? .waiting : .done,
            call: call,
            pbx: pbxName(of: call), crmCallID: bitrixCallID, user: user?.description)
        steps.add([step]) { [weak self] in
            self?.submit(.register(call))
            completion()
        }
    }

    /// Finishes a call that was taken over and never came about.
    func finishAdopted(_ call: CRMCall) {
        guard let steps, !isStopped else { return }
        let step = CRMStepAddition(
            CRMStepKey(callID: call.callID, kind: .finish), .waiting, call: call, pbx: pbxName(of: call))
        steps.add([step]) { [weak self] in self?.submit(.finish(call)) }
    }

    private func pbxName(of call: CRMCall) -> String {
        Int(call.pbx) < configuration.pbxNames.count
            ? configuration.pbxNames[Int(call.pbx)] : configuration.pbxNames.first ?? configuration.pbxName
    }

    /// Stops when nothing waits or is under way any more, at the latest after `limit`.
    ///
    /// Until then actions are still taken, and steps sent as the portal's limits allow.
    ///
    /// - Parameter completion: Called once, after the stop; with whether every step was done.
    package func stop(within limit: Duration, completion: @escaping (_ complete: Bool) -> Void) {
        guard !isStopped, whenDrained == nil else {
            let complete = pendingSteps == 0
            stop()
            return completion(complete)
        }
        whenDrained = completion
        guard pendingSteps > 0 else { return drained() }
        drainTimer = loop.schedule(after: limit) { [weak self] in
            self?.drainTimer = nil
            self?.drained()
        }
    }

    private func drained() {
        guard let completion = whenDrained else { return }
        whenDrained = nil
        if let drainTimer { loop.cancel(drainTimer) }
        drainTimer = nil
        let complete = pendingSteps == 0
        stop()
        guard let steps else { return completion(complete) }
        steps.stop(within: Self.lastWriteTime) { completion(complete) }
    }

    /// What the database may take for the last answers, when it stops.
    private static let lastWriteTime: Duration = .seconds(1)

    /// Stops at once: what waits is not sent any more, what is under way is cut off.
    package func stop() {
        guard !isStopped else { return }
        isStopped = true
        if let timer { loop.cancel(timer) }
        timer = nil
        if let directoryTimer { loop.cancel(directoryTimer) }
        directoryTimer = nil
        steps?.write(outbox.takeChanges())
        if pendingSteps > 0 {
            logger.log(
                level: steps == nil ? .warning : .info,
                steps == nil
                    ? "Bitrix24: stopped with steps not sent"
                    : "Bitrix24: stopped; steps wait in the database for the next start",
                metadata: ["steps": "\(pendingSteps)"])
        }
        recorder?.stop()
        tokens?.stop()
        http.close()
        drained()
    }

    // MARK: - Employees

    /// The employees as they were last read.
    package var directory: BitrixDirectory? { outbox.directory }

    /// Reads the portal's employees, now and then again; what was read last is kept while it fails.
    package func readDirectory() {
        let reading = BitrixDirectoryReading()
        ask(for: reading.firstCommand, reading)
    }

    private func ask(for command: BitrixCommand, _ reading: BitrixDirectoryReading) {
        guard !isStopped else { return }
        errands[outbox.submitErrand(command)] = { [weak self] result in
            self?.took(result, reading)
        }
        pump()
    }

    private func took(
        _ result: Result<HTTPClientResponse, HTTPClientError>, _ reading: BitrixDirectoryReading
    ) {
        var reading = reading
        let outcome: BitrixDirectoryReading.Outcome =
            switch result {
            case .success(let response): reading.take(status: response.status, body: response.body)
            case .failure(let error): .failed(reason: error.description)
            }
        switch outcome {
        case .next(let command):
            // Not from inside the answer to the page before.
            loop.schedule(after: .zero) { [weak self] in self?.ask(for: command, reading) }
        case .complete(let directory):
            if directory != outbox.directory {
                log(
                    .info, "Bitrix24: employees read",
                    details: ["active": "\(directory.count)", "extensions": "\(directory.extensionCount)"])
            }
            outbox.directory = directory
            metrics.set(.crmUsers, directory.count)
            readDirectory(after: configuration.directoryInterval)
        case .failed(let reason):
            let kept =
                outbox.directory == nil ? "the portal finds users by extension" : "the last list is kept"
            log(.warning, "Bitrix24: employees cannot be read; \(kept)", details: ["reason": "\(reason)"])
            // A portal that refuses will do so again; one that did not answer may be back soon.
            var delay = configuration.directoryInterval
            if case .failure = result { delay = min(Self.directoryRepeat, delay) }
            readDirectory(after: delay)
        }
    }

    private func readDirectory(after delay: Duration) {
        guard !isStopped else { return }
        directoryTimer = loop.schedule(after: delay) { [weak self] in
            self?.directoryTimer = nil
            self?.readDirectory()
        }
    }

    // MARK: - Sending

    private var now: Duration { .nanoseconds(Int64(clamping: loop.now.nanoseconds)) }

    private func pump() {
        guard !isStopped else { return }
        // Before anything is claimed that follows from it.
        steps?.write(outbox.takeChanges())
        readSteps()
        while let departure = outbox.next(at: now) { claim(departure) }
        metrics.set(.crmQueued, pendingSteps)
        if pendingSteps == 0, whenDrained != nil { return drained() }
        arm()
    }

    private func readSteps() {
        guard let steps, whenDrained == nil, let load = outbox.nextLoad(at: now) else { return }
        steps.load(load) { [weak self] rows in
            guard let self, !isStopped else { return }
            var effects: [BitrixOutbox.Effect] = []
            outbox.loaded(load, rows, at: now, effects: &effects)
            run(effects)
            pump()
        }
    }

    /// Claims the steps of a request, which is sent once that is durable.
    private func claim(_ departure: BitrixOutbox.Departure) {
        guard let steps, !departure.claims.isEmpty else { return send(departure) }
        steps.claim(departure.claims) { [weak self] granted in
            guard let self, !isStopped else { return }
            if let departure = outbox.claimed(departure, granted, at: now) { send(departure) }
            pump()
        }
    }

    private func send(_ departure: BitrixOutbox.Departure) {
        guard let tokens else {
            return send(departure, token: nil) { [weak self] in self?.replied(to: departure, $0) }
        }
        tokens.token { [weak self] in self?.send(departure, $0) }
    }

    /// With an application's token: one that has expired is renewed, once, and the request sent again.
    private func send(
        _ departure: BitrixOutbox.Departure, _ result: Result<String, BitrixTokenKeeper.Failure>,
        isRepeat: Bool = false
    ) {
        guard !isStopped else { return }
        switch result {
        case .failure(.unavailable(let reason)):
            replied(
                to: departure,
                .failure(HTTPClientError(kind: .connectFailed, delivery: .notSent, description: reason)))
        case .failure(.refused(let code)):
            let body = JSONWriter.object { $0.member("error", code) }
            replied(
                to: departure, .success(HTTPClientResponse(status: 401, fields: HTTPFields(), body: body)))
        case .success(let token):
            send(departure, token: token) { [weak self] result in
                guard let self, !isStopped else { return }
                if case .success(let response) = result, response.status == 401, !isRepeat, let tokens,
                    case .refusal(let refusal) = decoder.decode(status: 401, body: response.body),
                    refusal.code.lowercased() == "expired_token"
                {
                    return tokens.token(insteadOf: token) { [weak self] in
                        self?.send(departure, $0, isRepeat: true)
                    }
                }
                replied(to: departure, result)
            }
        }
    }

    private func send(
        _ departure: BitrixOutbox.Departure, token: String?,
        _ completion: @escaping (Result<HTTPClientResponse, HTTPClientError>) -> Void
    ) {
        metrics.add(.crmRequests)
        var body = departure.formBody
        if let token { body += Array("\(body.isEmpty ? "" : "&")auth=\(PercentCoding.encoded(token))".utf8) }
        let request = HTTPClientRequest(
            method: "POST", target: configuration.webhook.target(of: departure.method),
            fields: [
                ("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json"),
                ("User-Agent", "callflow-fast"),
            ],
            body: body,
            timeout: departure.isBatch ? configuration.batchTimeout : configuration.requestTimeout)
        http.send(request, completion: completion)
    }

    private func replied(
        to departure: BitrixOutbox.Departure, _ result: Result<HTTPClientResponse, HTTPClientError>
    ) {
        guard !isStopped else { return }
        if let number = departure.errand { errands.removeValue(forKey: number)?(result) }
        let answer: BitrixAnswer =
            switch result {
            case .success(let response):
                decoder.decode(departure, status: response.status, body: response.body)
            case .failure(let error):
                .whole(.noAnswer(mayHaveRun: error.delivery == .outcomeUnknown, reason: error.description))
            }
        count(answer)
        compareClocks(answer)
        var effects: [BitrixOutbox.Effect] = []
        outbox.replied(to: departure, answer, at: now, effects: &effects)
        run(effects)
        pump()
    }

    private func compareClocks(_ answer: BitrixAnswer) {
        guard case .whole(.success(let success)) = answer, let finishedAt = success.finishedAt,
            outbox.compareClocks(finishedAt: finishedAt, wallClock: Self.wallClock())
        else { return }
        let ahead = outbox.portalIsAhead.components.seconds
        log(
            .warning,
            ahead == 0
                ? "Bitrix24: the portal's clock agrees with ours again"
                : "Bitrix24: the portal's clock differs from ours; calls are told in its time",
            details: ahead == 0 ? [:] : ["ahead": "\(ahead) s"])
    }

    private func count(_ answer: BitrixAnswer) {
        let failed =
            switch answer {
            case .whole(.success): 0
            case .whole: 1
            case .parts(let replies):
                replies.count { reply in
                    if case .success? = reply { false } else { true }
                }
            }
        if failed > 0 { metrics.add(.crmErrors, failed) }
    }

    /// Sets the timer to when the outbox wants to be asked again.
    private func arm() {
        let wake = outbox.nextWake(at: now)
        guard wake != timerDue || timer == nil else { return }
        if let timer { loop.cancel(timer) }
        timer = nil
        timerDue = wake
        guard let wake else { return }
        timer = loop.schedule(after: max(.milliseconds(1), wake - now)) { [weak self] in
            guard let self else { return }
            timer = nil
            timerDue = nil
            pump()
        }
    }

    // MARK: - What came of it

    private func run(_ effects: [BitrixOutbox.Effect]) {
        for effect in effects {
            switch effect {
            case .registered(let callID, let bitrixCallID, let warnings):
                metrics.add(.crmRegistered)
                log(.debug, "Bitrix24: call registered", callID, details: ["bitrix_call": "\(bitrixCallID)"])
                log(warnings, callID)
                onRegistered(callID, bitrixCallID)
            case .recordDue(let call, let bitrixCallID, let age):
                recorder?.add(BitrixRecorder.Job(call: call, bitrixCallID: bitrixCallID, age: age))
            case .resumed(let callID, let bitrixCallID): onRegistered(callID, bitrixCallID)
            case .finished(let callID, let isConfirmed, let warnings):
                metrics.add(.crmFinished)
                if let bitrixCallID = adopted.removeValue(forKey: callID) {
                    onRegistered(callID, bitrixCallID)
                }
                let text =
                    isConfirmed
                    ? "Bitrix24: call finished"
                    : "Bitrix24: call is finished already; the answer to an earlier attempt was lost"
                log(isConfirmed ? .debug : .info, text, callID)
                log(warnings, callID)
            case .skipped(let callID, let reason):
                metrics.add(.crmSkipped)
                log(.info, "Bitrix24: call not told to the portal", callID, details: ["reason": "\(reason)"])
            case .ignored(let callID, let step, let reason):
                log(.debug, "Bitrix24: \(step.rawValue) ignored", callID, details: ["reason": "\(reason)"])
            case .userReplaced(let callID, let from, let to):
                log(
                    .notice, "Bitrix24: nobody has this extension; the call goes to the default user", callID,
                    details: ["from": "\(from)", "to": "\(to)"])
            case .retrying(let callID, let step, let reason, let delay):
                // While the link fails that is said once, not again for each attempt.
                var level = Logger.Level.info
                if case .failing = link.state { level = .debug }
                log(
                    level, "Bitrix24: \(step.rawValue) will be repeated", callID,
                    details: ["reason": "\(reason)", "after": "\(delay.milliseconds) ms"])
            case .dropped(let callID, let step, let reason):
                metrics.add(.crmDropped)
                log(.error, "Bitrix24: \(step.rawValue) given up", callID, details: ["reason": "\(reason)"])
            case .state(let state): stateChanged(to: state)
            case .circuit(let state): circuitChanged(to: state)
            case .statistics(let isReadable):
                log(
                    isReadable ? .info : .notice,
                    isReadable
                        ? "Bitrix24: statistics can be read; ended calls are registered and finished in one request"
                        : "Bitrix24: statistics cannot be read; ended calls are registered first and finished after"
                )
            }
        }
    }

    private func stateChanged(to state: CRMState) {
        link.state = state
        switch state {
        case .off: break
        case .ok: log(.notice, "Bitrix24: the link works")
        case .failing(let reason):
            log(
                .error, "Bitrix24: the link fails",
                details: ["portal": "\(configuration.webhook)", "reason": "\(reason)"])
        }
    }

    private func circuitChanged(to state: CircuitBreaker.State) {
        link.circuit = state
        metrics.set(.crmCircuit, state == .closed ? 0 : state == .halfOpen ? 1 : 2)
        switch state {
        case .closed: log(.notice, "Bitrix24: requests go out again")
        case .open(let until):
            log(
                .warning, "Bitrix24: no requests for a while; steps wait",
                details: ["for": "\(max(0, (until - now).milliseconds)) ms", "steps": "\(pendingSteps)"])
        case .halfOpen: break
        }
    }

    private func log(_ warnings: [String], _ callID: String) {
        for warning in warnings {
            log(.info, "Bitrix24: the portal warns", callID, details: ["warning": "\(warning)"])
        }
    }

    /// A portal that refuses everything must not fill the disk: so many lines a second, the rest as a number.
    private func log(
        _ level: Logger.Level, _ text: String, _ callID: String? = nil, details: Logger.Metadata = [:]
    ) {
        guard level >= logger.logLevel else { return }
        let silent: Int? = callID == nil ? linkLines.take(at: now) : callLines.take(at: now)
        guard let silent else { return }
        if silent > 0 { logger.notice("Bitrix24: \(silent) lines were not logged") }
        var metadata = details
        if let callID { metadata["call"] = "\(callID)" }
        logger.log(level: level, "\(text)", metadata: metadata)
    }

    private static func wallClock() -> Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000)
    }
}

/// So many log lines a second.
struct LogAllowance {
    private let perSecond: Int
    private var second: Duration = .zero
    private var taken = 0

    init(perSecond: Int) {
        self.perSecond = perSecond
    }

    /// Takes one line: nil when there is none left in this second, else how many lines were refused in the
    /// second before, to be told first.
    mutating func take(at now: Duration) -> Int? {
        var refused = 0
        if now - second >= .seconds(1) {
            refused = max(0, taken - perSecond)
            second = now
            taken = 0
        }
        taken += 1
        return taken <= perSecond ? refused : nil
    }
}
