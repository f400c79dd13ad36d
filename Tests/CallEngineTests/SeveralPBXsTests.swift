import CallEngine
import Testing

@Suite("Several PBXs: the same unique ids are different calls")
struct SeveralPBXsTests {
    @Test(
        "One recording played by two PBXs, event by event in turn, gives two of each call, one with the prefix"
    )
    func inTurn() throws {
        let single = Playback()
        let both = Playback(prefixes: ["", "branch-"])
        for name in ["asterisk-22/inbound-answered", "office-22/attended-transfer-declined"] {
            for event in try Recordings.events(name) {
                try single.play(text: event)
                for pbx in 0...1 {
                    both.pbx = UInt16(pbx)
                    try both.play(text: event)
                }
            }
        }
        #expect(!single.rows.isEmpty)
        #expect(
            Set(both.rows.keys) == Set(single.rows.keys).union(single.rows.keys.map { "branch-\($0)" }))
        for (id, row) in single.rows {
            for (pbx, name) in [id, "branch-\(id)"].enumerated() {
                let found = try #require(both.rows[name])
                #expect(found.pbx == UInt16(pbx))
                #expect(found.outcome == row.outcome && found.direction == row.direction)
                #expect(found.startedAt == row.startedAt && found.endedAt == row.endedAt)
                #expect(found.eventCount == row.eventCount)
            }
        }
        let ofSecond = both.placements.filter { $0.hasPrefix("branch-") }
        #expect(ofSecond.count * 2 == both.placements.count)
    }

    @Test("An id too long for a record is stored whole, prefix first")
    func longIDs() throws {
        let id = String(repeating: "system-name-", count: 8) + "1795344287.12"
        let playback = Playback(prefixes: ["", "branch-"])
        playback.pbx = 1
        try playback.play("StasisStart") { event in
            event.channel = id
            event.linkedid = id
        }
        try playback.play("ChannelDestroyed") { event in
            event.channel = id
            event.linkedid = id
        }
        #expect(Array(playback.rows.keys) == ["branch-\(id)"])
        #expect(Set(playback.placements) == ["branch-\(id)"])
    }
}
