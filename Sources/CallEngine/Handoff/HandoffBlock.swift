public import Protocols

/// Events on their way to the loop that writes their rows: read once, copied once, handed over as a block.
///
/// Filled by one loop, then given away through a mailbox and never touched by the giver again; that hand-over is what
/// makes it safe to send.
public final class HandoffBlock: @unchecked Sendable {
    /// Bytes after which a block is sent before the end of the tick.
    public static let fullBytes = 1 << 18

    /// Bytes that wait for a loop that does not take its mail, before events are lost.
    public static let maximumBytes = 1 << 26

    /// One event of a block.
    public struct Entry: Sendable {
        /// The event, its places relative to its own payload.
        public var event: ARIEvent
        /// Where it belongs.
        public var placement: Placement
        /// Our time of receipt.
        public var receivedAt: Timestamp
        /// Where the payload lies in `bytes`.
        public var offset: Int
        /// Length of the payload, with what the event's places point to behind it.
        public var count: Int
        /// Bytes of the payload that are stored.
        public var storedCount: Int
    }

    /// The events in the order of receipt.
    public private(set) var entries: [Entry] = []
    private var bytes: [UInt8] = []
    /// When its first event was received, in monotonic nanoseconds of the giving loop's tick.
    public let receipt: UInt64

    /// An empty block.
    public init(receipt: UInt64) {
        self.receipt = receipt
    }

    /// Whether it is time to send it.
    public var isFull: Bool { bytes.count >= Self.fullBytes }

    /// Whether no more may be put in.
    public var isOverfull: Bool { bytes.count >= Self.maximumBytes }

    /// Copies an event and its payload.
    public func append(
        _ event: ARIEvent, payload: UnsafeRawBufferPointer, placement: Placement, receivedAt: Timestamp,
        storedCount: Int
    ) {
        entries.append(
            Entry(
                event: event, placement: placement, receivedAt: receivedAt, offset: bytes.count,
                count: payload.count, storedCount: storedCount))
        bytes.append(contentsOf: payload)
    }

    /// Calls `body` with each event and its payload, borrowed for the call.
    public func forEach(_ body: (Entry, UnsafeRawBufferPointer) -> Void) {
        bytes.withUnsafeBytes { all in
            for entry in entries {
                body(entry, UnsafeRawBufferPointer(rebasing: all[entry.offset..<entry.offset + entry.count]))
            }
        }
    }
}
