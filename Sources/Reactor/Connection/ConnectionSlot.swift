/// Where a connection is in its life.
///
/// ```
///            listen ──────────────┐
///                                 ▼
/// free ─ connect ─▶ connecting ─▶ handshaking ─▶ open ─ close() ─▶ closing ─ flushed ─▶ draining
///   ▲                   │            │ (TLS)      │                  │                    │
///   └── closed() called ┴─ finished ◀┴────────────┴──────────────────┴────────────────────┘
///       and nothing in flight
/// ```
enum Phase: UInt8 {
    /// In the free list.
    case free
    /// Resolving or connecting; no descriptor yet.
    case connecting
    /// Connected, TLS handshake under way.
    case handshaking
    case open
    /// `close()` was called: flushing, input is discarded.
    case closing
    /// Flushed and FIN sent, `closed` delivered; waits for the peer's FIN, so that late input does not make the
    /// kernel send RST, which could destroy what the peer has not read yet.
    case draining
    /// The descriptor is gone; waits for `closed` to be delivered and for operations in flight.
    case finished
}

/// State of one connection, in the loop's table; plain struct storage (no class, no exclusivity checks).
struct ConnectionSlot {
    struct Flags: OptionSet {
        let rawValue: UInt32

        /// The owner paused reading.
        static let readPaused = Flags(rawValue: 1 << 0)
        /// The peer's end of stream was handed out.
        static let inputEnded = Flags(rawValue: 1 << 1)
        /// The peer's end of stream came while paused.
        static let endPending = Flags(rawValue: 1 << 2)
        /// Half-close once the queue is flushed.
        static let shutdownRequested = Flags(rawValue: 1 << 3)
        /// FIN has been sent.
        static let outputShut = Flags(rawValue: 1 << 4)
        static let aboveHighWater = Flags(rawValue: 1 << 5)
        /// In the loop's list of connections to flush.
        static let dirty = Flags(rawValue: 1 << 6)
        /// In the loop's list of connections whose carry is to be presented again.
        static let represent = Flags(rawValue: 1 << 7)
        /// Sending failed with EPIPE: the queue is dropped, the reading side will tell why.
        static let outputBroken = Flags(rawValue: 1 << 8)
        /// `closed` is queued or delivered.
        static let closeQueued = Flags(rawValue: 1 << 9)
        /// `closed` was delivered and the slot may go once nothing is in flight.
        static let closeDelivered = Flags(rawValue: 1 << 10)
        /// A handler of this connection is on the stack.
        static let inCallback = Flags(rawValue: 1 << 11)
        /// Somebody waits for the answer to each input.
        static let urgent = Flags(rawValue: 1 << 12)

        // The drivers' own.

        /// epoll: more to read without another event.
        static let readable = Flags(rawValue: 1 << 16)
        /// epoll: the peer half-closed or the socket failed, so read to the end even after a short read.
        static let hangUp = Flags(rawValue: 1 << 17)
        /// epoll: in the driver's list of connections to read again.
        static let listed = Flags(rawValue: 1 << 18)
        /// epoll: the kernel took no more; wait for writability.
        static let sendBlocked = Flags(rawValue: 1 << 19)
        /// io_uring: a receive is armed.
        static let receiveArmed = Flags(rawValue: 1 << 20)
        /// io_uring: the armed receive is being cancelled.
        static let receiveCancelling = Flags(rawValue: 1 << 21)
        /// io_uring: arm a receive again at the end of the tick.
        static let rearm = Flags(rawValue: 1 << 22)
        /// io_uring: a send is in flight, from `flying`.
        static let sendInFlight = Flags(rawValue: 1 << 23)
    }

    var handler: (any ConnectionHandler)?
    var tls: TLSSession?
    var attempt: ConnectAttempt?
    /// Bytes for the kernel (ciphertext under TLS).
    var out = ByteQueue()
    /// io_uring: the bytes of the send in flight; must not move until it completes.
    var flying = ByteQueue()
    /// Input that the handler left unused.
    var carry = ByteQueue()
    /// Total bytes wanted in `carry` before it is presented again; 0 when unknown.
    var carryNeeded = 0
    var sendLimit: Int32 = 0
    var maximumCarry: Int32 = 0
    var fd: Int32 = -1
    var generation: UInt32 = 1
    var flags: Flags = []
    var phase = Phase.free
    /// Operations that the driver still has in the kernel for this slot.
    var inFlight: UInt16 = 0
    /// How long `close()` may flush, in milliseconds.
    var lingerMilliseconds: UInt32 = 0
    var timer: TimerID?
    var nextFree: Int32 = -1
    /// Given to `closed` instead of what close() would say.
    var closeReason: CloseReason?
}

/// The loop's connection slots: memory for the largest number is reserved, and touched only as it is used.
struct ConnectionTable {
    let base: UnsafeMutablePointer<ConnectionSlot>
    let capacity: Int
    private(set) var initialised = 0
    private(set) var used = 0
    private var firstFree: Int32 = -1

    init(capacity: Int) {
        self.capacity = capacity
        base = .allocate(capacity: capacity)
    }

    /// A free slot, or nil when all are in use.
    mutating func take() -> Int? {
        if firstFree >= 0 {
            let index = Int(firstFree)
            firstFree = base[index].nextFree
            used += 1
            return index
        }
        guard initialised < capacity else { return nil }
        let index = initialised
        (base + index).initialize(to: ConnectionSlot())
        initialised += 1
        used += 1
        return index
    }

    /// Puts the slot back; its generation moves on, so that old handles and completions no longer fit.
    mutating func give(_ index: Int) {
        let generation = base[index].generation &+ 1
        base[index] = ConnectionSlot()
        base[index].generation = generation
        base[index].nextFree = firstFree
        firstFree = Int32(index)
        used -= 1
    }

    func deallocate() {
        base.deinitialize(count: initialised)
        base.deallocate()
    }
}
