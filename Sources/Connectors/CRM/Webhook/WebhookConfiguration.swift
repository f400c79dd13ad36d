package import Protocols

/// Where calls are told to besides, or instead of, Bitrix24: any HTTPS address that checks our signature.
package struct WebhookConfiguration: Sendable, Hashable, CustomStringConvertible {
    /// Where to; path and query may hold secrets.
    package var url: URL
    /// What deliveries are signed with; a secret.
    var secret: String
    /// Connections, and so deliveries under way at a time.
    package var maximumConnections = 4
    /// Calls held in memory; the steps of others wait in the database.
    package var maximumCalls = 2_000
    /// After so long a delivery counts as failed.
    package var timeout: Duration = .seconds(20)
    /// Pause after the first failure; doubled each time.
    package var firstDelay: Duration = .seconds(1)
    /// Longest pause.
    package var maximumDelay: Duration = .seconds(300)
    /// A step that nobody took for so long is given up.
    package var maximumAge: Duration = .seconds(24 * 3600)
    /// Through which the address is reached.
    package var proxy: HTTPProxy?

    /// Least bytes of a secret.
    package static let leastSecretBytes = 16

    /// The environment variables that are read, each with what it means.
    package static let settings: KeyValuePairs<String, String> = [
        "WEBHOOK_URL": "https address that is told of each call's begin and end; absent: none",
        "WEBHOOK_SECRET": "what deliveries are signed with (HMAC-SHA256), 16 bytes at least",
        "WEBHOOK_ALLOW_HTTP": "1: accept http:// for hosts other than this machine (default 0)",
    ]

    /// Takes the parts.
    package init(url: URL, secret: String) {
        self.url = url
        self.secret = secret
    }

    /// Reads the settings of the environment.
    ///
    /// - Returns: nil when `WEBHOOK_URL` is absent.
    package init?(reading value: (String) -> String?) throws(BitrixConfigurationError) {
        guard let text = value("WEBHOOK_URL"), !text.isEmpty else { return nil }
        func problem(_ variable: String, _ text: String) -> BitrixConfigurationError {
            BitrixConfigurationError(variable: variable, problem: text)
        }
        guard let url = try? URL(text), url.scheme == .https || url.scheme == .http else {
            throw problem("WEBHOOK_URL", "is no https address")
        }
        let isHere = ["127.0.0.1", "::1", "localhost"].contains(url.host)
        guard url.isSecure || isHere || value("WEBHOOK_ALLOW_HTTP") == "1" else {
            throw problem("WEBHOOK_URL", "must begin with https:// (WEBHOOK_ALLOW_HTTP=1 accepts http)")
        }
        let secret = value("WEBHOOK_SECRET") ?? ""
        guard secret.utf8.count >= Self.leastSecretBytes else {
            throw problem("WEBHOOK_SECRET", "must have \(Self.leastSecretBytes) bytes at least")
        }
        self.init(url: url, secret: secret)
        proxy = HTTPProxy.forOrigin(HTTPOrigin(url), reading: value)
    }

    /// The host alone.
    package var description: String { "\(url.scheme.rawValue)://\(url.hostField)/…" }
}
