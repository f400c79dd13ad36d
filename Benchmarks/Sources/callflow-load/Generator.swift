import Connectors
import Glibc
import Logging
import Reactor
import Simulator
import Synchronization

/// The PBXs and the portal of a run, on threads of this process.
///
/// PBXs render their calls in advance, so that sending them costs next to nothing beside what is measured; those of a long schedule, which would fill
/// the memory, as they are due.
final class Generator {
    /// A PBX: where it listens, and what it was told and did.
    struct PBX: Sendable {
        var port: UInt16
    }

    private enum Order: Sendable {
        case state(@Sendable (State) -> Void)
        case truths(@Sendable ([CallTruth]) -> Void)
        case silence(@Sendable (Bool) -> Void)
        case stop(@Sendable () -> Void)
    }

    /// What all PBXs together did so far.
    struct State: Sendable {
        var eventsSent = 0
        /// Whether the calls of every one were all sent.
        var isOver = true
        /// Connections beyond each one's first, and those cut off.
        var reconnects = 0
    }

    private let threads: [LoopThread]
    private let orders = Mailbox<Order>(capacity: 64)
    let pbxs: [PBX]
    /// The portal's webhook; `nil` without one.
    let webhook: String?

    /// Seconds of calls that are rendered beyond what is measured, since the daemon is stopped a little later.
    static let spareSeconds = 2.0

    init(_ scenario: Scenario) throws {
        var threads: [LoopThread] = []
        var pbxs: [PBX] = []
        // All on one thread: a hundred that wake up every millisecond would leave the daemon no core.
        let (thread, ports) = try Self.start("pbxs", connections: 3 * scenario.pbxs + 64) { [orders] loop in
            var simulators: [PBXSimulator] = []
            var ports: [UInt16] = []
            // What is the same for all of them is worked out once: there may be thousands.
            let common = Self.configuration(scenario)
            let scripts = CallScripts(appName: common.appName)
            for index in 0..<scenario.pbxs {
                var configuration = common
                configuration.seed = UInt64(index + 1)
                configuration.systemName = scenario.pbxs > 1 ? "pbx\(index + 1)" : ""
                let simulator = try PBXSimulator(
                    loop: loop, configuration: configuration, logger: Self.logger, scripts: scripts)
                ports.append(try simulator.start(on: .loopback(port: 0)).port)
                simulators.append(simulator)
            }
            let all = Simulators(all: simulators)
            loop.context = all
            loop.attach(orders) { Self.take($0, all.all, loop) }
            return ports
        }
        threads.append(thread)
        pbxs = ports.map { PBX(port: $0) }
        var webhook: String?
        if scenario.portal != .off {
            let (thread, ports) = try Self.start("portal", connections: 1024) { loop in
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
        self.pbxs = pbxs
        self.webhook = webhook
    }

    private static let logger = Logger(label: "load") { _ in SwiftLogNoOpLogHandler() }

    /// What all PBXs of a scenario have in common, worked out.
    private static func configuration(_ scenario: Scenario) -> SimulatorConfiguration {
        var configuration = SimulatorConfiguration()
        // One thread plays all of them.
        configuration.tickMilliseconds = max(
            1, scenario.isOneCallEach ? scenario.pbxs / 20 : scenario.pbxs / 50)
        configuration.renderPause = max(configuration.renderPause, Int64(2 * scenario.pbxs))
        // As Asterisk; but no sooner than a PBX has looked at its reader a few times.
        configuration.slowReaderMilliseconds =
            scenario.pace == .schedule ? max(100, 4 * configuration.tickMilliseconds) : 0
        configuration.steadyLoad = .init(
            calls: scenario.isOneCallEach ? 1 : max(1, scenario.calls / scenario.pbxs),
            eventsPerSecond: scenario.isOneCallEach
                ? 1 : scenario.eventsPerSecond / Double(scenario.pbxs),
            rampMilliseconds: Int(scenario.ramp * 1000))
        if scenario.isRenderedAhead {
            configuration.prerenderedMilliseconds = Int(
                (scenario.ramp + scenario.seconds + spareSeconds) * 1000)
        } else {
            configuration.waitsForReader = true
        }
        if scenario.pace == .blast {
            configuration.prerenderedMilliseconds = Int((scenario.ramp + scenario.seconds) * 1000)
            configuration.sendsAtOnce = true
        }
        var result = configuration.withSteadyLoadWorkedOut()
        if scenario.isOneCallEach {
            // The next call begins within a second or so of the end of the one before.
            result.maximumConcurrentCalls = 1
            result.callsPerSecond = 1
        }
        return result
    }

    /// Seconds in which a thread makes what runs on it; of thousands of PBXs each opens a port.
    private static let startSeconds = 60.0

    /// Starts a loop and waits for what was made on it.
    private static func start(
        _ name: String, connections: Int, _ make: @escaping @Sendable (Loop) throws -> [UInt16]
    ) throws -> (LoopThread, [UInt16]) {
        let result = Slot<Result<[UInt16], LoadError>>()
        var configuration = LoopConfiguration()
        configuration.name = name
        configuration.maximumConnections = max(configuration.maximumConnections, connections)
        let thread = try LoopThread.start(configuration) { loop in
            do { result.set(.success(try make(loop))) } catch { result.set(.failure(LoadError("\(error)"))) }
        }
        guard let made = result.wait(seconds: startSeconds) else { throw LoadError("\(name) did not start") }
        return (thread, try made.get())
    }

    private static func take(_ order: Order, _ simulators: [PBXSimulator], _ loop: Loop) {
        switch order {
        case .state(let answer):
            var state = State()
            for simulator in simulators {
                state.eventsSent += simulator.sentToReaders.events
                state.isOver = state.isOver && simulator.isStreamOver
                state.reconnects += max(0, simulator.readersAccepted - 1) + simulator.readersCutOff
            }
            answer(state)
        case .truths(let answer): answer(simulators.flatMap(\.player.truths))
        case .silence(let answer):
            for simulator in simulators { simulator.fallSilent() }
            answer(true)
        case .stop(let done):
            for simulator in simulators { simulator.stop() }
            loop.schedule(after: .milliseconds(200)) { done() }
        }
    }

    private func ask<Answer: Sendable>(
        _ order: (@escaping @Sendable (Answer) -> Void) -> Order
    ) throws(LoadError) -> Answer {
        let slot = Slot<Answer>()
        _ = orders.post(order { slot.set($0) })
        guard let answer = slot.wait(seconds: 30) else {
            throw LoadError("the simulated PBXs do not answer")
        }
        return answer
    }

    /// What the PBXs did so far.
    func state() throws(LoadError) -> State { try ask { .state($0) } }

    /// Events that the readers got of each call, and what a reader should say of it.
    func truths() throws(LoadError) -> [CallTruth] { try ask { .truths($0) } }

    /// Ends calls that are played as they come; those rendered in advance end by themselves.
    func fallSilent() throws(LoadError) { _ = try ask { .silence($0) } }

    /// Ends the threads.
    func stop() {
        let slot = Slot<Bool>()
        _ = orders.post(.stop { slot.set(true) })
        _ = slot.wait(seconds: 5)
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
