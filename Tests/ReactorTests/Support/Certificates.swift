import Foundation

/// A certificate authority of our own and certificates from it, made once per run by the openssl command.
final class Certificates: Sendable {
    /// Nil when there is no openssl command.
    static let shared: Certificates? = Certificates()

    let directory: String

    func path(_ name: String) -> String { "\(directory)/\(name)" }

    private init?() {
        let directory = FileManager.default.temporaryDirectory
            .appendingPathComponent("reactor-tls-\(getpid())-\(UInt32.random(in: 0...UInt32.max))").path
        self.directory = directory
        do {
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
            try authority("ca")
            try authority("other-ca")
            try leaf("good", names: "DNS:localhost,IP:127.0.0.1", days: 2)
            try leaf("wrong", names: "DNS:elsewhere.example", days: 2)
            try leaf("wildcard", names: "DNS:*.example.com", days: 2)
            try leaf("expired", names: "DNS:localhost,IP:127.0.0.1", days: -1)
        } catch {
            print("SKIPPED: the TLS tests: no certificates: \(error)")
            return nil
        }
        atexit { Certificates.shared?.remove() }
    }

    private func remove() { try? FileManager.default.removeItem(atPath: directory) }

    private static let newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]

    private func authority(_ name: String) throws {
        try openssl(
            ["req", "-x509"] + Certificates.newKey + [
                "-keyout", path("\(name).key"), "-out", path("\(name).pem"), "-days", "2", "-subj",
                "/CN=\(name)",
            ])
    }

    private func leaf(_ name: String, names: String, days: Int) throws {
        try openssl(
            ["req"] + Certificates.newKey + [
                "-keyout", path("\(name).key"), "-out", path("\(name).csr"), "-subj", "/CN=\(name)",
            ])
        try Data("subjectAltName=\(names)\n".utf8).write(to: URL(fileURLWithPath: path("\(name).ext")))
        try openssl([
            "x509", "-req", "-in", path("\(name).csr"), "-CA", path("ca.pem"), "-CAkey", path("ca.key"),
            "-CAcreateserial", "-days", "\(days)", "-extfile", path("\(name).ext"), "-out",
            path("\(name).pem"),
        ])
    }

    private struct Failed: Error {
        let command: String
        let status: Int32
    }

    private func openssl(_ arguments: [String]) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["openssl"] + arguments
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Failed(command: arguments[0], status: process.terminationStatus)
        }
    }
}
