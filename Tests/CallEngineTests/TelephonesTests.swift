import CallEngine
import Protocols
import Testing

@Suite("At which telephones a call is, for those who show it there")
struct TelephonesTests {
    private static func told(_ recording: String) throws -> [CRMAction] {
        let playback = Playback(RecordedCallsTests.subscription(recording), tellsTelephones: true)
        for event in try Recordings.events(recording) { try playback.play(text: event) }
        return playback.actions
    }

    /// The states of the first call that has any, such as `101,102 102`.
    private static func states(_ recording: String) throws -> String {
        let telephones = try told(recording).compactMap { action -> CRMCall? in
            if case .telephones(let call) = action { call } else { nil }
        }
        return telephones.filter { $0.callID == telephones.first?.callID }
            .map { $0.telephones.joined(separator: ",") }.joined(separator: " ")
    }

    @Test("between register and finish, each another than before", arguments: RecordedCallsTests.told)
    func order(recording: String) throws {
        var last: [String: [String]] = [:]
        var isOver: Set<String> = []
        for action in try Self.told(recording) {
            let call = action.call
            switch action {
            case .register: last[call.callID] = []
            case .telephones:
                #expect(last[call.callID] != nil && !isOver.contains(call.callID), "\(call.callID)")
                #expect(last[call.callID] != call.telephones, "\(call.callID) \(call.telephones)")
                #expect(Set(call.telephones).count == call.telephones.count)
                #expect(call.direction == .inbound)
                last[call.callID] = call.telephones
            case .finish: isOver.insert(call.callID)
            }
        }
    }

    @Test("a group rings, one answers", arguments: Self.groups)
    func group(recording: String, expected: String) throws {
        let states = try Self.states(recording)
        #expect(states == expected)
    }

    /// Read off the recordings' `Dial` events.
    static let groups: [(String, String)] = [
        ("office-22/ring-group-answered", "101 101,102 101,102,103 102,103 102 "),
        ("office-22/ring-group-nobody", "101 101,102 101,102,103 102,103 103 "),
        ("office-22/queue-second-member-answers", "101  102 "),
        ("office-22/blind-transfer-keys", "101  102 "),
        ("office-22/pickup-group", "101 101,103 103"),
    ]

    @Test("nothing is told unless it is asked for")
    func off() throws {
        for recording in RecordedCallsTests.told {
            let actions = try RecordedCallsTests.playback(of: recording).actions
            #expect(!actions.contains { if case .telephones = $0 { true } else { false } })
        }
    }
}

@Suite("A call as one call for each who talked")
struct ConversationsTests {
    private static func time(_ second: Int64) -> Timestamp { Timestamp(seconds: 1_790_000_000 + second) }

    private static func call(
        _ direction: CallDirection, _ talks: [(String, Int64, Int64)]
    ) -> CRMCall {
        var call = CRMCall(
            callID: "1.1", direction: direction, callerNumber: direction == .inbound ? "+7999" : "214",
            calleeNumber: direction == .inbound ? "74950000001" : "+7999", startedAt: time(0),
            answeredAt: time(5), endedAt: time(100), outcome: .answered, hangupCause: 16)
        call.talkStartedAt = time(10)
        call.talkMicroseconds = 80_000_000
        call.talks = talks.map { CRMTalk(number: $0.0, startedAt: time($0.1), endedAt: time($0.2)) }
        return call
    }

    @Test("one who talked, or none: it stays as it is")
    func single() {
        for talks in [[], [("214", 10, 90)], [("214", 10, 40), ("214", 50, 90)]] as [[(String, Int64, Int64)]]
        {
            let call = Self.call(.inbound, talks)
            #expect(call.conversations == [call])
            #expect(CRMAction.finish(call).byConversation == [.finish(call)])
        }
        let missed = Self.call(.inbound, [])
        #expect(CRMAction.register(missed).byConversation == [.register(missed)])
    }

    @Test("handed on: each with their own time, the customer the same")
    func inbound() {
        let call = Self.call(.inbound, [("214", 10, 40), ("215", 40, 70), ("215", 75, 80), ("214", 80, 95)])
        let parts = call.conversations
        #expect(parts.map(\.callID) == ["1.1", "1.1#2", "1.1#3"])
        #expect(parts.map(\.wholeID) == [nil, "1.1", "1.1"])
        #expect(parts.map(\.answeredBy) == ["214", "215", "214"])
        #expect(parts.map(\.calleeNumber) == ["74950000001", "215", "214"])
        #expect(parts.allSatisfy { $0.callerNumber == "+7999" && $0.outcome == .answered })
        #expect(parts.map(\.talkSeconds) == [30, 40, 15])
        #expect(parts.map(\.startedAt) == [Self.time(0), Self.time(40), Self.time(80)])
        #expect(parts.map(\.endedAt) == [Self.time(40), Self.time(80), Self.time(95)])
        let actions = CRMAction.finish(call).byConversation
        #expect(
            actions == [
                .finish(parts[0]), .register(parts[1]), .finish(parts[1]), .register(parts[2]),
                .finish(parts[2]),
            ])
    }

    @Test("out to a customer who is handed on: the first is who called")
    func outbound() {
        let parts = Self.call(.outbound, [("+7999", 10, 40), ("215", 40, 90)]).conversations
        #expect(parts.map(\.answeredBy) == ["214", "215"])
        #expect(parts.map(\.callerNumber) == ["214", "215"])
        #expect(parts.allSatisfy { $0.calleeNumber == "+7999" })
    }

    @Test("however often it was handed on, there is a bound")
    func bound() {
        let talks = (0..<40).map { ("\(200 + $0)", Int64($0), Int64($0 + 1)) }
        let parts = Self.call(.inbound, talks).conversations
        #expect(parts.count == CRMCall.maximumConversations)
        #expect(parts.last?.endedAt == Self.time(40))
    }
}
