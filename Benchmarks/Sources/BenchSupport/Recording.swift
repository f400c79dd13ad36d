public import CallEngine
import Protocols

/// A recorded event stream: as payloads, and as the bytes that the socket would give.
public struct Recording {
    /// What a loop reads from a socket at once (`LoopConfiguration.receiveBufferBytes`).
    public static let readBytes = 16 << 10

    /// Its file's name, or its folder's.
    public var name: String
    /// How the recording's reader was subscribed.
    public var subscription: CallGraph.Subscription
    /// All events, one behind the other.
    public var payloads: [UInt8] = []
    /// Where in `payloads` each event lies.
    public var events: [Range<Int>] = []
    /// The same events as WebSocket text frames of a server.
    public var stream: [UInt8] = []
    /// `stream` cut into reads; most cut an event in two.
    public var reads: [Range<Int>] = []

    /// Loads `Tests/Fixtures/ari/asterisk-22/NAME.jsonl`, one event a line; of the name of a folder all that is in it, an event of
    /// each in turn, as if these calls were going on at the same time.
    public init(_ name: String, _ subscription: CallGraph.Subscription) throws(BenchError) {
        self.name = name
        self.subscription = subscription
        let folder = "\(Files.root)/Tests/Fixtures/ari"
        let path = "\(folder)/asterisk-22/\(name).jsonl"
        let parts = Files.names(in: "\(folder)/\(name)").filter { $0.hasSuffix(".jsonl") }
        var streams: [ArraySlice<ArraySlice<UInt8>>] = []
        for file in parts.isEmpty ? [path] : parts.map({ "\(folder)/\(name)/\($0)" }) {
            streams.append(try Files.read(file).split(separator: 0x0A)[...])
        }
        var lines: [ArraySlice<UInt8>] = []
        while streams.contains(where: { !$0.isEmpty }) {
            for stream in streams.indices { lines += streams[stream].popFirst().map { [$0] } ?? [] }
        }
        for line in lines {
            let start = payloads.count
            payloads.append(contentsOf: line)
            events.append(start..<payloads.count)
            FrameWriter.appendHeader(.text, count: line.count, fin: true, maskingKey: nil, to: &stream)
            stream.append(contentsOf: line)
        }
        guard !events.isEmpty else { throw BenchError("\(path): no events") }
        for start in stride(from: 0, to: stream.count, by: Self.readBytes) {
            reads.append(start..<min(start + Self.readBytes, stream.count))
        }
    }
}
