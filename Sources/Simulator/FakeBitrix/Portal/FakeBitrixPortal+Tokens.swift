package import Protocols

extension FakeBitrixPortal {
    /// How long an access token lives, in seconds.
    static let tokenSeconds: Int64 = 3600

    /// A pair of tokens of an application.
    package struct Tokens: Sendable, Hashable {
        package var access: String
        package var refresh: String
    }

    /// Makes tokens for an application, as its installation would.
    ///
    /// - Parameter application: Whose they are; its `secret` is what the portal knows the application by.
    package mutating func issueTokens(
        to application: PortalSettings.Webhook, at now: Timestamp
    ) -> Tokens {
        let tokens = Tokens(access: makeToken(), refresh: makeToken())
        settings.accessTokens[tokens.access] = application
        tokenExpiry[tokens.access] = now.microseconds + Self.tokenSeconds * 1_000_000
        refreshTokens[tokens.refresh] = application
        return tokens
    }

    /// Makes every access token expire now.
    package mutating func expireTokens() {
        for token in settings.accessTokens.keys { tokenExpiry[token] = 0 }
    }

    /// Makes every refresh token void: somebody has to authorise again.
    package mutating func revokeRefreshTokens() {
        refreshTokens = [:]
    }

    func hasExpired(_ token: String, at now: Timestamp) -> Bool {
        tokenExpiry[token].map { $0 <= now.microseconds } ?? false
    }

    /// `/oauth/token/`: a refresh token works once, and its answer bears the next one.
    mutating func refreshToken(_ request: PortalRequest, at now: Timestamp) -> PortalReply {
        requestCounts["oauth.token", default: 0] += 1
        let parameters = PHPValue.array(PortalParameters.read(request))
        guard parameters["client_id"].text == settings.clientID,
            parameters["client_secret"].text == settings.clientSecret
        else { return refuseToken("invalid_client", "Invalid client", at: now) }
        guard parameters["grant_type"].text == "refresh_token" else {
            return refuseToken("unsupported_grant_type", "Unsupported grant type", at: now)
        }
        guard let application = refreshTokens.removeValue(forKey: parameters["refresh_token"].text ?? "")
        else { return refuseToken("invalid_grant", "Invalid refresh token", at: now) }
        let tokens = issueTokens(to: application, at: now)
        note(.tokensRenewed, at: now)
        return .json(
            status: 200,
            .map([
                "access_token": .string(tokens.access), "refresh_token": .string(tokens.refresh),
                "expires_in": .int(Int(Self.tokenSeconds)), "domain": .string("oauth.bitrix.info"),
                "client_endpoint": .string("\(settings.baseURL)/rest/"),
                "scope": .string("telephony,crm,user"),
                "member_id": .string("fake"), "status": .string("L"),
            ]))
    }

    private mutating func refuseToken(_ code: String, _ text: String, at now: Timestamp) -> PortalReply {
        let error = PortalError(status: 400, code: code, text: text)
        note(error, method: "oauth.token", at: now)
        return .json(status: error.status, error.envelope)
    }

    private mutating func makeToken() -> String {
        String(random.next(), radix: 16) + String(random.next(), radix: 16)
    }
}
