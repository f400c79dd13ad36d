import Foundation
import Synchronization
import Testing

@testable import Reactor

@Suite("Pacing lets input of a busy loop gather, and nothing else")
struct PacingTests {
    private func at(_ microseconds: UInt64) -> MonotonicInstant {
        MonotonicInstant(nanoseconds: 1_000_000_000 + microseconds * 1000)
    }

    /// A pacing after ticks at these times, and the last of them.
    private func after(_ ticks: [UInt64], period: Duration? = .milliseconds(1)) -> (Pacing, MonotonicInstant)
    {
        var pacing = Pacing(period: period)
        var last = at(0)
        for tick in ticks {
            pacing.began(at(tick), after: last)
            last = at(tick)
        }
        return (pacing, last)
    }

    @Test("ticks close to one another make it busy; the next begins a period after the last")
    func busy() {
        for count in 1..<4 {
            let (pacing, last) = after((1...UInt64(count)).map { $0 * 100 })
            #expect(pacing.next(after: last) == nil)
        }
        let (pacing, last) = after([100, 200, 300, 400])
        #expect(pacing.next(after: last) == at(1400))
    }

    @Test("a pause ends it: what comes afterwards is handed out at once")
    func pause() {
        let (pacing, last) = after([100, 200, 300, 400, 500, 1751])
        #expect(pacing.next(after: last) == nil)
        // The period itself, and what a timer is late by, is no pause.
        let (still, end) = after([100, 200, 300, 400, 1400, 2450, 3700])
        #expect(still.next(after: end) == at(4700))
    }

    @Test("urgent input ends it for a while")
    func urgent() {
        var (pacing, last) = after([100, 200, 300, 400])
        pacing.wasUrgent(at(400))
        #expect(pacing.next(after: last) == nil)
        for tick in stride(from: UInt64(500), to: 10_400, by: 100) {
            pacing.began(at(tick), after: last)
            last = at(tick)
            #expect(pacing.next(after: last) == nil)
        }
        pacing.began(at(10_400), after: last)
        #expect(pacing.next(after: at(10_400)) == at(11_400))
    }

    @Test("not asked for: never", arguments: [nil, .zero, .milliseconds(-1)] as [Duration?])
    func off(_ period: Duration?) {
        let (pacing, last) = after([1, 2, 3, 4, 5, 6, 7], period: period)
        #expect(pacing.next(after: last) == nil)
    }
}

extension ReactorSuites {
    @Suite("A busy loop gathers input")
    struct GatheringTests {
        /// Wakes the loop in quick succession until it says that it is enough.
        private func pester(_ bench: Bench, until condition: () -> Bool) {
            let mailbox = Mailbox<Int>(capacity: 1)
            bench.loop.attach(mailbox) { _ in }
            let isDone = Atomic<Bool>(false)
            let hasEnded = Atomic<Bool>(false)
            let thread = Foundation.Thread {
                while isDone.load(ordering: .acquiring) == false {
                    _ = mailbox.post(1)
                    usleep(200)
                }
                hasEnded.store(true, ordering: .releasing)
            }
            thread.start()
            bench.run(until: condition)
            isDone.store(true, ordering: .releasing)
            bench.run { hasEnded.load(ordering: .acquiring) }
        }

        @Test(
            "busy: turns are spaced, timers keep their time, nothing is lost", arguments: Drivers.present,
            [IOURingFeatures.all, .all.subtracting(.minimumWait)])
        func gathers(_ mode: IOMode, _ features: IOURingFeatures) throws {
            let bench = try Bench(mode) {
                // Long, so that a machine under load still counts as busy.
                $0.gathering = .milliseconds(20)
                $0.ioURingFeatures = features
            }
            let (server, client) = try bench.pair()
            pester(bench) { bench.loop.counters.gatheredTicks >= 5 }
            let due = MonotonicInstant.now() + .milliseconds(3)
            var firedAt: MonotonicInstant?
            bench.loop.schedule(at: due) { firedAt = bench.loop.now }
            client.connection?.send(pattern(70_000))
            pester(bench) { firedAt != nil && server.bytes.count == 70_000 }
            #expect(server.bytes == pattern(70_000))
            #expect(firedAt.map { $0 >= due } == true)
        }

        @Test("urgent connections are answered without gathering", arguments: Drivers.present)
        func urgent(_ mode: IOMode) throws {
            let bench = try Bench(mode) { $0.gathering = .milliseconds(2) }
            var options = ListenOptions()
            options.isUrgent = true
            let echo = TransferTests.echo()
            let (_, client) = try bench.pair(listen: options, server: echo)
            client.onReceived = { bytes, connection in
                connection.send(bytes)
                return .all(bytes.count)
            }
            client.connection?.send([1])
            bench.run { client.bytes.count >= 200 }
            let before = bench.loop.counters.gatheredTicks
            let had = client.bytes.count
            bench.run { client.bytes.count >= had + 300 }
            // A machine that stands still for longer than urgent input counts may let one turn through.
            #expect(bench.loop.counters.gatheredTicks - before <= 3)
        }

        @Test("without it, or with slow input, nothing is held up", arguments: Drivers.present)
        func idle(_ mode: IOMode) throws {
            let bench = try Bench(mode) { $0.gathering = .microseconds(100) }
            let (server, client) = try bench.pair()
            bench.settle(.milliseconds(10))
            let before = bench.loop.counters.gatheredTicks
            for round in 1...10 {
                usleep(2000)
                client.connection?.send([1])
                bench.run { server.bytes.count == round }
                usleep(2000)
            }
            #expect(bench.loop.counters.gatheredTicks == before)
        }
    }
}
