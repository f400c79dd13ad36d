import ArgumentParser

/// Flags that stand for environment variables; a flag is stronger than `.env`, which is stronger than the environment.
struct SettingFlags: ParsableArguments {
    @Option(name: .long, help: "File of VARIABLE=value lines; .env is read when it is there.")
    var envFile: String?

    @Option(name: .long, help: "How to wait for sockets: auto, io_uring or epoll (IO).")
    var io: String?

    @Option(name: .long, help: "Event loops, one thread each; default one per core (LOOPS).")
    var loops: String?

    @Option(name: .long, help: "Port of the API and the live page; default 4000 (PORT).")
    var port: String?

    @Option(name: .long, help: "debug, info, warning or error; default info (LOG_LEVEL).")
    var logLevel: String?

    @Option(name: .long, help: "PBX to read, ws://HOST:8088/ari/events (ARI_URL).")
    var ariURL: String?

    @Option(
        name: .long,
        help: "calls: every call; app: only the application's channels; all: everything (ARI_SUBSCRIBE).")
    var ariSubscribe: String?

    @Option(
        name: .long,
        help: "Any other setting, as on the page of settings in README.md; may be repeated.",
        transform: { text in
            guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
                throw ValidationError("--set takes VARIABLE=value")
            }
            return (String(text[..<equals]), String(text[text.index(after: equals)...]))
        })
    var set: [(String, String)] = []

    /// The variables that were given.
    var variables: [String: String] {
        var result: [String: String] = [:]
        for (name, value) in set { result[name] = value }
        let named = [
            "IO": io, "LOOPS": loops, "PORT": port, "LOG_LEVEL": logLevel, "ARI_URL": ariURL,
            "ARI_SUBSCRIBE": ariSubscribe,
        ]
        for (name, value) in named { if let value { result[name] = value } }
        return result
    }

    /// Reads and checks all settings.
    ///
    /// - Throws: `ExitCode(78)` (EX_CONFIG) after one line on standard error that names the variable.
    func load() async throws -> Settings {
        do {
            let source = try await SettingSource(
                environmentFile: envFile ?? ".env", isExplicit: envFile != nil, flags: variables)
            return try Settings(source, cores: ProcessorCount.usable())
        } catch let error as SettingError {
            StandardError.write("callflow-fast: \(error)")
            throw ExitCode(78)
        }
    }
}
