internal import CReactor

/// What the system or the configuration refused; carries enough to act on and never a secret.
public enum ReactorError: Error, Hashable, Sendable {
    /// The system call `call` failed with `errno`.
    case system(call: String, errno: Int32)
    /// `--io io_uring` was asked for and the kernel does not give it.
    case ioURingUnavailable(String)
    /// The text is not a numeric address with a port.
    case invalidAddress(String)
    /// The loop's table of connections is full (`LoopConfiguration.maximumConnections`).
    case tooManyConnections
    /// A TLS context could not be made: the file and OpenSSL's reason.
    case tls(String)
    /// The loop has been stopped.
    case stopped
}

extension ReactorError: CustomStringConvertible {
    /// In words, for a log line.
    public var description: String {
        switch self {
        case .system(let call, let errno): "\(call): \(errorText(errno))"
        case .ioURingUnavailable(let reason): "io_uring is not available: \(reason)"
        case .invalidAddress(let text): "not a numeric address with port: \(text)"
        case .tooManyConnections: "the limit of open connections is reached"
        case .tls(let text): "TLS: \(text)"
        case .stopped: "the loop has stopped"
        }
    }
}

/// The text of strerror(3) for a positive errno.
func errorText(_ errno: Int32) -> String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { text in
        text.initialize(repeating: 0)
        guard let base = text.baseAddress else { return "errno \(errno)" }
        creactor_error_text(errno, base, text.count)
        return String(cString: base)
    }
}

/// Turns the shim's "negative errno" into a thrown error that names the call.
@discardableResult
func checked(_ result: Int32, _ call: String) throws(ReactorError) -> Int32 {
    guard result >= 0 else { throw .system(call: call, errno: -result) }
    return result
}
