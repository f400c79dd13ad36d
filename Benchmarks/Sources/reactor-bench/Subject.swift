import Reactor

/// A driver with a set of features.
struct Subject {
    let name: String
    let mode: IOMode
    var features: IOURingFeatures = .all

    static func all(comparesFeatures: Bool) -> [Subject] {
        var result = [Subject(name: "epoll", mode: .epoll)]
        guard isIOURingAllowed else {
            note("no io_uring here: its lines are left out")
            return result
        }
        result.append(Subject(name: "io_uring", mode: .ioURing))
        guard comparesFeatures else { return result }
        // Without DEFER_TASKRUN a part of the work is done where the sockets are filled, and not counted.
        let others: [(String, IOURingFeatures)] = [
            ("plain buffers", .all.subtracting(.incrementalBuffers)),
            ("plain buffers, single receives", .all.subtracting([.incrementalBuffers, .multishotReceive])),
            ("ring not registered", .all.subtracting(.registeredRing)), ("as Linux 6.1", .linux6_1),
        ]
        for (name, features) in others {
            result.append(Subject(name: "io_uring, \(name)", mode: .ioURing, features: features))
        }
        return result
    }

    private static let isIOURingAllowed: Bool = {
        guard let loop = try? Loop(configuration: LoopConfiguration(ioMode: .ioURing, maximumConnections: 4))
        else { return false }
        loop.stop()
        return true
    }()

    func configuration(connections: Int) -> LoopConfiguration {
        var configuration = LoopConfiguration(ioMode: mode, maximumConnections: connections + 1)
        configuration.ioURingFeatures = features
        return configuration
    }
}

/// How much waits on how many connections when a loop looks.
struct Load {
    /// As the file of limits calls it.
    let name: String
    let connections: Int
    /// Events on each, in one go.
    let events: Int

    static let all = [
        Load(name: "busy", connections: 1, events: 64), Load(name: "trickle", connections: 1, events: 5),
        Load(name: "hundred", connections: 100, events: 8),
        Load(name: "thousands", connections: 5000, events: 4),
    ]

    /// Both ends of each connection are in this process.
    var fits: Bool {
        let fits = 2 * connections + 50 <= DescriptorLimit.current
        if fits == false { note("\(name): left out, the descriptor limit is \(DescriptorLimit.current)") }
        return fits
    }
}

/// An event: its length in four bytes, and a payload as large as ARI's usually are.
enum Event {
    static let bytes = 700

    static func stream(_ count: Int) -> [UInt8] {
        let one =
            [0, 0, UInt8((bytes - 4) >> 8), UInt8((bytes - 4) & 0xff)]
            + [UInt8](repeating: 0x61, count: bytes - 4)
        return Array(repeatElement(one, count: count).joined())
    }
}

/// Takes events apart, where they lie.
final class Receiver: ConnectionHandler {
    private(set) var events = 0
    private(set) var closes = 0

    func received(_ bytes: RawSpan, on connection: Connection) -> Consumed {
        var used = 0
        let count = bytes.byteCount
        while count - used >= 4 {
            let length = Int(
                UInt32(bigEndian: bytes.unsafeLoadUnaligned(fromByteOffset: used, as: UInt32.self)))
            guard count - used >= 4 + length else { return Consumed(used, needed: 4 + length) }
            used += 4 + length
            events += 1
        }
        return Consumed(used, needed: used < count ? 4 : 0)
    }

    func closed(_ connection: Connection, _ reason: CloseReason) { closes += 1 }
}
