import Glibc
import Histogram
import Synchronization

/// People and programs that read the API during a run: requests at a pace of their own, each timed from when it was due.
final class APIReaders: Sendable {
    private let stopped = Atomic<Bool>(false)
    private let done = Slot<Outcome>()

    struct Outcome: Sendable {
        var latency = Histogram<UInt64>(
            highestTrackableValue: 60_000_000, numberOfSignificantValueDigits: .three)
        var answered = 0
        var failed = 0
    }

    private static let paths = [
        "/api/calls?limit=50", "/api/calls?status=answered&limit=50", "/health",
        "/api/calls?direction=inbound&limit=20",
    ]

    init(requestsPerSecond: Double, port: UInt16) {
        let body = Start { [self] in
            var outcome = Outcome()
            let start = Clock.seconds
            var number = 0
            while !stopped.load(ordering: .relaxed) {
                let due = start + Double(number) / requestsPerSecond
                let pause = due - Clock.seconds
                if pause > 0 { usleep(UInt32(pause * 1e6)) }
                let isAnswered = HTTPProbe.get(Self.paths[number % Self.paths.count], port: port) != nil
                outcome.answered += isAnswered ? 1 : 0
                outcome.failed += isAnswered ? 0 : 1
                _ = outcome.latency.record(UInt64(max(0, (Clock.seconds - due) * 1e6)))
                number += 1
            }
            done.set(outcome)
        }
        var thread = pthread_t()
        pthread_create(
            &thread, nil,
            { pointer in
                guard let pointer else { return nil }
                Unmanaged<Start>.fromOpaque(pointer).takeRetainedValue().body()
                return nil
            }, Unmanaged.passRetained(body).toOpaque())
        pthread_detach(thread)
    }

    func stop() -> Outcome {
        stopped.store(true, ordering: .relaxed)
        return done.wait(seconds: 10) ?? Outcome()
    }

    private final class Start: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
}
