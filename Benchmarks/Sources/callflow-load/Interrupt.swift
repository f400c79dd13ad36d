import Glibc
import Synchronization

/// Whether somebody asked this program to stop: a measurement then ends as by an error, and what it started goes with it.
enum Interrupt {
    private static let signal = Atomic<Int32>(0)

    /// Notes SIGINT, SIGTERM and SIGHUP from now on; of a second one the system takes care.
    static func watch() {
        for number in [SIGINT, SIGTERM, SIGHUP] {
            Glibc.signal(number) { number in
                Interrupt.signal.store(number, ordering: .relaxed)
                Glibc.signal(number, SIG_DFL)
            }
        }
    }

    static func check() throws(LoadError) {
        let number = signal.load(ordering: .relaxed)
        if number != 0 { throw LoadError("stopped by signal \(number); nothing of this scenario is kept") }
    }
}
