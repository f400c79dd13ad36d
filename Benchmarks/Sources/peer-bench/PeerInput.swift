import BenchSupport
import CallEngine

/// Events one behind the other, with readable bytes behind the last.
struct PeerInput {
    /// More than any reader wants to read behind a text (simdjson 64).
    static let padding = 128

    /// Paths of the 13 fields, numbered as `Benchmarks/Peers/simdjson_peer.cpp` numbers them.
    static let paths: [[String]] = [
        ["type"], ["timestamp"], ["bridge", "id"], ["channel", "id"], ["channel", "name"],
        ["channel", "state"],
        ["channel", "creationtime"], ["channel", "caller", "number"], ["channel", "caller", "name"],
        ["channel", "connected", "number"], ["channel", "dialplan", "context"],
        ["channel", "dialplan", "exten"],
        ["channel", "channelvars", "CHANNEL(linkedid)"],
    ]

    var payloads: [UInt8] = []
    var events: [Range<Int>] = []
    var bytes = 0
    /// How many of the fields all events together have.
    var fields = 0

    init(_ recordings: [String]) throws(BenchError) {
        for name in recordings {
            let recording = try Recording(name, .allChannels)
            for range in recording.events {
                events.append((range.lowerBound + payloads.count)..<(range.upperBound + payloads.count))
                bytes += range.count
            }
            payloads += recording.payloads
        }
        payloads += [UInt8](repeating: 0x20, count: Self.padding)
        fields = try ScannerReader().play(self, share: 1)
    }
}

/// Reads the fields of events.
protocol PeerReader {
    var name: String { get }
    /// How much of a text it checks, in words.
    var checks: String { get }
    /// Only every so many-th event is read in a timed round, so that slow readers do not take all the time.
    var share: Int { get }
    /// Reads every `share`-th event; returns how many fields it found.
    func play(_ input: PeerInput, share: Int) throws(BenchError) -> Int
}
