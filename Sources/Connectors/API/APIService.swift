import CallEngine
package import Logging
import Protocols
package import Reactor

/// The REST API, the live stream, the page and the metrics, on one loop's HTTP server.
///
///     GET  /                 the live page            GET  /api/calls?status=&direction=&limit=&cursor=
///     GET  /health                                    GET  /api/calls/:call_id
///     GET  /metrics                                   GET  /api/stats, /api/latency
///     GET  /api/stream       Server-Sent Events       GET  /api/calls/:call_id/events
///                                                     GET  /api/calls/:call_id/explain
///     GET  /api/crm/outbox, /api/crm/failed           POST /api/test/events
///                                                     POST /bitrix24/events
///
/// Nothing here blocks: the database is read through `StoreReader`, and the engine through copies.
package final class APIService: HTTPService {
    /// Calls listed when no `limit` is given.
    package static let defaultLimit = 50
    /// Events in a page of them when no `limit` is given.
    package static let defaultEventLimit = 200
    /// The largest `limit`.
    package static let maximumLimit = 1000

    let environment: any APIEnvironment
    let metrics: Metrics
    let logger: Logger
    let testEventScanner = JSONFieldScanner(testEventPlan, maximumDepth: maximumTestEventDepth)
    /// The stream's hub; started by `start()`.
    package let stream: LiveStream

    /// Makes a service; `start()` begins the live stream's clock.
    package init(loop: Loop, environment: any APIEnvironment, metrics: Metrics, logger: Logger) {
        self.environment = environment
        self.metrics = metrics
        self.logger = logger
        stream = LiveStream(loop: loop, environment: environment, metrics: metrics)
    }

    /// Starts sampling events per second and sending to the stream's clients.
    package func start() { stream.start() }

    /// Ends the streams and stops sampling.
    package func stop() { stream.stop() }

    /// A known path.
    private enum Route {
        case page, health, metrics, stats, latency, calls, gaps, stream, testEvents
        case steps(CRMStepQuery.Kind)
        case portalEvents
        case call(String)
        case events(of: String)
        case explanation(of: String)
    }

    package func handle(_ request: HTTPRequest, _ exchange: HTTPExchange) {
        guard let route = Self.route(request.path) else { return exchange.respondError(404) }
        let isRead = request.method == "GET" || request.method == "HEAD"
        if case .testEvents = route {
            guard request.method == "POST" else { return refuseMethod(exchange, allowed: "POST") }
            return postTestEvent(request, exchange)
        }
        if case .portalEvents = route {
            guard request.method == "POST" else { return refuseMethod(exchange, allowed: "POST") }
            return takePortalEvent(request, exchange)
        }
        guard isRead else { return refuseMethod(exchange, allowed: "GET, HEAD") }
        switch route {
        case .page: page(exchange)
        case .health: health(exchange)
        case .metrics: renderMetrics(exchange)
        case .stats: stats(exchange)
        case .latency: latency(exchange)
        case .calls: listCalls(request, exchange)
        case .gaps: listGaps(request, exchange)
        case .steps(let kind): listSteps(kind, request, exchange)
        case .call(let callID): showCall(callID, request, exchange)
        case .events(let callID): listEvents(callID, request, exchange)
        case .explanation(let callID): explain(callID, exchange)
        case .stream: stream.join(exchange, isHead: request.method == "HEAD")
        case .testEvents, .portalEvents: break
        }
    }

    /// Finds the route; one slash at the end is passed over, as the old daemon did.
    ///
    /// A call id is all that follows `/api/calls/`, up to `/events` or `/explain` if it ends so: ids may hold slashes
    /// (`PJSIP/101-00000001`).
    private static func route(_ path: String) -> Route? {
        let calls = "/api/calls/"
        if path.hasPrefix(calls), path.utf8.count > calls.utf8.count {
            let callID = path.dropFirst(calls.count)
            func isAsked(for part: String) -> Bool {
                callID.hasSuffix(part) && callID.utf8.count > part.utf8.count
            }
            if isAsked(for: "/events") { return .events(of: String(callID.dropLast("/events".count))) }
            if isAsked(for: "/explain") { return .explanation(of: String(callID.dropLast("/explain".count))) }
            return .call(String(callID))
        }
        var path = path[...]
        if path.hasSuffix("/"), path.utf8.count > 1 { path.removeLast() }
        switch path {
        case "/": return .page
        case "/health": return .health
        case "/metrics": return .metrics
        case "/api/stats": return .stats
        case "/api/latency": return .latency
        case "/api/calls": return .calls
        case "/api/gaps": return .gaps
        case "/bitrix24/events": return .portalEvents
        case "/api/crm/outbox": return .steps(.open)
        case "/api/crm/failed": return .steps(.failed)
        case "/api/stream": return .stream
        case "/api/test/events": return .testEvents
        default: return nil
        }
    }

    // MARK: - Answers

    private func refuseMethod(_ exchange: HTTPExchange, allowed: String) {
        exchange.respondError(405, fields: [("Allow", allowed)] + Self.apiFields)
    }

    /// What every API answer carries: live facts are not to be kept, and are nothing but what they say.
    static let apiFields = [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]

    func respond(
        _ exchange: HTTPExchange, status: Int = 200, json: [UInt8], fields: [(String, String)] = []
    ) {
        var fields = Self.apiFields + fields
        // What was received longer ago is in the database; what is younger may still be on its way there.
        if let behind = environment.secondsBehind { fields.append(("X-Callflow-Behind", String(behind))) }
        exchange.respond(status: status, fields: fields, body: json, contentType: HTTPAnswer.jsonType)
    }

    /// Answers `{"error":"…"}`.
    func refuse(_ exchange: HTTPExchange, status: Int, _ text: String) {
        let json = JSONWriter.object { $0.member("error", text) }
        respond(exchange, status: status, json: json)
    }

    private func page(_ exchange: HTTPExchange) {
        exchange.respond(
            status: 200,
            fields: [
                ("Content-Security-Policy", LivePage.contentSecurityPolicy),
                ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"),
                ("Cache-Control", "no-cache"),
            ], body: LivePage.bytes, contentType: "text/html; charset=utf-8")
    }

    private func health(_ exchange: HTTPExchange) {
        let health = environment.health
        let json = JSONWriter.object {
            $0.member("status", "ok")
            $0.member("db", health.isDatabaseWorking ? "ok" : "error")
            $0.member("ari_connection", health.isARIConnected ? "connected" : "disconnected")
            $0.member("timestamp", environment.now)
            // The contract's answer knows one PBX.
            if health.pbxs.count > 1 {
                $0.array("pbxs") { list in
                    for pbx in health.pbxs {
                        list.object {
                            $0.member("name", pbx.name)
                            $0.member("state", pbx.state.rawValue)
                            $0.member("text", pbx.text)
                        }
                    }
                }
            }
            if let circuit = health.crmCircuit {
                $0.object("crm") {
                    $0.member("name", health.crm.name)
                    $0.member("state", health.crm.state.rawValue)
                    $0.member("circuit", circuit)
                    $0.member("text", health.crm.text)
                }
            }
            if let storage = health.storage { $0.storage(storage) }
            if let gaps = health.gaps {
                $0.object("gaps") {
                    $0.member("count", gaps.count)
                    if let last = gaps.last { $0.object("last") { $0.gap(last) } }
                }
            }
        }
        respond(exchange, json: json)
    }

    private func renderMetrics(_ exchange: HTTPExchange) {
        var text: [UInt8] = []
        // First, since it may set gauges.
        environment.appendMetrics(to: &text)
        metrics.renderPrometheus(into: &text)
        exchange.respond(
            status: 200, fields: Self.apiFields, body: text,
            contentType: "text/plain; version=0.0.4; charset=utf-8")
    }

    private func stats(_ exchange: HTTPExchange) {
        let json = JSONWriter.object {
            $0.member("total_events", environment.totalEvents)
            $0.object("events_per_type") { types in
                for (name, count) in environment.eventsPerType { types.member(name, count) }
            }
            $0.object("events_per_call") { calls in
                environment.forEachLiveCall { record in
                    if record.isActive { calls.member(record.callID.string, Int(record.eventCount)) }
                    return true
                }
            }
        }
        respond(exchange, json: json)
    }

    /// Latencies since the start; whoever asks twice can take one from the other, bucket by bucket.
    private func latency(_ exchange: HTTPExchange) {
        let json = JSONWriter.object { answer in
            answer.member("unit", "microseconds")
            for stage in LatencyStage.allCases {
                let times = metrics.latency(stage).snapshot
                answer.object(stage.rawValue) { stage in
                    stage.member("count", times.count)
                    stage.member("p50", times.microseconds(at: 0.5))
                    stage.member("p99", times.microseconds(at: 0.99))
                    stage.member("p99.9", times.microseconds(at: 0.999))
                    stage.member("max", times.mostMicroseconds)
                    // Upper bound of each bucket that has any, and how many it has.
                    stage.object("buckets") { buckets in
                        for (bucket, count) in times.counts.enumerated() where count > 0 {
                            buckets.member(String(LatencyHistogram.upperBound(ofBucket: bucket)), count)
                        }
                    }
                }
            }
        }
        respond(exchange, json: json)
    }
}

extension JSONWriter {
    /// What waits for the database and what it refused, as members of `/health` behind the contract's.
    fileprivate mutating func storage(_ storage: StorageSnapshot) {
        member("dead_letters", storage.deadLetters)
        member("seconds_behind", storage.secondsBehind ?? 0)
        guard let spool = storage.spool else { return }
        object("spool") {
            $0.member("state", spool.state)
            if let problem = spool.problem { $0.member("problem", problem) }
            $0.member("bytes", spool.bytes)
            $0.member("batches", spool.batches)
            $0.member("events", spool.events)
            $0.member("oldest_seconds", spool.oldestSeconds ?? 0)
        }
    }
}
