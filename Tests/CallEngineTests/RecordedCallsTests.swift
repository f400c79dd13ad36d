import CallEngine
import Foundation
import Protocols
import Testing

@Suite("Recorded streams become the calls that a person reads off them")
struct RecordedCallsTests {
    /// Streams recorded with `subscribeAll` have every channel's end; the others only the application's.
    static func subscription(_ recording: String) -> CallGraph.Subscription {
        recording.hasSuffix("suball") || recording.hasPrefix("office") ? .allChannels : .applicationOnly
    }

    static func playback(of recording: String) throws -> Playback {
        let playback = Playback(subscription(recording))
        for event in try Recordings.events(recording) { try playback.play(text: event) }
        return playback
    }

    /// Recordings whose calls are told one by one.
    static let told = Recordings.all().filter { !$0.contains("burst") }

    @Test("The recordings are there")
    func recordings() { #expect(Self.told.count > 150) }

    @Test("Calls: numbers, states, times, who, why", arguments: told)
    func calls(recording: String) throws {
        let playback = try Self.playback(of: recording)
        let rows = playback.rows.map {
            ExpectedRows.call(
                recording, $0.key, $0.value, playback.longTexts[$0.value.callID.string],
                playback.details[$0.key]?.facts ?? CallFacts())
        }
        let expected = try ExpectedRows.read("expected-calls.tsv")[recording] ?? []
        #expect(rows.sorted() == expected.sorted())
        // Streams of media, devices and failures alone have no call; every other one has.
        #expect(rows.isEmpty == recording.contains("external-media"))
    }

    @Test("Legs: roles, results, times", arguments: told)
    func legs(recording: String) throws {
        let playback = try Self.playback(of: recording)
        let rows = playback.details.flatMap { ExpectedRows.legs(recording, $0.key, $0.value) }
        #expect(rows.sorted() == (try ExpectedRows.read("expected-legs.tsv")[recording] ?? []).sorted())
    }

    @Test("Segments: queues, ringing, machines, talks, transfers", arguments: told)
    func segments(recording: String) throws {
        let playback = try Self.playback(of: recording)
        let rows = playback.details.flatMap { ExpectedRows.segments(recording, $0.key, $0.value) }
        #expect(rows.sorted() == (try ExpectedRows.read("expected-segments.tsv")[recording] ?? []).sorted())
    }

    @Test(
        "Every call of a burst has its own numbers and times",
        arguments: Recordings.all().filter { $0.contains("burst") })
    func burst(recording: String) throws {
        let playback = try Self.playback(of: recording)
        var started: [String: String] = [:]
        var answered: [String: String] = [:]
        var ended: [String: String] = [:]
        var callers: [String: String] = [:]
        for line in try Recordings.events(recording) {
            let event = try #require(
                try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
            guard let channel = event["channel"] as? [String: Any],
                let variables = channel["channelvars"] as? [String: Any],
                let id = variables["CHANNEL(linkedid)"] as? String, let stamp = event["timestamp"] as? String
            else { continue }
            let time = String(stamp.dropFirst(11).prefix(12))
            switch event["type"] as? String {
            case "StasisStart":
                started[id] = time
                callers[id] = (channel["caller"] as? [String: Any])?["number"] as? String
            case "ChannelStateChange" where channel["state"] as? String == "Up" && answered[id] == nil:
                answered[id] = time
            case "StasisEnd": ended[id] = time
            default: break
            }
        }
        #expect(started.count >= 200)
        #expect(playback.calls.count == started.count)
        for (id, record) in playback.calls {
            #expect(ExpectedRows.time(record.startedAt) == started[id], "\(id)")
            #expect(ExpectedRows.time(record.answeredAt) == answered[id], "\(id)")
            #expect(ExpectedRows.time(record.endedAt) == ended[id], "\(id)")
            #expect(record.callerNumber.string == callers[id], "\(id)")
            #expect(record.status == .finished)
            // An application answered; nobody was called.
            #expect(record.outcome == .ivrOnly)
        }
    }

    @Test("Every event belongs to a call or says nothing of one", arguments: Recordings.all())
    func nothingLost(recording: String) throws {
        let playback = try Self.playback(of: recording)
        var without = 0
        for line in try Recordings.events(recording) {
            let event = try #require(
                try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
            // `peer` of PeerStatusChange is no channel.
            let subject = event["type"] as? String == "Dial" ? "peer" : "channel"
            let keys = [subject, "transferer_first_leg", "transferer"]
            if keys.allSatisfy({ event[$0] == nil }) { without += 1 }
        }
        #expect(playback.unplaced == without)
    }

    @Test("The CRM hears of every customer's call once, and of no leg", arguments: Recordings.all())
    func actions(recording: String) throws {
        let playback = try Self.playback(of: recording)
        var registered: [String] = []
        var finished: [String] = []
        for action in playback.actions {
            switch action {
            case .register(let call):
                registered.append(call.callID)
                #expect(!finished.contains(call.callID))
            case .telephones: Issue.record("nobody asked for them")
            case .finish(let call):
                #expect(registered.contains(call.callID))
                #expect(call.endedAt != nil)
                finished.append(call.callID)
            }
        }
        #expect(Set(registered).count == registered.count)
        #expect(registered.sorted() == finished.sorted())
        let customers = playback.calls.filter { $0.record.direction != .unknown }.map(\.id)
        // A telephone that was called on its own is no customer's call.
        if !recording.contains("device-endpoint") { #expect(Set(registered).isSuperset(of: customers)) }
        for (id, record) in playback.rows where record.flags.contains(.merged) {
            #expect(!registered.contains(id), "\(id) is a leg of another call")
        }
    }
}
