internal import CReactor
internal import Glibc

/// A name to be resolved for a connection.
struct ResolverRequest: Sendable {
    let host: String
    let port: UInt16
    let slot: UInt32
    let generation: UInt32
    let answers: Mailbox<ResolverAnswer>
}

/// What became of it.
struct ResolverAnswer: Sendable {
    struct Failure: Error {
        let text: String
    }

    let slot: UInt32
    let generation: UInt32
    let result: Result<[SocketAddress], Failure>
}

/// Resolves names on threads of its own, since getaddrinfo(3) blocks, for seconds when a name server is silent.
///
/// Threads are started as names come and end when none is left: names are rare (reconnects, pools).
final class Resolver: Sendable {
    /// Names resolved at a time; a silent name server does not hold up the other names.
    static let maximumThreads = 4
    /// Names that may wait.
    static let maximumWaiting = 4096
    static let maximumAddresses: Int32 = 16

    static let shared = Resolver()

    private struct State {
        var waiting: [ResolverRequest] = []
        var threads = 0
    }

    private let state = Locked(State())

    /// Any thread.
    ///
    /// False when too many names wait already.
    func resolve(_ request: ResolverRequest) -> Bool {
        let (taken, startThread) = state.withLock { state in
            guard state.waiting.count < Resolver.maximumWaiting else { return (false, false) }
            state.waiting.append(request)
            guard state.threads < Resolver.maximumThreads else { return (true, false) }
            state.threads += 1
            return (true, true)
        }
        guard startThread else { return taken }
        let isRunning = Thread.startDetached(stackBytes: 256 << 10) { [self] in work() }
        if isRunning { return true }
        // No thread to be had: one that runs already may take it, else the request is withdrawn.
        return state.withLock { state in
            state.threads -= 1
            guard state.threads == 0 else { return true }
            // Slots are counted by each loop for itself.
            state.waiting.removeAll {
                $0.answers === request.answers && $0.slot == request.slot
                    && $0.generation == request.generation
            }
            return false
        }
    }

    private func work() {
        creactor_name_thread("resolver")
        while let request = next() {
            let answer = ResolverAnswer(
                slot: request.slot, generation: request.generation,
                result: Resolver.lookUp(request.host, request.port))
            // Full or closed: the connection's timeout tells.
            _ = request.answers.post(answer)
        }
    }

    private func next() -> ResolverRequest? {
        state.withLock { state in
            if state.waiting.isEmpty {
                state.threads -= 1
                return nil
            }
            return state.waiting.removeFirst()
        }
    }

    /// Blocks.
    static func lookUp(_ host: String, _ port: UInt16) -> Result<[SocketAddress], ResolverAnswer.Failure> {
        withUnsafeTemporaryAllocation(of: creactor_address.self, capacity: Int(maximumAddresses)) { found in
            found.initialize(repeating: creactor_address())
            let count = creactor_resolve(host, port, found.baseAddress, maximumAddresses)
            guard count >= 0 else {
                return .failure(.init(text: String(cString: creactor_resolve_message(count))))
            }
            return .success(found.prefix(Int(count)).map(SocketAddress.init))
        }
    }
}
