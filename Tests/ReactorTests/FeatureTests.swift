import Glibc
import Testing

@testable import Reactor

/// What kernels of different age, or a test, leave of io_uring.
enum FeatureSets {
    static let all: [(name: String, features: IOURingFeatures)] = [
        ("all", .all),
        ("no incremental buffers", .all.subtracting(.incrementalBuffers)),
        ("no minimum wait", .all.subtracting(.minimumWait)),
        ("no registered ring", .all.subtracting(.registeredRing)),
        ("no DEFER_TASKRUN", .all.subtracting(.deferTaskRun)),
        ("no SINGLE_ISSUER", .all.subtracting(.singleIssuer)),
        ("no task run flag", .all.subtracting([.singleIssuer, .deferTaskRun, .coopTaskRun])),
        ("no multishot accept", .all.subtracting(.multishotAccept)),
        ("no multishot receive", .all.subtracting(.multishotReceive)),
        ("Linux 6.1", .linux6_1),
        ("Linux 5.19", .linux5_19),
        ("the buffer ring alone", .bufferRing),
    ]

    static var names: [String] { Drivers.present.contains(.ioURing) ? all.map(\.name) : [] }

    static func named(_ name: String) -> IOURingFeatures {
        all.first { $0.name == name }?.features ?? []
    }
}

extension ReactorSuites {
    @Suite("Each feature of io_uring can be missing")
    struct FeatureTests {
        @Test("many connections, large and small messages, few buffers", arguments: FeatureSets.names)
        func fallbacks(_ name: String) throws {
            let wanted = FeatureSets.named(name)
            let bench = try Bench(.ioURing) {
                $0.ioURingFeatures = wanted
                $0.receiveBufferBytes = 4096
                $0.receiveBufferCount = 16
                $0.gathering = .milliseconds(1)
            }
            let used = bench.loop.driver.features
            for feature in IOURingFeatures.all.subtracting(wanted).names {
                #expect(used.contains(feature) == false)
            }
            #expect(used.contains("buffer ring"))
            let listener = try bench.listen { _ in TransferTests.echo() }
            let clients = (0..<30).map { _ in Framed(tellsNeeded: true) }
            var expected: [[[UInt8]]] = []
            for (index, client) in clients.enumerated() {
                let messages = (0..<40).map { pattern(($0 * 997 + index * 131) % 9000, seed: UInt64(index)) }
                expected.append(messages)
                client.probe.onOpened = { connection in
                    for message in messages { connection.send(Framed.encode(message)) }
                }
                bench.connect(listener, client.probe)
            }
            bench.run { clients.allSatisfy { $0.messages.count == 40 } }
            for (index, client) in clients.enumerated() { #expect(client.messages == expected[index]) }
            for client in clients { client.probe.connection?.close() }
            bench.run { clients.allSatisfy(\.probe.isClosed) && bench.loop.counters.openConnections == 0 }
        }

        @Test("what this kernel is known to have is found")
        func found() throws {
            guard Drivers.present.contains(.ioURing), let release = kernelRelease() else { return }
            // On a fresh thread: one has room for 16 registered rings, which other tests may use.
            let found = Locked<[String]>([])
            let thread = try LoopThread.start(LoopConfiguration(ioMode: .ioURing)) { loop in
                found.withLock { $0 = loop.driver.features }
                loop.stop()
            }
            thread.join()
            let used = found.withLock { $0 }
            let since: [(version: (Int, Int), feature: IOURingFeatures)] = [
                ((5, 18), .registeredRing), ((5, 19), .multishotAccept), ((6, 0), .singleIssuer),
                ((6, 0), .multishotReceive), ((6, 1), .deferTaskRun), ((6, 12), .incrementalBuffers),
                ((6, 12), .minimumWait),
            ]
            for (version, feature) in since where release >= version {
                #expect(used.contains(feature.names[0]), "\(feature.names[0]) on Linux \(release)")
            }
        }

        @Test("without multishot receive epoll costs less: auto takes it, and io_uring only when asked for")
        func autoWithoutMultishot() throws {
            guard Drivers.present.contains(.ioURing) else { return }
            let chosen = try Bench(.auto) { $0.ioURingFeatures = .linux5_19 }
            #expect(chosen.loop.driver.name == "epoll")
            #expect(chosen.loop.driver.reason.contains("multishot"))
            let modern = try Bench(.auto) { $0.ioURingFeatures = .linux6_1 }
            #expect(modern.loop.driver.name == "io_uring")
            let asked = try Bench(.ioURing) { $0.ioURingFeatures = .linux5_19 }
            #expect(asked.loop.driver.name == "io_uring")
        }

        @Test("queues far too small: submissions and completions overflow and nothing is lost")
        func smallQueues() throws {
            guard Drivers.present.contains(.ioURing) else { return }
            for features in [IOURingFeatures.all, .linux5_19] {
                let bench = try Bench(.ioURing) {
                    $0.ioURingFeatures = features
                    $0.submissionEntries = 4
                    $0.completionEntries = 8
                }
                var servers: [Probe] = []
                let listener = try bench.listen { _ in
                    let probe = TransferTests.echo()
                    servers.append(probe)
                    return probe
                }
                let clients = (0..<300).map { _ in Probe() }
                for client in clients { bench.connect(listener, client) }
                bench.run { clients.allSatisfy { $0.opens == 1 } && servers.count == 300 }
                for (index, client) in clients.enumerated() { client.connection?.send(pattern(index + 1)) }
                bench.run { clients.enumerated().allSatisfy { $0.element.bytes.count == $0.offset + 1 } }
                // All at once: three submissions each, and an answer to every receive under way.
                for (index, client) in clients.enumerated() {
                    if index % 2 == 0 { client.connection?.reset() } else { client.connection?.close() }
                }
                bench.run { clients.allSatisfy(\.isClosed) && servers.allSatisfy(\.isClosed) }
                bench.run { bench.loop.counters.openConnections == 0 }
                #expect(clients.allSatisfy { $0.closes == 1 } && servers.allSatisfy { $0.closes == 1 })
                // And the loop lives on.
                let (server, client) = try bench.pair()
                client.connection?.send([1, 2, 3])
                bench.run { server.bytes == [1, 2, 3] }
            }
        }

        @Test("buffers are handed to the kernel as load asks for them")
        func sizedToLoad() throws {
            guard Drivers.present.contains(.ioURing) else { return }
            for features in [IOURingFeatures.all, .all.subtracting(.incrementalBuffers)] {
                let bench = try Bench(.ioURing) {
                    $0.ioURingFeatures = features
                    $0.receiveBufferBytes = 4096
                    $0.receiveBufferCount = 64
                }
                let (server, client) = try bench.pair()
                client.connection?.send(pattern(100))
                bench.run { server.bytes.count == 100 }
                #expect(bench.loop.counters.receiveBufferBytes == 8 * 4096)
                let listener = try bench.listen { _ in Probe() }
                let clients = (0..<100).map { _ in Probe() }
                for client in clients {
                    client.onOpened = { $0.send(pattern(50_000)) }
                    bench.connect(listener, client)
                }
                let expected = UInt64(100 * 50_000 + 100)
                bench.run { bench.loop.counters.bytesIn >= expected }
                #expect(bench.loop.counters.receiveBufferBytes > 8 * 4096)
                let most = bench.loop.driver.features.contains("incremental buffers") ? 32 : 64
                #expect(bench.loop.counters.receiveBufferBytes <= UInt64(most * 4096))
            }
        }
    }
}

/// These take rights from the whole process, so each runs in a child process of its own.
@Suite("Where io_uring is forbidden, a loop runs on epoll and says why")
struct ForbiddenIOURingTests {
    @Test("a seccomp filter that refuses io_uring_setup, as container runtimes have it")
    func seccomp() async {
        await #expect(processExitsWith: .success) {
            try runsOnEpoll(refusing: EPERM, saying: "forbidden by seccomp or kernel.io_uring_disabled")
        }
    }

    @Test("a filter that hides the call, as for a kernel without it")
    func hidden() async {
        await #expect(processExitsWith: .success) {
            try runsOnEpoll(refusing: ENOSYS, saying: "the kernel has none, or it is hidden")
        }
    }
}

private func runsOnEpoll(refusing error: Int32, saying text: String) throws {
    try #require(forbidIOURing(with: error))
    let bench = try Bench(.auto)
    #expect(bench.loop.driver.name == "epoll")
    #expect(bench.loop.driver.reason.contains(text))
    #expect(throws: ReactorError.self) { try Bench(.ioURing) }
    let (server, client) = try bench.pair()
    client.connection?.send(pattern(100_000))
    client.connection?.close()
    bench.run { server.isClosed && client.isClosed }
    #expect(server.bytes == pattern(100_000))
}

/// struct sock_filter of linux/filter.h.
private struct FilterInstruction {
    var code: UInt16
    var jumpTrue: UInt8 = 0
    var jumpFalse: UInt8 = 0
    var constant: UInt32
}

/// struct sock_fprog.
private struct FilterProgram {
    var count: UInt16
    var instructions: UnsafePointer<FilterInstruction>
}

/// Makes io_uring_setup(2) fail with `error` for the rest of this process's life (seccomp(2)).
private func forbidIOURing(with error: Int32) -> Bool {
    // prctl(2) is variadic, which Swift does not call by its name; its arguments are machine words.
    typealias Prctl = @convention(c) (Int32, UInt, UInt, UInt, UInt) -> Int32
    guard let symbol = dlsym(nil, "prctl") else { return false }
    let prctl = unsafeBitCast(symbol, to: Prctl.self)
    let ioURingSetup: UInt32 = 425  // on every architecture
    let instructions = [
        FilterInstruction(code: 0x20, constant: 0),  // load seccomp_data.nr
        FilterInstruction(code: 0x15, jumpFalse: 1, constant: ioURingSetup),  // equal? else skip one
        FilterInstruction(code: 0x06, constant: 0x0005_0000 | UInt32(error)),  // SECCOMP_RET_ERRNO
        FilterInstruction(code: 0x06, constant: 0x7fff_0000),  // SECCOMP_RET_ALLOW
    ]
    let (setNoNewPrivileges, setSeccomp, filterMode): (Int32, Int32, UInt) = (38, 22, 2)
    guard prctl(setNoNewPrivileges, 1, 0, 0, 0) == 0 else { return false }
    return instructions.withUnsafeBufferPointer { buffer in
        guard let base = buffer.baseAddress else { return false }
        var program = FilterProgram(count: UInt16(buffer.count), instructions: base)
        return withUnsafePointer(to: &program) {
            prctl(setSeccomp, filterMode, UInt(bitPattern: $0), 0, 0) == 0
        }
    }
}

private func kernelRelease() -> (Int, Int)? {
    var name = utsname()
    guard uname(&name) == 0 else { return nil }
    let release = withUnsafeBytes(of: name.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    let parts = release.split(whereSeparator: { $0.isNumber == false }).prefix(2).compactMap { Int($0) }
    return parts.count == 2 ? (parts[0], parts[1]) : nil
}
