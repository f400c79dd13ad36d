import Benchmark
import Reactor

/// Timers that wait beside the ones that are looked at.
private let waiting = 10_000

func reactorBenchmarks() {
    Benchmark("Timers: schedule and cancel, \(waiting) waiting") { benchmark in
        let loop = try Loop()
        for number in 0..<waiting { loop.schedule(after: .seconds(3600 + number)) {} }
        benchmark.startMeasurement()
        for number in benchmark.scaledIterations {
            let timer = loop.schedule(after: .seconds(3600 + number * 7 % waiting)) {}
            loop.cancel(timer)
        }
    }

    Benchmark("Timers: schedule and fire, \(waiting) waiting") { benchmark in
        let loop = try Loop()
        for number in 0..<waiting { loop.schedule(after: .seconds(3600 + number)) {} }
        var fired = 0
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations { loop.schedule(after: .zero) { fired += 1 } }
        while fired < benchmark.scaledIterations.count { loop.runOnce(maximumWait: .zero) }
    }

    Benchmark("Mailbox: post and take, a thousand a turn") { benchmark in
        let loop = try Loop()
        let mailbox = Mailbox<Int>(capacity: 1 << 20)
        var taken = 0
        loop.attach(mailbox) { taken += $0 }
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations {
            guard mailbox.post(1) else { return benchmark.error("the mailbox is full") }
        }
        while taken < benchmark.scaledIterations.count { loop.runOnce(maximumWait: .seconds(1)) }
    }

    Benchmark("Loop: a turn in which nothing happens") { benchmark in
        let loop = try Loop()
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations { loop.runOnce(maximumWait: .zero) }
    }
}
