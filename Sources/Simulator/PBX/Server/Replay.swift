import Glibc
import Reactor

/// Recorded events, read once.
struct Recording: Sendable {
    /// The file could not be used.
    struct Failure: Error, CustomStringConvertible {
        var description: String
    }

    /// The largest file that is read, in bytes.
    static let maximumBytes = 1 << 30

    private let bytes: [UInt8]
    private let events: [Range<Int>]
    /// Time of each event after the first, in nanoseconds; empty when unknown.
    private let times: [Int64]

    /// Reads `path`, and the file beside it whose extension is `times`.
    ///
    /// One event a line; a file that begins with 0x1E is read as RFC 7464 has it.
    init(path: String) throws(Failure) {
        bytes = try Self.read(path)
        var events: [Range<Int>] = []
        let isSequence = bytes.first == 0x1E
        let separator: UInt8 = isSequence ? 0x1E : 0x0A
        var start = 0
        for index in 0...bytes.count where index == bytes.count || bytes[index] == separator {
            var end = index
            while end > start, bytes[end - 1] == 0x0A || bytes[end - 1] == 0x0D { end -= 1 }
            if end > start { events.append(start..<end) }
            start = index + 1
        }
        self.events = events
        let stem = path.lastIndex(of: ".").map { String(path[..<$0]) } ?? path
        let stamps = ((try? Self.read(stem + ".times")) ?? []).split(separator: 0x0A)
            .compactMap { Int64(String(decoding: $0, as: UTF8.self)) }
        times = stamps.count == events.count ? stamps.map { $0 - stamps[0] } : []
    }

    /// How many events there are.
    var count: Int { events.count }

    /// One event.
    subscript(index: Int) -> ArraySlice<UInt8> { bytes[events[index]] }

    /// When an event is due after the beginning of the replay, in nanoseconds.
    func due(_ index: Int, pace: SimulatorConfiguration.ReplayPace) -> Int64 {
        switch pace {
        case .recorded: times.isEmpty ? 0 : times[index]
        case .asFastAsPossible: 0
        case .eventsPerSecond(let rate): rate > 0 ? Int64(Double(index) * 1e9 / rate) : 0
        }
    }

    private static func read(_ path: String) throws(Failure) -> [UInt8] {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else {
            throw Failure(description: "cannot open \(path): \(String(cString: strerror(errno)))")
        }
        defer { close(file) }
        let size = Int(lseek(file, 0, SEEK_END))
        guard size >= 0, size <= maximumBytes else {
            throw Failure(description: "\(path) is no regular file of at most \(maximumBytes) bytes")
        }
        lseek(file, 0, SEEK_SET)
        var failure: Int32 = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
            while count < size {
                let got = Glibc.read(file, buffer.baseAddress.map { $0 + count }, size - count)
                if got < 0, errno == EINTR { continue }
                if got < 0 { failure = errno }
                if got <= 0 { break }
                count += got
            }
        }
        guard failure == 0 else {
            throw Failure(description: "cannot read \(path): \(String(cString: strerror(failure)))")
        }
        return bytes
    }
}

/// How far one reader was given a recording.
struct ReplayCursor {
    /// When it began.
    var start: MonotonicInstant
    /// The event that comes next.
    var next = 0
}
