internal import Glibc

/// A POSIX thread with a Swift body.
enum Thread {
    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    /// Starts a thread that nobody joins.
    ///
    /// False when the system has none to give.
    static func startDetached(stackBytes: Int, _ body: @escaping @Sendable () -> Void) -> Bool {
        guard let thread = try? start(stackBytes: stackBytes, body) else { return false }
        pthread_detach(thread)
        return true
    }

    /// Starts a thread that has to be joined.
    static func start(
        stackBytes: Int, _ body: @escaping @Sendable () -> Void
    ) throws(ReactorError) -> pthread_t {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setstacksize(&attributes, stackBytes)
        var thread = pthread_t()
        let argument = Unmanaged.passRetained(Body(body))
        let result = pthread_create(
            &thread, &attributes,
            { argument in
                guard let argument else { return nil }
                Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, argument.toOpaque())
        guard result == 0 else {
            argument.release()
            throw .system(call: "pthread_create", errno: result)
        }
        return thread
    }
}
