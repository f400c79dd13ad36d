import CallEngine
import Protocols
import Testing

/// A REFER to a channel that an application has (Asterisk 22.3 and newer, `PJSIP_TRANSFER_HANDLING()=ari-only`); shapes as in
/// Asterisk's rest-api/events.json.
@Suite("A REFER that an application carries out")
struct ReferTests {
    private static func channel(_ id: String, _ number: String, _ linkedid: String) -> String {
        #"{"id":"\#(id)","name":"PJSIP/\#(number)-\#(id)","state":"Up","caller":{"name":"","number":"\#(number)"},"#
            + #""connected":{"name":"","number":""},"dialplan":{"context":"c","exten":"s","priority":1},"#
            + #""channelvars":{"CHANNEL(linkedid)":"\#(linkedid)","intNum":"","extNum":""}}"#
    }

    private static func refer(
        _ second: Int, state: String?, to: String, source: String = channel("1.1", "102", "1.0"),
        connected: String = channel("1.0", "79161234567", "1.0")
    ) -> String {
        let told = state.map { #""state":"\#($0)","# } ?? ""
        return
            #"{"type":"ChannelTransfer","timestamp":"2026-11-22T10:00:\#(second).000+0000",\#(told)"refer_to":\#(to),"#
            + #""referred_by":{"source_channel":\#(source),"connected_channel":\#(connected),"bridge":{"id":"b1"}}}"#
    }

    private static let blind =
        #"{"requested_destination":{"destination":"304","additional_protocol_params":[]}}"#

    /// A call of a customer with 102.
    private func talking() throws -> Playback {
        let playback = Playback()
        try playback.play("StasisStart")
        try playback.play("Dial") {
            $0.channel = "1.1"; $0.dialedBy = "1.0"; $0.name = "PJSIP/102-1.1"; $0.second = 1
            $0.extra = #","dialstatus":"","dialstring":"102""#
        }
        for id in ["1.0", "1.1"] {
            try playback.play("ChannelEnteredBridge") {
                $0.channel = id; $0.state = "Up"; $0.second = 3
                $0.extra = #","bridge":{"id":"b1","bridge_type":"mixing"}"#
            }
        }
        return playback
    }

    private func end(_ playback: Playback, _ ids: [String]) throws -> CallDetails {
        for id in ids {
            try playback.play("ChannelDestroyed") {
                $0.channel = id; $0.linkedid = nil; $0.second = 40; $0.extra = #","cause":16"#
            }
        }
        return try #require(playback.details["1.0"])
    }

    @Test(
        "is a blind transfer by whom it came from, to where it asks",
        arguments: [["", "channel_answered"], [""], ["channel_progress"]])
    func blind(states: [String]) throws {
        let playback = try talking()
        for state in states {
            try playback.play(text: Self.refer(12, state: state.isEmpty ? nil : state, to: Self.blind))
        }
        let details = try end(playback, ["1.0", "1.1"])
        let transfers = details.segments.filter { $0.kind == .transfer }
        #expect(transfers.map { $0.name.string } == ["304"])
        #expect(transfers.map { $0.by.string } == ["102"])
        #expect(transfers.map(\.transfer) == [.refer])
        #expect(transfers.map(\.result) == [.answered])
        #expect(details.facts.transferredTo.string == "304")
        #expect(details.facts.transferredBy.string == "102")
        #expect(details.legs.first { $0.channelID.string == "1.1" }?.roles.contains(.transferer) == true)
    }

    @Test("that is declined was tried and is none", arguments: ["channel_declined", "channel_unavailable"])
    func declined(state: String) throws {
        let playback = try talking()
        try playback.play(text: Self.refer(12, state: nil, to: Self.blind))
        try playback.play(text: Self.refer(14, state: "channel_progress", to: Self.blind))
        try playback.play(text: Self.refer(16, state: state, to: Self.blind))
        let details = try end(playback, ["1.0", "1.1"])
        let transfers = details.segments.filter { $0.kind == .transfer }
        #expect(transfers.map(\.result) == [.failed])
        #expect(details.facts.transferredTo.isEmpty)
        #expect(details.legs.allSatisfy { !$0.roles.contains(.transferer) })
    }

    @Test("two REFERs of one leg are two transfers")
    func twice() throws {
        let playback = try talking()
        let other = #"{"requested_destination":{"destination":"305"}}"#
        try playback.play(text: Self.refer(12, state: nil, to: Self.blind))
        try playback.play(text: Self.refer(13, state: "channel_declined", to: Self.blind))
        try playback.play(text: Self.refer(20, state: nil, to: other))
        try playback.play(text: Self.refer(21, state: "channel_answered", to: other))
        let details = try end(playback, ["1.0", "1.1"])
        let transfers = details.segments.filter { $0.kind == .transfer }
        #expect(transfers.map { $0.name.string } == ["304", "305"])
        #expect(transfers.map(\.result) == [.failed, .answered])
    }

    @Test("with Replaces joins the consultation once it was carried out, and not before")
    func attended() throws {
        let playback = try talking()
        // 102 talks with 305 in a call of their own.
        try playback.play("StasisStart") {
            $0.channel = "2.0"; $0.linkedid = "2.0"; $0.caller = "102"; $0.exten = "305"; $0.second = 10
        }
        try playback.play("Dial") {
            $0.channel = "2.1"; $0.linkedid = "2.0"; $0.dialedBy = "2.0"; $0.name = "PJSIP/305-2.1";
            $0.second = 10
            $0.extra = #","dialstatus":"","dialstring":"305""#
        }
        let to =
            #"{"requested_destination":{"protocol_id":"abc@pbx"},"destination_channel":\#(Self.channel("2.0", "102", "2.0")),"#
            + #""connected_channel":\#(Self.channel("2.1", "305", "2.0"))}"#
        try playback.play(text: Self.refer(15, state: nil, to: to))
        #expect(playback.merged.isEmpty)
        try playback.play(text: Self.refer(17, state: "channel_answered", to: to))
        #expect(playback.merged == ["2.0"])
        let details = try end(playback, ["1.0", "1.1", "2.0", "2.1"])
        let transfer = try #require(details.segments.first { $0.kind == .transfer })
        #expect(transfer.name.string == "305", "where no number was asked for, whom it came to")
        #expect(details.legs.first { $0.channelID.string == "2.1" }?.roles.contains(.target) == true)
        #expect(details.legs.first { $0.channelID.string == "2.1" }?.cameFrom.string == "2.0")
    }
}
