// swift-tools-version: 6.1
import PackageDescription

// A package of its own, so that what benchmarks need is not what the product needs.

let settings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release)),
]

// The store and the simulator are open to the product's own package only (`package`). A benchmark of them is
// compiled under that package's name, which SwiftPM takes from the folder of the checkout; so nothing becomes public
// for the sake of being measured.
let productName = Context.packageDirectory.split(separator: "/").dropLast().last.map(String.init) ?? ""
let mangledName = String(productName.lowercased().map { $0.isLetter || $0.isNumber ? $0 : "_" })
let insideProduct: [SwiftSetting] = [.unsafeFlags(["-package-name", mangledName])]

let package = Package(
    name: "callflow-benchmarks",
    dependencies: [
        .package(name: "callflow-fast", path: ".."),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    ],
    targets: [
        // Counts calls of malloc and friends by standing in front of libc's.
        .target(name: "CAllocations"),
        // Counts bytes that memcpy and memmove copy: replaces them in the executable that links it.
        .target(name: "CCopies"),
        // Recorded streams, files, time.
        .target(
            name: "BenchSupport",
            dependencies: [
                .product(name: "Protocols", package: "callflow-fast"),
                .product(name: "CallEngine", package: "callflow-fast"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "path-bench",
            dependencies: [
                "BenchSupport", "CAllocations", "CCopies",
                .product(name: "Protocols", package: "callflow-fast"),
                .product(name: "CallEngine", package: "callflow-fast"),
            ],
            swiftSettings: settings),
        // The JSON scanner beside other readers, which it loads; see Peers.
        .executableTarget(
            name: "peer-bench",
            dependencies: [
                "BenchSupport",
                .product(name: "Protocols", package: "callflow-fast"),
                .product(name: "CallEngine", package: "callflow-fast"),
            ],
            swiftSettings: settings),
        // Readers and servers of the product for conformance suites.
        .executableTarget(
            name: "protocol-probe",
            dependencies: [.product(name: "ProtocolProbe", package: "callflow-fast")],
            swiftSettings: settings),
        .executableTarget(
            name: "reactor-bench",
            dependencies: [
                "CAllocations",
                .product(name: "Reactor", package: "callflow-fast"),
                .product(name: "Protocols", package: "callflow-fast"),
            ],
            swiftSettings: settings),
        // Events over loopback into a loop, as fast as it takes them.
        .executableTarget(
            name: "intake-bench",
            dependencies: [
                "BenchSupport", "CAllocations",
                .product(name: "Reactor", package: "callflow-fast"),
                .product(name: "Protocols", package: "callflow-fast"),
                .product(name: "CallEngine", package: "callflow-fast"),
                .product(name: "Connectors", package: "callflow-fast"),
                .product(name: "Logging", package: "swift-log"),
            ],
            packageAccess: false, swiftSettings: settings + insideProduct),
        .executableTarget(
            name: "store-bench",
            dependencies: [
                "CAllocations",
                .product(name: "Reactor", package: "callflow-fast"),
                .product(name: "Protocols", package: "callflow-fast"),
                .product(name: "CallEngine", package: "callflow-fast"),
                .product(name: "Connectors", package: "callflow-fast"),
                .product(name: "Simulator", package: "callflow-fast"),
                .product(name: "Histogram", package: "hdrhistogram-swift"),
            ],
            packageAccess: false, swiftSettings: settings + insideProduct),
        .executableTarget(
            name: "callflow-load",
            dependencies: [
                .product(name: "Reactor", package: "callflow-fast"),
                .product(name: "Protocols", package: "callflow-fast"),
                .product(name: "Connectors", package: "callflow-fast"),
                .product(name: "Simulator", package: "callflow-fast"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Histogram", package: "hdrhistogram-swift"),
                .product(name: "Logging", package: "swift-log"),
            ],
            packageAccess: false, swiftSettings: settings + insideProduct),
    ],
    swiftLanguageModes: [.v6]
)
