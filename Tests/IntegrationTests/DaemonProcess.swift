import Foundation
import FoundationNetworking
import Testing

/// The built command as a process of its own, with what it printed.
final class DaemonProcess {
    private static let binary: URL = {
        // The test bundle and the command lie in one folder.
        let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        return URL(filePath: own).deletingLastPathComponent().appending(path: "callflow-fast")
    }()

    /// What a sanitizer was told here (make test SANITIZE=…) holds for the command as well.
    private static let inherited: [String: String] = {
        let own = ProcessInfo.processInfo.environment.filter { $0.key.hasSuffix("SAN_OPTIONS") }
        return own.merging(["PATH": "/usr/bin:/bin"]) { _, fixed in fixed }
    }()

    /// Held while a process is started.
    ///
    /// Foundation hears of a child's end when a socket closes that the child holds. A child that another thread starts at that moment
    /// may hold it too, and then the end is heard of only when both are over.
    private static let starting = NSLock()

    let folder: URL
    private let process = Process()
    private let log: URL

    /// Starts the command in a folder of its own with nothing but the given environment.
    init(_ arguments: [String], _ environment: [String: String] = [:], folder: URL? = nil) throws {
        let folder =
            folder
            ?? FileManager.default.temporaryDirectory.appending(
                path: "callflow-process-\(UInt64.random(in: 0...UInt64.max))")
        self.folder = folder
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        log = folder.appending(path: "log-\(UInt64.random(in: 0...UInt64.max)).txt")
        #expect(FileManager.default.createFile(atPath: log.path, contents: nil))
        let output = try FileHandle(forWritingTo: log)
        process.executableURL = Self.binary
        process.arguments = arguments
        process.currentDirectoryURL = folder
        process.environment = environment.merging(Self.inherited) { given, _ in given }
        process.standardOutput = output
        process.standardError = output
        try Self.starting.withLock { try process.run() }
    }

    deinit {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        try? FileManager.default.removeItem(at: log)
    }

    var printed: String { (try? String(contentsOf: log, encoding: .utf8)) ?? "" }

    func send(_ signal: Int32) {
        kill(process.processIdentifier, signal)
    }

    /// Waits for the end, at most so many seconds.
    ///
    /// - Returns: The exit status, or `nil` when it still runs.
    func ended(within seconds: Double = 60) async -> Int32? {
        let deadline = Date().addingTimeInterval(seconds)
        while Date() < deadline {
            if let status = exitStatus { return status }
            try? await Task.sleep(for: .milliseconds(20))
        }
        return exitStatus
    }

    /// The exit status, or the signal that ended it; `nil` while it runs.
    ///
    /// Asks the kernel and not only Foundation, which may hear of it late (see `starting`); the child stays for Foundation to be waited for.
    private var exitStatus: Int32? {
        var info = siginfo_t()
        if waitid(P_PID, id_t(process.processIdentifier), &info, WEXITED | WNOHANG | WNOWAIT) == 0 {
            guard info._sifields._sigchld.si_pid == process.processIdentifier else { return nil }
            return info._sifields._sigchld.si_status
        }
        return process.isRunning ? nil : process.terminationStatus
    }

    /// Waits until the log has a line with this text and gives the line.
    func line(with text: String, within seconds: Double = 60) async throws -> String {
        let deadline = Date().addingTimeInterval(seconds)
        // Looked at once more after the end of the process or of the time: a busy machine may wake us late.
        var isLast = false
        while true {
            let found = printed.components(separatedBy: "\n").first { $0.contains(text) }
            if let found { return found }
            if isLast { break }
            isLast = !process.isRunning || Date() >= deadline
            try await Task.sleep(for: .milliseconds(20))
        }
        Issue.record("no line with \"\(text)\" in:\n\(printed)")
        throw NotPrinted()
    }

    struct NotPrinted: Error {}

    /// The port in a line such as `… address=http://0.0.0.0:41234/`.
    func port(inLineWith text: String) async throws -> Int {
        let line = try await line(with: text)
        let digits = try #require(line.firstMatch(of: /:(\d+)\//)).output.1
        return try #require(Int(digits))
    }
}

/// Asks a server on this machine.
func get(_ port: Int, _ path: String) async throws -> (status: Int, body: Data) {
    let url = try #require(URL(string: "http://127.0.0.1:\(port)\(path)"))
    let (data, response) = try await URLSession.shared.data(from: url)
    return ((response as? HTTPURLResponse)?.statusCode ?? 0, data)
}

/// Sends JSON to a server on this machine; gives the status of its answer.
@discardableResult
func post(_ port: Int, _ path: String, _ json: String = "") async throws -> Int {
    var request = URLRequest(url: try #require(URL(string: "http://127.0.0.1:\(port)\(path)")))
    request.httpMethod = "POST"
    request.httpBody = Data(json.utf8)
    request.setValue("application/json", forHTTPHeaderField: "Content-Type")
    let (_, response) = try await URLSession.shared.data(for: request)
    return (response as? HTTPURLResponse)?.statusCode ?? 0
}

/// Asks until the answer fits.
func poll(
    _ port: Int, _ path: String, within seconds: Double = 60, until fits: (Data) throws -> Bool
) async throws -> Data {
    let deadline = Date().addingTimeInterval(seconds)
    var last = Data()
    var isLast = false
    while !isLast {
        isLast = Date() >= deadline
        if let answer = try? await get(port, path) {
            last = answer.body
            if try fits(last) { return last }
        }
        try await Task.sleep(for: .milliseconds(50))
    }
    Issue.record("\(path) never fitted; last: \(String(decoding: last.prefix(2000), as: UTF8.self))")
    throw DaemonProcess.NotPrinted()
}
