import Glibc
import Synchronization

/// Cores this process may use.
enum ProcessorCount {
    /// As `sched_getaffinity(2)` says through `sysconf(3)`; containers often get fewer than the machine has.
    static func usable() -> Int {
        max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    }
}

/// Where one-line messages go before there is a log.
enum StandardError {
    static func write(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        _ = Glibc.write(STDERR_FILENO, bytes, bytes.count)
    }
}

/// The signals an operator sends, as values that one thread waits for.
///
/// A handler may do next to nothing, so it writes the signal's number into a pipe; whoever called `next` reads it.
enum Signals {
    private static let pipeWriteEnd = Atomic<Int32>(-1)

    /// Begins to catch SIGTERM, SIGINT and SIGHUP; SIGPIPE is ignored.
    ///
    /// Once per process.
    static func begin() -> SignalReader {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else {
            preconditionFailure("a fresh process can make a pipe")
        }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        pipeWriteEnd.store(ends[1], ordering: .sequentiallyConsistent)
        for number in [SIGTERM, SIGINT, SIGHUP] {
            var action = sigaction()
            action.__sigaction_handler.sa_handler = { number in
                var byte = UInt8(truncatingIfNeeded: number)
                _ = write(Signals.pipeWriteEnd.load(ordering: .relaxed), &byte, 1)
            }
            action.sa_flags = SA_RESTART
            sigaction(number, &action, nil)
        }
        signal(SIGPIPE, SIG_IGN)
        return SignalReader(descriptor: ends[0])
    }

    /// The end at which signals come out.
    struct SignalReader: Sendable {
        fileprivate let descriptor: Int32

        /// Waits for the next signal, at most so long; `nil` when none came.
        func next(timeoutMilliseconds: Int32 = -1) -> Int32? {
            var wanted = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            var count = poll(&wanted, 1, timeoutMilliseconds)
            // poll(2) is never restarted after a handler, whatever SA_RESTART says (signal(7)).
            while count < 0, errno == EINTR { count = poll(&wanted, 1, timeoutMilliseconds) }
            guard count > 0 else { return nil }
            var byte: UInt8 = 0
            return read(descriptor, &byte, 1) == 1 ? Int32(byte) : nil
        }
    }
}
