extension CallScript {
    /// The script of a call of `kind`, for a dialplan whose Stasis() names `appName`.
    static func make(_ kind: CallKind, customerHangsUp: Bool, appName: String) -> CallScript {
        var writer = ScriptWriter(appName: appName)
        writer.begin(outbound: kind.isOutbound)
        switch kind {
        case .answered, .outbound:
            writer.ringAndAnswer()
            writer.end(customerHangsUp: customerHangsUp, after: .talk)
        case .held:
            writer.ringAndAnswer()
            writer.hold()
            writer.end(customerHangsUp: customerHangsUp, after: .talkThird)
        case .missed:
            writer.ringTwo()
            writer.giveUp(status: "NOANSWER", cause: 19, callerCause: 19, after: .ring)
        case .abandoned:
            writer.ringTwo()
            // A CANCEL is SIP's 487 to Asterisk, which it maps to 127.
            writer.requestHangup(of: 0, cause: 127, after: .ring)
            writer.giveUp(status: "CANCEL", cause: 26, callerCause: 127, after: .milliseconds(1))
        case .busy:
            writer.refuseTwice(status: "BUSY", cause: 17, ringing: false)
        case .rejected:
            writer.refuseTwice(status: "NOANSWER", cause: 21, ringing: true)
        case .blindTransfer:
            writer.ringAndAnswer()
            writer.transferBlindly()
            writer.end(customerHangsUp: customerHangsUp, after: .talkTwoThirds, peer: 2, bridge: 1)
        case .outboundNoAnswer:
            writer.place(1, after: .milliseconds(2))
            writer.ring(1, after: .milliseconds(180))
            writer.giveUp(status: "NOANSWER", cause: 19, callerCause: 19, after: .ring)
        case .outboundBusy:
            writer.place(1, after: .milliseconds(2))
            writer.giveUp(status: "BUSY", cause: 17, callerCause: 17, after: .milliseconds(220))
        }
        return CallScript(kind: kind, customerHangsUp: customerHangsUp, steps: writer.steps)
    }
}

extension ScriptWriter {
    /// The first channel appears, passes through Stasis, and comes to Dial().
    mutating func begin(outbound: Bool) {
        let context = outbound ? "from-internal" : "from-external"
        var leg = Leg(
            id: "\(.channelA)",
            name: outbound ? "PJSIP/\(.agentA)-\(.ordinalA)" : "PJSIP/trunk-\(.ordinalA)",
            created: "\(.createdA)", callID: "\(.callIDA)", context: context, exten: "\(.dialled)")
        leg.state = "Ring"
        leg.callerName = "\(.callerName)"
        leg.callerNumber = "\(.callerNumber)"
        create(leg, after: .milliseconds(0))

        // Set(__intNum=…) or Set(__extNum=…), then Stasis().
        if outbound { legs[0].intNum = "\(.callerNumber)" } else { legs[0].extNum = "\(.callerNumber)" }
        let way = outbound ? "outbound" : "inbound"
        legs[0].priority = 2
        legs[0].app = "Stasis"
        legs[0].appData = "\(appName),\(way),\(.dialled)"
        step(
            .stasisStart, after: .milliseconds(2),
            fields: "\"args\":[\"\(way)\",\"\(.dialled)\"],\"channel\":\(channel(0))", leg: 0,
            marks: .entersStasis)
        step(
            .stasisEnd, after: .stasis, fields: "\"channel\":\(channel(0))", leg: 0,
            marks: .leavesStasis)
        legs[0].priority = 3
        legs[0].app = "Dial"
        legs[0].appData = outbound ? "PJSIP/\(.dialled)@trunk,30" : "PJSIP/\(.agentA)&PJSIP/\(.agentB),20"
    }

    /// Dial() makes the next leg and sends the INVITE.
    mutating func place(_ index: Int, after pause: CallScript.Pause) {
        let isOutbound = legs[0].context == "from-internal" && index == 1 && bridges[0].members.isEmpty
        let agent: TemplateText = index == 1 ? "\(.agentA)" : "\(.agentB)"
        let values: (id: TemplateText, ordinal: TemplateText, created: TemplateText, callID: TemplateText) =
            index == 1
            ? ("\(.channelB)", "\(.ordinalB)", "\(.createdB)", "\(.callIDB)")
            : ("\(.channelC)", "\(.ordinalC)", "\(.createdC)", "\(.callIDC)")
        var leg = Leg(
            id: values.id,
            name: isOutbound ? "PJSIP/trunk-\(values.ordinal)" : "PJSIP/\(agent)-\(values.ordinal)",
            created: values.created, callID: values.callID,
            context: isOutbound ? "from-external" : "from-internal", exten: "s")
        leg.callerNumber = isOutbound ? "" : agent
        create(leg, after: pause)
        legs[index].callerNumber = isOutbound ? "\(.dialled)" : agent
        legs[index].connectedName = legs[0].callerName
        legs[index].connectedNumber = legs[0].callerNumber
        legs[index].exten = legs[0].exten
        legs[index].app = "AppDial"
        legs[index].appData = "(Outgoing Line)"
        legs[index].intNum = legs[0].intNum
        legs[index].extNum = legs[0].extNum
        dial(index, status: "", string: isOutbound ? "\(.dialled)@trunk" : agent, after: .milliseconds(1))
    }

    mutating func ring(_ index: Int, after pause: CallScript.Pause) {
        changeState(of: index, to: "Ringing", after: pause)
        dial(index, status: "RINGING", after: .milliseconds(0))
    }

    /// Leg B rings and is answered; both meet in the first bridge.
    mutating func ringAndAnswer() {
        place(1, after: .milliseconds(2))
        ring(1, after: .milliseconds(40))
        answer(1, bridge: 0, after: .ring, isFirst: true)
    }

    private mutating func answer(
        _ index: Int, bridge: Int, after pause: CallScript.Pause, isFirst: Bool
    ) {
        changeState(of: index, to: "Up", after: pause, answers: isFirst)
        legs[index].exten = ""
        dial(index, status: "ANSWER", after: .milliseconds(0))
        if legs[0].state != "Up" { changeState(of: 0, to: "Up", after: .milliseconds(1)) }
        enter(index, bridge: bridge, after: .milliseconds(1))
        enter(0, bridge: bridge, after: .milliseconds(0))
        legs[0].connectedNumber = legs[index].callerNumber
    }

    /// Both telephones of the ring group ring.
    mutating func ringTwo() {
        place(1, after: .milliseconds(2))
        place(2, after: .milliseconds(1))
        ring(1, after: .milliseconds(40))
        ring(2, after: .milliseconds(8))
    }

    /// Dial() ends without an answer: every leg it made goes, then the caller.
    mutating func giveUp(status: String, cause: Int, callerCause: Int, after pause: CallScript.Pause) {
        for index in 1..<legs.count {
            dial(index, status: status, after: index == 1 ? pause : .milliseconds(0))
        }
        for index in 1..<legs.count { destroy(index, cause: cause, after: .milliseconds(1)) }
        hangUpCaller(cause: callerCause, after: .milliseconds(1))
    }

    /// One telephone after the other refuses.
    mutating func refuseTwice(status: String, cause: Int, ringing: Bool) {
        for index in 1...2 {
            place(index, after: .milliseconds(3))
            if ringing { ring(index, after: .milliseconds(40)) }
            let pause: CallScript.Pause =
                ringing ? (index == 1 ? .ring : .secondRing) : .milliseconds(120)
            dial(index, status: status, after: pause)
            destroy(index, cause: cause, after: .milliseconds(1))
            legs[0].priority += 1
        }
        hangUpCaller(cause: cause, after: .milliseconds(2))
    }

    /// The dialplan of the first channel comes to its end.
    private mutating func hangUpCaller(cause: Int, after pause: CallScript.Pause) {
        requestHangup(of: 0, cause: 16, soft: true, after: pause)
        destroy(0, cause: cause, after: .milliseconds(0))
    }

    /// The telephone puts the customer on hold for a third of the time.
    mutating func hold() {
        step(
            .channelHold, after: .talkThird,
            fields: "\"musicclass\":\"default\",\"channel\":\(channel(1))", leg: 1)
        step(.channelUnhold, after: .talkThird, fields: "\"channel\":\(channel(1))", leg: 1)
    }

    /// Leg B sends the caller on to leg C, after a third of the time.
    mutating func transferBlindly() {
        step(
            .bridgeBlindTransfer, after: .talkThird,
            fields: """
                "channel":\(channel(1)),"exten":"\(.agentB)","context":"from-internal",\
                "result":"Success","is_external":true,"transferee":\(channel(0)),"bridge":\(bridge(0))
                """, leg: 1)
        leave(1, bridge: 0, after: .milliseconds(1))
        leave(0, bridge: 0, after: .milliseconds(0))
        requestHangup(of: 1, cause: 16, after: .milliseconds(3))
        destroy(1, cause: 16, after: .milliseconds(1))
        legs[0].context = "from-internal"
        legs[0].exten = "\(.agentB)"
        legs[0].priority = 1
        legs[0].app = "Dial"
        legs[0].appData = "PJSIP/\(.agentB),20"
        place(2, after: .milliseconds(2))
        ring(2, after: .milliseconds(40))
        answer(2, bridge: 1, after: .secondRing, isFirst: false)
    }

    /// Two people have spoken; one of them hangs up.
    mutating func end(customerHangsUp: Bool, after pause: CallScript.Pause, peer: Int = 1, bridge: Int = 0) {
        let callerIsCustomer = legs[0].extNum.pieces.isEmpty == false
        if callerIsCustomer == customerHangsUp {
            requestHangup(of: 0, cause: 16, after: pause)
            leave(0, bridge: bridge, after: .milliseconds(1))
            leave(peer, bridge: bridge, after: .milliseconds(0))
        } else {
            requestHangup(of: peer, cause: 16, after: pause)
            leave(peer, bridge: bridge, after: .milliseconds(1))
            leave(0, bridge: bridge, after: .milliseconds(0))
        }
        destroy(peer, cause: 16, after: .milliseconds(1))
        hangUpCaller(cause: 16, after: .milliseconds(1))
    }
}
