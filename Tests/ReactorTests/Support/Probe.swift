import Reactor

/// A handler that notes what happens, and does what the test hangs on it.
final class Probe: ConnectionHandler {
    private(set) var opens = 0
    private(set) var closes = 0
    private(set) var drains = 0
    private(set) var inputEnds = 0
    private(set) var reason: CloseReason?
    private(set) var connection: Connection?
    /// Everything that was used, in order.
    var bytes: [UInt8] = []
    /// Sizes as presented.
    var presented: [Int] = []

    var onOpened: (Connection) -> Void = { _ in }
    /// What `received` answers; nil uses everything.
    var onReceived: (([UInt8], Connection) -> Consumed)?
    var onDrained: (Connection) -> Void = { _ in }
    /// Nil closes, as the default implementation does.
    var onInputClosed: ((Connection) -> Void)?
    var onClosed: (Connection, CloseReason) -> Void = { _, _ in }

    var isClosed: Bool { closes > 0 }

    func opened(_ connection: Connection) {
        opens += 1
        self.connection = connection
        onOpened(connection)
    }

    func received(_ bytes: RawSpan, on connection: Connection) -> Consumed {
        let copy = bytes.withUnsafeBytes { Array($0) }
        presented.append(copy.count)
        let used = onReceived?(copy, connection) ?? .all(copy.count)
        self.bytes += copy.prefix(used.count)
        return used
    }

    func drained(_ connection: Connection) {
        drains += 1
        onDrained(connection)
    }

    func inputClosed(_ connection: Connection) {
        inputEnds += 1
        if let onInputClosed { onInputClosed(connection) } else { connection.close() }
    }

    func closed(_ connection: Connection, _ reason: CloseReason) {
        closes += 1
        self.reason = reason
        // A probe that kept its handle would keep the loop.
        self.connection = nil
        onClosed(connection, reason)
        // What the test hung on it may hold the probe, or others that hold it.
        onOpened = { _ in }
        onReceived = nil
        onDrained = { _ in }
        onInputClosed = nil
        onClosed = { _, _ in }
    }
}
