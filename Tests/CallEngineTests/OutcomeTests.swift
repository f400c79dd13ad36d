import CallEngine
import Protocols
import Testing

@Suite("Outcome: answer, dial status, Q.850 cause, who hung up")
struct OutcomeTests {
    private func unanswered(
        context: String, dialStatus: String? = nil, cause: Int, hangup: (cause: Int, soft: Bool)? = nil
    ) throws -> CallOutcome? {
        let playback = Playback()
        try playback.play("StasisStart") { $0.context = context }
        if let dialStatus {
            try playback.play("Dial") {
                $0.channel = "1.1"
                $0.context = context
                $0.dialedBy = "1.0"
                $0.extra = #","dialstatus":"\#(dialStatus)""#
            }
            try playback.play("ChannelDestroyed") {
                $0.channel = "1.1"; $0.context = context; $0.extra = #","cause":0"#
            }
        }
        if let hangup {
            try playback.play("ChannelHangupRequest") {
                $0.context = context
                $0.extra = #","cause":\#(hangup.cause)\#(hangup.soft ? #","soft":true"# : "")"#
            }
        }
        try playback.play("ChannelDestroyed") {
            $0.context = context; $0.extra = #","cause":\#(cause)"#
        }
        return playback.rows["1.0"]?.outcome
    }

    @Test(
        "Dial status first, refined by the cause that Asterisk folded into NOANSWER",
        arguments: [
            ("BUSY", 16, CallOutcome.busy), ("NOANSWER", 16, .noAnswer), ("NOANSWER", 21, .rejected),
            ("NOANSWER", 1, .numberInvalid), ("CONGESTION", 16, .congestion),
            ("CHANUNAVAIL", 16, .unavailable),
            ("CHANUNAVAIL", 20, .unavailable), ("DONTCALL", 16, .rejected), ("CANCEL", 16, .abandoned),
            ("NOANSWER", 17, .busy), ("CONGESTION", 34, .congestion),
        ])
    func dialStatus(status: String, cause: Int, expected: CallOutcome) throws {
        #expect(try unanswered(context: "from-external", dialStatus: status, cause: cause) == expected)
    }

    @Test(
        "Without a dial the Q.850 cause decides",
        arguments: [
            (17, CallOutcome.busy), (21, .rejected), (1, .numberInvalid), (22, .numberInvalid),
            (28, .numberInvalid),
            (3, .unavailable), (20, .unavailable), (27, .unavailable), (34, .congestion), (38, .congestion),
            (41, .congestion), (42, .congestion), (58, .failed), (102, .failed),
        ])
    func cause(cause: Int, expected: CallOutcome) throws {
        #expect(try unanswered(context: "from-external", cause: cause) == expected)
    }

    @Test(
        "The caller who leaves abandons an inbound call and cancels an outbound one",
        arguments: [0, 16, 18, 19])
    func callerLeaves(cause: Int) throws {
        #expect(try unanswered(context: "from-external", cause: cause, hangup: (cause, false)) == .abandoned)
        #expect(try unanswered(context: "from-internal", cause: cause, hangup: (cause, false)) == .cancelled)
        #expect(try unanswered(context: "from-internal", dialStatus: "CANCEL", cause: cause) == .cancelled)
    }

    @Test("A call that the dialplan or an application ends unanswered was not answered")
    func systemEnds() throws {
        #expect(try unanswered(context: "from-external", cause: 0, hangup: (32, true)) == .noAnswer)
    }

    @Test("A machine's Up is no answer of a person, whatever the cause; the contract's status has it")
    func machine() throws {
        let playback = Playback()
        try playback.play("StasisStart")
        try playback.play("ChannelStateChange") { $0.state = "Up" }
        #expect(playback.rows["1.0"]?.status == .answered)
        try playback.play("ChannelDestroyed") { $0.extra = #","cause":34"# }
        #expect(playback.rows["1.0"]?.outcome == .ivrOnly)
        #expect(playback.rows["1.0"]?.answeredAt != nil)
        #expect(playback.rows["1.0"]?.hangupCause == 34)
    }

    @Test("A soft request's cause is Asterisk's flag mask and never stored")
    func softCause() throws {
        let playback = Playback(.applicationOnly)
        try playback.play("StasisStart")
        try playback.play("ChannelHangupRequest") { $0.extra = #","cause":32,"soft":true"# }
        try playback.play("StasisEnd")
        #expect(playback.rows["1.0"]?.status == .finished)
        #expect(playback.rows["1.0"]?.hangupCause == 0)
    }
}
