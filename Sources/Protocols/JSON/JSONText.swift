/// Decoding of strings whose place in a text is already known.
public enum JSONText {
    /// Appends the characters of a JSON string as UTF-8, escapes resolved.
    ///
    /// - Parameters:
    ///   - text: What stands between the quotes, checked by a scan before.
    ///   - output: Appended to; a lone surrogate becomes U+FFFD.
    public static func unescape(_ text: RawSpan, into output: inout [UInt8]) {
        text.withUnsafeBytes { JSONLexer.unescape($0, into: &output) }
    }
}
