package import Protocols

/// How to read one PBX.
package struct ARIConfiguration: Sendable, CustomStringConvertible, CustomReflectable {
    /// What of the PBX is read (`ARI_SUBSCRIBE`).
    package enum Subscription: String, Sendable, CaseIterable {
        /// The whole life of every call: `channel:,bridge:` behind an event filter.
        case calls
        /// Only channels that enter our application by Stasis().
        case app
        /// Everything, unfiltered. Closing such a reader can hang ARI on Asterisk 22 (asterisk#2170).
        case all
    }

    /// What is done with channels that enter our application (`ARI_STASIS_POLICY`).
    package enum StasisPolicy: String, Sendable, CaseIterable {
        /// They go on in the dialplan at once, since we only listen.
        case `continue`
        /// They are left alone: somebody else controls them.
        case hold
    }

    /// What the PBX is called in logs, metrics and the API.
    package var name: String
    /// Where the event stream is: `ws` or `wss`.
    ///
    /// User information and query in it are not used.
    package var url: URL
    /// ARI user, sent as `Authorization: Basic`.
    package var user: String
    /// The user's password; never logged, never part of a URL.
    package var password: String
    /// Name of the Stasis application; one reader at a time may have it.
    package var appName: String
    /// What stands before this PBX's identifiers, so that they are unique among all PBXs; empty: nothing.
    package var prefix = ""
    /// What is read.
    package var subscription = Subscription.calls
    /// What is done with channels in our application.
    package var stasisPolicy = StasisPolicy.continue
    /// Our own pings go out this often.
    package var pingInterval: Duration = .seconds(10)
    /// A connection on which nothing at all came for this long is dropped.
    package var silenceLimit: Duration = .seconds(25)
    /// From connecting to the end of the WebSocket handshake.
    package var connectTimeout: Duration = .seconds(10)
    /// Events wait at most so long for the PBX to tell what runs, after a connection.
    package var maximumHold: Duration = .seconds(2)
    /// So long after a comparison the PBX is asked once more which of the channels that it listed are there; more than the
    /// longest grace for ends that are on their way.
    package var confirmAfter: Duration = .seconds(12)
    /// For each REST request.
    package var requestTimeout: Duration = .seconds(10)
    /// First pause before trying again; doubled with each failure.
    ///
    /// Short, since what happens meanwhile is not heard.
    package var backoffBase: Duration = .milliseconds(100)
    /// The longest pause.
    package var backoffCap: Duration = .seconds(30)
    /// A connection that lasted this long was a good one: the next pause is the shortest again.
    package var stableAfter: Duration = .seconds(10)
    /// How often we look whether an application name that another reader took is free again.
    package var replacedCheck: Duration = .seconds(10)
    /// After this long the name is taken back.
    ///
    /// Asterisk 16 never says that a name is free.
    package var replacedPatience: Duration = .seconds(300)
    /// Bytes of one event, and of one frame.
    package var maximumEventBytes = 16 << 20
    /// Bytes of the answer to `GET /channels`: about 460 a channel.
    package var maximumSnapshotBytes = 64 << 20
    /// Who checks that events are UTF-8: the WebSocket as bytes arrive, which fails the connection, or the
    /// reader of the JSON, which then loses only that event.
    package var textValidation = WebSocketSession.TextValidation.session

    /// The needed ones; all others have defaults.
    package init(
        name: String, url: URL, user: String, password: String, appName: String = "callflow_elixir"
    ) {
        self.name = name
        self.url = url
        self.user = user
        self.password = password
        self.appName = appName
    }

    /// Name, address and application; nothing secret.
    package var description: String {
        "\(name) (\(url.scheme.rawValue)://\(url.hostField)\(eventsPath), application \(appName), "
            + "\(subscription.rawValue))"
    }

    /// What debuggers and `dump` see: the password is left out.
    package var customMirror: Mirror {
        Mirror(self, children: ["description": description], displayStyle: .struct)
    }

    /// Where the stream comes from, application included; two readers of the same take it from each other for ever.
    package var eventsAddress: String { "\(url.hostField)\(eventsPath) \(appName)" }

    /// Where ARI's resources are: the URL's path without `/events`.
    ///
    /// A URL that ends before that (`ws://pbx:8088`, `…/ari`) is taken for what was meant.
    var basePath: String {
        var path = Substring(url.path)
        while path.hasSuffix("/") { path = path.dropLast() }
        if path.hasSuffix("/events") { return String(path.dropLast(7)) }
        return path.isEmpty ? "/ari" : String(path)
    }

    /// Path of the event stream.
    var eventsPath: String { basePath + "/events" }

    /// The URL that is connected to.
    var eventsURL: URL {
        var query = Query(["app": appName])
        if subscription == .all { query.append("subscribeAll", "true") }
        return URL(
            scheme: url.scheme, host: url.host, port: url.port, path: eventsPath, query: query.encoded)
    }

    /// The value of `Authorization`, a secret.
    var authorization: String { "Basic " + Base64.encoded(Array("\(user):\(password)".utf8)) }
}
