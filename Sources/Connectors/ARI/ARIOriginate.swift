import Protocols
import Reactor

/// A call that the PBX is to begin: a telephone rings, and who answers it goes on in the dialplan.
package struct ARIOriginate: Sendable, Hashable {
    /// The channel's unique id, and so the call's.
    package var channelID: String
    /// What rings, such as `PJSIP/214`.
    package var endpoint: String
    /// Where in the dialplan it goes on.
    package var `extension`: String
    package var context: String
    /// What the telephone shows.
    package var callerID: String
    /// How long it rings.
    package var ringTime: Duration

    package init(
        channelID: String, endpoint: String, extension: String, context: String, callerID: String,
        ringTime: Duration
    ) {
        self.channelID = channelID
        self.endpoint = endpoint
        self.extension = `extension`
        self.context = context
        self.callerID = callerID
        self.ringTime = ringTime
    }

    /// Path and query of `POST /ari/channels`, below `/ari`.
    var path: String {
        var query = Query()
        query.append("endpoint", endpoint)
        query.append("extension", self.extension)
        query.append("context", context)
        query.append("priority", "1")
        query.append("callerId", callerID)
        query.append("timeout", String(max(1, ringTime.components.seconds)))
        query.append("channelId", channelID)
        return "/channels?\(query.encoded)"
    }
}

extension ARIClient {
    /// Asks the PBX to begin a call; not repeated, since somebody may be ringing already.
    ///
    /// - Parameter completion: Called once; with why it does not, without secrets.
    package func originate(_ request: ARIOriginate, completion: @escaping (_ refusal: String?) -> Void) {
        self.request("POST", request.path, body: []) { result in
            switch result {
            case .success(let response) where (200..<300).contains(response.status): completion(nil)
            case .success(let response):
                let text = (try? JSONValue.parse(response.body.span.bytes))?["message"]?.string
                completion("the PBX answers \(response.status)\(text.map { ": \($0.prefix(200))" } ?? "")")
            case .failure(let error): completion(error.delivery == .notSent ? error.description : nil)
            }
        }
    }
}
