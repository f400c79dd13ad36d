import Protocols

/// The way from the PBX to the daemon: what is sent, when it arrives, and what is lost.
///
/// A connection keeps the order of what is put on it. While the PBX is busy (`stalls`), what it has to send waits, and its
/// answers to requests overtake it.
final class TruthStream {
    /// True time 0 as microseconds since 1970.
    static let epoch: Int64 = 1_795_300_000_000_000

    private let time: TruthTime
    private let pbx: TruthPBX
    /// Times in which nothing leaves the PBX.
    private let stalls: [Range<Int64>]
    private(set) var events: [PBXEvent] = []
    /// The run that reads; `nil` while there is none.
    var reader: TruthDaemon?
    /// Since when events are sent on this connection; `nil` before the subscription, and without a connection.
    private var sentSince: Int64?
    private var connection = 0
    private var refusals = 0
    /// Nobody hears what comes any more, and nobody has noticed yet.
    private var isSilent = false
    /// Plays of which an event was lost.
    private(set) var disturbed: Set<Int> = []
    /// The simulation is over: nothing is planned any more.
    var isOver = false

    init(time: TruthTime, pbx: TruthPBX, stalls: [Range<Int64>]) {
        self.time = time
        self.pbx = pbx
        self.stalls = stalls
        pbx.onEvent = { [unowned self] in published($0, at: $1) }
    }

    /// A play that the daemon cannot have seen whole.
    func disturb(_ play: Int) { disturbed.insert(play) }

    private func published(_ event: PBXEvent, at place: Int64) {
        let number = events.count
        events.append(event)
        guard let since = sentSince, time.now >= since else { return disturb(event.play) }
        let connection = connection
        time.at(arrival(place)) { [unowned self] in
            guard connection == self.connection, !isSilent, let reader, !reader.isDead else {
                return disturb(event.play)
            }
            reader.received(number)
        }
    }

    /// When what leaves the PBX at `place` arrives; never before what left earlier.
    private func arrival(_ place: Int64) -> Int64 {
        let stall = stalls.filter { $0.contains(place) }.map(\.upperBound).max()
        return min(stall ?? place, place + Self.longestStall) + 1000
    }

    /// How far a PBX may be behind without showing it.
    private static let longestStall: Int64 = 900_000

    // MARK: The connection

    /// The reader's connection opens.
    func open(_ reader: TruthDaemon) {
        connection += 1
        isSilent = false
        self.reader = reader
        reader.ask = { [unowned self] in ask($0, $1) }
        reader.opened()
        pong(connection)
    }

    /// So many of the next questions are answered with an error.
    func refuse(_ count: Int) { refusals += count }

    /// The PBX is told what to send, and asked what runs.
    ///
    /// Its answers take some milliseconds each.
    private func ask(_ reader: TruthDaemon, _ attempt: Int) {
        let connection = connection
        func later(_ delay: Int64, _ body: @escaping () -> Void) {
            time.after(delay) { [unowned self] in
                guard connection == self.connection, !reader.isDead, !isSilent else { return }
                body()
            }
        }
        later(8000) { [unowned self] in
            if sentSince == nil { sentSince = time.now }
            guard refusals == 0 else {
                refusals -= 1
                return later(4000) { reader.refused(attempt) }
            }
            later(6000) { [unowned self] in
                let (startedAt, clock) = (pbx.startedAt, pbx.stamp - 8000)
                reader.listsAsked(attempt)
                later(3000) { [unowned self] in
                    let channels = pbx.channelList
                    later(7000) { [unowned self] in
                        let bridges = pbx.bridgeList
                        later(1000) {
                            reader.answered(
                                attempt, startedAt: startedAt, clock: clock, channels: channels,
                                bridges: bridges)
                        }
                    }
                }
            }
        }
    }

    /// The PBX is asked once more which channels are there.
    func askChannels(_ body: @escaping ([[UInt8]]) -> Void) {
        let connection = connection
        time.after(8000) { [unowned self] in
            let channels = pbx.channelIDs
            time.after(4000) { [unowned self] in
                if connection == self.connection, !isSilent { body(channels) }
            }
        }
    }

    /// The PBX answers pings at once, however busy it is with events.
    private func pong(_ connection: Int) {
        time.after(.milliseconds(5000)) { [unowned self] in
            guard connection == self.connection, !isOver, let reader, !reader.isDead else { return }
            if !isSilent { reader.heard() }
            pong(connection)
        }
    }

    /// The connection is gone at once; both sides see it.
    func cut() {
        connection += 1
        sentSince = nil
        reader?.closed()
    }

    /// The connection carries nothing any more; `closed` comes later.
    func silence() { isSilent = true }
}
