import Foundation
import Protocols
import Testing

/// Recorded events, one a line.
enum Recorded {
    static let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("Fixtures/ari")

    static func files() throws -> [Foundation.URL] {
        try ["asterisk-16", "asterisk-22"].flatMap { version in
            try FileManager.default.contentsOfDirectory(
                at: directory.appendingPathComponent(version), includingPropertiesForKeys: nil
            ).filter { $0.pathExtension == "jsonl" }
        }
    }

    static func lines(_ file: Foundation.URL) throws -> [[UInt8]] {
        try Data(contentsOf: file).split(separator: 0x0A).map { [UInt8]($0) }
    }
}

@Suite("Every recorded ARI event is read")
struct RecordedEventTests {
    static let paths: [[String]] = [
        ["type"], ["timestamp"], ["application"], ["asterisk_id"], ["cause"], ["cause_txt"], ["dialstatus"],
        ["variable"],
        ["value"], ["channel", "id"], ["channel", "name"], ["channel", "state"],
        ["channel", "caller", "number"],
        ["channel", "connected", "number"], ["channel", "dialplan", "exten"],
        ["channel", "dialplan", "context"],
        ["channel", "channelvars", "CHANNEL(linkedid)"], ["peer", "id"], ["caller", "id"],
        ["caller", "caller", "number"],
        ["bridge", "id"], ["bridge", "technology"], ["replace_channel", "id"],
        ["transferer_first_leg", "id"],
    ]

    @Test("by the scanner, with the values of the tree and of Foundation")
    func scanned() throws {
        let scanner = JSONFieldScanner(JSONFieldPlan(Self.paths))
        var count = 0
        for file in try Recorded.files() {
            let lines = try Recorded.lines(file)
            #expect(!lines.isEmpty)
            for (number, line) in lines.enumerated() {
                let result = try scanner.scan(line.span.bytes)
                let place = "\(file.lastPathComponent):\(number + 1)"
                #expect(result.root == .object, "\(place)")
                #expect(result.duplicateKeys == 0, "\(place)")
                let value = try tree(line)
                for (index, path) in Self.paths.enumerated() {
                    let found = JSONPropertyTests.find(path, in: value)
                    let string = scanner[index].string(in: line.span.bytes)
                    let integer = scanner[index].int64(in: line.span.bytes)
                    #expect(string == found?.string, "\(place) \(path)")
                    #expect(integer == found?.int, "\(place) \(path)")
                }
                #expect(scanner[0].count > 3, "\(place)")
                #expect(Timestamp(scanner[1].string(in: line.span.bytes) ?? "") != nil, "\(place)")
                if count % 16 == 0 {
                    let theirs = try JSONSerialization.jsonObject(with: Data(line)) as? NSObject
                    let ours =
                        try JSONSerialization.jsonObject(with: Data(value.description.utf8)) as? NSObject
                    #expect(theirs == ours, "\(place)")
                }
                count += 1
            }
        }
        #expect(count > 7500)
    }

    @Test("pretty-printed, as records behind 0x1E")
    func pretty() throws {
        let file = Recorded.directory.appendingPathComponent("asterisk-22/inbound-answered-pretty.json-seq")
        let scanner = JSONFieldScanner(JSONFieldPlan(Self.paths))
        let records = try Data(contentsOf: file).split(separator: 0x1E).map { [UInt8]($0) }
        #expect(records.count > 10)
        for record in records {
            _ = try scanner.scan(record.span.bytes)
            #expect(scanner[0].kind == .string)
        }
    }

    @Test("few keys of a recorded stream take the general way")
    func prediction() throws {
        let scanner = JSONFieldScanner(JSONFieldPlan(Self.paths))
        let lines = try Recorded.lines(
            Recorded.directory.appendingPathComponent("asterisk-22/burst-1000.jsonl"))
        for line in lines { _ = try scanner.scan(line.span.bytes) }
        #expect(lines.count == 4000)
        #expect(scanner.misses < lines.count / 10)
    }
}
