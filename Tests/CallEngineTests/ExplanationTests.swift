import CallEngine
import Protocols
import Testing

@Suite("Why a call has its status and outcome")
struct ExplanationTests {
    private static func explanations(of recording: String) throws -> [CallExplanation] {
        let playback = try RecordedCallsTests.playback(of: recording)
        return playback.rows.keys.sorted().compactMap { id in
            guard let record = playback.rows[id], let details = playback.details[id] else { return nil }
            return CallExplanation(callID: id, record: record, details: details)
        }
    }

    @Test(
        "Of every recorded call the rules are told up to the one that decided, in both languages",
        arguments: RecordedCallsTests.told)
    func everyCall(recording: String) throws {
        for call in try Self.explanations(of: recording) where call.record.status == .finished {
            let deciding = call.rules.filter(\.holds).map(\.rule)
            #expect(deciding == [call.details.facts.rule], "\(call.callID)")
            #expect(call.rules.last?.holds == true)
            #expect(Set(call.rules.map(\.rule)).count == call.rules.count, "no rule is tried twice")
            #expect(call.statusSteps.first?.status == .ringing)
            #expect(call.statusSteps.last?.status == .finished)
            #expect(call.statusSteps.contains { $0.status == .answered } == (call.record.answeredAt != nil))
            #expect(call.legs.count == call.details.legs.count)
            #expect(call.segments.count == call.details.segments.count)
            let sentences =
                call.rules.map(\.words) + call.legs + call.segments + call.statusSteps.map(\.words)
                + call.notes
            for words in sentences {
                #expect(
                    !words.english.isEmpty && words.english.allSatisfy { !Self.isCyrillic($0) || $0 == "ё" })
                #expect(words.russian != words.english, "\(words.english)")
            }
        }
    }

    private static func isCyrillic(_ character: Character) -> Bool {
        character.unicodeScalars.allSatisfy { (0x400...0x4FF).contains($0.value) }
    }

    @Test("A queue that nobody answered in, sentence by sentence")
    func queue() throws {
        let call = try #require(try Self.explanations(of: "office-22/queue-timeout").first)
        #expect(
            call.rules.map { "\($0.holds ? "+" : "-")\($0.rule.name)" } == [
                "-merged", "-talk", "-conference", "-unseen_end", "-voicemail", "-left_queue", "+queue_ended",
            ])
        #expect(
            call.rules.last?.words
                == Words(
                    "the queue sales gave up and nobody had answered",
                    "очередь sales закончилась, никто не ответил"))
        #expect(
            call.legs[1].english
                == "was called and did not talk, dialled at 16:03:42.901, rang 2.0 s: no answer (as Asterisk's dial status says)"
        )
        #expect(
            call.segments[0].english == "waited in the queue sales, 5.0 s, telephones called: 2: no answer")
        #expect(
            call.statusSteps.map(\.words.english) == [
                "79161234567 (PJSIP/trunk-00000022) began the call",
                "79161234567 (PJSIP/trunk-00000022) was the first channel that was up; a machine counts here, the outcome says "
                    + "whether a person talked",
                "the last channel, 79161234567 (PJSIP/trunk-00000022), was gone",
            ])
    }

    @Test("SIP codes and causes have their words; of others the number is told")
    func causes() {
        #expect(CauseWords.cause(17) == Words("user busy (Q.850 17)", "абонент занят (Q.850 17)"))
        #expect(CauseWords.sip(486) == Words("busy here (SIP 486)", "занято (SIP 486)"))
        #expect(CauseWords.cause(400).english == "cause 400")
        #expect(CauseWords.sip(699).russian == "SIP 699")
    }

    @Test("A call that goes on has steps and legs, and no rule yet")
    func open() throws {
        let playback = Playback()
        try playback.play("StasisStart")
        try playback.play("ChannelStateChange") {
            $0.state = "Up"; $0.second = 3
        }
        let call = try #require(playback.look("1.0"))
        #expect(call.statusSteps.map(\.status) == [.ringing, .answered])
        #expect(call.rules.isEmpty)
        #expect(call.legs.map(\.english) == ["began the call, up at 10:00:03.000"])
    }

    @Test("Looking at a call changes nothing of it", arguments: RecordedCallsTests.told)
    func lookingIsFree(recording: String) throws {
        let plain = try RecordedCallsTests.playback(of: recording)
        let watched = Playback(RecordedCallsTests.subscription(recording))
        for event in try Recordings.events(recording) {
            try watched.play(text: event)
            for id in Array(watched.rows.keys) { _ = watched.look(id) }
        }
        #expect(watched.saves == plain.saves)
        #expect(watched.rows.keys == plain.rows.keys)
        for (id, details) in plain.details {
            #expect(
                ExpectedRows.legs("r", id, details)
                    == (watched.details[id].map { ExpectedRows.legs("r", id, $0) } ?? []))
        }
    }

    @Test("A conversation is derived when it begins and when it ends, not with every event of it")
    func derivedTwice() throws {
        let playback = Playback()
        for event in try Recordings.events("office-22/direct-answered") { try playback.play(text: event) }
        #expect(playback.derivations == 2)
        let held = Playback()
        for event in try Recordings.events("asterisk-22/hold-unhold") { try held.play(text: event) }
        #expect(held.derivations <= 2 * held.rows.count)
    }
}

@Suite("Calls derived again from recorded events")
struct CallReplayTests {
    @Test("are the calls that the daemon derived", arguments: Recordings.all())
    func same(recording: String) throws {
        let playback = try RecordedCallsTests.playback(of: recording)
        var replay = CallReplay(subscription: RecordedCallsTests.subscription(recording))
        var calls: [String: CallReplay.Call] = [:]
        for event in try Recordings.events(recording) {
            try replay.take(Array(event.utf8))
            replay.giveOut { calls[$0.callID] = $0 }
        }
        replay.finish {
            #expect(calls[$0.callID] == nil, "each call is given out once")
            calls[$0.callID] = $0
        }
        #expect(calls.keys.sorted() == playback.rows.keys.sorted())
        for (id, call) in calls {
            let record = try #require(playback.rows[id])
            #expect(
                ExpectedRows.call("r", id, call.record, call.longTexts, call.details.facts)
                    == ExpectedRows.call(
                        "r", id, record, playback.longTexts[record.callID.string],
                        playback.details[id]?.facts ?? call.details.facts))
            guard let details = playback.details[id], record.status == .finished else { continue }
            #expect(ExpectedRows.legs("r", id, call.details) == ExpectedRows.legs("r", id, details))
            #expect(ExpectedRows.segments("r", id, call.details) == ExpectedRows.segments("r", id, details))
        }
    }

    @Test("An end that was inferred is put where it was, and marked")
    func estimated() throws {
        var replay = CallReplay(subscription: .allChannels)
        try replay.take(Array(EventText("StasisStart").text.utf8))
        try replay.take(
            Array(
                EventText("ChannelStateChange") {
                    $0.state = "Up"; $0.second = 3
                }.text.utf8))
        let end = try #require(Timestamp("2026-11-22T10:00:30Z"))
        replay.endEstimated("1.0", at: end)
        replay.endEstimated("unknown", at: end)
        var calls: [CallReplay.Call] = []
        replay.finish { calls.append($0) }
        #expect(calls.count == 1)
        #expect(calls.first?.record.status == .finished)
        #expect(calls.first?.record.endedAt == end)
        #expect(calls.first?.record.flags.contains(.estimatedEnd) == true)
        #expect(calls.first?.details.facts.rule == .unseenEnd)
        #expect(calls.first?.details.legs.first?.isEndEstimated == true)
    }

    @Test("What ended long ago is given out while the stream goes on")
    func givenOut() throws {
        var replay = CallReplay(subscription: .allChannels)
        var given = 0
        for number in 0..<50 {
            let id = "\(number).0"
            for (type, second) in [("StasisStart", 0), ("ChannelDestroyed", 1)] {
                let event = EventText(type) {
                    $0.channel = id; $0.linkedid = id; $0.second = second
                }
                let received = Timestamp(microseconds: 1_800_000_000_000_000 + Int64(number) * 60_000_000)
                try replay.take(Array(event.text.utf8), receivedAt: received)
                replay.giveOut { _ in given += 1 }
            }
        }
        #expect(given == 49, "all but the last, which may change yet")
    }
}
