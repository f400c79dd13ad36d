import BenchSupport
import Protocols

/// The limits of `Benchmarks/Thresholds/path.json`.
///
///     { "burst-1000": { "scan": 0, "read": 0, "path": 0, "call": 0, "copied": 60 }, … }
///
/// Allocations an event for each stage; `call`: allocations a call for its CRM actions; `copied`: bytes copied an event on
/// the whole path.
struct Thresholds {
    private var limits: JSONValue
    private var path: String

    init(path: String) throws(BenchError) {
        self.path = path
        let bytes = try Files.read(path)
        do {
            limits = try JSONValue.parse(bytes.span.bytes)
        } catch {
            throw BenchError("\(path): \(error)")
        }
    }

    /// What is above its limit, a line each.
    func exceeded(by measurements: [Measurement]) throws(BenchError) -> [String] {
        var lines: [String] = []
        for one in measurements {
            let limit = try limit(one.recording, one.stage)
            if one.allocationsPerEvent > limit {
                lines.append(
                    "\(one.recording), \(one.title): \(Table.fixed(one.allocationsPerEvent, 5)) "
                        + "allocations an event, the limit is \(Table.fixed(limit, 5))")
            }
            // On the path what a read cut in two, and the texts that a call keeps; before it nothing.
            let copied = one.stage == "path" ? try self.limit(one.recording, "copied") : 0
            if one.copiedPerEvent > copied {
                lines.append(
                    "\(one.recording), \(one.title): \(Table.fixed(one.copiedPerEvent, 1)) bytes copied an event, "
                        + "the limit is \(Table.fixed(copied, 1))")
            }
            guard let perCall = one.allocationsPerCall else { continue }
            let callLimit = try self.limit(one.recording, "call")
            if perCall > callLimit {
                lines.append(
                    "\(one.recording): \(Table.fixed(perCall, 5)) allocations a call for its CRM actions, "
                        + "the limit is \(Table.fixed(callLimit, 5))")
            }
        }
        return lines
    }

    private func limit(_ recording: String, _ name: String) throws(BenchError) -> Double {
        guard let limit = limits[recording]?[name]?.double else {
            throw BenchError("\(path): no limit \(recording).\(name)")
        }
        return limit
    }
}
