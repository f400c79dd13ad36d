import CallEngine
import Protocols
import Testing

@Suite("Legs: which channel belongs to which call")
struct LegGraphTests {
    @Test("A leg that takes another call's linkedid brings its call along; the named call survives")
    func merge() throws {
        let playback = Playback()
        try playback.play("StasisStart")
        try playback.play("StasisStart") {
            $0.channel = "2.0"; $0.linkedid = "2.0"; $0.context = "phone"
        }
        try playback.play("ChannelStateChange") {
            $0.channel = "2.1"; $0.linkedid = "2.0"; $0.context = "phone"
        }
        #expect(playback.calls.map(\.id) == ["1.0", "2.0"])
        try playback.play("ChannelEnteredBridge") {
            $0.channel = "2.0"; $0.state = "Up"; $0.second = 4
        }
        #expect(playback.calls.map(\.id) == ["1.0"])
        #expect(playback.merged == ["2.0"])
        #expect(playback.counters.merged == 1)
        // The call has the legs of both now: it ends when all three are gone.
        try playback.play("ChannelDestroyed") {
            $0.channel = "1.0"; $0.second = 5
        }
        try playback.play("ChannelDestroyed") {
            $0.channel = "2.0"; $0.second = 6
        }
        #expect(playback.rows["1.0"]?.status == .answered)
        // The third one still carries the old linkedid (recorded: a Local channel's other half does).
        try playback.play("ChannelDestroyed") {
            $0.channel = "2.1"; $0.linkedid = "2.0"; $0.second = 7
        }
        #expect(playback.rows["1.0"]?.endedAt?.formatted() == "2026-11-22T10:00:07Z")
        #expect(playback.rows.count == 2)
    }

    @Test("A new leg with a merged call's linkedid does not open that call again")
    func staleLinkedID() throws {
        let playback = Playback()
        try playback.play("StasisStart")
        try playback.play("StasisStart") {
            $0.channel = "2.0"; $0.linkedid = "2.0"
        }
        try playback.play("ChannelEnteredBridge") { $0.channel = "2.0" }
        try playback.play("ChannelCreated") {
            $0.channel = "2.5"; $0.linkedid = "2.0"
        }
        #expect(playback.rows.count == 2)
        #expect(playback.registry.find(callID: "1.0")?.openLegs == 3)
    }

    @Test("Without linkedid a dialled leg belongs to who dials it")
    func dialWithoutLinkedID() throws {
        let playback = Playback()
        try playback.play("StasisStart") { $0.linkedid = nil }
        try playback.play("Dial") {
            $0.channel = "1.7"; $0.linkedid = nil; $0.dialedBy = "1.0"
        }
        #expect(playback.rows.keys.sorted() == ["1.0"])
        #expect(playback.registry.find(callID: "1.0")?.openLegs == 2)
    }

    @Test(
        "Snoops, external media, announcers and recorders are no legs",
        arguments: [
            "Snoop/1.0-00000000", "UnicastRTP/127.0.0.1:9-0x7f", "Announcer/ARI-1", "Recorder/ARI-2",
            "CBAnn/9-1",
        ])
    func technical(name: String) throws {
        let playback = Playback()
        try playback.play("StasisStart") {
            $0.name = name; $0.channel = "7.7"; $0.linkedid = "7.7"
        }
        #expect(playback.rows.isEmpty)
        #expect(playback.channelCount == 0)
    }

    @Test("The caller is the first leg that was not dialled, also when an originated leg came first")
    func callerBehindOriginatedLeg() throws {
        let playback = Playback()
        try playback.play("ChannelCreated") { $0.caller = "" }
        try playback.play("ChannelCreated") {
            $0.channel = "1.1"; $0.caller = ""
        }
        try playback.play("Dial")
        try playback.play("StasisStart") { $0.channel = "1.1" }
        try playback.play("ChannelHangupRequest") {
            $0.channel = "1.1"; $0.extra = #","cause":19"#; $0.second = 2
        }
        try playback.play("ChannelDestroyed") {
            $0.extra = #","cause":19"#; $0.second = 3
        }
        try playback.play("ChannelDestroyed") {
            $0.channel = "1.1"; $0.extra = #","cause":19"#; $0.second = 3
        }
        let record = try #require(playback.rows["1.0"])
        #expect(record.callerNumber.string == "79161234567")
        #expect(record.outcome == .abandoned)
    }

    @Test("What ended is forgotten after a while, merged calls included; nothing stays behind")
    func forgetting() throws {
        let playback = Playback()
        for number in 0..<200 {
            let (first, second) = ("\(number).1", "\(number).2")
            try playback.play("StasisStart") {
                $0.channel = first; $0.linkedid = first
            }
            try playback.play("StasisStart") {
                $0.channel = second; $0.linkedid = second
            }
            try playback.play("ChannelEnteredBridge") {
                $0.channel = second; $0.linkedid = first
            }
            try playback.play("ChannelHangupRequest") {
                $0.channel = first; $0.linkedid = first
            }
            try playback.play("StasisEnd") {
                $0.channel = first; $0.linkedid = first
            }
            try playback.play("ChannelDestroyed") {
                $0.channel = second; $0.linkedid = first
            }
            try playback.play("ChannelDestroyed") {
                $0.channel = first; $0.linkedid = first
            }
        }
        playback.sweep()
        #expect(playback.channelCount == 400)
        #expect(playback.registry.count == 400)
        playback.now += CallGraph.linger + 1
        playback.sweep()
        #expect(playback.channelCount == 0)
        #expect(playback.callCount == 0)
        #expect(playback.registry.count == 0)
        #expect(playback.counters.active == 0)
    }

    @Test("Live calls are not forgotten, however long they last")
    func longCalls() throws {
        let playback = Playback()
        try playback.play("StasisStart")
        playback.now += CallGraph.linger * 100
        playback.sweep()
        try playback.play("ChannelDestroyed") { $0.second = 59 }
        #expect(playback.rows["1.0"]?.status == .finished)
    }

    @Test("A flood of channels stays within its bound, and known calls go on")
    func flood() throws {
        let playback = Playback(capacity: 64, maximumLegs: 100)
        for number in 0..<1000 {
            try playback.play("ChannelCreated") {
                $0.channel = "f\(number)"; $0.linkedid = "f\(number)"
            }
        }
        #expect(playback.channelCount == 100)
        #expect(playback.registry.count == 64)
        #expect(playback.counters.refused == 36)
        try playback.play("ChannelDestroyed") {
            $0.channel = "f3"; $0.linkedid = "f3"
        }
        #expect(playback.rows["f3"]?.status == .finished)
    }

    @Test("A channel that leaves the application and comes back ends later")
    func backIntoStasis() throws {
        let playback = Playback(.applicationOnly)
        try playback.play("StasisStart")
        try playback.play("StasisEnd") { $0.second = 2 }
        try playback.play("StasisStart") { $0.second = 2 }
        try playback.play("StasisEnd") { $0.second = 8 }
        #expect(playback.rows["1.0"]?.endedAt?.formatted() == "2026-11-22T10:00:08Z")
        #expect(playback.counters.finished == 1)
    }

    @Test("After a gap: gone channels end their calls, marked as estimated; new ones begin; known ones go on")
    func reconcile() throws {
        let playback = Playback()
        try playback.play("StasisStart")
        try playback.play("StasisStart") {
            $0.channel = "2.0"; $0.linkedid = "2.0"
        }
        playback.connect()
        // Begun after the list was made, told by an event before the list came.
        try playback.play("StasisStart") {
            $0.channel = "4.0"; $0.linkedid = "4.0"
        }
        // Ended after the list was made.
        try playback.play("StasisStart") {
            $0.channel = "5.0"; $0.linkedid = "5.0"
        }
        try playback.play("ChannelDestroyed") {
            $0.channel = "5.0"; $0.linkedid = "5.0"
        }
        try playback.snapshot(
            #"""
            [ {"id":"5.0","name":"PJSIP/c","state":"Up","channelvars":{"CHANNEL(linkedid)":"5.0"}},
              {"id":"2.0","name":"PJSIP/a","state":"Up","channelvars":{"CHANNEL(linkedid)":"2.0"}},
              {"id":"3.0","name":"PJSIP/b {odd]\"","state":"Ring","creationtime":"2026-11-22T09:59:00.000+0000","caller":{"number":"7"}} ]
            """#)
        #expect(playback.rows["1.0"]?.status == .finished)
        #expect(playback.rows["1.0"]?.flags.contains(.estimatedEnd) == true)
        #expect(playback.rows["2.0"]?.status == .answered)
        #expect(playback.rows["3.0"]?.status == .ringing)
        #expect(playback.rows["3.0"]?.startedAt.formatted() == "2026-11-22T09:59:00Z")
        #expect(playback.rows["4.0"]?.status == .ringing)
        #expect(playback.rows["5.0"]?.status == .finished)
        #expect(playback.rows["5.0"]?.answeredAt == nil)
        #expect(playback.registry.find(callID: "5.0")?.openLegs == 0)
        #expect(throws: JSONError.self) { try playback.snapshot("{}") }
        #expect(throws: JSONError.self) { try playback.snapshot("[{]") }
    }
}
