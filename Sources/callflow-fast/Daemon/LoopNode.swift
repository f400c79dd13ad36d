import CallEngine
import Connectors
import Logging
import Protocols
import Reactor

/// What the main thread tells a loop.
enum NodeOrder: Sendable {
    /// All loops stand and the port is ours: find out what an earlier run left open.
    case begin
    /// That is known, as far as the database could tell; read the PBX.
    case read([StoredCall], PBXSighting?)
    /// The PBX has told its channels for the first time: end what is still open and was not found before.
    case endForgotten
    /// Take nothing new, write out what waits, then report to the latch.
    case stop
}

/// All that lives on one loop: made there, used there, told to stop by its mailbox.
///
/// The first loop reads the PBX; the last one answers HTTP and talks to Bitrix24. With one loop they are the same.
final class LoopNode {
    private let loop: Loop
    private let index: Int
    private let plan: DaemonPlan
    private let commit: GroupCommit
    private let pipeline: CallPipeline
    private var ari: ARIClient?
    private var web: WebNode?
    private var crm: BitrixClient?
    private var catchUp: CRMCatchUp?
    private var isReconciled = false
    /// When a batch last became durable, or when nothing was on its way.
    private var lastAnswer: MonotonicInstant
    private var isSlow = false

    init(loop: Loop, index: Int, plan: DaemonPlan) {
        self.loop = loop
        self.index = index
        self.plan = plan
        lastAnswer = loop.now
        let writer = plan.store.makeWriter(on: loop)
        commit = GroupCommit(
            loop: loop, writer: writer, spool: plan.store.makeSpool(index, on: loop),
            settings: plan.settings.storeSettings, shares: plan.loops, metrics: plan.metrics,
            logger: plan.logger)
        pipeline = CallPipeline(
            loop: loop, index: index, shared: plan.shared, commit: commit, logger: plan.logger)
        commit.onStateChange = { [plan] in plan.links.set(writer: index, $0) }
        commit.onStatus = { [plan] in plan.storage.set(index, $0) }
        pipeline.onDurable = { [unowned self] in lastAnswer = self.loop.now }
        pipeline.onActions = { [plan] actions in plan.tellCRM(actions) }
        loop.attach(plan.orders[index]) { [unowned self] in take($0) }
        watchStore()
        if index == plan.loops - 1 {
            let web = WebNode(loop: loop, plan: plan)
            self.web = web
            startCRM(reader: web.store)
        }
    }

    /// Says of a database that keeps its connection and answers nothing what it is, long before the writer gives it up.
    private func watchStore() {
        loop.schedule(after: .seconds(1)) { [weak self] in
            guard let self else { return }
            if commit.inFlightCount == 0 { lastAnswer = loop.now }
            let isSlowNow = loop.now - lastAnswer > LinkStates.slowAfter
            if isSlowNow != isSlow {
                isSlow = isSlowNow
                plan.links.set(writer: index, isSlow: isSlowNow)
                if isSlowNow {
                    plan.logger.warning(
                        "store: no answer for more than \(LinkStates.slowAfter.components.seconds) seconds; rows wait"
                    )
                } else {
                    plan.logger.info("store: answers again")
                }
            }
            watchStore()
        }
    }

    /// Opens the API's port, on the loop that has it.
    func listen() throws(ReactorError) {
        try web?.listen()
    }

    private func startReading() {
        guard let configuration = plan.settings.ari else { return }
        let client = ARIClient(
            loop: loop, configuration: configuration, sink: self, tls: plan.tls, logger: plan.logger,
            metrics: plan.metrics)
        ari = client
        client.start()
    }

    /// Writes down now and then that the PBX is heard.
    private func noteSightings() {
        loop.schedule(after: Self.sightingInterval) { [weak self] in
            self?.noteSighting()
            self?.noteSightings()
        }
    }

    private static let sightingInterval: Duration = .seconds(2)

    private func noteSighting() {
        guard let ari, ari.isFollowing else { return }
        pipeline.noteSighting(pbx: UInt16(ari.index), name: ari.name, heardAt: ari.heardAt)
    }

    private func startCRM(reader: any StoreReader) {
        guard let configuration = plan.settings.bitrix else { return }
        let client = BitrixClient(
            loop: loop, configuration: configuration, tls: plan.tls, link: plan.crmLink, logger: plan.logger,
            metrics: plan.metrics)
        client.onRegistered = { [plan] callID, bitrixCallID in plan.registered(callID, bitrixCallID) }
        crm = client
        client.readDirectory()
        loop.attach(plan.crmActions) { actions in
            for action in actions { client.submit(action) }
        }
        guard configuration.catchUpTime > .zero else { return }
        let catchUp = CRMCatchUp(
            loop: loop, reader: reader, client: client, pbxName: plan.settings.pbxName,
            since: plan.startedAt - configuration.catchUpTime, before: plan.startedAt, logger: plan.logger)
        self.catchUp = catchUp
        catchUp.start()
    }

    /// The last flush may just have released steps; they get a moment, since a call left open in the portal stays so.
    private func stopCRM(_ done: @escaping () -> Void) {
        catchUp?.stop()
        guard let crm else { return done() }
        crm.stop(within: Daemon.crmTime) { _ in done() }
    }

    private func take(_ order: NodeOrder) {
        switch order {
        case .begin: web?.readOpenCalls { [plan] in _ = plan.orders[0].post(.read($0, $1)) }
        case .read(let calls, let sighting):
            pipeline.adopt(calls, sighting: sighting, pbx: 0)
            startReading()
            noteSightings()
        case .endForgotten: web?.endForgottenCalls()
        case .stop:
            // The next run need not doubt what this one saw to the end.
            noteSighting()
            ari?.stop()
            web?.stopAccepting()
            // One more tick: events that another loop handed over before it stopped are taken first.
            loop.schedule(after: .milliseconds(50)) { [self] in
                commit.flushAndStop(deadline: loop.now + Daemon.flushTime) { [self] complete in
                    web?.close()
                    stopCRM { [plan] in plan.latch.nodeStopped(complete: complete) }
                }
            }
        }
    }
}

extension LoopNode: ARIEventSink {
    func received(_ payload: RawSpan, from client: ARIClient) {
        let subscription = Self.subscription(of: client)
        switch pipeline.received(payload, pbx: UInt16(client.index), subscription: subscription) {
        case .taken: break
        case .stasisStart(let channelID): client.continueInDialplan(channelID)
        case .invalid(let error):
            // RFC 6455 §8.1: the JSON reader checks the encoding in place of the WebSocket session.
            if error.kind == .invalidUTF8 { client.failForInvalidText() }
        }
    }

    func stateChanged(_ client: ARIClient, _ state: ARIConnectionState) {
        switch state {
        case .connected: plan.links.set(pbxConnected: true, problem: client.problem)
        case .disconnected(let reason, _):
            pipeline.connectionLost(pbx: UInt16(client.index))
            plan.links.set(pbxConnected: false, problem: reason)
        case .idle, .connecting: break
        case .stopped: plan.links.set(pbxConnected: false, problem: "stopped")
        }
    }

    func comparisonBegan(_ facts: ARIComparisonFacts, from client: ARIClient) {
        pipeline.comparisonBegan(pbx: UInt16(client.index))
    }

    func listed(_ payload: RawSpan, from client: ARIClient) {
        pipeline.listed(payload, pbx: UInt16(client.index), subscription: Self.subscription(of: client))
    }

    func comparisonEnded(_ facts: ARIComparisonFacts, from client: ARIClient) {
        pipeline.comparisonEnded(facts, pbx: UInt16(client.index), name: client.name)
        guard !isReconciled else { return }
        isReconciled = true
        _ = plan.orders[plan.loops - 1].post(.endForgotten)
    }

    private static func subscription(of client: ARIClient) -> CallGraph.Subscription {
        client.configuration.subscription == .app ? .applicationOnly : .allChannels
    }
}
