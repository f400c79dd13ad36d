/// Which kernel interface a loop uses.
public enum IOMode: String, Sendable, CaseIterable {
    /// io_uring where the kernel allows it, else epoll.
    case auto
    /// io_uring or nothing.
    case ioURing = "io_uring"
    /// epoll, present on every Linux.
    case epoll
}

/// Bounds and choices of one loop.
public struct LoopConfiguration: Sendable {
    /// Which kernel interface to use.
    public var ioMode: IOMode = .auto
    /// How many connections may be open at once; accepting pauses when all are used.
    public var maximumConnections = 16384
    /// Size of one receive buffer in bytes, at least 4096.
    public var receiveBufferBytes = 16384
    /// How many receive buffers io_uring may get; rounded up to a power of two.
    ///
    /// It begins with an eighth of them. Where receives fill buffers one behind another (Linux 6.12), it gets
    /// half of them at most, in larger ones.
    public var receiveBufferCount = 256
    /// The core to pin the loop's thread to; passed over silently where that is not allowed.
    public var pinToCore: Int?
    /// The thread's name, as `top -H` shows it; 15 bytes at most.
    public var name = "loop"
    /// What of io_uring may be used; what the kernel has not got is left out by itself.
    public var ioURingFeatures: IOURingFeatures = .all
    /// The shortest time from one tick to the next while ticks follow one another closely, so that input
    /// gathers; nil for at once, always.
    ///
    /// What comes after a pause is handed out at once, and so is everything for a while after urgent input
    /// (`ListenOptions.isUrgent`). A tick that takes longer by itself is followed by the next without waiting.
    public var gathering: Duration?
    /// Sizes of io_uring's two queues, powers of two; 0 for the usual ones.
    ///
    /// For tests.
    package var submissionEntries: UInt32 = 0
    package var completionEntries: UInt32 = 0

    /// The defaults above, with the given ones in their place.
    public init(
        ioMode: IOMode = .auto, maximumConnections: Int = 16384, pinToCore: Int? = nil, name: String = "loop"
    ) {
        self.ioMode = ioMode
        self.maximumConnections = maximumConnections
        self.pinToCore = pinToCore
        self.name = name
    }
}

/// Which driver a loop runs on, and why; for the log line at start.
public struct DriverChoice: Sendable, Hashable {
    /// `io_uring` or `epoll`.
    public let name: String
    /// Why this one, in words.
    public let reason: String
    /// What of the kernel is used, as in `DEFER_TASKRUN` or `edge-triggered`.
    public let features: [String]
}

/// What a loop has done since it was made.
///
/// Counts wrap never in practice (64 bits).
public struct LoopCounters: Sendable, Hashable {
    /// Turns of the loop.
    public var ticks: UInt64 = 0
    /// Turns before which input was let gather.
    public var gatheredTicks: UInt64 = 0
    /// System calls for input and output: waits, receives, sends, accepts, registrations.
    public var systemCalls: UInt64 = 0
    /// Bytes received and sent.
    public var bytesIn: UInt64 = 0
    /// Bytes taken by the kernel.
    public var bytesOut: UInt64 = 0
    /// Times bytes were taken from a socket.
    public var receives: UInt64 = 0
    /// Times bytes were given to a socket.
    public var sends: UInt64 = 0
    /// Connections accepted.
    public var accepts: UInt64 = 0
    /// Times accepting was paused because descriptors or slots ran out.
    public var acceptPauses: UInt64 = 0
    /// Connections that failed before they were accepted.
    public var acceptFailures: UInt64 = 0
    /// Connections made to others.
    public var connects: UInt64 = 0
    /// Bytes copied because a message was cut by a read.
    public var carriedBytes: UInt64 = 0
    /// Sends refused because the queue was full.
    public var sendOverflows: UInt64 = 0
    /// Times io_uring had no receive buffer left.
    public var buffersExhausted: UInt64 = 0
    /// Bytes of receive buffers that io_uring has, now.
    public var receiveBufferBytes: UInt64 = 0
    /// Completions that came for a connection already gone.
    public var staleCompletions: UInt64 = 0
    /// Connections open or on their way, now.
    public var openConnections: UInt64 = 0
}

/// How a listener behaves.
public struct ListenOptions {
    /// How many finished handshakes may wait for accept.
    public var backlog: Int32 = 1024
    /// Somebody waits for the answer to each input: the loop does not gather while there is such input
    /// (`LoopConfiguration.gathering`).
    public var isUrgent = false
    /// SO_REUSEPORT: several loops listen on one port and the kernel spreads connections.
    public var reusePort = false
    /// With it, every connection is TLS.
    public var tls: TLSServerContext?
    /// How long a TLS handshake may take.
    public var handshakeTimeout: Duration = .seconds(10)
    /// Bound of the send queue in bytes, of each connection.
    public var sendQueueLimit = 8 << 20
    /// Bound of unused input in bytes, of each connection.
    public var maximumCarryBytes = 17 << 20
    /// How long `close()` may take to flush.
    public var lingerTimeout: Duration = .seconds(5)
    /// SO_RCVBUF and SO_SNDBUF, when given; else the system sizes them by itself.
    public var socketBufferBytes: Int?

    /// The defaults above.
    public init() {}
}

/// How a connection is made and behaves.
public struct ConnectOptions {
    /// For resolving, connecting and the TLS handshake together.
    public var timeout: Duration = .seconds(10)
    /// With it, the connection is TLS.
    public var tls: TLSClientContext?
    /// The name for SNI and the certificate check; the host itself when nil.
    public var serverName: String?
    /// Bound of the send queue in bytes.
    public var sendQueueLimit = 8 << 20
    /// Bound of unused input in bytes.
    public var maximumCarryBytes = 17 << 20
    /// How long `close()` may take to flush.
    public var lingerTimeout: Duration = .seconds(5)
    /// SO_KEEPALIVE: probes after this long without traffic, so that a dead peer is noticed; nil for none.
    public var keepAlive: Duration? = .seconds(60)
    /// SO_RCVBUF and SO_SNDBUF, when given; else the system sizes them by itself.
    public var socketBufferBytes: Int?

    /// The defaults above.
    public init() {}
}
