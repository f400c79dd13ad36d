import Testing

@testable import Reactor

@Suite("The timer heap gives timers in order of deadline, then of scheduling")
struct TimerHeapTests {
    @Test("thousands, shuffled, some cancelled, against a sorted list", arguments: 1...5)
    func model(_ seed: UInt64) {
        var random = SplitMix(state: seed)
        var heap = TimerHeap()
        var expected: [(deadline: UInt64, order: Int, id: TimerID)] = []
        var fired: [Int] = []
        for order in 0..<2000 {
            let deadline = random.next() % 500
            let id = heap.schedule(at: MonotonicInstant(nanoseconds: deadline)) { fired.append(order) }
            expected.append((deadline, order, id))
            if random.next() % 3 == 0, let victim = expected.indices.randomElement(using: &random) {
                let id = expected.remove(at: victim).id
                let results = [heap.cancel(id), heap.cancel(id)]
                #expect(results == [true, false], "seed \(seed)")
            }
        }
        #expect(heap.count == expected.count)
        expected.sort { ($0.deadline, $0.order) < ($1.deadline, $1.order) }
        #expect(heap.nextDeadline?.nanoseconds == expected.first?.deadline)
        for now in stride(from: UInt64(0), through: 500, by: 7) {
            while let body = heap.popDue(at: MonotonicInstant(nanoseconds: now)) { body() }
            let due = expected.prefix { $0.deadline <= now }.count
            #expect(fired.count == due, "seed \(seed), at \(now)")
        }
        while let body = heap.popDue(at: MonotonicInstant(nanoseconds: .max)) { body() }
        #expect(fired == expected.map(\.order), "seed \(seed)")
        #expect(heap.nextDeadline == nil)
        let late = expected.map { heap.cancel($0.id) }
        #expect(late.allSatisfy { $0 == false })
    }

    @Test("an identifier does not name the timer that took its place")
    func reuse() {
        var heap = TimerHeap()
        var fired = false
        let first = heap.schedule(at: MonotonicInstant(nanoseconds: 1)) {}
        let once = heap.cancel(first)
        #expect(once)
        _ = heap.schedule(at: MonotonicInstant(nanoseconds: 1)) { fired = true }
        let twice = heap.cancel(first)
        #expect(twice == false)
        heap.popDue(at: MonotonicInstant(nanoseconds: 1))?()
        #expect(fired)
    }

    @Test("removeAll lets the bodies go")
    func removeAll() {
        final class Held {}
        var heap = TimerHeap()
        weak var weakly: Held?
        do {
            let held = Held()
            weakly = held
            for index in 0..<10 {
                _ = heap.schedule(at: MonotonicInstant(nanoseconds: UInt64(index))) { _ = held }
            }
        }
        #expect(weakly != nil)
        heap.removeAll()
        #expect(weakly == nil && heap.count == 0)
    }
}

@Suite("Monotonic time")
struct MonotonicInstantTests {
    @Test("differences and sums, held to the range")
    func arithmetic() {
        let start = MonotonicInstant(nanoseconds: 1_000)
        #expect((start + .microseconds(2)).nanoseconds == 3_000)
        #expect((start + .nanoseconds(-400)).nanoseconds == 600)
        #expect((start + .seconds(-1)).nanoseconds == 0)
        #expect((MonotonicInstant(nanoseconds: .max) + .seconds(1)).nanoseconds == .max)
        #expect(start - MonotonicInstant(nanoseconds: 400) == .nanoseconds(600))
        #expect(MonotonicInstant(nanoseconds: 400) - start == .nanoseconds(-600))
        #expect(start + .seconds(Int64.max) > start)
        #expect(MonotonicInstant.now() <= MonotonicInstant.now())
    }
}

extension ReactorSuites {
    @Suite("Timers of a loop")
    struct LoopTimerTests {
        @Test("order, and never before their time", arguments: Drivers.present)
        func order(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            var fired: [Int] = []
            let start = MonotonicInstant.now()
            for milliseconds in [15, 5, 10, 0, 5] {
                bench.loop.schedule(after: .milliseconds(milliseconds)) {
                    fired.append(milliseconds)
                    #expect(bench.loop.now - start >= .milliseconds(milliseconds))
                }
            }
            bench.run { fired.count == 5 }
            #expect(fired == [0, 5, 5, 10, 15])
        }

        @Test("a timer cancelled by another that fires in the same tick", arguments: Drivers.present)
        func cancelInTimer(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            var fired: [String] = []
            var victim: TimerID?
            bench.loop.schedule(after: .zero) {
                fired.append("first")
                if let victim { bench.loop.cancel(victim) }
                bench.loop.schedule(after: .zero) { fired.append("from inside") }
            }
            victim = bench.loop.schedule(after: .zero) { fired.append("victim") }
            bench.run { fired.count == 2 }
            bench.settle(.milliseconds(5))
            #expect(fired == ["first", "from inside"])
            if let victim { bench.loop.cancel(victim) }
        }

        @Test(
            "work that is always behind fires once a tick, and keeps neither timers nor input waiting",
            arguments: Drivers.present)
        func alwaysBehind(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let (server, client) = try bench.pair()
            var turns: [UInt64] = []
            func again(_ kind: Bool) {
                let body = {
                    turns.append(bench.loop.counters.ticks)
                    if turns.count < 2000 { again(!kind) }
                }
                if kind {
                    bench.loop.schedule(after: .zero, body)
                } else {
                    bench.loop.schedule(at: MonotonicInstant(nanoseconds: 1), body)
                }
            }
            again(true)
            var others = 0
            for _ in 0..<10 { bench.loop.schedule(after: .milliseconds(1)) { others += 1 } }
            client.connection?.send([1, 2, 3])
            bench.run { server.bytes.count == 3 && others == 10 }
            #expect(turns.count < 2000)
            bench.run { turns.count == 2000 }
            #expect(Set(turns).count == 2000)
        }

        @Test("a period kept by absolute deadlines does not drift")
        func period() throws {
            let bench = try Bench(.epoll)
            var deadlines: [MonotonicInstant] = []
            let start = MonotonicInstant.now()
            func next(_ deadline: MonotonicInstant) {
                bench.loop.schedule(at: deadline) {
                    deadlines.append(deadline)
                    if deadlines.count < 20 { next(deadline + .milliseconds(1)) }
                }
            }
            next(start)
            bench.run { deadlines.count == 20 }
            #expect(deadlines.last == start + .milliseconds(19))
        }

        @Test("ten thousand at once, more than one tick fires", arguments: Drivers.present)
        func many(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            var fired = 0
            for _ in 0..<10_000 { bench.loop.schedule(after: .zero) { fired += 1 } }
            bench.loop.runOnce(maximumWait: .zero)
            #expect(fired == Loop.maximumTimersPerTick)
            bench.run { fired == 10_000 }
        }

        @Test("end-of-tick hooks run in order before the flush, until removed", arguments: Drivers.present)
        func hooks(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let (server, client) = try bench.pair()
            var log: [String] = []
            var second: HookID?
            let first = bench.loop.atEndOfTick {
                log.append("first")
                client.connection?.send([1])
                if let second { bench.loop.removeHook(second) }
            }
            second = bench.loop.atEndOfTick { log.append("second") }
            let third = bench.loop.atEndOfTick { log.append("third") }
            bench.loop.runOnce(maximumWait: .zero)
            #expect(log == ["first", "third"])
            #expect(client.connection?.queuedBytes == 0 || mode == .ioURing)
            bench.loop.removeHook(first)
            bench.loop.removeHook(third)
            bench.run { server.bytes == [1] }
            #expect(log == ["first", "third"])
        }
    }
}

/// A small seeded generator (Steele, Lea, Flood: SplitMix64), so that a failing case can be run again.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
}
