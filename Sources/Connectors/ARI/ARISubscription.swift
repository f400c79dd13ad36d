import Protocols

/// What the PBX is asked after a connection, in this order: requests and what answers mean.
///
/// Filter before subscription, so that nothing unfiltered comes; both are read back, since what counts is what the PBX
/// took; the lists last, so that no call that began before the subscription is missed. Each connection begins empty on
/// Asterisk 22, so all of it is repeated.
enum ARISubscriptionStep: Sendable, CaseIterable {
    case putFilter, subscribe, readBack, clock, information, listChannels, listBridges

    /// The steps of a kind of subscription.
    static func steps(for subscription: ARIConfiguration.Subscription) -> [ARISubscriptionStep] {
        switch subscription {
        case .calls: allCases
        // Nothing is to be put; calls run all the same, in our application alone or in the whole PBX.
        case .all, .app: [.clock, .information, .listChannels, .listBridges]
        }
    }

    /// Types of events that make up a call's life.
    ///
    /// BridgeEnter, DeviceStateChanged and the like are left
    /// out: the first does not exist in ARI, the others cost Asterisk more than all the rest.
    static let allowedTypes = [
        "StasisStart", "StasisEnd", "ChannelCreated", "ChannelDestroyed", "ChannelStateChange", "Dial",
        "ChannelEnteredBridge", "ChannelLeftBridge", "ChannelHangupRequest", "ChannelHold", "ChannelUnhold",
        "BridgeBlindTransfer", "BridgeAttendedTransfer", "ApplicationReplaced",
    ]

    /// Body of the request for the filter.
    static let filterBody = Array(
        ("{\"allowed\":[" + allowedTypes.map { "{\"type\":\"\($0)\"}" }.joined(separator: ",") + "]}").utf8)

    /// Method and path below `/ari`; `app` is percent-encoded already.
    func request(app: String) -> (method: String, path: String) {
        switch self {
        case .putFilter: ("PUT", "/applications/\(app)/eventFilter")
        case .subscribe: ("POST", "/applications/\(app)/subscription?eventSource=channel:,bridge:")
        case .readBack: ("GET", "/applications/\(app)")
        case .clock: ("GET", "/asterisk/ping")
        case .information: ("GET", "/asterisk/info?only=status,system")
        case .listChannels: ("GET", "/channels")
        case .listBridges: ("GET", "/bridges")
        }
    }

    /// What an answer means.
    enum Verdict: Equatable {
        case done
        /// Not possible with this Asterisk; go on without, and say so.
        case unsupported(String)
        /// Try again later; the text says what to change.
        case failed(String)
    }

    /// Reads an answer.
    ///
    /// - Parameters:
    ///   - user: Named in the text, for the operator to find it.
    ///   - message: The answer's body, in which Asterisk says what it did not find.
    func verdict(status: Int, message: String, user: String) -> Verdict {
        let request = request(app: "…")
        let what = "\(request.method) \(request.path.prefix { $0 != "?" })"
        switch status {
        case 200..<300: return .done
        case 401:
            return .failed("\(what): 401, wrong user or password; check ARI_USER and ARI_PASSWORD")
        // Before 13.26 and 16.3 there is no ping; the clock is then read off the events.
        case 404 where self == .clock: return .done
        case _ where self == .information:
            return .unsupported("\(what): status \(status); a restart of the PBX is not noticed")
        case 403:
            return .failed(
                "\(what): 403, ARI user '\(user)' may only read; set read_only = no for it in ari.conf")
        case 404 where self == .putFilter && message.contains("Resource not found"):
            return .unsupported(
                "this Asterisk has no event filter (before 13.26 and 16.3); all events will come")
        case 404:
            return .failed("\(what): 404, the PBX does not know our application; another reader may have it")
        case 405, 501:
            return self == .putFilter
                ? .unsupported(
                    "this Asterisk has no event filter (before 13.26 and 16.3); all events will come")
                : .failed("\(what): \(status), not supported by this Asterisk")
        default: return .failed("\(what): status \(status)")
        }
    }
}

/// What `GET /applications/{app}` says was taken.
enum ARIReadBack {
    /// What is missing, for a person; `nil` when all of it is there.
    ///
    /// - Parameter isFiltered: The filter was put, so it must show.
    static func problem(in body: [UInt8], isFiltered: Bool) -> String? {
        guard let application = try? JSONValue.parse(body.span.bytes) else {
            return "the PBX described our application in a way we do not understand"
        }
        func texts(_ key: String) -> [String] { (application[key]?.array ?? []).compactMap(\.string) }
        // Asterisk names "all" by the topic it subscribes to; a list of single ids is not all.
        for (key, source) in [("channel_ids", "channels"), ("bridge_ids", "bridges")]
        where !texts(key).contains(where: { $0.hasSuffix("_ALL_TOPIC") }) {
            return "the PBX took our subscription and does not show it: \(source) are missing"
        }
        guard isFiltered else { return nil }
        let allowed = Set((application["events_allowed"]?.array ?? []).compactMap { $0["type"]?.string })
        let missing = ARISubscriptionStep.allowedTypes.filter { !allowed.contains($0) }
        guard missing.isEmpty else {
            return
                "the PBX took our event filter and does not show it: \(missing.joined(separator: ", ")) are missing"
        }
        return nil
    }

    /// What the PBX's clock shows: `GET /asterisk/ping`; `nil` when it cannot be told.
    static func clock(in body: [UInt8]) -> Timestamp? {
        guard let text = try? JSONValue.parse(body.span.bytes)["timestamp"]?.string else { return nil }
        return Timestamp(Array(text.utf8).span.bytes)
    }

    /// When the PBX started, by its own clock: `GET /asterisk/info`.
    static func startupTime(in body: [UInt8]) -> Timestamp? {
        guard let information = try? JSONValue.parse(body.span.bytes),
            let text = information["status"]?["startup_time"]?.string
        else { return nil }
        return Timestamp(Array(text.utf8).span.bytes)
    }
}
