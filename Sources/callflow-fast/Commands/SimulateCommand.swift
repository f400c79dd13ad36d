import ArgumentParser
import Connectors
import Glibc
import Logging
import Protocols
import Reactor
import Simulator

struct SimulateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Play a PBX (an ARI server with calls) and, if wanted, a Bitrix24 portal, on this machine.",
        discussion: """
            Connect with ws://127.0.0.1:PORT/ari/events, user callflow, password secret. What was played is told at \
            /simulator/stats and /simulator/truth; after POST /simulator/drain no new call begins. With --calls and --events-per-second the load stays the same; otherwise \
            calls arrive at --rate. Listens on loopback only.
            """)

    @Option(help: "Port of the PBX.") var port: UInt16 = 18080
    @Option(help: "Calls that begin per second.") var rate: Double = 2
    @Option(help: "Calls at once, for a steady load.") var calls: Int?
    @Option(help: "Events per second over all calls, for a steady load.") var eventsPerSecond: Double?
    @Option(help: "Seconds in which a steady load's first calls begin.") var ramp: Double = 10
    @Option(help: "Calls in all; 0 for no end.") var totalCalls = 0
    @Option(help: "Most calls at once; those on top are left out.") var maximumCalls = 50_000
    @Option(help: "What chance decides comes from this number.") var seed: UInt64 = 1
    @Option(
        help: """
            Weights of what happens in calls, such as answered=60,missed=20,busy=5; kinds: answered, held, missed, busy, \
            rejected, abandoned, blind_transfer, outbound, outbound_no_answer, outbound_busy.
            """)
    var mix: String?
    @Option(help: "Seconds for which a telephone rings, shortest and longest, such as 1.5-6.") var ring:
        String?
    @Option(help: "Seconds for which people speak, shortest and longest, such as 5-40.") var talk: String?
    @Flag(help: "Begin no call before a reader has subscribed, so that it hears of every one.")
    var waitForReader = false
    @Option(
        help: "Play recorded events from this file (one JSON event a line, .times beside it for the pace).")
    var replay: String?
    @Option(help: "Pace of a replay: recorded, fast, or events per second.") var pace = "recorded"
    @Option(help: "Write every event sent to a reader into this file: the reader's number, a tab, the event.")
    var sentLog: String?
    @Option(help: "Name in front of every unique id, as Asterisk's systemname.") var systemName = ""
    @Option(
        help:
            "Cut off readers that leave what was sent unread for so many milliseconds, as Asterisk does after 100; 0: never."
    )
    var slowReaderMilliseconds = 0
    @Option(
        help: "Also play a Bitrix24 portal on this port (webhook http://127.0.0.1:PORT/rest/1/demotoken/).")
    var crmPort: UInt16?
    @Option(help: "Where the portal sends its events: clicks and wishes to be called back.")
    var crmEvents: String?
    @Option(
        help: "The portal's limits: unlimited, normal (2 requests a second, 50 at once), enterprise (5, 250)."
    )
    var crmPlan = "unlimited"
    @Option(help: "Seconds that the portal takes for each answer, after the effect.")
    var crmDelay: Double = 0
    @Option(
        help: """
            What befalls the portal's requests, in percent, such as cut-after=5,page=2; also cut-before, page-after, limit.
            """)
    var crmFaults: String?
    @Option(
        help:
            "Take an application instead of a webhook, and write its tokens into this file, for BITRIX_OAUTH_FILE."
    )
    var crmApplication: String?
    @Flag(help: "Play no PBX, only the portal.") var noPbx = false
    @Option(help: "debug, info, warning or error.") var logLevel = "info"

    private let stopOrders = Mailbox<StopLatch>(capacity: 1)

    private enum CodingKeys: CodingKey {
        case mix, ring, talk, waitForReader
        case port, rate, calls, eventsPerSecond, ramp, totalCalls, maximumCalls, seed, replay, pace,
            sentLog, systemName
        case slowReaderMilliseconds, crmPort, crmEvents, crmPlan, crmDelay, crmFaults, crmApplication, noPbx,
            logLevel
    }

    func run() async throws {
        let output = LogOutput(level: Logger.Level(rawValue: logLevel) ?? .info)
        let logger = Logger(label: "simulator") { _ in LineLogHandler(output: output) }
        let signals = Signals.begin()
        DescriptorLimit.raise(to: 1 << 20)
        var threads: [LoopThread] = []
        do {
            if !noPbx { threads.append(try startPBX(configuration(), logger)) }
            if let crmPort { threads.append(try startPortal(crmPort, logger)) }
        } catch {
            StandardError.write("callflow-fast simulate: \(error)")
            throw ExitCode(1)
        }
        while let signal = signals.next(), signal == SIGHUP {}
        if !noPbx {
            let latch = StopLatch()
            _ = stopOrders.post(latch)
            _ = latch.wait(for: 1, milliseconds: 3000)
        }
        for thread in threads { thread.stop() }
        for thread in threads { thread.join() }
    }

    private func configuration() throws -> SimulatorConfiguration {
        var configuration = SimulatorConfiguration()
        configuration.callsPerSecond = rate
        configuration.maximumConcurrentCalls = maximumCalls
        configuration.totalCalls = totalCalls
        configuration.seed = seed
        configuration.systemName = systemName
        configuration.slowReaderMilliseconds = slowReaderMilliseconds
        configuration.replayFile = replay
        configuration.waitsForReader = waitForReader
        configuration.sentLogFile = sentLog
        if let mix {
            guard let parsed = CallMix(parsing: mix) else {
                throw SettingError(variable: "--mix", problem: "must be KIND=WEIGHT pairs, not \"\(mix)\"")
            }
            configuration.mix = parsed
        }
        if let ring { configuration.ringMilliseconds = try Self.milliseconds(ring, of: "--ring") }
        if let talk { configuration.talkMilliseconds = try Self.milliseconds(talk, of: "--talk") }
        switch pace {
        case "recorded": configuration.replayPace = .recorded
        case "fast": configuration.replayPace = .asFastAsPossible
        default:
            guard let number = Double(pace), number > 0 else {
                throw SettingError(
                    variable: "--pace", problem: "must be recorded, fast, or events per second")
            }
            configuration.replayPace = .eventsPerSecond(number)
        }
        if let calls, let eventsPerSecond {
            configuration.steadyLoad = .init(
                calls: calls, eventsPerSecond: eventsPerSecond, rampMilliseconds: Int(ramp * 1000))
        } else if calls != nil || eventsPerSecond != nil {
            throw SettingError(variable: "--calls", problem: "goes with --events-per-second")
        }
        return configuration
    }

    private static func milliseconds(_ text: String, of option: String) throws -> ClosedRange<Int> {
        let sides = text.split(separator: "-").compactMap { Double($0) }
        guard sides.count == 2, sides[0] >= 0, sides[0] <= sides[1], sides[1] <= 86_400 else {
            throw SettingError(variable: option, problem: "must be two numbers of seconds such as 1.5-6")
        }
        return Int(sides[0] * 1000)...Int(sides[1] * 1000)
    }

    private func startPBX(_ configuration: SimulatorConfiguration, _ logger: Logger) throws -> LoopThread {
        let outcome = StopLatch()
        var loopConfiguration = LoopConfiguration()
        loopConfiguration.name = "pbx"
        let thread = try LoopThread.start(loopConfiguration) { [port, stopOrders] loop in
            do {
                let simulator = try PBXSimulator(loop: loop, configuration: configuration, logger: logger)
                let bound = try simulator.start(on: .loopback(port: port))
                loop.context = simulator
                loop.attach(stopOrders) { latch in
                    simulator.stop()
                    logger.notice("\(simulator.statistics)")
                    // What is queued for readers is sent before the loop ends.
                    loop.schedule(after: .milliseconds(200)) { latch.nodeStopped(complete: true) }
                }
                logger.info(
                    "simulated PBX", metadata: ["url": "ws://\(bound)/ari/events", "user": "callflow"])
            } catch {
                outcome.failed("cannot play a PBX on port \(port): \(error)")
            }
        }
        return try Self.running(thread, outcome)
    }

    private func startPortal(_ port: UInt16, _ logger: Logger) throws -> LoopThread {
        let outcome = StopLatch()
        var settings = PortalSettings.demonstration(extensions: SimulatorConfiguration().agents)
        settings.webhooks = [.init(secret: "demotoken")]
        guard let plan = PortalSettings.Plan(named: crmPlan) else {
            throw SettingError(variable: "--crm-plan", problem: "must be unlimited, normal or enterprise")
        }
        settings.plan = plan
        if crmApplication != nil { settings.authPolicy = .applicationOnly }
        guard var faults = PortalFaultRule.rules(parsing: crmFaults ?? "") else {
            throw SettingError(variable: "--crm-faults", problem: "must be FAULT=PERCENT pairs, see --help")
        }
        guard (0...3600).contains(crmDelay) else {
            throw SettingError(variable: "--crm-delay", problem: "must be 0 to 3600 seconds")
        }
        if crmDelay > 0 { faults.append(PortalFaultRule(.delayAfterEffect(.seconds(crmDelay)))) }
        var loopConfiguration = LoopConfiguration()
        loopConfiguration.name = "portal"
        let events = try crmEvents.map { text in
            do throws(URLError) {
                return try URL(text)
            } catch {
                throw SettingError(variable: "--crm-events", problem: "\(error)")
            }
        }
        let thread = try LoopThread.start(loopConfiguration) { [settings, faults, crmApplication] loop in
            do throws(ReactorError) {
                var portal = FakeBitrixPortal(settings: settings)
                portal.faults = faults
                let server = FakeBitrixServer(loop: loop, portal: portal)
                let bound = try server.listen(on: .loopback(port: port), logger: logger, metrics: Metrics())
                if let events { server.sendEvents(to: events) }
                if let crmApplication, let problem = server.install(in: crmApplication, at: bound) {
                    return outcome.failed(problem)
                }
                loop.context = server
                logger.info("fake Bitrix24", metadata: ["page": "http://\(bound)/"])
            } catch {
                outcome.failed("cannot play a portal on port \(port): \(error)")
            }
        }
        return try Self.running(thread, outcome)
    }

    private static func running(_ thread: LoopThread, _ outcome: StopLatch) throws -> LoopThread {
        guard let problem = outcome.failure else { return thread }
        thread.stop()
        thread.join()
        throw StartError(problem: problem)
    }
}
