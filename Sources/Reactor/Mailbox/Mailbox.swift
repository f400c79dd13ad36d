/// The only way into a loop from another thread: a bounded queue of messages, many senders, one loop.
///
/// Messages of one sender arrive in the order of posting. The loop is woken once per batch. Before
/// `Loop.attach` the messages are kept.
public final class Mailbox<Message: Sendable>: Sendable {
    private struct State: Sendable {
        var queue: [Message] = []
        var waker: Waker?
        var isClosed = false
    }

    /// How many messages may wait; a bound, reserved only as it is used.
    public let capacity: Int
    /// How many more may wait that must not be refused (`postControl`).
    public let reserve: Int
    private let state = Locked(State())

    /// A mailbox that holds at most `capacity` messages, and `reserve` more by `postControl`.
    public init(capacity: Int, reserve: Int = 0) {
        precondition(capacity > 0 && reserve >= 0)
        self.capacity = capacity
        self.reserve = reserve
    }

    /// Puts `message` at the end, from any thread.
    ///
    /// O(1), takes a lock for a few nanoseconds.
    ///
    /// - Returns: False when the mailbox is full or its loop is gone; the message was not taken.
    public func post(_ message: Message) -> Bool { post(message, within: capacity) }

    /// As `post`, for messages that must not be lost: the reserve is theirs alone, also when the mailbox is full.
    ///
    /// Whoever sizes the reserve by how many such messages there can be between two turns of the loop is never
    /// refused.
    public func postControl(_ message: Message) -> Bool { post(message, within: capacity + reserve) }

    private func post(_ message: Message, within bound: Int) -> Bool {
        let (taken, waker) = state.withLock { state -> (Bool, Waker?) in
            guard state.isClosed == false else { return (false, nil) }
            guard state.queue.count < bound else { return (false, nil) }
            state.queue.append(message)
            // The first message of a batch wakes; who comes later finds the loop already called.
            return (true, state.queue.count == 1 ? state.waker : nil)
        }
        waker?.wake()
        return taken
    }

    /// How many messages wait now.
    public var count: Int { state.withLock { $0.queue.count } }

    /// Whether no message waits now.
    public var isEmpty: Bool { count == 0 }

    func attach(_ waker: Waker) {
        let hasMessages = state.withLock { state in
            precondition(state.waker == nil, "a mailbox belongs to one loop")
            state.waker = waker
            return state.queue.isEmpty == false
        }
        if hasMessages { waker.wake() }
    }

    /// Gives all that waits to the caller and takes `spare` (empty, with room) in its place.
    func swap(_ batch: inout [Message]) {
        state.withLock { Swift.swap(&$0.queue, &batch) }
    }

    /// The loop is gone: nothing is taken any more, what waits is dropped.
    func close() {
        let rest = state.withLock { state -> [Message] in
            let rest = state.queue
            state.queue = []
            state.isClosed = true
            state.waker = nil
            return rest
        }
        _ = rest
    }
}
