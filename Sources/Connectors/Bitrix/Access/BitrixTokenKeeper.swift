import Logging
import Protocols
import Reactor

/// Keeps an application's access token fresh: renewed shortly before its time, or when the portal says that it has expired;
/// once for all that wait for it.
///
/// New tokens are on the disk before they are used: the old refresh token is void by then.
final class BitrixTokenKeeper {
    /// Why there is no token.
    enum Failure: Error {
        /// A person has to authorise the application again.
        case refused(String)
        /// The server cannot be reached, or the file not be written; worth trying again.
        case unavailable(String)
    }

    typealias Completion = (Result<String, Failure>) -> Void

    /// So long before its time a token counts as expired.
    private static let margin: Duration = .seconds(60)

    private let loop: Loop
    private let path: String
    private let client: HTTPClient
    private let logger: Logger
    private let stored = Mailbox<StoredTokens>(capacity: 4)
    private var tokens: BitrixTokens
    private var waiting: [Completion] = []
    private var isRenewing = false

    private enum StoredTokens: Sendable {
        case kept(BitrixTokens)
        case failed(String)
    }

    init(loop: Loop, tokens: BitrixTokens, path: String, client: HTTPClient, logger: Logger) {
        self.loop = loop
        self.tokens = tokens
        self.path = path
        self.client = client
        self.logger = logger
        loop.attach(stored) { [weak self] in self?.stored($0) }
    }

    /// Gives a token that works, as far as is known; perhaps from inside the call.
    func token(_ completion: @escaping Completion) {
        let left = tokens.expiresAt.microseconds - WallClock.now().microseconds
        // A file that tells no time is believed until the portal says otherwise.
        let isFresh = tokens.expiresAt.microseconds == 0 || left > Self.margin.wholeMicroseconds
        if !tokens.accessToken.isEmpty, isFresh, !isRenewing {
            return completion(.success(tokens.accessToken))
        }
        waiting.append(completion)
        renew()
    }

    /// Gives another token than `used`, which the portal takes no more.
    func token(insteadOf used: String, _ completion: @escaping Completion) {
        guard used == tokens.accessToken || isRenewing else {
            return completion(.success(tokens.accessToken))
        }
        waiting.append(completion)
        renew()
    }

    func stop() {
        client.close()
        waiting = []
    }

    private func renew() {
        guard !isRenewing else { return }
        isRenewing = true
        var query = Query()
        query.append("grant_type", "refresh_token")
        query.append("client_id", tokens.clientID)
        query.append("client_secret", tokens.clientSecret)
        query.append("refresh_token", tokens.refreshToken)
        let request = HTTPClientRequest(
            method: "GET", target: "\(tokens.server.path)?\(query.encoded)",
            fields: [("Accept", "application/json"), ("User-Agent", "callflow-fast")])
        client.send(request) { [weak self] in self?.renewed($0) }
    }

    private func renewed(_ result: Result<HTTPClientResponse, HTTPClientError>) {
        switch result {
        case .failure(let error): fail(.unavailable("tokens cannot be renewed: \(error)"))
        case .success(let response):
            guard response.status == 200, let new = tokens.renewed(by: response.body, at: WallClock.now())
            else {
                let code = (try? JSONValue.parse(response.body.span.bytes))?["error"]?.string ?? ""
                if response.status >= 500 || code.isEmpty {
                    return fail(.unavailable("tokens cannot be renewed: HTTP \(response.status)"))
                }
                return fail(.refused(code))
            }
            // The old ones are void: better used unwritten than lost.
            tokens = new
            let (stored, path) = (stored, path)
            let isStarted = BackgroundThread.run {
                do throws(BitrixTokens.Problem) {
                    try new.write(path)
                    _ = stored.post(.kept(new))
                } catch {
                    _ = stored.post(.failed("\(path) \(error)"))
                }
            }
            if !isStarted { self.stored(.failed("no thread to write \(path) with")) }
        }
    }

    private func stored(_ outcome: StoredTokens) {
        isRenewing = false
        if case .failed(let reason) = outcome {
            logger.error(
                "Bitrix24: new tokens work until the daemon stops, but cannot be kept",
                metadata: ["reason": "\(reason)"])
        } else {
            logger.info("Bitrix24: access token renewed")
        }
        let (asked, token) = (waiting, tokens.accessToken)
        waiting = []
        for completion in asked { completion(.success(token)) }
    }

    private func fail(_ failure: Failure) {
        isRenewing = false
        let asked = waiting
        waiting = []
        for completion in asked { completion(.failure(failure)) }
    }
}
