import CallEngine
import Protocols

/// A channel as an event shows it.
struct ChannelFace {
    var id: String
    var name: String
    var state = "Down"
    var linkedID: String
    var number = ""
    var connected = ""
    var context = ""
    var exten = ""
    var application = ""
    var data = ""
    /// PBX time of its creation, in microseconds.
    var createdAt: Int64 = 0

    /// It, as another event names it.
    var party: PBXEvent.Party { PBXEvent.Party(id: id, linkedID: linkedID) }

    /// As ARI writes it.
    var json: String {
        let plan =
            #""context":"\#(context)","exten":"\#(exten)","priority":1,"#
            + #""app_name":"\#(application)","app_data":"\#(data)""#
        let variables = #""CHANNEL(linkedid)":"\#(linkedID)","intNum":"","extNum":"""#
        return
            #"{"id":"\#(id)","name":"\#(name)","state":"\#(state)","caller":{"name":"","number":"\#(number)"},"#
            + #""connected":{"name":"","number":"\#(connected)"},"accountcode":"","dialplan":{\#(plan)},"#
            + #""creationtime":"\#(PBXEvent.text(createdAt))","language":"en","channelvars":{\#(variables)}}"#
    }
}

/// What a bridge looks like to an event.
struct BridgeFace {
    var id: String
    var kind: BridgeKind = .talking

    /// As ARI writes it; the list's form with its members.
    func json(_ members: [String] = []) -> String {
        let (type, technology, className, creator) =
            switch kind {
            case .talking: ("mixing", "simple_bridge", "basic", "")
            case .conference: ("mixing", "softmix", "base", "ConfBridge")
            case .holding: ("holding", "holding_bridge", "basic", "")
            case .parking: ("holding", "holding_bridge", "parking", "Parking")
            }
        let channels = members.map { "\"\($0)\"" }.joined(separator: ",")
        return #"{"id":"\#(id)","technology":"\#(technology)","bridge_type":"\#(type)","#
            + #""bridge_class":"\#(className)","creator":"\#(creator)","name":"","channels":[\#(channels)]}"#
    }
}

/// One event of the simulated PBX.
struct PBXEvent {
    /// Another channel that it names.
    struct Party {
        var id: String
        var linkedID: String

        var json: String {
            #"{"id":"\#(id)","name":"PJSIP/x","channelvars":{"CHANNEL(linkedid)":"\#(linkedID)"}}"#
        }
    }

    var kind: ARIEventKind
    /// PBX time, whole milliseconds as Asterisk gives it, in microseconds.
    var stamp: Int64 = 0
    var channel: ChannelFace
    /// Who dials.
    var caller: ChannelFace?
    var dialStatus = ""
    var dialString = ""
    var bridge: BridgeFace?
    var cause = 0
    var sipCode = 0
    var isSoft = false
    /// Of transfers: ids of the channels named.
    var secondLeg: Party?
    var transferee: Party?
    var target: Party?
    /// Of a blind transfer the number, of a forwarded Dial the channel.
    var number = ""
    var forwarded: Party?
    /// The play it is of.
    var play = 0

    static func text(_ microseconds: Int64) -> String {
        let text = Timestamp(microseconds: microseconds).formatted(.milliseconds)
        return text.dropLast() + "+0000"
    }

    /// Calls `body` with the event as the engine takes it, its texts in one buffer.
    func withEvent<R>(_ body: (ARIEvent, UnsafeRawBufferPointer) -> R) -> R {
        var texts: [UInt8] = []
        texts.reserveCapacity(512)
        func place(_ text: String) -> ARIText {
            let start = texts.count
            texts.append(contentsOf: text.utf8)
            return ARIText(
                offset: UInt32(start), count: UInt32(texts.count - start), hasEscapes: false)
        }
        func party(_ named: Party?) -> ARIParty {
            var party = ARIParty()
            guard let named else { return party }
            party.id = place(named.id)
            party.linkedID = place(named.linkedID)
            return party
        }
        func face(_ channel: ChannelFace) -> ARIChannel {
            var made = ARIChannel()
            made.id = place(channel.id)
            made.name = place(channel.name)
            made.state = Self.states[channel.state] ?? .unknown
            made.linkedID = place(channel.linkedID)
            made.callerNumber = place(channel.number)
            made.connectedNumber = place(channel.connected)
            made.context = place(channel.context)
            made.exten = place(channel.exten)
            made.application = place(channel.application)
            made.applicationData = place(channel.data)
            return made
        }
        var event = ARIEvent()
        event.kind = kind
        event.timestamp = Timestamp(microseconds: stamp)
        event.channel = face(channel)
        if let caller { event.caller = face(caller) }
        event.dialStatus = place(dialStatus)
        event.dialString = place(dialString)
        if let bridge {
            event.bridgeID = place(bridge.id)
            event.bridgeKind = bridge.kind
        }
        event.cause = UInt16(cause)
        event.techCause = UInt16(sipCode)
        event.isSoftHangup = isSoft
        event.secondLeg = party(secondLeg)
        event.transferee = party(transferee)
        event.transferTarget = party(target)
        event.replacement = party(forwarded)
        event.transferNumber = place(number)
        event.transferSucceeded = kind == .bridgeBlindTransfer || kind == .bridgeAttendedTransfer
        return texts.withUnsafeBytes { body(event, $0) }
    }

    private static let states: [String: ChannelState] = [
        "Down": .down, "Ring": .ring, "Ringing": .ringing, "Up": .up, "Busy": .busy,
    ]

    /// As Asterisk writes it.
    var json: String {
        var text = #"{"type":"\#(kind.typeName)","timestamp":"\#(Self.text(stamp))""#
        switch kind {
        case .dial:
            text += #","peer":\#(channel.json),"dialstatus":"\#(dialStatus)","dialstring":"\#(dialString)""#
            if let caller { text += #","caller":\#(caller.json)"# }
            if let forwarded { text += #","forwarded":\#(forwarded.json)"# }
        case .bridgeAttendedTransfer:
            text += #","transferer_first_leg":\#(channel.json),"result":"Success""#
            if let secondLeg { text += #","transferer_second_leg":\#(secondLeg.json)"# }
            if let transferee { text += #","transferee":\#(transferee.json)"# }
            if let target { text += #","transfer_target":\#(target.json)"# }
        case .bridgeBlindTransfer:
            text += #","channel":\#(channel.json),"exten":"\#(number)","result":"Success""#
            if let transferee { text += #","transferee":\#(transferee.json)"# }
        default:
            text += #","channel":\#(channel.json)"#
        }
        if let bridge { text += #","bridge":\#(bridge.json())"# }
        if cause != 0 { text += #","cause":\#(cause)"# }
        if sipCode != 0 { text += #","tech_cause":\#(sipCode)"# }
        if isSoft { text += #","soft":true"# }
        return text + "}"
    }
}
