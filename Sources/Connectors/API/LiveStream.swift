import CallEngine
import Protocols
import Reactor

/// Feeds the page: a snapshot for each new client, then what changed, twice a second, as Server-Sent Events.
///
///     event: snapshot   data: {"now","calls","counters","links","rates"}        once, on connecting
///     event: delta      data: {"now","counters","ended","left","changed"} and, when there is something new,
///                             "links" (all of them) and "rates" (events in each second gone by)
///     : comment         each 15 s, so that intermediaries keep the connection
///
/// `ended` calls are over; calls that `left` live on but are no longer among the newest `maximumCalls`,
/// which is all that clients are shown. Work and memory do not grow with the number of calls times clients:
/// one difference is computed and its bytes go to all.
package final class LiveStream {
    /// Clients at once; the next ones are answered with 503.
    package static let maximumClients = 64
    /// Calls shown, the newest first.
    package static let maximumCalls = 200
    /// Seconds of events per second that are remembered.
    package static let maximumRates = 300
    /// Between two looks at the calls.
    package static let tickInterval: Duration = .milliseconds(500)
    /// Between two comments.
    package static let heartbeatInterval: Duration = .seconds(15)

    private let loop: Loop
    private let environment: any APIEnvironment
    private let metrics: Metrics

    private var clients: [HTTPStream] = []
    private var window = LiveWindow()
    private var hasWindow = false
    private var links: [LinkStatus] = []
    private var rates: [Int] = []
    private var newRates: [Int] = []
    private var eventsBefore = 0
    private var nextSample = MonotonicInstant(nanoseconds: 0)
    private var nextHeartbeat = MonotonicInstant(nanoseconds: 0)
    private var timer: TimerID?

    init(loop: Loop, environment: any APIEnvironment, metrics: Metrics) {
        self.loop = loop
        self.environment = environment
        self.metrics = metrics
    }

    /// Clients connected now.
    package var clientCount: Int { clients.count }

    func start() {
        guard timer == nil else { return }
        eventsBefore = environment.totalEvents
        nextSample = loop.now + .seconds(1)
        nextHeartbeat = loop.now + Self.heartbeatInterval
        scheduleTick()
    }

    func stop() {
        if let timer { loop.cancel(timer) }
        timer = nil
        let ending = clients
        clients = []
        for client in ending { client.end() }
        metrics.add(.streamClients, -ending.count)
    }

    /// Answers `GET /api/stream`.
    func join(_ exchange: HTTPExchange, isHead: Bool) {
        guard clients.count < Self.maximumClients else {
            return exchange.respond(
                status: 503, fields: [("Retry-After", "10")] + APIService.apiFields,
                body: Array(#"{"error":"Too many live stream clients"}"#.utf8),
                contentType: HTTPAnswer.jsonType)
        }
        let stream = exchange.beginStream(
            status: 200,
            fields: APIService.apiFields + [
                ("Content-Type", "text/event-stream; charset=utf-8"), ("X-Accel-Buffering", "no"),
            ])
        guard !isHead, stream.isOpen else { return }
        if clients.isEmpty { refresh() }
        clients.append(stream)
        metrics.add(.streamClients)
        stream.onClosed = { [weak self, weak stream] in
            guard let self, let index = clients.firstIndex(where: { $0 === stream }) else { return }
            clients.remove(at: index)
            metrics.add(.streamClients, -1)
        }
        var output = Array("retry: 2000\n".utf8)
        Self.append(event: "snapshot", data: snapshot(), to: &output)
        stream.write(output)
    }

    // MARK: - Time

    private func scheduleTick() {
        timer = loop.schedule(after: Self.tickInterval) { [weak self] in
            guard let self else { return }
            tick()
            scheduleTick()
        }
    }

    private func tick() {
        if loop.now >= nextSample {
            nextSample = max(nextSample + .seconds(1), loop.now)
            sample()
        }
        let isHeartbeat = loop.now >= nextHeartbeat
        if isHeartbeat { nextHeartbeat = loop.now + Self.heartbeatInterval }
        guard !clients.isEmpty else {
            newRates = []
            return
        }
        let change = refresh()
        var output: [UInt8] = []
        if isHeartbeat { output.append(contentsOf: ": still here\n\n".utf8) }
        if change.hasNews || !newRates.isEmpty {
            Self.append(event: "delta", data: delta(change), to: &output)
        }
        newRates = []
        guard !output.isEmpty else { return }
        for client in clients { client.write(output) }
    }

    private func sample() {
        let events = environment.totalEvents
        let rate = max(0, events - eventsBefore)
        eventsBefore = events
        rates.append(rate)
        newRates.append(rate)
        if rates.count > Self.maximumRates { rates.removeFirst(rates.count - Self.maximumRates) }
    }

    // MARK: - What there is and what changed

    private struct Change {
        var calls: LiveWindow.Change
        var links: [LinkStatus]?
        var hasNews: Bool { !calls.isEmpty || links != nil }
    }

    @discardableResult
    private func refresh() -> Change {
        let calls = window.refresh(environment, limit: Self.maximumCalls)
        let health = environment.health
        let now = health.pbxs + [health.database, health.crm]
        defer { links = now }
        return Change(calls: calls, links: now == links ? nil : now)
    }

    private func snapshot() -> [UInt8] {
        JSONWriter.object {
            $0.member("now", environment.now, precision: .milliseconds)
            $0.array("calls") { list in
                for record in window.calls { list.object { self.call(record, to: &$0) } }
            }
            counters(to: &$0)
            links(links, to: &$0)
            $0.array("rates") { list in for rate in rates { list.integer(rate) } }
        }
    }

    private func delta(_ change: Change) -> [UInt8] {
        JSONWriter.object {
            $0.member("now", environment.now, precision: .milliseconds)
            counters(to: &$0)
            $0.array("ended") { list in
                for call in change.calls.ended {
                    list.object {
                        $0.member("call_id", call.callID)
                        $0.member("status", call.status)
                        $0.member("ended_at", call.endedAt, precision: .milliseconds)
                    }
                }
            }
            $0.array("left") { list in for callID in change.calls.left { list.string(callID) } }
            $0.array("changed") { list in
                for record in change.calls.changed { list.object { self.call(record, to: &$0) } }
            }
            if let links = change.links { self.links(links, to: &$0) }
            if !newRates.isEmpty {
                $0.array("rates") { list in for rate in newRates { list.integer(rate) } }
            }
        }
    }

    private func call(_ record: CallRecord, to json: inout JSONWriter) {
        let names = environment.pbxNames
        json.member("call_id", record.callID.string)
        json.member("direction", record.direction.name.description)
        json.member("caller_number", record.callerNumber.isEmpty ? nil : record.callerNumber.string)
        json.member("callee_number", record.calleeNumber.isEmpty ? nil : record.calleeNumber.string)
        json.member("status", record.status.name.description)
        json.member("started_at", record.startedAt, precision: .milliseconds)
        json.member("answered_at", record.answeredAt, precision: .milliseconds)
        json.member("legs", Int(record.openLegs))
        json.member("pbx", Int(record.pbx) < names.count ? names[Int(record.pbx)] : nil)
    }

    private func counters(to json: inout JSONWriter) {
        json.object("counters") {
            $0.member("active", window.active)
            $0.member("ringing", window.ringing)
            $0.member("answered", window.answered)
            $0.member("events", environment.totalEvents)
            $0.member("ended", metrics[.callsFinished])
        }
    }

    private func links(_ links: [LinkStatus], to json: inout JSONWriter) {
        json.array("links") { list in
            for (index, link) in links.enumerated() {
                list.object {
                    // The last two are the database and the CRM.
                    let kind = index < links.count - 2 ? "pbx" : index == links.count - 2 ? "database" : "crm"
                    $0.member("kind", kind)
                    $0.member("name", link.name)
                    $0.member("state", link.state.rawValue)
                    $0.member("text", link.text)
                }
            }
        }
    }

    /// Appends one event; JSON has no line ends, so one `data` line holds it (HTML standard, §9.2).
    private static func append(event name: String, data: [UInt8], to output: inout [UInt8]) {
        output.append(contentsOf: "event: \(name)\ndata: ".utf8)
        output.append(contentsOf: data)
        output.append(contentsOf: "\n\n".utf8)
    }
}
