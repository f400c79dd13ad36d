import CallEngine
import Logging
import Protocols
import Reactor

/// Attaches recordings to finished calls: waits until the file is written, asks the portal where to send it, sends it.
///
///     due ─▶ looked for ──there, quiet──▶ claimed ─▶ portal asked where to ─▶ read, sent ─▶ done
///              │  └──not there, grows──▶ later            └──────failed──────▶ later, or given up
///              └──not there for ``waitTime``──▶ given up
///
/// One call at a time, so that one file is in memory. The disk is read on a thread of its own. What is to be done are rows of
/// the table, so a restart goes on with them; a second upload replaces the first one's file.
final class BitrixRecorder {
    /// A finished call whose recording is to be attached.
    struct Job: Equatable {
        var call: CRMCall
        /// The portal's id.
        var bitrixCallID: String
        /// Since the row was written.
        var age: Duration
        var attempts = 0
    }

    /// What the portal is asked under the limits that all requests share.
    typealias Ask = (BitrixCommand, @escaping (Result<HTTPClientResponse, HTTPClientError>) -> Void) -> Void

    /// Calls that are held; those that there is no room for are read from the table again.
    static let maximumJobs = 2_000
    /// A file that was not written to for so long is whole.
    static let quietTime: Duration = .seconds(3)
    /// How long after the call's end the file may appear.
    static let waitTime: Duration = .seconds(30 * 60)
    /// How soon is looked again for a file that is not there.
    static let lookAgain: Duration = .seconds(5)
    private static let longestPause: Duration = .seconds(120)
    /// What an upload may take.
    static let uploadTime: Duration = .seconds(180)

    private let loop: Loop
    private let template: RecordingTemplate
    private let maximumBytes: Int
    private let maximumAttempts: Int
    private let firstDelay: Duration
    private let portal: HTTPOrigin
    private let pbxNames: [String]
    private let makeClient: (HTTPOrigin) -> HTTPClient
    private let ask: Ask
    private let steps: (any CRMStepStore)?
    private let metrics: Metrics
    private let logger: Logger
    private let answers = Mailbox<DiskAnswer>(capacity: 4)

    private var waiting: [(due: MonotonicInstant, job: Job)] = []
    private var held: Set<String> = []
    private var active: Job?
    private var timer: TimerID?
    private var isStopped = false
    private var client: HTTPClient?

    private enum DiskAnswer: Sendable {
        case look(RecordingFile.Look)
        case content([UInt8]?)
    }

    init(
        loop: Loop, configuration: BitrixConfiguration, template: RecordingTemplate, portal: HTTPOrigin,
        makeClient: @escaping (HTTPOrigin) -> HTTPClient, steps: (any CRMStepStore)?, metrics: Metrics,
        logger: Logger, ask: @escaping Ask
    ) {
        self.loop = loop
        self.template = template
        self.portal = portal
        maximumBytes = configuration.maximumRecordingBytes
        maximumAttempts = configuration.retry.maximumAttempts
        firstDelay = configuration.retry.firstDelay
        pbxNames = configuration.pbxNames
        self.makeClient = makeClient
        self.steps = steps
        self.metrics = metrics
        self.logger = logger
        self.ask = ask
        loop.attach(answers) { [weak self] in self?.disk($0) }
    }

    /// Calls whose recordings wait or are under way.
    var count: Int { held.count }

    /// Takes a finished call in; one that is held already stays as it is.
    func add(_ job: Job) {
        guard !isStopped, held.count < Self.maximumJobs, held.insert(job.call.callID).inserted else { return }
        waiting.append((loop.now, job))
        next()
    }

    func stop() {
        isStopped = true
        if let timer { loop.cancel(timer) }
        timer = nil
        client?.close()
        client = nil
    }

    // MARK: - One after the other

    private func next() {
        guard !isStopped, active == nil else { return }
        if let timer { loop.cancel(timer) }
        timer = nil
        guard let first = waiting.indices.min(by: { waiting[$0].due < waiting[$1].due }) else { return }
        let due = waiting[first].due
        guard due <= loop.now else {
            timer = loop.schedule(after: due - loop.now) { [weak self] in
                self?.timer = nil
                self?.next()
            }
            return
        }
        let job = waiting.remove(at: first).job
        active = job
        let location = location(of: job)
        if template.isAddress { return attach(.attachRecord(job.bitrixCallID, address: location)) }
        onDisk { .look(RecordingFile.look(for: location)) }
    }

    private func location(of job: Job) -> String {
        let pbx = Int(job.call.pbx) < pbxNames.count ? pbxNames[Int(job.call.pbx)] : pbxNames.first ?? ""
        return template.location(of: job.call, pbx: pbx)
    }

    private func onDisk(_ work: @escaping @Sendable () -> DiskAnswer) {
        let answers = answers
        if !BackgroundThread.run({ _ = answers.post(work()) }) { later("no thread to read the disk with") }
    }

    private var file: RecordingFile?
    private var uploadTarget: RecordingUpload.Target?

    private func disk(_ answer: DiskAnswer) {
        guard let job = active, !isStopped else { return }
        switch answer {
        case .look(.none):
            guard job.age < Self.waitTime else { return giveUp("there is no file \(location(of: job))") }
            later(nil, in: Self.lookAgain)
        case .look(.refused(let reason)): giveUp(reason)
        case .look(.file(let found, let quiet)):
            if found.bytes > maximumBytes {
                return giveUp("\(found.path) has \(found.bytes) bytes, more than \(maximumBytes)")
            }
            // MixMonitor writes the length into the head at the end.
            guard quiet >= Self.quietTime, found.bytes > 0 else {
                guard job.age < Self.waitTime else { return giveUp("\(found.path) is empty or does not end") }
                return later(nil, in: max(.milliseconds(500), Self.quietTime - quiet))
            }
            file = found
            let name = String(found.path.split(separator: "/").last ?? "record.wav")
            attach(.attachRecord(job.bitrixCallID, name: name))
        case .content(let content):
            guard let content, let target = uploadTarget, let file else {
                return later("the file changed while it was read")
            }
            upload(content, file, target)
        }
    }

    /// Claims the step, then asks the portal.
    private func attach(_ command: BitrixCommand) {
        guard let job = active else { return }
        let send: () -> Void = { [weak self] in
            guard let self, !isStopped else { return }
            ask(command) { [weak self] in self?.asked($0) }
        }
        guard let steps else { return send() }
        let key = CRMStepKey(callID: job.call.callID, kind: .record)
        steps.claim([CRMStepClaim(key, user: nil)]) { [weak self] granted in
            // Another daemon has it, or it is done.
            guard granted.contains(key) else {
                self?.over()
                return
            }
            send()
        }
    }

    private func asked(_ result: Result<HTTPClientResponse, HTTPClientError>) {
        guard !isStopped, active != nil else { return }
        let response: HTTPClientResponse
        switch result {
        case .success(let answer): response = answer
        case .failure(let error): return later(error.description)
        }
        if response.status == 200, RecordingUpload.isAttached(response.body) { return done() }
        if response.status == 200, let target = RecordingUpload.target(in: response.body, portal: portal),
            let file
        {
            uploadTarget = target
            return onDisk { .content(file.read()) }
        }
        refused(response, "the portal does not say where to send the file")
    }

    private func upload(_ content: [UInt8], _ file: RecordingFile, _ target: RecordingUpload.Target) {
        let boundary =
            "callflow-\(String(SystemRandom.uint64(), radix: 16))\(String(SystemRandom.uint64(), radix: 16))"
        let name = String(file.path.split(separator: "/").last ?? "record.wav")
        let client = client ?? makeClient(target.origin)
        self.client = client
        client.send(
            HTTPClientRequest(
                method: "POST", target: target.target,
                fields: [
                    ("Content-Type", "multipart/form-data; boundary=\(boundary)"),
                    ("Accept", "application/json"),
                    ("User-Agent", "callflow-fast"),
                ],
                body: RecordingUpload.form(field: target.field, name: name, content, boundary: boundary),
                timeout: Self.uploadTime)
        ) { [weak self] result in
            guard let self, !isStopped, active != nil else { return }
            switch result {
            case .failure(let error): later(error.description)
            case .success(let response):
                if response.status == 200, RecordingUpload.isAttached(response.body) { return done() }
                refused(response, "the portal did not take the file")
            }
        }
    }

    private func refused(_ response: HTTPClientResponse, _ otherwise: String) {
        let reply = BitrixReplyDecoder().decode(status: response.status, body: response.body)
        guard case .refusal(let refusal) = reply else { return later(otherwise) }
        switch refusal.meaning {
        case .tooManyRequests, .methodBlocked, .serverFailure, .configuration: later(refusal.summary)
        // The statistics may lag behind the finish.
        case .callNotFound: later(refusal.summary)
        case .userUnknown, .refused: giveUp(refusal.summary)
        }
    }

    // MARK: - What came of it

    private func over() {
        if let active { held.remove(active.call.callID) }
        active = nil
        file = nil
        uploadTarget = nil
        if waiting.isEmpty {
            client?.close()
            client = nil
        }
        next()
    }

    private func done() {
        metrics.add(.crmRecordings)
        write(.done, nil, in: .zero)
        over()
    }

    private func giveUp(_ reason: String) {
        metrics.add(.crmDropped)
        logger.warning(
            "Bitrix24: recording not attached",
            metadata: ["call": "\(active?.call.callID ?? "")", "reason": "\(reason)"])
        write(.failed, reason, in: .zero)
        over()
    }

    /// - Parameter problem: What went wrong, which counts as an attempt; `nil`: it is not there yet.
    private func later(_ problem: String?, in pause: Duration? = nil) {
        guard var job = active else { return }
        if let problem {
            job.attempts += 1
            guard job.attempts < maximumAttempts else { return giveUp(problem) }
        }
        let pause = pause ?? min(Self.longestPause, firstDelay * (1 << min(job.attempts, 10)))
        job.age += pause
        if let problem { write(.waiting, problem, in: pause) }
        active = nil
        file = nil
        uploadTarget = nil
        waiting.append((loop.now + pause, job))
        next()
    }

    private func write(_ state: CRMStepState, _ error: String?, in pause: Duration) {
        guard let active else { return }
        steps?.write([
            CRMStepChange(
                CRMStepKey(callID: active.call.callID, kind: .record), state, attempts: active.attempts,
                dueIn: pause,
                error: error)
        ])
    }
}
