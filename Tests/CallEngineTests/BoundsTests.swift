import CallEngine
import Protocols
import Testing

@Suite("Merges taken back, large calls, floods: what is bounded stays so")
struct BoundsTests {
    // MARK: Merges taken back

    /// A channel without linkedid enters a bridge.
    private func enter(_ playback: Playback, _ channel: String, _ bridge: String, second: Int) throws {
        try playback.play("ChannelEnteredBridge") {
            $0.channel = channel
            $0.linkedid = nil
            $0.state = "Up"
            $0.second = second
            $0.extra =
                #","bridge":{"id":"\#(bridge)","bridge_type":"mixing","bridge_class":"basic","creator":""}"#
        }
    }

    private func playback(of channels: [String]) throws -> Playback {
        let playback = Playback()
        for (number, channel) in channels.enumerated() {
            try playback.play("ChannelCreated") {
                $0.channel = channel
                $0.linkedid = nil
                $0.second = number
            }
        }
        return playback
    }

    private func destroy(_ playback: Playback, _ channel: String, second: Int) throws {
        try playback.play("ChannelDestroyed") {
            $0.channel = channel
            $0.linkedid = nil
            $0.second = second
            $0.extra = #","cause":16"#
        }
    }

    @Test(
        "Two on a bridge that nothing else joins are one call; a third makes it a room, and each is a call again"
    )
    func room() throws {
        let playback = try playback(of: ["1.0", "1.1", "1.2"])
        try enter(playback, "1.0", "b", second: 4)
        try enter(playback, "1.1", "b", second: 5)
        #expect(playback.merged == ["1.1"])
        #expect(playback.counters.merged == 1 && playback.counters.active == 2)
        try enter(playback, "1.2", "b", second: 6)
        #expect(playback.merged.isEmpty)
        #expect(playback.counters.merged == 0 && playback.counters.split == 1)
        #expect(playback.counters.active == 3)
        for id in ["1.0", "1.1", "1.2"] {
            let record = try #require(playback.rows[id])
            #expect(record.status == .answered && record.endedAt == nil && record.outcome == .none)
            #expect(playback.registry.find(callID: id)?.openLegs == 1)
        }
        for (number, id) in ["1.1", "1.0", "1.2"].enumerated() {
            try destroy(playback, id, second: 10 + number)
        }
        for (id, second) in [("1.0", 11), ("1.1", 10), ("1.2", 12)] {
            let record = try #require(playback.rows[id])
            #expect(record.status == .finished && !record.flags.contains(.merged))
            #expect(record.endedAt?.formatted() == "2026-11-22T10:00:\(second)Z")
            #expect(playback.details[id]?.legs.count == 1)
        }
        #expect(playback.counters.finished == 3 && playback.counters.active == 0)
    }

    @Test("A merge is taken back also when the merged call's channels are gone by then")
    func roomAfterTheEnd() throws {
        let playback = try playback(of: ["1.0", "1.1", "1.2"])
        try enter(playback, "1.0", "b", second: 4)
        try enter(playback, "1.1", "b", second: 5)
        // Its other channel stays in the bridge and holds what is known of it.
        try enter(playback, "1.2", "b", second: 6)
        try destroy(playback, "1.1", second: 7)
        let record = try #require(playback.rows["1.1"])
        #expect(record.status == .finished && !record.flags.contains(.merged))
        #expect(record.endedAt?.formatted() == "2026-11-22T10:00:07Z")
        #expect(playback.rows["1.0"]?.status == .answered)
        try destroy(playback, "1.0", second: 8)
        try destroy(playback, "1.2", second: 9)
        #expect(playback.counters.active == 0)
        playback.sweep()
        playback.now += 2 * CallGraph.linger
        playback.sweep()
        #expect(playback.callCount == 0 && playback.channelCount == 0 && playback.bridgeCount == 0)
    }

    @Test("A merge is taken back with the legs that are left, not with those it came with")
    func roomWithFewerLegs() throws {
        let playback = try playback(of: ["1.0", "1.1", "1.2"])
        try playback.play("Dial") {
            $0.channel = "1.3"
            $0.linkedid = nil
            $0.dialedBy = "1.1"
            $0.second = 3
            $0.extra = #","dialstatus":"""#
        }
        try enter(playback, "1.0", "b", second: 4)
        try enter(playback, "1.1", "b", second: 5)
        try destroy(playback, "1.3", second: 5)
        try enter(playback, "1.2", "b", second: 6)
        #expect(playback.counters.split == 1)
        #expect(playback.registry.find(callID: "1.1")?.openLegs == 1)
        #expect(playback.registry.find(callID: "1.0")?.openLegs == 1)
        try destroy(playback, "1.1", second: 7)
        #expect(playback.rows["1.1"]?.status == .finished)
        #expect(playback.rows["1.0"]?.status == .answered)
        try destroy(playback, "1.0", second: 8)
        try destroy(playback, "1.2", second: 9)
        #expect(playback.counters.active == 0)
    }

    @Test("A chain of calls, each becoming part of an older one, stays within its bound, and all of it ends")
    func longChain() throws {
        let playback = Playback()
        let count = 1000
        func id(_ number: Int) -> String { "chain-\(String(number + 10_000))" }
        for number in 0..<count {
            try playback.play("ChannelCreated") {
                $0.channel = id(number)
                $0.linkedid = id(number)
            }
        }
        // From the youngest on: the longest way to the survivor that merging can make.
        for number in (1..<count).reversed() {
            try playback.play("ChannelStateChange") {
                $0.channel = id(number)
                $0.linkedid = id(number - 1)
            }
        }
        #expect(playback.counters.merged > 200 && playback.counters.merged < count)
        for number in 0..<count {
            try playback.play("ChannelDestroyed") {
                $0.channel = id(number)
                $0.linkedid = id(max(0, number - 1))
                $0.extra = #","cause":16"#
            }
        }
        #expect(playback.counters.active == 0)
        #expect(playback.rows.values.allSatisfy { $0.status == .finished })
        for _ in 0..<2 {
            playback.now += 2 * CallGraph.linger
            playback.sweep()
        }
        #expect(playback.channelCount == 0 && playback.callCount == 0)
    }

    @Test("What their linkedid joins stays joined, whoever comes to the bridge")
    func namedStayJoined() throws {
        let playback = Playback()
        for (channel, linkedid) in [("1.0", "1.0"), ("1.1", "1.1"), ("1.2", "1.2")] {
            try playback.play("ChannelCreated") {
                $0.channel = channel
                $0.linkedid = linkedid
            }
        }
        for (channel, second) in [("1.0", 1), ("1.1", 2), ("1.2", 3)] {
            try playback.play("ChannelEnteredBridge") {
                $0.channel = channel
                $0.state = "Up"
                $0.second = second
                $0.extra = #","bridge":{"id":"b","bridge_type":"mixing","bridge_class":"basic","creator":""}"#
            }
        }
        #expect(playback.merged == ["1.1", "1.2"])
        #expect(playback.counters.split == 0)
    }

    // MARK: A large call

    @Test("A call of 1,000 legs costs each of its events a bounded number of steps")
    func thousandLegs() throws {
        let playback = Playback()
        var most = 0
        func step(_ type: String, _ change: (inout EventText) -> Void) throws {
            let before = playback.steps
            try playback.play(type) {
                $0.second = 1
                change(&$0)
            }
            most = max(most, playback.steps - before)
        }
        try step("ChannelCreated") { _ in }
        let phones = (1..<1000).map { "1.\($0)" }
        for phone in phones {
            try step("ChannelCreated") { $0.channel = phone }
            try step("Dial") {
                $0.channel = phone
                $0.dialedBy = "1.0"
                $0.extra = #","dialstatus":"""#
            }
            try step("ChannelStateChange") {
                $0.channel = phone
                $0.state = "Ringing"
            }
        }
        let cost = most
        #expect(cost <= 32, "\(cost) steps")
        most = 0
        // One answers: what the conversation is made of is derived once.
        let bridge = #","bridge":{"id":"b","bridge_type":"mixing","bridge_class":"basic","creator":""}"#
        for channel in ["1.500", "1.0"] {
            try step("ChannelEnteredBridge") {
                $0.channel = channel
                $0.state = "Up"
                $0.second = 2
                $0.extra = bridge
            }
        }
        #expect(playback.derivations == 1)
        #expect(most <= 2 * 1000 + 32, "\(most) steps")
        most = 0
        for phone in phones where phone != "1.500" {
            try step("ChannelDestroyed") {
                $0.channel = phone
                $0.extra = #","cause":26"#
                $0.second = 3
            }
        }
        #expect(most <= 32, "\(most) steps")
        #expect(playback.derivations == 1)
        for channel in ["1.500", "1.0"] {
            try step("ChannelDestroyed") {
                $0.channel = channel
                $0.extra = #","cause":16"#
                $0.second = 9
            }
        }
        #expect(playback.derivations == 2)
        let details = try #require(playback.details["1.0"])
        #expect(playback.rows["1.0"]?.outcome == .answered)
        #expect(details.legs.count == 1000)
        #expect(details.legs.count { $0.result == .answeredElsewhere } == 998)
        #expect(details.facts.attemptCount == 999)
    }

    @Test("A conference of 1,000 costs each of its events a bounded number of steps")
    func thousandInARoom() throws {
        let playback = Playback()
        var most = 0
        let room =
            #","bridge":{"id":"c","bridge_type":"mixing","bridge_class":"base","creator":"ConfBridge"}"#
        for round in 0..<2 {
            for number in 0..<1000 {
                let before = playback.steps
                try playback.play(round == 0 ? "ChannelEnteredBridge" : "ChannelLeftBridge") {
                    $0.channel = "\(number).0"
                    $0.linkedid = "\(number).0"
                    $0.state = "Up"
                    $0.second = 1 + round
                    $0.extra = room
                }
                most = max(most, playback.steps - before)
            }
        }
        #expect(most <= 32, "\(most) steps")
        #expect(playback.merged.isEmpty && playback.bridgeCount == 0)
    }

    @Test("Of a call with more legs than are kept, ended ones are let go, and it says so")
    func tooManyLegs() throws {
        let playback = Playback()
        try playback.play("ChannelCreated") { _ in }
        for number in 1...(CallGraph.maximumLegsPerCall + 200) {
            try playback.play("Dial") {
                $0.channel = "1.\(number)"
                $0.dialedBy = "1.0"
                $0.extra = #","dialstatus":"""#
            }
            try playback.play("ChannelDestroyed") {
                $0.channel = "1.\(number)"
                $0.extra = #","cause":17"#
            }
        }
        playback.now += 2 * CallGraph.linger
        playback.sweep()
        #expect(playback.channelCount <= CallGraph.maximumLegsPerCall + 1)
        try playback.play("ChannelDestroyed") { $0.extra = #","cause":17"# }
        #expect(playback.details["1.0"]?.facts.isIncomplete == true)
        #expect(playback.rows["1.0"]?.outcome == .busy)
    }

    // MARK: Floods

    @Test(
        "A flood of unknown channels by every kind of event stays within the bounds",
        arguments: 1...4 as ClosedRange<UInt64>)
    func flood(seed: UInt64) throws {
        let playback = Playback(capacity: 64, maximumLegs: 120)
        var chance = SeededGenerator(seed: seed)
        let types = [
            "ChannelCreated", "ChannelStateChange", "Dial", "ChannelEnteredBridge", "ChannelLeftBridge",
            "ChannelHangupRequest", "ChannelDestroyed", "ChannelHold", "BridgeAttendedTransfer",
            "BridgeBlindTransfer", "StasisStart", "StasisEnd",
        ]
        for number in 0..<1200 {
            let type = types[Int(chance.next() % UInt64(types.count))]
            let id = "f\(chance.next() % 700)"
            try playback.play(type) {
                $0.channel = id
                $0.name =
                    number % 3 == 0 ? "Local/x@y-\(chance.next() % 500);\(1 + chance.next() % 2)" : "PJSIP/x"
                $0.linkedid = number % 5 == 0 ? nil : "f\(chance.next() % 700)"
                $0.state = number % 2 == 0 ? "Up" : "Ringing"
                $0.second = number % 60
                if type == "Dial" { $0.dialedBy = "f\(chance.next() % 700)" }
                if type.contains("Bridge") {
                    $0.extra =
                        #","bridge":{"id":"b\#(chance.next() % 300)","bridge_type":"mixing","bridge_class":"basic","creator":""}"#
                }
            }
            playback.now += 5_000_000
            if number % 100 == 0 { playback.sweep() }
            #expect(playback.channelCount <= 120)
            #expect(playback.callCount <= 64)
            #expect(playback.bridgeCount <= 120)
        }
        // All of it can be forgotten again.
        for number in 0..<700 {
            try playback.play("ChannelDestroyed") {
                $0.channel = "f\(number)"
                $0.linkedid = nil
            }
        }
        for _ in 0..<4 {
            playback.now += 2 * CallGraph.linger
            playback.sweep()
        }
        #expect(playback.channelCount == 0 && playback.callCount == 0 && playback.bridgeCount == 0)
        #expect(playback.counters.active == 0)
    }
}
