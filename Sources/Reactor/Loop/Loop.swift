internal import CReactor

/// One thread's event loop: connections, timers, foreign descriptors, mailboxes.
///
/// Made and used on one thread; only `Mailbox` and `LoopThread` cross. A turn ("tick") is: wait, hand out
/// events, fire timers, deliver `closed`, run the end-of-tick hooks, flush what was queued. Everything that a
/// tick does is bounded, so batches form by themselves under load.
public final class Loop {
    /// Timers fired per tick.
    static let maximumTimersPerTick = 4096

    /// What it was made with.
    public let configuration: LoopConfiguration
    /// Which driver was chosen, and why.
    public let driver: DriverChoice
    /// What the owner hangs here.
    public var context: AnyObject?
    /// What the loop has done so far.
    public internal(set) var counters = LoopCounters()
    /// The time, read once per tick.
    public private(set) var now: MonotonicInstant

    let io: any Driver
    let pool = BufferPool()
    let waker: Waker
    var slots: ConnectionTable
    var timers = TimerHeap()
    var listeners: [ListenerEntry] = []
    var watches: [WatchEntry] = []
    var firstFreeWatch: Int32 = -1
    var nextIdentity: UInt32 = 1

    var pacing: Pacing

    /// Connections with something to send at the end of this tick.
    var dirty: [UInt32] = []
    private var dirtyBatch: [UInt32] = []
    /// Connections that resumed with unused input.
    var represented: [Connection] = []
    /// `closed` calls to be made.
    var closing: [PendingClose] = []
    /// Watches to be reported ready although the kernel cannot watch them.
    var readyOnce: [WatchID] = []
    private var hooks: [(id: HookID, body: () -> Void)] = []
    private var nextHook: UInt64 = 0
    private var hooksChanged = false
    private var mailboxes: [AttachedMailbox] = []
    /// Where the resolver's threads answer; made with the first name to resolve.
    var resolverAnswers: Mailbox<ResolverAnswer>?
    /// Plaintext of TLS records, shared by all connections; made with the first TLS connection.
    private var plaintextBlock: UnsafeMutableRawBufferPointer?

    private(set) var isStopping = false
    private(set) var isDown = false
    /// Everything is closed and told.
    private(set) var hasEnded = false
    private var isInTick = false
    private var isFiringTimers = false

    /// A `closed` that has to be delivered once no handler is on the stack.
    struct PendingClose {
        let handler: (any ConnectionHandler)?
        let connection: Connection
        let reason: CloseReason
        /// The slot to be released afterwards; nil for one that never had a slot or lives on, draining.
        let slot: Int?
    }

    private struct AttachedMailbox {
        let drain: () -> Void
        let close: () -> Void
    }

    /// Makes the loop and its driver on the calling thread.
    ///
    /// - Throws: `ReactorError` when the kernel refuses (descriptors, memory, or io_uring asked for by name).
    public init(configuration: LoopConfiguration = LoopConfiguration()) throws(ReactorError) {
        precondition(configuration.maximumConnections > 0)
        precondition(configuration.maximumConnections < 1 << 24)
        precondition(configuration.receiveBufferBytes >= 4096)
        self.configuration = configuration
        waker = try Waker()
        io = try makeDriver(configuration)
        driver = io.choice
        pacing = Pacing(period: configuration.gathering)
        slots = ConnectionTable(capacity: configuration.maximumConnections)
        now = .now()
        io.bind(to: self)
        io.addWaker(waker.fd)
    }

    /// Releases descriptors and memory.
    ///
    /// A loop that is dropped without `stop()` tells nobody: `closed` is not called.
    deinit {
        release()
        slots.deallocate()
    }

    // MARK: Running

    /// Runs until `stop()`, then closes everything that is left and returns.
    public func run() {
        while isStopping == false { tick(maximumWait: nil) }
        tearDown()
    }

    /// Runs one tick: waits for at most `maximumWait`, shorter when something is due.
    ///
    /// For tests and tools.
    public func runOnce(maximumWait: Duration) {
        guard isDown == false else { return }
        tick(maximumWait: maximumWait)
        if isStopping { tearDown() }
    }

    /// From the loop's own thread: the loop ends after the current tick.
    ///
    /// Open connections are closed and told so.
    public func stop() {
        isStopping = true
        if isInTick == false, isDown == false { tearDown() }
    }

    func refreshNow() { now = .now() }

    private func tick(maximumWait: Duration?) {
        precondition(isInTick == false, "a loop is not run from inside one of its handlers")
        isInTick = true
        counters.ticks += 1
        let lastStart = now
        let limit = deadline(maximumWait)
        var gathering = pacing.next(after: lastStart)
        if let limit, let wanted = gathering { gathering = min(wanted, limit) }
        if gathering != nil { counters.gatheredTicks += 1 }
        io.wait(until: limit, gathering: gathering)
        pacing.began(now, after: lastStart)
        representCarried()
        reportReadyOnce()
        fireTimers()
        deliverClosed()
        runHooks()
        flushDirty()
        isInTick = false
    }

    private func deadline(_ maximumWait: Duration?) -> MonotonicInstant? {
        let hasWork =
            isStopping || closing.isEmpty == false || represented.isEmpty == false || dirty.isEmpty == false
            || readyOnce.isEmpty == false
        if hasWork { return now }
        guard let maximumWait else { return timers.nextDeadline }
        let latest = MonotonicInstant.now() + maximumWait
        return timers.nextDeadline.map { min($0, latest) } ?? latest
    }

    // MARK: Timers

    /// Runs `body` once, `delay` after this tick's time or later; not before the next tick.
    @discardableResult
    public func schedule(after delay: Duration, _ body: @escaping () -> Void) -> TimerID {
        // Between ticks of a loop that is not running yet, the cached time may be old.
        let start = isInTick ? now : MonotonicInstant.now()
        return schedule(at: start + delay, body)
    }

    /// Runs `body` once at `deadline` or later, not before the next tick: for periodic work without drift, add
    /// the period to the last deadline.
    @discardableResult
    public func schedule(at deadline: MonotonicInstant, _ body: @escaping () -> Void) -> TimerID {
        // Behind all that is due already: work that is always behind, and schedules itself for a time that has
        // passed, keeps no other timer from its turn.
        timers.schedule(at: isFiringTimers ? max(deadline, now) : deadline, body)
    }

    /// Takes the timer out; one that fired or was cancelled before is passed over.
    public func cancel(_ timer: TimerID) {
        timers.cancel(timer)
    }

    private func fireTimers() {
        isFiringTimers = true
        defer { isFiringTimers = false }
        // What is scheduled from here on waits for the next tick: input and output have their turn between.
        let mark = timers.mark
        for _ in 0..<Loop.maximumTimersPerTick {
            guard let body = timers.popDue(at: now, before: mark) else { return }
            body()
        }
    }

    // MARK: End of tick

    /// Runs `body` at the end of every tick, before what is queued is flushed; stays until removed.
    public func atEndOfTick(_ body: @escaping () -> Void) -> HookID {
        nextHook += 1
        let id = HookID(rawValue: nextHook)
        hooks.append((id, body))
        return id
    }

    /// Takes the hook out; from inside a hook it counts at once.
    public func removeHook(_ id: HookID) {
        hooks.removeAll { $0.id == id }
        hooksChanged = true
    }

    private func runHooks() {
        var index = 0
        hooksChanged = false
        while index < hooks.count {
            let (id, body) = hooks[index]
            body()
            if hooksChanged {
                // Hooks went away: go on behind the one that just ran, wherever it is now.
                hooksChanged = false
                index = hooks.firstIndex { $0.id.rawValue > id.rawValue } ?? hooks.count
            } else {
                index += 1
            }
        }
    }

    private func flushDirty() {
        swap(&dirty, &dirtyBatch)
        for index in dirtyBatch { flush(Int(index)) }
        dirtyBatch.removeAll(keepingCapacity: true)
    }

    // MARK: Mailboxes

    /// Takes the messages of `mailbox`, those posted before as well, in order, on this thread.
    public func attach<Message: Sendable>(
        _ mailbox: Mailbox<Message>, _ receive: @escaping (Message) -> Void
    ) {
        var batch: [Message] = []
        let drain = {
            mailbox.swap(&batch)
            for message in batch { receive(message) }
            batch.removeAll(keepingCapacity: true)
        }
        mailboxes.append(AttachedMailbox(drain: drain, close: { mailbox.close() }))
        mailbox.attach(waker)
    }

    func wasWoken() {
        waker.rest()
        onWake?()
        var index = 0
        while index < mailboxes.count {
            mailboxes[index].drain()
            index += 1
        }
    }

    /// What a `LoopThread` looks at when the loop is woken.
    var onWake: (() -> Void)?

    // MARK: The end

    /// Closes everything and tells the handlers.
    private func tearDown() {
        guard isDown == false else { return }
        isDown = true
        isStopping = true
        for index in 0..<slots.initialised { finish(index, .local) }
        while closing.isEmpty == false { deliverClosed() }
        release()
    }

    private func release() {
        isDown = true
        hasEnded = true
        for index in listeners.indices { closeListener(index, generation: listeners[index].generation) }
        hooks.removeAll()
        for mailbox in mailboxes { mailbox.close() }
        mailboxes.removeAll()
        timers.removeAll()
        represented.removeAll()
        dirty.removeAll()
        for index in watches.indices where watches[index].handler != nil {
            unwatch(WatchID(index: UInt32(index), identity: watches[index].identity))
        }
        onWake = nil
        for index in 0..<slots.initialised where slots.base[index].fd >= 0 { io.removeConnection(index) }
        io.shutDown()
        for index in 0..<slots.initialised { releaseContents(index) }
        plaintextBlock?.deallocate()
        plaintextBlock = nil
        context = nil
    }

    func plaintextBuffer() -> UnsafeMutableRawBufferPointer {
        if let plaintextBlock { return plaintextBlock }
        let block = UnsafeMutableRawBufferPointer.allocate(byteCount: 65536, alignment: 16)
        plaintextBlock = block
        return block
    }
}

/// Chooses the driver that the configuration asks for and the kernel allows.
private func makeDriver(_ configuration: LoopConfiguration) throws(ReactorError) -> any Driver {
    let bytes = configuration.receiveBufferBytes
    switch configuration.ioMode {
    case .epoll:
        return try EpollDriver(receiveBufferBytes: bytes, reason: "asked for")
    case .ioURing:
        return try IOURingDriver(configuration, reason: "asked for")
    case .auto:
        do throws(ReactorError) {
            let driver = try IOURingDriver(configuration, reason: "the kernel allows it")
            // Measured: arming each receive anew makes io_uring dearer than epoll (ADR 2 and its successor).
            if driver.features.contains(.multishotReceive) { return driver }
            return try EpollDriver(
                receiveBufferBytes: bytes, reason: "io_uring without multishot receive costs more")
        } catch {
            return try EpollDriver(receiveBufferBytes: bytes, reason: "\(error)")
        }
    }
}
