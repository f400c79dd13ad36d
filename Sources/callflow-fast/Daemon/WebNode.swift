import CallEngine
import Connectors
import Logging
import Protocols
import Reactor

/// The HTTP side of one loop: server, API, live stream, and the reads behind them.
final class WebNode {
    /// Begins calls that the portal asks for; `nil`: it may not.
    var dialer: BitrixDialer?
    private let plan: DaemonPlan
    private let loop: Loop
    private let reader: any StoreReader
    private let keeper: StoreKeeper?
    private let looks: CallLooks
    private var service: APIService?
    private var server: HTTPServer?
    /// When an earlier run heard each PBX last, by name.
    private var sightings: [String: PBXSighting] = [:]
    /// PBXs that were compared, and whose calls of an earlier run are still to be looked for.
    private var compared: Set<String> = []
    private var isEndingForgotten = false
    /// For how many looks in a row the rows of an earlier run in the spool did not become fewer.
    private var idleLooks = 0
    private var spooledBefore = 0

    init(loop: Loop, plan: DaemonPlan) {
        self.loop = loop
        self.plan = plan
        reader = plan.store.makeReader(on: loop)
        reader.start()
        looks = CallLooks(loop: loop)
        keeper = plan.store.makeKeeper(on: loop)
        keeper?.start()
        let service = APIService(loop: loop, environment: self, metrics: plan.metrics, logger: plan.logger)
        let server = HTTPServer(loop: loop, service: service, logger: plan.logger, metrics: plan.metrics)
        self.service = service
        self.server = server
    }

    func listen() throws(ReactorError) {
        guard let server else { return }
        let bound = try server.listen(on: plan.settings.listenAddress)
        service?.start()
        plan.logger.info("API and live page", metadata: ["address": "http://\(bound)/"])
    }

    /// Reads what an earlier run left open, and when it heard each PBX last.
    ///
    /// Tries for `Self.openCallsTime`; a database that is away, or lacks what lies in the spool, must not keep us from the
    /// PBXs. What it has then is ended later, by `endForgottenCalls`.
    ///
    /// - Parameter completion: Called once, later, with an entry for each PBX that is read.
    func readOpenCalls(_ completion: @escaping ([PBXHistory]) -> Void) {
        readOpenCalls(until: loop.now + Self.openCallsTime, completion)
    }

    private static let openCallsTime: Duration = .seconds(2)
    private static let openCallsPause: Duration = .milliseconds(100)

    private func readOpenCalls(
        until deadline: MonotonicInstant, _ completion: @escaping ([PBXHistory]) -> Void
    ) {
        let read = plan.settings.pbxs.configurations.indices
        reader.sightings { [weak self] result in
            guard let self else { return }
            // Rows in the spool are newer than those in the database: calls that look open may have ended.
            guard case .success(let sightings) = result, !hasOldRowsInSpool else {
                guard loop.now < deadline else {
                    plan.logger.warning(
                        "PBXs are read before the calls of an earlier run: \(hasOldRowsInSpool ? "their rows are in the spool" : "the database is away")"
                    )
                    return completion(read.map { PBXHistory(pbx: $0) })
                }
                loop.schedule(after: Self.openCallsPause) { [weak self] in
                    self?.readOpenCalls(until: deadline, completion)
                }
                return
            }
            for sighting in sightings { self.sightings[sighting.pbx] = sighting }
            let filter = CallFilter(limit: StoreReads.maximumOpenCalls, openBefore: plan.startedAt)
            reader.calls(filter) { [weak self] result in
                guard let self else { return }
                let calls = Dictionary(grouping: (try? result.get()) ?? [], by: pbxName(of:))
                let histories = read.map { index in
                    let name = plan.settings.pbxs.names[index]
                    let left = calls[name] ?? []
                    if !left.isEmpty {
                        plan.logger.info(
                            "calls of an earlier run are open",
                            metadata: ["pbx": "\(name)", "calls": "\(left.count)"])
                    }
                    return PBXHistory(pbx: index, calls: left, sighting: self.sightings[name])
                }
                readEvents(of: histories, until: max(deadline, loop.now + Self.openEventsTime), completion)
            }
        }
    }

    /// How long events of open calls are read before the PBXs are; what is left then goes on without its legs.
    private static let openEventsTime: Duration = .seconds(2)
    /// Events of open calls that are read, over all PBXs.
    private static let maximumOpenEvents = 100_000

    /// Reads what was stored of the open calls, `StoreReads.callsTogether` at a time, the newest calls first.
    private func readEvents(
        of histories: [PBXHistory], until deadline: MonotonicInstant,
        _ completion: @escaping ([PBXHistory]) -> Void
    ) {
        var parts: [(history: Int, calls: ArraySlice<StoredCall>)] = []
        for (index, history) in histories.enumerated() {
            var rest = history.calls[...]
            while !rest.isEmpty {
                parts.append((index, rest.prefix(StoreReads.callsTogether)))
                rest = rest.dropFirst(StoreReads.callsTogether)
            }
        }
        readEvents(of: parts[...], into: histories, left: Self.maximumOpenEvents, until: deadline, completion)
    }

    private func readEvents(
        of parts: ArraySlice<(history: Int, calls: ArraySlice<StoredCall>)>, into histories: [PBXHistory],
        left: Int, until deadline: MonotonicInstant, _ completion: @escaping ([PBXHistory]) -> Void
    ) {
        guard let part = parts.first else { return completion(histories) }
        guard left > 0, loop.now < deadline else {
            let calls = parts.reduce(0) { $0 + $1.calls.count }
            plan.logger.warning(
                "calls of an earlier run go on without what they did before", metadata: ["calls": "\(calls)"])
            return completion(histories)
        }
        let since = part.calls.map(\.insertedAt).min() ?? plan.startedAt
        reader.events(ofCalls: part.calls.map(\.callID), since: since) { [weak self] result in
            guard let self else { return }
            var histories = histories
            var found = 0
            switch result {
            case .success(let events):
                histories[part.history].events += events
                found = events.count
            case .failure(let error):
                plan.logger.warning("events of open calls cannot be read: \(error)")
            }
            readEvents(
                of: parts.dropFirst(), into: histories, left: left - found, until: deadline, completion)
        }
    }

    /// Whose call it is; a row without a name is of a time when the first PBX was the only one.
    private func pbxName(of call: StoredCall) -> String { call.pbx ?? plan.settings.pbxs.names[0] }

    /// Ends calls of a PBX that are open in the database, are older than this run, and are not among the PBX's channels.
    ///
    /// The other shards get a moment to take what the PBX just told; PBXs that come meanwhile share one read.
    func endForgottenCalls(pbx index: Int) {
        compared.insert(plan.settings.pbxs.names[index])
        endForgottenCalls(after: .seconds(3))
    }

    private func endForgottenCalls(after pause: Duration) {
        guard !isEndingForgotten else { return }
        isEndingForgotten = true
        loop.schedule(after: pause) { [weak self] in
            guard let self else { return }
            isEndingForgotten = false
            guard isSpoolReadBack else { return endForgottenCalls(after: .seconds(2)) }
            let filter = CallFilter(limit: StoreReads.maximumOpenCalls, openBefore: plan.startedAt)
            let names = compared
            compared = []
            reader.calls(filter) { [weak self] in self?.endForgotten($0, of: names) }
        }
    }

    /// Whether rows that an earlier run received lie in the spool, so that the database does not have the last of its calls.
    private var hasOldRowsInSpool: Bool {
        guard let spool = plan.store.spoolStatus else { return false }
        return spool.state == .opening || spool.oldest.map { $0 < plan.startedAt } ?? false
    }

    /// Whether nothing of an earlier run lies in the spool any more, or what does will not come (a newer version wrote it).
    private var isSpoolReadBack: Bool {
        guard hasOldRowsInSpool else { return true }
        let batches = plan.store.spoolStatus?.batches ?? 0
        idleLooks = batches == spooledBefore ? idleLooks + 1 : 0
        spooledBefore = batches
        return idleLooks > Self.maximumIdleLooks
    }

    /// A minute.
    private static let maximumIdleLooks = 30

    private func endForgotten(_ result: Result<[StoredCall], StoreError>, of names: Set<String>) {
        switch result {
        case .success(let calls):
            let forgotten = calls.filter {
                names.contains(pbxName(of: $0)) && liveCall(callID: $0.callID) == nil
            }
            let told = forgotten.prefix { call in
                let seenAt = sightings[pbxName(of: call)]?.seenAt
                let lastSeen = [seenAt, call.startedAt, call.answeredAt].compactMap { $0 }.max()
                let pbx = plan.settings.pbxs.names.firstIndex(of: pbxName(of: call)) ?? 0
                return plan.shared.mailboxes[plan.loop(ofPBX: pbx)].post(
                    .endStored(call, at: lastSeen ?? call.insertedAt, pbx: UInt16(pbx)))
            }
            guard !forgotten.isEmpty else { return }
            plan.logger.warning(
                "calls ended that an earlier run left open and their PBX no longer has",
                metadata: ["calls": "\(told.count)"])
            guard told.count < forgotten.count else { return }
            // A mailbox was full: the rest is found again once these are written.
            compared.formUnion(names)
            endForgottenCalls(after: .seconds(3))
        case .failure(let error):
            plan.logger.warning("open calls of an earlier run are looked at again later: \(error)")
            idleLooks = 0
            compared.formUnion(names)
            endForgottenCalls(after: .seconds(30))
        }
    }

    func stopAccepting() {
        server?.stopAccepting()
    }

    func close() {
        service?.stop()
        keeper?.stop()
        server?.closeAll(drainTimeout: .milliseconds(200))
        reader.stop()
    }
}

extension WebNode: APIEnvironment {
    var now: Timestamp { WallClock.now() }

    var health: HealthSnapshot {
        let pbxs = plan.links.pbxStates.map { pbx in
            LinkStatus(
                name: "PBX \(pbx.name)", state: pbx.isConnected ? .ok : .error,
                text: pbx.problem ?? "connected")
        }
        return HealthSnapshot(
            pbxs: pbxs, database: databaseStatus, crm: crmStatus, storage: storageSnapshot,
            gaps: plan.shared.gaps.summary,
            crmCircuit: plan.settings.bitrix == nil ? nil : "\(plan.crmLink.circuit)")
    }

    var secondsBehind: Int? {
        plan.storage.all.oldest.map { Int(max(0, (now.microseconds - $0.microseconds) / 1_000_000)) }
    }

    private var storageSnapshot: StorageSnapshot {
        let lanes = plan.storage.all
        var snapshot = StorageSnapshot(deadLetters: plan.metrics[.storeRowsRejected])
        snapshot.secondsBehind = secondsBehind
        guard let spool = plan.store.spoolStatus else { return snapshot }
        snapshot.spool = StorageSnapshot.Spool(
            state: Self.spoolState(spool, lanes), problem: spool.problem, bytes: spool.bytes,
            batches: spool.batches, events: spool.events,
            oldestSeconds: spool.oldest.map {
                Int(max(0, (now.microseconds - $0.microseconds) / 1_000_000))
            })
        return snapshot
    }

    private static func spoolState(_ spool: SpoolStatus, _ lanes: StorageStatus.Lane) -> String {
        switch spool.state {
        case .opening, .full, .failing: spool.state.rawValue
        case .open: lanes.isSpilling ? "filling" : lanes.batches > 0 ? "draining" : "ready"
        }
    }

    func appendMetrics(to output: inout [UInt8]) {
        let age = plan.store.spoolStatus?.oldest.map { (now.microseconds - $0.microseconds) / 1_000_000 }
        plan.metrics.set(.spoolOldestSeconds, Int(max(0, age ?? 0)))
        let pbxs = plan.links.pbxStates
        guard !pbxs.isEmpty else { return }
        Metrics.append(
            gauge: "pbx_connected", help: "Whether the PBX's events are read.", label: "pbx",
            pbxs.map { ($0.name, $0.isConnected ? 1 : 0) }, to: &output)
        Metrics.append(
            gauge: "pbx_clock_offset_milliseconds", help: "The PBX's clock minus ours.", label: "pbx",
            pbxs.compactMap { pbx in pbx.clockOffset.map { (pbx.name, $0) } }, to: &output)
    }

    private var databaseStatus: LinkStatus {
        let waiting = plan.storage.all
        if let problem = plan.links.storeProblem(reader: reader.state) {
            let kept = waiting.isSpilling ? "; \(waiting.events) events wait in the spool" : ""
            return LinkStatus(name: "Database", state: .error, text: problem + kept)
        }
        if waiting.batches > 0 {
            return LinkStatus(
                name: "Database", state: .warn,
                text: "connected; \(waiting.events) events of the spool are on their way")
        }
        if let problem = keeper?.problem {
            return LinkStatus(name: "Database", state: .warn, text: problem)
        }
        return LinkStatus(name: "Database", state: .ok, text: "connected, \(plan.settings.store)")
    }

    private var crmStatus: LinkStatus {
        switch plan.crmLink.state {
        case .off:
            LinkStatus(
                name: "Bitrix24", state: .off, text: "neither BITRIX_WEBHOOK_URL nor BITRIX_OAUTH_FILE is set"
            )
        case .ok: LinkStatus(name: "Bitrix24", state: .ok, text: "calls are registered")
        case .failing(let reason):
            LinkStatus(
                name: "Bitrix24", state: .error,
                text: plan.crmLink.circuit == .closed ? reason : "\(reason); calls wait")
        }
    }

    var totalEvents: Int { plan.shared.statistics.total }
    var eventsPerType: [(name: String, count: Int)] { plan.shared.statistics.perType }
    func takePortalEvent(_ body: [UInt8]) -> Int { dialer?.take(body) ?? 404 }

    var pbxNames: [String] { plan.settings.pbxs.names }
    var store: any StoreReader { reader }

    func forEachLiveCall(since: Timestamp, _ body: (CallRecord) -> Bool) {
        var goesOn = true
        for registry in plan.shared.registries where goesOn {
            registry.forEach(since: since) { record in
                goesOn = body(record)
                return goesOn
            }
        }
    }

    func liveCall(callID: String) -> CallRecord? {
        plan.liveCall(callID)
    }

    var replaySettings: ReplaySettings {
        ReplaySettings(
            subscriptions: plan.settings.pbxs.configurations.map(\.graphSubscription),
            grouping: plan.shared.grouping, prefixes: plan.settings.pbxs.prefixes)
    }

    func look(at callID: String, completion: @escaping (LookedCall?) -> Void) {
        let index = plan.shared.registries.firstIndex { $0.find(callID: callID) != nil }
        guard let index else {
            loop.schedule(after: .zero) { completion(nil) }
            return
        }
        looks.ask(plan.shared.mailboxes[index], for: callID, completion: completion)
    }

    func inject(_ event: TestEvent) -> TestEventOutcome {
        guard
            let injected = InjectedEvent(
                callID: event.callID, eventType: event.eventType, payload: event.payload)
        else { return .refused("payload is no JSON object") }
        guard plan.shared.mailboxes[0].post(.inject(injected)) else {
            return .refused("too many events are waiting")
        }
        return .accepted
    }
}
