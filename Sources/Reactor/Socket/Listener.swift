/// A listening socket of a loop; usable on that loop's thread.
///
/// It listens until `close()`, held or not.
public struct Listener {
    private let loop: Loop
    private let index: Int
    private let generation: UInt32
    /// Where it listens, with the port that the system chose for port 0.
    public let address: SocketAddress

    init(loop: Loop, index: Int, generation: UInt32, address: SocketAddress) {
        self.loop = loop
        self.index = index
        self.generation = generation
        self.address = address
    }

    /// Stops listening; connections already accepted go on.
    ///
    /// A second call does nothing.
    public func close() { loop.closeListener(index, generation: generation) }
}

/// One listener in the loop's table.
struct ListenerEntry {
    var fd: Int32
    var generation: UInt32
    var options: ListenOptions
    var accept: ((Connection) -> any ConnectionHandler)?
    /// Out of descriptors or slots: the backlog waits.
    var isPaused = false
    /// io_uring: an accept is armed in the kernel.
    var isArmed = false
}

/// Names a watched descriptor.
public struct WatchID: Hashable, Sendable {
    let index: UInt32
    let identity: UInt32
}

/// Told when a watched descriptor is ready.
///
/// Called again as long as it stays ready (level-triggered).
public protocol DescriptorHandler: AnyObject {
    /// An error or hang-up counts as ready for all that is watched, so that reading or writing tells what.
    func ready(readable: Bool, writable: Bool)
}

/// One watched descriptor in the loop's table.
struct WatchEntry {
    var fd: Int32
    var handler: (any DescriptorHandler)?
    var wantsReadable = false
    var wantsWritable = false
    /// The one that is in the `WatchID`.
    var identity: UInt32
    /// The one in the kernel's user data; moves on whenever an answer under way must not count any more.
    var generation: UInt32
    var isArmed = false
    var nextFree: Int32 = -1
}

/// Names an end-of-tick hook.
public struct HookID: Hashable, Sendable {
    let rawValue: UInt64
}
