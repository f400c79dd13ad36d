/// Writes scripts: keeps the channels and bridges of an imagined call and renders each event from them.
///
/// Fields and their order are those of Asterisk 22's own events, read off recordings of real calls; the
/// dialplan is `Set, Stasis(app,…), Dial(…)`, with SIP on both sides.
struct ScriptWriter {
    /// A channel as events show it.
    struct Leg {
        let id: TemplateText
        let name: TemplateText
        let created: TemplateText
        /// ARI's `protocol_id` once the channel has one.
        let callID: TemplateText
        var hasCallID = false
        var state = "Down"
        var callerName: TemplateText = ""
        var callerNumber: TemplateText = ""
        var connectedName: TemplateText = ""
        var connectedNumber: TemplateText = ""
        var context: String
        var exten: TemplateText
        var priority = 1
        var app = ""
        var appData: TemplateText = ""
        var intNum: TemplateText = ""
        var extNum: TemplateText = ""
        var isAlive = false
    }

    /// A bridge as events show it.
    struct Bridge {
        let id: TemplateText
        let created: TemplateText
        var members: [Int] = []
        var isOpen = false
    }

    /// The application that the dialplan's Stasis() names.
    let appName: String
    var legs: [Leg] = []
    var bridges: [Bridge]
    var steps: [CallScript.Step] = []
    /// Whether the first channel is in Stasis.
    private var isInStasis = false

    init(appName: String) {
        self.appName = appName
        bridges = [
            Bridge(id: "\(.bridgeA)", created: "\(.bridgeACreated)"),
            Bridge(id: "\(.bridgeB)", created: "\(.bridgeBCreated)"),
        ]
    }

    // MARK: Parts of events

    private func channelVariables(_ leg: Leg) -> TemplateText {
        """
        {"CHANNEL(linkedid)":"\(.channelA)","intNum":"\(leg.intNum)","extNum":"\(leg.extNum)"}
        """
    }

    private func dialplan(_ leg: Leg) -> TemplateText {
        """
        {"context":"\(leg.context)","exten":"\(leg.exten)","priority":\(leg.priority),\
        "app_name":"\(leg.app)","app_data":"\(leg.appData)"}
        """
    }

    func channel(_ index: Int) -> TemplateText {
        let leg = legs[index]
        return """
            {"id":"\(leg.id)","name":"\(leg.name)","state":"\(leg.state)",\
            "protocol_id":"\(leg.hasCallID ? leg.callID : "")",\
            "caller":{"name":"\(leg.callerName)","number":"\(leg.callerNumber)"},\
            "connected":{"name":"\(leg.connectedName)","number":"\(leg.connectedNumber)"},\
            "accountcode":"","dialplan":\(dialplan(leg)),"creationtime":"\(leg.created)","language":"en",\
            "channelvars":\(channelVariables(leg))}
            """
    }

    func bridge(_ index: Int) -> TemplateText {
        let bridge = bridges[index]
        var members: TemplateText = ""
        for (position, member) in bridge.members.enumerated() {
            members = members + (position == 0 ? "" : ",") + "\"\(legs[member].id)\""
        }
        return """
            {"id":"\(bridge.id)","technology":"simple_bridge","bridge_type":"mixing","bridge_class":"basic",\
            "creator":"","name":"","channels":[\(members)],"creationtime":"\(bridge.created)",\
            "video_mode":"none"}
            """
    }

    // MARK: Steps

    /// Appends an event of `kind`: `before` and `fields` stand before and behind `type` and `timestamp`.
    mutating func step(
        _ kind: EventKind, after pause: CallScript.Pause = .milliseconds(0), before: TemplateText = "",
        fields: TemplateText, leg: Int? = nil, marks: CallScript.Marks = [], creates: Int? = nil,
        opensBridge: Int? = nil
    ) {
        var marks = marks
        if marks.contains(.entersStasis) { isInStasis = true }
        if isInStasis, leg == 0 { marks.insert(.ofStasisChannel) }
        if marks.contains(.leavesStasis) { isInStasis = false }
        let body: TemplateText = "{\(before)\"type\":\"\(kind.name)\",\"timestamp\":\"\(.now)\",\(fields),"
        steps.append(
            CallScript.Step(
                kind: kind, pause: pause, marks: marks, creates: creates, opensBridge: opensBridge,
                body: Template(body),
                channels: legs.indices.filter { legs[$0].isAlive }.map { Template(channel($0)) },
                bridges: bridges.indices.filter { bridges[$0].isOpen }.map { Template(bridge($0)) }))
    }

    /// ChannelCreated of the next leg.
    mutating func create(_ leg: Leg, after pause: CallScript.Pause) {
        legs.append(leg)
        let index = legs.count - 1
        legs[index].isAlive = true
        step(
            .channelCreated, after: pause, fields: "\"channel\":\(channel(index))", leg: index,
            creates: index)
        legs[index].hasCallID = true
    }

    mutating func changeState(
        of index: Int, to state: String, after pause: CallScript.Pause, answers: Bool = false
    ) {
        legs[index].state = state
        step(
            .channelStateChange, after: pause, fields: "\"channel\":\(channel(index))", leg: index,
            marks: answers ? .answers : [])
    }

    /// Dial of the dialplan's Dial(): always with `caller`; only the first one has a dial string.
    mutating func dial(
        _ peer: Int, status: String, string: TemplateText = "", after pause: CallScript.Pause
    ) {
        step(
            .dial, after: pause,
            fields: """
                "dialstatus":"\(status)","forward":"","dialstring":"\(string)",\
                "caller":\(channel(0)),"peer":\(channel(peer))
                """, leg: peer)
    }

    mutating func enter(_ index: Int, bridge number: Int, after pause: CallScript.Pause) {
        let opens = !bridges[number].isOpen
        bridges[number].isOpen = true
        bridges[number].members.insert(index, at: 0)
        step(
            .channelEnteredBridge, after: pause,
            fields: "\"bridge\":\(bridge(number)),\"channel\":\(channel(index))", leg: index,
            opensBridge: opens ? number : nil)
    }

    mutating func leave(_ index: Int, bridge number: Int, after pause: CallScript.Pause) {
        bridges[number].members.removeAll { $0 == index }
        if bridges[number].members.isEmpty { bridges[number].isOpen = false }
        step(
            .channelLeftBridge, after: pause,
            fields: "\"bridge\":\(bridge(number)),\"channel\":\(channel(index))", leg: index)
    }

    /// ChannelHangupRequest; `cause` and `soft` stand in front of `type`, as Asterisk has them.
    mutating func requestHangup(
        of index: Int, cause: Int?, soft: Bool = false, after pause: CallScript.Pause
    ) {
        var before: TemplateText = ""
        if let cause { before = "\"cause\":\(cause)," }
        if soft { before = before + "\"soft\":true," }
        step(
            .channelHangupRequest, after: pause, before: before, fields: "\"channel\":\(channel(index))",
            leg: index)
    }

    /// ChannelDestroyed; a channel of the dialplan has left its application by then.
    mutating func destroy(_ index: Int, cause: Int, after pause: CallScript.Pause) {
        if index == 0 {
            legs[0].app = ""
            legs[0].appData = ""
        }
        let text = channel(index)
        legs[index].isAlive = false
        step(
            .channelDestroyed, after: pause,
            fields: """
                "cause":\(cause),"cause_txt":"\(Self.causeText(cause))","channel":\(text)
                """, leg: index)
    }

    /// Asterisk's text for a Q.850 cause (`ast_cause2str`).
    static func causeText(_ cause: Int) -> String {
        switch cause {
        case 16: "Normal Clearing"
        case 17: "User busy"
        case 19: "User alerting, no answer"
        case 21: "Call Rejected"
        case 26: "Answered elsewhere"
        case 127: "Interworking, unspecified"
        default: "Unknown"
        }
    }
}
