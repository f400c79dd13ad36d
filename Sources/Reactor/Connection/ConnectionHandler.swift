/// What happens on one connection.
///
/// All calls come on the loop's thread, never one inside another.
public protocol ConnectionHandler: AnyObject {
    /// Accepted or connected, and the TLS handshake done. At most once, before any other call but `closed`.
    func opened(_ connection: Connection)

    /// Bytes arrived.
    ///
    /// `bytes` are borrowed until this returns: what is kept must be copied. Bytes not used are carried over
    /// and presented again, in front of what comes next. With `Consumed.needed` the carry is completed only
    /// up to there, and parsing goes on in place in the new buffer.
    ///
    /// - Returns: How much was used, from the front.
    func received(_ bytes: RawSpan, on connection: Connection) -> Consumed

    /// Bytes arrived; until this returns their memory is the handler's, which may change them where they lie.
    ///
    /// This is what the loop calls. What is not used is carried over as it is left. The default implementation
    /// lets `received(_:on:)` read them.
    func received(changing bytes: inout MutableRawSpan, on connection: Connection) -> Consumed

    /// The send queue fell below the low-water mark after having been above the high-water mark or having
    /// refused something.
    func drained(_ connection: Connection)

    /// The peer will send nothing more; sending is still possible. Unused bytes are dropped.
    ///
    /// The default implementation closes.
    func inputClosed(_ connection: Connection)

    /// The connection is over, also when it never opened. Exactly once, and last.
    func closed(_ connection: Connection, _ reason: CloseReason)
}

extension ConnectionHandler {
    /// Does nothing.
    public func opened(_ connection: Connection) {}

    /// Changes nothing.
    public func received(changing bytes: inout MutableRawSpan, on connection: Connection) -> Consumed {
        received(bytes.bytes, on: connection)
    }

    /// Does nothing.
    public func drained(_ connection: Connection) {}

    /// Closes, after what is queued has been sent.
    public func inputClosed(_ connection: Connection) {
        connection.close()
    }
}

/// What a handler did with the bytes it was given.
public struct Consumed: Hashable, Sendable {
    /// Bytes used, from the front.
    public var count: Int
    /// Total bytes needed from the first unused one to get on; 0 when unknown.
    public var needed: Int

    /// `count` bytes were used; to get on, `needed` bytes from there on are wanted (0: any more).
    public init(_ count: Int, needed: Int = 0) {
        self.count = count
        self.needed = needed
    }

    /// Everything was used: `count` is the size of what was presented.
    public static func all(_ count: Int) -> Consumed { Consumed(count) }
}

/// What became of bytes given to `Connection.send`.
public enum SendResult: Hashable, Sendable {
    /// Taken; goes out at the end of this tick or as the peer reads.
    case queued
    /// The queue's bound would be passed: nothing was taken.
    case overflow
    /// The connection is closing or closed, or its output was shut down: nothing was taken.
    case closed
}
