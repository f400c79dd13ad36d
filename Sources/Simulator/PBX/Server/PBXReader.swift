import Connectors
import Protocols
import Reactor

/// One WebSocket that reads events, for one or more applications.
final class PBXReader: WebSocketDelegate {
    private weak var simulator: PBXSimulator?
    let applicationNames: [String]
    let subscribesToAll: Bool
    private(set) var socket: WebSocketConnection?
    /// Frames of this tick, sent together at its end.
    private var output: [UInt8] = []
    /// Since when the kernel took none of what waits, and how much it had taken then.
    private var stuckSince: MonotonicInstant?
    private var takenBefore: UInt64 = 0
    /// Bytes given to the connection.
    private var bytesFlushed: UInt64 = 0
    /// Whether it is played dead: nothing is sent or read any more.
    private(set) var isSilent = false
    private(set) var eventsSent: UInt64 = 0
    private(set) var bytesSent: UInt64 = 0
    var replay: ReplayCursor?
    /// Counted from 1 in the order of the handshakes.
    private(set) var number = 0

    /// Bytes gathered before they are sent without waiting for the end of the tick.
    private static let flushBytes = 256 << 10

    init(simulator: PBXSimulator, applicationNames: [String], subscribesToAll: Bool) {
        self.simulator = simulator
        self.applicationNames = applicationNames
        self.subscribesToAll = subscribesToAll
        output.reserveCapacity(Self.flushBytes + 65_536)
    }

    /// Whether it can be sent to.
    var isOpen: Bool { socket?.isOpen == true && !isSilent }

    /// Bytes that wait to be taken by the kernel, or to be sent at the end of the tick.
    var queuedBytes: Int { output.count + (socket?.queuedBytes ?? 0) }

    /// Queues one event, made of two parts.
    func send(_ body: UnsafeRawBufferPointer, _ tail: [UInt8]) {
        let count = body.count + tail.count
        FrameWriter.appendHeader(.text, count: count, fin: true, maskingKey: nil, to: &output)
        output.append(contentsOf: body)
        output.append(contentsOf: tail)
        simulator?.sentLog?.append(reader: number, body, tail)
        eventsSent += 1
        bytesSent += UInt64(count)
        if output.count >= Self.flushBytes { flush() }
    }

    /// Queues one whole event.
    func send(_ event: some Collection<UInt8>) {
        FrameWriter.appendHeader(.text, count: event.count, fin: true, maskingKey: nil, to: &output)
        output.append(contentsOf: event)
        simulator?.sentLog?.append(reader: number, event)
        eventsSent += 1
        bytesSent += UInt64(event.count)
        if output.count >= Self.flushBytes { flush() }
    }

    /// Queues frames made beforehand.
    func send(frames: ArraySlice<UInt8>, events: Int) {
        flush()
        let result = frames.withUnsafeBytes { socket?.sendFrames($0.bytes) ?? .closed }
        guard result == .queued else { return result == .overflow ? cutOff() : () }
        bytesFlushed += UInt64(frames.count)
        bytesSent += UInt64(frames.count)
        eventsSent += UInt64(events)
    }

    /// Queues bytes that need not be frames.
    func sendRaw(_ bytes: [UInt8]) { output.append(contentsOf: bytes) }

    /// Gives what was queued to the connection; a reader that is too far behind is cut off.
    func flush() {
        guard !output.isEmpty else { return }
        let result = output.withUnsafeBytes { socket?.sendFrames($0.bytes) ?? .closed }
        if result == .queued { bytesFlushed += UInt64(output.count) }
        output.removeAll(keepingCapacity: true)
        if result == .overflow { cutOff() }
    }

    /// Cuts off a reader that took nothing for longer than `limit` although something waits, as Asterisk does.
    func checkSlowness(now: MonotonicInstant, limit: Duration) {
        let queued = socket?.queuedBytes ?? 0
        let taken = bytesFlushed &- UInt64(queued)
        guard queued > 0, taken == takenBefore, let since = stuckSince else {
            takenBefore = taken
            stuckSince = now
            return
        }
        if now - since >= limit { cutOff() }
    }

    private func cutOff() {
        simulator?.readersCutOff += 1
        socket?.abort()
    }

    /// Plays dead.
    func fallSilent() {
        flush()
        isSilent = true
        socket?.transport?.pauseReading()
    }

    /// Ends the TCP connection without a close frame.
    func endWithoutClose() {
        flush()
        socket?.transport?.close()
    }

    /// Resets the TCP connection in the next tick, after what was queued went out.
    func resetSoon(on loop: Loop) {
        flush()
        loop.schedule(after: .milliseconds(20)) { [weak self] in self?.socket?.abort() }
    }

    func close() { socket?.close(code: 1000, reason: "") }

    // MARK: WebSocketDelegate

    func opened(_ socket: WebSocketConnection) {
        self.socket = socket
        number = (simulator?.readersAccepted ?? 0) + 1
        simulator?.opened(self)
    }

    /// Asterisk answers text with an error on 22 and ignores it on 16; here it is ignored.
    func message(_ kind: WebSocketMessageKind, _ payload: RawSpan, on socket: WebSocketConnection) {}

    func closed(_ socket: WebSocketConnection, _ close: WebSocketClose) {
        self.socket = nil
        simulator?.closed(self, close)
    }
}
