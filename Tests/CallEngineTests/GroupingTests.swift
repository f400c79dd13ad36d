import CallEngine
import Foundation
import Protocols
import Testing

@Suite("One row a channel, as the old daemon had it")
struct GroupingTests {
    /// What a person reads off a stream: the first start, first Up and last end in the application of each channel there.
    private struct Channel: Equatable {
        var started: String
        var answered: String?
        var ended: String?
    }

    private static func channels(_ recording: String) throws -> [String: Channel] {
        var channels: [String: Channel] = [:]
        for line in try Recordings.events(recording) {
            let event = try #require(
                try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
            guard let stamp = (event["timestamp"] as? String).flatMap({ Timestamp($0) }),
                let channel = event["channel"] as? [String: Any], let id = channel["id"] as? String
            else { continue }
            let time = stamp.formatted(.milliseconds)
            switch event["type"] as? String {
            case "StasisStart":
                if channels[id] == nil {
                    channels[id] = Channel(started: time)
                } else {
                    channels[id]?.ended = nil
                }
            case "StasisEnd", "ChannelDestroyed":
                if channels[id]?.ended == nil { channels[id]?.ended = time }
            default: break
            }
        }
        return channels
    }

    @Test(
        "each channel of the application is a call, from its StasisStart to its StasisEnd",
        arguments: RecordedCallsTests.told)
    func channels(recording: String) throws {
        let playback = Playback(RecordedCallsTests.subscription(recording), grouping: .channel)
        for event in try Recordings.events(recording) { try playback.play(text: event) }
        let expected = try Self.channels(recording)
        #expect(playback.rows.keys.sorted() == expected.keys.sorted())
        for (id, channel) in expected {
            let row = try #require(playback.rows[id])
            #expect(row.endedAt?.formatted(.milliseconds) == channel.ended, "\(id)")
            #expect((row.status == .finished) == (channel.ended != nil))
        }
        #expect(playback.merged.isEmpty)
        #expect(playback.counters.merged == 0)
    }

    @Test("the telephone that the application calls is a row of its own, which one call has in it otherwise")
    func twoLegs() throws {
        let apart = Playback(.applicationOnly, grouping: .channel)
        let together = Playback(.applicationOnly)
        for event in try Recordings.events("asterisk-22/inbound-answered") {
            try apart.play(text: event)
            try together.play(text: event)
        }
        #expect(together.calls.count == 1)
        #expect(apart.calls.count == 2)
        #expect(apart.calls.allSatisfy { $0.record.status == .finished && $0.record.answeredAt != nil })
        // Events are stored under their own channel's id.
        #expect(Set(apart.placements).isSuperset(of: apart.calls.map(\.id)))
    }

    @Test("a channel that leaves the application is over, though it lives on and everything of it is read")
    func continued() throws {
        for grouping in CallGrouping.allCases {
            let playback = Playback(.allChannels, grouping: grouping)
            try playback.play("StasisStart")
            try playback.play("StasisEnd") { $0.second = 4 }
            #expect(playback.rows["1.0"]?.status == (grouping == .channel ? .finished : .ringing))
            try playback.play("ChannelDestroyed") { $0.second = 9 }
            let end = playback.rows["1.0"]?.endedAt?.formatted()
            #expect(end == "2026-11-22T10:00:0\(grouping == .channel ? 4 : 9)Z")
        }
    }
}
