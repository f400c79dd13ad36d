import Glibc
import Reactor
import Testing

/// How many descriptors this process has open.
func openDescriptors() -> Int {
    guard let directory = opendir("/proc/self/fd") else { return -1 }
    defer { closedir(directory) }
    var count = 0
    while readdir(directory) != nil { count += 1 }
    return count
}

/// A loopback socket that listens and never accepts; closed with it.
final class SilentListener {
    let fd: Int32
    let port: UInt16
    private var held: [Int32] = []

    /// With a full queue, further connects get no answer at all (listen(2), tcp(7)).
    init(backlog: Int32, filled: Bool) {
        let listening = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        fd = listening
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                _ = bind(listening, generic, length)
                _ = listen(listening, backlog)
                _ = getsockname(listening, generic, &length)
            }
        }
        port = UInt16(bigEndian: address.sin_port)
        guard filled else { return }
        for _ in 0..<(backlog + 8) {
            let flags =
                Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
            let client = socket(AF_INET, flags, 0)
            withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    _ = Glibc.connect(client, $0, length)
                }
            }
            held.append(client)
        }
    }

    deinit {
        for client in held { close(client) }
        close(fd)
    }
}

/// Raw connections to a loopback port.
final class Dialer {
    private(set) var sockets: [Int32] = []

    init(_ port: UInt16, count: Int) {
        for _ in 0..<count {
            let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            address.sin_port = port.bigEndian
            withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    #expect(Glibc.connect(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0)
                }
            }
            sockets.append(fd)
        }
    }

    func hangUp() {
        for fd in sockets { close(fd) }
        sockets = []
    }

    deinit { hangUp() }
}
