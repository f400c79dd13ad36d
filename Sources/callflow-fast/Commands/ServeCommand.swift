import ArgumentParser
import Connectors
import Glibc
import Logging
import Reactor

struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Run the daemon (the default).",
        discussion: """
            SIGTERM or SIGINT: stop taking events, write out what waits, exit 0 within 10 seconds. SIGHUP: open LOG_FILE anew.
            """)

    @OptionGroup var flags: SettingFlags

    func run() async throws {
        let settings = try await flags.load()
        let output = LogOutput(level: settings.logLevel, path: settings.logFile)
        let logger = Logger(label: "callflow-fast") { _ in LineLogHandler(output: output) }
        let signals = Signals.begin()
        DescriptorLimit.raise(to: 1 << 20)
        for (name, value) in settings.summary { logger.info("\(name): \(value)") }
        if let problem = output.problem {
            logger.warning("LOG_FILE: \(problem); the log goes to standard error")
        }
        if let missing = settings.pbxs.missing {
            logger.warning("no PBX is read: \(missing) (mock mode)")
        }
        let daemon: Daemon
        do {
            daemon = try Daemon(settings: settings, logger: logger)
        } catch {
            logger.error("cannot start: \(error)")
            throw ExitCode(1)
        }
        logger.info("started", metadata: ["version": "\(Version.text)", "pid": "\(getpid())"])
        while let signal = signals.next() {
            if signal == SIGHUP {
                output.reopen()
                if let problem = output.problem {
                    logger.warning("LOG_FILE: \(problem); the log goes on where it went (SIGHUP)")
                } else {
                    logger.info("log opened anew (SIGHUP)")
                }
                continue
            }
            logger.info("stopping", metadata: ["signal": "\(signal == SIGTERM ? "SIGTERM" : "SIGINT")"])
            break
        }
        let isComplete = daemon.stop()
        if isComplete {
            logger.info("stopped")
        } else {
            logger.error("stopped with rows unwritten; see the lines above")
        }
    }
}
