import Glibc
import Protocols

/// The limits of `Benchmarks/Thresholds/reactor.json`: for each driver and load, system calls and allocations an
/// event.
///
///     { "epoll": { "busy": { "systemCalls": 0.3, "allocations": 0 }, … }, … }
struct Limits {
    private var limits: JSONValue
    private var path: String

    init(path: String) throws(BenchError) {
        self.path = path
        guard let file = fopen(path, "r") else { throw BenchError("\(path): errno \(errno)") }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 4096)
        while case let count = fread(&part, 1, part.count, file), count > 0 { bytes += part[..<count] }
        do {
            limits = try JSONValue.parse(bytes.span.bytes)
        } catch {
            throw BenchError("\(path): \(error)")
        }
    }

    /// What is above its limit, a line each.
    func exceeded(
        by results: [(subject: Subject, load: Load, result: DrainResult)]
    ) throws(BenchError) -> [String] {
        var lines: [String] = []
        for (subject, load, result) in results {
            let measured = [
                ("systemCalls", result.systemCallsPerEvent), ("allocations", result.allocationsPerEvent),
            ]
            for (name, value) in measured {
                guard let limit = limits[subject.name]?[load.name]?[name]?.double else {
                    throw BenchError("\(path): no limit \(subject.name).\(load.name).\(name)")
                }
                if value > limit {
                    lines.append(
                        "\(subject.name), \(load.name): \(value) \(name) an event, the limit is \(limit)")
                }
            }
        }
        return lines
    }
}
