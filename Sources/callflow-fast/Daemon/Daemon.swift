import CallEngine
import Connectors
import Glibc
import Logging
import Reactor
import Synchronization

/// What all loops share; made once, before they start.
struct DaemonPlan: Sendable {
    var settings: Settings
    var loops: Int
    var shared: CallPipeline.Shared
    var orders: [Mailbox<NodeOrder>]
    var crmActions: Mailbox<[CRMAction]>
    var store: Store
    var tls: TLSClientContext
    var links: LinkStates
    var storage: StorageStatus
    var crmLink: CRMLink
    var latch: StopLatch
    /// When this run began; rows made before are an earlier run's.
    var startedAt = WallClock.now()
    var metrics: Metrics
    var logger: Logger

    /// Batches of actions on their way to the CRM's loop.
    static let crmMailboxCapacity = 16_384
    /// Orders that wait for one loop: one a PBX, and a few of the daemon's own.
    static let orderCapacity = PBXList.maximumCount + 24

    /// The loop that reads a PBX, and on which its calls live.
    func loop(ofPBX index: Int) -> Int { index % loops }

    /// What does not fit is found in the table of steps.
    func tellCRM(_ actions: [CRMAction]) {
        guard settings.crmTargetCount > 0 else { return }
        _ = crmActions.post(actions)
    }

    /// The call as the engine has it; `nil` when it is not live.
    func liveCall(_ callID: String) -> CallRecord? {
        for registry in shared.registries {
            if let found = registry.find(callID: callID) { return found }
        }
        return nil
    }

    /// The id that Bitrix24 gave is stored by the loop that writes the call's rows; of a call that is forgotten none is on
    /// its way, and any loop will do.
    func registered(_ callID: String, _ bitrixCallID: String) {
        let mailbox = shared.mailboxes[liveCall(callID).map { Int($0.writer) } ?? 0]
        if !mailbox.postControl(.registered(callID: callID, bitrixCallID: bitrixCallID)) {
            metrics.add(.handoffDropped)
        }
    }
}

/// Counts the loops that have stopped; the main thread waits on it.
final class StopLatch: Sendable {
    private let stopped = Atomic<Int>(0)
    private let incomplete = Atomic<Bool>(false)
    private let problem = Locked<String?>(nil)

    /// Why a loop could not begin its work.
    var failure: String? { problem.withLock { $0 } }

    func failed(_ reason: String) {
        problem.withLock { $0 = reason }
    }

    func nodeStopped(complete: Bool) {
        if !complete { incomplete.store(true, ordering: .relaxed) }
        stopped.wrappingAdd(1, ordering: .acquiringAndReleasing)
    }

    /// Waits until `count` loops have reported, at most so long.
    ///
    /// - Returns: Whether all did, with everything written.
    func wait(for count: Int, milliseconds: Int) -> Bool {
        for _ in 0..<milliseconds / 10 {
            if stopped.load(ordering: .acquiring) >= count { return !incomplete.load(ordering: .relaxed) }
            usleep(10_000)
        }
        return false
    }
}

/// Why the daemon did not start.
struct StartError: Error, CustomStringConvertible {
    var problem: String

    var description: String { problem }
}

/// The running daemon: starts the loops, waits for signals, stops in order.
struct Daemon {
    /// How long a busy loop lets events gather: nobody sees a call closer than that, and a turn of the loop, with its
    /// batch, hand-over and wake-ups, costs as much as tens of events.
    static let gathering: Duration = .milliseconds(4)
    /// What a stopping loop may take to write out what waits; with the rest it stays below the 10 s that are promised.
    static let flushTime: Duration = .seconds(5)
    /// And what the CRM may take after that.
    static let crmTime: Duration = .seconds(3)
    private static let stopMilliseconds = 8500
    /// Connections for reads, of those that POOL_SIZE leaves.
    static let mostReaders = 4

    private let plan: DaemonPlan
    private let threads: [LoopThread]

    /// Starts everything.
    ///
    /// - Throws: `ReactorError` when a loop or a thread could not be made.
    init(settings: Settings, logger: Logger) throws {
        // A writer for each loop, readers, the CRM's, and the upkeep's now and then; POOL_SIZE bounds them.
        let hasCRM = settings.crmTargetCount > 0
        let others = 1 + settings.crmTargetCount
        let loops = Self.loops(settings, others: others)
        var settings = settings
        settings.storeSettings.readConnections = max(
            1, min(Self.mostReaders, settings.poolSize - loops - others))
        let metrics = Metrics()
        var shared = CallPipeline.Shared(
            count: loops, maximumCalls: settings.maximumCalls, metrics: metrics,
            grouping: settings.grouping, prefixes: settings.pbxs.prefixes, tellsCRM: hasCRM)
        shared.tellsTelephones = settings.bitrix?.showsCard ?? false
        shared.tellsConversations = settings.bitrix?.transfers == .each
        plan = DaemonPlan(
            settings: settings, loops: loops, shared: shared,
            orders: (0..<loops).map { _ in Mailbox(capacity: DaemonPlan.orderCapacity) },
            crmActions: Mailbox(capacity: DaemonPlan.crmMailboxCapacity),
            store: try Store(
                location: settings.store, settings: settings.storeSettings, lanes: loops, metrics: metrics,
                logger: logger),
            tls: try TLSClientContext(),
            links: LinkStates(pbxNames: settings.pbxs.configurations.map(\.name), writers: loops),
            storage: StorageStatus(lanes: loops),
            crmLink: CRMLink(settings.bitrix == nil ? .off : .ok), latch: StopLatch(), metrics: metrics,
            logger: logger)
        var threads: [LoopThread] = []
        for index in 0..<loops {
            var configuration = LoopConfiguration()
            configuration.ioMode = settings.ioMode
            configuration.name = "loop-\(index)"
            configuration.gathering = Daemon.gathering
            configuration.pinToCore = loops > 1 ? index : nil
            threads.append(
                try LoopThread.start(configuration) { [plan] loop in
                    if index == 0 {
                        plan.logger.info(
                            "loops run on \(loop.driver.name): \(loop.driver.reason)",
                            metadata: [
                                "loops": "\(loops)",
                                "features": "\(loop.driver.features.joined(separator: ","))",
                            ])
                    }
                    do throws(ReactorError) {
                        let node = LoopNode(loop: loop, index: index, plan: plan)
                        loop.context = node
                        try node.listen()
                    } catch {
                        plan.latch.failed("cannot listen on \(plan.settings.listenAddress): \(error)")
                    }
                })
        }
        self.threads = threads
        if let problem = plan.latch.failure {
            for thread in threads { thread.stop() }
            for thread in threads { thread.join() }
            throw StartError(problem: problem)
        }
        // Not before: connecting takes the application's name away from a daemon that runs already.
        _ = plan.orders[loops - 1].post(.begin)
    }

    /// - Parameter others: Connections that are neither writers' nor readers'.
    private static func loops(_ settings: Settings, others: Int) -> Int {
        if case .postgres = settings.store {
            return min(settings.loops, max(1, settings.poolSize - others - 1))
        }
        return settings.loops
    }

    /// Stops in order: intake, then what waits, then the loops.
    ///
    /// - Returns: Whether everything that waited was written.
    func stop() -> Bool {
        for order in plan.orders { _ = order.post(.stop) }
        let isComplete = plan.latch.wait(for: plan.loops, milliseconds: Self.stopMilliseconds)
        for thread in threads { thread.stop() }
        for thread in threads { thread.join() }
        plan.store.close()
        return isComplete
    }
}
