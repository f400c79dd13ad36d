import Connectors
import Glibc
import Logging
import Reactor
import Simulator
import Synchronization

/// The PBXs and the portal of a run, on threads of this process.
///
/// PBXs render their calls in advance, so that sending them costs next to nothing beside what is measured.
final class Generator {
    /// A PBX: where it listens, and what it was told and did.
    struct PBX: Sendable {
        var port: UInt16
    }

    private enum Order: Sendable {
        case report(@Sendable (Report) -> Void)
        case stop(@Sendable () -> Void)
    }

    /// What a PBX did.
    struct Report: Sendable {
        var eventsSent = 0
        var bytesSent = 0
        var isOver = false
        var readersAccepted = 0
        var readersCutOff = 0
        /// Events that the reader got of each call, and what a reader should say of it.
        var truths: [CallTruth] = []
    }

    private let threads: [LoopThread]
    private let orders: [Mailbox<Order>]
    let pbxs: [PBX]
    /// The portal's webhook; `nil` without one.
    let webhook: String?

    /// Seconds of calls that are rendered beyond what is measured, since the daemon is stopped a little later.
    static let spareSeconds = 2.0

    init(_ scenario: Scenario) throws {
        var threads: [LoopThread] = []
        var orders: [Mailbox<Order>] = []
        var pbxs: [PBX] = []
        // All on one thread: a hundred that wake up every millisecond would leave the daemon no core.
        for _ in 0..<scenario.pbxs { orders.append(Mailbox<Order>(capacity: 64)) }
        let (thread, ports) = try Self.start("pbxs") { [orders] loop in
            var simulators: [PBXSimulator] = []
            var ports: [UInt16] = []
            for (index, mailbox) in orders.enumerated() {
                let simulator = try PBXSimulator(
                    loop: loop, configuration: Self.configuration(scenario, index: index),
                    logger: Self.logger)
                ports.append(try simulator.start(on: .loopback(port: 0)).port)
                simulators.append(simulator)
                loop.attach(mailbox) { Self.take($0, simulator, loop) }
            }
            loop.context = Simulators(all: simulators)
            return ports
        }
        threads.append(thread)
        pbxs = ports.map { PBX(port: $0) }
        var webhook: String?
        if scenario.portal != .off {
            let (thread, ports) = try Self.start("portal") { loop in
                var settings = PortalSettings.demonstration(extensions: SimulatorConfiguration().agents)
                settings.webhooks = [.init(secret: "loadtoken")]
                var portal = FakeBitrixPortal(settings: settings)
                switch scenario.portal {
                case .slow: portal.faults = [PortalFaultRule(.delayAfterEffect(.seconds(3)))]
                case .down: portal.faults = [PortalFaultRule(.cutBeforeEffect)]
                case .on, .off: break
                }
                let server = FakeBitrixServer(loop: loop, portal: portal)
                loop.context = server
                let bound = try server.listen(
                    on: .loopback(port: 0), logger: Self.logger, metrics: Metrics())
                return [bound.port]
            }
            threads.append(thread)
            webhook = "http://127.0.0.1:\(ports[0])/rest/1/loadtoken/"
        }
        self.threads = threads
        self.orders = orders
        self.pbxs = pbxs
        self.webhook = webhook
    }

    private static let logger = Logger(label: "load") { _ in SwiftLogNoOpLogHandler() }

    private static func configuration(_ scenario: Scenario, index: Int) -> SimulatorConfiguration {
        var configuration = SimulatorConfiguration()
        configuration.seed = UInt64(index + 1)
        configuration.systemName = scenario.pbxs > 1 ? "pbx\(index + 1)" : ""
        configuration.slowReaderMilliseconds = scenario.pace == .schedule ? 100 : 0
        // One thread plays all of them.
        configuration.tickMilliseconds = max(1, scenario.pbxs / 50)
        configuration.steadyLoad = .init(
            calls: max(1, scenario.calls / scenario.pbxs),
            eventsPerSecond: scenario.eventsPerSecond / Double(scenario.pbxs),
            rampMilliseconds: Int(scenario.ramp * 1000))
        configuration.prerenderedMilliseconds = Int((scenario.ramp + scenario.seconds + spareSeconds) * 1000)
        if scenario.pace == .blast {
            configuration.prerenderedMilliseconds = Int((scenario.ramp + scenario.seconds) * 1000)
            configuration.sendsAtOnce = true
        }
        return configuration
    }

    /// Starts a loop and waits for what was made on it.
    private static func start(
        _ name: String, _ make: @escaping @Sendable (Loop) throws -> [UInt16]
    ) throws -> (LoopThread, [UInt16]) {
        let result = Slot<Result<[UInt16], LoadError>>()
        var configuration = LoopConfiguration()
        configuration.name = name
        let thread = try LoopThread.start(configuration) { loop in
            do { result.set(.success(try make(loop))) } catch { result.set(.failure(LoadError("\(error)"))) }
        }
        guard let made = result.wait(seconds: 30) else { throw LoadError("\(name) did not start") }
        return (thread, try made.get())
    }

    private static func take(_ order: Order, _ simulator: PBXSimulator, _ loop: Loop) {
        switch order {
        case .report(let answer):
            var report = Report()
            let sent = simulator.sentToReaders
            (report.eventsSent, report.bytesSent) = (sent.events, sent.bytes)
            report.isOver = simulator.isStreamOver
            report.readersAccepted = simulator.readersAccepted
            report.readersCutOff = simulator.readersCutOff
            report.truths = simulator.player.truths
            answer(report)
        case .stop(let done):
            simulator.stop()
            loop.schedule(after: .milliseconds(200)) { done() }
        }
    }

    /// What each PBX did so far.
    func reports() throws(LoadError) -> [Report] {
        var reports: [Report] = []
        for mailbox in orders {
            let slot = Slot<Report>()
            _ = mailbox.post(.report { slot.set($0) })
            guard let report = slot.wait(seconds: 30) else {
                throw LoadError("a simulated PBX does not answer")
            }
            reports.append(report)
        }
        return reports
    }

    /// Ends the threads.
    func stop() {
        for mailbox in orders {
            let slot = Slot<Bool>()
            _ = mailbox.post(.stop { slot.set(true) })
            _ = slot.wait(seconds: 5)
        }
        for thread in threads { thread.stop() }
        for thread in threads { thread.join() }
    }
}

/// What keeps a thread's PBXs alive.
private final class Simulators {
    let all: [PBXSimulator]

    init(all: [PBXSimulator]) { self.all = all }
}

/// A value that one thread sets and another waits for.
final class Slot<Value: Sendable>: Sendable {
    private let value = Mutex<Value?>(nil)

    func set(_ new: Value) { value.withLock { $0 = new } }

    func wait(seconds: Double) -> Value? {
        let end = Clock.seconds + seconds
        while Clock.seconds < end {
            if let found = value.withLock({ $0 }) { return found }
            usleep(500)
        }
        return nil
    }
}
