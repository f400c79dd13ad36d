internal import CReactor
internal import Glibc
internal import Synchronization

/// A thread that makes a `Loop` and runs it.
///
/// The loop never leaves its thread.
public final class LoopThread: Sendable {
    /// Stack of a loop's thread; nothing recurses, but a debug build's frames are large.
    static let stackBytes = 2 << 20

    private enum Start: Sendable {
        case waiting
        case running(Waker)
        case failed(ReactorError)
    }

    private let startState = Locked(Start.waiting)
    private let isStopWanted = Atomic<Bool>(false)
    private let thread = Locked<pthread_t?>(nil)

    private init() {}

    /// Starts the thread, makes the loop, runs `setUp` on it, and returns once that is done; then it runs.
    ///
    /// - Throws: What `Loop.init` threw, or that no thread was to be had.
    public static func start(
        _ configuration: LoopConfiguration = LoopConfiguration(), setUp: @escaping @Sendable (Loop) -> Void
    ) throws(ReactorError) -> LoopThread {
        let result = LoopThread()
        // Blocking waits for this one answer need no condition variable: an eventfd and poll(2) do.
        let started = try Waker()
        let thread = try Thread.start(stackBytes: stackBytes) { [result] in
            result.body(configuration, started, setUp)
        }
        result.thread.withLock { $0 = thread }
        started.waitUntilWoken()
        if case .failed(let error) = result.startState.withLock({ $0 }) {
            result.join()
            throw error
        }
        return result
    }

    private func body(
        _ configuration: LoopConfiguration, _ started: Waker, _ setUp: @Sendable (Loop) -> Void
    ) {
        creactor_name_thread(configuration.name)
        if let core = configuration.pinToCore {
            // Not allowed (another cpuset): runs where the scheduler puts it.
            creactor_pin_to_core(Int32(clamping: core))
        }
        do throws(ReactorError) {
            let loop = try Loop(configuration: configuration)
            loop.onWake = { [unowned self, unowned loop] in
                if isStopWanted.load(ordering: .acquiring) { loop.stop() }
            }
            startState.withLock { $0 = .running(loop.waker) }
            setUp(loop)
            started.wake()
            loop.run()
        } catch {
            startState.withLock { $0 = .failed(error) }
            started.wake()
        }
    }

    /// Any thread: the loop ends after its current tick, closing what is open.
    ///
    /// Does not wait.
    public func stop() {
        isStopWanted.store(true, ordering: .releasing)
        if case .running(let waker) = startState.withLock({ $0 }) { waker.wake() }
    }

    /// Waits until the thread has ended.
    ///
    /// Not from the loop's own thread. A second call returns at once.
    public func join() {
        let joined = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        if let joined { pthread_join(joined, nil) }
    }
}
