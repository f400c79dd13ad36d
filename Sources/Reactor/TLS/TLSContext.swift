internal import COpenSSL

/// What TLS clients of this process trust (OpenSSL 3).
///
/// Used on loops' threads; may be shared between them.
///
/// TLS 1.2 or later; no ALPN. `SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured.
public final class TLSClientContext: Sendable {
    private let context: ContextReference
    private let verifies: Bool

    /// - Parameters:
    ///   - trustFile: PEM file of the certificates to trust instead of the system's.
    ///   - verify: False accepts any certificate; for tests and laboratories only.
    /// - Throws: `ReactorError.tls` when the file cannot be read.
    public init(trustFile: String? = nil, verify: Bool = true) throws(ReactorError) {
        guard let raw = SSL_CTX_new(TLS_client_method()) else { throw .tls(lastTLSError()) }
        context = ContextReference(raw)
        verifies = verify
        copenssl_require_tls12(raw)
        copenssl_set_modes(raw)
        SSL_CTX_set_verify(raw, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nil)
        if let trustFile {
            guard SSL_CTX_load_verify_locations(raw, trustFile, nil) == 1 else {
                throw .tls("\(trustFile): \(lastTLSError())")
            }
        } else {
            guard SSL_CTX_set_default_verify_paths(raw) == 1 else {
                throw .tls("the system's certificates: \(lastTLSError())")
            }
        }
    }

    /// A session that asks for `serverName` (SNI) and expects a certificate for it; a numeric address is
    /// checked against the certificate's addresses, and not sent (RFC 6066 §3).
    func makeSession(serverName: String) -> Result<TLSSession, ReactorError> {
        guard let ssl = SSL_new(context.raw) else { return .failure(.tls(lastTLSError())) }
        guard let session = TLSSession(ssl, isServer: false) else { return .failure(.tls("no memory")) }
        let parameters = SSL_get0_param(ssl)
        if SocketAddress(host: serverName, port: 0) != nil {
            if verifies, X509_VERIFY_PARAM_set1_ip_asc(parameters, serverName) != 1 {
                return .failure(.tls("cannot check for the address \(serverName)"))
            }
        } else {
            if copenssl_set_server_name(ssl, serverName) != 1 {
                return .failure(.tls("not a server name: \(serverName)"))
            }
            X509_VERIFY_PARAM_set_hostflags(parameters, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
            if verifies, X509_VERIFY_PARAM_set1_host(parameters, serverName, 0) != 1 {
                return .failure(.tls("not a host name: \(serverName)"))
            }
        }
        return .success(session)
    }
}

/// What TLS servers of this process show.
public final class TLSServerContext: Sendable {
    private let context: ContextReference

    /// - Parameters:
    ///   - certificateFile: PEM file with the certificate and those that lead to the root.
    ///   - keyFile: PEM file with its private key, without a passphrase.
    /// - Throws: `ReactorError.tls` when they cannot be read or do not belong together.
    public init(certificateFile: String, keyFile: String) throws(ReactorError) {
        guard let raw = SSL_CTX_new(TLS_server_method()) else { throw .tls(lastTLSError()) }
        context = ContextReference(raw)
        copenssl_require_tls12(raw)
        copenssl_set_modes(raw)
        guard SSL_CTX_use_certificate_chain_file(raw, certificateFile) == 1 else {
            throw .tls("\(certificateFile): \(lastTLSError())")
        }
        guard SSL_CTX_use_PrivateKey_file(raw, keyFile, SSL_FILETYPE_PEM) == 1 else {
            throw .tls("\(keyFile): \(lastTLSError())")
        }
        guard SSL_CTX_check_private_key(raw) == 1 else {
            throw .tls("\(keyFile) does not belong to \(certificateFile)")
        }
    }

    func makeSession() -> TLSSession? {
        SSL_new(context.raw).flatMap { TLSSession($0, isServer: true) }
    }
}

/// Owns one SSL_CTX.
///
/// OpenSSL counts references to it and locks what is shared, so any thread may make sessions from it once
/// it is set up.
private final class ContextReference: @unchecked Sendable {
    let raw: OpaquePointer

    init(_ raw: OpaquePointer) { self.raw = raw }

    deinit { SSL_CTX_free(raw) }
}

/// OpenSSL's oldest queued reason, in words; empties the queue.
func lastTLSError() -> String {
    let code = ERR_get_error()
    ERR_clear_error()
    guard code != 0 else { return "unknown reason" }
    guard let text = ERR_reason_error_string(code) else { return "error \(code)" }
    return String(cString: text)
}
