import Protocols

/// An application of the portal's, instead of a webhook.
package struct BitrixApplication: Sendable, Hashable, CustomStringConvertible, CustomReflectable {
    /// The tokens' file; ours alone.
    package let path: String
    /// As the file had them at the start; secrets.
    let tokens: BitrixTokens

    /// Reads the file, blocking.
    package init(path: String) throws(BitrixConfigurationError) {
        self.path = path
        do throws(BitrixTokens.Problem) {
            tokens = try BitrixTokens.read(path)
        } catch {
            throw BitrixConfigurationError(variable: "BITRIX_OAUTH_FILE", problem: "\(path) \(error)")
        }
    }

    /// The portal.
    package var description: String { "application of \(tokens.portal.hostField)" }

    /// Hides the tokens from `dump`.
    package var customMirror: Mirror { Mirror(self, children: ["portal": description]) }
}
