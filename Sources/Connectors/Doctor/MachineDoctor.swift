import Glibc
package import Reactor

/// Looks at the limits that this machine sets the daemon.
package struct MachineDoctor {
    private let ioMode: IOMode
    private let loops: Int

    /// What a daemon with a few thousand API and PBX connections may come to.
    static let comfortableDescriptors: UInt64 = 16_384
    /// Before 5.12 the rings count against the lock limit; below that a ring may not fit.
    static let comfortableLockedBytes: UInt64 = 8 << 20

    package init(ioMode: IOMode, loops: Int) {
        self.ioMode = ioMode
        self.loops = loops
    }

    package func examine() -> [Finding] {
        [descriptors(), lockedMemory(), driver(), cores()]
    }

    private func finding(
        _ check: String, _ state: Finding.State, _ text: String, _ remedy: String = ""
    ) -> Finding {
        Finding(.machine, check, state, text, remedy: remedy)
    }

    private func descriptors() -> Finding {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        // The daemon raises the soft limit to the hard one itself.
        let most = UInt64(limit.rlim_max)
        guard most < Self.comfortableDescriptors else { return finding("open files", .ok, "up to \(most)") }
        return finding(
            "open files", .warning, "up to \(most): so many connections and files at once",
            "the service's unit: LimitNOFILE=65536 (or /etc/security/limits.conf: nofile)")
    }

    private func lockedMemory() -> Finding {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(__RLIMIT_MEMLOCK.rawValue), &limit)
        let bytes = UInt64(limit.rlim_max)
        guard bytes < Self.comfortableLockedBytes else {
            return finding("locked memory", .ok, bytes > 1 << 60 ? "no limit" : "up to \(bytes >> 20) MiB")
        }
        return finding(
            "locked memory", .warning,
            "up to \(bytes >> 10) KiB: kernels before 5.12 count io_uring's buffers against it",
            "the service's unit: LimitMEMLOCK=64M")
    }

    private func driver() -> Finding {
        var configuration = LoopConfiguration()
        configuration.ioMode = ioMode
        do throws(ReactorError) {
            let loop = try Loop(configuration: configuration)
            let choice = loop.driver
            if choice.name == "epoll", ioMode == .auto {
                return finding(
                    "io_uring", .warning, "not used: \(choice.reason)",
                    "epoll serves as well up to some thousand connections; for io_uring: sysctl kernel.io_uring_disabled=0, "
                        + "or the container's seccomp profile")
            }
            return finding("io_uring", .ok, "\(choice.name): \(choice.features.joined(separator: ", "))")
        } catch {
            return finding("io_uring", .failure, "\(error)", "IO=epoll, or IO=auto")
        }
    }

    private func cores() -> Finding {
        let cores = sysconf(Int32(_SC_NPROCESSORS_ONLN))
        guard loops > cores else { return finding("cores", .ok, "\(cores), \(loops) loops") }
        return finding(
            "cores", .warning, "\(loops) loops share \(cores) cores", "LOOPS=\(cores), or leave it out")
    }
}
