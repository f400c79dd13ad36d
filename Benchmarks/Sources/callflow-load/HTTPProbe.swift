import Glibc
import Protocols

/// One HTTP request on a connection of its own, blocking: how operators' tools ask the daemon.
enum HTTPProbe {
    /// The body of a 200 answer to a GET; `nil` when there was none within two seconds.
    static func get(_ path: String, port: UInt16) -> [UInt8]? {
        guard let handle = connected(to: port) else { return nil }
        defer { close(handle) }
        let request = Array("GET \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".utf8)
        guard send(handle, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else {
            return nil
        }
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = recv(handle, &buffer, buffer.count, 0)
            guard count > 0 else { break }
            answer += buffer[..<count]
        }
        guard answer.starts(with: Array("HTTP/1.1 200".utf8)), let body = answer.firstIndex(ofHeadEnd: ())
        else {
            return nil
        }
        return Array(answer[body...])
    }

    /// A socket to that port of this machine, which gives up sending and receiving after two seconds; `nil` when nobody listens.
    static func connected(to port: UInt16) -> Int32? {
        let handle = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard handle >= 0 else { return nil }
        var limit = timeval(tv_sec: 2, tv_usec: 0)
        setsockopt(handle, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(handle, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(handle, $0, size) }
        }
        guard result == 0 else {
            close(handle)
            return nil
        }
        return handle
    }

    /// The numbers of `/metrics` by name, without the `callflow_` in front.
    static func metrics(port: UInt16) -> [String: Double] {
        guard let body = get("/metrics", port: port) else { return [:] }
        var values: [String: Double] = [:]
        for line in String(decoding: body, as: UTF8.self).split(separator: "\n")
        where line.hasPrefix("callflow_") {
            let sides = line.dropFirst("callflow_".count).split(separator: " ")
            if sides.count == 2, let value = Double(sides[1]) { values[String(sides[0])] = value }
        }
        return values
    }

    /// Counts of a stage's latencies by their upper bound in microseconds, from `/api/latency`.
    static func latency(_ stage: String, port: UInt16) -> [Int: Int] {
        guard let body = get("/api/latency", port: port),
            let answer = try? JSONValue.parse(String(decoding: body, as: UTF8.self)),
            let buckets = answer[stage]?["buckets"]?.members
        else { return [:] }
        var counts: [Int: Int] = [:]
        for member in buckets {
            if let bound = Int(member.key), let count = member.value.int { counts[bound] = Int(count) }
        }
        return counts
    }
}

extension [UInt8] {
    /// Where the body begins.
    fileprivate func firstIndex(ofHeadEnd: Void) -> Int? {
        guard count >= 4 else { return nil }
        for index in 0..<(count - 3)
        where self[index] == 13 && self[index + 1] == 10 && self[index + 2] == 13 && self[index + 3] == 10 {
            return index + 4
        }
        return nil
    }
}
