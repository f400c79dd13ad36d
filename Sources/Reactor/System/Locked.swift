internal import Glibc

/// A value that one thread at a time may see, behind a lock of pthreads.
///
/// As `Mutex` of the standard library, which takes a contended lock in the kernel (FUTEX_LOCK_PI), out of sight of
/// ThreadSanitizer: every second lock would be reported as a race. pthread_mutex_lock(3) it knows. Without
/// contention both cost about 15 ns.
public struct Locked<Value>: ~Copyable {
    private struct Storage {
        var mutex: pthread_mutex_t
        var value: Value
    }

    private let storage: UnsafeMutablePointer<Storage>

    /// Puts `value` behind the lock.
    public init(_ value: consuming sending Value) {
        storage = .allocate(capacity: 1)
        storage.initialize(to: Storage(mutex: pthread_mutex_t(), value: value))
        let result = pthread_mutex_init(&storage.pointee.mutex, nil)
        precondition(result == 0, "no memory for a lock")
    }

    deinit {
        pthread_mutex_destroy(&storage.pointee.mutex)
        storage.deinitialize(count: 1)
        storage.deallocate()
    }

    /// Runs `body` with the value while no other thread has it; not from within another such body of this lock.
    public borrowing func withLock<Result: ~Copyable, Failure: Error>(
        _ body: (inout sending Value) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result {
        pthread_mutex_lock(&storage.pointee.mutex)
        defer { pthread_mutex_unlock(&storage.pointee.mutex) }
        return try body(&storage.pointee.value)
    }
}

/// The lock lets one thread at a time at the value, and a value that is put in or taken out is handed over.
extension Locked: @unchecked Sendable {}
