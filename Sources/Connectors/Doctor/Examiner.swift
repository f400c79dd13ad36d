import Protocols
import Reactor

/// Asks HTTP servers and waits for the answers: a loop of its own on the calling thread.
final class Examiner {
    let loop: Loop
    private let tls: TLSClientContext?

    /// How long an answer may take; a person waits.
    static let patience: Duration = .seconds(10)

    init(tls: TLSClientContext?) throws(ReactorError) {
        loop = try Loop(configuration: LoopConfiguration())
        self.tls = tls
    }

    /// Sends one request on a connection of its own.
    func ask(
        _ origin: HTTPOrigin, _ request: HTTPClientRequest, proxy: HTTPProxy? = nil
    ) -> Result<HTTPClientResponse, HTTPClientError> {
        var configuration = HTTPClientConfiguration()
        configuration.proxy = proxy
        let client = HTTPClient(loop: loop, origin: origin, tls: tls, configuration: configuration)
        defer { client.close() }
        var answer: Result<HTTPClientResponse, HTTPClientError>?
        client.send(request) { answer = $0 }
        wait { answer != nil }
        let none = HTTPClientError(kind: .timeout, delivery: .outcomeUnknown, description: "no answer")
        return answer ?? .failure(none)
    }

    /// Runs the loop until something is so, at most for `patience` and a little.
    func wait(until condition: () -> Bool) {
        let end = MonotonicInstant.now() + Self.patience + .seconds(2)
        while !condition(), MonotonicInstant.now() < end { loop.runOnce(maximumWait: .milliseconds(50)) }
    }
}
