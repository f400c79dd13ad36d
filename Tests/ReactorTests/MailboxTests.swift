import Foundation
import Synchronization
import Testing

@testable import Reactor

extension ReactorSuites {
    @Suite("Mailboxes: bounded, in order, one wake per batch")
    struct MailboxTests {
        @Test("messages posted before attaching are kept", arguments: Drivers.present)
        func beforeAttach(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let mailbox = Mailbox<Int>(capacity: 10)
            for value in 0..<3 { #expect(mailbox.post(value)) }
            #expect(mailbox.count == 3)
            var got: [Int] = []
            bench.loop.attach(mailbox) { got.append($0) }
            bench.run { got == [0, 1, 2] }
            #expect(mailbox.isEmpty)
        }

        @Test("the bound holds, and there is room again after a batch")
        func bound() throws {
            let bench = try Bench(.epoll)
            let mailbox = Mailbox<Int>(capacity: 4)
            var got: [Int] = []
            bench.loop.attach(mailbox) { got.append($0) }
            for round in 0..<5 {
                for value in 0..<4 { #expect(mailbox.post(value + 10 * round)) }
                #expect(mailbox.post(99) == false)
                bench.run { got.count == 4 * (round + 1) }
            }
            #expect(got == (0..<5).flatMap { round in (0..<4).map { $0 + 10 * round } })
        }

        @Test("the reserve is for control messages alone, behind what waits, and is a bound as well")
        func reserve() throws {
            let bench = try Bench(.epoll)
            let mailbox = Mailbox<Int>(capacity: 3, reserve: 2)
            var got: [Int] = []
            bench.loop.attach(mailbox) { got.append($0) }
            for round in 0..<3 {
                got = []
                for value in 0..<3 { #expect(mailbox.post(value)) }
                #expect(mailbox.post(9) == false)
                #expect(mailbox.postControl(3))
                #expect(mailbox.postControl(4))
                #expect(mailbox.postControl(9) == false)
                #expect(mailbox.post(9) == false)
                bench.run { got.count == 5 }
                #expect(got == [0, 1, 2, 3, 4], "round \(round)")
            }
        }

        @Test("posting from inside the receiver goes to the next batch", arguments: Drivers.present)
        func postInside(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let mailbox = Mailbox<Int>(capacity: 4)
            var got: [Int] = []
            bench.loop.attach(mailbox) { value in
                got.append(value)
                if value < 50 { #expect(mailbox.post(value + 1)) }
            }
            #expect(mailbox.post(0))
            bench.run { got.count == 51 }
            #expect(got == Array(0...50))
        }

        @Test("one wake per batch")
        func oneWake() throws {
            let bench = try Bench(.epoll)
            let mailbox = Mailbox<Int>(capacity: 1000)
            var got = 0
            bench.loop.attach(mailbox) { _ in got += 1 }
            let before = bench.loop.counters
            for value in 0..<1000 { #expect(mailbox.post(value)) }
            bench.run { got == 1000 }
            #expect(bench.loop.counters.ticks - before.ticks == 1)
        }

        @Test("several threads at once, each in its own order", arguments: Drivers.present)
        func threads(_ mode: IOMode) throws {
            let perThread = 20_000
            let mailbox = Mailbox<(thread: Int, value: Int)>(capacity: 512)
            let done = Atomic<Int>(0)
            let isOrdered = Atomic<Bool>(true)
            let thread = try LoopThread.start(LoopConfiguration(ioMode: mode, maximumConnections: 4)) {
                loop in
                var next = [0, 0, 0]
                loop.attach(mailbox) { message in
                    if next[message.thread] != message.value { isOrdered.store(false, ordering: .relaxed) }
                    next[message.thread] += 1
                    if next == [perThread, perThread, perThread] { done.store(1, ordering: .releasing) }
                }
            }
            let senders = (0..<3).map { index in
                Foundation.Thread {
                    for value in 0..<perThread {
                        while mailbox.post((index, value)) == false { usleep(50) }
                    }
                }
            }
            for sender in senders { sender.start() }
            let end = MonotonicInstant.now() + .seconds(30)
            while done.load(ordering: .acquiring) == 0, MonotonicInstant.now() < end { usleep(500) }
            #expect(done.load(ordering: .acquiring) == 1)
            #expect(isOrdered.load(ordering: .relaxed) == true)
            thread.stop()
            thread.join()
            thread.join()
            #expect(mailbox.post((0, 0)) == false, "the loop is gone")
        }
    }

    @Suite("Loops on threads of their own")
    struct LoopThreadTests {
        @Test("start returns after setUp; two loops talk over TCP", arguments: Drivers.present)
        func twoLoops(_ mode: IOMode) throws {
            let port = Atomic<Int>(0)
            let configuration = LoopConfiguration(
                ioMode: mode, maximumConnections: 16, pinToCore: 0, name: "server")
            let server = try LoopThread.start(configuration) { loop in
                do {
                    let listener = try loop.listen(.loopback(port: 0)) { _ in TransferTests.echo() }
                    port.store(Int(listener.address.port), ordering: .releasing)
                } catch {
                    Issue.record(error)
                }
            }
            #expect(port.load(ordering: .acquiring) > 0)
            let bench = try Bench(mode)
            let client = Probe()
            client.onOpened = { $0.send(pattern(200_000)) }
            bench.loop.connect(
                host: "127.0.0.1", port: UInt16(port.load(ordering: .acquiring)), handler: client)
            bench.run { client.bytes.count == 200_000 }
            #expect(client.bytes == pattern(200_000))
            server.stop()
            server.stop()
            server.join()
            bench.run { client.isClosed }
        }

        @Test("a core that does not exist is passed over")
        func pinning() throws {
            let ran = Atomic<Bool>(false)
            let configuration = LoopConfiguration(ioMode: .epoll, maximumConnections: 4, pinToCore: 100_000)
            let thread = try LoopThread.start(configuration) { loop in
                ran.store(true, ordering: .releasing)
                loop.stop()
            }
            thread.join()
            #expect(ran.load(ordering: .acquiring) == true)
        }

        @Test("stopping from the loop itself")
        func stopsItself() throws {
            let thread = try LoopThread.start(LoopConfiguration(maximumConnections: 4)) { loop in
                loop.schedule(after: .milliseconds(1)) { loop.stop() }
            }
            thread.join()
            thread.stop()
        }

        @Test("auto says which driver and why")
        func choice() throws {
            let bench = try Bench(.auto)
            let driver = bench.loop.driver
            #expect(driver.name == (Drivers.present.contains(.ioURing) ? "io_uring" : "epoll"))
            #expect(driver.reason.isEmpty == false)
            #expect(driver.features.isEmpty == false)
            let withoutRing = try Bench(.auto) { $0.ioURingFeatures.remove(.bufferRing) }
            #expect(withoutRing.loop.driver.name == "epoll")
            #expect(withoutRing.loop.driver.reason.contains("io_uring"))
            #expect(throws: ReactorError.self) {
                try Bench(.ioURing) { $0.ioURingFeatures.remove(.bufferRing) }
            }
        }
    }
}
