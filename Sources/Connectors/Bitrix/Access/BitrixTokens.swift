import Glibc
package import Protocols

/// What an application of the portal's may act with (OAuth 2.0), as its file holds it.
///
/// The file is ours alone (mode 600) and is replaced whole with each refresh, since a refresh token works once.
package struct BitrixTokens: Sendable, Hashable {
    /// The portal, such as `example.bitrix24.com`; with `http://` only for this machine.
    package var portal: URL
    /// Where tokens are renewed.
    package var server: URL
    package var clientID: String
    /// A secret, as are both tokens.
    package var clientSecret: String
    package var accessToken: String
    package var refreshToken: String
    /// When the access token ceases to work; 1970 when that is not known.
    package var expiresAt: Timestamp

    /// The vendor's, unless the file names another.
    private static let usualServer = "https://oauth.bitrix.info/oauth/token/"

    /// Why a file cannot be used; holds no secret.
    package struct Problem: Error, Hashable, CustomStringConvertible {
        package var description: String
    }

    /// Reads the text of a file.
    package init(_ text: [UInt8]) throws(Problem) {
        guard let value = try? JSONValue.parse(text.span.bytes), value.members != nil else {
            throw Problem(description: "is no JSON object")
        }
        func known(_ key: String) throws(Problem) -> String {
            guard let text = value[key]?.string, !text.isEmpty else {
                throw Problem(description: "has no \"\(key)\"")
            }
            return text
        }
        let domain = try known("domain")
        guard let portal = try? URL(domain.contains("://") ? domain : "https://\(domain)"),
            Self.isAllowed(portal)
        else { throw Problem(description: "has a \"domain\" that is no host") }
        guard let server = try? URL(value["server"]?.string ?? Self.usualServer), Self.isAllowed(server)
        else {
            throw Problem(description: "has a \"server\" that is no https address")
        }
        self.portal = portal
        self.server = server
        clientID = try known("client_id")
        clientSecret = try known("client_secret")
        refreshToken = try known("refresh_token")
        accessToken = value["access_token"]?.string ?? ""
        expiresAt = Timestamp(seconds: value["expires_at"]?.int ?? 0)
    }

    private static func isAllowed(_ url: URL) -> Bool {
        url.scheme == .https || url.scheme == .http && ["127.0.0.1", "::1", "localhost"].contains(url.host)
    }

    /// The text of the file.
    package var text: [UInt8] {
        var writer = JSONWriter()
        writer.object {
            $0.member("domain", portal.description)
            $0.member("server", server.description)
            $0.member("client_id", clientID)
            $0.member("client_secret", clientSecret)
            $0.member("access_token", accessToken)
            $0.member("refresh_token", refreshToken)
            $0.member("expires_at", expiresAt.microseconds / 1_000_000)
        }
        return writer.output + [0x0A]
    }

    /// Takes the answer of the server to a refresh.
    ///
    /// - Returns: The new tokens; `nil` when the answer has none.
    func renewed(by body: [UInt8], at now: Timestamp) -> BitrixTokens? {
        guard let value = try? JSONValue.parse(body.span.bytes), let access = value["access_token"]?.string,
            let refresh = value["refresh_token"]?.string, !access.isEmpty, !refresh.isEmpty
        else { return nil }
        var tokens = self
        tokens.accessToken = access
        tokens.refreshToken = refresh
        let seconds = value["expires_in"]?.int ?? 3600
        tokens.expiresAt = Timestamp(
            microseconds: now.microseconds + max(0, min(seconds, 86_400)) * 1_000_000)
        return tokens
    }

    // MARK: - The file; blocking

    /// Longest file that is read.
    private static let maximumBytes = 64 * 1024

    /// Reads a file that nobody else may read.
    package static func read(_ path: String) throws(Problem) -> BitrixTokens {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw Problem(description: "cannot be read: \(String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & 0o077 == 0 else {
            throw Problem(description: "may be read by others; chmod 600 it")
        }
        var text = [UInt8](repeating: 0, count: maximumBytes)
        let count = Glibc.read(descriptor, &text, maximumBytes)
        guard count > 0 else { throw Problem(description: "is empty or cannot be read") }
        return try BitrixTokens(Array(text[..<count]))
    }

    /// Puts the tokens in the place of the file's, whole or not at all, on the disk when it returns.
    package func write(_ path: String) throws(Problem) {
        let temporary = path + ".new"
        unlink(temporary)
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw Problem(description: "cannot be written: \(String(cString: strerror(errno)))")
        }
        let text = self.text
        let isWritten = Glibc.write(descriptor, text, text.count) == text.count && fsync(descriptor) == 0
        let problem = errno
        close(descriptor)
        guard isWritten, rename(temporary, path) == 0 else {
            unlink(temporary)
            throw Problem(
                description: "cannot be written: \(String(cString: strerror(isWritten ? errno : problem)))")
        }
    }
}
