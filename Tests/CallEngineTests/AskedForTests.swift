import CallEngine
import Testing

@Suite("Calls that the CRM asked for")
struct AskedForTests {
    private static func told(_ recording: String, channel: String, as id: String) throws -> [String] {
        let playback = Playback()
        for text in try Recordings.events(recording) {
            try playback.play(text: text.replacing(channel, with: id))
        }
        return playback.actions.compactMap { action in
            switch action {
            case .register(let call): "register \(call.callID) \(call.outcome)"
            case .finish(let call): "finish \(call.callID) \(call.outcome)"
            case .telephones: nil
            }
        }
    }

    @Test(
        "an employee's telephone that nobody took: known to the CRM by the call's id, so it is told of the end; else not"
    )
    func operatorSilent() throws {
        let recording = "office-22/click-to-call-operator-silent"
        let id = "\(CRMCall.askedForMark)1f"
        let told = try Self.told(recording, channel: "1795363606.145", as: id)
        #expect(told.count == 2 && told.allSatisfy { $0.contains(id) }, "\(told)")
        #expect(told.first?.hasPrefix("register") == true && told.last?.hasPrefix("finish") == true)
        #expect(try Self.told(recording, channel: "1795363606.145", as: "1795363606.145").isEmpty)
    }
}
