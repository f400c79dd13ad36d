internal import COpenSSL
internal import CReactor

/// One connection's TLS state over two memory BIOs, so that it needs no socket and serves both drivers.
///
/// ```
///  socket ─▶ feed ─▶ input BIO ─▶ SSL_read  ─▶ read(into:)
///  socket ◀─ takeOutput ◀─ output BIO ◀─ SSL_write ◀─ plain
/// ```
final class TLSSession {
    enum HandshakeResult {
        case done
        case more
        case failed(String)
    }

    enum ReadResult {
        case bytes(Int)
        case more
        /// The peer sent close_notify.
        case ended
        case failed(String)
    }

    private let ssl: OpaquePointer
    private let input: OpaquePointer
    private let output: OpaquePointer
    private let isServer: Bool
    private var sentCloseNotify = false
    private(set) var inputEnded = false
    /// What waits to be encrypted.
    var plain = ByteQueue()

    /// Takes `ssl` over.
    init?(_ ssl: OpaquePointer, isServer: Bool) {
        guard let input = BIO_new(BIO_s_mem()) else {
            SSL_free(ssl)
            return nil
        }
        guard let output = BIO_new(BIO_s_mem()) else {
            BIO_free(input)
            SSL_free(ssl)
            return nil
        }
        self.ssl = ssl
        self.input = input
        self.output = output
        self.isServer = isServer
        // The session owns both from here on.
        SSL_set_bio(ssl, input, output)
        if isServer { SSL_set_accept_state(ssl) } else { SSL_set_connect_state(ssl) }
    }

    deinit { SSL_free(ssl) }

    /// Whether something waits for the socket.
    var hasOutput: Bool { copenssl_pending(output) > 0 }

    /// Takes ciphertext from the socket; copied.
    func feed(_ bytes: UnsafeRawBufferPointer) {
        BIO_write(input, bytes.baseAddress, Int32(clamping: bytes.count))
    }

    func handshake() -> HandshakeResult {
        ERR_clear_error()
        let result = SSL_do_handshake(ssl)
        if result == 1 { return .done }
        switch SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: return .more
        default: return .failed(failureText())
        }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) -> ReadResult {
        ERR_clear_error()
        let count = SSL_read(ssl, buffer.baseAddress, Int32(clamping: buffer.count))
        if count > 0 { return .bytes(Int(count)) }
        switch SSL_get_error(ssl, count) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: return .more
        case SSL_ERROR_ZERO_RETURN:
            inputEnded = true
            return .ended
        default: return .failed(failureText())
        }
    }

    /// Encrypts up to one record's worth of `plain`; false when nothing could be done.
    func encryptSome(pool: BufferPool) -> Bool {
        let bytes = plain.bytes
        guard let base = bytes.baseAddress, sentCloseNotify == false else { return false }
        ERR_clear_error()
        let count = SSL_write(ssl, base, Int32(min(bytes.count, 1 << 14)))
        guard count > 0 else { return false }
        plain.consume(Int(count), pool: pool)
        return true
    }

    /// Says that nothing more will be sent (RFC 8446 §6.1).
    func sendCloseNotify() {
        guard sentCloseNotify == false else { return }
        sentCloseNotify = true
        ERR_clear_error()
        SSL_shutdown(ssl)
    }

    /// Moves ciphertext into `queue`.
    func takeOutput(into queue: inout ByteQueue, pool: BufferPool) {
        while true {
            let pending = copenssl_pending(output)
            guard pending > 0 else { return }
            let place = queue.reserve(pending, pool: pool)
            let count = BIO_read(output, place, Int32(clamping: pending))
            guard count > 0 else { return }
            queue.commit(Int(count))
        }
    }

    /// Sends as much as the socket takes at once; for alerts before closing.
    func sendNow(_ bytes: UnsafeRawBufferPointer, fd: Int32) {
        guard let base = bytes.baseAddress, bytes.count > 0, fd >= 0 else { return }
        _ = creactor_send(fd, base, bytes.count)
    }

    private func failureText() -> String {
        let reason = lastTLSError()
        let verified = SSL_get_verify_result(ssl)
        guard verified != Int(X509_V_OK), let text = X509_verify_cert_error_string(verified) else {
            return reason
        }
        return "certificate verify failed: \(String(cString: text))"
    }
}
