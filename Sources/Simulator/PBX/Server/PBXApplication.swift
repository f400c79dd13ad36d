/// A Stasis application as the PBX knows it: who reads it, and what it asked for.
final class PBXApplication {
    let name: String
    /// The reader; `nil` while a replaced one is gone and the next one not there yet.
    var reader: PBXReader?
    /// Types that may pass, one bit each; `nil` when there is no filter.
    private var allowed: UInt32?
    /// The filter as it was put, for `GET /applications/{app}`.
    private var allowedTypes: [String] = []
    var hasChannels = false
    var hasBridges = false
    let subscribesToAll: Bool
    /// Behind every event: `"asterisk_id":"…","application":"…"}`.
    let eventTail: [UInt8]

    init(name: String, subscribesToAll: Bool, asteriskID: String) {
        self.name = name
        self.subscribesToAll = subscribesToAll
        let escaped = name.jsonEscaped
        eventTail = Array("\"asterisk_id\":\"\(asteriskID)\",\"application\":\"\(escaped)\"}".utf8)
    }

    /// Whether an event goes to this application.
    func wants(_ kind: EventKind, isOfStasisChannel: Bool, owner: String) -> Bool {
        if let allowed, allowed & kind.mask == 0 { return false }
        switch kind.audience {
        case .owner: return name == owner
        case .channelSubscribers:
            return subscribesToAll || hasChannels || (isOfStasisChannel && name == owner)
        case .bridgeSubscribers: return subscribesToAll || hasBridges
        }
    }

    /// `PUT /applications/{app}/eventFilter`: only these types from now on; none given lifts the filter.
    func filter(allowing types: [String]) {
        allowedTypes = types
        guard !types.isEmpty else { return allowed = nil }
        allowed = types.compactMap { EventKind(name: $0)?.mask }.reduce(0, |)
    }

    /// The object that ARI answers about an application.
    var json: String {
        let filter = allowedTypes.map { "{\"type\":\"\($0.jsonEscaped)\"}" }.joined(separator: ",")
        return """
            {"name":"\(name.jsonEscaped)","channel_ids":[\(hasChannels ? "\"__AST_CHANNEL_ALL_TOPIC\"" : "")],\
            "bridge_ids":[\(hasBridges ? "\"__AST_BRIDGE_ALL_TOPIC\"" : "")],"endpoint_ids":[],\
            "device_names":[],"events_allowed":[\(filter)],"events_disallowed":[]}
            """
    }
}

extension String {
    /// This text between the quotes of a JSON string.
    var jsonEscaped: String {
        var result = ""
        for scalar in unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\u{0}"..."\u{1F}":
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}
