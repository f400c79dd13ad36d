/// A handle to one connection of a loop: small, copyable, usable only on that loop's thread.
///
/// A handle outlives its connection harmlessly: calls on a dead connection do nothing.
public struct Connection: Hashable {
    /// The loop that owns the connection.
    public let loop: Loop
    let slot: UInt32
    let generation: UInt32

    /// Queues a copy of `bytes`; all that is queued in a tick goes out in one send at its end.
    ///
    /// Also allowed before `opened`: it goes out then.
    @discardableResult
    public func send(_ bytes: RawSpan) -> SendResult {
        bytes.withUnsafeBytes { loop.send($0, on: self) }
    }

    /// Queues a copy of `bytes`, as `send(_: RawSpan)`.
    @discardableResult
    public func send(_ bytes: [UInt8]) -> SendResult {
        bytes.withUnsafeBytes { loop.send($0, on: self) }
    }

    /// Bytes queued and not yet taken by the kernel.
    public var queuedBytes: Int { loop.queuedBytes(of: self) }

    /// Whether the send queue is above its high-water mark (half of its limit) and has not yet fallen below
    /// the low-water mark (a quarter); `drained` tells when it has.
    public var isAboveHighWater: Bool { loop.isAboveHighWater(self) }

    /// Closes once the queue is flushed, for which the linger time is allowed.
    ///
    /// No more input is handed out.
    public func close() { loop.close(self) }

    /// Closes as `close()` does, and gives `reason` to `closed` instead of `.local`.
    public func close(reason: CloseReason) { loop.close(self, reason: reason) }

    /// Closes at once with RST; what is queued is dropped.
    public func reset() { loop.reset(self, reason: .local) }

    /// Closes at once with RST and gives `reason` to `closed`.
    public func reset(reason: CloseReason) { loop.reset(self, reason: reason) }

    /// Half-closes: after the queue is flushed the peer sees the end of the stream; input goes on.
    public func shutdownOutput() { loop.shutdownOutput(self) }

    /// Hands out no more input until `resumeReading()`.
    ///
    /// The peer is slowed down by TCP. While paused, the end of the peer's stream goes unnoticed too.
    public func pauseReading() { loop.pauseReading(self) }

    /// Goes on handing out input.
    ///
    /// Bytes that a handler left unused are presented again at once, so a handler may use one message,
    /// pause, and find the next one when it resumes.
    public func resumeReading() { loop.resumeReading(self) }

    /// Begins TLS on a connection that was opened without it, as after a proxy's answer to `CONNECT`; `opened` is called
    /// again when the handshake is done, and what is sent meanwhile goes out then.
    ///
    /// Not from inside `received`, whose bytes would be taken for part of the handshake by nobody.
    ///
    /// - Parameters:
    ///   - serverName: Asked for (SNI) and looked for in the certificate.
    ///   - timeout: For the handshake.
    public func startTLS(_ context: TLSClientContext, serverName: String, timeout: Duration) {
        loop.startTLS(on: self, context, serverName: serverName, timeout: timeout)
    }

    /// The other end's address; nil before connecting and after closing.
    ///
    /// Costs a system call.
    public var peerAddress: SocketAddress? { loop.peerAddress(of: self) }

    /// This end's address; nil before connecting and after closing.
    ///
    /// Costs a system call.
    public var localAddress: SocketAddress? { loop.localAddress(of: self) }

    /// Whether `opened` has been called and neither side has closed it yet (the peer may have half-closed).
    public var isOpen: Bool { loop.isOpen(self) }

    /// The same connection of the same loop.
    public static func == (left: Connection, right: Connection) -> Bool {
        left.slot == right.slot && left.generation == right.generation && left.loop === right.loop
    }

    /// Hashes the slot and its generation.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(slot)
        hasher.combine(generation)
    }
}
