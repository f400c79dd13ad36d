import Foundation
import Reactor
import Synchronization

/// A private PostgreSQL cluster of the tests: made by `initdb` in a temporary folder, run as an unprivileged
/// user (`postgres` when the tests run as root, which the server refuses to do), on 127.0.0.1 and a unix
/// socket, without fsync.
///
/// A watching shell ends the server and removes the folder when the test process ends, however it ends.
final class PostgresCluster: Sendable {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// Where Debian's packages and others put the programs.
    private static let binaryFolder: String? = {
        var folders = (9...20).reversed().map { "/usr/lib/postgresql/\($0)/bin" }
        folders += (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init)
        return folders.first {
            FileManager.default.isExecutableFile(atPath: $0 + "/initdb")
                && FileManager.default.isExecutableFile(atPath: $0 + "/pg_ctl")
        }
    }()

    /// Whether a server can be started here.
    static var isInstalled: Bool { binaryFolder != nil }

    private static let sharedCluster = Locked<PostgresCluster?>(nil)
    private static let databaseNumber = Atomic<Int>(0)

    /// The one that all suites share; each test takes a database of its own.
    static func shared() throws -> PostgresCluster {
        try sharedCluster.withLock { cluster in
            if let cluster { return cluster }
            let made = try PostgresCluster()
            cluster = made
            return made
        }
    }

    let folder: String
    let port: UInt16
    let password: String
    private let binaries: String
    /// Our end of the watching shell's input; never closed, so that it ends with this process.
    private let watcherInput: Int32

    /// Makes and starts a cluster: a new one, or a standby that streams from `primary`.
    init(standbyOf primary: PostgresCluster? = nil) throws {
        guard let binaries = Self.binaryFolder else { throw Failure(description: "initdb is not installed") }
        self.binaries = binaries
        password = primary?.password ?? "geheim-\(UInt32.random(in: 1...UInt32.max))"
        folder = "/tmp/callflow-pg-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        port = try Self.freePort()
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        try Data(password.utf8).write(to: URL(fileURLWithPath: folder + "/password"))
        if getuid() == 0 { _ = try Self.run(["/bin/chown", "-R", "postgres:postgres", folder]) }
        let asOwner = Self.asOwner
        // The shell waits at `read` until its input ends, which is when the test process is gone.
        let cleaning = (asOwner + ["\(binaries)/pg_ctl", "stop", "-m", "immediate", "-D", "\(folder)/data"])
            .joined(separator: " ")
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw Failure(description: "no pipe") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        watcherInput = ends[1]
        _ = try Self.spawn(
            ["/bin/sh", "-c", "trap '' INT; read _; \(cleaning); rm -rf \(folder)"], input: ends[0])
        close(ends[0])
        if let primary {
            _ = try Self.run(
                asOwner + [
                    "\(binaries)/pg_basebackup", "-D", "\(folder)/data", "-h", "127.0.0.1", "-p",
                    "\(primary.port)", "-U", "tester", "-R", "-X", "stream", "-c", "fast", "--no-sync",
                ], environment: ["PGPASSWORD": password])
        } else {
            _ = try Self.run(
                asOwner + [
                    "\(binaries)/initdb", "-D", "\(folder)/data", "-U", "tester",
                    "--pwfile=\(folder)/password",
                    "--auth=scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync",
                ])
        }
        try start()
    }

    private static var asOwner: [String] {
        getuid() == 0
            ? ["/usr/bin/setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] : []
    }

    /// Starts the server and waits until it answers.
    func start() throws {
        let options =
            "-p \(port) -h 127.0.0.1 -k \(folder) -c fsync=off -c max_connections=60 -c shared_buffers=32MB"
        for attempt in 1...5 {
            do {
                _ = try Self.run(
                    Self.asOwner + [
                        "\(binaries)/pg_ctl", "start", "-w", "-D", "\(folder)/data", "-l", "\(folder)/log",
                        "-o",
                        options,
                    ])
                return
            } catch  where attempt < 5 {
                // While it was stopped an outgoing connection of another test may have taken its port for a moment.
                usleep(300_000)
            }
        }
    }

    /// Stops the server at once, as if its machine had died.
    func stop() throws {
        _ = try Self.run(
            Self.asOwner + ["\(binaries)/pg_ctl", "stop", "-m", "immediate", "-D", "\(folder)/data"])
    }

    /// Makes a primary out of a standby.
    func promote() throws {
        _ = try Self.run(Self.asOwner + ["\(binaries)/pg_ctl", "promote", "-w", "-D", "\(folder)/data"])
    }

    /// Changes settings of the running server.
    func set(_ settings: [String: String]) throws {
        for (name, value) in settings {
            try execute("ALTER SYSTEM SET \(name) = '\(value)'", database: "postgres")
        }
        try execute("SELECT pg_reload_conf()", database: "postgres")
    }

    /// Makes an empty database and gives its URL.
    func makeDatabase() throws -> String {
        let name = "test_\(Self.databaseNumber.wrappingAdd(1, ordering: .relaxed).newValue)"
        try execute("CREATE DATABASE \(name)", database: "postgres")
        return url(database: name)
    }

    /// The URL of a database, as an operator of the old daemon has it.
    func url(database: String, password: String? = nil) -> String {
        "ecto://tester:\(password ?? self.password)@127.0.0.1:\(port)/\(database)"
    }

    /// Runs statements with psql and gives what it prints: rows by lines, columns by `|`.
    @discardableResult
    func execute(_ sql: String, database: String) throws -> String {
        try Self.run(
            [
                "\(binaries)/psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p",
                "\(port)", "-U", "tester", "-d", database, "-c", sql,
            ], environment: ["PGPASSWORD": password])
    }

    private static func run(_ command: [String], environment: [String: String] = [:]) throws -> String {
        // Through a file: a server started by pg_ctl would keep a pipe open.
        let path = "/tmp/callflow-pg-output-\(UInt64.random(in: 0...UInt64.max))"
        let output = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard output >= 0 else { throw Failure(description: "cannot write \(path)") }
        defer {
            close(output)
            unlink(path)
        }
        let process = try spawn(command, environment: environment, output: output)
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
        let text = String(decoding: try Data(contentsOf: URL(fileURLWithPath: path)), as: UTF8.self)
        guard status == 0 else { throw Failure(description: "\(command): \(text)") }
        return text.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// Starts a program.
    ///
    /// Foundation's `Process` will not do: it waits for a socket to close that a server started by pg_ctl
    /// inherits.
    private static func spawn(
        _ command: [String], environment: [String: String] = [:], input: Int32? = nil, output: Int32? = nil
    ) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        if let input { posix_spawn_file_actions_adddup2(&actions, input, 0) }
        if let output { posix_spawn_file_actions_adddup2(&actions, output, 1) }
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        let merged = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        // The server's user may have no right to be where the tests run.
        let moved = ["/bin/sh", "-c", "cd / && exec \"$@\"", "sh"] + command
        var arguments = moved.map { strdup($0) } + [nil]
        var variables = merged.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for text in arguments + variables { free(text) } }
        var process = pid_t()
        let code = posix_spawn(&process, moved[0], &actions, nil, &arguments, &variables)
        guard code == 0 else { throw Failure(description: "cannot start \(command[0]): error \(code)") }
        return process
    }

    /// A port that nobody has now, below those that the kernel gives to outgoing connections (32768 and up): thousands of other
    /// tests' connections cannot take it while the server starts.
    private static func freePort() throws -> UInt16 {
        for _ in 0..<100 {
            let port = UInt16.random(in: 15_000..<32_000)
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            defer { close(descriptor) }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            let code = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            if code == 0 { return port }
        }
        throw Failure(description: "no free port")
    }
}
