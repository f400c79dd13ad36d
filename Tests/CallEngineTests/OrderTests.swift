import CallEngine
import Foundation
import Testing

@Suite("The order between the legs of a call does not matter")
struct OrderTests {
    /// Of every channel; one order of 4,000 events more tells nothing.
    static let recordings = Recordings.all().filter {
        RecordedCallsTests.subscription($0) == .allChannels && !$0.contains("burst")
    }

    @Test(
        "Recorded events in any order that Asterisk may send them in give the same calls",
        arguments: recordings)
    func permuted(recording: String) throws {
        let events = try OrderedRecording(recording)
        let straight = Playback(.allChannels)
        events.play(into: straight)
        let expected = PlayedRows(recording, straight)
        for seed in SeededGenerator.seeds(6) {
            var chance = SeededGenerator(seed: seed)
            let disorder: Int64 = [1000, 4000, 30_000].randomElement(using: &chance) ?? 4000
            let playback = Playback(.allChannels)
            events.play(into: playback, disorder: disorder, &chance)
            playback.now += 2 * CallGraph.linger / 10
            playback.sweep()
            let rows = PlayedRows(recording, playback)
            #expect(rows == expected, "SEED=\(seed), \(disorder) µs")
        }
    }

    /// `ARISubscriptionStep.allowedTypes` of the connectors.
    static let filter: Set<ARIEventKind> = [
        .stasisStart, .stasisEnd, .channelCreated, .channelDestroyed, .channelStateChange, .dial,
        .channelEnteredBridge, .channelLeftBridge, .channelHangupRequest, .channelHold, .channelUnhold,
        .bridgeBlindTransfer, .bridgeAttendedTransfer,
    ]

    @Test("What the daemon's own filter lets through tells the same calls and legs", arguments: recordings)
    func filtered(recording: String) throws {
        let (all, some) = (Playback(.allChannels), Playback(.allChannels))
        try OrderedRecording(recording).play(into: all)
        try OrderedRecording(recording) { Self.filter.contains($0) }.play(into: some)
        let (told, least) = (PlayedRows(recording, all), PlayedRows(recording, some))
        #expect(least.calls == told.calls)
        #expect(least.legs == told.legs)
        /// When a queue or a machine began is told by events of the dialplan alone.
        func others(_ rows: PlayedRows) -> [[String]] {
            rows.segments.map { $0.components(separatedBy: "\t") }
                .filter { ["ring", "talk", "transfer", "parking"].contains($0[3]) }
                .map { Array($0[..<2] + $0[3...]) }
        }
        #expect(others(least) == others(told))
        let queues = { (rows: PlayedRows) in rows.segments.filter { $0.contains("\tqueue\t") }.count }
        #expect(queues(least) == queues(told))
    }
}
