/// Makes ARI events as text, with only what a test is about.
struct EventText {
    var type: String
    var channel = "1.0"
    var name = "PJSIP/101-00000001"
    var state = "Ring"
    var linkedid: String? = "1.0"
    var caller = "79161234567"
    var exten = "74950000001"
    var context = "from-external"
    var second = 0
    var extra = ""
    /// Who dials, of `Dial`.
    var dialedBy: String?

    init(_ type: String, _ change: (inout EventText) -> Void = { _ in }) {
        self.type = type
        change(&self)
    }

    private func object(_ id: String) -> String {
        let variables =
            linkedid.map { #","channelvars":{"CHANNEL(linkedid)":"\#($0)","intNum":"","extNum":""}"# } ?? ""
        return #"""
            {"id":"\#(id)","name":"\#(name)","state":"\#(state)","caller":{"name":"","number":"\#(caller)"},"connected":{"name":"","number":""},"dialplan":{"context":"\#(context)","exten":"\#(exten)","priority":1}\#(variables)}
            """#
    }

    var text: String {
        let time = "2026-11-22T10:00:\(second < 10 ? "0" : "")\(second).000+0000"
        let subject = type == "Dial" ? "peer" : "channel"
        let dialing = dialedBy.map { #","caller":\#(object($0))"# } ?? ""
        return
            #"{"type":"\#(type)","timestamp":"\#(time)","\#(subject)":\#(object(channel))\#(dialing)\#(extra)}"#
    }
}

extension Playback {
    /// Plays one made event.
    func play(_ type: String, _ change: (inout EventText) -> Void = { _ in }) throws {
        try play(text: EventText(type, change).text)
    }
}
