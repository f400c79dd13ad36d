package import Connectors
import Glibc
package import Logging
package import Reactor

/// A PBX that is not there: an ARI server whose calls come from a schedule or a recording.
///
/// Answers as Asterisk 22 does, down to the texts of its errors. Thread-confined to its loop.
package final class PBXSimulator {
    /// What it was made with.
    package let configuration: SimulatorConfiguration
    /// How it misbehaves from now on.
    package var faults: FaultPlan {
        didSet { if faults.stream != .none { injectStreamFault() } }
    }
    /// Requests so far, as `PUT /ari/applications/a/eventFilter`; the last `maximumLoggedRequests`.
    package private(set) var requests: [String] = []
    /// Readers that connected, were refused, and were cut off for being slow.
    package private(set) var readersAccepted = 0
    package internal(set) var readersRefused = 0
    package internal(set) var readersCutOff = 0
    /// How the last reader ended.
    package private(set) var lastClose: WebSocketClose?

    let loop: Loop
    let logger: Logger
    /// Its calls.
    package let player: CallPlayer
    let sentLog: SentLog?
    private let metrics = Metrics()
    private var server: HTTPServer?
    private let recording: Recording?
    var applications: [PBXApplication] = []
    private(set) var readers: [PBXReader] = []
    /// Requests that are never answered, held so that their connections stay open.
    var unanswered: [HTTPExchange] = []
    /// Requests of ARI's REST side.
    var resourceRequests = 0
    private var timer: TimerID?
    private var isStopped = false
    private var isSilent = false
    private var isWaiting: Bool
    /// When the reader that is waited for had subscribed, by the wall clock in milliseconds.
    private var subscribedAt: Int64?
    private(set) var stream: PrerenderedStream?
    private let startedAt: Int64
    private var sentToClosed = (events: 0, bytes: 0)

    /// Requests remembered.
    static let maximumLoggedRequests = 1000
    /// Requests left unanswered at once, by the fault of that name.
    static let maximumUnanswered = 1000
    /// Pause before a recording is played to a reader that asks for nothing; to others it is once they read the lists.
    static let replayPause: Duration = .milliseconds(500)
    /// Bytes queued for one reader beyond which a replay without pace waits.
    static let replayQueueBytes = 1 << 20
    /// Bytes queued for one reader beyond which calls stand still, when told to.
    static let waitQueueBytes = 4 << 20

    /// Makes a PBX without calls until `start`.
    ///
    /// - Parameter scripts: What the calls of many PBXs share.
    /// - Throws: A text for the operator when the recording cannot be read.
    package init(
        loop: Loop, configuration: SimulatorConfiguration, logger: Logger, scripts: CallScripts? = nil
    ) throws {
        self.loop = loop
        self.configuration = configuration
        self.logger = logger
        faults = configuration.faults
        isWaiting = configuration.waitsForReader || configuration.prerenderedMilliseconds > 0
        sentLog = try configuration.sentLogFile.map { try SentLog(path: $0) }
        recording = try configuration.replayFile.map { try Recording(path: $0) }
        startedAt = Self.wallMilliseconds()
        player = CallPlayer(configuration: configuration, start: startedAt, scripts: scripts)
    }

    /// Listens, and begins to play.
    ///
    /// - Returns: The address, with the port that the system chose for port 0.
    package func start(
        on address: SocketAddress, tls: TLSServerContext? = nil
    ) throws(ReactorError) -> SocketAddress {
        var limits = HTTPServerLimits()
        limits.maximumSendQueueBytes = configuration.maximumQueuedBytes
        let server = HTTPServer(loop: loop, service: self, limits: limits, logger: logger, metrics: metrics)
        self.server = server
        let bound = try server.listen(on: address, tls: tls)
        planTick()
        return bound
    }

    /// Ends as `core stop now` does: no close frame, the stream just ends.
    package func stop() {
        isStopped = true
        if let timer { loop.cancel(timer) }
        timer = nil
        for reader in readers { reader.endWithoutClose() }
        sentLog?.flush()
        if let problem = sentLog?.problem { logger.error("the log of sent events has gaps: \(problem)") }
        unanswered = []
        server?.closeAll(drainTimeout: .milliseconds(100))
    }

    /// Plays no more: calls stand still, connections stay.
    package func fallSilent() { isSilent = true }

    /// Milliseconds since 1970 now.
    static func wallMilliseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    // MARK: Playing

    private func planTick(isBehind: Bool = false) {
        let pause = Duration.milliseconds(isBehind ? 0 : configuration.tickMilliseconds)
        timer = loop.schedule(after: pause) { [weak self] in
            guard let self, !isStopped else { return }
            planTick(isBehind: !tick())
        }
    }

    /// Plays what is due; says whether that was all of it.
    private func tick() -> Bool {
        if configuration.slowReaderMilliseconds > 0 {
            let limit = Duration.milliseconds(configuration.slowReaderMilliseconds)
            for reader in readers { reader.checkSlowness(now: loop.now, limit: limit) }
        }
        var isComplete = true
        if recording != nil {
            for reader in readers { replay(to: reader) }
        } else if hasBegun(), let stream {
            isComplete = play(stream)
        } else if !isWaiting, !isSilent, !waits() {
            isComplete = player.advance(
                to: Self.wallMilliseconds(), budget: configuration.eventsPerTick, into: self)
        }
        for reader in readers { reader.flush() }
        sentLog?.flush()
        return isComplete
    }

    /// Whether a reader is so far behind that calls stand still.
    private func waits() -> Bool {
        configuration.waitsForSlowReaders && readers.contains { $0.queuedBytes > Self.waitQueueBytes }
    }

    /// Whether the schedule runs; begins it when a reader that was waited for has subscribed.
    private func hasBegun() -> Bool {
        guard isWaiting else { return true }
        guard applications.contains(where: { $0.hasChannels || $0.hasBridges || $0.subscribesToAll }) else {
            return false
        }
        if configuration.prerenderedMilliseconds > 0 {
            // Rendering holds up the loop, and afterwards lists tell of its end: not before readers have read them, of
            // other PBXs too.
            let now = Self.wallMilliseconds()
            let since = subscribedAt ?? now
            subscribedAt = since
            guard now - since >= configuration.renderPause else { return false }
        }
        isWaiting = false
        if configuration.prerenderedMilliseconds > 0, let application = applications.first {
            prerender(for: application)
        } else {
            player.begin(at: Self.wallMilliseconds())
        }
        return true
    }

    /// Renders what `application` will get; the first event is due when that is done and a pause is over.
    ///
    /// Times of events are fixed before it is known how long rendering takes; it is guessed from their number, and a start that lies in the past
    /// when rendering is done would make the first events late, which the latency would show.
    private func prerender(for application: PBXApplication) {
        let events =
            configuration.withSteadyLoadWorkedOut().callsPerSecond * 20
            * Double(configuration.prerenderedMilliseconds) / 1000
        let guess = Int64(events / 250) + configuration.prerenderedPause
        stream = PrerenderedStream(
            player, for: application, owner: configuration.appName, start: Self.wallMilliseconds() + guess,
            milliseconds: configuration.prerenderedMilliseconds)
    }

    /// Sends what is due of a prerendered stream; says whether that was all of it.
    private func play(_ stream: PrerenderedStream) -> Bool {
        guard let reader = readers.first(where: { $0.isOpen }), reader.queuedBytes < Self.waitQueueBytes
        else {
            return true
        }
        let now = Self.wallMilliseconds()
        guard now >= stream.start else { return true }
        let (frames, events) = stream.take(
            at: configuration.sendsAtOnce ? nil : now, limit: Self.waitQueueBytes)
        if events > 0 { reader.send(frames: frames, events: events) }
        return stream.isOver || !configuration.sendsAtOnce
    }

    private func replay(to reader: PBXReader) {
        guard let recording, var cursor = reader.replay, reader.isOpen else { return }
        let elapsed = (loop.now - cursor.start).wholeNanoseconds
        var budget = configuration.eventsPerTick
        while cursor.next < recording.count, budget > 0,
            recording.due(cursor.next, pace: configuration.replayPace) <= elapsed
        {
            if configuration.replayPace == .asFastAsPossible, reader.queuedBytes > Self.replayQueueBytes {
                break
            }
            reader.send(recording[cursor.next])
            cursor.next += 1
            budget -= 1
        }
        reader.replay = cursor
    }

    /// Begins the replay to a reader, unless it has begun.
    func beginReplay(to reader: PBXReader) {
        guard recording != nil, reader.replay == nil else { return }
        reader.replay = ReplayCursor(start: loop.now)
    }

    // MARK: Readers

    /// A reader's handshake is complete.
    func opened(_ reader: PBXReader) {
        readersAccepted += 1
        readers.append(reader)
        for name in reader.applicationNames {
            if let known = applications.first(where: { $0.name == name }) {
                // The name goes to the newer reader; the filter and the subscription stay.
                if known.wants(.applicationReplaced, isOfStasisChannel: false, owner: name) {
                    known.reader?.send(replacedEvent(known))
                }
                known.reader = reader
            } else {
                let application = PBXApplication(
                    name: name, subscribesToAll: reader.subscribesToAll,
                    asteriskID: configuration.asteriskID)
                application.reader = reader
                applications.append(application)
            }
        }
        if faults.stream != .none { injectStreamFault() }
        guard recording != nil else { return }
        let before = resourceRequests
        loop.schedule(after: Self.replayPause) { [weak self, weak reader] in
            guard let self, let reader, resourceRequests == before else { return }
            beginReplay(to: reader)
        }
    }

    /// A reader is gone: Asterisk 22 forgets its applications.
    func closed(_ reader: PBXReader, _ close: WebSocketClose) {
        lastClose = close
        sentToClosed.events += Int(reader.eventsSent)
        sentToClosed.bytes += Int(reader.bytesSent)
        readers.removeAll { $0 === reader }
        applications.removeAll { $0.reader === reader }
    }

    private func replacedEvent(_ application: PBXApplication) -> [UInt8] {
        let time = player.timeText(Self.wallMilliseconds())
        return Array("{\"type\":\"ApplicationReplaced\",\"timestamp\":\"\(time)\",".utf8)
            + application.eventTail
    }

    private func injectStreamFault() {
        let fault = faults.stream
        faults.stream = .none
        for reader in readers where reader.isOpen {
            switch fault {
            case .none: break
            case .resetInFrame:
                reader.sendRaw([0x81, 0x7E, 0x10, 0x00] + Array("{\"type\":\"Dial\"".utf8))
                reader.resetSoon(on: loop)
            case .end: reader.endWithoutClose()
            case .silence: reader.fallSilent()
            case .replaced:
                for application in applications where application.reader === reader {
                    reader.send(replacedEvent(application))
                }
            default:
                for bytes in fault.frames { reader.sendRaw(bytes) }
                reader.flush()
            }
        }
    }

    /// When it started, as ARI writes times.
    var startTimeText: String { player.timeText(startedAt) }

    /// Remembers a request.
    func log(_ request: String) {
        if requests.count >= Self.maximumLoggedRequests { requests.removeFirst() }
        requests.append(request)
    }

    // MARK: Figures

    /// Events and bytes of events given to readers since the start.
    package var sentToReaders: (events: Int, bytes: Int) {
        readers.reduce(into: sentToClosed) { sum, reader in
            sum.events += Int(reader.eventsSent)
            sum.bytes += Int(reader.bytesSent)
        }
    }

    /// Whether nothing more is played, and all of it was taken by the kernel.
    package var isStreamOver: Bool {
        (isSilent || stream?.isOver == true) && readers.allSatisfy { $0.queuedBytes == 0 }
    }

    /// What it did so far, as `GET /simulator/stats` says it.
    package var statistics: String {
        let sent = sentToReaders
        return """
            {"calls_started":\(player.callsStarted),"calls_finished":\(player.callsFinished),\
            "calls_active":\(player.callsActive),"calls_refused":\(player.callsRefused),\
            "most_active":\(player.mostActive),"events_played":\(player.eventsPlayed),\
            "events_delivered":\(player.eventsDelivered),"continued":\(player.continued),\
            "readers":\(readers.count),"readers_accepted":\(readersAccepted),\
            "readers_refused":\(readersRefused),"readers_cut_off":\(readersCutOff),\
            "events_sent_to_readers":\(sent.events),"bytes_sent_to_readers":\(sent.bytes),\
            "replayed":\(readers.compactMap { $0.replay?.next }.max() ?? 0),\
            "prerendered":\(stream?.eventCount ?? 0),"is_over":\(stream?.isOver ?? false),\
            "started_at":"\(player.timeText(startedAt))"}
            """
    }
}

// MARK: - EventReceiver

extension PBXSimulator: EventReceiver {
    /// Gives one event to every application that wants it.
    package func played(
        _ kind: EventKind, isOfStasisChannel: Bool, body: UnsafeRawBufferPointer
    ) -> Bool {
        var isDelivered = false
        for application in applications {
            guard let reader = application.reader, reader.isOpen,
                application.wants(
                    kind, isOfStasisChannel: isOfStasisChannel, owner: configuration.appName)
            else { continue }
            reader.send(body, application.eventTail)
            isDelivered = true
        }
        return isDelivered
    }
}

extension Duration {
    fileprivate var wholeNanoseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
}
