import BenchSupport
import CallEngine
import Protocols

/// A part of an event's way that is measured by itself.
protocol Stage: AnyObject {
    /// The stage's name in `Benchmarks/Thresholds/path.json`.
    var name: String { get }
    /// What the table says it does.
    var title: String { get }
    /// Plays the recording once.
    func play(_ recording: Recording) throws
    /// The bytes that one play takes in, where they lie.
    func input(of recording: Recording) -> [UInt8]
}

/// The JSON alone: checked in full, the places of all fields noted that events are read for.
final class ScanStage: Stage {
    let name = "scan"
    let title = "JSON field scan"
    private let scanner: JSONFieldScanner

    init() {
        // The fields that ARIEventReader asks for.
        var paths: [[String]] = [
            ["type"], ["timestamp"], ["cause"], ["soft"], ["dialstatus"], ["variable"], ["value"],
            ["bridge", "id"], ["bridge", "bridge_type"],
        ]
        for object in ["channel", "peer", "caller", "transferer_first_leg", "transferer"] {
            for key in ["id", "name", "state", "linkedid", "creationtime"] { paths.append([object, key]) }
            for key in ["number", "name"] { paths.append([object, "caller", key]) }
            paths.append([object, "connected", "number"])
            for key in ["context", "exten"] { paths.append([object, "dialplan", key]) }
            for key in ["CHANNEL(linkedid)", "intNum", "extNum", "CALLERID(num)", "EXTEN"] {
                paths.append([object, "channelvars", key])
            }
        }
        scanner = JSONFieldScanner(JSONFieldPlan(paths))
    }

    func input(of recording: Recording) -> [UInt8] { recording.payloads }

    func play(_ recording: Recording) throws {
        let payloads = recording.payloads.span.bytes
        for range in recording.events {
            let scan = try scanner.scan(payloads.extracting(range))
            guard scan.root == .object else { throw BenchError("\(recording.name): an event is no object") }
        }
    }
}

/// The JSON and what the engine takes from it: kind, times, places of texts.
final class ReadStage: Stage {
    let name = "read"
    let title = "ARIEventReader"
    private var reader = ARIEventReader()
    private var event = ARIEvent()

    func input(of recording: Recording) -> [UInt8] { recording.payloads }

    func play(_ recording: Recording) throws {
        let payloads = recording.payloads.span.bytes
        for range in recording.events {
            try reader.read(payloads.extracting(range), into: &event)
            guard event.timestamp != nil else { throw BenchError("\(recording.name): an event has no time") }
        }
    }
}
