package import Protocols

/// How far a PBX's clock is from ours, read off its events.
///
/// An event's stamp is older than its receipt by the time it took to come, so of many events the one with the greatest
/// difference tells the most; what is forgotten after two windows follows a clock that is set or drifts.
package struct PBXClock: Sendable {
    /// For so long a difference counts at least.
    package static let window: Duration = .seconds(60)

    private var best: Int64?
    private var current: Int64?
    /// Of the newest event.
    private var last: Int64?
    /// The newest event's stamp.
    package private(set) var newest: Timestamp?
    private var windowEnd = Timestamp(microseconds: .min)

    package init() {}

    /// Takes an event's stamp and our time of its receipt.
    package mutating func note(_ stamp: Timestamp, receivedAt: Timestamp) {
        noteAnswer(stamp, receivedAt: receivedAt)
        last = stamp.microseconds &- receivedAt.microseconds
        newest = stamp
    }

    /// Takes what the PBX's clock showed when it answered a request: an answer overtakes events, so it says nothing of
    /// how far those are behind.
    package mutating func noteAnswer(_ stamp: Timestamp, receivedAt: Timestamp) {
        let difference = stamp.microseconds &- receivedAt.microseconds
        if receivedAt >= windowEnd {
            best = current
            current = nil
            windowEnd = receivedAt + Self.window
        }
        if difference > current ?? .min { current = difference }
    }

    /// The PBX's clock minus ours; zero while nothing is known.
    package var offset: Duration {
        guard let known = [best, current].compactMap({ $0 }).max() else { return .zero }
        return .microseconds(known)
    }

    /// How far the newest event's receipt was behind its stamp, less the least that this takes: a PBX with much to send
    /// is seconds behind.
    package var lag: Duration { last.map { max(.zero, offset - .microseconds($0)) } ?? .zero }

    /// What the PBX's clock showed when ours showed `time`.
    package func pbxTime(of time: Timestamp) -> Timestamp { time + offset }
}
