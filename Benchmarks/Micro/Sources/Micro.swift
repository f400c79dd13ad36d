import Benchmark

/// What `swift package benchmark` finds: each part in a file of its own.
let benchmarks: @Sendable () -> Void = {
    Benchmark.defaultConfiguration = Benchmark.Configuration(
        metrics: [.wallClock, .throughput], warmupIterations: 3, scalingFactor: .kilo,
        maxDuration: .seconds(2))
    parserBenchmarks()
    engineBenchmarks()
    reactorBenchmarks()
    storeBenchmarks()
}
