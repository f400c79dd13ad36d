import Foundation
import Testing

/// The checkout that this test was compiled from.
private let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

private struct SourceFile {
    var path: String
    var target: String
    var lines: [String]
}

private func swiftFiles(under folder: String) throws -> [SourceFile] {
    let base = root.appending(path: folder)
    let walker = try #require(FileManager.default.enumerator(at: base, includingPropertiesForKeys: nil))
    var files: [SourceFile] = []
    for case let url as URL in walker where url.pathExtension == "swift" {
        let relative = String(url.path.dropFirst(base.path.count + 1))
        let text = try String(contentsOf: url, encoding: .utf8)
        files.append(
            SourceFile(
                path: "\(folder)/\(relative)",
                target: relative.split(separator: "/").first.map(String.init) ?? "",
                lines: text.components(separatedBy: "\n")))
    }
    return files
}

private func imports(_ file: SourceFile) -> [String] {
    file.lines.compactMap { line in
        let words = line.split(separator: " ").map(String.init)
        guard let at = words.firstIndex(of: "import"), at <= 2, at + 1 < words.count else { return nil }
        guard
            words[..<at].allSatisfy({ $0.hasPrefix("@") || ["public", "package", "internal"].contains($0) })
        else {
            return nil
        }
        return words[at + 1]
    }
}

@Suite("House rules")
struct HouseRulesTests {
    /// What each target may import of ours and of the system; anything else is an arrow the wrong way.
    static let allowed: [String: Set<String>] = [
        "Reactor": ["CReactor", "COpenSSL", "Glibc", "Synchronization"],
        "Protocols": ["CScan", "Synchronization"],
        "CallEngine": ["Protocols", "Synchronization"],
        "Connectors": [
            "Reactor", "Protocols", "CallEngine", "CLibPQ", "CSQLite", "COpenSSL", "Logging", "Glibc",
            "Synchronization",
        ],
        "Simulator": [
            "Reactor", "Protocols", "CallEngine", "Connectors", "Logging", "Glibc", "Synchronization",
        ],
    ]

    @Test("Imports point one way, as docs/architecture.md draws them", arguments: allowed.keys.sorted())
    func importsPointOneWay(target: String) throws {
        let files = try swiftFiles(under: "Sources").filter { $0.target == target }
        #expect(!files.isEmpty)
        let permitted = try #require(Self.allowed[target])
        for file in files {
            for name in imports(file) {
                #expect(permitted.contains(name), "\(file.path) imports \(name)")
            }
        }
    }

    @Test("Every folder of Sources, and every top folder, is named on the map")
    func foldersAreOnTheMap() throws {
        let map = try String(contentsOf: root.appending(path: "docs/architecture.md"), encoding: .utf8)
        let folders = try FileManager.default.contentsOfDirectory(
            atPath: root.appending(path: "Sources").path)
        #expect(folders.count >= 9)
        for folder in folders {
            #expect(map.contains("Sources/\(folder)"), "Sources/\(folder) is not on the map")
        }
        for folder in ["Benchmarks", "Fuzzing", "Tests", "Scripts", "docs"] {
            #expect(map.contains("`\(folder)`"))
        }
    }

    @Test("No forced try, no forced cast, no fatalError in the product")
    func nothingForced() throws {
        for file in try swiftFiles(under: "Sources") {
            for (number, line) in file.lines.enumerated() {
                let code = line.components(separatedBy: "//").first ?? ""
                for word in ["try!", "as!", "fatalError(", "TODO", "FIXME"] {
                    #expect(!code.contains(word), "\(file.path):\(number + 1) has \(word)")
                }
            }
        }
    }

    @Test("A file is read in one sitting: at most 600 lines")
    func filesAreShort() throws {
        for file in try swiftFiles(under: "Sources") + swiftFiles(under: "Tests") {
            #expect(file.lines.count <= 600, "\(file.path) has \(file.lines.count) lines; look for the seam")
        }
    }

    @Test("Each decision has a number of its own, in its name and its title")
    func decisionsAreNumbered() throws {
        let folder = root.appending(path: "docs/adr")
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        #expect(names.count > 20)
        let numbers = names.compactMap { Int($0.prefix(4)) }
        #expect(numbers == Array(1...names.count), "numbers of docs/adr: \(numbers)")
        for name in names {
            let title = try String(contentsOf: folder.appending(path: name), encoding: .utf8).prefix(8)
            #expect(
                title.hasPrefix("# \(Int(name.prefix(4)) ?? 0). "), "docs/adr/\(name) begins with \(title)")
        }
    }

    @Test("Settings named in the code are explained in README.md")
    func settingsAreExplained() throws {
        let readme = try String(contentsOf: root.appending(path: "README.md"), encoding: .utf8)
        let files = try swiftFiles(under: "Sources").filter {
            $0.path.contains("/Settings/") || $0.path.contains("BitrixConfiguration")
        }
        let pattern = try Regex("\"([A-Z][A-Z0-9]*(_[A-Z0-9]+)+|PORT|IO|LOOPS)\"")
        var found: Set<String> = []
        for file in files {
            for match in file.lines.joined(separator: "\n").matches(of: pattern) {
                if let name = match.output[1].substring { found.insert(String(name)) }
            }
        }
        #expect(found.count > 10)
        for name in found.sorted() {
            #expect(readme.contains("`\(name)`"), "README.md does not name \(name)")
        }
    }
}
