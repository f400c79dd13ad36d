import CallEngine
import Protocols

/// A recording's events, read once, with what keeps them in order.
struct OrderedRecording {
    private struct Entry {
        var event: ARIEvent
        var payload: [UInt8]
        /// Microseconds of the stamp.
        var stamp: Int64
        /// Whose order it keeps; two events that share one do not change places.
        var keys: [String]
    }

    private var entries: [Entry] = []

    /// - Parameter isKept: Which types of events are sent.
    init(_ name: String, _ isKept: (ARIEventKind) -> Bool = { _ in true }) throws {
        var reader = ARIEventReader()
        for text in try Recordings.events(name) {
            let payload = Array(text.utf8)
            var event = ARIEvent()
            try reader.read(payload.span.bytes, into: &event)
            guard isKept(event.kind) else { continue }
            entries.append(
                Entry(
                    event: event, payload: payload, stamp: event.timestamp?.microseconds ?? 0,
                    keys: payload.withUnsafeBytes { Self.keys(event, $0) }))
        }
    }

    /// Asterisk keeps the order of events of a channel, a Dial's being those of who dials, and of a bridge.
    ///
    /// Measured: a blind transfer changes places with the channel's leaving of its bridge.
    private static func keys(_ event: ARIEvent, _ payload: UnsafeRawBufferPointer) -> [String] {
        guard event.channel.isPresent else { return [] }
        let channel = event.caller.isPresent ? event.caller : event.channel
        let id = (channel.id.isEmpty ? channel.name : channel.id).string(in: payload)
        if event.kind == .bridgeBlindTransfer { return [id + " transfer"] }
        var keys = [id]
        if event.kind != .channelLeftBridge { keys.append(id + " transfer") }
        if event.kind == .bridgeAttendedTransfer, event.secondLeg.isPresent {
            keys.append(event.secondLeg.id.string(in: payload))
        }
        if !event.bridgeID.isEmpty { keys.append("bridge " + event.bridgeID.string(in: payload)) }
        return keys
    }

    /// The events in another order that Asterisk might have sent them in.
    ///
    /// - Parameter disorder: How far events move, in microseconds.
    func play<Chance: RandomNumberGenerator>(
        into playback: Playback, disorder: Int64, _ chance: inout Chance
    ) {
        var last: [String: Int64] = [:]
        var places: [(place: Int64, number: Int)] = []
        for (number, entry) in entries.enumerated() {
            var place = entry.stamp + Int64.random(in: 0...disorder, using: &chance)
            for key in entry.keys { place = max(place, last[key] ?? place) }
            for key in entry.keys { last[key] = place }
            places.append((place, number))
        }
        places.sort { ($0.place, $0.number) < ($1.place, $1.number) }
        for (_, number) in places {
            let entry = entries[number]
            entry.payload.withUnsafeBytes { playback.play(entry.event, $0) }
        }
    }

    /// The events as they were recorded.
    func play(into playback: Playback) {
        for entry in entries { entry.payload.withUnsafeBytes { playback.play(entry.event, $0) } }
    }
}

/// What a playback says, as rows of the tables beside the recordings.
struct PlayedRows: Equatable {
    var calls: [String]
    var legs: [String]
    var segments: [String]

    init(_ name: String, _ playback: Playback) {
        calls =
            playback.rows.map {
                var record = $0.value
                // Of a call that became part of another only that is told.
                if record.flags.contains(.merged) { record.direction = .unknown }
                return ExpectedRows.call(
                    name, $0.key, record, playback.longTexts[record.callID.string],
                    playback.details[$0.key]?.facts ?? CallFacts())
            }.sorted()
        legs = playback.details.flatMap { ExpectedRows.legs(name, $0.key, $0.value) }.sorted()
        segments = playback.details.flatMap { ExpectedRows.segments(name, $0.key, $0.value) }.sorted()
    }
}
