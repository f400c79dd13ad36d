import Glibc

/// A program that runs beside this one; ended, at the latest, when this goes away.
final class Subprocess {
    let pid: pid_t
    private var status: Int32?

    /// Starts a program.
    ///
    /// - Parameters:
    ///   - command: Its path and arguments.
    ///   - environment: Added to this program's.
    ///   - log: File that takes what it prints; `nil`: nothing takes it.
    init(_ command: [String], environment: [String: String] = [:], log: String? = nil) throws(LoadError) {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, log ?? "/dev/null", O_WRONLY | O_CREAT | O_TRUNC, 0o644)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        var arguments = command.map { strdup($0) } + [nil]
        defer { for text in arguments { free(text) } }
        var variables = Self.environment(adding: environment).map { strdup($0) } + [nil]
        defer { for text in variables { free(text) } }
        var pid = pid_t()
        let result = posix_spawn(&pid, command[0], &actions, nil, &arguments, &variables)
        guard result == 0 else { throw LoadError("\(command[0]): \(String(cString: strerror(result)))") }
        self.pid = pid
    }

    deinit {
        if status == nil {
            kill(pid, SIGKILL)
            _ = wait(seconds: 5)
        }
    }

    private static func environment(adding more: [String: String]) -> [String] {
        var list: [String] = []
        var entry = environ
        while let text = entry.pointee {
            let line = String(cString: text)
            if let name = line.split(separator: "=", maxSplits: 1).first, more[String(name)] == nil {
                list.append(line)
            }
            entry += 1
        }
        return list + more.map { "\($0.key)=\($0.value)" }
    }

    func signal(_ number: Int32) { kill(pid, number) }

    /// Whether it has ended.
    var isOver: Bool { wait(seconds: 0) != nil }

    /// Waits for its end.
    ///
    /// - Returns: Its exit status, 128 and the signal's number if one ended it; `nil` when it still runs.
    func wait(seconds: Double) -> Int32? {
        if let status { return status }
        let end = Clock.seconds + seconds
        while true {
            var raw: Int32 = 0
            if waitpid(pid, &raw, WNOHANG) == pid {
                let ended = raw & 0x7F == 0 ? (raw >> 8) & 0xFF : 128 + (raw & 0x7F)
                status = ended
                return ended
            }
            guard Clock.seconds < end else { return nil }
            usleep(5000)
        }
    }

    /// Runs a program to its end.
    ///
    /// - Returns: Its exit status.
    static func run(_ command: [String], log: String? = nil, seconds: Double = 120) throws(LoadError) -> Int32
    {
        let process = try Subprocess(command, log: log)
        guard let status = process.wait(seconds: seconds) else {
            throw LoadError("\(command[0]) did not end within \(Int(seconds)) s")
        }
        return status
    }

    /// CPU time used so far, user and system, in seconds.
    var cpuSeconds: Double {
        guard let text = Files.read("/proc/\(pid)/stat"), let end = text.lastIndex(of: ")") else { return 0 }
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 13, let user = Double(fields[11]), let system = Double(fields[12]) else {
            return 0
        }
        return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    /// Memory in RAM, in bytes.
    var residentBytes: Int { 1024 * (statusLine("VmRSS") ?? 0) }

    /// Times that its threads gave up a core, waiting for something.
    var voluntarySwitches: Int {
        var sum = 0
        for thread in Files.names(in: "/proc/\(pid)/task") {
            sum += Self.number("voluntary_ctxt_switches", in: "/proc/\(pid)/task/\(thread)/status") ?? 0
        }
        return sum
    }

    private func statusLine(_ name: String) -> Int? { Self.number(name, in: "/proc/\(pid)/status") }

    private static func number(_ name: String, in path: String) -> Int? {
        guard let text = Files.read(path) else { return nil }
        for line in text.split(separator: "\n") where line.hasPrefix("\(name):") {
            return Int(line.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first ?? "")
        }
        return nil
    }
}

/// Time that runs evenly, in seconds.
enum Clock {
    static var seconds: Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}

/// Small files, read whole.
enum Files {
    static func read(_ path: String) -> String? {
        guard let file = fopen(path, "rb") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = fread(&buffer, 1, buffer.count, file)
            guard count > 0 else { break }
            bytes += buffer[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    static func write(_ text: String, to path: String) throws(LoadError) {
        guard let file = fopen(path, "wb") else {
            throw LoadError("\(path): \(String(cString: strerror(errno)))")
        }
        defer { fclose(file) }
        guard fputs(text, file) >= 0 else { throw LoadError("\(path): cannot be written") }
    }

    static func names(in folder: String) -> [String] {
        guard let handle = opendir(folder) else { return [] }
        defer { closedir(handle) }
        var names: [String] = []
        while let entry = readdir(handle) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }
}
