internal import COpenSSL

/// What is done with secrets that two sides share.
package enum SharedSecret {
    /// HMAC-SHA256 (RFC 2104) of a message, as hexadecimal digits, small letters; shows who wrote it, and that it is whole.
    ///
    /// - Returns: `nil` when the library cannot, as for want of memory.
    package static func signature(of message: [UInt8], key: String) -> String? {
        var code = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        var count: UInt32 = 0
        let key = Array(key.utf8)
        guard
            HMAC(EVP_sha256(), key, Int32(clamping: key.count), message, message.count, &code, &count) != nil
        else {
            return nil
        }
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        for byte in code.prefix(Int(count)) { text += [digits[Int(byte >> 4)], digits[Int(byte & 15)]] }
        return String(decoding: text, as: UTF8.self)
    }

    /// Whether a text from outside is the secret; takes as long for a wrong one as for the right one of the same length
    /// (man 3 CRYPTO_memcmp).
    package static func isSame(_ given: String, as secret: String) -> Bool {
        let (left, right) = (Array(given.utf8), Array(secret.utf8))
        return left.count == right.count && CRYPTO_memcmp(left, right, right.count) == 0
    }
}
