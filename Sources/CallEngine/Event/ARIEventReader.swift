public import Protocols

/// Reads ARI events: one validating pass over the JSON, fields as places in it.
///
/// Owned by one loop; what it learns of the order of keys makes the next event cheaper. Allocates nothing per event.
public struct ARIEventReader: ~Copyable {
    private let scanner: JSONFieldScanner

    /// A reader that has learned nothing yet.
    public init() {
        scanner = JSONFieldScanner(ARIFields.plan)
    }

    /// Reads one event.
    ///
    /// - Parameters:
    ///   - payload: The whole text, such as one WebSocket message; borrowed until return.
    ///   - event: Filled in; what the text lacks is absent.
    /// - Throws: `JSONError` with the byte offset when the text is no JSON object that RFC 8259 allows.
    public mutating func read(_ payload: RawSpan, into event: inout ARIEvent) throws(JSONError) {
        let scan = try scanner.scan(payload)
        guard scan.root == .object else { throw JSONError(.unexpectedByte, at: 0) }
        event = ARIEvent()
        event.payloadNeedsRepair = !scan.features.isDisjoint(with: [
            .nulEscape, .loneSurrogate, .extremeNumber,
        ])
        event.duplicateKeys = UInt16(truncatingIfNeeded: scan.duplicateKeys)
        let values = scanner.values
        event.cause = UInt16(
            truncatingIfNeeded: values[ARIFields.Field.cause.rawValue].int64(in: payload) ?? 0)
        if let code = values[ARIFields.Field.techCause.rawValue].int64(in: payload), code >= 300, code < 700 {
            event.techCause = UInt16(code)
        }
        payload.withUnsafeBytes { ARIFields(values: values).fill(&event, $0) }
    }
}

/// Fills an event in with the fields of one scan.
struct ARIFields {
    let values: JSONFieldScanner.Values

    func fill(_ event: inout ARIEvent, _ payload: UnsafeRawBufferPointer) {
        event.type = text(.type)
        event.kind = kind(event.type, payload)
        event.timestamp = time(.timestamp, payload)
        event.isSoftHangup = values[Field.soft.rawValue].kind == .true
        switch event.kind {
        case .dial:
            event.channel = channel(.peer, payload)
            event.caller = channel(.caller, payload)
            event.dialStatus = text(.dialStatus)
            event.dialString = text(.dialString)
            event.replacement = party(.forwarded)
        case .bridgeAttendedTransfer:
            event.channel = channel(.transfererFirstLeg, payload)
            event.secondLeg = party(.transfererSecondLeg)
            event.transferee = party(.transferee)
            event.transferTarget = party(.transferTarget)
            event.replacement = party(.replaceChannel)
            event.transferSucceeded = isText(.result, "Success", payload)
        case .bridgeBlindTransfer:
            event.channel = channel(.channel, payload)
            if !event.channel.isPresent { event.channel = channel(.transferer, payload) }
            event.replacement = party(.replaceChannel)
            event.transferee = party(.transferee)
            event.transferNumber = text(.exten)
            event.transferSucceeded = isText(.result, "Success", payload)
        case .channelTransfer:
            // It names no channel of its own, only who is referred by whom to what.
            event.channel = channel(party(.referSource))
            event.transferee = party(.referConnected)
            event.secondLeg = party(.referReplaced)
            event.transferTarget = party(.referTarget)
            event.transferNumber = text(.referDestination)
            event.transferSucceeded = isText(.state, "channel_answered", payload)
            event.transferIsNew = text(.state).isEmpty
            event.transferFailed =
                isText(.state, "channel_declined", payload) || isText(.state, "channel_unavailable", payload)
        case .stasisStart:
            event.channel = channel(.channel, payload)
            event.replacement = party(.replaceChannel)
        case .channelSnapshot:
            event.channel = channel(.channel, payload)
            // Only a call first met in a list begins with it; reading a time costs as much as a tenth of the scan.
            event.channel.createdAt = time(creationTime, payload)
        default:
            event.channel = channel(.channel, payload)
        }
        event.bridgeID = text(.bridgeID)
        if !event.bridgeID.isEmpty { event.bridgeKind = bridgeKind(payload) }
        if event.kind == .channelVarset {
            event.variable = text(.variable)
            event.value = text(.value)
        }
    }

    // MARK: Fields

    /// Fields outside channels, then `ChannelField.count` for each channel object.
    enum Field: Int, CaseIterable {
        case type, timestamp, cause, soft, dialStatus, variable, value, bridgeID, bridgeType
        case bridgeClass, bridgeCreator, techCause, dialString, result, exten, state, referDestination

        static let names: [[String]] = [
            ["type"], ["timestamp"], ["cause"], ["soft"], ["dialstatus"], ["variable"], ["value"],
            ["bridge", "id"], ["bridge", "bridge_type"], ["bridge", "bridge_class"], ["bridge", "creator"],
            ["tech_cause"], ["dialstring"], ["result"], ["exten"], ["state"],
            ["refer_to", "requested_destination", "destination"],
        ]
    }

    /// Channels of which only the identity matters.
    private enum PartyObject: Int, CaseIterable {
        case forwarded, replaceChannel, transferee, transfererSecondLeg, transferTarget
        case referSource, referConnected, referReplaced, referTarget

        var path: [String] {
            switch self {
            case .forwarded: ["forwarded"]
            case .replaceChannel: ["replace_channel"]
            case .transferee: ["transferee"]
            case .transfererSecondLeg: ["transferer_second_leg"]
            case .transferTarget: ["transfer_target"]
            case .referSource: ["referred_by", "source_channel"]
            case .referConnected: ["referred_by", "connected_channel"]
            case .referReplaced: ["refer_to", "destination_channel"]
            case .referTarget: ["refer_to", "connected_channel"]
            }
        }

        static let names: [[String]] = [
            ["id"], ["name"], ["linkedid"], ["channelvars", "CHANNEL(linkedid)"],
        ]
    }

    private enum ChannelObject: Int, CaseIterable {
        case channel, peer, caller, transfererFirstLeg, transferer

        var name: String {
            switch self {
            case .channel: "channel"
            case .peer: "peer"
            case .caller: "caller"
            case .transfererFirstLeg: "transferer_first_leg"
            case .transferer: "transferer"
            }
        }
    }

    private enum ChannelField: Int, CaseIterable {
        case id, name, state, linkedid, creationtime, callerNumber, callerName, connectedNumber, context,
            exten
        case linkedidVariable, intNum, extNum, callerIDVariable, extenVariable, application, applicationData

        static let names: [[String]] = [
            ["id"], ["name"], ["state"], ["linkedid"], ["creationtime"], ["caller", "number"],
            ["caller", "name"],
            ["connected", "number"], ["dialplan", "context"], ["dialplan", "exten"],
            ["channelvars", "CHANNEL(linkedid)"], ["channelvars", "intNum"], ["channelvars", "extNum"],
            ["channelvars", "CALLERID(num)"], ["channelvars", "EXTEN"], ["dialplan", "app_name"],
            ["dialplan", "app_data"],
        ]
    }

    private var creationTime: Int { Field.allCases.count + ChannelField.creationtime.rawValue }

    static let plan: JSONFieldPlan = {
        var paths = Field.names
        for object in ChannelObject.allCases {
            for name in ChannelField.names { paths.append([object.name] + name) }
        }
        for object in PartyObject.allCases {
            for name in PartyObject.names { paths.append(object.path + name) }
        }
        return JSONFieldPlan(paths)
    }()

    @inline(__always)
    private func text(_ index: Int) -> ARIText {
        let field = values[index]
        guard field.kind == .string else { return ARIText() }
        return ARIText(offset: field.offset, count: field.count, hasEscapes: field.hasEscapes)
    }

    @inline(__always)
    private func text(_ field: Field) -> ARIText { text(field.rawValue) }

    private func channel(_ object: ChannelObject, _ payload: UnsafeRawBufferPointer) -> ARIChannel {
        let base = Field.allCases.count + object.rawValue * ChannelField.allCases.count
        var channel = ARIChannel()
        channel.id = text(base + ChannelField.id.rawValue)
        channel.name = text(base + ChannelField.name.rawValue)
        guard channel.isPresent else { return channel }
        channel.state = state(text(base + ChannelField.state.rawValue), payload)
        channel.linkedID = text(base + ChannelField.linkedid.rawValue)
        if channel.linkedID.isEmpty { channel.linkedID = text(base + ChannelField.linkedidVariable.rawValue) }
        channel.callerNumber = text(base + ChannelField.callerNumber.rawValue)
        channel.callerName = text(base + ChannelField.callerName.rawValue)
        channel.connectedNumber = text(base + ChannelField.connectedNumber.rawValue)
        channel.context = text(base + ChannelField.context.rawValue)
        channel.exten = text(base + ChannelField.exten.rawValue)
        channel.internalNumber = text(base + ChannelField.intNum.rawValue)
        channel.externalNumber = text(base + ChannelField.extNum.rawValue)
        channel.callerIDVariable = text(base + ChannelField.callerIDVariable.rawValue)
        channel.extenVariable = text(base + ChannelField.extenVariable.rawValue)
        channel.application = text(base + ChannelField.application.rawValue)
        channel.applicationData = text(base + ChannelField.applicationData.rawValue)
        return channel
    }

    /// A channel of which the event tells no more than who it is.
    private func channel(_ party: ARIParty) -> ARIChannel {
        var channel = ARIChannel()
        channel.id = party.id
        channel.name = party.name
        channel.linkedID = party.linkedID
        return channel
    }

    private func party(_ object: PartyObject) -> ARIParty {
        let channels = ChannelObject.allCases.count * ChannelField.allCases.count
        let base = Field.allCases.count + channels + object.rawValue * PartyObject.names.count
        var party = ARIParty()
        party.id = text(base)
        party.name = text(base + 1)
        party.linkedID = text(base + 2)
        if party.linkedID.isEmpty { party.linkedID = text(base + 3) }
        return party
    }

    /// Reads what a bridge is for: Asterisk's own words for its type, class and creator.
    private func bridgeKind(_ payload: UnsafeRawBufferPointer) -> BridgeKind {
        if isText(.bridgeClass, "parking", payload) || isText(.bridgeCreator, "Parking", payload) {
            return .parking
        }
        if isText(.bridgeType, "holding", payload) { return .holding }
        return isText(.bridgeCreator, "ConfBridge", payload) ? .conference : .talking
    }

    private func bytes(_ text: ARIText, _ payload: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: payload[Int(text.offset)..<Int(text.offset) + Int(text.count)])
    }

    private func time(_ field: Field, _ payload: UnsafeRawBufferPointer) -> Timestamp? {
        time(field.rawValue, payload)
    }

    private func time(_ index: Int, _ payload: UnsafeRawBufferPointer) -> Timestamp? {
        let text = text(index)
        guard !text.isEmpty, !text.hasEscapes else { return nil }
        return Timestamp(bytes(text, payload).bytes)
    }

    private func isText(_ field: Field, _ expected: StaticString, _ payload: UnsafeRawBufferPointer) -> Bool {
        let text = text(field)
        return !text.isEmpty && bytes(text, payload).elementsEqual(expected.bytes)
    }

    private func state(_ text: ARIText, _ payload: UnsafeRawBufferPointer) -> ChannelState {
        let name = bytes(text, payload)
        // The five that matter differ in length or first letter (Asterisk main/channel.c, ast_state2str).
        switch (name.count, name.first) {
        case (2, 0x55): return .up
        case (4, 0x44): return .down
        case (4, 0x52): return .ring
        case (7, 0x52): return .ringing
        case (4, 0x42): return .busy
        default: return .unknown
        }
    }

    private func kind(_ text: ARIText, _ payload: UnsafeRawBufferPointer) -> ARIEventKind {
        guard !text.hasEscapes else { return .other }
        return EventKindTable.shared.kind(bytes(text, payload))
    }
}
