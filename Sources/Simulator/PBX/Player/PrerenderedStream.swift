import Protocols

/// A stretch of calls as one reader is to get it, rendered in advance: the frames one after another, and when each is due.
///
/// Rendering costs about a microsecond an event, sending prepared bytes a fraction of that; so a generator that renders in advance is not what
/// a measurement of the reader measures.
final class PrerenderedStream: EventReceiver {
    /// The most that is kept, in bytes; the stretch ends there.
    static let maximumBytes = 8 << 30

    private let application: PBXApplication
    private let owner: String
    /// WebSocket frames, ready to be sent.
    private(set) var bytes: [UInt8] = []
    /// A millisecond in which frames are due: which, and how many bytes and frames are due by its end.
    private struct Mark {
        var millisecond: Int64
        var end: Int
        var count: Int
    }

    /// In order; only of milliseconds in which something is due, so a quiet PBX costs next to nothing.
    private var marks: [Mark] = []
    private var count = 0
    /// Time of the first millisecond, since 1970.
    let start: Int64

    /// Frames sent so far, in bytes and events.
    private(set) var sentBytes = 0
    private(set) var sentEvents = 0

    /// Plays `player` for `milliseconds` and keeps what `application` wants of it.
    init(
        _ player: CallPlayer, for application: PBXApplication, owner: String, start: Int64, milliseconds: Int
    ) {
        self.application = application
        self.owner = owner
        self.start = start
        player.begin(at: start)
        var millisecond: Int64 = 0
        while millisecond < Int64(milliseconds), bytes.count < Self.maximumBytes {
            _ = player.advance(to: start + millisecond, budget: .max, into: self)
            if bytes.count > marks.last?.end ?? 0 {
                marks.append(Mark(millisecond: millisecond, end: bytes.count, count: count))
            }
            millisecond = player.nextDue(by: start + Int64(milliseconds)) - start
        }
    }

    /// Events rendered.
    var eventCount: Int { count }
    /// Whether all was sent.
    var isOver: Bool { sentBytes == bytes.count }

    func played(_ kind: EventKind, isOfStasisChannel: Bool, body: UnsafeRawBufferPointer) -> Bool {
        guard application.wants(kind, isOfStasisChannel: isOfStasisChannel, owner: owner) else {
            return false
        }
        FrameWriter.appendHeader(
            .text, count: body.count + application.eventTail.count, fin: true, maskingKey: nil, to: &bytes)
        bytes.append(contentsOf: body)
        bytes.append(contentsOf: application.eventTail)
        count += 1
        return true
    }

    /// The frames that are due and not yet sent; they count as sent from now on.
    ///
    /// - Parameters:
    ///   - now: Milliseconds since 1970; `nil`: everything is due.
    ///   - limit: The most bytes, to whole milliseconds of the schedule (at least one).
    func take(at now: Int64?, limit: Int) -> (frames: ArraySlice<UInt8>, events: Int) {
        let first = marks.partition { $0.end > sentBytes }
        guard first < marks.count else { return ([], 0) }
        let due = now.map { now in marks.partition { start + $0.millisecond > now } } ?? marks.count
        guard due > first else { return ([], 0) }
        var last = first
        while last + 1 < due, marks[last + 1].end - sentBytes <= limit { last += 1 }
        let frames = bytes[sentBytes..<marks[last].end]
        let events = marks[last].count - sentEvents
        sentBytes = marks[last].end
        sentEvents = marks[last].count
        return (frames, events)
    }
}

extension Array {
    /// The first index whose element satisfies a condition that no earlier one does and every later one does.
    fileprivate func partition(_ condition: (Element) -> Bool) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if condition(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
