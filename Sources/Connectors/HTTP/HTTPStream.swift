import Protocols
package import Reactor

/// An answer under way whose length is not known: Server-Sent Events, for instance.
///
/// A reader that lags more than `HTTPServerLimits.maximumStreamQueueBytes` behind is cut off, so that it
/// costs bounded memory and never delays others.
package final class HTTPStream {
    private var connection: HTTPServerConnection?
    private let isChunked: Bool
    private var output: [UInt8] = []

    /// Called once when the stream is over for another reason than `end()`: the peer left or was cut off.
    package var onClosed: (() -> Void)?

    init(connection: HTTPServerConnection?, isChunked: Bool) {
        self.connection = connection
        self.isChunked = isChunked
    }

    /// Whether the reader is still there.
    package var isOpen: Bool { connection != nil }

    /// Bytes not yet taken by the kernel.
    package var queuedBytes: Int { connection?.queuedBytes ?? 0 }

    /// Sends bytes.
    ///
    /// - Returns: `.overflow` when the reader was too slow and has been cut off (`onClosed` follows),
    ///   `.closed` when the stream was over before.
    @discardableResult
    package func write(_ bytes: [UInt8]) -> SendResult {
        guard let connection else { return .closed }
        guard !bytes.isEmpty else { return .queued }
        output.removeAll(keepingCapacity: true)
        if isChunked {
            HTTPWriter.chunk(bytes.span.bytes, to: &output)
        } else {
            output.append(contentsOf: bytes)
        }
        return connection.writeStream(output)
    }

    /// Ends the answer properly; the connection closes when all is sent.
    package func end() {
        guard let connection else { return }
        self.connection = nil
        onClosed = nil
        output.removeAll(keepingCapacity: true)
        if isChunked { HTTPWriter.lastChunk(to: &output) }
        connection.endStream(lastChunk: output)
    }

    func lost() {
        connection = nil
        let callback = onClosed
        onClosed = nil
        callback?()
    }
}
