import Glibc

/// A private PostgreSQL in a folder of its own, made by `Scripts/db`; with fsync, as a real one.
struct Cluster: ~Copyable {
    /// The checkout that this program was compiled from.
    private static let root = String(
        #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(4).joined(separator: "/"))

    let folder: String
    private let port: UInt16

    /// Makes and starts one.
    init() throws(BenchError) {
        folder = "/tmp/callflow-store-bench-\(getpid())"
        port = UInt16.random(in: 20_000..<32_000)
        guard mkdir(folder, 0o755) == 0 else { throw BenchError("cannot make \(folder)") }
        guard
            Self.run(["\(Self.root)/Scripts/db", "up", "--folder", "\(folder)/db", "--port", "\(port)"]) == 0
        else { throw BenchError("no PostgreSQL: Scripts/db up failed") }
    }

    deinit {
        _ = Self.run(["\(Self.root)/Scripts/db", "down", "--folder", "\(folder)/db"])
        _ = Self.run(["/bin/rm", "-rf", folder])
    }

    /// The URL of a database.
    ///
    /// - Parameter isSynchronous: Whether a commit waits for the disk (`synchronous_commit`).
    func url(_ database: String, isSynchronous: Bool = true) -> String {
        let option = isSynchronous ? "on" : "off"
        return
            "postgres://postgres@127.0.0.1:\(port)/\(database)?options=-c%20synchronous_commit%3D\(option)"
    }

    /// Runs a program to its end; what it prints goes to standard error.
    ///
    /// - Returns: Its exit status; 127 when it did not start.
    private static func run(_ command: [String]) -> Int32 {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        // The server keeps what it inherits for its whole life.
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        var arguments = command.map { strdup($0) } + [nil]
        defer { for text in arguments { free(text) } }
        var process = pid_t()
        guard posix_spawn(&process, command[0], &actions, nil, &arguments, environ) == 0 else { return 127 }
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0 { guard errno == EINTR else { return 127 } }
        return (status >> 8) & 0xFF
    }
}
