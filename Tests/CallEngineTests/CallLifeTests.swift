import CallEngine
import Protocols
import Testing

@Suite("A call's life: this happened → this is what the row says")
struct CallLifeTests {
    @Test("StasisStart begins a ringing call with its numbers")
    func begins() throws {
        let playback = Playback()
        try playback.play("StasisStart")
        let record = try #require(playback.rows["1.0"])
        #expect(record.status == .ringing)
        #expect(record.direction == .inbound)
        #expect(record.callerNumber.string == "79161234567")
        #expect(record.calleeNumber.string == "74950000001")
        #expect(record.answeredAt == nil)
        #expect(playback.registry.find(callID: "1.0")?.openLegs == 1)
    }

    @Test("Up answers, once: a second Up does not move the time")
    func answersOnce() throws {
        let playback = Playback()
        try playback.play("StasisStart")
        try playback.play("ChannelStateChange") {
            $0.state = "Up"; $0.second = 3
        }
        try playback.play("ChannelStateChange") {
            $0.state = "Up"; $0.second = 9
        }
        let record = try #require(playback.rows["1.0"])
        #expect(record.status == .answered)
        #expect(record.answeredAt?.formatted() == "2026-11-22T10:00:03Z")
        #expect(playback.counters.answered == 1)
    }

    @Test("Other states answer nothing", arguments: ["Ringing", "Down", "Ring", "Busy", "Dialing", ""])
    func otherStates(state: String) throws {
        let playback = Playback()
        try playback.play("StasisStart")
        try playback.play("ChannelStateChange") { $0.state = state }
        #expect(playback.rows["1.0"]?.status == .ringing)
    }

    @Test("With all channels read, StasisEnd without a hang-up is no end; ChannelDestroyed is")
    func continuedChannel() throws {
        let playback = Playback(.allChannels)
        try playback.play("StasisStart")
        try playback.play("StasisEnd") { $0.second = 1 }
        #expect(playback.rows["1.0"]?.status == .ringing)
        try playback.play("ChannelDestroyed") {
            $0.second = 5; $0.extra = #","cause":16"#
        }
        #expect(playback.rows["1.0"]?.status == .finished)
        #expect(playback.rows["1.0"]?.endedAt?.formatted() == "2026-11-22T10:00:05Z")
    }

    @Test("With the application's channels only, StasisEnd is the end, as the old contract has it")
    func applicationOnly() throws {
        let playback = Playback(.applicationOnly)
        try playback.play("StasisStart")
        try playback.play("StasisEnd") { $0.second = 1 }
        #expect(playback.rows["1.0"]?.status == .finished)
    }

    @Test(
        "A call ends with its last leg, whichever goes first", arguments: [["1.0", "1.1"], ["1.1", "1.0"]])
    func lastLeg(order: [String]) throws {
        let playback = Playback()
        try playback.play("ChannelCreated")
        try playback.play("Dial") {
            $0.channel = "1.1"; $0.dialedBy = "1.0"
        }
        try playback.play("ChannelDestroyed") {
            $0.channel = order[0]; $0.second = 4; $0.extra = #","cause":16"#
        }
        #expect(playback.rows["1.0"]?.status == .ringing)
        try playback.play("ChannelDestroyed") {
            $0.channel = order[1]; $0.second = 6; $0.extra = #","cause":16"#
        }
        #expect(playback.rows["1.0"]?.endedAt?.formatted() == "2026-11-22T10:00:06Z")
        #expect(playback.rows.count == 1)
    }

    @Test("A PBX clock that runs backwards makes no negative time")
    func backwardsClock() throws {
        let playback = Playback()
        try playback.play("StasisStart") { $0.second = 30 }
        try playback.play("ChannelStateChange") {
            $0.state = "Up"; $0.second = 20
        }
        try playback.play("ChannelDestroyed") {
            $0.second = 10; $0.extra = #","cause":16"#
        }
        let record = try #require(playback.rows["1.0"])
        #expect(record.answeredAt == record.startedAt)
        #expect(record.endedAt == record.startedAt)
    }

    @Test("Events of a finished call change nothing but the count")
    func afterTheEnd() throws {
        let playback = Playback()
        try playback.play("StasisStart")
        try playback.play("ChannelDestroyed") {
            $0.second = 2; $0.extra = #","cause":16"#
        }
        let before = try #require(playback.rows["1.0"])
        try playback.play("ChannelStateChange") {
            $0.state = "Up"; $0.second = 3
        }
        try playback.play("ChannelVarset") { $0.extra = #","variable":"intNum","value":"101""# }
        let after = try #require(playback.registry.find(callID: "1.0"))
        #expect(after.status == before.status)
        #expect(after.answeredAt == nil)
        #expect(after.direction == before.direction)
        #expect(after.eventCount == before.eventCount + 2)
    }

    @Test("Only a beginning begins a call", arguments: ["ChannelDestroyed", "StasisEnd"])
    func endsBeginNothing(type: String) throws {
        let playback = Playback()
        try playback.play(type)
        #expect(playback.rows.isEmpty)
        #expect(playback.registry.count == 0)
    }

    @Test(
        "Direction: variables before context, empty variables say nothing",
        arguments: [
            ("from-external", "", "", CallDirection.inbound), ("from-internal", "", "", .outbound),
            ("from-trunk-sip", "", "", .inbound), ("ext-from-pstn-1", "", "", .inbound),
            ("default", "", "", .unknown),
            ("from-external", "101", "", .outbound), ("from-internal", "", "7916", .inbound),
            ("from-internal-xfer", "", "", .outbound), ("", "101", "7916", .outbound),
        ])
    func direction(context: String, intNum: String, extNum: String, expected: CallDirection) throws {
        let playback = Playback()
        let made = EventText("StasisStart") { $0.context = context }.text
            .replacing(#""intNum":"","extNum":"""#, with: #""intNum":"\#(intNum)","extNum":"\#(extNum)""#)
        try playback.play(text: made)
        #expect(playback.rows["1.0"]?.direction == expected)
    }

    @Test("ChannelVarset tells the direction when its value is not empty")
    func varset() throws {
        let playback = Playback()
        try playback.play("StasisStart") { $0.context = "default" }
        try playback.play("ChannelVarset") {
            $0.context = "default"; $0.extra = #","variable":"intNum","value":"""#
        }
        #expect(playback.rows["1.0"]?.direction == .unknown)
        try playback.play("ChannelVarset") {
            $0.context = "default"; $0.extra = #","variable":"intNum","value":"101""#
        }
        #expect(playback.rows["1.0"]?.direction == .outbound)
        try playback.play("ChannelVarset") {
            $0.context = "default"; $0.extra = #","variable":"extNum","value":"7916""#
        }
        #expect(playback.rows["1.0"]?.direction == .inbound)
    }

    @Test("Numbers fall back as the contract says, empty counting as absent")
    func numberFallbacks() throws {
        let playback = Playback()
        try playback.play(
            text: #"""
                {"type":"StasisStart","channel":{"id":"2.0","name":"SIP/x",\#
                "caller":{"name":"Ivan","number":""},"connected":{"number":"205"},\#
                "dialplan":{"context":"c","exten":""}}}
                """#
        )
        #expect(playback.rows["2.0"]?.callerNumber.string == "Ivan")
        #expect(playback.rows["2.0"]?.calleeNumber.string == "205")
        try playback.play(
            text: #"""
                {"type":"StasisStart","channel":{"id":"3.0","name":"SIP/x",\#
                "channelvars":{"CALLERID(num)":"44","EXTEN":"55"}}}
                """#
        )
        #expect(playback.rows["3.0"]?.callerNumber.string == "44")
        #expect(playback.rows["3.0"]?.calleeNumber.string == "55")
    }

    @Test("Key: linkedid, then the variable, then the channel's id, then its name")
    func keys() throws {
        let playback = Playback()
        try playback.play(
            text: #"""
                {"type":"StasisStart","channel":{"id":"9.1","name":"a","linkedid":"L1",\#
                "channelvars":{"CHANNEL(linkedid)":"L2"}}}
                """#
        )
        try playback.play(
            text: #"""
                {"type":"StasisStart","channel":{"id":"9.2","name":"b","linkedid":"",\#
                "channelvars":{"CHANNEL(linkedid)":"L3"}}}
                """#
        )
        try playback.play(text: #"{"type":"StasisStart","channel":{"id":"9.3","name":"c"}}"#)
        try playback.play(text: #"{"type":"StasisStart","channel":{"name":"PJSIP/only-a-name"}}"#)
        #expect(playback.rows.keys.sorted() == ["9.3", "L1", "L3", "PJSIP/only-a-name"])
    }

    @Test("Escaped texts are read as what they mean")
    func escapes() throws {
        let playback = Playback()
        try playback.play(
            text: #"""
                {"type":"Stasis\u0053tart","channel":{"id":"\u0035.0","name":"x",\#
                "caller":{"number":"\u002B7\t\ud83d\ude00"},"dialplan":{"exten":"a\"b"}}}
                """#
        )
        // An escaped type is none that Asterisk sends; the call is not begun by it but by its new leg.
        let record = try #require(playback.rows["5.0"])
        #expect(record.callerNumber.string == "+7\t😀")
        #expect(record.calleeNumber.string == "a\"b")
    }

    @Test("Texts beyond their inline room are kept whole beside the record")
    func longTexts() throws {
        let playback = Playback()
        let id = String(repeating: "pbx-", count: 40) + "1.0"
        let number = String(repeating: "9", count: 120)
        // With its begin seen: else the CRM hears of it at its end.
        try playback.play("ChannelCreated") {
            $0.linkedid = id; $0.caller = number
        }
        try playback.play("StasisStart") {
            $0.linkedid = id; $0.caller = number
        }
        let record = try #require(playback.rows[id])
        #expect(record.flags.contains(.longTexts))
        #expect(playback.longTexts[record.callID.string]?.callerNumber == number)
        #expect(playback.registry.find(callID: id)?.eventCount == 2)
        #expect(playback.actions == [.register(try #require(playback.actions.first?.call))])
        #expect(playback.actions.first?.call.callerNumber == number)
        #expect(playback.actions.first?.call.callID == id)
    }
}

extension CRMAction {
    /// The call, whichever action.
    var call: CRMCall {
        switch self {
        case .register(let call), .telephones(let call), .finish(let call): call
        }
    }
}
