import Foundation
import FuzzTargets

/// What is replayed: the corpora of `Fuzzing/Corpus`, recorded events, and what fuzzing found.
enum Corpus {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    struct Input {
        var name: String
        var bytes: [UInt8]
    }

    /// The lines of `Fuzzing/Corpus/TARGET.txt`, their bytes as `printf %b` writes them.
    static func written(_ target: FuzzTarget) throws -> [Input] {
        let file = root.appending(path: "Fuzzing/Corpus/\(target.rawValue).txt")
        let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n")
        return lines.enumerated().filter { !$1.hasPrefix("# ") }.map { number, line in
            Input(name: "\(target.rawValue).txt:\(number + 1)", bytes: unescaped(line.utf8))
        }
    }

    private static func unescaped(_ line: Substring.UTF8View) -> [UInt8] {
        var output: [UInt8] = []
        var rest = line[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "\\"), let letter = rest.popFirst() else {
                output.append(byte)
                continue
            }
            switch letter {
            case UInt8(ascii: "r"): output.append(0x0D)
            case UInt8(ascii: "n"): output.append(0x0A)
            case UInt8(ascii: "t"): output.append(0x09)
            case UInt8(ascii: "x"):
                output.append(UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) ?? 0)
                rest = rest.dropFirst(2)
            default: output.append(letter)
            }
        }
        return output
    }

    /// The files of `Tests/Fixtures/fuzz/TARGET`: inputs that once broke something, and the smallest of what fuzzing kept.
    static func found(_ target: FuzzTarget) throws -> [Input] {
        let folder = root.appending(path: "Tests/Fixtures/fuzz/\(target.rawValue)")
        guard FileManager.default.fileExists(atPath: folder.path) else { return [] }
        return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .filter { !$0.lastPathComponent.hasPrefix(".") }
            .map { Input(name: $0.lastPathComponent, bytes: [UInt8](try Data(contentsOf: $0))) }
    }

    /// Of each recording the first event of each type.
    static func recorded() throws -> [Input] {
        let folder = root.appending(path: "Tests/Fixtures/ari/asterisk-22")
        var inputs: [Input] = []
        for file in try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        where file.pathExtension == "jsonl" {
            var seen: Set<Substring> = []
            for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") {
                guard let type = line.firstMatch(of: /"type":"([A-Za-z]*)"/)?.output.1 else { continue }
                if seen.insert(type).inserted {
                    inputs.append(Input(name: "\(file.lastPathComponent) \(type)", bytes: Array(line.utf8)))
                }
            }
        }
        return inputs
    }
}

/// SplitMix64: the same numbers for the same seed.
struct SeededNumbers: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    /// `SEED` from the environment, or a new one for each run.
    static let runSeed =
        ProcessInfo.processInfo.environment["SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 0 ... .max)

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}
