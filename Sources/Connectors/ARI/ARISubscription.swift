/// What the PBX is asked after a connection, in this order: requests and what answers mean.
///
/// Filter before subscription, so that nothing unfiltered comes; the lists last, so that no call that began
/// before the subscription is missed. Each connection begins empty on Asterisk 22, so all of it is repeated.
enum ARISubscriptionStep: Sendable, CaseIterable {
    case putFilter, subscribe, listChannels, listBridges

    /// The steps of a kind of subscription.
    static func steps(for subscription: ARIConfiguration.Subscription) -> [ARISubscriptionStep] {
        switch subscription {
        case .calls: [.putFilter, .subscribe, .listChannels, .listBridges]
        // An unfiltered reader sees every call as well, so it wants to know of those already running.
        case .all: [.listChannels, .listBridges]
        // Calls outside of our application are none of its business.
        case .app: []
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
        case 403:
            return .failed(
                "\(what): 403, ARI user '\(user)' may only read; set read_only = no for it in ari.conf")
        case 404 where self == .putFilter && message.contains("Resource not found"):
            return .unsupported("this Asterisk has no event filter (before 13.26 and 16.3)")
        case 404:
            return .failed("\(what): 404, the PBX does not know our application; another reader may have it")
        case 405, 501:
            return self == .putFilter
                ? .unsupported("this Asterisk has no event filter (before 13.26 and 16.3)")
                : .failed("\(what): \(status), not supported by this Asterisk")
        default: return .failed("\(what): status \(status)")
        }
    }
}
