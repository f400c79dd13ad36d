import Logging
import Protocols
import Reactor

/// Sends channels on in the dialplan, so many at a time.
///
/// A channel that is not continued keeps its caller in silence, so a failure is tried again for a while;
/// 404 and 409 mean that the channel is gone or went on by itself.
final class ARIContinuations {
    /// Channels waiting; beyond it one is given up, which is logged.
    static let maximumWaiting = 65_536
    /// Requests at once.
    static let maximumInFlight = 6
    /// Tries per channel.
    static let maximumAttempts = 8
    /// Pause before a failed one is tried again.
    static let retryPause: Duration = .milliseconds(500)

    private struct Entry {
        let id: String
        var attempts = 0
    }

    private let loop: Loop
    private let send: (String, @escaping (Result<HTTPClientResponse, HTTPClientError>) -> Void) -> Void
    private let logger: Logger
    private let metrics: Metrics
    private var waiting: [Entry] = []
    private var head = 0
    private var inFlight = 0
    private var isStopped = false
    /// The failure that was logged last, so that a thousand channels give one line.
    private var loggedFailure = ""

    /// - Parameter send: Sends `POST` to a path below `/ari`.
    init(
        loop: Loop, logger: Logger, metrics: Metrics,
        send: @escaping (String, @escaping (Result<HTTPClientResponse, HTTPClientError>) -> Void) -> Void
    ) {
        self.loop = loop
        self.send = send
        self.logger = logger
        self.metrics = metrics
    }

    /// Channels that wait or are being asked for.
    var count: Int { waiting.count - head + inFlight }

    func add(_ id: String) {
        guard waiting.count - head < Self.maximumWaiting else {
            giveUp(id, "too many channels wait to be continued")
            return
        }
        waiting.append(Entry(id: id))
        pump()
    }

    /// Nothing more is sent; what waits is dropped.
    func stop() {
        isStopped = true
        waiting = []
        head = 0
    }

    private func pump() {
        while !isStopped, inFlight < Self.maximumInFlight, head < waiting.count {
            let entry = waiting[head]
            head += 1
            if head == waiting.count || head > 1024 {
                waiting.removeFirst(head)
                head = 0
            }
            inFlight += 1
            send("/channels/\(PercentCoding.encoded(entry.id))/continue") { [weak self] result in
                self?.finished(entry, result)
            }
        }
    }

    private func finished(_ entry: Entry, _ result: Result<HTTPClientResponse, HTTPClientError>) {
        inFlight -= 1
        guard !isStopped else { return }
        switch result {
        case .success(let response):
            switch response.status {
            case 200..<300:
                metrics.add(.ariContinued)
                loggedFailure = ""
            case 404, 409: metrics.add(.ariContinueRefused)
            case 401, 403:
                giveUp(
                    entry.id,
                    "status \(response.status): the ARI user may not control channels; set read_only = no in "
                        + "ari.conf, or ARI_STASIS_POLICY=hold when another application continues them")
            default: again(entry, "status \(response.status)")
            }
        case .failure(let error): again(entry, error.description)
        }
        pump()
    }

    private func again(_ entry: Entry, _ reason: String) {
        var entry = entry
        entry.attempts += 1
        guard entry.attempts < Self.maximumAttempts else { return giveUp(entry.id, reason) }
        metrics.add(.ariRequestErrors)
        loop.schedule(after: Self.retryPause) { [weak self] in
            guard let self, !isStopped else { return }
            waiting.append(entry)
            pump()
        }
    }

    private func giveUp(_ id: String, _ reason: String) {
        metrics.add(.ariContinueRefused)
        guard reason != loggedFailure else { return }
        loggedFailure = reason
        logger.error(
            "ARI: a channel in our application could not be continued in the dialplan",
            metadata: ["channel": "\(id)", "reason": "\(reason)"])
    }
}
