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
    case read(PBXHistory)
    /// The PBX of that index has told its channels for the first time: end what is still open and was not found before.
    case endForgotten(pbx: Int)
    /// Have a PBX begin a call; the number comes back with what became of it.
    case originate(ARIOriginate, pbx: Int, number: Int)
    case originated(number: Int, refusal: String?)
    /// Take nothing new, write out what waits, then report to the latch.
    case stop
}

/// What an earlier run left of one PBX.
struct PBXHistory: Sendable {
    /// Index of the PBX.
    var pbx: Int
    /// Calls that are open in the database.
    var calls: [StoredCall] = []
    /// Their events, in the order of receipt; not all where there are too many.
    var events: [StoredEvent] = []
    /// When it was heard last.
    var sighting: PBXSighting?
}

/// All that lives on one loop: made there, used there, told to stop by its mailbox.
///
/// The PBXs are dealt out over the loops, beginning with the first; the last one answers HTTP and talks to Bitrix24.
final class LoopNode {
    private let loop: Loop
    private let index: Int
    private let plan: DaemonPlan
    private let commit: GroupCommit
    private let pipeline: CallPipeline
    /// Readers of the PBXs of this loop.
    private var readers: [ARIClient] = []
    private var web: WebNode?
    private var crms: [any CRMTarget] = []
    /// Who waits for what a PBX says to a call that it was asked to begin.
    private var originating: [Int: (String?) -> Void] = [:]
    private var nextOriginate = 0
    /// Indices of PBXs whose channels were compared.
    private var reconciled: Set<Int> = []
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
            startCRM()
            loop.schedule(after: Self.startTime) { ProgramPages.release() }
        }
        watchMemory()
    }

    /// Lets go what a backlog left behind: room in batches, and what was freed and would stay with the allocator for good.
    private func watchMemory() {
        loop.schedule(after: .seconds(60)) { [weak self] in
            guard let self else { return }
            commit.renewBatches()
            // The allocator is the process's, so one loop looks after it.
            if web != nil { giveBack() }
            watchMemory()
        }
    }

    private func giveBack() {
        guard let before = ProcessMemory.residentBytes,
            ProcessMemory.releaseFree(atLeast: Self.memoryToSpare),
            let left = ProcessMemory.residentBytes, before - left >= Self.memoryToSpare
        else { return }
        plan.logger.debug("memory: \((before - left) >> 20) MiB given back, \(left >> 20) MiB resident")
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

    private func startReading(pbx index: Int) {
        let client = ARIClient(
            loop: loop, index: index, configuration: plan.settings.pbxs.configurations[index], sink: self,
            tls: plan.tls, logger: plan.logger, metrics: plan.metrics)
        if readers.isEmpty { noteSightings() }
        readers.append(client)
        client.start()
    }

    /// Writes down now and then that the PBX is heard.
    private func noteSightings() {
        loop.schedule(after: Self.sightingInterval) { [weak self] in
            self?.noteSightingsNow()
            self?.noteSightings()
        }
    }

    /// After this what only the start needed is let go.
    private static let startTime: Duration = .seconds(3)
    /// Memory is given back when the allocator counts so much as free, be it resident or not.
    private static let memoryToSpare = 4 << 20

    private static let sightingInterval: Duration = .seconds(2)

    private func noteSightingsNow() {
        for reader in readers where reader.isFollowing {
            let pbx = UInt16(reader.index)
            pipeline.noteSighting(pbx: pbx, name: reader.name, heardAt: reader.heardAt)
            plan.links.set(pbx: reader.index, clockOffset: pipeline.clockOffset(ofPBX: pbx))
        }
    }

    private func startCRM() {
        if let configuration = plan.settings.bitrix {
            let client = BitrixClient(
                loop: loop, configuration: configuration, tls: plan.tls, link: plan.crmLink,
                steps: plan.store.makeSteps(of: CRMTargetName.bitrix24.rawValue, on: loop),
                logger: plan.logger,
                metrics: plan.metrics)
            client.onRegistered = { [plan] callID, bitrixCallID in plan.registered(callID, bitrixCallID) }
            crms.append(client)
            if let clicks = configuration.clicks { startDialer(clicks, configuration, client) }
        }
        if let configuration = plan.settings.webhook {
            crms.append(
                WebhookClient(
                    loop: loop, configuration: configuration, tls: plan.tls,
                    steps: plan.store.makeSteps(of: CRMTargetName.webhook.rawValue, on: loop),
                    logger: plan.logger, metrics: plan.metrics))
        }
        guard !crms.isEmpty else { return }
        loop.attach(plan.crmActions) { [crms] actions in
            for action in actions { for crm in crms { crm.submit(action) } }
        }
        for crm in crms { crm.start() }
    }

    /// Calls that the portal asks for are begun by the loop that reads their PBX.
    private func startDialer(
        _ clicks: BitrixClicks, _ configuration: BitrixConfiguration, _ client: BitrixClient
    ) {
        web?.dialer = BitrixDialer(
            loop: loop, clicks: clicks, configuration: configuration, prefixes: plan.settings.pbxs.prefixes,
            client: client, logger: plan.logger
        ) { [weak self] request, pbx, begun in
            guard let self else { return }
            guard pbx < plan.settings.pbxs.configurations.count else { return begun("no PBX is read") }
            let number = nextOriginate
            nextOriginate += 1
            originating[number] = begun
            let order = NodeOrder.originate(request, pbx: pbx, number: number)
            if !plan.orders[pbx % plan.loops].post(order) {
                originated(number, "the PBX's loop does not take its mail")
            }
        }
    }

    private func originated(_ number: Int, _ refusal: String?) {
        originating.removeValue(forKey: number)?(refusal)
    }

    /// On the loop that reads the PBX.
    private func originate(_ request: ARIOriginate, pbx: Int, number: Int) {
        let answer = { [plan] (refusal: String?) in
            _ = plan.orders[plan.loops - 1].post(.originated(number: number, refusal: refusal))
        }
        guard let client = readers.first(where: { $0.index == pbx }) else {
            return answer("the PBX is not read yet")
        }
        client.originate(request, completion: answer)
    }

    /// The last flush may just have released steps; they get a moment, since a call left open in the portal stays so.
    private func stopCRM(_ done: @escaping () -> Void) {
        guard !crms.isEmpty else { return done() }
        var left = crms.count
        for crm in crms {
            crm.stop(within: Daemon.crmTime) { _ in
                left -= 1
                if left == 0 { done() }
            }
        }
    }

    private func take(_ order: NodeOrder) {
        switch order {
        case .begin:
            web?.readOpenCalls { [plan] histories in
                for history in histories {
                    _ = plan.orders[plan.loop(ofPBX: history.pbx)].post(.read(history))
                }
            }
        case .read(let history):
            pipeline.adopt(
                history.calls, events: history.events, sighting: history.sighting, pbx: UInt16(history.pbx))
            pipeline.replay(
                history.events, pbx: UInt16(history.pbx),
                subscription: plan.settings.pbxs.configurations[history.pbx].graphSubscription)
            startReading(pbx: history.pbx)
        case .endForgotten(let pbx): web?.endForgottenCalls(pbx: pbx)
        case .originate(let request, let pbx, let number): originate(request, pbx: pbx, number: number)
        case .originated(let number, let refusal): originated(number, refusal)
        case .stop:
            // The next run need not doubt what this one saw to the end.
            noteSightingsNow()
            for reader in readers { reader.stop() }
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
        case .connected: plan.links.set(pbx: client.index, isConnected: true, problem: client.problem)
        case .disconnected(let reason, _):
            pipeline.connectionLost(pbx: UInt16(client.index))
            plan.links.set(pbx: client.index, isConnected: false, problem: reason)
        case .idle, .connecting: break
        case .stopped: plan.links.set(pbx: client.index, isConnected: false, problem: "stopped")
        }
    }

    func comparisonBegan(_ facts: ARIComparisonFacts, from client: ARIClient) {
        pipeline.comparisonBegan(facts, pbx: UInt16(client.index))
    }

    func listed(_ payload: RawSpan, from client: ARIClient) {
        pipeline.listed(payload, pbx: UInt16(client.index), subscription: Self.subscription(of: client))
    }

    func comparisonEnded(_ facts: ARIComparisonFacts, from client: ARIClient) {
        pipeline.comparisonEnded(facts, pbx: UInt16(client.index), name: client.name)
        guard reconciled.insert(client.index).inserted else { return }
        _ = plan.orders[plan.loops - 1].post(.endForgotten(pbx: client.index))
    }

    func needsConfirmation(_ client: ARIClient) -> Bool {
        pipeline.needsConfirmation(pbx: UInt16(client.index))
    }

    func confirmed(_ channels: [[UInt8]], from client: ARIClient) {
        pipeline.confirmed(channels: channels, pbx: UInt16(client.index), name: client.name)
    }

    private static func subscription(of client: ARIClient) -> CallGraph.Subscription {
        client.configuration.graphSubscription
    }
}

extension ARIConfiguration {
    /// What the subscription means to the calls.
    var graphSubscription: CallGraph.Subscription { subscription == .app ? .applicationOnly : .allChannels }
}
