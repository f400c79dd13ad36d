internal import CReactor
internal import Glibc
internal import Synchronization

/// Wakes one loop from any thread: an eventfd (eventfd(2)) behind a flag, so that a burst costs one write.
final class Waker: Sendable {
    let fd: Int32
    private let isSignalled = Atomic<Bool>(false)

    init() throws(ReactorError) {
        fd = try checked(creactor_eventfd(), "eventfd")
    }

    deinit {
        creactor_close(fd)
    }

    /// Any thread: makes the loop run a tick soon.
    func wake() {
        if isSignalled.exchange(true, ordering: .acquiringAndReleasing) == false {
            creactor_eventfd_signal(fd)
        }
    }

    /// The loop, before it looks at what it was woken for.
    ///
    /// The eventfd is not read: drivers hear of each write (edge-triggered), whatever its counter says.
    func rest() {
        // A wake() from here on writes again. An exchange, not a store, so that what was written before an
        // earlier wake() is visible from here.
        _ = isSignalled.exchange(false, ordering: .acquiringAndReleasing)
    }
}

extension Waker {
    /// Blocks the calling thread until `wake()` was called; for starting threads, never on a loop.
    func waitUntilWoken() {
        var item = pollfd(fd: fd, events: Int16(POLLIN), revents: 0)
        while poll(&item, 1, -1) < 0 {}
        creactor_eventfd_drain(fd)
        rest()
    }
}
